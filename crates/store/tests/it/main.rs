//! The store against real databases.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base::ManualClock;
use store::{
    Compare, Direction, LabelRequirement, MetadataKind, Options, Page, Query, Store, StoreError, new_guid,
    org,
};

#[expect(clippy::unwrap_used, reason = "a test's set-up")]
async fn open(dir: &tempfile::TempDir) -> (Store, ManualClock) {
    let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let store = Store::open(
        Options::Sqlite(dir.path().join("db.sqlite")),
        Arc::new(clock.clone()),
    )
    .await
    .unwrap();
    (store, clock)
}

fn org_row(name: &str) -> org::Model {
    org::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        name: name.to_owned(),
        suspended: false,
        quota_guid: "default".to_owned(),
    }
}

#[tokio::test]
async fn rows_are_written_found_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(&dir).await;
    let mut feed = store.feed();
    let tx = store.write().await.unwrap();
    let acme = tx.insert::<org::Entity>(org_row("acme")).await.unwrap();
    assert_eq!(acme.created_at, 1_700_000_000_000_000);
    assert!(matches!(
        tx.insert::<org::Entity>(org_row("acme")).await,
        Err(StoreError::Conflict { noun: "Organization" })
    ));
    tx.commit().await.unwrap();
    assert!(feed.has_changed().unwrap(), "a commit wakes the feed");
    feed.mark_unchanged();

    clock.advance(Duration::from_secs(1));
    let tx = store.write().await.unwrap();
    let renamed = tx
        .update::<org::Entity>(org::Model {
            name: "apex".into(),
            ..acme.clone()
        })
        .await
        .unwrap();
    assert_eq!(renamed.updated_at - renamed.created_at, 1_000_000);
    drop(tx);
    assert!(
        !feed.has_changed().unwrap(),
        "a dropped transaction changes nothing"
    );
    let tx = store.read().await.unwrap();
    assert_eq!(tx.get::<org::Entity>(&acme.guid).await.unwrap().name, "acme");
    assert!(matches!(
        tx.get::<org::Entity>("no").await,
        Err(StoreError::NotFound { noun: "Organization" })
    ));
    drop(tx);

    let tx = store.write().await.unwrap();
    assert!(tx.delete::<org::Entity>(&acme.guid).await.unwrap());
    assert!(!tx.delete::<org::Entity>(&acme.guid).await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn queries_filter_sort_and_page() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(&dir).await;
    for name in ["c", "a", "b", "a_1", "a%2"] {
        let tx = store.write().await.unwrap();
        tx.insert::<org::Entity>(org_row(name)).await.unwrap();
        tx.commit().await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let tx = store.read().await.unwrap();
    let names = async |query: Query<org::Entity>| -> Vec<String> {
        tx.all(query)
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.name)
            .collect()
    };
    let all = Query::<org::Entity>::new;
    assert_eq!(names(all()).await, ["c", "a", "b", "a_1", "a%2"]);
    assert_eq!(
        names(all().order(org::Column::Name, Direction::Descending)).await,
        ["c", "b", "a_1", "a%2", "a"]
    );
    assert_eq!(names(all().any_of(org::Column::Name, ["a", "zz"])).await, ["a"]);
    assert_eq!(
        names(all().any_of(org::Column::Name, Vec::<String>::new())).await,
        Vec::<String>::new()
    );
    assert_eq!(names(all().contains(org::Column::Name, "a_")).await, ["a_1"]);
    assert_eq!(
        names(all().compare(org::Column::CreatedAt, Compare::Gt, 1_700_000_002_000_000)).await,
        ["a_1", "a%2"]
    );
    let (rows, total) = tx.page(all(), Page { number: 2, size: 2 }).await.unwrap();
    assert_eq!((rows.len(), total, rows[0].name.as_str()), (2, 5, "b"));
}

#[tokio::test]
async fn labels_select_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir).await;
    let tx = store.write().await.unwrap();
    let one = tx.insert::<org::Entity>(org_row("one")).await.unwrap();
    tx.insert::<org::Entity>(org_row("two")).await.unwrap();
    tx.set_metadata(&one.guid, MetadataKind::Label, "env", Some("dev"))
        .await
        .unwrap();
    tx.set_metadata(&one.guid, MetadataKind::Label, "env", Some("prod"))
        .await
        .unwrap();
    let count = async |requirement: LabelRequirement| {
        tx.count(Query::<org::Entity>::new().labels(&[requirement]))
            .await
            .unwrap()
    };
    assert_eq!(
        count(LabelRequirement::In("env".into(), vec!["prod".into()])).await,
        1
    );
    assert_eq!(
        count(LabelRequirement::In("env".into(), vec!["dev".into()])).await,
        0
    );
    assert_eq!(
        count(LabelRequirement::NotIn("env".into(), vec!["prod".into()])).await,
        1
    );
    assert_eq!(count(LabelRequirement::Exists("env".into())).await, 1);
    assert_eq!(count(LabelRequirement::Absent("env".into())).await, 1);
    assert_eq!(
        tx.metadata(MetadataKind::Label, [one.guid.as_str()])
            .await
            .unwrap()[0]
            .2,
        "prod"
    );
}

#[tokio::test]
async fn reopening_keeps_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir).await;
    let tx = store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("kept")).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await.unwrap();
    let (store, _) = open(&dir).await;
    assert_eq!(
        store
            .read()
            .await
            .unwrap()
            .count(Query::<org::Entity>::new())
            .await
            .unwrap(),
        1
    );
}
