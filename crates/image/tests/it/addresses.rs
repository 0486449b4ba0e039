//! Internal addresses are no registries unless the operator says so.

use image::{Client, ErrorKind, ResolveError};

use crate::scripted::{Answer, Server};
use crate::{client, client_with, credentials, digest, platform, reference, settings};

async fn error_of(client: &Client, host: &str) -> ResolveError {
    let image = reference(&format!("{host}/app"));
    client
        .resolve(&image, Some(&credentials("u", "p")), &platform("amd64"))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn an_internal_address_is_refused_whether_or_not_somebody_listens() {
    let server = Server::start(|_| Answer::new(404, "")).await;
    let port = server.host.rsplit_once(':').unwrap().1.to_owned();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = held.local_addr().unwrap().port().to_string();
    drop(held);
    let client = client(&["127.0.0.1:1"]);
    let mut texts = Vec::new();
    for port in [&port, &nobody] {
        for host in [
            "127.0.0.1",
            "localhost",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
        ] {
            let error = error_of(&client, &format!("{host}:{port}")).await;
            assert_eq!(error.kind(), ErrorKind::Refused, "{host}: {error}");
            let text = error.to_string();
            assert!(
                text.contains("address") && text.contains("addresses.allow"),
                "{text}"
            );
            texts.push(text.replace(port.as_str(), "PORT"));
        }
    }
    assert_eq!(texts[..texts.len() / 2], texts[texts.len() / 2..]);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn link_local_addresses_are_refused_even_to_named_hosts() {
    for host in [
        "169.254.169.254:80",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "[64:ff9b::a9fe:a9fe]:80",
    ] {
        let error = error_of(&client(&[host]), host).await;
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    let denying = client_with(&["127.0.0.1:1"], |document| {
        document.addresses.deny = vec!["127.0.0.0/8".to_owned()];
        document.addresses.allow = vec!["127.0.0.1".to_owned()];
    });
    let error = error_of(&denying, "127.0.0.1:1").await;
    assert!(
        error.to_string().contains("in 127.0.0.0/8, which addresses.deny"),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_leads_nowhere_internal() {
    let secret = Server::start(|_| Answer::new(200, "secret")).await;
    let port = secret.host.rsplit_once(':').unwrap().1.to_owned();
    for target in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "169.254.169.254".to_owned(),
    ] {
        for scheme in ["http", "https"] {
            let to = format!("{scheme}://{target}/latest");
            let realm = format!("Bearer realm=\"https://{target}/token\"");
            let registry = Server::start(move |asked| match asked.path.contains("/blobs/") {
                true => Answer::new(307, "").with("location", &to),
                false => Answer::new(401, "").with("www-authenticate", &realm),
            })
            .await;
            let client = client(&[&registry.host]);
            let image = reference(&format!("{}/app", registry.host));
            let error = client
                .blob(&image, None, &digest(b"secret"), 6)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{scheme} {target}: {error}");
            assert_eq!(error_of(&client, &registry.host).await.kind(), ErrorKind::Refused);
        }
    }
    assert!(secret.asked().is_empty());
}

#[tokio::test]
async fn a_name_is_reached_once_its_network_is_allowed() {
    let server = Server::start(|_| Answer::new(404, "")).await;
    let port = server.host.rsplit_once(':').unwrap().1.to_owned();
    let host = format!("localhost:{port}");
    // Named with its port by the insecure list.
    assert_eq!(
        error_of(&client(&[&host]), &host).await.kind(),
        ErrorKind::NotFound
    );
    let mut settings = settings(&[]);
    settings.registry.addresses.allow = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
    let error = error_of(&Client::new(settings).unwrap(), &host).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
}
