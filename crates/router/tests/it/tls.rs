//! The https listener.

use std::sync::Arc;

use base::Tasks;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use router::Certificates;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fixture::{App, Reply, Router, answer, head_of};

struct Made {
    chain: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make(name: &str) -> Made {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Made {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

async fn connect(router: &Router, trusted: &Made, name: &'static str, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(router.tls.unwrap()).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test]
async fn https_by_name_and_protocol() {
    let (default, other) = (make("a.com"), make("b.com"));
    let certificates = Certificates::new(default.chain.as_bytes(), default.key.as_bytes()).unwrap();
    certificates
        .set("b.com", other.chain.as_bytes(), other.key.as_bytes())
        .unwrap();
    let router = Router::start_unfilled(|_| {}, Some(Arc::new(certificates))).await;
    let app = App::http(|request| {
        let head = head_of(&request);
        async move { answer(head) }
    })
    .await;
    router.route("a.com", "", &[&app]);
    router.route("b.com", "", &[&app]);
    let tasks = Tasks::new();

    let stream = connect(&router, &default, "a.com", &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tasks.spawn("client", async move {
        let _ = connection.await;
    });
    let request = Request::get("https://a.com/")
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = Reply::of(sender.send_request(request).await.unwrap()).await;
    assert!(
        reply.body.contains("x-forwarded-proto: https\n"),
        "{}",
        reply.body
    );

    for alpn in [&["http/1.1"][..], &[]] {
        let stream = connect(&router, &other, "b.com", alpn).await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tasks.spawn("client", async move {
            let _ = connection.await;
        });
        let request = Request::get("/")
            .header("host", "b.com")
            .body(Full::<Bytes>::default())
            .unwrap();
        let reply = Reply::of(sender.send_request(request).await.unwrap()).await;
        assert!(
            reply.body.contains("x-forwarded-proto: https\n"),
            "{}",
            reply.body
        );
    }
}

#[tokio::test]
async fn plain_bytes_on_the_tls_port_do_no_harm() {
    let made = make("a.com");
    let certificates = Certificates::new(made.chain.as_bytes(), made.key.as_bytes()).unwrap();
    let router = Router::start_unfilled(|_| {}, Some(Arc::new(certificates))).await;
    let mut stream = TcpStream::connect(router.tls.unwrap()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")
        .await
        .unwrap();
    let said = crate::fixture::read_until(&mut stream, crate::fixture::SOON, |_| false).await;
    assert!(!said.contains("HTTP/1.1 200"), "{said}");
    connect(&router, &made, "a.com", &["h2"]).await;
}
