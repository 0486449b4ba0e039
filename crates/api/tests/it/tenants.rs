//! Two tenants on one platform: what one cannot see does not exist for it.

use serde_json::json;

use crate::world::{Who, World};

#[tokio::test]
async fn lists_show_ones_own_rows_only() {
    let world = World::new().await;
    for (path, own) in [
        ("/v3/organizations", "org-1"),
        ("/v3/spaces", "space-1"),
        ("/v3/apps", "app-1"),
        ("/v3/processes", "app-1"),
        ("/v3/routes", "route-1"),
        ("/v3/packages", "package-1"),
        ("/v3/builds", "build-1"),
        ("/v3/audit_events", "event-1"),
    ] {
        let reply = world.get(Who::Developer, path).await;
        assert_eq!(reply.guids(), [own], "{path}");
        let foreign = own.replace('1', "2");
        let asked = world
            .get(Who::Developer, &format!("{path}?guids={foreign}"))
            .await;
        assert!(asked.guids().is_empty(), "{path}");
        assert_eq!(asked.json["pagination"]["total_results"], 0, "{path}");
        assert!(
            world
                .get(Who::Admin, path)
                .await
                .guids()
                .contains(&foreign.as_str()),
            "{path}"
        );
    }
    let filtered = world.get(Who::Developer, "/v3/apps?space_guids=space-2").await;
    assert!(filtered.guids().is_empty());
}

#[tokio::test]
async fn hidden_things_cannot_be_used() {
    let world = World::new().await;
    let space_2 = json!({"space": {"data": {"guid": "space-2"}}});
    let invalid_space = "Invalid space. Ensure that the space exists and you have access to it.";
    let app = json!({"name": "x", "lifecycle": {"type": "docker", "data": {}}, "relationships": space_2});
    world
        .post(Who::Developer, "/v3/apps", app)
        .await
        .refused(422, 10008, invalid_space);
    let package = json!({"type": "docker", "data": {"image": "x"}, "relationships": {"app": {"data": {"guid": "app-2"}}}});
    let refused = world.post(Who::Developer, "/v3/packages", package).await;
    refused.refused(
        422,
        10008,
        "App is invalid. Ensure it exists and you have access to it.",
    );
    let build = json!({"package": {"guid": "package-2"}});
    let refused = world.post(Who::Developer, "/v3/builds", build).await;
    refused.refused(
        422,
        10008,
        "Unable to use package. Ensure that the package exists and you have access to it.",
    );
    // Another tenant's droplet, even on one's own app.
    let path = "/v3/apps/app-1/relationships/current_droplet";
    let refused = world
        .patch(Who::Developer, path, json!({"data": {"guid": "droplet-2"}}))
        .await;
    refused.refused(
        422,
        10008,
        "Unable to assign current droplet. Ensure the droplet exists and belongs to this app.",
    );
    let body = json!({"destinations": [{"app": {"guid": "app-2"}}]});
    let refused = world
        .post(Who::Developer, "/v3/routes/route-1/destinations", body)
        .await;
    refused.refused(
        422,
        10008,
        "App(s) with guid(s) \"app-2\" do not exist or you do not have access.",
    );
    let both = json!({"space": {"data": {"guid": "space-1"}}, "domain": {"data": {"guid": "domain-2"}}});
    let refused = world
        .post(
            Who::Developer,
            "/v3/routes",
            json!({"host": "x", "relationships": both}),
        )
        .await;
    refused.refused(
        422,
        10008,
        "Invalid domain. Ensure that the domain exists and you have access to it.",
    );
}

#[tokio::test]
async fn a_host_belongs_to_the_space_that_has_it() {
    let world = World::new().await;
    let shared = world
        .get(Who::Neighbour, "/v3/domains?names=apps.example.org")
        .await;
    let domain = shared.guids()[0].to_owned();
    let route = |space: &str, host: &str, path: &str| {
        json!({"host": host, "path": path, "relationships": {
            "space": {"data": {"guid": space}}, "domain": {"data": {"guid": domain}},
        }})
    };
    let reserved = "Routes for this host and domain have been reserved for another space.";
    let mine = world
        .post(Who::Developer, "/v3/routes", route("space-1", "api", "/v1"))
        .await;
    mine.ok(201);
    for (host, path, detail) in [
        (
            "shop-1",
            "",
            "Route already exists with host 'shop-1' for domain 'apps.example.org'.",
        ),
        (
            "SHOP-1",
            "",
            "Route already exists with host 'shop-1' for domain 'apps.example.org'.",
        ),
        ("shop-1", "/admin", reserved),
        ("api", "", reserved),
        ("api", "/v2", reserved),
        (
            "api",
            "/v1",
            "Route already exists with host 'api' and path '/v1' for domain 'apps.example.org'.",
        ),
        (
            "a.b",
            "",
            "Host must be either \"*\" or contain only alphanumeric characters, \"_\", or \"-\"",
        ),
        (
            "console",
            "",
            "Host console.apps.example.org is reserved for the platform.",
        ),
        (
            "",
            "",
            "Missing host. Routes in shared domains must have a host defined.",
        ),
    ] {
        let taken = world
            .post(Who::Neighbour, "/v3/routes", route("space-2", host, path))
            .await;
        taken.refused(422, 10008, detail);
    }
    world
        .post(Who::Developer, "/v3/routes", route("space-1", "shop-1", "/admin"))
        .await
        .ok(201);
}

