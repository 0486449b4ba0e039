//! A small world with one row of every noun, and people with different roles in it. Each test gets its own copy of the
//! database.
//!
//! Org `org-1` has the space `space-1` with the app `app-1`. `Manager` manages the org, `Developer` and `Auditor` have
//! these roles in the space, `Nobody` is a known user without a role. `org-2`, `space-2` and `app-2` are another
//! tenant's, whose developer is `Neighbour`.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use api::registry::{Images, Login, Outcome, Step};
use api::{Parts, Settings, State};
use auth::{ClientGrant, Life, Minter, Role, SealKey, Sealer, SigningKey, UserGrant, Verifier};
use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode};
use base::{Clock, ManualClock, Tasks};
use http_body_util::BodyExt;
use model::{RegistrySettings, UserGuid};
use serde_json::Value;
use store::{Options, Store, Tx};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tower::ServiceExt;

pub const API: &str = "http://api.example.org";
const ISSUER: &str = "http://uaa.example.org/oauth/token";

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Admin,
    Manager,
    Developer,
    Auditor,
    Neighbour,
    Nobody,
}

impl Who {
    pub const ALL: [Self; 6] = [
        Self::Admin,
        Self::Manager,
        Self::Developer,
        Self::Auditor,
        Self::Neighbour,
        Self::Nobody,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Developer => "developer",
            Self::Auditor => "auditor",
            Self::Neighbour => "neighbour",
            Self::Nobody => "nobody",
        }
    }

    pub fn guid(self) -> String {
        format!("user-{}", self.name())
    }

    fn roles(self) -> &'static [(Role, &'static str, &'static str)] {
        use Role::{OrganizationManager, OrganizationUser, SpaceAuditor, SpaceDeveloper};
        match self {
            Self::Admin | Self::Nobody => &[],
            Self::Manager => &[
                (OrganizationUser, "org-1", ""),
                (OrganizationManager, "org-1", ""),
            ],
            Self::Developer => &[
                (OrganizationUser, "org-1", ""),
                (SpaceDeveloper, "org-1", "space-1"),
            ],
            Self::Auditor => &[
                (OrganizationUser, "org-1", ""),
                (SpaceAuditor, "org-1", "space-1"),
            ],
            Self::Neighbour => &[
                (OrganizationUser, "org-2", ""),
                (SpaceDeveloper, "org-2", "space-2"),
            ],
        }
    }
}

/// An answer.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Reply {
    /// The first error's `detail`.
    pub fn detail(&self) -> &str {
        self.json["errors"][0]["detail"].as_str().unwrap_or_default()
    }

    /// Asserts a status and the first error's code and detail.
    #[track_caller]
    pub fn refused(&self, status: u16, code: u32, detail: &str) {
        let told = (
            self.status.as_u16(),
            self.json["errors"][0]["code"].as_u64(),
            self.detail(),
        );
        assert_eq!(told, (status, Some(u64::from(code)), detail), "{}", self.text);
    }

    /// Asserts a status and gives the body.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json
    }

    /// The guids of a list, in its order.
    #[track_caller]
    pub fn guids(&self) -> Vec<&str> {
        let rows = self.json["resources"].as_array();
        let rows = rows.unwrap_or_else(|| panic!("no list: {}", self.text)).iter();
        rows.map(|row| row["guid"].as_str().unwrap()).collect()
    }
}

pub struct World {
    pub store: Store,
    pub sealer: Arc<Sealer>,
    pub router: Router,
    _tasks: Tasks,
    _dir: TempDir,
}

/// An image client that knows whole names only, and no network.
struct PlainImages;

impl Images for PlainImages {
    fn check_settings(&self, settings: &RegistrySettings) -> Result<(), String> {
        match settings.insecure.iter().find(|entry| entry.contains("://")) {
            Some(entry) => Err(format!(
                "insecure entry {entry:?} must not have a scheme; write HOST:PORT"
            )),
            None => Ok(()),
        }
    }

    fn refusals(&self, settings: &RegistrySettings, images: &[String]) -> Vec<Option<String>> {
        let rule = |image: &String| settings.deny.contains(image).then(|| format!("deny {image}"));
        images.iter().map(rule).collect()
    }

    fn explain<'a>(
        &'a self,
        settings: &'a RegistrySettings,
        image: &'a str,
        login: Option<Login>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Step>, String>> + Send + 'a>> {
        let rules = self.refusals(settings, &[image.to_owned()]).remove(0);
        Box::pin(async move {
            if image.is_empty() {
                return Err("image name is empty".to_owned());
            }
            let user = login.map_or("nobody".to_owned(), |login| login.username);
            let step = |name: &str, outcome, detail: String| Step {
                name: name.to_owned(),
                outcome,
                detail,
                ms: 1,
            };
            Ok(match rules {
                Some(rule) => vec![step("rules", Outcome::Failed, rule)],
                None => vec![
                    step("rules", Outcome::Ok, "allowed".to_owned()),
                    step("login", Outcome::Skipped, user),
                ],
            })
        })
    }
}

