//! What `cf push --docker-image` asks, in its order, up to the build; and what it is told when something is in the way.

use serde_json::{Value, json};
use store::{Query, app, desired_lrp};

use crate::world::{Who, World};

const MANIFEST: &str = "/v3/spaces/space-1/actions/apply_manifest";

fn manifest(app: &str) -> Value {
    format!(
        "---\napplications:\n- name: {app}\n  docker:\n    image: registry.example.org/new:1\n  default-route: true\n  \
         instances: 2\n  memory: 128M\n  disk-quota: 512M\n  env:\n    COUNT: 3\n    NOTE: s3cret\n"
    )
    .into()
}

#[tokio::test]
async fn push_goes_through_to_the_build() {
    let world = World::new().await;
    let diff = world
        .post(
            Who::Developer,
            "/v3/spaces/space-1/manifest_diff",
            manifest("new"),
        )
        .await
        .ok(201);
    assert!(diff["diff"].is_array());
    let accepted = world.post(Who::Developer, MANIFEST, manifest("new")).await;
    assert!(accepted.text.is_empty());
    let job = world.job(Who::Developer, &accepted).await;
    assert_eq!(
        (&job["state"], &job["operation"]),
        (&json!("COMPLETE"), &json!("space.apply_manifest"))
    );

    let apps = world
        .get(Who::Developer, "/v3/apps?names=new&space_guids=space-1")
        .await
        .ok(200);
    let app = &apps["resources"][0];
    let guid = app["guid"].as_str().unwrap();
    assert_eq!(
        (&app["state"], &app["lifecycle"]),
        (&json!("STOPPED"), &json!({"type": "docker", "data": {}}))
    );
    let web = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/processes/web"))
        .await
        .ok(200);
    assert_eq!(
        (&web["instances"], &web["memory_in_mb"], &web["disk_in_mb"]),
        (&json!(2), &json!(128), &json!(512))
    );
    let routes = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/routes"))
        .await
        .ok(200);
    assert_eq!(routes["resources"][0]["url"], "new.apps.example.org");
    let env = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/environment_variables"))
        .await
        .ok(200);
    assert_eq!(env["var"], json!({"COUNT": "3", "NOTE": "s3cret"}));
    build(&world, guid).await;
}

#[tokio::test]
async fn source_code_is_refused_before_an_app_is_made() {
    let world = World::new().await;
    let body: Value = "---\napplications:\n- name: source\n  default-route: true\n".into();
    let reply = world.post(Who::Developer, MANIFEST, body).await;
    reply.refused(
        422,
        10008,
        "For application 'source': No image is given. Source code is not built by this platform: build an image of \
         the app and push it with --docker-image (-o), or name it as docker.image in the manifest",
    );
    let apps = world.get(Who::Developer, "/v3/apps?names=source").await;
    assert!(apps.guids().is_empty());
}

/// The part of a push that follows its manifest.
async fn build(world: &World, guid: &str) {
    let data = json!({"image": "registry.example.org/new:1", "username": "robot", "password": "pa55"});
    let body = json!({"type": "docker", "data": data, "relationships": {"app": {"data": {"guid": guid}}}});
    let created = world.post(Who::Developer, "/v3/packages", body).await;
    assert!(!created.headers.contains_key("location") && !created.text.contains("pa55"));
    let package = created.ok(201);
    assert_eq!(
        (&package["state"], &package["data"]["password"]),
        (&json!("READY"), &json!("***"))
    );

    let build = json!({"package": {"guid": package["guid"]}});
    let created = world.post(Who::Developer, "/v3/builds", build.clone()).await;
    assert!(!created.headers.contains_key("location"));
    let staging = created.ok(201);
    assert_eq!(
        (&staging["state"], &staging["droplet"]),
        (&json!("STAGING"), &Value::Null)
    );
    assert_eq!(staging["created_by"]["name"], "developer");
    let busy = world.post(Who::Developer, "/v3/builds", build).await;
    busy.refused(
        422,
        170_017,
        "Only one build can be STAGING at a time per application.",
    );
    let early = world
        .post(
            Who::Developer,
            &format!("/v3/apps/{guid}/actions/restart"),
            Value::Null,
        )
        .await;
    early.refused(422, 10008, "Assign a droplet before starting this app.");
    let droplet = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/droplets/current"))
        .await;
    droplet.refused(404, 10010, "Droplet not found");
}

