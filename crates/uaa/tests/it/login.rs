//! `POST /oauth/token`: each grant, each refusal.

use std::time::Duration;

use auth::hash_password;
use reqwest::Method;
use serde_json::{Value, json};
use store::{Store, client};

use crate::server::{ADMIN_PASSWORD, Server, access, claims, refresh_of, refused, send};

async fn add_client(store: &Store, id: &str, secret: &str, grants: &str) {
    let row = client::Model {
        id: 0,
        guid: id.into(),
        created_at: 0,
        updated_at: 0,
        secret_hash: hash_password(secret).unwrap(),
        grants: grants.into(),
        scopes: "openid".into(),
        authorities: "clients.read uaa.resource".into(),
        access_seconds: 300,
        refresh_seconds: 600,
    };
    let tx = store.write().await.unwrap();
    tx.insert::<client::Entity>(row).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_password_gives_tokens_the_cli_can_read() {
    let server = Server::start().await;
    let request = server
        .request(Method::POST, "/oauth/token")
        .basic_auth("cf", Some(""));
    let response = request
        .form(&[
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", ADMIN_PASSWORD),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let reply: Value = response.json().await.unwrap();
    assert_eq!(reply["token_type"], "bearer");
    assert_eq!(reply["expires_in"], 600);
    let token = reply["access_token"].as_str().unwrap();
    let said = claims(token);
    assert_eq!(said["jti"], reply["jti"]);
    for (claim, expected) in [
        ("user_name", json!("admin")),
        ("origin", json!("uaa")),
        ("client_id", json!("cf")),
        ("cid", json!("cf")),
        ("azp", json!("cf")),
        ("grant_type", json!("password")),
        ("zid", json!("uaa")),
        ("email", json!("admin")),
        ("revocable", json!(false)),
        ("iat", json!(1_800_000_000)),
        ("auth_time", json!(1_800_000_000)),
        ("exp", json!(1_800_000_600)),
        ("sub", said["user_id"].clone()),
    ] {
        assert_eq!(said[claim], expected, "{claim}");
    }
    assert!(said["user_id"].is_string() && said["rev_sig"].is_string() && said["aud"].is_array());
    let scopes: Vec<&str> = reply["scope"].as_str().unwrap().split(' ').collect();
    for scope in ["cloud_controller.admin", "scim.write", "openid", "clients.read"] {
        assert!(scopes.contains(&scope), "{scope}");
    }
    assert_eq!(said["scope"], json!(scopes));
    server.stop().await;
}

#[tokio::test]
async fn wrong_logins_are_refused_without_saying_what_is_wrong() {
    let server = Server::start().await;
    let long = "x".repeat(5000);
    for (name, password) in [
        ("admin", "wrong"),
        ("nobody", "wrong"),
        (long.as_str(), "x"),
        ("admin", long.as_str()),
    ] {
        refused(
            &server.login(name, password).await,
            401,
            "unauthorized",
            "Bad credentials",
        );
    }
    refused(
        &server.login("admin", "").await,
        400,
        "invalid_request",
        "'password'",
    );
    refused(&server.login("", "x").await, 400, "invalid_request", "'username'");
    let passcode = server
        .token(&[("grant_type", "password"), ("passcode", "x")])
        .await;
    refused(&passcode, 401, "unauthorized", "passcodes are not served");
    server.stop().await;
}

#[tokio::test]
async fn requests_that_are_no_grants_are_refused() {
    let server = Server::start().await;
    refused(&server.token(&[]).await, 400, "invalid_request", "'grant_type'");
    let odd = server.token(&[("grant_type", "implicit")]).await;
    refused(&odd, 400, "unsupported_grant_type", "implicit");
    let cc = server.token(&[("grant_type", "client_credentials")]).await;
    refused(&cc, 401, "unauthorized_client", "client_credentials");
    let form = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", ADMIN_PASSWORD),
    ];
    let bare = server.request(Method::POST, "/oauth/token").form(&form);
    refused(&send(bare).await, 401, "invalid_client", "missing");
    for (id, secret) in [("cf", "x"), ("nope", ""), ("nope", "x")] {
        let wrong = server
            .request(Method::POST, "/oauth/token")
            .basic_auth(id, Some(secret))
            .form(&form);
        refused(
            &send(wrong).await,
            401,
            "invalid_client",
            "Bad client credentials",
        );
    }
    let json = server
        .request(Method::POST, "/oauth/token")
        .basic_auth("cf", Some(""))
        .json(&json!({}));
    refused(
        &send(json).await,
        400,
        "invalid_request",
        "application/x-www-form-urlencoded",
    );
    // The client may also stand in the form.
    let both = server.request(Method::POST, "/oauth/token");
    let both = both.form(&[form.as_slice(), &[("client_id", "cf"), ("client_secret", "")]].concat());
    access(&send(both).await);
    server.stop().await;
}

#[tokio::test]
async fn the_login_hint_must_name_the_one_origin() {
    let server = Server::start().await;
    let form = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", ADMIN_PASSWORD),
    ];
    for (hint, good) in [
        (r#"{"origin":"uaa"}"#, true),
        ("{}", true),
        (r#"{"origin":"ldap"}"#, false),
        ("uaa", false),
    ] {
        let request = server
            .request(Method::POST, "/oauth/token")
            .query(&[("login_hint", hint)]);
        let reply = send(request.basic_auth("cf", Some("")).form(&form)).await;
        match good {
            true => drop(access(&reply)),
            false => refused(&reply, 400, "invalid_request", "origin"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn asked_scopes_narrow_and_never_widen() {
    let server = Server::start().await;
    server.create_user("dev", "pw").await;
    let ask = async |scope: &str| {
        let form = [
            ("grant_type", "password"),
            ("username", "dev"),
            ("password", "pw"),
            ("scope", scope),
        ];
        server.token(&form).await
    };
    let reply = ask("openid cloud_controller.admin").await;
    assert_eq!(claims(&access(&reply))["scope"], json!(["openid"]));
    refused(
        &ask("cloud_controller.admin").await,
        400,
        "invalid_scope",
        "cloud_controller.admin",
    );
    let narrowed = server.refresh(&refresh_of(&reply)).await;
    assert_eq!(narrowed.1["scope"], "openid");
    server.stop().await;
}

#[tokio::test]
async fn refresh_tokens_renew_and_end() {
    let server = Server::start().await;
    let first = server.login("admin", ADMIN_PASSWORD).await;
    server.clock.advance(Duration::from_secs(700));
    let expired = server.call(Method::GET, "/userinfo", &access(&first), None).await;
    refused(&expired, 401, "invalid_token", "expired");
    let second = server.refresh(&refresh_of(&first)).await;
    let said = claims(&access(&second));
    assert_eq!(second.1["token_type"], "bearer");
    assert_ne!(refresh_of(&second), refresh_of(&first));
    assert_eq!(
        (&said["auth_time"], &said["iat"]),
        (&json!(1_800_000_000), &json!(1_800_000_700))
    );
    assert_eq!(said["grant_type"], "password");
    assert_eq!(
        server
            .call(Method::GET, "/userinfo", &access(&second), None)
            .await
            .1["user_name"],
        "admin"
    );
    // An access token is no refresh token, a refresh token no access token.
    let swapped = server.refresh(&access(&second)).await;
    refused(&swapped, 401, "invalid_token", "another kind");
    let swapped = server
        .call(Method::GET, "/userinfo", &refresh_of(&second), None)
        .await;
    refused(&swapped, 401, "invalid_token", "another kind");
    refused(
        &server.refresh("garbage").await,
        401,
        "invalid_token",
        "well-formed",
    );
    server.clock.advance(Duration::from_secs(31 * 24 * 3600));
    refused(
        &server.refresh(&refresh_of(&second)).await,
        401,
        "invalid_token",
        "expired",
    );
    server.stop().await;
}

#[tokio::test]
async fn refresh_tokens_belong_to_their_client() {
    let server = Server::start().await;
    add_client(&server.store, "other", "s", "refresh_token").await;
    let refresh = refresh_of(&server.login("admin", ADMIN_PASSWORD).await);
    let request = server
        .request(Method::POST, "/oauth/token")
        .basic_auth("other", Some("s"));
    let stolen = request.form(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
    refused(&send(stolen).await, 401, "invalid_token", "another client");
    server.stop().await;
}

#[tokio::test]
async fn clients_get_tokens_that_name_no_user() {
    let server = Server::start().await;
    add_client(&server.store, "ci", "s3cret", "client_credentials").await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "ci"),
        ("client_secret", "s3cret"),
    ];
    let reply = send(server.request(Method::POST, "/oauth/token").form(&form)).await;
    let token = access(&reply);
    let said = claims(&token);
    let members = said.as_object().unwrap();
    for absent in ["user_name", "user_id", "origin", "email", "auth_time"] {
        assert!(!members.contains_key(absent), "{absent}");
    }
    assert!(reply.1.get("refresh_token").is_none());
    assert_eq!((&said["client_id"], &said["sub"]), (&json!("ci"), &json!("ci")));
    assert_eq!(said["scope"], json!(["clients.read", "uaa.resource"]));
    assert_eq!(reply.1["expires_in"], 300);
    let wrong = [
        ("grant_type", "client_credentials"),
        ("client_id", "ci"),
        ("client_secret", "x"),
    ];
    let wrong = send(server.request(Method::POST, "/oauth/token").form(&wrong)).await;
    refused(&wrong, 401, "invalid_client", "Bad client credentials");

    let (status, shown) = server.call(Method::GET, "/oauth/clients/ci", &token, None).await;
    assert_eq!((status.as_u16(), &shown["client_id"]), (200, &json!("ci")));
    assert!(!shown.to_string().contains("argon2"), "{shown}");
    assert_eq!(
        server.call(Method::GET, "/oauth/clients/x", &token, None).await.0,
        404
    );

    // With uaa.resource it may look into other tokens.
    let admin = server.admin().await;
    let look = async |path: &str, token: &str| {
        let request = server
            .request(Method::POST, path)
            .basic_auth("ci", Some("s3cret"));
        send(request.form(&[("token", token)])).await
    };
    assert_eq!(look("/check_token", &admin).await.1["user_name"], "admin");
    assert_eq!(look("/introspect", &admin).await.1["active"], true);
    refused(
        &look("/check_token", "x").await,
        400,
        "invalid_token",
        "Invalid token",
    );
    assert_eq!(look("/introspect", "x").await.1, json!({"active": false}));
    let cf = server
        .request(Method::POST, "/check_token")
        .basic_auth("cf", Some(""));
    let cf = send(cf.form(&[("token", &admin)])).await;
    refused(&cf, 403, "insufficient_scope", "uaa.resource");
    server.stop().await;
}

#[tokio::test]
async fn guessing_locks_the_name_and_only_that() {
    let server = Server::start().await;
    server.create_user("dev", "pw").await;
    for name in ["admin", "nobody"] {
        for _ in 0..5 {
            refused(
                &server.login(name, "guess").await,
                401,
                "unauthorized",
                "Bad credentials",
            );
        }
        refused(
            &server.login(name, ADMIN_PASSWORD).await,
            401,
            "unauthorized",
            "Try again in 5 s",
        );
    }
    access(&server.login("dev", "pw").await);
    server.clock.advance(Duration::from_secs(5));
    access(&server.login("admin", ADMIN_PASSWORD).await);
    // Success wiped the slate.
    refused(
        &server.login("admin", "guess").await,
        401,
        "unauthorized",
        "Bad credentials",
    );
    access(&server.login("admin", ADMIN_PASSWORD).await);
    server.stop().await;
}
