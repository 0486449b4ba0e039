//! What all lists have in common: pages, order, filters, labels, includes.

use serde_json::{Value, json};

use crate::world::{API, Who, World};

async fn apps(world: &World, names: &[&str]) {
    for name in names {
        let body = json!({
            "name": name, "lifecycle": {"type": "docker", "data": {}},
            "relationships": {"space": {"data": {"guid": "space-1"}}},
            "metadata": {"labels": if name.contains(',') { json!({}) } else { json!({"name": name}) }},
        });
        world.post(Who::Developer, "/v3/apps", body).await.ok(201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_link_to_each_other_and_keep_the_filters() {
    let world = World::new().await;
    apps(&world, &["a", "b", "c", "d"]).await;
    let mut next = format!("{API}/v3/apps?space_guids=space-1&order_by=-name&per_page=2");
    let mut seen = Vec::new();
    let mut pages = 0;
    while let Some(path) = next.strip_prefix(API) {
        let page = world.get(Who::Developer, path).await.ok(200);
        assert_eq!(page["pagination"]["total_results"], 5);
        assert_eq!(page["pagination"]["total_pages"], 3);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        next = page["pagination"]["next"]["href"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        pages += 1;
    }
    assert_eq!(
        (pages, seen),
        (3, ["shop", "d", "c", "b", "a"].map(str::to_owned).to_vec())
    );
    let beyond = world
        .get(Who::Developer, "/v3/apps?page=9&per_page=2")
        .await
        .ok(200);
    assert_eq!(
        (names(&beyond).len(), &beyond["pagination"]["next"]),
        (0, &Value::Null)
    );
    assert!(
        beyond["pagination"]["previous"]["href"]
            .as_str()
            .unwrap()
            .contains("page=3")
    );
    let empty = world.get(Who::Developer, "/v3/apps?names=none").await.ok(200);
    assert_eq!(
        (&empty["resources"], &empty["pagination"]["total_pages"]),
        (&json!([]), &json!(1))
    );
}

#[tokio::test]
async fn impossible_pages_and_orders_are_refused() {
    let world = World::new().await;
    for query in [
        "page=0",
        "page=x",
        "page=-1",
        "per_page=0",
        "per_page=5001",
        "order_by=nonsense",
        "nonsense=1",
        "label_selector=a%20b",
        "created_ats=yesterday",
        "include=nonsense",
    ] {
        for list in ["/v3/apps", "/v3/spaces"] {
            let reply = world.get(Who::Developer, &format!("{list}?{query}")).await;
            let code = &reply.json["errors"][0]["code"];
            assert_eq!(
                (reply.status.as_u16(), code),
                (400, &json!(10005)),
                "{query}: {}",
                reply.text
            );
        }
    }
    for page in [
        "18446744073709551615",
        "9223372036854775808",
        "4611686018427387904",
    ] {
        let reply = world
            .get(Who::Developer, &format!("/v3/apps?per_page=5000&page={page}"))
            .await;
        assert!(
            reply.status == 200 || reply.status == 400,
            "{page}: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn names_labels_and_times_select() {
    let world = World::new().await;
    apps(&world, &["a,b", "c"]).await;
    for (query, expected) in [
        ("names=a%252Cb", &["a,b"][..]),
        ("names=c,shop", &["shop", "c"]),
        ("names=", &[]),
        ("label_selector=name", &["c"]),
        ("label_selector=name=c", &["c"]),
        ("label_selector=!name", &["shop", "a,b"]),
        ("label_selector=name%20in%20(c,x)", &["c"]),
        ("label_selector=name!=c", &["shop", "a,b"]),
        ("created_ats[gt]=2027-01-15T08:00:00Z", &[]),
        ("created_ats[lte]=2027-01-15T08:00:00Z", &["shop", "a,b", "c"]),
        ("organization_guids=org-1&lifecycle_type=docker&names=c", &["c"]),
        ("stacks=cflinuxfs4", &[]),
    ] {
        let list = world
            .get(Who::Developer, &format!("/v3/apps?{query}"))
            .await
            .ok(200);
        assert_eq!(names(&list), expected, "{query}");
    }
}

#[tokio::test]
async fn includes_bring_what_they_name() {
    let world = World::new().await;
    let apps = world
        .get(Who::Developer, "/v3/apps?include=space,space.organization")
        .await
        .ok(200);
    assert_eq!(apps["included"]["spaces"][0]["guid"], "space-1");
    assert_eq!(apps["included"]["organizations"][0]["guid"], "org-1");
    let spaces = world
        .get(Who::Developer, "/v3/spaces?include=organization")
        .await
        .ok(200);
    assert_eq!(spaces["included"]["organizations"][0]["name"], "acme-1");
    let routes = world
        .get(Who::Developer, "/v3/routes?include=domain,space")
        .await
        .ok(200);
    assert_eq!(routes["included"]["domains"][0]["name"], "apps.example.org");
    let plain = world.get(Who::Developer, "/v3/apps").await.ok(200);
    assert!(plain.get("included").is_none());
}

#[tokio::test]
async fn routes_are_found_by_their_parts() {
    let world = World::new().await;
    for (query, expected) in [
        ("hosts=shop-1&paths=", &["route-1"][..]),
        ("hosts=&paths=", &[]),
        ("hosts=shop-1&paths=%2Fx", &[]),
        ("app_guids=app-1", &["route-1"]),
        ("app_guids=app-2", &[]),
        ("ports=80", &[]),
        ("organization_guids=org-1", &["route-1"]),
    ] {
        let reply = world.get(Who::Developer, &format!("/v3/routes?{query}")).await;
        assert_eq!(reply.guids(), expected, "{query}");
    }
}

#[tokio::test]
async fn events_select_by_kind_and_target() {
    let world = World::new().await;
    for (query, expected) in [
        ("types=audit.app.create", &["event-1"][..]),
        ("types=audit.app.delete", &[]),
        ("target_guids=app-1", &["event-1"]),
        ("target_guids[not]=app-1", &[]),
        ("target_guids%5Bnot%5D=app-9", &["event-1"]),
        ("space_guids=space-1&organization_guids=org-1", &["event-1"]),
        ("space_guids=space-2", &[]),
    ] {
        let reply = world
            .get(Who::Auditor, &format!("/v3/audit_events?{query}"))
            .await;
        assert_eq!(reply.guids(), expected, "{query}");
    }
    let event = world.get(Who::Auditor, "/v3/audit_events/event-1").await.ok(200);
    assert_eq!(event["data"]["request"]["name"], "shop");
    assert_eq!(event["organization"]["guid"], "org-1");
    // A manager of the org does not read the space's events.
    assert!(
        world
            .get(Who::Manager, "/v3/audit_events")
            .await
            .guids()
            .is_empty()
    );
    world
        .get(Who::Manager, "/v3/audit_events/event-1")
        .await
        .refused(404, 10010, "Event not found");
}

#[tokio::test]
async fn the_quota_shows_ones_own_orgs() {
    let world = World::new().await;
    let orgs = async |who| {
        let list = world.get(who, "/v3/organization_quotas").await.ok(200);
        list["resources"][0]["relationships"]["organizations"]["data"].clone()
    };
    assert_eq!(orgs(Who::Nobody).await, json!([]));
    assert_eq!(orgs(Who::Developer).await, json!([{"guid": "org-1"}]));
    assert_eq!(orgs(Who::Admin).await.as_array().unwrap().len(), 2);
    let quota = world
        .get(Who::Admin, "/v3/organization_quotas?names=default")
        .await
        .ok(200);
    let quota = &quota["resources"][0];
    assert_eq!(quota["apps"]["total_memory_in_mb"], Value::Null);
    assert_eq!(quota["services"]["paid_services_allowed"], true);
    let org = world.get(Who::Developer, "/v3/organizations/org-1").await.ok(200);
    assert_eq!(org["relationships"]["quota"]["data"]["guid"], quota["guid"]);
}

#[tokio::test]
async fn labels_are_checked_set_and_removed() {
    let world = World::new().await;
    for path in [
        "/v3/apps/app-1",
        "/v3/routes/route-1",
        "/v3/packages/package-1",
        "/v3/droplets/droplet-1",
        "/v3/builds/build-1",
    ] {
        let set = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"note": "any text, really"}}});
        world.patch(Who::Developer, path, set).await.ok(200);
        let unset = json!({"metadata": {"labels": {"a": null}}});
        let shown = world.patch(Who::Developer, path, unset).await.ok(200);
        assert_eq!(
            shown["metadata"],
            json!({"labels": {"b": "2"}, "annotations": {"note": "any text, really"}})
        );
        let bad = json!({"metadata": {"labels": {"-a": "1"}}});
        assert_eq!(world.patch(Who::Developer, path, bad).await.status, 422, "{path}");
    }
}
