//! Users and roles: the login server knows the accounts, the API what they may do.

use serde_json::json;

use crate::server::{Answer, Server};
use crate::terminal::Person;

const FIND: &str = "GET /Users?filter=userName+eq+%22b%5C%22ob%22";

#[tokio::test]
async fn an_account_is_made_on_both_sides() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.on(FIND, Answer::json(200, json!({"resources": []})));
    server.on("POST /Users", Answer::json(201, json!({"id": "B"})));
    server.on("POST /v3/users", Answer::json(201, json!({"guid": "B"})));
    let done =
        person
            .run("create-user b\"ob pw-1")
            .await
            .ends(0)
            .says(&["Creating user b\"ob...", "OK", "TIP:"]);
    assert!(!done.out.contains("pw-1"));
    let account = server.last("POST /Users").json();
    assert_eq!(
        (&account["userName"], &account["password"]),
        (&json!("b\"ob"), &json!("pw-1"))
    );
    assert_eq!(server.last("POST /v3/users").json(), json!({"guid": "B"}));
    server.on(
        "POST /Users",
        Answer::json(409, json!({"error": "scim_resource_already_exists"})),
    );
    server.on(
        "POST /Users",
        Answer::json(409, json!({"error": "scim_resource_already_exists"})),
    );
    person.run("create-user b\"ob pw-1").await.ends(0);
    person
        .run("create-user b\"ob pw-1")
        .await
        .ends(0)
        .complains("already exists.")
        .says(&["OK"]);
    person
        .run("create-user bob")
        .await
        .ends(1)
        .complains("the required argument `PASSWORD` was not provided");
}

#[tokio::test]
async fn an_account_goes_on_both_sides() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let one = json!({"id": "B", "origin": "uaa"});
    server.on(
        FIND,
        Answer::json(200, json!({"resources": [one, {"id": "C", "origin": "ldap"}]})),
    );
    server.on(FIND, Answer::json(200, json!({"resources": [one]})));
    server.on(
        "DELETE /v3/users/B",
        Answer::error(404, 10010, "CF-ResourceNotFound", "User not found"),
    );
    server.on("DELETE /Users/B", Answer::json(200, json!({"id": "B"})));
    person
        .run("delete-user b\"ob -f")
        .await
        .ends(1)
        .complains("exists in multiple origins: uaa, ldap");
    person
        .run("delete-user b\"ob -f")
        .await
        .ends(0)
        .says(&["Deleting user b\"ob as ann...", "OK"]);
    assert_eq!(server.changes()[1..], ["DELETE /v3/users/B", "DELETE /Users/B"]);
}

#[tokio::test]
async fn roles_come_and_go() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let held = Answer::error(
        422,
        10008,
        "CF-UnprocessableEntity",
        "User 'bob' already has 'space_developer' role",
    );
    server
        .on("POST /v3/roles", Answer::json(201, json!({"guid": "R"})))
        .on("POST /v3/roles", held);
    person
        .run("set-space-role bob o s spacedeveloper")
        .await
        .ends(0)
        .complains("already has role 'SpaceDeveloper'");
    assert_eq!(
        server.last("POST /v3/roles").json(),
        json!({"type": "space_developer", "relationships": {
            "user": {"data": {"username": "bob"}}, "space": {"data": {"guid": "S"}}}})
    );
    server.list("GET /v3/users", json!([{"guid": "B"}]));
    let find = "GET /v3/roles?user_guids=B&types=organization_manager&organization_guids=O&page=1&per_page=1";
    server.list(find, json!([{"guid": "R"}]));
    server.on("DELETE /v3/roles/R", Answer::empty(204));
    person
        .run("unset-org-role bob o OrgManager")
        .await
        .ends(0)
        .says(&["Removing role OrgManager", "OK"]);
    server.last("DELETE /v3/roles/R");
    person
        .run("set-org-role bob o King")
        .await
        .ends(1)
        .complains("Incorrect Usage: ROLE must be \"OrgManager\"");
}
