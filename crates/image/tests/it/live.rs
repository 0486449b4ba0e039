//! The document changes while the client is in use.

use image::{Client, ErrorKind};
use model::RegistrySettings;

use crate::scripted::{Ending, Server};
use crate::{OneLayer, client, digest, platform, read_all, reference, settings};

#[tokio::test]
async fn all_clones_obey_and_what_is_under_way_goes_on() {
    let bytes = testkit::made_up::noise(20, 200_000);
    let whole = OneLayer::new(bytes.clone());
    let server = Server::start(move |asked| {
        let answer = whole.answer(asked);
        match asked.path.contains("/blobs/") && asked.range_from() == 0 && answer.body.len() > 100_000 {
            true => answer.ending(Ending::Cut(50_000)),
            false => answer,
        }
    })
    .await;
    let client = client(&[&server.host]);
    let clone = client.clone();
    let image = reference(&format!("{}/app", server.host));
    let reader = client
        .blob(&image, None, &digest(&bytes), bytes.len() as u64)
        .await
        .unwrap();
    let before = client.registry_settings();
    let denying = RegistrySettings {
        deny: vec!["127.0.0.1".to_owned()],
        default_registry: Some("reg.example".to_owned()),
        allow_root_user: Some(false),
        ..before.clone()
    };
    client.apply(denying).unwrap();
    let error = clone.resolve(&image, None, &platform("amd64")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(
        (clone.default_registry().as_str(), clone.allow_root_user()),
        ("reg.example", false)
    );
    // Its connection was cut: it has to be resumed under the old document.
    assert_eq!(read_all(reader).await.unwrap(), bytes);
    // A document with a fault changes nothing.
    let faulty = RegistrySettings {
        deny: vec!["https://x".to_owned()],
        ..before.clone()
    };
    let error = client.apply(faulty.clone()).unwrap_err().to_string();
    assert_eq!(Client::check_settings(&faulty).unwrap_err().to_string(), error);
    assert!(
        error.contains("deny entry \"https://x\" has a scheme; write"),
        "{error}"
    );
    assert_eq!(clone.registry_settings().deny, ["127.0.0.1"]);
    client.apply(before).unwrap();
    clone.resolve(&image, None, &platform("amd64")).await.unwrap();
    assert_eq!(
        (clone.default_registry().as_str(), clone.allow_root_user()),
        ("docker.io", true)
    );
}

#[tokio::test]
async fn an_authority_works_as_soon_as_it_is_added() {
    let pki = testkit::pki::Pki::new().unwrap();
    let registry = testkit::docker_registry::DockerRegistry::start(pki.registry())
        .await
        .unwrap();
    let mut settings = settings(&[]);
    settings.registry.addresses.allow = vec!["127.0.0.1/32".to_owned()];
    let client = Client::new(settings).unwrap();
    let image = reference(&format!("{}/app", registry.host()));
    let error = client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let mut document = client.registry_settings();
    document.ca_certificates.push(pki.ca);
    client.apply(document).unwrap();
    let error = client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
