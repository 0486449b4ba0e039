//! What the database refuses, and what becomes of the transaction then.

use sea_orm::ConnectionTrait;
use store::{StoreError, feature_flag, new_guid, org, space};

use crate::temp_store::{TempStore, add_org, on_both_engines, org_names, org_row};

on_both_engines!(
    a_refused_row_leaves_the_transaction_usable,
    a_failed_statement_forbids_the_commit,
    a_read_transaction_cannot_write,
);

fn space_row(name: &str, org_guid: &str) -> space::Model {
    space::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        name: name.to_owned(),
        org_guid: org_guid.to_owned(),
        ssh_allowed: true,
    }
}

async fn a_refused_row_leaves_the_transaction_usable(db: TempStore) {
    let tx = db.store.write().await.unwrap();
    let acme = tx.insert::<org::Entity>(org_row("acme")).await.unwrap();
    let apex = tx.insert::<org::Entity>(org_row("apex")).await.unwrap();
    let org_conflicts = |result| matches!(result, Err(StoreError::Conflict { noun: "Organization" }));
    let space_conflicts = |result| matches!(result, Err(StoreError::Conflict { noun: "Space" }));
    assert!(
        org_conflicts(tx.insert::<org::Entity>(org_row("acme")).await),
        "a name that is taken"
    );
    let renamed = org::Model {
        name: "acme".into(),
        ..apex.clone()
    };
    assert!(
        org_conflicts(tx.update::<org::Entity>(renamed).await),
        "a change to a name that is taken"
    );
    assert!(
        space_conflicts(tx.insert::<space::Entity>(space_row("dev", "none")).await),
        "no such organization"
    );
    let dev = tx
        .insert::<space::Entity>(space_row("dev", &acme.guid))
        .await
        .unwrap();
    let moved = space::Model {
        org_guid: "none".into(),
        ..dev.clone()
    };
    assert!(
        space_conflicts(tx.update::<space::Entity>(moved).await),
        "a move to no organization"
    );
    let gone = org::Model {
        id: 4711,
        ..org_row("gone")
    };
    assert!(matches!(
        tx.update::<org::Entity>(gone).await,
        Err(StoreError::NotFound { noun: "Organization" })
    ));
    tx.commit().await.unwrap();

    assert_eq!(org_names(&db.store).await, ["acme", "apex"]);
    let tx = db.store.write().await.unwrap();
    assert_eq!(
        tx.get::<space::Entity>(&dev.guid).await.unwrap().org_guid,
        acme.guid
    );
    assert!(tx.delete::<org::Entity>(&acme.guid).await.unwrap());
    assert!(
        tx.find::<space::Entity>(&dev.guid).await.unwrap().is_none(),
        "what belongs to it goes with it"
    );
}

async fn a_failed_statement_forbids_the_commit(db: TempStore) {
    db.raw()
        .await
        .execute_unprepared("DROP TABLE feature_flag")
        .await
        .unwrap();
    let feed = db.store.feed();
    let tx = db.store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("lost")).await.unwrap();
    let failed = tx.find::<feature_flag::Entity>("diego_docker").await;
    assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
    assert!(matches!(tx.commit().await, Err(StoreError::Database(_))));
    assert!(!feed.has_changed().unwrap());
    add_org(&db.store, "next").await;
    assert_eq!(org_names(&db.store).await, ["next"]);
}

async fn a_read_transaction_cannot_write(db: TempStore) {
    let tx = db.store.read().await.unwrap();
    let refused = tx.insert::<org::Entity>(org_row("sly")).await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
    drop(tx);
    assert_eq!(org_names(&db.store).await, Vec::<String>::new());
}
