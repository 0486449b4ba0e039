//! Look-up and updates of the route table.

use super::*;

fn route(host: &str, path: &str, guids: &[&str]) -> v1::Route {
    let backend = |guid: &&str| v1::Backend {
        address: "127.0.0.1:8080".into(),
        protocol: "http1".into(),
        app_guid: format!("app-of-{guid}"),
        instance_guid: (*guid).into(),
        ..Default::default()
    };
    v1::Route {
        key: Some(v1::RouteKey {
            host: host.into(),
            path: path.into(),
        }),
        route_guid: "route".into(),
        backends: guids.iter().map(backend).collect(),
    }
}

fn snapshot(upserts: Vec<v1::Route>) -> v1::RouteUpdate {
    v1::RouteUpdate {
        snapshot: true,
        upserts,
        revision: 1,
        ..Default::default()
    }
}

fn found(table: &Table, host: &str, path: &str) -> Option<String> {
    let pool = table.lookup(host, path)?;
    Some(String::from_utf8(pool.first()?.guid().to_vec()).unwrap())
}

#[test]
fn longest_path_first_then_parent_wildcards() {
    let table = Table::new();
    table.apply(snapshot(vec![
        route("a.example.com", "", &["root"]),
        route("A.example.com", "/Foo", &["foo"]),
        route("a.example.com", "/foo/bar/", &["bar"]),
        route("b.example.com", "/only", &["only"]),
        route("*.example.com", "", &["wild"]),
        route("*.com", "", &["top"]),
    ]));
    for (host, path, expected) in [
        ("a.example.com", "/", "root"),
        ("a.example.com", "/foo", "foo"),
        ("a.example.com", "/foo/", "foo"),
        ("a.example.com", "/FOO/x", "foo"),
        ("a.example.com", "/foobar", "root"),
        ("a.example.com", "/foo/bar/baz", "bar"),
        ("a.example.com", "/foo/barbaz", "foo"),
        ("a.example.com", "*", "root"),
        ("b.example.com", "/only/x", "only"),
        ("b.example.com", "/other", "wild"),
        ("x.example.com", "/", "wild"),
        ("y.x.example.com", "/", "wild"),
        ("other.com", "/", "top"),
        ("example.com", "/", "top"),
    ] {
        assert_eq!(
            found(&table, host, path).as_deref(),
            Some(expected),
            "{host}{path}"
        );
    }
    assert!(found(&table, "example.org", "/").is_none());
    assert!(found(&table, "com", "/").is_none());
}

#[test]
fn changes_touch_only_what_they_name() {
    let table = Table::new();
    assert_eq!(table.revision(), None);
    table.apply(snapshot(vec![
        route("a.com", "", &["one"]),
        route("a.com", "/p", &["two"]),
    ]));
    assert_eq!(table.revision(), Some(1));

    table.apply(v1::RouteUpdate {
        upserts: vec![route("b.com", "", &["three"]), route("a.com", "/p", &["four"])],
        removals: vec![v1::RouteKey {
            host: "A.com".into(),
            path: String::new(),
        }],
        revision: 2,
        ..Default::default()
    });
    assert_eq!(found(&table, "a.com", "/"), None);
    assert_eq!(found(&table, "a.com", "/p").as_deref(), Some("four"));
    assert_eq!(found(&table, "b.com", "/").as_deref(), Some("three"));

    table.apply(v1::RouteUpdate {
        upserts: vec![route("b.com", "", &[])],
        revision: 3,
        ..Default::default()
    });
    assert_eq!(
        found(&table, "b.com", "/"),
        None,
        "a route without backends is no route"
    );

    table.apply(snapshot(vec![route("c.com", "", &["five"])]));
    assert_eq!(found(&table, "a.com", "/p"), None);
    assert_eq!(found(&table, "c.com", "/").as_deref(), Some("five"));
}

#[test]
fn wildcards_come_and_go() {
    let table = Table::new();
    table.apply(snapshot(vec![]));
    table.apply(v1::RouteUpdate {
        upserts: vec![route("*.a.com", "", &["w"])],
        ..Default::default()
    });
    assert_eq!(found(&table, "x.a.com", "/").as_deref(), Some("w"));
    assert_eq!(found(&table, "a.com", "/"), None);
    let key = v1::RouteKey {
        host: "*.a.com".into(),
        path: String::new(),
    };
    table.apply(v1::RouteUpdate {
        removals: vec![key.clone()],
        ..Default::default()
    });
    table.apply(v1::RouteUpdate {
        removals: vec![key],
        ..Default::default()
    });
    assert_eq!(found(&table, "x.a.com", "/"), None);
    assert_eq!(table.wildcards.load(Ordering::SeqCst), 0);
}

#[test]
fn routes_of_one_instance_share_it_and_updates_keep_it() {
    let table = Table::new();
    table.apply(snapshot(vec![
        route("a.com", "", &["one"]),
        route("b.com", "", &["one"]),
    ]));
    let instance = table.lookup("a.com", "/").unwrap().first().unwrap().clone();
    let slot = instance.acquire(1).unwrap();
    assert_eq!(table.in_flight("one"), 1);
    assert!(Arc::ptr_eq(
        &instance,
        table.lookup("b.com", "/").unwrap().first().unwrap()
    ));
    table.apply(snapshot(vec![route("a.com", "", &["one", "two"])]));
    assert!(Arc::ptr_eq(
        &instance,
        table.lookup("a.com", "/").unwrap().first().unwrap()
    ));

    table.apply(snapshot(vec![]));
    table.sweep(Duration::ZERO);
    drop(instance);
    assert_eq!(
        table.in_flight("one"),
        1,
        "what is in flight is known after removal"
    );
    drop(slot);
    assert_eq!(table.in_flight("one"), 0);
}

#[test]
fn unusable_backends_are_skipped() {
    let table = Table::new();
    let mut bad = route("a.com", "", &["bad", "good"]);
    bad.backends[0].address = "nowhere".into();
    let mut worse = route("b.com", "", &["worse"]);
    worse.backends[0].app_guid = "a\nb".into();
    table.apply(snapshot(vec![bad, worse, v1::Route::default()]));
    assert_eq!(found(&table, "a.com", "/").as_deref(), Some("good"));
    assert_eq!(
        table.lookup("b.com", "/").unwrap().len(),
        0,
        "the route exists, nothing serves it"
    );
}

#[test]
fn a_hundred_thousand_routes_apply_quickly() {
    let table = Table::new();
    let routes = (0..100_000).map(|i| route(&format!("app-{i}.example.com"), "", &[&format!("guid-{i}")]));
    table.apply(snapshot(routes.collect()));
    assert_eq!(
        found(&table, "app-99999.example.com", "/x").as_deref(),
        Some("guid-99999")
    );
}
