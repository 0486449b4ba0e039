//! Who gets in, and who gets to see what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Access, ErrorKind, ResolveError};
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::made_up::{config, noise};

use crate::scripted::{Answer, Asked, Server};
use crate::{client, credentials, platform, read_all, reference};

/// A key as Google's registry takes for a password.
const JSON_KEY: &str = "{\n  \"type\": \"service_account\",\n  \"key\": \"a:b\\n\"\n}";

#[tokio::test]
async fn a_registry_with_passwords_wants_the_right_one() {
    let guard = Guard::password("_json_key", JSON_KEY);
    let registry = DockerRegistry::start(&guard).await.unwrap();
    let host = registry.host();
    let right = credentials("_json_key", JSON_KEY);
    let layers = [noise(4, 5000)];
    let pusher = registry.pusher().unwrap();
    pusher
        .image("app", Some("v1"), &config("amd64", &layers), &layers)
        .await
        .unwrap();
    let client = client(&[&host]);
    let image = reference(&format!("{host}/app:v1"));
    let resolved = client
        .resolve(&image, Some(&right), &platform("amd64"))
        .await
        .unwrap();
    let layer = &resolved.layers[0];
    let reader = client
        .blob(&image, Some(&right), &layer.digest, layer.size)
        .await
        .unwrap();
    assert_eq!(read_all(reader).await.unwrap(), layers[0]);
    // What one user may do must not help another.
    let wrong = credentials("_json_key", "hunter2");
    for (given, access) in [(None, Access::Anonymous), (Some(&wrong), Access::WithCredentials)] {
        let error = client
            .resolve(&image, given, &platform("amd64"))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ResolveError::Unauthorized { access: a, .. } if *a == access),
            "{error}"
        );
        assert!(error.to_string().contains(&host) && !format!("{error}{error:?}").contains("hunter2"));
        assert!(
            client
                .blob(&image, given, &layer.digest, layer.size)
                .await
                .is_err()
        );
    }
}

/// A registry that wants tokens, its token server, and how many tokens that gave.
async fn token_registry(expires: &'static str, uses: usize) -> (Server, Server, Arc<AtomicUsize>) {
    let issued = Arc::new(AtomicUsize::new(0));
    let count = issued.clone();
    let tokens = Server::start(move |asked| {
        let allowed = asked.header("authorization").is_none_or(|a| a == "Basic dTpw");
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        match allowed {
            true => Answer::new(200, format!(r#"{{"token":"t{number}","expires_in":{expires}}}"#)),
            false => Answer::new(401, ""),
        }
    })
    .await;
    let realm = format!("http://{}/token", tokens.host);
    let current = issued.clone();
    let used = AtomicUsize::new(0);
    let registry = Server::start(move |asked| {
        let good = format!("Bearer t{}", current.load(Ordering::SeqCst));
        let valid =
            asked.header("authorization") == Some(&good) && used.fetch_add(1, Ordering::SeqCst) < uses;
        if valid {
            return Answer::new(404, "");
        }
        used.store(0, Ordering::SeqCst);
        let challenge = format!(r#"Bearer realm="{realm}",service="svc",scope="repository:app:pull""#);
        Answer::new(401, "").with("www-authenticate", &challenge)
    })
    .await;
    (registry, tokens, issued)
}

fn saw_password(asked: &[Asked]) -> bool {
    asked
        .iter()
        .any(|a| a.header("authorization").is_some_and(|h| h.starts_with("Basic ")))
}

#[tokio::test]
async fn a_token_is_fetched_kept_and_renewed_once() {
    let (registry, tokens, issued) = token_registry("300", 3).await;
    let client = client(&[&registry.host, &tokens.host]);
    let image = reference(&format!("{}/app", registry.host));
    let user = credentials("u", "p");
    for round in 1..=4 {
        let error = client
            .resolve(&image, Some(&user), &platform("amd64"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{round}: {error}");
    }
    // Three uses of the first token; the fourth was refused and renewed.
    assert_eq!(issued.load(Ordering::SeqCst), 2);
    let token_query = &tokens.asked()[0].path;
    assert_eq!(
        token_query,
        "/token?scope=repository%3Aapp%3Apull&service=svc&account=u"
    );
    assert!(
        !saw_password(&registry.asked()),
        "the registry itself saw the password"
    );
    // Another user, and nobody at all, get tokens of their own.
    client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(issued.load(Ordering::SeqCst), 3);
    assert!(tokens.asked().last().unwrap().header("authorization").is_none());
    let error = client
        .resolve(&image, Some(&credentials("u", "q")), &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn a_token_that_does_not_help_is_not_asked_for_again_and_again() {
    let (registry, tokens, issued) = token_registry("300", 0).await;
    let client = client(&[&registry.host, &tokens.host]);
    let image = reference(&format!("{}/app", registry.host));
    let error = client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!((issued.load(Ordering::SeqCst), registry.asked().len()), (1, 2));
}

#[tokio::test]
async fn a_token_server_without_tls_gets_nothing_unless_listed() {
    let (registry, tokens, issued) = token_registry("300", 1).await;
    let client = client(&[&registry.host]);
    let image = reference(&format!("{}/app", registry.host));
    let error = client
        .resolve(&image, Some(&credentials("u", "p")), &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsafe, "{error}");
    assert!(error.to_string().contains(&tokens.host), "{error}");
    assert_eq!((issued.load(Ordering::SeqCst), tokens.asked().len()), (0, 0));
}
