//! `/Users`: who may see, make, change and remove users, and what that does to their tokens.

use reqwest::Method;
use serde_json::{Value, json};
use store::user;

use crate::server::{Server, access, refresh_of, refused, send};

#[tokio::test]
async fn users_are_made_and_found() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let id = server.create_user("dev@example.org", "pw").await;
    let find = async |filter: &str| {
        let request = server
            .request(Method::GET, "/Users")
            .query(&[("filter", filter)])
            .bearer_auth(&admin);
        let (status, list) = send(request).await;
        assert_eq!(status, 200, "{list}");
        let ids = list["resources"].as_array().unwrap().iter();
        ids.map(|user| user["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (filter, expected) in [
        (r#"userName eq "dev@example.org""#, true),
        (r#"userName eq "dev@example.org" and origin eq "uaa""#, true),
        (r#"userName eq "dev@example.org" and origin eq "ldap""#, false),
        (r#"userName eq "Dev""#, false),
    ] {
        assert_eq!(
            find(filter).await,
            if expected { vec![id.clone()] } else { vec![] },
            "{filter}"
        );
    }
    assert_eq!(find("").await.len(), 2);
    let (status, page) = server
        .call(Method::GET, "/Users?count=1&startIndex=2", &admin, None)
        .await;
    assert_eq!(
        (status.as_u16(), page["resources"][0]["id"].as_str()),
        (200, Some(id.as_str()))
    );
    assert_eq!(
        (&page["totalResults"], &page["itemsPerPage"]),
        (&json!(2), &json!(1))
    );
    for path in [
        "/Users?startIndex=18446744073709551615&count=1",
        "/Users?startIndex=0&count=0",
    ] {
        assert_eq!(
            server.call(Method::GET, path, &admin, None).await.0,
            200,
            "{path}"
        );
    }
    let bad = server
        .call(Method::GET, "/Users?filter=userName+co+%22d%22", &admin, None)
        .await;
    refused(&bad, 400, "scim", "Invalid filter");
    server.stop().await;
}

#[tokio::test]
async fn removing_a_user_ends_its_tokens() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let id = server.create_user("dev@example.org", "pw").await;
    let path = format!("/Users/{id}");
    let (_, shown) = server.call(Method::GET, &path, &admin, None).await;
    assert_eq!(shown["userName"], "dev@example.org");
    assert_eq!(shown["origin"], "uaa");
    assert_eq!(shown["emails"][0]["value"], "dev@example.org");
    assert!(!shown.to_string().contains("argon2"), "{shown}");

    let login = server.login("dev@example.org", "pw").await;
    let (status, gone) = server.call(Method::DELETE, &path, &admin, None).await;
    assert_eq!((status.as_u16(), gone["id"].as_str()), (200, Some(id.as_str())));
    refused(
        &server.refresh(&refresh_of(&login)).await,
        401,
        "invalid_token",
        "revoked",
    );
    let after = server.call(Method::GET, "/userinfo", &access(&login), None).await;
    refused(&after, 401, "invalid_token", "revoked");
    refused(
        &server.login("dev@example.org", "pw").await,
        401,
        "unauthorized",
        "Bad credentials",
    );
    let again = server.call(Method::DELETE, &path, &admin, None).await;
    refused(&again, 404, "scim_resource_not_found", &id);
    server.stop().await;
}

#[tokio::test]
async fn the_operator_cannot_be_removed() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let filter = "/Users?filter=userName+eq+%22admin%22";
    let (_, found) = server.call(Method::GET, filter, &admin, None).await;
    let path = format!("/Users/{}", found["resources"][0]["id"].as_str().unwrap());
    let answer = server.call(Method::DELETE, &path, &admin, None).await;
    refused(&answer, 400, "invalid_scim_resource", "cannot be deleted");
    assert_eq!(server.call(Method::GET, &path, &admin, None).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn impossible_users_are_refused() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.create_user("dev", "pw").await;
    let create = async |body: Value| server.call(Method::POST, "/Users", &admin, Some(body)).await;
    let taken = create(json!({"userName": "dev", "password": "x"})).await;
    refused(&taken, 409, "scim_resource_already_exists", "already in use");
    for name in ["", "a b", "a\"b", "a,b", "a\u{0}", &"x".repeat(256)] {
        let reply = create(json!({"userName": name, "password": "x"})).await;
        refused(&reply, 400, "invalid_scim_resource", "username");
    }
    refused(
        &create(json!({"userName": "u"})).await,
        422,
        "invalid_password",
        "required",
    );
    let long = create(json!({"userName": "u", "password": "x".repeat(2000)})).await;
    refused(&long, 422, "invalid_password", "1024");
    let origin = create(json!({"userName": "u", "password": "x", "origin": "ldap"})).await;
    refused(&origin, 400, "invalid_scim_resource", "origin");
    let typed = create(json!({"userName": "u", "password": {"s3cret": 1}})).await;
    refused(&typed, 400, "invalid_scim_resource", "cannot be read");
    assert!(!typed.1.to_string().contains("s3cret"));
    server.stop().await;
}

#[tokio::test]
async fn scopes_decide_who_may_touch_users() {
    let server = Server::start().await;
    let dev = server.create_user("dev", "pw").await;
    let other = server.create_user("other", "pw").await;
    let token = access(&server.login("dev", "pw").await);
    let body = json!({"userName": "u", "password": "x"});
    let own = format!("/Users/{dev}");
    let foreign = format!("/Users/{other}");
    for (method, path, body) in [
        (Method::GET, "/Users", None),
        (Method::POST, "/Users", Some(body)),
        (Method::GET, foreign.as_str(), None),
        (Method::DELETE, foreign.as_str(), None),
        (Method::DELETE, own.as_str(), None),
        (Method::GET, "/oauth/clients/cf", None),
        (
            Method::PUT,
            &format!("{foreign}/password"),
            Some(json!({"oldPassword": "pw", "password": "y"})),
        ),
    ] {
        let reply = server.call(method.clone(), path, &token, body.clone()).await;
        refused(&reply, 403, "insufficient_scope", "");
        let mut bare = server.request(method.clone(), path);
        if let Some(body) = body {
            bare = bare.json(&body);
        }
        refused(
            &send(bare).await,
            401,
            "unauthorized",
            "Full authentication is required",
        );
        let garbage = server.call(method, path, "garbage", None).await;
        refused(&garbage, 401, "invalid_token", "");
    }
    assert_eq!(server.call(Method::GET, &own, &token, None).await.0, 200);
    let revoke = server
        .call(Method::DELETE, "/oauth/token/revoke/x", &token, None)
        .await;
    assert_eq!(revoke.0, 200);
    let bare = server.request(Method::DELETE, "/oauth/token/revoke/x");
    assert_eq!(send(bare).await.0, 401);
    server.stop().await;
}

#[tokio::test]
async fn a_new_password_ends_all_sessions() {
    let server = Server::start().await;
    let id = server.create_user("dev", "old").await;
    let login = server.login("dev", "old").await;
    let path = format!("/Users/{id}/password");
    let change = async |old: &str, new: &str| {
        let body = json!({"oldPassword": old, "password": new});
        server.call(Method::PUT, &path, &access(&login), Some(body)).await
    };
    refused(
        &change("wrong", "new").await,
        401,
        "unauthorized",
        "Old password is incorrect",
    );
    refused(&change("old", "old").await, 422, "invalid_password", "same");
    refused(&change("old", "").await, 422, "invalid_password", "required");
    let (status, done) = change("old", "new").await;
    assert_eq!((status.as_u16(), done["status"].as_str()), (200, Some("ok")));
    refused(
        &server.refresh(&refresh_of(&login)).await,
        401,
        "invalid_token",
        "revoked",
    );
    refused(&change("new", "newer").await, 401, "invalid_token", "revoked");
    refused(
        &server.login("dev", "old").await,
        401,
        "unauthorized",
        "Bad credentials",
    );
    access(&server.login("dev", "new").await);
    server.stop().await;
}

#[tokio::test]
async fn old_passwords_cannot_be_guessed_with_a_stolen_token() {
    let server = Server::start().await;
    let id = server.create_user("dev", "old").await;
    let token = access(&server.login("dev", "old").await);
    let path = format!("/Users/{id}/password");
    for _ in 0..5 {
        let body = json!({"oldPassword": "guess", "password": "new"});
        let reply = server.call(Method::PUT, &path, &token, Some(body)).await;
        refused(&reply, 401, "unauthorized", "incorrect");
    }
    let body = json!({"oldPassword": "old", "password": "new"});
    let reply = server.call(Method::PUT, &path, &token, Some(body)).await;
    refused(&reply, 401, "unauthorized", "locked");
    server.stop().await;
}

#[tokio::test]
async fn rows_without_an_origin_are_no_users() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let tx = server.store.write().await.unwrap();
    let row = user::Model {
        id: 0,
        guid: "ci".into(),
        created_at: 0,
        updated_at: 0,
        username: "ci".into(),
        origin: String::new(),
        password_hash: None,
        email: String::new(),
        given_name: String::new(),
        family_name: String::new(),
        scopes: String::new(),
        revision: 0,
        known_to_api: true,
    };
    tx.insert::<user::Entity>(row).await.unwrap();
    tx.commit().await.unwrap();
    let (_, list) = server.call(Method::GET, "/Users", &admin, None).await;
    assert_eq!(list["totalResults"], 1);
    assert_eq!(server.call(Method::GET, "/Users/ci", &admin, None).await.0, 404);
    assert_eq!(
        server.call(Method::DELETE, "/Users/ci", &admin, None).await.0,
        404
    );
    server.stop().await;
}
