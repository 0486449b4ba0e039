//! Output: complete, in order, never in the program's way.

use runtime::{LogEvent, Stream};

use crate::world::{World, soon};

#[tokio::test]
async fn a_hundred_thousand_lines_arrive_in_order() {
    let world = World::new();
    let script = "i=0; while [ $i -lt 100000 ]; do echo \"line $i\"; i=$((i+1)); done; echo done >&2";
    world
        .runtime
        .create(&world.script("flood", script))
        .await
        .expect("created");
    let mut reader = world.runtime.logs("flood", 0).await.expect("readable");
    world.runtime.start("flood").await.expect("started");
    let (mut next, mut last) = (0, None);
    while let Some(event) = soon(reader.next()).await.expect("readable") {
        let LogEvent::Line(line) = event else {
            panic!("{event:?}")
        };
        match line.stream {
            Stream::Stdout => {
                assert_eq!(line.text, format!("line {next}").as_bytes());
                next += 1;
            }
            Stream::Stderr => last = Some(line),
        }
    }
    assert_eq!(next, 100_000);
    assert_eq!(last.map(|line| line.text), Some(b"done".to_vec()));
    assert_eq!(reader.position(), 100_001);
}

#[tokio::test]
async fn a_silent_daemon_blocks_nobody_and_old_lines_are_counted_as_lost() {
    let world = World::new();
    // 24 MB, three times what is kept, and nobody reads.
    let script = "yes 'a line of forty bytes, counted by hand..' | head -c 24000000; echo end";
    world
        .runtime
        .create(&world.script("silent", script))
        .await
        .expect("created");
    world.runtime.start("silent").await.expect("started");
    assert_eq!(soon(world.runtime.wait("silent")).await.expect("ended").code(), 0);
    let mut reader = world.runtime.logs("silent", 0).await.expect("readable");
    let (mut lines, mut lost, mut last) = (0_u64, 0, Vec::new());
    while let Some(event) = soon(reader.next()).await.expect("readable") {
        match event {
            LogEvent::Line(line) => {
                lines += 1;
                last = line.text;
            }
            LogEvent::Lost(count) => lost += count,
        }
    }
    assert!(last.ends_with(b"end"));
    assert!(lost > 0 && lines > 50_000, "{lines} read, {lost} lost");
    assert_eq!(lines + lost, reader.position());
}

#[tokio::test]
async fn output_without_a_line_end_is_not_lost() {
    let world = World::new();
    let (_, lines) = world
        .run(&world.script("tail", "printf 'a\\r\\n\\nb'; printf c >&2"))
        .await;
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(sorted, ["a", "b", "c"]);
}
