//! `push`: the conversation of the reference, step by step.

use serde_json::{Value, json};

use crate::logs::{batch, envelope};
use crate::server::{Answer, Server};
use crate::terminal::Person;

/// A server on which everything about the app "shop" works.
pub async fn willing() -> Server {
    let server = Server::start().await;
    let job = format!("{}/v3/jobs/J", server.url);
    server.on(
        "POST /v3/spaces/S/actions/apply_manifest",
        Answer::empty(202).with("location", job),
    );
    server.on(
        "GET /v3/jobs/J",
        Answer::json(200, json!({"guid": "J", "state": "PROCESSING"})),
    );
    server.on(
        "GET /v3/jobs/J",
        Answer::json(200, json!({"guid": "J", "state": "COMPLETE"})),
    );
    let app = json!({"guid": "A", "name": "shop", "state": "STARTED", "lifecycle": {"type": "docker"}});
    server.list("GET /v3/apps", json!([app]));
    server.on(
        "POST /v3/packages",
        Answer::json(201, json!({"guid": "P", "state": "READY"})),
    );
    stages(&server);
    server.on(
        "PATCH /v3/apps/A/relationships/current_droplet",
        Answer::json(200, json!({"data": {"guid": "D"}})),
    );
    for action in ["start", "stop", "restart"] {
        server.on(
            &format!("POST /v3/apps/A/actions/{action}"),
            Answer::json(200, app.clone()),
        );
    }
    shows(&server);
    server
}

/// The package is staged, and the stager speaks.
fn stages(server: &Server) {
    server.on(
        "POST /v3/builds",
        Answer::json(201, json!({"guid": "B", "state": "STAGING"})),
    );
    server.on(
        "GET /v3/builds/B",
        Answer::json(200, json!({"guid": "B", "state": "STAGING"})),
    );
    server.on(
        "GET /v3/builds/B",
        Answer::json(
            200,
            json!({"guid": "B", "state": "STAGED", "droplet": {"guid": "D"}}),
        ),
    );
    server.on(
        "GET /api/v1/read/A",
        batch(&[envelope(0, "API", "OUT", "Created app")]),
    );
    let staging = [
        envelope(1, "STG", "OUT", "Resolved nginx"),
        envelope(2, "APP/PROC/WEB", "OUT", "not the stager"),
    ];
    server.on("GET /api/v1/read/A", batch(&staging));
}

/// Everything the summary asks for, but the stats.
fn shows(server: &Server) {
    server.list(
        "GET /v3/apps/A/processes",
        json!([{"guid": "W", "type": "web", "memory_in_mb": 64}]),
    );
    server.on(
        "GET /v3/processes/W",
        Answer::json(
            200,
            json!({"guid": "W", "type": "web", "memory_in_mb": 64, "command": "nginx -g"}),
        ),
    );
    server.list("GET /v3/processes/W/sidecars", json!([]));
    server.list("GET /v3/apps/A/routes", json!([{"url": "shop.example"}]));
    server.on(
        "GET /v3/apps/A/droplets/current",
        Answer::json(
            200,
            json!({"image": "nginx:1", "created_at": "2023-11-14T22:13:20Z", "stack": null}),
        ),
    );
    server.list("GET /v3/deployments", json!([]));
}

/// What the stats say about one instance.
pub fn stats(state: &str, details: &str) -> Answer {
    let mib = 1 << 20;
    Answer::json(
        200,
        json!({"resources": [{"index": 0, "state": state, "type": "web", "uptime": 60, "details": details,
        "mem_quota": 64 * mib, "disk_quota": 1024 * mib, "log_rate_limit": -1, "routable": true,
        "usage": {"mem": 12_897_485, "disk": 0, "log_rate": 100, "cpu": 0.012, "cpu_entitlement": 0.5}}]}),
    )
}

