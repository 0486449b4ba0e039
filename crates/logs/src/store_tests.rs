//! Tests of the store: order, bounds, fairness of eviction, waiting.

use std::time::{Duration, UNIX_EPOCH};

use base::ManualClock;

use super::*;

const NOW: i64 = 1_000_000_000_000;

fn store(settings: Settings) -> Store {
    Store::new(
        settings,
        Arc::new(ManualClock::new(UNIX_EPOCH + Duration::from_nanos(NOW as u64))),
    )
}

fn line(source: &str, timestamp_ns: i64, text: &str) -> Envelope {
    Envelope {
        timestamp_ns,
        source_id: source.into(),
        source_type: "APP/PROC/WEB".into(),
        payload: text.into(),
        ..Envelope::default()
    }
}

fn all(order: Order) -> Range {
    Range {
        start_ns: i64::MIN,
        end_ns: None,
        limit: 1000,
        order,
    }
}

fn texts(lines: &[Entry]) -> Vec<String> {
    lines
        .iter()
        .map(|l| String::from_utf8_lossy(&l.payload).into_owned())
        .collect()
}

#[test]
fn times_strictly_increase_whatever_senders_say() {
    let store = store(Settings::default());
    for (time, text) in [
        (10, "a"),
        (10, "b"),
        (5, "late"),
        (20, "c"),
        (0, "unset"),
        (i64::MAX, "future"),
        (-4, "neg"),
    ] {
        store.append(line("app", time, text));
    }
    let lines = store.read("app", &all(Order::Ascending));
    assert_eq!(texts(&lines), ["a", "b", "late", "c", "unset", "future", "neg"]);
    let times: Vec<_> = lines.iter().map(|l| l.timestamp_ns).collect();
    assert_eq!(times, [10, 11, 12, 20, NOW, NOW + 1, NOW + 2]);
}

#[test]
fn a_walk_by_last_plus_one_sees_every_line_once() {
    let store = store(Settings::default());
    let mut seen = Vec::new();
    let mut start_ns = i64::MIN;
    for round in 0..20 {
        for n in 0..7 {
            store.append(line("app", 100, &format!("{}", round * 7 + n)));
        }
        while let lines @ [.., last] = &store.read(
            "app",
            &Range {
                start_ns,
                limit: 3,
                ..all(Order::Ascending)
            },
        )[..]
        {
            start_ns = last.timestamp_ns + 1;
            seen.extend(texts(lines));
        }
    }
    assert_eq!(seen, (0..140).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn ranges_limits_and_orders() {
    let store = store(Settings::default());
    for n in 1..=9 {
        store.append(line("app", n * 10, &n.to_string()));
    }
    let check = |start_ns, end_ns, limit, order, want: &[&str]| {
        assert_eq!(
            texts(&store.read(
                "app",
                &Range {
                    start_ns,
                    end_ns,
                    limit,
                    order
                }
            )),
            want
        );
    };
    check(30, Some(60), 10, Order::Ascending, &["3", "4", "5"]);
    check(30, Some(60), 2, Order::Ascending, &["3", "4"]);
    check(30, Some(60), 2, Order::Descending, &["5", "4"]);
    check(91, None, 10, Order::Ascending, &[]);
    check(60, Some(30), 10, Order::Ascending, &[]);
    check(i64::MIN, None, 1, Order::Descending, &["9"]);
    assert!(store.read("other", &all(Order::Ascending)).is_empty());
}

#[test]
fn a_source_keeps_its_newest_lines() {
    let store = store(Settings {
        per_source_envelopes: 3,
        ..Settings::default()
    });
    for n in 1..=10 {
        store.append(line("app", n, &n.to_string()));
    }
    assert_eq!(
        texts(&store.read("app", &all(Order::Ascending))),
        ["8", "9", "10"]
    );
    let meta = store.meta();
    assert_eq!(
        meta,
        [(
            "app".into(),
            SourceMeta {
                count: 3,
                expired: 7,
                oldest_ns: 8,
                newest_ns: 10
            }
        )]
    );
}

#[test]
fn a_noisy_source_evicts_itself() {
    let store = store(Settings {
        total_bytes: 64 << 10,
        ..Settings::default()
    });
    store.append(line("quiet", 1, "still here"));
    for n in 0..10_000 {
        store.append(line("noisy", n, "x".repeat(100).as_str()));
    }
    assert!(store.bytes() <= 64 << 10, "{}", store.bytes());
    assert_eq!(
        texts(&store.read("quiet", &all(Order::Ascending))),
        ["still here"]
    );
    assert!(store.read("noisy", &all(Order::Ascending)).len() > 100);
}

#[test]
fn many_sources_stay_within_the_bound_and_the_quiet_ones_go_first() {
    let store = store(Settings {
        total_bytes: 64 << 10,
        ..Settings::default()
    });
    for n in 0..2_000 {
        store.append(line(&format!("app-{n:05}"), n + 1, "hello"));
    }
    assert!(store.bytes() <= 64 << 10, "{}", store.bytes());
    assert!(store.read("app-00000", &all(Order::Ascending)).is_empty());
    assert_eq!(store.read("app-01999", &all(Order::Ascending)).len(), 1);
}

#[test]
fn a_line_larger_than_the_bound_is_evicted_and_the_account_balances() {
    let store = store(Settings {
        total_bytes: 1 << 10,
        ..Settings::default()
    });
    store.append(line("app", 1, &"x".repeat(4096)));
    assert_eq!(store.bytes(), 0);
    let mut tagged = line("app", 2, "small\r\n");
    tagged.tags.insert("app_name".into(), "dora".into());
    store.append(tagged);
    assert_eq!(texts(&store.read("app", &all(Order::Ascending))), ["small"]);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_a_line_or_at_the_deadline() {
    let store = Arc::new(store(Settings::default()));
    let range = all(Order::Ascending);
    assert!(
        store
            .read_or_wait("app", &range, Duration::from_millis(200))
            .await
            .is_empty()
    );
    let (lines, ()) = tokio::join!(
        store.read_or_wait("app", &range, Duration::from_secs(60)),
        async {
            store.append(line("app", 1, "new"));
        }
    );
    assert_eq!(texts(&lines), ["new"]);
}
