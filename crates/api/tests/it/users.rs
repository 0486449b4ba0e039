//! `/v3/users`: who is listed for whom, and what the API keeps of a user.

use serde_json::{Value, json};

use crate::world::{Who, World, client_token};

async fn account(world: &World, guid: &str, name: &str) {
    let row = store::user::Model {
        id: 0,
        guid: guid.into(),
        created_at: 0,
        updated_at: 0,
        username: name.into(),
        origin: "uaa".into(),
        password_hash: None,
        email: name.into(),
        given_name: String::new(),
        family_name: String::new(),
        scopes: String::new(),
        revision: 0,
        known_to_api: false,
    };
    let tx = world.store.write().await.unwrap();
    tx.insert::<store::user::Entity>(row).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn users_are_listed_for_those_who_share_an_org() {
    let world = World::new().await;
    assert_eq!(world.get(Who::Admin, "/v3/users").await.guids().len(), 6);
    let seen = world.get(Who::Developer, "/v3/users").await;
    assert_eq!(seen.guids(), ["user-manager", "user-developer", "user-auditor"]);
    assert_eq!(world.get(Who::Nobody, "/v3/users").await.guids(), ["user-nobody"]);
    world
        .get(Who::Developer, "/v3/users/user-neighbour")
        .await
        .refused(404, 10010, "User not found");
    for (query, expected) in [
        ("usernames=developer,neighbour", &["user-developer"][..]),
        ("usernames=developer&origins=uaa", &["user-developer"]),
        ("usernames=developer&origins=ldap", &[]),
        ("partial_usernames=dev,dit", &["user-developer", "user-auditor"]),
        ("partial_usernames=%25", &[]),
        ("guids=user-auditor", &["user-auditor"]),
    ] {
        let reply = world.get(Who::Developer, &format!("/v3/users?{query}")).await;
        assert_eq!(reply.guids(), expected, "{query}");
    }
    for query in ["origins=uaa", "usernames=a&partial_usernames=b", "nonsense=1"] {
        let reply = world.get(Who::Admin, &format!("/v3/users?{query}")).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json["errors"][0]["code"]),
            (400, &json!(10005)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_user_is_made_known_and_forgotten() {
    let world = World::new().await;
    account(&world, "user-new", "new").await;
    assert_eq!(world.get(Who::Admin, "/v3/users/user-new").await.status, 404);
    let made = world
        .post(Who::Admin, "/v3/users", json!({"guid": "user-new"}))
        .await
        .ok(201);
    assert_eq!(made["username"], "new");
    assert_eq!(made["presentation_name"], "new");
    assert_eq!(made["origin"], "uaa");
    let again = world
        .post(Who::Admin, "/v3/users", json!({"guid": "user-new"}))
        .await;
    again.refused(422, 10008, "User with guid 'user-new' already exists.");
    let body = json!({"metadata": {"labels": {"team": "a"}}});
    let labelled = world.patch(Who::Admin, "/v3/users/user-new", body).await.ok(200);
    assert_eq!(labelled["metadata"]["labels"]["team"], "a");

    let gone = world.call(Who::Admin, "DELETE", "/v3/users/user-new", None).await;
    let job = world.job(Who::Admin, &gone).await;
    assert_eq!(
        (&job["state"], &job["operation"]),
        (&json!("COMPLETE"), &json!("user.delete"))
    );
    assert_eq!(world.get(Who::Admin, "/v3/users/user-new").await.status, 404);
    // The account is the identity server's to remove, and an unknown one may be deleted again.
    let again = world.call(Who::Admin, "DELETE", "/v3/users/user-new", None).await;
    assert_eq!(again.status, 202, "{}", again.text);
    let back = world
        .post(Who::Admin, "/v3/users", json!({"guid": "user-new"}))
        .await
        .ok(201);
    assert_eq!(back["metadata"]["labels"], json!({}));
    let missing = world
        .call(Who::Admin, "DELETE", "/v3/users/user-none", None)
        .await;
    missing.refused(404, 10010, "User not found");
}

#[tokio::test]
async fn impossible_users_are_refused() {
    let world = World::new().await;
    for (body, detail) in [
        (json!({}), "Guid can't be blank"),
        (json!({"guid": ""}), "Guid must be between 1 and 200 characters"),
        (json!({"guid": "a\n"}), "Guid is invalid"),
        (
            json!({"guid": "a", "username": "b"}),
            "Username cannot be provided with guid. Give one of them.",
        ),
        (
            json!({"username": "b", "origin": "uaa"}),
            "Origin cannot be 'uaa' when creating a user by username",
        ),
        (json!({"guid": "a", "x": 1}), "Unknown field(s): 'x'"),
    ] {
        world
            .post(Who::Admin, "/v3/users", body)
            .await
            .refused(422, 10008, detail);
    }
}

#[tokio::test]
async fn clients_can_hold_roles() {
    let world = World::new().await;
    let made = world
        .post(Who::Admin, "/v3/users", json!({"guid": "ci"}))
        .await
        .ok(201);
    assert_eq!((&made["username"], &made["origin"]), (&Value::Null, &Value::Null));
    assert_eq!(made["presentation_name"], "ci");
    assert!(
        world
            .get(Who::Admin, "/v3/users?usernames=ci")
            .await
            .guids()
            .is_empty()
    );
    for (kind, place, guid) in [
        ("organization_user", "organization", "org-1"),
        ("space_developer", "space", "space-1"),
    ] {
        let body = json!({"type": kind, "relationships": {
            place: {"data": {"guid": guid}}, "user": {"data": {"guid": "ci"}},
        }});
        world.post(Who::Admin, "/v3/roles", body).await.ok(201);
    }
    let token = client_token("ci");
    let apps = world.send(Some(&token), "GET", "/v3/apps", None).await;
    assert_eq!(apps.guids(), ["app-1"]);
    world
        .call(Who::Admin, "DELETE", "/v3/users/ci", None)
        .await
        .ok(202);
    let apps = world.send(Some(&token), "GET", "/v3/apps", None).await;
    assert!(apps.guids().is_empty());
}

#[tokio::test]
async fn a_deleted_account_ends_its_tokens() {
    let world = World::new().await;
    assert_eq!(world.get(Who::Developer, "/v3/apps").await.guids(), ["app-1"]);
    let tx = world.store.write().await.unwrap();
    tx.delete::<store::user::Entity>("user-developer").await.unwrap();
    tx.commit().await.unwrap();
    world
        .get(Who::Developer, "/v3/apps")
        .await
        .refused(401, 1000, "Invalid Auth Token");
    let roles = world.get(Who::Admin, "/v3/roles?user_guids=user-developer").await;
    assert!(roles.guids().is_empty());
}
