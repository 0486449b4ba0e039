//! `/v3/roles`: giving, showing and taking roles; the texts `cf` matches on.

use serde_json::{Value, json};

use crate::world::{Who, World};

fn role(kind: &str, place: (&str, &str), user: Value) -> Value {
    json!({"type": kind, "relationships": {place.0: {"data": {"guid": place.1}}, "user": {"data": user}}})
}

const ORG: (&str, &str) = ("organization", "org-1");
const SPACE: (&str, &str) = ("space", "space-1");

#[tokio::test]
async fn create_space_gives_its_four_roles() {
    let world = World::new().await;
    let user = json!({"username": "manager", "origin": "uaa"});
    let again = world
        .post(
            Who::Manager,
            "/v3/roles",
            role("organization_user", ORG, user.clone()),
        )
        .await;
    again.refused(
        422,
        10008,
        "User 'manager' already has 'organization_user' role in organization 'acme-1'.",
    );
    let made = world
        .post(
            Who::Manager,
            "/v3/roles",
            role("space_manager", SPACE, user.clone()),
        )
        .await
        .ok(201);
    assert_eq!(made["type"], "space_manager");
    let expected = json!({
        "user": {"data": {"guid": "user-manager"}}, "organization": {"data": null},
        "space": {"data": {"guid": "space-1"}},
    });
    assert_eq!(made["relationships"], expected);
    let again = world
        .post(
            Who::Manager,
            "/v3/roles",
            role("space_manager", SPACE, user.clone()),
        )
        .await;
    again.refused(
        422,
        10008,
        "User 'manager' already has 'space_manager' role in space 'dev'.",
    );
    world
        .post(Who::Manager, "/v3/roles", role("space_developer", SPACE, user))
        .await
        .ok(201);
    // The new role acts at once.
    world.get(Who::Manager, "/v3/apps/app-1/env").await.ok(200);
}

#[tokio::test]
async fn users_are_found_by_name_or_guid() {
    let world = World::new().await;
    let give = async |who, body| world.post(who, "/v3/roles", body).await;
    for (user, detail) in [
        (
            json!({"username": "x", "origin": "uaa"}),
            "No user exists with the username 'x' and origin 'uaa'.",
        ),
        (
            json!({"username": "nobody", "origin": "ldap"}),
            "No user exists with the username 'nobody' and origin 'ldap'.",
        ),
        (json!({"username": "x"}), "No user exists with the username 'x'."),
        (
            json!({"guid": "x"}),
            "Invalid user. Ensure that the user exists and you have access to it.",
        ),
        (
            json!({"guid": "user-nobody", "username": "nobody"}),
            "Username cannot be specified when identifying user by guid",
        ),
        (
            json!({}),
            "User guid or username must be given in relationships.user.data",
        ),
    ] {
        give(Who::Manager, role("organization_user", ORG, user))
            .await
            .refused(422, 10008, detail);
    }
    // A manager does not see this user, but may name it.
    give(
        Who::Manager,
        role("organization_user", ORG, json!({"username": "nobody"})),
    )
    .await
    .ok(201);
    give(
        Who::Admin,
        role("organization_auditor", ORG, json!({"guid": "user-neighbour"})),
    )
    .await
    .ok(201);
    world.flag("set_roles_by_username", false).await;
    let named = give(
        Who::Manager,
        role("organization_auditor", ORG, json!({"username": "nobody"})),
    )
    .await;
    named.refused(403, 330_002, "Feature Disabled: set_roles_by_username");
    give(
        Who::Admin,
        role("organization_auditor", ORG, json!({"username": "nobody"})),
    )
    .await
    .ok(201);
}