#[tokio::test]
async fn a_shared_domain_is_nobodys_as_a_whole() {
    let world = World::new().await;
    let shared = world
        .get(Who::Developer, "/v3/domains?names=apps.example.org")
        .await;
    let route = |host: &str, domain: &str| {
        json!({"host": host, "relationships": {
            "space": {"data": {"guid": "space-1"}}, "domain": {"data": {"guid": domain}},
        }})
    };
    let everything = route("*", shared.guids()[0]);
    let refused = world.post(Who::Developer, "/v3/routes", everything.clone()).await;
    refused.refused(
        422,
        10008,
        "You do not have sufficient permissions to create a route with a wildcard host on a domain not scoped to an \
         organization.",
    );
    let by_manifest = "---\napplications:\n- name: shop-1\n  docker: {image: x}\n  routes: [{route: '*.apps.example.org'}]\n";
    let accepted = world
        .post(
            Who::Developer,
            "/v3/spaces/space-1/actions/apply_manifest",
            by_manifest.into(),
        )
        .await;
    let job = world.job(Who::Developer, &accepted).await;
    assert_eq!(job["state"], "FAILED", "{job}");
    // On the organization's own domain it is the organization's to decide.
    world
        .post(Who::Developer, "/v3/routes", route("*", "domain-1"))
        .await
        .ok(201);
    world.post(Who::Admin, "/v3/routes", everything).await.ok(201);
}

#[tokio::test]
async fn a_manifest_cannot_take_a_neighbours_route() {
    let world = World::new().await;
    let manifest =
        "applications:\n- name: thief\n  docker: {image: x}\n  routes: [{route: shop-1.apps.example.org}]\n";
    let path = "/v3/spaces/space-2/actions/apply_manifest";
    let accepted = world.post(Who::Neighbour, path, manifest.into()).await;
    let job = world.job(Who::Neighbour, &accepted).await;
    assert_eq!(job["state"], "FAILED");
    let told = "For application 'thief': Routes cannot be mapped to destinations in different spaces";
    assert_eq!(job["errors"][0]["detail"], told);
    let destinations = world
        .get(Who::Developer, "/v3/routes/route-1/destinations")
        .await
        .ok(200);
    assert_eq!(destinations["destinations"].as_array().unwrap().len(), 1);
    // Nor read the other's job.
    let location = accepted.headers["location"]
        .to_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let foreign = world.get(Who::Developer, &format!("/v3/jobs/{location}")).await;
    foreign.refused(404, 10010, "Job not found");
}

#[tokio::test]
async fn domains_of_others_cannot_be_answered_for() {
    let world = World::new().await;
    let own =
        |name: &str| json!({"name": name, "relationships": {"organization": {"data": {"guid": "org-1"}}}});
    for (name, detail) in [
        (
            "private-1.example.net",
            "The domain name \"private-1.example.net\" is already in use",
        ),
        (
            "example.net",
            "The domain name \"example.net\" cannot be created because a domain below it belongs to another organization",
        ),
        (
            "shop-2.apps.example.org",
            "The domain name \"shop-2.apps.example.org\" cannot be created because it is used by a route",
        ),
        (
            "api.example.org",
            "The domain name \"api.example.org\" is reserved for the platform",
        ),
        (
            "example.org",
            "The domain name \"example.org\" is reserved for the platform",
        ),
        (
            "bad_name.example.net",
            "Name does not comply with RFC 1035 standards",
        ),
        ("10.0.0.1", "Name does not comply with RFC 1035 standards"),
        (
            "sub.private-2.example.net",
            "The domain name \"sub.private-2.example.net\" cannot be created because \"private-2.example.net\" is already reserved by another domain",
        ),
    ] {
        world
            .post(Who::Manager, "/v3/domains", own(name))
            .await
            .refused(422, 10008, detail);
    }
    let shared = world
        .get(Who::Manager, "/v3/domains?names=apps.example.org")
        .await;
    let path = format!("/v3/domains/{}", shared.guids()[0]);
    let refused = world.call(Who::Manager, "DELETE", &path, None).await;
    refused.refused(
        403,
        10003,
        "You are not authorized to perform the requested action",
    );
}

#[tokio::test]
async fn an_address_is_read_in_one_way_only() {
    let world = World::new().await;
    let sub = json!({"name": "sub.private-1.example.net",
        "relationships": {"organization": {"data": {"guid": "org-1"}}}});
    world.post(Who::Manager, "/v3/domains", sub).await.ok(201);
    let host = json!({"host": "sub", "relationships": {
        "space": {"data": {"guid": "space-1"}}, "domain": {"data": {"guid": "domain-1"}},
    }});
    let conflict = world.post(Who::Developer, "/v3/routes", host).await;
    conflict.refused(
        422,
        10008,
        "Route conflicts with domain 'sub.private-1.example.net'.",
    );
}
