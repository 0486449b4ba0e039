//! Redirects carry no credentials to strangers and do not fall back to plain HTTP.

use image::{Client, ErrorKind};
use testkit::docker_registry::{DockerRegistry, Guard, Options};
use testkit::made_up::{config, noise};
use testkit::pki::Pki;

use crate::scripted::{Answer, Server};
use crate::{client, credentials, digest, platform, read_all, reference, settings};

/// A registry with a password that keeps its blobs elsewhere.
async fn redirecting(to: String) -> Server {
    Server::start(move |asked| match asked.header("authorization") {
        Some("Basic dTpw") => Answer::new(307, "").with("location", &to),
        _ => Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    })
    .await
}

#[tokio::test]
async fn another_host_gets_no_credentials() {
    let bytes = noise(6, 50_000);
    let body = bytes.clone();
    let storage = Server::start(move |_| Answer::new(200, body.clone())).await;
    let registry = redirecting(format!("http://evil:user@{}/signed?secret=1", storage.host)).await;
    let client = client(&[&registry.host, &storage.host]);
    let image = reference(&format!("{}/app", registry.host));
    let user = credentials("u", "p");
    let reader = client
        .blob(&image, Some(&user), &digest(&bytes), bytes.len() as u64)
        .await
        .unwrap();
    assert_eq!(read_all(reader).await.unwrap(), bytes);
    let asked = storage.asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].header("authorization").is_none() && asked[0].header("referer").is_none(),
        "{asked:?}"
    );
    assert_eq!(asked[0].path, "/signed?secret=1");
}

#[tokio::test]
async fn a_stranger_that_asks_for_credentials_gets_none() {
    let storage = Server::start(|_| {
        Answer::new(401, "").with("www-authenticate", "Basic realm=\"give me the password\"")
    })
    .await;
    let registry = redirecting(format!("http://{}/blob", storage.host)).await;
    let client = client(&[&registry.host, &storage.host]);
    let image = reference(&format!("{}/app", registry.host));
    let error = client
        .blob(&image, Some(&credentials("u", "p")), &digest(b"x"), 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failing, "{error}");
    assert!(
        storage
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
}

#[tokio::test]
async fn credentials_do_not_come_back_after_a_detour() {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<String>(1);
    let receiver = std::sync::Mutex::new(receiver);
    let home = std::sync::OnceLock::new();
    let storage = Server::start(move |_| {
        let home = home.get_or_init(|| receiver.lock().unwrap().recv().unwrap());
        Answer::new(302, "").with("location", home)
    })
    .await;
    let elsewhere = format!("http://{}/x", storage.host);
    let registry = Server::start(
        move |asked| match (asked.path.as_str(), asked.header("authorization")) {
            ("/open", _) => Answer::new(200, "x"),
            (_, Some(_)) => Answer::new(302, "").with("location", &elsewhere),
            (_, None) => Answer::new(401, "").with("www-authenticate", "Basic"),
        },
    )
    .await;
    sender.send(format!("http://{}/open", registry.host)).unwrap();
    let client = client(&[&registry.host, &storage.host]);
    let image = reference(&format!("{}/app", registry.host));
    let reader = client
        .blob(&image, Some(&credentials("u", "p")), &digest(b"x"), 1)
        .await
        .unwrap();
    assert_eq!(read_all(reader).await.unwrap(), b"x");
    let open: Vec<_> = registry
        .asked()
        .into_iter()
        .filter(|asked| asked.path == "/open")
        .collect();
    assert!(
        open.len() == 1 && open[0].header("authorization").is_none(),
        "{open:?}"
    );
}

#[tokio::test]
async fn circles_end() {
    let registry = Server::start(|asked| Answer::new(302, "").with("location", &asked.path)).await;
    let client = client(&[&registry.host]);
    let image = reference(&format!("{}/app", registry.host));
    let error = client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsafe, "{error}");
    assert_eq!(registry.asked().len(), 6);
}

#[tokio::test]
async fn a_registry_with_tls_may_not_redirect_to_plain_http() {
    let bytes = noise(7, 5000);
    let body = bytes.clone();
    let storage = Server::start(move |_| Answer::new(200, body.clone())).await;
    let pki = Pki::new().unwrap();
    let options = Options {
        guard: Guard::password("u", "p"),
        redirect: Some(format!("http://{}", storage.host)),
        ..pki.registry()
    };
    let registry = DockerRegistry::start(options).await.unwrap();
    let host = registry.host();
    let user = credentials("u", "p");
    let pusher = registry.pusher().unwrap();
    pusher.blob("app", &bytes).await.unwrap();
    pusher
        .blob("app", config("amd64", &[]).to_string().as_bytes())
        .await
        .unwrap();
    let image = reference(&format!("{host}/app"));
    let trusting = |insecure: &[&str]| {
        let mut settings = settings(insecure);
        settings.registry.ca_certificates = vec![pki.ca.clone()];
        settings.registry.addresses.allow = vec!["127.0.0.1".to_owned()];
        Client::new(settings).unwrap()
    };
    let (id, size) = (digest(&bytes), bytes.len() as u64);
    let error = trusting(&[])
        .blob(&image, Some(&user), &id, size)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsafe, "{error}");
    assert!(
        error.to_string().contains(&storage.host) && storage.asked().is_empty(),
        "{error}"
    );
    let reader = trusting(&[&storage.host])
        .blob(&image, Some(&user), &id, size)
        .await
        .unwrap();
    assert_eq!(read_all(reader).await.unwrap(), bytes);
    assert!(
        storage
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
}
