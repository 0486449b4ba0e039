//! The arrows of the house: which crate may name which of ours in `[dependencies]`, and in which room each heavy
//! third-party crate lives. A new arrow is a one-line change here, to be argued for in the commit.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Crate, what of ours it may use. Every crate of the workspace must be listed; dependencies point downwards only.
const ARROWS: [(&str, &[&str]); 23] = [
    // ground floor
    ("model", &[]),
    ("base", &[]),
    ("sys", &[]),
    // second floor: each knows one subject
    ("planner", &["model"]),
    ("wire", &["model", "base"]),
    ("store", &["model", "base"]),
    ("auth", &["model", "base"]),
    ("image", &["model", "base"]),
    ("rootfs", &["model", "base", "sys"]),
    ("network", &["model", "base", "sys"]),
    ("runtime", &["model", "base", "sys"]),
    // third floor: things that run
    ("uaa", &["model", "base", "store", "auth"]),
    ("api", &["model", "base", "wire", "store", "auth"]),
    (
        "scheduler",
        &["model", "base", "wire", "store", "planner", "image", "auth"],
    ),
    (
        "cell",
        &[
            "model", "base", "wire", "sys", "image", "rootfs", "network", "runtime",
        ],
    ),
    ("router", &["model", "base", "wire"]),
    ("logs", &["model", "base", "wire"]),
    ("registry", &["model", "base"]),
    ("client", &["model", "base"]),
    // the door
    (
        "slipway",
        &[
            "model",
            "base",
            "wire",
            "store",
            "auth",
            "image",
            "uaa",
            "api",
            "scheduler",
            "cell",
            "router",
            "logs",
            "registry",
            "client",
        ],
    ),
    // beside the house
    ("testkit", &[]),
    ("e2e", &["testkit"]),
    ("xtask", &["testkit"]),
];

/// Heavy third parties and the only crates that may name them.
const ROOMS: [(&str, &[&str]); 12] = [
    ("sea-orm", &["store"]),
    ("sea-orm-migration", &["store"]),
    ("tonic", &["wire"]),
    ("tar", &["rootfs", "testkit", "xtask"]),
    ("flate2", &["rootfs", "testkit", "xtask"]),
    ("zstd", &["rootfs"]),
    ("libc", &["sys"]),
    ("jsonwebtoken", &["auth"]),
    ("argon2", &["auth"]),
    ("axum", &["uaa", "api", "logs", "registry", "slipway"]),
    ("indicatif", &["client"]),
    ("rcgen", &["slipway", "testkit"]),
];

/// What `planner` must not reach, even through others: it decides from what it is given.
const IMPURE: [&str; 7] = ["tokio", "hyper", "reqwest", "sea-orm", "rustix", "libc", "rand"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap()
}

fn ours(metadata: &Metadata) -> BTreeMap<String, &Package> {
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| (package.name.to_string(), package))
        .collect()
}

fn direct(package: &Package) -> impl Iterator<Item = String> + '_ {
    package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Normal)
        .map(|d| d.name.clone())
}

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    let ours = ours(&metadata);
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    for (name, package) in &ours {
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not on the map"));
            continue;
        };
        for dependency in direct(package).filter(|d| ours.contains_key(d)) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} → {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not on the map: {wrong:#?}");
}

#[test]
fn heavy_crates_stay_in_their_rooms() {
    let metadata = metadata();
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let mut wrong = Vec::new();
    for (name, package) in ours(&metadata) {
        for dependency in direct(package) {
            if rooms
                .get(dependency.as_str())
                .is_some_and(|rooms| !rooms.contains(&name.as_str()))
            {
                wrong.push(format!("{name} names {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_planner_reaches_no_world() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let by_id: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let name = |id| metadata[id].name.to_string();
    let mut todo: Vec<_> = resolve
        .nodes
        .iter()
        .filter(|node| name(&node.id) == "planner")
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(node) = todo.pop() {
        for dependency in &node.deps {
            let normal = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(name(&dependency.pkg)) {
                todo.push(by_id[&dependency.pkg]);
            }
        }
    }
    let reached: Vec<_> = IMPURE.into_iter().filter(|name| seen.contains(*name)).collect();
    assert!(
        seen.contains("model"),
        "the walk found nothing: it checks nothing"
    );
    assert!(reached.is_empty(), "planner reaches {reached:?}");
}