static KEY: LazyLock<Arc<SigningKey>> = LazyLock::new(|| Arc::new(SigningKey::generate().unwrap()));
static DATABASE: OnceCell<Vec<u8>> = OnceCell::const_new();

fn clock() -> ManualClock {
    ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

pub fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(SealKey::new(1, [7; 32]), []).unwrap())
}

pub fn settings() -> Settings {
    Settings {
        api_url: API.into(),
        login_url: "http://login.example.org".into(),
        uaa_url: "http://uaa.example.org".into(),
        log_cache_url: "http://log-cache.example.org".into(),
        apps_domain: "apps.example.org".into(),
        router_port_suffix: String::new(),
        platform_hosts: vec!["api.example.org".into(), "console.apps.example.org".into()],
        registry: model::RegistrySettings {
            insecure: vec!["own.example.org:5000".into()],
            ..model::RegistrySettings::default()
        },
        default_memory_mb: 256,
        default_disk_mb: 1024,
        maximum_disk_mb: 2048,
    }
}

impl World {
    pub async fn new() -> Self {
        let database = DATABASE.get_or_init(first_world).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        std::fs::write(&path, database).unwrap();
        let store = Store::open(Options::Sqlite(path), Arc::new(clock()))
            .await
            .unwrap();
        let tasks = Tasks::new();
        // Nobody serves this socket: neither lines nor usage figures may hold up a request.
        let channel = wire::connect(&dir.path().join("nobody.sock"));
        let sealer = sealer();
        let state = State::new(Parts {
            store: store.clone(),
            verifier: Verifier::new([KEY.jwk()], ISSUER).unwrap(),
            sealer: sealer.clone(),
            logs: wire::LogSink::start(&tasks, channel.clone()),
            cell: wire::v1::cell_client::CellClient::new(channel),
            images: Arc::new(PlainImages),
            settings: settings(),
        });
        Self {
            store,
            sealer,
            router: api::router(state),
            _tasks: tasks,
            _dir: dir,
        }
    }

    /// Sends a request; a string body goes as it is, anything else as JSON.
    pub async fn send(&self, token: Option<&str>, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.send_with(token, (method, path), None, body).await
    }

    /// Sends a request with one more header.
    pub async fn send_with(
        &self,
        token: Option<&str>,
        (method, path): (&str, &str),
        header: Option<(&'static str, &str)>,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("bearer {token}"));
        }
        let body = match body {
            None => Body::empty(),
            Some(Value::String(text)) => Body::from(text),
            Some(json) => Body::from(json.to_string()),
        };
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply {
            status,
            headers,
            text,
            json,
        }
    }

    /// Sends a request as one of the people.
    pub async fn call(&self, who: Who, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.send(Some(&token(who)), method, path, body).await
    }

    pub async fn get(&self, who: Who, path: &str) -> Reply {
        self.call(who, "GET", path, None).await
    }

    pub async fn post(&self, who: Who, path: &str, body: Value) -> Reply {
        self.call(who, "POST", path, Some(body)).await
    }

    pub async fn patch(&self, who: Who, path: &str, body: Value) -> Reply {
        self.call(who, "PATCH", path, Some(body)).await
    }

    /// Switches a feature flag.
    pub async fn flag(&self, name: &str, enabled: bool) {
        let body = serde_json::json!({"enabled": enabled});
        self.patch(Who::Admin, &format!("/v3/feature_flags/{name}"), body)
            .await
            .ok(200);
    }

    /// Follows the `Location` of a 202 to the finished job.
    pub async fn job(&self, who: Who, accepted: &Reply) -> Value {
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        let location = accepted.headers["location"].to_str().unwrap();
        self.get(who, location.strip_prefix(API).unwrap()).await.ok(200)
    }
}

/// A token of one of the people.
pub fn token(who: Who) -> String {
    let scopes: &[&str] = match who {
        Who::Admin => &["cloud_controller.admin", "openid"],
        _ => &["cloud_controller.read", "cloud_controller.write", "openid"],
    };
    token_with(who, scopes, Duration::from_secs(600))
}

/// A token with these scopes only; of no length, it is expired at once.
pub fn token_with(who: Who, scopes: &[&str], ttl: Duration) -> String {
    let now = clock().now() - Duration::from_secs(10);
    let grant = UserGrant {
        guid: UserGuid::new(who.guid()),
        name: who.name().into(),
        email: who.name().into(),
        origin: "uaa".into(),
        client_id: "cf".into(),
        grant_type: "password".into(),
        scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
        auth_time: now,
        rev_sig: "x".into(),
    };
    let minter = Minter::new(KEY.clone(), ISSUER);
    minter.mint_user(&grant, Life { now, ttl }).token.into_exposed()
}