#[tokio::test]
async fn restart_pins_what_runs_and_stop_unpins_it() {
    let world = World::new().await;
    let before = world
        .get(Who::Developer, "/v3/processes/app-1/stats")
        .await
        .ok(200);
    assert_eq!(before["resources"][0]["state"], "DOWN");
    let started = world
        .post(Who::Developer, "/v3/apps/app-1/actions/restart", Value::Null)
        .await
        .ok(200);
    assert_eq!(started["state"], "STARTED");
    let pinned = async || {
        let tx = world.store.read().await.unwrap();
        tx.all(Query::<desired_lrp::Entity>::new()).await.unwrap()
    };
    let rows = pinned().await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].process_guid.as_str(), rows[0].memory_mb), ("app-1", 256));
    assert!(!rows[0].spec_sealed.contains("s3cret"));
    // Rows exist from the first moment: an empty list would read as success.
    let stats = world
        .get(Who::Developer, "/v3/processes/app-1/stats")
        .await
        .ok(200);
    assert_eq!(stats["resources"][0]["state"], "STARTING");
    let again = world
        .post(Who::Developer, "/v3/apps/app-1/actions/start", Value::Null)
        .await
        .ok(200);
    assert_eq!(again["state"], "STARTED");
    assert_eq!(pinned().await, rows, "starting a started app changes nothing");
    world
        .post(Who::Developer, "/v3/apps/app-1/actions/restart", Value::Null)
        .await
        .ok(200);
    assert_ne!(
        pinned().await[0].guid,
        rows[0].guid,
        "restarting makes a new version"
    );
    world
        .post(Who::Developer, "/v3/apps/app-1/actions/stop", Value::Null)
        .await
        .ok(200);
    assert!(pinned().await.is_empty());
}

#[tokio::test]
async fn without_the_flag_each_door_says_so() {
    let world = World::new().await;
    world.flag("diego_docker", false).await;
    let told = "For application 'new': Feature Disabled: diego_docker";
    for path in [MANIFEST, "/v3/spaces/space-1/manifest_diff"] {
        world
            .post(Who::Developer, path, manifest("new"))
            .await
            .refused(422, 10008, told);
    }
    let told = "For application 'shop': Feature Disabled: diego_docker";
    world
        .post(Who::Developer, MANIFEST, manifest("shop"))
        .await
        .refused(422, 10008, told);
    let new = json!({"name": "x", "lifecycle": {"type": "docker", "data": {}},
        "relationships": {"space": {"data": {"guid": "space-1"}}}});
    let package = json!({"type": "docker", "data": {"image": "x"}, "relationships": {"app": {"data": {"guid": "app-1"}}}});
    world.post(Who::Developer, "/v3/packages", package).await.ok(201);
    for (path, body) in [
        ("/v3/apps", new),
        ("/v3/builds", json!({"package": {"guid": "package-1"}})),
        ("/v3/apps/app-1/actions/start", Value::Null),
        ("/v3/apps/app-1/actions/restart", Value::Null),
    ] {
        for who in [Who::Developer, Who::Admin] {
            let reply = world.post(who, path, body.clone()).await;
            reply.refused(403, 330_002, "Feature Disabled: diego_docker");
            assert_eq!(reply.json["errors"][0]["title"], "CF-FeatureDisabled");
        }
    }
    for (path, body) in [
        ("/v3/apps/app-1/actions/stop", Value::Null),
        ("/v3/processes/app-1/actions/scale", json!({"instances": 3})),
    ] {
        assert!(
            world.post(Who::Developer, path, body).await.status.is_success(),
            "{path}"
        );
    }
    let message = json!({"enabled": false, "custom_error_message": "ask the operator"});
    world
        .patch(Who::Admin, "/v3/feature_flags/diego_docker", message)
        .await
        .ok(200);
    let reply = world.post(Who::Developer, MANIFEST, manifest("new")).await;
    reply.refused(
        422,
        10008,
        "For application 'new': Feature Disabled: ask the operator",
    );
    let reply = world
        .post(
            Who::Developer,
            "/v3/builds",
            json!({"package": {"guid": "package-1"}}),
        )
        .await;
    reply.refused(403, 330_002, "Feature Disabled: ask the operator");
}

