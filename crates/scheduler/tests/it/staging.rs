//! Builds against Debian's `docker-registry`.

use std::sync::Arc;
use std::time::Duration;

use image::Credentials;
use scheduler::OwnRegistry;
use serde_json::{Value, json};
use store::{build, droplet, new_guid, package};
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::made_up::{config, noise};

use crate::fixture::{House, Options};

const LOGIN: (&str, &str) = ("shopper", "s3cret-password");

/// A house in which one app is about to be staged.
pub struct Yard {
    pub house: House,
    registry: DockerRegistry,
    app: String,
}

impl Yard {
    pub async fn new(guard: &Guard) -> Self {
        let registry = DockerRegistry::start(guard).await.unwrap();
        let house = House::furnished(Options {
            // Nobody listens on port 1.
            insecure: vec![registry.host(), "127.0.0.1:1".to_owned()],
            ..Options::default()
        })
        .await;
        house.land().await;
        let app = house.app("shop", 1).await.guid;
        Self { house, registry, app }
    }

    pub async fn push(&self, name: &str, config: &Value, layers: &[Vec<u8>]) {
        let pusher = self.registry.pusher().unwrap();
        pusher.image(name, Some("1"), config, layers).await.unwrap();
    }

    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    /// Asks for a build of this image, and returns its guid.
    pub async fn ask(&self, image: &str, login: Option<(&str, &str)>) -> String {
        let package = new_guid();
        self.house
            .insert::<package::Entity>(package::Model {
                id: 0,
                guid: package.clone(),
                created_at: 0,
                updated_at: 0,
                app_guid: self.app.clone(),
                kind: "docker".to_owned(),
                state: "READY".to_owned(),
                image: image.to_owned(),
                username: login.map(|(user, _)| user.to_owned()),
                password_sealed: login.map(|(_, password)| self.house.sealer.seal(password, &package)),
                error: None,
            })
            .await;
        self.ask_for(&package).await
    }

    async fn ask_for(&self, package: &str) -> String {
        let row = build::Model {
            id: 0,
            guid: new_guid(),
            created_at: 0,
            updated_at: 0,
            app_guid: self.app.clone(),
            package_guid: package.to_owned(),
            droplet_guid: None,
            state: "STAGING".to_owned(),
            error: None,
            memory_mb: 1024,
            disk_mb: 1024,
            created_by_guid: "u".to_owned(),
            created_by_name: "user".to_owned(),
        };
        self.house.insert::<build::Entity>(row).await.guid
    }

    async fn outcome(&self, build: &str) -> build::Model {
        let ended = |rows: Vec<build::Model>| {
            rows.into_iter()
                .find(|row| row.guid == build && row.state != "STAGING")
        };
        self.house
            .until::<build::Entity, _>("the end of the build", ended)
            .await
    }

    pub async fn error(&self, build: &str) -> String {
        let row = self.outcome(build).await;
        assert_eq!((row.state.as_str(), &row.droplet_guid), ("FAILED", &None));
        row.error.unwrap()
    }