#[tokio::test]
async fn a_role_in_a_space_needs_one_in_its_org() {
    let world = World::new().await;
    let no_org =
        "Users cannot be assigned roles in a space if they do not have a role in that space's organization.";
    for user in [
        json!({"username": "nobody", "origin": "uaa"}),
        json!({"username": "x", "origin": "uaa"}),
        json!({"username": "x"}),
        json!({"guid": "user-nobody"}),
    ] {
        let reply = world
            .post(Who::Manager, "/v3/roles", role("space_auditor", SPACE, user))
            .await;
        reply.refused(422, 10008, no_org);
    }
    let member = "/v3/roles/developer-organization_user";
    let kept = world.call(Who::Manager, "DELETE", member, None).await;
    kept.refused(
        422,
        10008,
        "Cannot delete organization_user role while user has roles in spaces in that organization.",
    );
    let space_role = "/v3/roles/developer-space_developer";
    let gone = world.call(Who::Manager, "DELETE", space_role, None).await;
    assert_eq!(world.job(Who::Manager, &gone).await["operation"], "role.delete");
    assert!(world.get(Who::Developer, "/v3/apps").await.guids().is_empty());
    world.call(Who::Manager, "DELETE", member, None).await.ok(202);
    assert!(
        world
            .get(Who::Developer, "/v3/organizations")
            .await
            .guids()
            .is_empty()
    );
    world
        .call(Who::Manager, "DELETE", member, None)
        .await
        .refused(404, 10010, "Role not found");
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused() {
    let world = World::new().await;
    let user = json!({"username": "auditor"});
    let give = async |body| world.post(Who::Manager, "/v3/roles", body).await;
    for (body, part) in [
        (
            role("king", ORG, user.clone()),
            "Type must be one of the allowed types",
        ),
        (role("space_auditor", ORG, user.clone()), "Space can't be blank"),
        (
            role("organization_auditor", SPACE, user.clone()),
            "Organization can't be blank",
        ),
        (
            role("space_auditor", ("space", "space-2"), user.clone()),
            "Invalid space.",
        ),
        (
            role("organization_auditor", ("organization", "org-2"), user.clone()),
            "Invalid organization.",
        ),
        (
            json!({"type": "space_auditor", "relationships": {"user": {"data": user}}}),
            "Role must be associated",
        ),
        (json!({"type": "space_auditor"}), "Relationships can't be blank"),
    ] {
        let reply = give(body).await;
        assert_eq!(reply.status, 422, "{}", reply.text);
        assert!(
            reply.detail().starts_with(part) || reply.detail().contains(part),
            "{}",
            reply.text
        );
    }
}

#[tokio::test]
async fn lists_filter_and_include() {
    let world = World::new().await;
    let list = async |query: &str| world.get(Who::Manager, &format!("/v3/roles?{query}")).await;
    let of_org = list("organization_guids=org-1&include=user").await;
    assert_eq!(
        of_org.guids(),
        [
            "manager-organization_user",
            "manager-organization_manager",
            "developer-organization_user",
            "auditor-organization_user"
        ]
    );
    let names: Vec<_> = of_org.json["included"]["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| &u["username"])
        .collect();
    assert_eq!(names, ["manager", "developer", "auditor"]);
    let of_space = list("space_guids=space-1&types=space_developer&include=user,space,organization").await;
    assert_eq!(of_space.guids(), ["developer-space_developer"]);
    assert_eq!(of_space.json["included"]["spaces"][0]["guid"], "space-1");
    assert_eq!(of_space.json["included"]["organizations"], json!([]));
    assert_eq!(list("user_guids=user-auditor").await.guids().len(), 2);
    // A developer sees the roles of the org and of its own space.
    assert_eq!(world.get(Who::Developer, "/v3/roles").await.guids().len(), 6);
    assert_eq!(list("include=app").await.status, 400);
    world
        .get(Who::Manager, "/v3/roles/neighbour-space_developer")
        .await
        .refused(404, 10010, "Role not found");
}

#[tokio::test]
async fn in_a_suspended_org_only_admins_give_roles() {
    let world = World::new().await;
    world
        .patch(Who::Admin, "/v3/organizations/org-1", json!({"suspended": true}))
        .await
        .ok(200);
    let body = role("space_manager", SPACE, json!({"username": "auditor"}));
    let refused = world.post(Who::Manager, "/v3/roles", body.clone()).await;
    refused.refused(403, 10017, "The organization is suspended");
    world.post(Who::Admin, "/v3/roles", body).await.ok(201);
}

#[tokio::test]
async fn giving_and_taking_are_recorded() {
    let world = World::new().await;
    let body = role("space_manager", SPACE, json!({"username": "auditor"}));
    let made = world.post(Who::Manager, "/v3/roles", body).await.ok(201);
    let path = format!("/v3/roles/{}", made["guid"].as_str().unwrap());
    world.call(Who::Manager, "DELETE", &path, None).await.ok(202);
    let events = world
        .get(Who::Admin, "/v3/audit_events?target_guids=user-auditor")
        .await
        .ok(200);
    let kinds: Vec<_> = events["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["type"])
        .collect();
    assert_eq!(
        kinds,
        ["audit.user.space_manager_add", "audit.user.space_manager_remove"]
    );
    assert_eq!(events["resources"][0]["actor"]["name"], "manager");
    assert_eq!(events["resources"][0]["space"]["guid"], "space-1");
}