#[tokio::test]
async fn a_manifest_that_cannot_be_applied_fails_the_job() {
    let world = World::new().await;
    let yaml = "applications:\n- name: new\n  docker: {image: x}\n  disk-quota: 9G\n";
    let accepted = world.post(Who::Developer, MANIFEST, yaml.into()).await;
    let job = world.job(Who::Developer, &accepted).await;
    assert_eq!(job["state"], "FAILED");
    let told = job["errors"][0]["detail"].as_str().unwrap();
    assert!(
        told.starts_with("For application 'new': Disk quota too much disk requested"),
        "{told}"
    );
    assert_eq!(job["errors"][0]["code"], 10008);
    let yaml =
        "applications:\n- name: new\n  docker: {image: x}\n  routes: [{route: a.unknown.example.com}]\n";
    let accepted = world.post(Who::Developer, MANIFEST, yaml.into()).await;
    let job = world.job(Who::Developer, &accepted).await;
    let told = job["errors"][0]["detail"].as_str().unwrap();
    assert!(
        told.starts_with("For application 'new': The route 'a.unknown.example.com' did not match"),
        "{told}"
    );
}

#[tokio::test]
async fn every_problem_of_a_manifest_is_told_at_once() {
    let world = World::new().await;
    let yaml = "applications:\n- name: a\n  memory: lots\n- docker: {image: x}\n- name: c\n  env: {PORT: 1}\n  instances: x\n";
    let reply = world.post(Who::Developer, MANIFEST, yaml.into()).await;
    assert_eq!(reply.status, 422);
    let errors = reply.json["errors"].as_array().unwrap();
    let details: Vec<_> = errors.iter().map(|e| e["detail"].as_str().unwrap()).collect();
    assert_eq!(details.len(), 3, "{details:?}");
    assert!(details[0].starts_with("For application 'a': "));
    assert!(details[1].starts_with("For application at index 1: "));
    assert!(details[2].starts_with("For application 'c': "));
    let apps = world.get(Who::Developer, "/v3/apps").await;
    assert_eq!(apps.guids(), ["app-1"], "nothing was made");
    let yaml = "applications:\n- name: c\n  docker: {image: x}\n  env: {PORT: 1}\n";
    let reply = world.post(Who::Developer, MANIFEST, yaml.into()).await;
    reply.refused(
        422,
        10008,
        "For application 'c': Environment variables cannot set PORT",
    );
}

#[tokio::test]
async fn applying_twice_changes_nothing() {
    let world = World::new().await;
    for _ in 0..2 {
        let accepted = world.post(Who::Developer, MANIFEST, manifest("new")).await;
        assert_eq!(world.job(Who::Developer, &accepted).await["state"], "COMPLETE");
    }
    let apps = world.get(Who::Developer, "/v3/apps?names=new").await;
    let guid = apps.guids()[0].to_owned();
    let routes = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/routes"))
        .await;
    assert_eq!(routes.guids().len(), 1);
    let yaml = "applications:\n- name: new\n  no-route: true\n  env: {COUNT: null}\n  command: null\n";
    let accepted = world.post(Who::Developer, MANIFEST, yaml.into()).await;
    assert_eq!(world.job(Who::Developer, &accepted).await["state"], "COMPLETE");
    let routes = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/routes"))
        .await;
    assert!(routes.guids().is_empty());
    let env = world
        .get(Who::Developer, &format!("/v3/apps/{guid}/env"))
        .await
        .ok(200);
    assert_eq!(env["environment_variables"], json!({"NOTE": "s3cret"}));
}

#[tokio::test]
async fn taken_names_are_told_in_the_words_clients_match() {
    let world = World::new().await;
    let app = json!({"name": "shop", "lifecycle": {"type": "docker", "data": {}},
        "relationships": {"space": {"data": {"guid": "space-1"}}}});
    let taken = world.post(Who::Developer, "/v3/apps", app.clone()).await;
    taken.refused(422, 10016, "App with the name 'shop' already exists.");
    let org = world
        .post(Who::Admin, "/v3/organizations", json!({"name": "acme-1"}))
        .await;
    org.refused(422, 10008, "Organization 'acme-1' already exists.");
    let space = json!({"name": "dev", "relationships": {"organization": {"data": {"guid": "org-1"}}}});
    let space = world.post(Who::Manager, "/v3/spaces", space).await;
    space.refused(422, 10008, "Name must be unique per organization");
    let mut other = app;
    other["name"] = "other".into();
    let guid = world.post(Who::Developer, "/v3/apps", other).await.ok(201)["guid"].clone();
    let path = format!("/v3/apps/{}", guid.as_str().unwrap());
    let renamed = world.patch(Who::Developer, &path, json!({"name": "shop"})).await;
    renamed.refused(422, 10016, "App with the name 'shop' already exists.");
}

