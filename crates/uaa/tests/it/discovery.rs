//! What is told without a token.

use std::time::Duration;

use auth::{Jwk, Verifier};
use base::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, send};

#[tokio::test]
async fn prompts_and_addresses() {
    let server = Server::start().await;
    let login = server
        .request(Method::GET, "/login")
        .header("accept", "application/json");
    let (status, told) = send(login).await;
    assert_eq!(status, 200);
    assert_eq!(told["app"]["version"], "77.10.0");
    assert_eq!(told["prompts"]["username"], json!(["text", "Email"]));
    assert_eq!(told["prompts"]["password"], json!(["password", "Password"]));
    assert_eq!(send(server.request(Method::GET, "/info")).await.1, told);
    let browser = server
        .request(Method::GET, "/login")
        .header("accept", "text/html,*/*");
    assert!(
        browser
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("cf login")
    );
    server.stop().await;
}

#[tokio::test]
async fn published_keys_check_tokens() {
    let server = Server::start().await;
    let (_, openid) = send(server.request(Method::GET, "/.well-known/openid-configuration")).await;
    let (_, keys) = send(server.request(Method::GET, "/token_keys")).await;
    let (_, key) = send(server.request(Method::GET, "/token_key")).await;
    assert_eq!(keys["keys"], json!([key]));
    for member in ["kid", "kty", "alg", "use", "n", "e", "value"] {
        assert!(key[member].is_string(), "{member}");
    }
    let jwk: Jwk = serde_json::from_value(key).unwrap();
    let issuer = openid["issuer"].as_str().unwrap();
    let verifier = Verifier::new([&jwk], issuer).unwrap();
    let token = server.admin().await;
    let now = server.clock.now();
    assert_eq!(verifier.verify(&token, now).unwrap().name(), "admin");
    assert!(verifier.verify(&token, now + Duration::from_secs(700)).is_err());
    assert!(server.verifier.verify(&token, now).unwrap().is_admin());
    for (name, url) in openid.as_object().unwrap() {
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let path = url.as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
            let reply = send(server.request(Method::GET, &format!("/{path}"))).await;
            assert_ne!((reply.0.as_u16(), reply.1), (404, Value::Null), "{name}");
        }
    }
    server.stop().await;
}
