//! The strangers' table: every endpoint, what it takes, and what people without the right role get. An endpoint
//! without a row fails the test, so none can be added without deciding who may call it.

use serde_json::{Value, json};

use crate::world::Who;

/// What a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gets {
    /// This status.
    Status(u16),
    /// 200 with a list of this many.
    Rows(usize),
}

/// One endpoint.
#[derive(Debug)]
pub struct Row {
    pub method: &'static str,
    pub path: &'static str,
    /// Appended to the path.
    pub query: &'static str,
    pub body: Option<Value>,
    /// `Nobody`, who is logged in and holds no role.
    pub nobody: Gets,
    /// `Auditor`, who may read the space without its secrets.
    pub auditor: u16,
    /// Somebody with the right role: proof that the others are not refused for another reason.
    pub right: (Who, u16),
}

fn row(method: &'static str, path: &'static str, nobody: Gets, auditor: u16, right: (Who, u16)) -> Row {
    Row {
        method,
        path,
        query: "",
        body: None,
        nobody,
        auditor,
        right,
    }
}

impl Row {
    fn with(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }
}

/// A list in which everybody finds what they may see.
fn list(path: &'static str) -> Row {
    row("GET", path, Gets::Rows(0), 200, (Who::Developer, 200))
}

/// Something inside the org or space that all its members may read.
fn read(path: &'static str) -> Row {
    row("GET", path, Gets::Status(404), 200, (Who::Developer, 200))
}

/// Something only developers may read.
fn secret(path: &'static str) -> Row {
    row("GET", path, Gets::Status(404), 403, (Who::Developer, 200))
}

/// A change that developers may make.
fn change(method: &'static str, path: &'static str, status: u16) -> Row {
    row(method, path, Gets::Status(404), 403, (Who::Developer, status))
}

/// A change that managers of the org may make.
fn manage(method: &'static str, path: &'static str, status: u16) -> Row {
    row(method, path, Gets::Status(404), 403, (Who::Manager, status))
}

/// A change that only admins may make, of something its members see.
fn govern(method: &'static str, path: &'static str, status: u16) -> Row {
    row(method, path, Gets::Status(404), 403, (Who::Admin, status))
}

/// Something that names its place in the body: a hidden place is called invalid.
fn create(path: &'static str, body: Value) -> Row {
    row("POST", path, Gets::Status(422), 403, (Who::Developer, 201)).with(body)
}

fn rename() -> Value {
    json!({"name": "renamed"})
}

fn label() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}})
}

fn to(noun: &str, guid: &str) -> Value {
    json!({noun: {"data": {"guid": guid}}})
}