/// A client's own token.
pub fn client_token(id: &str) -> String {
    let grant = ClientGrant {
        id: id.into(),
        scopes: vec!["cloud_controller.read".into(), "cloud_controller.write".into()],
        rev_sig: "x".into(),
    };
    let life = Life {
        now: clock().now(),
        ttl: Duration::from_secs(600),
    };
    Minter::new(KEY.clone(), ISSUER)
        .mint_client(&grant, life)
        .token
        .into_exposed()
}

async fn first_world() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = Store::open(Options::Sqlite(path.clone()), Arc::new(clock()))
        .await
        .unwrap();
    api::seed(&store, &settings()).await.unwrap();
    let tx = store.write().await.unwrap();
    for who in Who::ALL {
        account(&tx, who).await;
    }
    for n in [1, 2] {
        tenant(&tx, n).await;
    }
    for who in Who::ALL {
        for (role, org, space) in who.roles() {
            hold(&tx, who, *role, org, space).await;
        }
    }
    extras(&tx).await;
    tx.commit().await.unwrap();
    store.close().await.unwrap();
    std::fs::read(path).unwrap()
}

async fn account(tx: &Tx, who: Who) {
    let row = store::user::Model {
        id: 0,
        guid: who.guid(),
        created_at: 0,
        updated_at: 0,
        username: who.name().into(),
        origin: "uaa".into(),
        password_hash: None,
        email: who.name().into(),
        given_name: String::new(),
        family_name: String::new(),
        scopes: String::new(),
        revision: 0,
        known_to_api: true,
    };
    tx.insert::<store::user::Entity>(row).await.unwrap();
}

async fn hold(tx: &Tx, who: Who, role: Role, org: &str, space: &str) {
    let row = store::role::Model {
        id: 0,
        guid: format!("{}-{role}", who.name()),
        created_at: 0,
        updated_at: 0,
        kind: role.as_str().into(),
        user_guid: who.guid(),
        org_guid: org.into(),
        space_guid: space.into(),
    };
    tx.insert::<store::role::Entity>(row).await.unwrap();
}

async fn tenant(tx: &Tx, n: u8) {
    let quota = tx
        .one(store::Query::<store::org_quota::Entity>::new())
        .await
        .unwrap()
        .unwrap();
    let org = store::org::Model {
        id: 0,
        guid: format!("org-{n}"),
        created_at: 0,
        updated_at: 0,
        name: format!("acme-{n}"),
        suspended: false,
        quota_guid: quota.guid,
    };
    tx.insert::<store::org::Entity>(org).await.unwrap();
    let space = store::space::Model {
        id: 0,
        guid: format!("space-{n}"),
        created_at: 0,
        updated_at: 0,
        name: "dev".into(),
        org_guid: format!("org-{n}"),
        ssh_allowed: true,
    };
    tx.insert::<store::space::Entity>(space).await.unwrap();
    let domain = store::domain::Model {
        id: 0,
        guid: format!("domain-{n}"),
        created_at: 0,
        updated_at: 0,
        name: format!("private-{n}.example.net"),
        internal: false,
        org_guid: Some(format!("org-{n}")),
    };
    tx.insert::<store::domain::Entity>(domain).await.unwrap();
    app(tx, n).await;
    staged(tx, n).await;
    routed(tx, n).await;
}

