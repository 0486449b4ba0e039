//! Every endpoint against everybody who may not call it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::table::{Gets, PUBLIC, Row, rows};
use crate::world::{Reply, Who, World, token, token_with};

/// The path with the guids of the first tenant.
async fn path(world: &World, row: &Row) -> String {
    let noun = row.path.split('/').nth(2).unwrap_or_default();
    let guid = match noun {
        "organizations" => "org-1",
        "spaces" => "space-1",
        "apps" | "processes" => "app-1",
        "domains" => "domain-1",
        "routes" => "route-1",
        "packages" => "package-1",
        "builds" => "build-1",
        "droplets" => "spare-1",
        "jobs" => "job-1",
        "audit_events" => "event-1",
        "users" => "user-developer",
        "roles" => "auditor-space_auditor",
        "organization_quotas" => {
            let quotas = world.get(Who::Admin, "/v3/organization_quotas").await;
            return row.path.replace("{guid}", quotas.guids()[0]);
        }
        _ => "",
    };
    let name = if noun == "apps" { "ssh" } else { "diego_docker" };
    let path = row.path.replace("{guid}", guid).replace("{name}", name);
    let path = path
        .replace("{kind}", "web")
        .replace("{destination}", "destination-1");
    format!("{path}{}", row.query)
}

/// Errors have the shape clients read.
fn well_formed(reply: &Reply) -> bool {
    let entry = |e: &Value| e["code"].is_u64() && e["title"].is_string() && e["detail"].is_string();
    let errors = reply.json["errors"].as_array();
    reply.status.is_success() || errors.is_some_and(|all| !all.is_empty() && all.iter().all(entry))
}

/// What was wrong, of all rows, so that one run tells it all.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check(&mut self, row: &Row, who: &str, reply: &Reply, expected: Gets) {
        let got = match expected {
            Gets::Rows(_) if reply.status == 200 => Gets::Rows(reply.guids().len()),
            Gets::Status(_) | Gets::Rows(_) => Gets::Status(reply.status.as_u16()),
        };
        self.note(row, who, reply, got == expected && well_formed(reply));
    }

    fn note(&mut self, row: &Row, who: &str, reply: &Reply, fine: bool) {
        if !fine {
            let fault = format!(
                "{who}: {} {}: {} {}",
                row.method, row.path, reply.status, reply.text
            );
            self.0.push(fault);
        }
    }
}

#[test]
fn every_endpoint_has_a_row() {
    let public = PUBLIC.map(|path| ("GET", path));
    let told: Vec<_> = rows()
        .iter()
        .map(|row| (row.method, row.path))
        .chain(public)
        .collect();
    let unique: BTreeSet<_> = told.iter().copied().collect();
    assert_eq!(unique.len(), told.len(), "an endpoint has two rows");
    let served: BTreeSet<_> = api::endpoints().iter().map(|e| (e.method, e.path)).collect();
    let without_row: Vec<_> = served.difference(&unique).collect();
    let without_endpoint: Vec<_> = unique.difference(&served).collect();
    assert!(
        without_row.is_empty() && without_endpoint.is_empty(),
        "{without_row:?} {without_endpoint:?}"
    );
}

#[tokio::test]
async fn strangers_and_the_wrong_roles_are_refused() {
    let reads = ["cloud_controller.read"];
    let writes = ["cloud_controller.write"];
    let ttl = Duration::from_secs(600);
    let mut faults = Faults::default();
    for row in rows() {
        let world = World::new().await;
        let path = path(&world, &row).await;
        let send = async |token: Option<&str>| world.send(token, row.method, &path, row.body.clone()).await;
        let titled = |reply: &Reply, title: &str| reply.json["errors"][0]["title"] == title;

        let bare = send(None).await;
        faults.check(&row, "no token", &bare, Gets::Status(401));
        faults.note(&row, "no token", &bare, titled(&bare, "CF-NotAuthenticated"));
        let expired = token_with(Who::Admin, &["cloud_controller.admin"], Duration::ZERO);
        for bad in ["garbage", &expired] {
            let reply = send(Some(bad)).await;
            faults.check(&row, "bad token", &reply, Gets::Status(401));
            faults.note(&row, "bad token", &reply, titled(&reply, "CF-InvalidAuthToken"));
        }
        // A right role with a token that is not for this.
        let wrong: &[&str] = if row.method == "GET" { &writes } else { &reads };
        for scopes in [&["openid"][..], wrong] {
            let reply = send(Some(&token_with(row.right.0, scopes, ttl))).await;
            faults.check(&row, "wrong scopes", &reply, Gets::Status(403));
        }
        let nobody = send(Some(&token(Who::Nobody))).await;
        faults.check(&row, "nobody", &nobody, row.nobody);
        let neighbour = send(Some(&token(Who::Neighbour))).await;
        let expected = match row.nobody {
            // A list may hold rows of one's own tenant.
            Gets::Rows(_) => Gets::Status(200),
            status => status,
        };
        faults.check(&row, "neighbour", &neighbour, expected);
        let auditor = send(Some(&token(Who::Auditor))).await;
        faults.check(&row, "auditor", &auditor, Gets::Status(row.auditor));
        let (who, status) = row.right;
        let right = send(Some(&token(who))).await;
        faults.check(&row, "the right one", &right, Gets::Status(status));
    }
    assert!(faults.0.is_empty(), "{:#?}", faults.0);
}

#[tokio::test]
async fn secrets_are_for_developers_only() {
    for row in rows().iter().filter(|row| row.method == "GET") {
        let world = World::new().await;
        let path = path(&world, row).await;
        for who in [Who::Auditor, Who::Manager] {
            let reply = world.get(who, &path).await;
            assert!(!reply.text.contains("s3cret"), "{who:?} {path}: {}", reply.text);
        }
        // A registry password is for nobody to read again.
        if path.contains("package") {
            let reply = world.get(Who::Admin, &path).await;
            assert!(!reply.text.contains("s3cret"), "{path}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn discovery_needs_no_token_and_nothing_else_is_served() {
    let world = World::new().await;
    for path in PUBLIC {
        let reply = world.send(None, "GET", path, None).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.headers.contains_key("x-vcap-request-id"), "{path}");
    }
    let root = world.send(None, "GET", "/", None).await.json;
    assert_eq!(
        root["links"]["cloud_controller_v3"]["meta"]["version"],
        api::root::VERSION
    );
    let null = |links: &Value| links.as_object().unwrap().values().any(Value::is_null);
    assert!(!null(&root["links"]), "old clients stumble over null links");
    for (method, path) in [
        ("GET", "/v3/nonsense"),
        ("GET", "/v2/apps"),
        ("PUT", "/v3/apps"),
        ("POST", "/"),
    ] {
        let reply = world.send(None, method, path, None).await;
        reply.refused(404, 10000, "Unknown request");
    }
}

#[tokio::test]
async fn what_is_not_served_is_named() {
    let world = World::new().await;
    let source = world.send(None, "POST", "/v3/resource_matches", None).await;
    assert_eq!(
        (source.status.as_u16(), &source.json["errors"][0]["code"]),
        (404, &json!(10000))
    );
    assert!(
        source.text.contains("Source code is not built"),
        "{}",
        source.text
    );
    let policies = world
        .send(None, "GET", "/networking/v1/external/policies", None)
        .await;
    assert_eq!(policies.status, 406);
    assert!(policies.json["error"].is_string(), "{}", policies.text);
}
