//! Lists and look-ups: pages, names, tables.

use serde_json::json;

use crate::server::{Answer, Server};
use crate::terminal::Person;

#[tokio::test]
async fn pages_are_followed_on_our_own_origin() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let first = json!({"pagination": {"next": {"href": "https://inside.example/v3/organizations?page=2"}},
        "resources": [{"guid": "1", "name": "one"}]});
    server.on(
        "GET /v3/organizations?order_by=name&label_selector=a",
        Answer::json(200, first),
    );
    server.list(
        "GET /v3/organizations?page=2",
        json!([{"guid": "2", "name": "two"}]),
    );
    let done = person.run("orgs --labels a").await.ends(0);
    assert_eq!(done.out, "Getting orgs as ann...\n\nname\none\ntwo\n");
    assert!(
        server
            .last("GET /v3/organizations?page=2")
            .header("authorization")
            .starts_with("bearer e30.")
    );
}

#[tokio::test]
async fn apps_are_listed_with_processes_and_routes() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.list(
        "GET /v3/apps",
        json!([{"guid": "A", "name": "shop", "state": "STARTED"}, {"guid": "B", "name": "job", "state": "STOPPED"}]),
    );
    let process = |guid: &str, kind: &str, states: &[&str]| {
        json!({"type": kind, "relationships": {"app": {"data": {"guid": guid}}},
            "process_instances": states.iter().map(|state| json!({"state": state})).collect::<Vec<_>>()})
    };
    server.list(
        "GET /v3/processes?space_guids=S&per_page=5000&embed=process_instances",
        json!([
            process("A", "worker", &[]),
            process("A", "web", &["RUNNING", "CRASHED"]),
            process("B", "web", &["DOWN"])
        ]),
    );
    server.list(
        "GET /v3/routes?app_guids=A%2CB&per_page=5000",
        json!([{"url": "shop.example", "destinations": [{"app": {"guid": "A"}}]}]),
    );
    let done = person.run("a").await.ends(0);
    assert_eq!(
        done.out,
        "Getting apps in org o / space s as ann...\n\n\
         name   requested state   processes              routes\n\
         shop   started           web:1/2, worker:0/0    shop.example\n\
         job    stopped           web:0/1                \n"
            .replace("processes              ", "processes             ")
            .replace("web:1/2, worker:0/0    ", "web:1/2, worker:0/0   ")
            .replace("web:0/1                \n", "web:0/1               \n")
    );
}

#[tokio::test]
async fn names_may_hold_commas() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.list("GET /v3/apps", json!([]));
    person
        .run("app a,b")
        .await
        .ends(1)
        .complains("App 'a,b' not found.")
        .says(&["FAILED"]);
    server.last("GET /v3/apps?names=a%252Cb&space_guids=S");
}

#[tokio::test]
async fn reads_are_repeated_and_posts_are_not() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server
        .on("GET /v3/feature_flags", Answer::empty(503))
        .on("GET /v3/feature_flags", Answer::empty(502));
    server.list(
        "GET /v3/feature_flags",
        json!([{"name": "diego_docker", "enabled": false}]),
    );
    person
        .run("feature-flags")
        .await
        .ends(0)
        .says(&["name           state", "diego_docker   disabled"]);
    server.on("POST /v3/organizations", Answer::json(500, json!({"oops": 1})));
    person
        .run("create-org x")
        .await
        .ends(1)
        .complains("Response Code: 500");
    assert_eq!(
        server
            .changes()
            .iter()
            .filter(|line| *line == "POST /v3/organizations")
            .count(),
        1
    );
}

#[tokio::test]
async fn what_exists_already_is_fine() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let exists = Answer::error(
        422,
        10008,
        "CF-UnprocessableEntity",
        "Organization 'x' already exists.",
    );
    server.on("POST /v3/organizations", exists);
    person
        .run("create-org x")
        .await
        .ends(0)
        .says(&["Organization 'x' already exists.", "OK"]);
    let exists = Answer::error(
        422,
        10008,
        "CF-UnprocessableEntity",
        "Name must be unique per organization",
    );
    server.on("POST /v3/spaces", exists);
    person
        .run("create-space y")
        .await
        .ends(0)
        .says(&["Space 'y' already exists.", "OK"]);
    server.list(
        "GET /v3/domains",
        json!([{"guid": "D", "name": "example", "supported_protocols": ["http"]}]),
    );
    server.on(
        "POST /v3/routes",
        Answer::error(
            422,
            10008,
            "CF-UnprocessableEntity",
            "Route already exists with host",
        ),
    );
    let done = person.run("create-route example -n shop").await.ends(0);
    done.says(&["Creating route shop.example for org o / space s as ann...", "OK"])
        .complains("Route already exists");
}