#[tokio::test]
async fn an_image_becomes_a_running_app() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server
        .on("GET /v3/processes/W/stats", stats("STARTING", ""))
        .on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    let done = person
        .run("push shop -o nginx:1 -i 1 -m 64M --random-route")
        .await
        .ends(0);
    done.says(&[
        "Pushing app shop to org o / space s as ann...\n",
        "Staging app and tracing logs...\n   Resolved nginx\n",
        "Waiting for app shop to start...\n",
        "Instances starting...\n",
        "name:              shop\nrequested state:   started\nroutes:            shop.example\nlast uploaded:     ",
        "docker image:      nginx:1\n",
        "type:            web\nsidecars:        \ninstances:       1/1\nmemory usage:    64M\nstart command:   nginx -g\n",
        "     state     since                  cpu    memory         disk       logging             cpu entitlement   details   ready\n\
         #0   running   2023-11-14T22:12:20Z   1.2%   12.3M of 64M   0B of 1G   100B/s of unlimited   50.0%                       true\n"
            .replace("logging             cpu", "logging               cpu").as_str(),
    ]);
    assert_eq!(
        server.changes()[1..],
        [
            "POST /v3/spaces/S/actions/apply_manifest",
            "POST /v3/packages",
            "POST /v3/builds",
            "PATCH /v3/apps/A/relationships/current_droplet",
            "POST /v3/apps/A/actions/restart",
        ]
    );
    let manifest = server.last("POST /v3/spaces/S/actions/apply_manifest");
    assert_eq!(manifest.header("content-type"), "application/x-yaml");
    for line in ["\"name\": \"shop\"", "instances", "64M", "random-route", "image"] {
        let bare = line.replace('"', "");
        let text = manifest.body.replace(['"', '\''], "");
        assert!(text.contains(&bare), "{line}: {}", manifest.body);
    }
    assert_eq!(
        server.last("POST /v3/packages").json(),
        json!({"type": "docker", "relationships": {"app": {"data": {"guid": "A"}}}, "data": {"image": "nginx:1"}})
    );
    assert_eq!(
        server.last("POST /v3/builds").json(),
        json!({"package": {"guid": "P"}})
    );
    assert_eq!(
        server
            .last("PATCH /v3/apps/A/relationships/current_droplet")
            .json(),
        json!({"data": {"guid": "D"}})
    );
    assert_eq!(
        server
            .last("POST /v3/apps/A/actions/restart")
            .header("content-type"),
        "application/json"
    );
}

#[tokio::test]
async fn a_crash_is_explained() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("CRASHED", ""));
    server.list(
        "GET /v3/audit_events",
        json!([{"type": "audit.app.process.crash", "data": {"index": 0, "exit_description": "Exited with status 7", "exit_status": 7}}]),
    );
    let done = person
        .run("push shop -o nginx")
        .await
        .ends(1)
        .complains("Start unsuccessful");
    done.complains("TIP: use 'cf logs shop --recent' for more information")
        .says(&[
            "crashed",
            "Instance 0 crashed: Exited with status 7 (exit status 7)",
            "Last log lines:",
            "[APP/PROC/WEB/0] OUT not the stager",
            "FAILED",
        ]);
}

#[tokio::test]
async fn a_start_that_takes_too_long_gives_up() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on(
        "GET /v3/processes/W/stats",
        stats("DOWN", "insufficient resources: memory"),
    );
    let done = person
        .run("push shop -o nginx")
        .await
        .ends(1)
        .complains("Start app timeout");
    let done = done.says(&["Error starting instances: 'insufficient resources: memory'\n"]);
    assert_eq!(
        done.out.matches("Error starting").count(),
        1,
        "said once, not at every look"
    );
}

#[tokio::test]
async fn refusals_end_before_anything_else_happens() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    person
        .run("push shop")
        .await
        .ends(1)
        .complains("app 'shop' has no image");
    person
        .run("push")
        .await
        .ends(1)
        .complains("Incorrect Usage: The push command requires an app name.");
    person
        .run("push shop -o nginx -u http")
        .await
        .ends(1)
        .complains("Incorrect Usage: '--endpoint'");
    assert_eq!(server.changes().len(), 1, "nothing but the login");
    let other = Server::start().await;
    let person = Person::at_work(&other).await;
    let refused = "For application 'shop': Feature Disabled: diego_docker";
    other.on(
        "POST /v3/spaces/S/actions/apply_manifest",
        Answer::error(422, 10008, "CF-UnprocessableEntity", refused),
    );
    let done = person.run("push shop -o nginx").await.ends(1).says(&["FAILED"]);
    assert_eq!(done.err.lines().last(), Some(refused));
    assert_eq!(other.changes().len(), 2);
}

#[tokio::test]
async fn a_failed_build_is_told_in_the_stager_s_words() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    let failed = json!({"guid": "F", "state": "FAILED", "error": "StagingError - registry.example said 404 for nginx:x"});
    server.on(
        "POST /v3/builds",
        Answer::json(201, json!({"guid": "F", "state": "STAGING"})),
    );
    server.on("GET /v3/builds/F", Answer::json(200, failed));
    // The first build works, the second one fails.
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    person.run("push shop -o nginx").await.ends(0);
    let done = person.run("push shop -o nginx:x").await.ends(1).says(&["FAILED"]);
    assert_eq!(
        done.err.lines().last(),
        Some("StagingError - registry.example said 404 for nginx:x")
    );
}

#[tokio::test]
async fn logs_that_stay_away_do_not_stop_a_push() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    let config = person.home.path().join(".slipway/config.json");
    let elsewhere = person.config().to_string().replace(
        "\"log_cache\":\"http://127.0.0.1:",
        "\"log_cache\":\"http://127.0.0.1:1/",
    );
    std::fs::write(config, elsewhere).unwrap();
    let done = person.run("push shop -o nginx").await.ends(0);
    done.complains("Failed to retrieve logs from Log Cache: ")
        .says(&["instances:       1/1"]);
}

