//! What a transaction around a single read costs. Printed, not judged: machines differ.

use std::time::Instant;

use store::org;

use crate::temp_store::{TempStore, add_org, on_both_engines};

on_both_engines!(point_reads);

async fn point_reads(db: TempStore) {
    const TIMES: u32 = 500;
    let guid = add_org(&db.store, "acme").await.guid;
    let started = Instant::now();
    for _ in 0..TIMES {
        db.store
            .read()
            .await
            .unwrap()
            .get::<org::Entity>(&guid)
            .await
            .unwrap();
    }
    let each = started.elapsed() / TIMES;
    let tx = db.store.read().await.unwrap();
    let started = Instant::now();
    for _ in 0..TIMES {
        tx.get::<org::Entity>(&guid).await.unwrap();
    }
    let shared = started.elapsed() / TIMES;
    drop(tx);
    let started = Instant::now();
    for number in 0..50 {
        add_org(&db.store, &format!("org-{number}")).await;
    }
    let write = started.elapsed() / 50;
    println!(
        "{:?}: a read {each:?}, inside an open transaction {shared:?}; a committed write {write:?}",
        db.engine
    );
}
