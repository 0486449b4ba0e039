//! Starting, stopping, scaling, routes and deletion of an app.

use serde_json::json;

use crate::push::{stats, willing};
use crate::server::Answer;
use crate::terminal::Person;

#[tokio::test]
async fn restart_stops_and_starts_and_stages_what_nobody_has_staged() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    server.list("GET /v3/packages", json!([{"guid": "P", "state": "READY"}]));
    server.list("GET /v3/packages/P/droplets", json!([{"guid": "D"}]));
    server.list("GET /v3/packages/P/droplets", json!([]));
    let done = person.run("restart shop").await.ends(0);
    done.says(&[
        "Restarting app shop in org o / space s as ann...",
        "Stopping app...",
        "Waiting for app to start...",
        "1/1",
    ]);
    assert_eq!(
        server.changes()[1..],
        ["POST /v3/apps/A/actions/stop", "POST /v3/apps/A/actions/start"]
    );
    person
        .run("restart shop")
        .await
        .ends(0)
        .says(&["Staging app and tracing logs...", "Waiting for app to start..."]);
    assert_eq!(
        server.changes()[3..],
        [
            "POST /v3/builds",
            "POST /v3/apps/A/actions/stop",
            "PATCH /v3/apps/A/relationships/current_droplet",
            "POST /v3/apps/A/actions/start",
        ]
    );
    person
        .run("start shop")
        .await
        .ends(0)
        .says(&["App 'shop' is already started.", "OK"]);
    person
        .run("stop shop")
        .await
        .ends(0)
        .says(&["Stopping app shop in org o / space s as ann...", "OK"]);
    person
        .run("restage shop")
        .await
        .ends(0)
        .complains("This action will cause app downtime.");
}

#[tokio::test]
async fn scaling_restarts_only_for_sizes_and_asks_first() {
    let server = willing().await;
    let mut person = Person::at_work(&server).await;
    server.on("GET /v3/processes/W/stats", stats("RUNNING", ""));
    let path = "POST /v3/apps/A/processes/web/actions/scale";
    server.on(path, Answer::json(202, json!({"guid": "W"})));
    person
        .run("scale shop")
        .await
        .ends(0)
        .says(&["Showing current scale of app shop", "instances:      1/1"]);
    person
        .run("scale shop -i 3")
        .await
        .ends(0)
        .says(&["Scaling app shop", "Showing current scale"]);
    assert_eq!(server.last(path).json(), json!({"instances": 3}));
    assert_eq!(server.changes().len(), 2);
    person
        .run("scale shop -m 1G")
        .await
        .ends(0)
        .says(&["Are you sure you want to scale shop?", "Scaling cancelled"]);
    person.input = "y\n".into();
    person
        .run("scale shop -m 1G -l -1")
        .await
        .ends(0)
        .says(&["Stopping app shop", "Starting app shop"]);
    assert_eq!(
        server.last(path).json(),
        json!({"memory_in_mb": 1024, "log_rate_limit_in_bytes_per_second": -1})
    );
    let done = person.run("scale shop --process x -i 1").await.ends(1);
    done.complains("Process x not found");
}

#[tokio::test]
async fn variables_are_set_shown_and_removed() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    let path = "PATCH /v3/apps/A/environment_variables";
    server.on(path, Answer::json(200, json!({"var": {}})));
    server.on("GET /v3/apps/A/env", Answer::json(200, json!({"environment_variables": {"OPTS": "-Xmx5m"},
        "system_env_json": {"VCAP_SERVICES": {"db": []}}, "application_env_json": {}, "running_env_json": {}, "staging_env_json": {}})));
    person.run("set-env shop OPTS -Xmx5m").await.ends(0).says(&[
        "Setting env variable OPTS for app shop",
        "OK",
        "TIP:",
    ]);
    assert_eq!(server.last(path).json(), json!({"var": {"OPTS": "-Xmx5m"}}));
    person.run("env shop").await.ends(0).says(&[
        "System-Provided:\nVCAP_SERVICES: {\n  \"db\": []\n}\n",
        "User-Provided:\nOPTS: -Xmx5m\n",
        "No running env variables have been set",
    ]);
    person
        .run("unset-env shop OPTS")
        .await
        .ends(0)
        .says(&["OK", "TIP:"]);
    assert_eq!(server.last(path).json(), json!({"var": {"OPTS": null}}));
    person
        .run("unset-env shop NONE")
        .await
        .ends(0)
        .says(&["Env variable NONE was not set.", "OK"]);
}

