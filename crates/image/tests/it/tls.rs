//! Private certificate authorities, the insecure list, and what users are told.

use image::{Client, ErrorKind, SettingsError};
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::made_up::{config, noise};
use testkit::pki::Pki;

use crate::{client, loopback_client, platform, read_all, reference, settings};

#[tokio::test]
async fn a_private_ca_works_once_it_is_given() {
    let pki = Pki::new().unwrap();
    let registry = DockerRegistry::start(pki.registry()).await.unwrap();
    let host = registry.host();
    let layers = [noise(5, 100_000)];
    let pusher = registry.pusher().unwrap();
    pusher
        .image("app", Some("latest"), &config("amd64", &layers), &layers)
        .await
        .unwrap();
    let image = reference(&format!("{host}/app"));

    let error = loopback_client()
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("x509") && text.contains(&format!("TLS with {host} failed")),
        "{text}"
    );
    let remedy = format!("add the CA with --registry-ca or list {host} with --insecure-registry");
    assert!(text.ends_with(&remedy), "{text}");

    let mut trusting = settings(&[]);
    trusting.registry.ca_certificates = vec![pki.ca];
    trusting.registry.addresses.allow = vec!["127.0.0.0/8".to_owned()];
    for client in [Client::new(trusting).unwrap(), client(&[&host])] {
        let resolved = client.resolve(&image, None, &platform("amd64")).await.unwrap();
        let layer = &resolved.layers[0];
        let reader = client
            .blob(&image, None, &layer.digest, layer.size)
            .await
            .unwrap();
        assert_eq!(read_all(reader).await.unwrap(), layers[0]);
    }
}

#[tokio::test]
async fn plain_http_needs_the_list() {
    let registry = DockerRegistry::start(&Guard::Open).await.unwrap();
    let host = registry.host();
    let error = loopback_client()
        .resolve(&reference(&format!("{host}/app")), None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    // Another port of the same host is another registry.
    let other = if host == "127.0.0.1:1" {
        "127.0.0.1:2"
    } else {
        "127.0.0.1:1"
    };
    let mut settings = settings(&[other]);
    settings.registry.addresses.allow = vec!["127.0.0.1".to_owned()];
    let other = Client::new(settings).unwrap();
    let error = other
        .resolve(&reference(&format!("{host}/app")), None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn unusable_settings_are_refused() {
    let with_ca = |pem: &str| {
        let mut settings = settings(&[]);
        settings.registry.ca_certificates = vec![pem.to_owned()];
        settings
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no pem"] {
        let error = Client::new(with_ca(pem)).unwrap_err();
        assert!(
            matches!(error, SettingsError::CertificateAuthority { number: 1, .. }),
            "{error}"
        );
    }
    assert!(Client::new(with_ca(broken)).is_err());
    let error = Client::new(settings(&["https://reg:5000"])).unwrap_err();
    assert!(matches!(error, SettingsError::InsecureScheme(_)), "{error}");
    let mut bad_default = settings(&[]);
    bad_default.registry.default_registry = Some("https://reg".to_owned());
    assert!(matches!(
        Client::new(bad_default).unwrap_err(),
        SettingsError::DefaultRegistry(_)
    ));
}
