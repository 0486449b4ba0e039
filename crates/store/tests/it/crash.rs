//! Crash safety: a process killed in the middle of its commits loses none that it was told of.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base::SystemClock;
use sea_orm::{ConnectionTrait, Statement};
use store::{Options, Store};
use tokio::time::timeout;

use crate::temp_store::{Engine, SOON, TempStore, add_org, on_both_engines, org_names, org_row};

on_both_engines!(a_kill_loses_no_confirmed_commit);

const OPTIONS: &str = "SLIPWAY_STORE_CRASH";

/// Not a test by itself: the process that [`a_kill_loses_no_confirmed_commit`] kills. It writes until it dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(place) = std::env::var_os(OPTIONS).and_then(|place| place.into_string().ok()) else {
        return;
    };
    let options = match place.starts_with("postgres://") {
        true => Options::Postgres(place),
        false => Options::Sqlite(place.into()),
    };
    let store = Store::open(options, Arc::new(SystemClock)).await.unwrap();
    let work = (0..4).map(|_| {
        let store = store.clone();
        async move {
            // Bounded, should the one who is to kill it be gone.
            for _ in 0..100_000 {
                let name = store::new_guid();
                let tx = store.write().await.unwrap();
                tx.insert::<store::org::Entity>(org_row(&name)).await.unwrap();
                tx.insert::<store::org::Entity>(org_row(&format!("{name} twin")))
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
                let told = writeln!(std::io::stdout().lock(), "\nconfirmed {name}");
                if told.is_err() {
                    return;
                }
            }
        }
    });
    base::bounded_join(4, work).await;
}

/// Starts the writer, kills it after `enough` confirmed commits, and gives what it confirmed.
fn run_and_kill(place: &str, enough: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--nocapture", "--test-threads=1"])
        .env(OPTIONS, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut confirmed = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if enough == 0 {
        child.kill().unwrap();
    }
    for line in lines {
        if let Some(name) = line.unwrap().strip_prefix("confirmed ") {
            confirmed.push(name.to_owned());
            if confirmed.len() == enough {
                child.kill().unwrap();
            }
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{status}"
    );
    confirmed
}

async fn a_kill_loses_no_confirmed_commit(db: TempStore) {
    let place = match &db.options {
        Options::Sqlite(path) => path.display().to_string(),
        Options::Postgres(url) => url.clone(),
    };
    let mut confirmed = HashSet::new();
    for enough in [0, 1, 7, 20, 33] {
        let place = place.clone();
        confirmed.extend(
            tokio::task::spawn_blocking(move || run_and_kill(&place, enough))
                .await
                .unwrap(),
        );
        let store = timeout(SOON, db.again())
            .await
            .expect("the dead one holds nothing");
        let names: HashSet<String> = org_names(&store).await.into_iter().collect();
        let lost: Vec<_> = confirmed.difference(&names).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
        let alone = names
            .iter()
            .filter(|name| !name.ends_with(" twin") && !names.contains(&format!("{name} twin")));
        assert_eq!(
            alone.filter(|name| !name.starts_with("after ")).count(),
            0,
            "a transaction is kept whole"
        );
        timeout(SOON, add_org(&store, &format!("after {enough}")))
            .await
            .expect("the next writer gets its turn");
    }
    assert!(confirmed.len() >= 61, "{}", confirmed.len());
    if db.engine == Engine::Sqlite {
        let raw = db.raw().await;
        let check = Statement::from_string(raw.get_database_backend(), "PRAGMA integrity_check");
        let row = raw.query_one_raw(check).await.unwrap().unwrap();
        assert_eq!(row.try_get::<String>("", "integrity_check").unwrap(), "ok");
    }
}
