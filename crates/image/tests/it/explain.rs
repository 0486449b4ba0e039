//! The way from a reference to its image, told step by step.

use image::{Client, Outcome, Step};
use testkit::docker_registry::{DockerRegistry, Guard, Options};
use testkit::made_up::{config, noise};
use testkit::pki::Pki;

use crate::scripted::{Answer, Server};
use crate::{OneLayer, client, client_with, credentials, loopback_client, platform, settings};

fn step<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|step| step.name == name).unwrap()
}

/// The failed step, after which everything is skipped.
fn failed(steps: &[Step]) -> &Step {
    let at = steps
        .iter()
        .position(|step| step.outcome == Outcome::Failed)
        .expect("one failed");
    assert!(steps[..at].iter().all(|step| step.outcome == Outcome::Ok));
    assert!(
        steps[at + 1..]
            .iter()
            .all(|step| step.outcome == Outcome::Skipped)
    );
    assert_eq!(steps.len(), 11);
    &steps[at]
}

/// A registry with TLS, a password and an image, and a client that trusts it.
async fn guarded() -> (DockerRegistry, Client, String) {
    let pki = Pki::new().unwrap();
    let options = Options {
        guard: Guard::password("user", "hunter2"),
        ..pki.registry()
    };
    let registry = DockerRegistry::start(options).await.unwrap();
    let layers = [noise(50, 3000), noise(51, 100)];
    let pusher = registry.pusher().unwrap();
    pusher
        .image("app", Some("v1"), &config("amd64", &layers), &layers)
        .await
        .unwrap();
    let mut settings = settings(&[]);
    settings.registry.ca_certificates = vec![pki.ca];
    settings.registry.addresses.allow = vec!["127.0.0.1/32".to_owned()];
    let text = format!("{}/app:v1", registry.host());
    (registry, Client::new(settings).unwrap(), text)
}

#[tokio::test]
async fn a_whole_image_is_explained() {
    let (_registry, client, text) = guarded().await;
    let user = credentials("user", "hunter2");
    let steps = client.explain(&text, Some(&user), &platform("amd64")).await;
    assert!(steps.iter().all(|step| step.outcome == Outcome::Ok), "{steps:#?}");
    for (name, parts) in [
        ("reference", &[text.as_str()][..]),
        ("rules", &["none"]),
        ("mirrors", &["none"]),
        ("dns", &["127.0.0.1 (loopback)"]),
        (
            "connection",
            &[
                "TLS 1.3",
                "certificate for",
                "issued by",
                "valid until",
                "trusted",
            ],
        ),
        ("auth", &["user name and password", "accepted as user"]),
        ("manifest", &["sha256:", "an image", "manifest"]),
        ("platform", &["linux/amd64"]),
        (
            "config",
            &["command /bin/app serve", "user app", "TCP ports 8080"],
        ),
        ("layers", &["2 layers, 3100 bytes", "3000 bytes"]),
        ("limits", &["tells of none"]),
    ] {
        for part in parts {
            assert!(
                step(&steps, name).detail.contains(part),
                "{:#?}",
                step(&steps, name)
            );
        }
    }
    assert!(!format!("{steps:?}").contains("hunter2"));
}

#[tokio::test]
async fn refusals_of_a_guarded_registry_are_explained() {
    let (_registry, client, text) = guarded().await;
    let user = credentials("user", "hunter2");
    let wrong = credentials("user", "hunter3");
    let steps = client.explain(&text, Some(&wrong), &platform("amd64")).await;
    let auth = failed(&steps);
    assert!(auth.name == "auth" && auth.detail.contains("as user") && !auth.detail.contains("hunter3"));
    let steps = client.explain(&text, Some(&user), &platform("arm64")).await;
    assert_eq!(failed(&steps).name, "config");
    let strict = loopback_client();
    let steps = strict.explain(&text, Some(&user), &platform("amd64")).await;
    let connection = failed(&steps);
    assert_eq!(connection.name, "connection");
    for part in ["x509", "certificate for", "--registry-ca"] {
        assert!(connection.detail.contains(part), "{}", connection.detail);
    }
}

#[tokio::test]
async fn each_fault_stops_at_its_step() {
    let missing = Server::start(|_| Answer::new(404, "")).await;
    let broken = Server::start(|_| Answer::new(500, "")).await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = held.local_addr().unwrap().to_string();
    drop(held);
    let long = format!("{}.example/app", "a".repeat(70));
    let denying = client_with(&[], |document| document.deny = vec!["docker.io".to_owned()]);
    let client = client(&[&missing.host, &broken.host, &nobody]);
    for (client, text, name, part) in [
        (&client, "https://x/y".to_owned(), "reference", "scheme"),
        (&denying, "nginx".to_owned(), "rules", "deny rule \"docker.io\""),
        (&client, long, "dns", "does not resolve"),
        (&client, "127.0.0.1:1/app".to_owned(), "dns", "loopback address"),
        (&client, format!("{nobody}/app"), "connection", "refused"),
        (&client, format!("{}/app", broken.host), "auth", "500"),
        (&client, format!("{}/app", missing.host), "manifest", "not found"),
    ] {
        let steps = client.explain(&text, None, &platform("amd64")).await;
        let step = failed(&steps);
        assert!(
            step.name == name && step.detail.contains(part),
            "{text}: {step:?}"
        );
    }
}

#[tokio::test]
async fn tokens_mirrors_and_limits_are_told() {
    let tokens = Server::start(|_| Answer::new(200, r#"{"token":"t0psecret"}"#)).await;
    let realm = format!("Bearer realm=\"http://{}/t?x=secret\"", tokens.host);
    let whole = OneLayer::new(b"layer".to_vec());
    let registry = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer t0psecret") => whole.answer(asked).with("ratelimit-remaining", "99;w=21600"),
        _ => Answer::new(401, "").with("www-authenticate", &realm),
    })
    .await;
    let mirror = Server::start(|_| Answer::new(404, "")).await;
    let client = client_with(&[&registry.host, &tokens.host, &mirror.host], |document| {
        document.mirrors = vec![model::Mirror {
            registry: registry.host.clone(),
            mirror: mirror.host.clone(),
            fallback: model::Fallback::Registry,
        }];
    });
    let text = format!("{}/app", registry.host);
    let steps = client.explain(&text, None, &platform("amd64")).await;
    assert!(steps.iter().all(|step| step.outcome == Outcome::Ok), "{steps:#?}");
    let mirrors = format!("{}: has not got it; then the registry itself", mirror.host);
    assert_eq!(step(&steps, "mirrors").detail, mirrors);
    let auth = format!(
        "the registry asks for a token of {}; accepted anonymously",
        tokens.host
    );
    assert_eq!(step(&steps, "auth").detail, auth);
    assert!(step(&steps, "connection").detail.starts_with("plain HTTP with"));
    assert_eq!(step(&steps, "limits").detail, "ratelimit-remaining: 99;w=21600");
    assert!(!format!("{steps:?}").contains("secret"), "{steps:#?}");
}