#[tokio::test]
async fn routes_are_made_mapped_unmapped_and_deleted() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    server.list(
        "GET /v3/domains",
        json!([{"guid": "D", "name": "example", "supported_protocols": ["http"]}]),
    );
    let find = "GET /v3/routes?domain_guids=D&hosts=shop&paths=%2Fv1&page=1&per_page=1";
    let route = json!({"guid": "R", "url": "shop.example/v1",
        "destinations": [{"guid": "X", "app": {"guid": "A", "process": {"type": "web"}}}]});
    server.list(find, json!([])).list(find, json!([route]));
    server.on(
        "POST /v3/routes",
        Answer::json(201, json!({"guid": "R", "url": "shop.example/v1"})),
    );
    server.on("POST /v3/routes/R/destinations", Answer::json(200, json!({})));
    server.on("DELETE /v3/routes/R/destinations/X", Answer::empty(204));
    server.on("DELETE /v3/routes/R", Answer::empty(204));
    let done = person
        .run("map-route shop example --hostname shop --path v1 --app-port 9000")
        .await
        .ends(0);
    done.says(&[
        "Creating route shop.example/v1 for org o",
        "OK",
        "Mapping route shop.example/v1 to app shop in org o",
        "OK",
    ]);
    let body = server.last("POST /v3/routes").json();
    assert_eq!((&body["host"], &body["path"]), (&json!("shop"), &json!("/v1")));
    assert_eq!(
        server.last("POST /v3/routes/R/destinations").json(),
        json!({"destinations": [{"app": {"guid": "A"}, "port": 9000}]})
    );
    person
        .run("map-route shop example -n shop --path /v1")
        .await
        .ends(0)
        .says(&["is already mapped to route"]);
    person
        .run("unmap-route shop example -n shop --path /v1")
        .await
        .ends(0)
        .says(&["Removing route", "OK"]);
    person
        .run("delete-route example -n shop --path /v1 -f")
        .await
        .ends(0)
        .says(&["Deleting route shop.example/v1", "OK"]);
    server.list("GET /v3/routes", json!([]));
    let done = person.run("delete-route example -n gone -f").await.ends(0);
    done.says(&[
        "Unable to delete. Route with host 'gone', domain 'example', and path '/' not found.",
        "OK",
    ]);
}

#[tokio::test]
async fn deleting_an_app_spares_routes_of_others() {
    let server = willing().await;
    let person = Person::at_work(&server).await;
    let job = format!("{}/v3/jobs/J", server.url);
    server.on("DELETE /v3/apps/A", Answer::empty(202).with("location", job));
    server.on("DELETE /v3/routes/R", Answer::empty(204));
    server.list("GET /v3/apps?names=gone&space_guids=S", json!([]));
    person
        .run("delete gone -f")
        .await
        .ends(0)
        .complains("App 'gone' does not exist.")
        .says(&["OK"]);
    let mine = json!([{"guid": "R", "url": "shop.example", "destinations": [{"app": {"guid": "A"}}]}]);
    let shared = json!([{"guid": "R", "url": "shop.example", "destinations": [{"app": {"guid": "A"}}, {"app": {"guid": "B"}}]}]);
    // The first answer was prepared with the app.
    server
        .list("GET /v3/apps/A/routes", shared)
        .list("GET /v3/apps/A/routes", mine);
    person.run("app shop").await.ends(1);
    let done = person.run("delete shop -r -f").await.ends(1);
    done.complains("App 'shop' was not deleted because route 'shop.example' is mapped to more than one app.");
    assert_eq!(server.changes().len(), 1);
    person
        .run("d shop -rf")
        .await
        .ends(0)
        .says(&["Deleting app shop in org o / space s as ann...", "OK"]);
    assert_eq!(
        server.changes()[1..],
        ["DELETE /v3/apps/A", "DELETE /v3/routes/R"]
    );
}
