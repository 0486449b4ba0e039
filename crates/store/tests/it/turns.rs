//! Who waits for whom: writers take turns, readers wait for nobody.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use store::{Query, Store, new_guid, org, user};
use tokio::time::timeout;

use crate::temp_store::{SOON, TempStore, add_org, on_both_engines, org_names, org_row};

on_both_engines!(
    no_update_is_lost,
    readers_keep_their_snapshot_and_never_wait,
    waiting_writers_leave_room_for_readers,
    a_dropped_write_lets_the_next_in_at_once,
    writers_who_gave_up_leave_no_trace,
    a_commit_is_finished_without_its_caller,
);

fn user_row() -> user::Model {
    user::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        username: "ada".into(),
        origin: "uaa".into(),
        password_hash: None,
        email: String::new(),
        given_name: String::new(),
        family_name: String::new(),
        scopes: String::new(),
        revision: 0,
        known_to_api: false,
    }
}

async fn count_up(store: Store, guid: String, times: usize) {
    for _ in 0..times {
        let tx = store.write().await.unwrap();
        let mut row = tx.get::<user::Entity>(&guid).await.unwrap();
        tokio::task::yield_now().await;
        row.revision += 1;
        tx.update::<user::Entity>(row).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn no_update_is_lost(db: TempStore) {
    let other = db.again().await;
    let tx = db.store.write().await.unwrap();
    let guid = tx.insert::<user::Entity>(user_row()).await.unwrap().guid;
    tx.commit().await.unwrap();
    let work = (0..6).map(|i| {
        let store = if i % 2 == 0 {
            db.store.clone()
        } else {
            other.clone()
        };
        count_up(store, guid.clone(), 8)
    });
    base::bounded_join(6, work).await;
    let row = db
        .store
        .read()
        .await
        .unwrap()
        .get::<user::Entity>(&guid)
        .await
        .unwrap();
    assert_eq!(row.revision, 48);
}

async fn readers_keep_their_snapshot_and_never_wait(db: TempStore) {
    add_org(&db.store, "old").await;
    let count = async |tx: &store::Tx| tx.count(Query::<org::Entity>::new()).await.unwrap();
    let early = db.store.read().await.unwrap();
    assert_eq!(count(&early).await, 1);

    let write = db.store.write().await.unwrap();
    write.insert::<org::Entity>(org_row("new")).await.unwrap();
    let during = timeout(SOON, async { count(&db.store.read().await.unwrap()).await }).await;
    assert_eq!(
        during.unwrap(),
        1,
        "a write that is open holds nobody up and shows nothing"
    );
    write.commit().await.unwrap();

    assert_eq!(count(&early).await, 1, "the snapshot stands");
    assert_eq!(org_names(&db.store).await, ["old", "new"]);
}

async fn waiting_writers_leave_room_for_readers(db: TempStore) {
    let held = db.store.write().await.unwrap();
    let tasks = base::Tasks::new();
    let (done, mut finished) = tokio::sync::mpsc::channel(30);
    for number in 0..30 {
        let (store, done) = (db.store.clone(), done.clone());
        tasks.spawn("writer", async move {
            add_org(&store, &format!("org-{number}")).await;
            done.send(()).await.unwrap();
        });
    }
    for _ in 0..30 {
        tokio::task::yield_now().await;
        assert!(timeout(SOON, org_names(&db.store)).await.unwrap().is_empty());
    }
    drop((held, done));
    let all = async { while finished.recv().await.is_some() {} };
    timeout(SOON, all).await.unwrap();
    assert_eq!(org_names(&db.store).await.len(), 30);
}

async fn a_dropped_write_lets_the_next_in_at_once(db: TempStore) {
    let other = db.again().await;
    let tx = db.store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("dropped")).await.unwrap();
    drop(tx);
    // Another process, while this one does nothing more with its connection.
    let started = Instant::now();
    drop(timeout(SOON, other.write()).await.unwrap().unwrap());
    println!("{:?}: other process after {:?}", db.engine, started.elapsed());
    let tx = db.store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("dropped")).await.unwrap();
    drop(tx);
    let started = Instant::now();
    drop(timeout(SOON, db.store.write()).await.unwrap().unwrap());
    println!("{:?}: same process after {:?}", db.engine, started.elapsed());
    assert!(org_names(&db.store).await.is_empty());
}

async fn writers_who_gave_up_leave_no_trace(db: TempStore) {
    let held = db.store.write().await.unwrap();
    held.insert::<org::Entity>(org_row("held")).await.unwrap();
    for patience in 0..20 {
        let gave_up = timeout(Duration::from_millis(patience), db.store.write()).await;
        assert!(gave_up.is_err(), "only one write is open at a time");
    }
    // Given up in the middle of a statement, too.
    held.insert::<org::Entity>(org_row("half")).now_or_never();
    drop(held);
    timeout(SOON, add_org(&db.store, "next")).await.unwrap();
    assert_eq!(org_names(&db.store).await, ["next"]);
}

async fn a_commit_is_finished_without_its_caller(db: TempStore) {
    let mut feed = db.store.feed();
    let tx = db.store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("kept")).await.unwrap();
    // Polled once, then dropped: what happens to a request whose client hangs up.
    let seen = tx.commit().now_or_never();
    assert!(seen.is_none(), "a commit takes longer than one poll");
    timeout(SOON, feed.changed()).await.unwrap().unwrap();
    assert_eq!(org_names(&db.store).await, ["kept"]);
}
