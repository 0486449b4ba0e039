//! What the operator's rules refuse, before anybody is asked.

use std::time::{Duration, Instant};

use image::{ErrorKind, ResolveError};

use crate::scripted::{Answer, Server};
use crate::{OneLayer, client_with, credentials, digest, platform, read_all, reference};

#[tokio::test]
async fn a_refused_image_is_refused_at_once_and_nobody_is_asked() {
    let server = Server::start(|_| Answer::new(404, "")).await;
    let host = server.host.clone();
    let image = reference(&format!("{host}/team/app"));
    for (allow, deny, words) in [
        (
            vec!["docker.io".to_owned()],
            vec![],
            "no rule of the platform's allow list",
        ),
        (
            vec![host.clone()],
            vec![format!("{host}/team/*")],
            "deny rule \"127.0.0.1:",
        ),
        (vec![format!("{host}/other/*")], vec![], "allow list"),
        (vec![], vec!["127.0.0.1".to_owned()], "deny rule \"127.0.0.1\""),
    ] {
        let client = client_with(&[&host], |registry| {
            registry.allow = allow;
            registry.deny = deny;
        });
        let start = Instant::now();
        let user = credentials("u", "p");
        let error = client
            .resolve(&image, Some(&user), &platform("amd64"))
            .await
            .unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(
            error.to_string().contains(words) && !error.is_transient(),
            "{error}"
        );
        let error = client.blob(&image, None, &digest(b"x"), 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_to_a_host_that_is_not_allowed_is_refused() {
    let bytes = b"layer".to_vec();
    let body = bytes.clone();
    let storage = Server::start(move |_| Answer::new(200, body.clone())).await;
    let to = format!("http://{}/x", storage.host);
    let registry = Server::start(move |_| Answer::new(307, "").with("location", &to)).await;
    let hosts = [registry.host.as_str(), storage.host.as_str()];
    let image = reference(&format!("{}/app", registry.host));
    let allowing = |redirects: &[&str], deny: &[&str]| {
        client_with(&hosts, |document| {
            document.allow = vec![format!("{}/*", registry.host)];
            document.redirects = redirects.iter().map(|text| (*text).to_owned()).collect();
            document.deny = deny.iter().map(|text| (*text).to_owned()).collect();
        })
    };
    for client in [allowing(&[], &[]), allowing(&[&storage.host], &[&storage.host])] {
        let error = client.blob(&image, None, &digest(&bytes), 5).await.unwrap_err();
        assert!(
            matches!(&error, ResolveError::Refused { why, .. } if why.contains("leads to 127.0.0.1")),
            "{error}"
        );
    }
    assert!(storage.asked().is_empty());
    let reader = allowing(&[&storage.host], &[])
        .blob(&image, None, &digest(&bytes), 5)
        .await
        .unwrap();
    assert_eq!(read_all(reader).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_token_server_must_be_allowed_too() {
    let tokens = Server::start(|_| Answer::new(200, r#"{"token":"t"}"#)).await;
    let realm = format!("Bearer realm=\"http://{}/t\"", tokens.host);
    let whole = OneLayer::new(b"layer".to_vec());
    let registry = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer t") => whole.answer(asked),
        _ => Answer::new(401, "").with("www-authenticate", &realm),
    })
    .await;
    let hosts = [registry.host.as_str(), tokens.host.as_str()];
    let image = reference(&format!("{}/app", registry.host));
    let user = credentials("u", "p");
    let allowing = |redirects: Vec<String>| {
        client_with(&hosts, |document| {
            document.allow = vec![registry.host.clone()];
            document.redirects = redirects;
        })
    };
    let error = allowing(vec![])
        .resolve(&image, Some(&user), &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(tokens.asked().is_empty());
    let client = allowing(vec![tokens.host.clone()]);
    client
        .resolve(&image, Some(&user), &platform("amd64"))
        .await
        .unwrap();
}