    pub async fn droplet(&self, build: &str) -> droplet::Model {
        let row = self.outcome(build).await;
        assert_eq!((row.state.as_str(), row.error.as_deref()), ("STAGED", None));
        let tx = self.house.store.read().await.unwrap();
        tx.get::<droplet::Entity>(&row.droplet_guid.unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn an_image_becomes_a_droplet_and_the_log_tells_how() {
    let mut yard = Yard::new(&Guard::Open).await;
    let layers = [noise(1, 1000), noise(2, 2000)];
    yard.push("shop", &config("amd64", &layers), &layers).await;
    yard.house.start_scheduler();
    let build = yard.ask(&yard.image("shop:1"), None).await;
    let droplet = yard.droplet(&build).await;
    assert_eq!(
        (droplet.image.clone(), droplet.state.as_str()),
        (yard.image("shop:1"), "STAGED")
    );
    assert!(droplet.manifest_digest.starts_with("sha256:") && droplet.index_digest.is_none());
    assert_eq!(droplet.process_types, r#"{"web":"/bin/app serve"}"#);
    assert_eq!(
        droplet.execution_metadata,
        r#"{"cmd":["serve"],"entrypoint":["/bin/app"],"workdir":"/srv","ports":[{"Port":53,"Protocol":"udp"},{"Port":8080,"Protocol":"tcp"}],"user":"app"}"#
    );
    assert_eq!(droplet.read_layers().unwrap().len(), 2);
    assert_eq!(droplet.read_config().unwrap().tcp_ports(), [8080]);
    let lines = yard.house.logs.until("STG", "Staging Complete").await;
    let resolved = format!(
        "Resolved {} to {} (linux/amd64)",
        droplet.image, droplet.manifest_digest
    );
    let wanted = [
        "Staging...",
        &format!("Resolving {}", droplet.image),
        &resolved,
        "2 layers, 0.0 MB compressed",
        "Start command: /bin/app serve",
        "User: app",
        "Ports: 53/udp, 8080/tcp",
        "Staging Complete",
    ];
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn a_build_left_over_from_a_kill_is_staged_again() {
    let mut yard = Yard::new(&Guard::Open).await;
    let layers = [noise(1, 10)];
    yard.push("shop", &config("amd64", &layers), &layers).await;
    let build = yard.ask(&yard.image("shop:1"), None).await;
    for _ in 0..5 {
        yard.house.start_scheduler();
        tokio::task::yield_now().await;
        yard.house.kill_scheduler().await;
    }
    yard.house.start_scheduler();
    yard.droplet(&build).await;
    let droplets = |rows: Vec<droplet::Model>| Some(rows.len());
    assert_eq!(
        yard.house.until::<droplet::Entity, _>("droplets", droplets).await,
        1
    );
}

#[tokio::test]
async fn what_cannot_be_staged_says_why_and_what_to_do() {
    let mut yard = Yard::new(&Guard::Open).await;
    yard.house.start_scheduler();
    let missing = yard.ask(&yard.image("missing:1"), None).await;
    let error = yard.error(&missing).await;
    assert!(
        error.starts_with("StagingError - ") && error.contains("was not found"),
        "{error}"
    );
    let lines = yard.house.logs.until("STG", "Staging Failed").await;
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Failed to stage build: ")),
        "{lines:?}"
    );

    let layers = [noise(3, 10)];
    let mut mute = config("amd64", &layers);
    mute["config"] = json!({});
    yard.push("mute", &mute, &layers).await;
    let error = yard.error(&yard.ask(&yard.image("mute:1"), None).await).await;
    assert!(
        error.starts_with("StagingError - Start command not specified: "),
        "{error}"
    );

    yard.push("arm", &config("arm64", &layers), &layers).await;
    let error = yard.error(&yard.ask(&yard.image("arm:1"), None).await).await;
    assert!(
        error.contains("linux/amd64") && error.contains("linux/arm64"),
        "{error}"
    );

    let refused = yard.ask("127.0.0.1:1/shop:1", None).await;
    assert!(yard.error(&refused).await.contains("cannot be reached"));
    // An internal address that the operator has not named.
    let internal = yard.ask("127.0.0.1:2/shop:1", None).await;
    let error = yard.error(&internal).await;
    assert!(
        error.contains("127.0.0.1:2/shop") && error.contains("refused"),
        "{error}"
    );
    let wrong = yard.ask("UPPER/case", None).await;
    assert!(yard.error(&wrong).await.contains("Invalid image name"));
    let nothing = yard.ask_for("deleted").await;
    assert!(yard.error(&nothing).await.contains("package was deleted"));
}

#[tokio::test]
async fn an_image_larger_than_the_disk_quota_is_refused_with_both_numbers() {
    let mut yard = Yard::new(&Guard::Open).await;
    yard.house.start_scheduler();
    let tx = yard.house.store.write().await.unwrap();
    let web = tx.get::<store::process::Entity>(&yard.app).await.unwrap();
    let small = store::process::Model { disk_mb: 1, ..web };
    tx.update::<store::process::Entity>(small).await.unwrap();
    tx.commit().await.unwrap();
    let layers = [noise(1, 1_500_000)];
    yard.push("big", &config("amd64", &layers), &layers).await;
    let error = yard.error(&yard.ask(&yard.image("big:1"), None).await).await;
    assert!(
        error.contains("2 MB compressed") && error.contains("is 1 MB"),
        "{error}"
    );
}

#[tokio::test]
async fn a_private_image_needs_the_credentials_of_its_package() {
    let mut yard = Yard::new(&Guard::password(LOGIN.0, LOGIN.1)).await;
    yard.house.start_scheduler();
    let layers = [noise(1, 10)];
    yard.push("shop", &config("amd64", &layers), &layers).await;
    let image = yard.image("shop:1");
    for login in [None, Some((LOGIN.0, "wrong"))] {
        let error = yard.error(&yard.ask(&image, login).await).await;
        assert!(
            error.contains("credentials") || error.contains("password"),
            "{error}"
        );
        assert!(!error.contains("wrong"), "{error}");
    }
    let droplet = yard.droplet(&yard.ask(&image, Some(LOGIN)).await).await;
    assert_eq!(droplet.username.as_deref(), Some(LOGIN.0));
    let sealed = droplet.password_sealed.unwrap();
    assert!(!sealed.contains(LOGIN.1));
    assert_eq!(
        yard.house.sealer.open(&sealed, &droplet.guid).unwrap().expose(),
        LOGIN.1
    );
}

#[tokio::test]
async fn the_own_registry_needs_no_credentials_and_none_are_kept() {
    let mut yard = Yard::new(&Guard::password(LOGIN.0, LOGIN.1)).await;
    yard.house.options.own_registry = Some(OwnRegistry {
        host: yard.registry.host(),
        credentials: Arc::new(|space| {
            assert_eq!(space.as_str(), "space");
            Credentials {
                username: LOGIN.0.to_owned(),
                password: LOGIN.1.to_owned(),
            }
        }),
    });
    yard.house.start_scheduler();
    let layers = [noise(1, 10)];
    yard.push("shop", &config("amd64", &layers), &layers).await;
    let droplet = yard.droplet(&yard.ask(&yard.image("shop:1"), None).await).await;
    assert_eq!((droplet.username, droplet.password_sealed), (None, None));
}

#[tokio::test]
async fn a_registry_that_never_answers_does_not_hold_up_the_others() {
    let mut yard = Yard::new(&Guard::Open).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_host = silent.local_addr().unwrap().to_string();
    yard.house.options.insecure.push(silent_host.clone());
    yard.house.options.staging_timeout = Duration::from_secs(1);
    yard.house.start_scheduler();
    let layers = [noise(1, 10)];
    yard.push("shop", &config("amd64", &layers), &layers).await;
    let stuck = yard.ask(&format!("{silent_host}/shop:1"), None).await;
    let good = yard.ask(&yard.image("shop:1"), None).await;
    yard.droplet(&good).await;
    assert!(yard.error(&stuck).await.contains("not read within 1 s"));
}