#[tokio::test]
async fn private_images_take_their_password_from_the_environment() {
    let server = willing().await;
    let mut person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    person.docker_password = "p4ss".into();
    let done = person
        .run("-v push shop -o r.example/x --docker-username bob")
        .await
        .ends(0);
    let done = done.says(&["Using docker repository password from environment variable CF_DOCKER_PASSWORD."]);
    assert!(!done.out.contains("p4ss") && !done.err.contains("p4ss"));
    let data = server.last("POST /v3/packages").json()["data"].clone();
    assert_eq!(
        data,
        json!({"image": "r.example/x", "username": "bob", "password": "p4ss"})
    );
    let manifest = server.last("POST /v3/spaces/S/actions/apply_manifest").body;
    assert!(manifest.contains("bob") && !manifest.contains("p4ss"));
    person.docker_password = String::new();
    let done = person
        .run("push shop -o r.example/x --docker-username bob")
        .await
        .ends(1);
    done.says(&[
        "Environment variable CF_DOCKER_PASSWORD not set.",
        "Docker password: ",
        "FAILED",
    ]);
}

#[tokio::test]
async fn a_manifest_in_the_directory_is_applied_and_its_changes_shown() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    person.write(
        "manifest.yml",
        "applications:\n- name: ((name))\n  docker: {image: nginx}\n  instances: 1\n  odd: kept\n",
    );
    let diff =
        json!({"diff": [{"op": "replace", "path": "/applications/0/instances", "was": 3, "value": 1}]});
    server.on("POST /v3/spaces/S/manifest_diff", Answer::json(201, diff));
    person.run("push --var name=shop").await.ends(0).says(&[
        "Applying manifest file ",
        "manifest.yml...",
        "Updating with these attributes...",
        "-   instances: 3\n+   instances: 1\n",
        "Manifest applied",
        "docker image:      nginx:1",
    ]);
    assert!(
        server
            .last("POST /v3/spaces/S/actions/apply_manifest")
            .body
            .contains("kept")
    );
    person
        .run("push")
        .await
        .ends(1)
        .complains("Expected to find variables: name");
}

#[tokio::test]
async fn several_apps_are_pushed_one_after_the_other() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    let app = |guid: &str, name: &str| json!({"guid": guid, "name": name, "state": "STOPPED", "lifecycle": {"type": "docker"}});
    server.list(
        "GET /v3/apps?names=shop%2Cother&space_guids=S",
        json!([app("O2", "other"), app("A", "shop")]),
    );
    person.write(
        "m.yml",
        "applications:\n- {name: shop, docker: {image: one}}\n- {name: other, docker: {image: two}}\n",
    );
    server.on(
        "POST /v3/spaces/S/manifest_diff",
        Answer::json(201, json!({"diff": []})),
    );
    person.run("push -f m.yml --no-start").await.ends(0).says(&[
        "Pushing apps shop, other to org o",
        "App shop",
        "App other",
    ]);
    let images: Vec<Value> = server
        .seen()
        .iter()
        .filter(|s| s.line == "POST /v3/packages")
        .map(|s| s.json()["data"]["image"].clone())
        .collect();
    assert_eq!(images, ["one", "two"]);
    assert!(
        !server
            .changes()
            .iter()
            .any(|line| line.contains("builds") || line.contains("actions/st"))
    );
    let done = person.run("push -f m.yml -i 2").await.ends(1);
    done.complains(
        "Command line flags (except -f and --no-start) cannot be applied when pushing multiple apps",
    );
}

#[tokio::test]
async fn a_rolling_push_hands_the_sizes_to_the_deployment() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    server.on("POST /v3/deployments", Answer::json(201, json!({"guid": "R"})));
    let status =
        |value: &str, reason: &str| json!({"guid": "R", "status": {"value": value, "reason": reason}});
    server.on(
        "GET /v3/deployments/R",
        Answer::json(200, status("ACTIVE", "DEPLOYING")),
    );
    server.on(
        "GET /v3/deployments/R",
        Answer::json(200, status("FINALIZED", "DEPLOYED")),
    );
    server.on(
        "GET /v3/deployments/R",
        Answer::json(200, status("FINALIZED", "CANCELED")),
    );
    let line = "push shop -o nginx --strategy rolling -i 4 -m 1G --max-in-flight 2";
    person.run(line).await.ends(0).says(&[
        "Starting deployment for app shop...",
        "Waiting for app to deploy...",
        "1/1",
    ]);
    assert_eq!(
        server.last("POST /v3/deployments").json(),
        json!({"droplet": {"guid": "D"}, "strategy": "rolling", "relationships": {"app": {"data": {"guid": "A"}}},
            "options": {"max_in_flight": 2, "web_instances": 4, "memory_in_mb": 1024}})
    );
    assert!(
        !server
            .last("POST /v3/spaces/S/actions/apply_manifest")
            .body
            .contains("instances")
    );
    person
        .run(line)
        .await
        .ends(1)
        .complains("Deployment has been canceled");
}