/// Every endpoint but discovery.
pub fn rows() -> Vec<Row> {
    [
        platform(),
        orgs(),
        spaces(),
        people(),
        domains(),
        routes(),
        apps(),
        processes(),
        staging(),
        catalog(),
        operator(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Endpoints that need no token.
pub const PUBLIC: [&str; 4] = ["/", "/v3", "/v3/info", "/v2/info"];

fn platform() -> Vec<Row> {
    let everybody = |path| row("GET", path, Gets::Status(200), 200, (Who::Admin, 200));
    vec![
        row(
            "GET",
            "/v3/jobs/{guid}",
            Gets::Status(404),
            404,
            (Who::Developer, 200),
        ),
        everybody("/v3/feature_flags"),
        everybody("/v3/feature_flags/{name}"),
        row(
            "PATCH",
            "/v3/feature_flags/{name}",
            Gets::Status(403),
            403,
            (Who::Admin, 200),
        )
        .with(json!({"enabled": true})),
        list("/v3/audit_events"),
        read("/v3/audit_events/{guid}"),
        everybody("/v3/organization_quotas"),
        everybody("/v3/organization_quotas/{guid}"),
    ]
}

fn orgs() -> Vec<Row> {
    vec![
        list("/v3/organizations"),
        row(
            "POST",
            "/v3/organizations",
            Gets::Status(403),
            403,
            (Who::Admin, 201),
        )
        .with(json!({"name": "new"})),
        read("/v3/organizations/{guid}"),
        manage("PATCH", "/v3/organizations/{guid}", 200).with(rename()),
        govern("DELETE", "/v3/organizations/{guid}", 202),
        read("/v3/organizations/{guid}/relationships/default_isolation_segment"),
        read("/v3/organizations/{guid}/domains"),
        read("/v3/organizations/{guid}/domains/default"),
    ]
}

fn spaces() -> Vec<Row> {
    let manifest = "applications:\n- name: new\n  docker: {image: registry.example.org/new}\n";
    vec![
        list("/v3/spaces"),
        row("POST", "/v3/spaces", Gets::Status(422), 403, (Who::Manager, 201))
            .with(json!({"name": "new", "relationships": to("organization", "org-1")})),
        read("/v3/spaces/{guid}"),
        manage("PATCH", "/v3/spaces/{guid}", 200).with(rename()),
        manage("DELETE", "/v3/spaces/{guid}", 202),
        change("DELETE", "/v3/spaces/{guid}/routes", 202).query("?unmapped=true"),
        read("/v3/spaces/{guid}/relationships/isolation_segment"),
        read("/v3/spaces/{guid}/features/ssh"),
        manage("PATCH", "/v3/spaces/{guid}/features/ssh", 200).with(json!({"enabled": false})),
        change("POST", "/v3/spaces/{guid}/actions/apply_manifest", 202).with(manifest.into()),
        change("POST", "/v3/spaces/{guid}/manifest_diff", 201).with(manifest.into()),
        read("/v3/spaces/{guid}/running_security_groups"),
        read("/v3/spaces/{guid}/staging_security_groups"),
    ]
}

fn people() -> Vec<Row> {
    let role = json!({"type": "space_manager", "relationships": {
        "space": {"data": {"guid": "space-1"}}, "user": {"data": {"username": "auditor", "origin": "uaa"}},
    }});
    vec![
        list("/v3/roles"),
        row("POST", "/v3/roles", Gets::Status(422), 403, (Who::Manager, 201)).with(role),
        read("/v3/roles/{guid}"),
        manage("DELETE", "/v3/roles/{guid}", 202),
        // Everybody sees oneself.
        row("GET", "/v3/users", Gets::Rows(1), 200, (Who::Developer, 200)),
        row("POST", "/v3/users", Gets::Status(403), 403, (Who::Admin, 201)).with(json!({"guid": "new"})),
        read("/v3/users/{guid}"),
        govern("PATCH", "/v3/users/{guid}", 200).with(label()),
        govern("DELETE", "/v3/users/{guid}", 202),
    ]
}

fn domains() -> Vec<Row> {
    let domain = json!({"name": "new.example.net", "relationships": to("organization", "org-1")});
    vec![
        // Everybody sees the shared domain.
        row("GET", "/v3/domains", Gets::Rows(1), 200, (Who::Developer, 200)),
        row("POST", "/v3/domains", Gets::Status(422), 403, (Who::Manager, 201)).with(domain),
        read("/v3/domains/{guid}"),
        manage("PATCH", "/v3/domains/{guid}", 200).with(label()),
        manage("DELETE", "/v3/domains/{guid}", 202),
        read("/v3/domains/{guid}/route_reservations").query("?host=x"),
    ]
}

fn routes() -> Vec<Row> {
    let relationships =
        json!({"space": {"data": {"guid": "space-1"}}, "domain": {"data": {"guid": "domain-1"}}});
    let destinations = json!({"destinations": [{"app": {"guid": "app-1"}, "port": 9000}]});
    vec![
        list("/v3/routes"),
        create(
            "/v3/routes",
            json!({"host": "new", "relationships": relationships}),
        ),
        read("/v3/routes/{guid}"),
        change("PATCH", "/v3/routes/{guid}", 200).with(label()),
        change("DELETE", "/v3/routes/{guid}", 202),
        read("/v3/apps/{guid}/routes"),
        read("/v3/routes/{guid}/destinations"),
        change("POST", "/v3/routes/{guid}/destinations", 200).with(destinations.clone()),
        change("PATCH", "/v3/routes/{guid}/destinations", 200).with(destinations),
        change("PATCH", "/v3/routes/{guid}/destinations/{destination}", 200)
            .with(json!({"protocol": "http2"})),
        change("DELETE", "/v3/routes/{guid}/destinations/{destination}", 204),
    ]
}

fn apps() -> Vec<Row> {
    let lifecycle = json!({"type": "docker", "data": {}});
    let new = json!({"name": "new", "lifecycle": lifecycle, "relationships": to("space", "space-1")});
    vec![
        list("/v3/apps"),
        create("/v3/apps", new),
        read("/v3/apps/{guid}"),
        change("PATCH", "/v3/apps/{guid}", 200).with(rename()),
        change("DELETE", "/v3/apps/{guid}", 202),
        change("POST", "/v3/apps/{guid}/actions/start", 200),
        change("POST", "/v3/apps/{guid}/actions/stop", 200),
        change("POST", "/v3/apps/{guid}/actions/restart", 200),
        secret("/v3/apps/{guid}/env"),
        secret("/v3/apps/{guid}/environment_variables"),
        change("PATCH", "/v3/apps/{guid}/environment_variables", 200).with(json!({"var": {"A": "b"}})),
        read("/v3/apps/{guid}/features"),
        read("/v3/apps/{guid}/features/{name}"),
        change("PATCH", "/v3/apps/{guid}/features/{name}", 200).with(json!({"enabled": false})),
        read("/v3/apps/{guid}/ssh_enabled"),
        secret("/v3/apps/{guid}/manifest"),
    ]
}

fn processes() -> Vec<Row> {
    let scale = json!({"instances": 2});
    let timeout = json!({"health_check": {"type": "port", "data": {"timeout": 9}}});
    vec![
        list("/v3/processes"),
        read("/v3/processes/{guid}"),
        change("PATCH", "/v3/processes/{guid}", 200).with(timeout.clone()),
        change("POST", "/v3/processes/{guid}/actions/scale", 202).with(scale.clone()),
        read("/v3/processes/{guid}/sidecars"),
        read("/v3/processes/{guid}/stats"),
        read("/v3/processes/{guid}/process_instances"),
        read("/v3/apps/{guid}/processes"),
        read("/v3/apps/{guid}/processes/{kind}"),
        change("PATCH", "/v3/apps/{guid}/processes/{kind}", 200).with(timeout),
        change("POST", "/v3/apps/{guid}/processes/{kind}/actions/scale", 202).with(scale),
        read("/v3/apps/{guid}/processes/{kind}/stats"),
    ]
}

fn staging() -> Vec<Row> {
    let image = json!({"image": "registry.example.org/new"});
    let package = json!({"type": "docker", "data": image, "relationships": to("app", "app-1")});
    vec![
        list("/v3/packages"),
        create("/v3/packages", package),
        read("/v3/packages/{guid}"),
        change("PATCH", "/v3/packages/{guid}", 200).with(label()),
        change("DELETE", "/v3/packages/{guid}", 202),
        read("/v3/packages/{guid}/droplets"),
        read("/v3/apps/{guid}/packages"),
        list("/v3/builds"),
        create("/v3/builds", json!({"package": {"guid": "package-1"}})),
        read("/v3/builds/{guid}"),
        change("PATCH", "/v3/builds/{guid}", 200).with(label()),
        read("/v3/apps/{guid}/builds"),
        list("/v3/droplets"),
        read("/v3/droplets/{guid}"),
        change("PATCH", "/v3/droplets/{guid}", 200).with(label()),
        change("DELETE", "/v3/droplets/{guid}", 202),
        read("/v3/apps/{guid}/droplets"),
        read("/v3/apps/{guid}/droplets/current"),
        read("/v3/apps/{guid}/relationships/current_droplet"),
        change("PATCH", "/v3/apps/{guid}/relationships/current_droplet", 200)
            .with(json!({"data": {"guid": "spare-1"}})),
    ]
}

/// Lists that are empty for everybody.
fn catalog() -> Vec<Row> {
    let everywhere = [
        "/v3/deployments",
        "/v3/tasks",
        "/v3/isolation_segments",
        "/v3/security_groups",
        "/v3/space_quotas",
        "/v3/stacks",
        "/v3/buildpacks",
        "/v3/service_brokers",
        "/v3/service_offerings",
        "/v3/service_plans",
        "/v3/service_instances",
        "/v3/service_credential_bindings",
        "/v3/service_route_bindings",
    ];
    let of_app = [
        "/v3/apps/{guid}/revisions",
        "/v3/apps/{guid}/revisions/deployed",
        "/v3/apps/{guid}/tasks",
    ];
    everywhere
        .into_iter()
        .map(list)
        .chain(of_app.into_iter().map(read))
        .collect()
}

/// Registries and images are the operator's business; who may not see them learns nothing.
fn operator() -> Vec<Row> {
    let admin = |method, path, status| row(method, path, Gets::Status(403), 403, (Who::Admin, status));
    vec![
        admin("GET", "/slipway/v1/registry", 200),
        // Without a version: the one thing missing.
        admin("PUT", "/slipway/v1/registry", 428).with(json!({})),
        admin("GET", "/slipway/v1/registry/violations", 200),
        admin("POST", "/slipway/v1/registry/check", 200).with(json!({"image": "registry.example.org/x"})),
        // Nobody serves a cell here.
        admin("GET", "/slipway/v1/images", 503),
    ]
}
