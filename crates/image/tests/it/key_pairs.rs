//! Key pairs of the cloud registry, through the operator's proxy to a made-up cloud.

use std::sync::{Arc, Mutex};

use base::Tasks;
use image::{Client, ErrorKind};
use model::Proxy;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::scripted::{Answer, Asked, Script, serve};
use crate::{OneLayer, credentials, platform, reference, settings};

const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const API: &str = "api.ecr.eu-west-1.amazonaws.com";

/// A proxy behind which one server is every host it has a certificate for.
struct Cloud {
    proxy: String,
    ca: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: Tasks,
}

impl Cloud {
    async fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec![REGISTRY.to_owned(), API.to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        testkit::tls();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), asked.clone());
        let (tasks, connections) = (Tasks::new(), Tasks::new());
        tasks.spawn("proxy", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, acceptor) = (script.clone(), log.clone(), acceptor.clone());
                connections.spawn("tunnel", async move {
                    let _ = tunnel(stream, &acceptor, (&*script, &log)).await;
                });
            }
        });
        Self {
            proxy,
            ca: certificate.pem(),
            asked,
            _tasks: tasks,
        }
    }

    fn client(&self) -> Client {
        let mut settings = settings(&[]);
        settings.registry.ca_certificates = vec![self.ca.clone()];
        settings.registry.allow = vec![REGISTRY.to_owned()];
        settings.registry.proxy = Some(Proxy {
            https: Some(self.proxy.clone()),
            ..Proxy::default()
        });
        settings.max_retries = 0;
        Client::new(settings).unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn tunnel(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
    (script, log): (&Script, &Mutex<Vec<Asked>>),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    assert!(head.starts_with(b"CONNECT "));
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let (ended, _) = tokio::sync::watch::channel(0);
    serve(acceptor.accept(stream).await?, script, log, &ended).await
}

/// Gives tokens to one key id, and an image to their bearers.
fn cloud(asked: &Asked, whole: &OneLayer) -> Answer {
    if asked.header("host") == Some(API) {
        let signed = asked.header("authorization").unwrap_or_default();
        return match signed.contains("Credential=AKIDEXAMPLE/") {
            true => Answer::new(
                200,
                r#"{"authorizationData":[{"authorizationToken":"QVdTOnRva2Vu","expiresAt":9999999999}]}"#,
            ),
            false => Answer::new(400, r#"{"__type":"UnrecognizedClientException"}"#),
        };
    }
    match asked.header("authorization") {
        Some("Basic QVdTOnRva2Vu") => whole.answer(asked),
        _ => Answer::new(401, "").with(
            "www-authenticate",
            "Basic realm=\"x\",service=\"ecr.amazonaws.com\"",
        ),
    }
}

#[tokio::test]
async fn a_key_pair_is_exchanged_once_for_all_repositories() {
    let whole = OneLayer::new(b"layer".to_vec());
    let cloud = Cloud::start(move |asked| cloud(asked, &whole)).await;
    let client = cloud.client();
    let user = credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG");
    for name in ["app", "team/other"] {
        let image = reference(&format!("{REGISTRY}/{name}"));
        client
            .resolve(&image, Some(&user), &platform("amd64"))
            .await
            .unwrap();
    }
    let asked = cloud.asked();
    let exchanges: Vec<&Asked> = asked.iter().filter(|a| a.header("host") == Some(API)).collect();
    assert_eq!(exchanges.len(), 1);
    let exchange = exchanges[0];
    assert_eq!((exchange.method.as_str(), exchange.path.as_str()), ("POST", "/"));
    assert_eq!(
        exchange.header("x-amz-target"),
        Some("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
    );
    let signed = exchange.header("authorization").unwrap();
    assert!(
        signed.contains(
            "/eu-west-1/ecr/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target,"
        )
    );
    assert!(asked.iter().all(|a| !format!("{a:?}").contains("wJalrXUtnFEMI")));
}

#[tokio::test]
async fn a_wrong_key_pair_is_refused_and_a_ready_token_passes() {
    let whole = OneLayer::new(b"layer".to_vec());
    let cloud = Cloud::start(move |asked| cloud(asked, &whole)).await;
    let image = reference(&format!("{REGISTRY}/app"));
    let wrong = credentials("AKIDOTHER", "hunter2");
    let error = cloud
        .client()
        .resolve(&image, Some(&wrong), &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
    let before = cloud.asked().len();
    let ready = credentials("AWS", "token");
    cloud
        .client()
        .resolve(&image, Some(&ready), &platform("amd64"))
        .await
        .unwrap();
    let asked = cloud.asked();
    assert!(asked[before..].iter().all(|a| a.header("host") == Some(REGISTRY)));
}
