//! The change feed: after commits, only after commits, and across processes where the engine can.

use store::org;
use tokio::time::timeout;

use crate::temp_store::{Engine, SOON, TempStore, add_org, on_both_engines, org_row};

on_both_engines!(only_a_commit_wakes_the_feed);

async fn only_a_commit_wakes_the_feed(db: TempStore) {
    let feed = db.store.feed();
    let revision = || *feed.borrow();
    let start = revision();
    let tx = db.store.write().await.unwrap();
    tx.insert::<org::Entity>(org_row("a")).await.unwrap();
    assert_eq!(revision(), start, "not by the write");
    drop(tx);
    db.store.read().await.unwrap().commit().await.unwrap();
    assert_eq!(revision(), start, "not by a drop or a read");
    add_org(&db.store, "a").await;
    assert_eq!(revision(), start + 1, "by the commit, before it is confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_other_processes_wake_the_feed_once() {
    let db = TempStore::new(Engine::Postgres).await;
    let other = db.again().await;
    let mut feed = db.store.feed();
    // What opening the other one committed may still be on its way.
    add_org(&other, "settle").await;
    let settled = async { while crate::temp_store::org_names(&db.store).await.is_empty() {} };
    timeout(SOON, settled).await.unwrap();
    timeout(SOON, feed.wait_for(|revision| *revision >= 2))
        .await
        .unwrap()
        .unwrap();

    let start = *feed.borrow_and_update();
    add_org(&db.store, "mine").await;
    drop(other.write().await.unwrap());
    add_org(&other, "theirs").await;
    // Notifications come in the order of the commits: an echo of ours would be here before theirs.
    timeout(SOON, feed.wait_for(|revision| *revision >= start + 2))
        .await
        .unwrap()
        .unwrap();
    add_org(&other, "theirs too").await;
    timeout(SOON, feed.wait_for(|revision| *revision >= start + 3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*feed.borrow(), start + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_lost_its_connection_listens_again() {
    let db = TempStore::new(Engine::Postgres).await;
    let other = db.again().await;
    let store::Options::Postgres(url) = &db.options else {
        panic!("it is PostgreSQL")
    };
    let mut feed = db.store.feed();
    let cut = || tokio::task::block_in_place(|| crate::postgres::cut_listeners(url));
    for round in 0..3 {
        let start = *feed.borrow_and_update();
        assert_eq!(cut(), 2, "both stores listen");
        timeout(SOON, feed.wait_for(|revision| *revision > start))
            .await
            .expect("it wakes after the gap")
            .unwrap();
        // The other one's listener must be back as well before the next cut counts it.
        let mut theirs = other.feed();
        theirs.mark_unchanged();
        let both = async {
            add_org(&db.store, &format!("mine {round}")).await;
            timeout(SOON, theirs.changed())
                .await
                .expect("the other wakes")
                .unwrap();
        };
        both.await;
        feed.mark_unchanged();
        add_org(&other, &format!("theirs {round}")).await;
        timeout(SOON, feed.changed())
            .await
            .expect("it hears the other again")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_dropping_end_the_listener() {
    let db = TempStore::new(Engine::Postgres).await;
    let store::Options::Postgres(url) = &db.options else {
        panic!("it is PostgreSQL")
    };
    timeout(SOON, db.again().await.close())
        .await
        .expect("closing does not hang")
        .unwrap();
    drop(db.again().await);
    let only_one_left = async {
        loop {
            let left = tokio::task::block_in_place(|| crate::postgres::listeners(url));
            if left == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, only_one_left)
        .await
        .expect("only the first store listens");
}
