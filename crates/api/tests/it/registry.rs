//! The operator's registry settings, and what they do to apps.

use serde_json::{Value, json};

use crate::world::{Reply, Who, World, token};

const PATH: &str = "/slipway/v1/registry";
const IMAGE: &str = "registry.example.org/shop:1";
const ROOT: &str = "Attempting to run process as root user, which is not permitted. Process web would run as root: \
                    set USER in the image to another user, or set the process's user";

async fn put(world: &World, version: &str, document: Value) -> Reply {
    let header = Some(("if-match", version));
    world
        .send_with(Some(&token(Who::Admin)), ("PUT", PATH), header, Some(document))
        .await
}

#[tokio::test]
async fn a_document_is_stored_whole_and_shown_with_the_options() {
    let world = World::new().await;
    let empty = world.get(Who::Admin, PATH).await.ok(200);
    assert_eq!(
        (&empty["version"], &empty["updated_at"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(empty["options"]["insecure"], json!(["own.example.org:5000"]));
    let written = put(&world, "0", json!({"deny": ["evil.example.org"]})).await;
    assert_eq!(written.headers["etag"], "\"1\"");
    let written = written.ok(200);
    assert_eq!(written["settings"]["deny"], json!(["evil.example.org"]));
    assert_eq!(world.get(Who::Admin, PATH).await.ok(200), written);
    let second = put(&world, "\"1\"", json!({"allow": ["registry.example.org"]}))
        .await
        .ok(200);
    assert_eq!(
        (&second["version"], &second["settings"]["deny"]),
        (&json!(2), &json!([]))
    );
}

#[tokio::test]
async fn a_change_from_an_old_version_is_refused() {
    let world = World::new().await;
    put(&world, "0", json!({})).await.ok(200);
    let late = put(&world, "0", json!({"deny": ["x"]})).await;
    assert_eq!(late.status, 412, "{}", late.text);
    assert!(
        late.detail()
            .contains("at version 1, your change was made from version 0"),
        "{}",
        late.text
    );
    let blind = world.call(Who::Admin, "PUT", PATH, Some(json!({}))).await;
    assert!(
        blind.status == 428 && blind.detail().contains("If-Match"),
        "{}",
        blind.text
    );
    put(&world, "*", json!({})).await.ok(200);
}

#[tokio::test]
async fn a_document_that_cannot_be_used_is_refused_by_name() {
    let world = World::new().await;
    put(&world, "0", json!({"insecure": ["https://x:1"]}))
        .await
        .refused(
            422,
            10008,
            "insecure entry \"https://x:1\" must not have a scheme; write HOST:PORT",
        );
    put(&world, "0", json!({"insecur": []}))
        .await
        .refused(422, 10008, "Unknown field(s): 'insecur'");
    let empty = put(&world, "0", Value::String(" ".into())).await;
    assert!(
        empty.status == 400 && empty.detail().contains("the body is empty"),
        "{}",
        empty.text
    );
    assert_eq!(world.get(Who::Admin, PATH).await.ok(200)["version"], 0);
}

#[tokio::test]
async fn changes_are_events_without_certificates() {
    let world = World::new().await;
    put(
        &world,
        "0",
        json!({"ca_certificates": ["-----BEGIN"], "deny": ["x"]}),
    )
    .await
    .ok(200);
    let events = world
        .get(Who::Admin, "/v3/audit_events?types=slipway.registry.update")
        .await;
    assert!(!events.text.contains("-----BEGIN"), "{}", events.text);
    let event = &events.ok(200)["resources"][0];
    assert_eq!(event["actor"]["name"], "admin");
    assert_eq!(event["data"]["version"], 1);
    assert_eq!(event["data"]["request"]["deny"], json!(["x"]));
    let developer = world
        .get(Who::Developer, "/v3/audit_events?types=slipway.registry.update")
        .await;
    assert!(developer.guids().is_empty());
}

#[tokio::test]
async fn apps_that_rules_refuse_are_reported() {
    let world = World::new().await;
    let path = "/slipway/v1/registry/violations";
    assert_eq!(world.get(Who::Admin, path).await.ok(200)["violations"], json!([]));
    put(&world, "0", json!({"deny": [IMAGE]})).await.ok(200);
    let report = world.get(Who::Admin, path).await.ok(200);
    assert_eq!(report["violations"].as_array().unwrap().len(), 2, "both tenants");
    let first = &report["violations"][0];
    assert_eq!(first["app"]["name"], "shop");
    assert_eq!(
        (&first["space"]["name"], &first["organization"]["name"]),
        (&json!("dev"), &json!("acme-1"))
    );
    assert_eq!(
        (&first["image"], &first["rule"]),
        (&json!(IMAGE), &json!(format!("deny {IMAGE}")))
    );
    put(&world, "1", json!({"allow_root_user": false})).await.ok(200);
    let report = world.get(Who::Admin, path).await.ok(200);
    assert_eq!(
        report["violations"][0]["rule"],
        "allow_root_user: false (process web runs as root)"
    );
}

#[tokio::test]
async fn a_check_tells_its_steps() {
    let world = World::new().await;
    let path = "/slipway/v1/registry/check";
    let check = async |body| world.post(Who::Admin, path, body).await;
    let told = check(json!({"image": "x", "username": "robot", "password": "s3cret"})).await;
    assert!(!told.text.contains("s3cret"));
    let told = told.ok(200);
    assert_eq!(
        told["steps"][0],
        json!({"name": "rules", "outcome": "ok", "detail": "allowed", "ms": 1})
    );
    assert_eq!(told["steps"][1]["detail"], "robot");
    put(&world, "0", json!({"deny": ["x"]})).await.ok(200);
    let told = check(json!({"image": "x"})).await.ok(200);
    assert_eq!(
        told["steps"][0]["outcome"], "failed",
        "the settings in force count"
    );
    check(json!({"image": "x", "username": "robot"})).await.refused(
        422,
        10008,
        "Username and password belong together; give both or neither",
    );
    check(json!({"image": ""}))
        .await
        .refused(422, 10008, "image name is empty");
}

#[tokio::test]
async fn root_is_refused_where_the_operator_says_so() {
    let world = World::new().await;
    let start = async |how: &str| {
        let path = format!("/v3/apps/app-1/actions/{how}");
        world.call(Who::Developer, "POST", &path, None).await
    };
    start("start").await.ok(200);
    put(&world, "0", json!({"allow_root_user": false})).await.ok(200);
    // What runs is left alone, whatever is asked of it short of a new start.
    start("start").await.ok(200);
    let scale = async |instances: u32| {
        let path = "/v3/apps/app-1/processes/web/actions/scale";
        world
            .post(Who::Developer, path, json!({"instances": instances}))
            .await
    };
    scale(2).await.ok(202);
    start("restart").await.refused(422, 10008, ROOT);
    scale(0).await.ok(202);
    scale(1).await.refused(422, 10008, ROOT);
    start("stop").await.ok(200);
    scale(1).await.ok(202);
    start("start").await.refused(422, 10008, ROOT);
    let user = json!({"user": "0:0"});
    world
        .patch(Who::Developer, "/v3/processes/app-1", user)
        .await
        .ok(200);
    start("start").await.refused(422, 10008, ROOT);
    let user = json!({"user": "1000"});
    world
        .patch(Who::Developer, "/v3/processes/app-1", user)
        .await
        .ok(200);
    start("start").await.ok(200);
}