#[tokio::test]
async fn variables_are_sealed_and_shown_to_developers_only() {
    let world = World::new().await;
    let body = json!({"var": {"TOKEN": null, "KEY": "t0ps3cret", "EMPTY": ""}});
    let path = "/v3/apps/app-1/environment_variables";
    let shown = world.patch(Who::Developer, path, body).await.ok(200);
    assert_eq!(shown["var"], json!({"KEY": "t0ps3cret", "EMPTY": ""}));
    let tx = world.store.read().await.unwrap();
    let row = tx.get::<app::Entity>("app-1").await.unwrap();
    assert!(!row.env_sealed.contains("t0ps3cret"));
    assert!(
        world
            .sealer
            .open(&row.env_sealed, "app-1")
            .unwrap()
            .expose()
            .contains("t0ps3cret")
    );
    drop(tx);
    for who in [Who::Auditor, Who::Manager] {
        let refused = world.get(who, path).await;
        refused.refused(
            403,
            10003,
            "You are not authorized to perform the requested action",
        );
    }
    let events = world.get(Who::Admin, "/v3/audit_events?target_guids=app-1").await;
    assert!(!events.text.contains("t0ps3cret"), "{}", events.text);
    let env = world.get(Who::Developer, "/v3/apps/app-1/env").await.ok(200);
    let vcap = &env["application_env_json"]["VCAP_APPLICATION"];
    assert_eq!(
        (&vcap["application_name"], &vcap["organization_name"]),
        (&json!("shop"), &json!("acme-1"))
    );
    assert_eq!(vcap["application_uris"], json!(["shop-1.apps.example.org"]));
    assert_eq!(env["system_env_json"], json!({"VCAP_SERVICES": {}}));
}

#[tokio::test]
async fn bodies_are_checked_in_the_apis_words() {
    let world = World::new().await;
    let scale = "/v3/apps/app-1/processes/web/actions/scale";
    for (path, body, status, detail) in [
        (
            scale,
            json!({"instances": -1}),
            422,
            "Instances must be greater than or equal to 0",
        ),
        (
            scale,
            json!({"memory_in_mb": 0}),
            422,
            "Memory in mb must be greater than 0",
        ),
        (scale, json!({"x": 1}), 422, "Unknown field(s): 'x'"),
        ("/v3/apps", json!({}), 422, "Name can't be blank"),
        (
            "/v3/packages",
            json!({"type": "docker", "data": {"image": "x", "tag": "1"},
            "relationships": {"app": {"data": {"guid": "app-1"}}}}),
            422,
            "Unknown field(s): 'tag'",
        ),
        (
            "/v3/packages",
            json!({"type": "docker", "data": {"image": "http://x"},
            "relationships": {"app": {"data": {"guid": "app-1"}}}}),
            422,
            "Docker URI [http://x] should not contain scheme",
        ),
        (
            "/v3/packages",
            json!({"type": "bits",
            "relationships": {"app": {"data": {"guid": "app-1"}}}}),
            422,
            "Cannot create bits package for a Docker app.",
        ),
    ] {
        world
            .post(Who::Developer, path, body)
            .await
            .refused(status, 10008, detail);
    }
    let broken = world
        .post(Who::Developer, "/v3/apps", Value::String("{".into()))
        .await;
    assert_eq!(
        (broken.status.as_u16(), &broken.json["errors"][0]["code"]),
        (400, &json!(1001))
    );
}

#[tokio::test]
async fn lists_of_processes_embed_instances_and_hide_commands() {
    let world = World::new().await;
    let list = world
        .get(
            Who::Developer,
            "/v3/processes?space_guids=space-1&embed=process_instances",
        )
        .await
        .ok(200);
    let process = &list["resources"][0];
    assert_eq!(process["command"], "[PRIVATE DATA HIDDEN IN LISTS]");
    assert_eq!(process["process_instances"].as_array().unwrap().len(), 1);
    let shown = world.get(Who::Developer, "/v3/processes/app-1").await.ok(200);
    assert_eq!(shown["command"], "serve --token s3cret");
    assert_eq!(
        world.get(Who::Developer, "/v3/processes?embed=x").await.status,
        400
    );
}
