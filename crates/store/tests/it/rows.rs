//! Rows, queries and labels.

use std::time::Duration;

use store::{Compare, Direction, LabelRequirement, MetadataKind, Page, Query, StoreError, org};

use crate::temp_store::{TempStore, on_both_engines, org_row};

on_both_engines!(
    rows_are_written_found_changed_and_removed,
    queries_filter_sort_and_page,
    labels_select_rows,
    reopening_keeps_the_data,
);

async fn rows_are_written_found_changed_and_removed(db: TempStore) {
    let TempStore { store, clock, .. } = &db;
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

async fn queries_filter_sort_and_page(db: TempStore) {
    let TempStore { store, clock, .. } = &db;
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
    assert_eq!(names(all().contains(org::Column::Name, "A_")).await, ["a_1"]);
    assert_eq!(names(all().contains(org::Column::Name, "")).await.len(), 5);
    assert_eq!(
        names(all().compare(org::Column::CreatedAt, Compare::Gt, 1_700_000_002_000_000)).await,
        ["a_1", "a%2"]
    );
    let (rows, total) = tx.page(all(), Page { number: 2, size: 2 }).await.unwrap();
    assert_eq!((rows.len(), total, rows[0].name.as_str()), (2, 5, "b"));
}

async fn labels_select_rows(db: TempStore) {
    let TempStore { store, .. } = &db;
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

async fn reopening_keeps_the_data(db: TempStore) {
    let TempStore { store, .. } = &db;
    let tx = store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("kept")).await.unwrap();
    tx.commit().await.unwrap();
    store.clone().close().await.unwrap();
    let store = db.again().await;
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