#[tokio::test]
async fn a_space_makes_its_creator_manager_and_developer() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.on("POST /v3/spaces", Answer::json(201, json!({"guid": "N"})));
    let held = Answer::error(
        422,
        10008,
        "CF-UnprocessableEntity",
        "User 'ann' already has 'organization_user' role",
    );
    server
        .on("POST /v3/roles", held)
        .on("POST /v3/roles", Answer::json(201, json!({"guid": "R"})));
    person.run("create-space new").await.ends(0).says(&[
        "SpaceManager",
        "OK",
        "SpaceDeveloper",
        "OK",
        "TIP:",
    ]);
    assert_eq!(
        server
            .changes()
            .iter()
            .filter(|line| *line == "POST /v3/roles")
            .count(),
        4
    );
    assert_eq!(
        server.last("POST /v3/roles").json(),
        json!({"type": "space_developer", "relationships": {
            "user": {"data": {"username": "ann", "origin": "uaa"}}, "space": {"data": {"guid": "N"}}}})
    );
}

#[tokio::test]
async fn deletions_wait_for_their_job() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let job = format!("{}/v3/jobs/J", server.url);
    server.on(
        "DELETE /v3/organizations/O",
        Answer::empty(202).with("location", job),
    );
    server.on(
        "GET /v3/jobs/J",
        Answer::json(200, json!({"guid": "J", "state": "PROCESSING"})),
    );
    let failed = json!({"guid": "J", "state": "FAILED", "errors": [{"code": 1, "title": "t", "detail": "still in use"}]});
    server.on("GET /v3/jobs/J", Answer::json(200, failed));
    server.on(
        "GET /v3/jobs/J",
        Answer::json(200, json!({"guid": "J", "state": "COMPLETE"})),
    );
    person
        .run("delete-org o -f")
        .await
        .ends(1)
        .complains("Job (J) failed: still in use");
    person.run("delete-org o -f").await.ends(0).says(&[
        "Deleting org o as ann...",
        "OK",
        "TIP: No org or space",
    ]);
    let mut person = person;
    person.input = "n\n".into();
    person
        .run("delete-org o")
        .await
        .ends(0)
        .says(&["Really delete the org o", "has not been deleted."]);
}

#[tokio::test]
async fn warnings_of_the_server_are_shown() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let rows = json!({"pagination": {}, "resources": []});
    server.on(
        "GET /v3/audit_events",
        Answer::json(200, rows).with("x-cf-warnings", "first%2C+part,second"),
    );
    server.list("GET /v3/apps", json!([{"guid": "A", "name": "shop"}]));
    let done = person
        .run("events shop")
        .await
        .ends(0)
        .says(&["No events found."]);
    assert_eq!(done.err, "first, part\nsecond\n");
}

#[tokio::test]
async fn roles_are_shown_by_kind() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let role =
        |kind: &str, user: &str| json!({"type": kind, "relationships": {"user": {"data": {"guid": user}}}});
    let page = json!({"pagination": {}, "included": {"users": [
            {"guid": "1", "presentation_name": "zoe", "origin": "uaa"}, {"guid": "2", "presentation_name": "ci", "origin": null}]},
        "resources": [role("organization_manager", "1"), role("organization_manager", "2"), role("organization_user", "1")]});
    server.on(
        "GET /v3/roles?organization_guids=O&include=user",
        Answer::json(200, page),
    );
    let done = person.run("org-users o").await.ends(0);
    done.says(&["ORG MANAGER\n  ci (client)\n  zoe (uaa)\n\nBILLING MANAGER\n  No BILLING MANAGER found\n"]);
}