async fn app(tx: &Tx, n: u8) {
    let guid = format!("app-{n}");
    let row = store::app::Model {
        id: 0,
        created_at: 0,
        updated_at: 0,
        name: "shop".into(),
        space_guid: format!("space-{n}"),
        state: "STOPPED".into(),
        lifecycle: "docker".into(),
        droplet_guid: Some(format!("droplet-{n}")),
        env_sealed: sealer().seal(r#"{"TOKEN":"s3cret"}"#, &guid),
        guid,
        ssh_enabled: true,
        revisions_enabled: true,
    };
    tx.insert::<store::app::Entity>(row).await.unwrap();
    let row = store::process::Model {
        id: 0,
        guid: format!("app-{n}"),
        created_at: 0,
        updated_at: 0,
        app_guid: format!("app-{n}"),
        kind: "web".into(),
        version: format!("version-{n}"),
        command: Some("serve --token s3cret".into()),
        run_as: None,
        instances: 1,
        memory_mb: 256,
        disk_mb: 1024,
        log_rate_limit: -1,
        health_type: "port".into(),
        health_endpoint: None,
        health_timeout: None,
        health_invocation_timeout: None,
        health_interval: None,
        readiness_type: "process".into(),
        readiness_endpoint: None,
        readiness_invocation_timeout: None,
        readiness_interval: None,
    };
    tx.insert::<store::process::Entity>(row).await.unwrap();
}

async fn staged(tx: &Tx, n: u8) {
    let package = store::package::Model {
        id: 0,
        guid: format!("package-{n}"),
        created_at: 0,
        updated_at: 0,
        app_guid: format!("app-{n}"),
        kind: "docker".into(),
        state: "READY".into(),
        image: "registry.example.org/shop:1".into(),
        username: Some("robot".into()),
        password_sealed: Some(sealer().seal("s3cret", &format!("package-{n}"))),
        error: None,
    };
    tx.insert::<store::package::Entity>(package).await.unwrap();
    let build = store::build::Model {
        id: 0,
        guid: format!("build-{n}"),
        created_at: 0,
        updated_at: 0,
        app_guid: format!("app-{n}"),
        package_guid: format!("package-{n}"),
        droplet_guid: Some(format!("droplet-{n}")),
        state: "STAGED".into(),
        error: None,
        memory_mb: 1024,
        disk_mb: 1024,
        created_by_guid: Who::Developer.guid(),
        created_by_name: "developer".into(),
    };
    tx.insert::<store::build::Entity>(build).await.unwrap();
    for guid in [format!("droplet-{n}"), format!("spare-{n}")] {
        droplet(tx, n, guid).await;
    }
}

async fn droplet(tx: &Tx, n: u8, guid: String) {
    let config = model::ImageConfig {
        cmd: vec!["/shop".into()],
        ..model::ImageConfig::default()
    };
    let row = store::droplet::Model {
        id: 0,
        guid,
        created_at: 0,
        updated_at: 0,
        app_guid: format!("app-{n}"),
        package_guid: format!("package-{n}"),
        build_guid: format!("build-{n}"),
        state: "STAGED".into(),
        error: None,
        image: "registry.example.org/shop:1".into(),
        index_digest: None,
        manifest_digest: format!("sha256:{}", "a".repeat(64)),
        layers: store::layers_column(&[]),
        config: store::config_column(&config),
        process_types: r#"{"web":"/shop"}"#.into(),
        execution_metadata: "{}".into(),
        username: None,
        password_sealed: None,
    };
    tx.insert::<store::droplet::Entity>(row).await.unwrap();
}

async fn routed(tx: &Tx, n: u8) {
    let shared = tx
        .one(store::Query::<store::domain::Entity>::new())
        .await
        .unwrap()
        .unwrap();
    let route = store::route::Model {
        id: 0,
        guid: format!("route-{n}"),
        created_at: 0,
        updated_at: 0,
        host: format!("shop-{n}"),
        path: String::new(),
        domain_guid: shared.guid,
        space_guid: format!("space-{n}"),
        options: "{}".into(),
    };
    tx.insert::<store::route::Entity>(route).await.unwrap();
    let destination = store::destination::Model {
        id: 0,
        guid: format!("destination-{n}"),
        created_at: 0,
        updated_at: 0,
        route_guid: format!("route-{n}"),
        app_guid: format!("app-{n}"),
        process_type: "web".into(),
        port: None,
        protocol: "http1".into(),
    };
    tx.insert::<store::destination::Entity>(destination)
        .await
        .unwrap();
}

async fn extras(tx: &Tx) {
    let job = store::job::Model {
        id: 0,
        guid: "job-1".into(),
        created_at: 0,
        updated_at: 0,
        operation: "app.delete".into(),
        state: "COMPLETE".into(),
        owner_guid: Who::Developer.guid(),
        errors: "[]".into(),
        warnings: "[]".into(),
    };
    tx.insert::<store::job::Entity>(job).await.unwrap();
    for n in [1, 2] {
        let event = store::audit_event::Model {
            id: 0,
            guid: format!("event-{n}"),
            created_at: 0,
            updated_at: 0,
            kind: "audit.app.create".into(),
            actor_guid: Who::Developer.guid(),
            actor_kind: "user".into(),
            actor_name: "developer".into(),
            target_guid: format!("app-{n}"),
            target_kind: "app".into(),
            target_name: "shop".into(),
            data: r#"{"request":{"name":"shop"}}"#.into(),
            space_guid: Some(format!("space-{n}")),
            org_guid: Some(format!("org-{n}")),
        };
        tx.insert::<store::audit_event::Entity>(event).await.unwrap();
    }
    let flag = tx
        .get::<store::feature_flag::Entity>("diego_docker")
        .await
        .unwrap();
    let flag = store::feature_flag::Model {
        enabled: true,
        ..flag
    };
    tx.update::<store::feature_flag::Entity>(flag).await.unwrap();
}
