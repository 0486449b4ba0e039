//! Documents made to exhaust whoever reads them.

use std::process::Command;

use image::ErrorKind;
use testkit::pusher::OCI;

use crate::scripted::{Answer, Server};
use crate::{client, digest, platform, reference};

const CASE: &str = "IMAGE_TEST_HOSTILE_CASE";
/// As large as a manifest or configuration may be.
const LIMIT: usize = 4 << 20;
const CASES: [&str; 12] = [
    "nesting",
    "entries",
    "layers",
    "annotations",
    "env",
    "cmd",
    "labels",
    "ports",
    "diff_ids",
    "history",
    "string",
    "depth",
];

/// `start`, so many `part`s that the limit is reached, `end`.
fn filled(start: &str, part: &str, end: &str) -> String {
    let room = LIMIT - start.len() - end.len() - 64;
    let parts = vec![part; room / (part.len() + 1)];
    format!("{start}{}{end}", parts.join(","))
}

/// As [`filled`], with a number for each `#`.
fn numbered(start: &str, part: &str, end: &str) -> String {
    let (mut text, mut number) = (start.to_owned(), 1);
    while text.len() + part.len() + end.len() + 16 < LIMIT {
        if number > 1 {
            text.push(',');
        }
        text += &part.replace('#', &number.to_string());
        number += 1;
    }
    text + end
}

/// A configuration for the case, or a manifest.
fn document(case: &str) -> (bool, String) {
    let entry = r#"{"digest":"","size":0}"#;
    match case {
        "nesting" => (
            false,
            filled(
                r#"{"schemaVersion":2,"manifests":[{"digest":"","size":0,"annotations":{"a":["#,
                "[]",
                "]}}]}",
            ),
        ),
        "entries" => (false, filled(r#"{"schemaVersion":2,"manifests":["#, entry, "]}")),
        "layers" => (
            false,
            filled(
                &format!(r#"{{"schemaVersion":2,"config":{entry},"layers":["#),
                entry,
                "]}",
            ),
        ),
        "annotations" => (
            false,
            numbered(
                r#"{"schemaVersion":2,"manifests":[{"digest":"","size":0,"annotations":{"#,
                "\"#\":0",
                "}}]}",
            ),
        ),
        "depth" => (false, format!(r#"{{"x":{}"#, "[".repeat(LIMIT - 100))),
        "env" => (true, filled(r#"{"config":{"Env":["#, "\"\"", "]}}")),
        "cmd" => (true, filled(r#"{"config":{"Cmd":["#, "\"\"", "]}}")),
        "labels" => (true, numbered(r#"{"config":{"Labels":{"#, "\"#\":\"\"", "}}}")),
        "ports" => (
            true,
            numbered(r#"{"config":{"ExposedPorts":{"#, "\"#/tcp\":{}", "}}}"),
        ),
        "diff_ids" => (true, filled(r#"{"rootfs":{"diff_ids":["#, "\"\"", "]}}")),
        "history" => (true, filled(r#"{"history":["#, "{}", "]}")),
        "string" => (
            true,
            format!(r#"{{"config":{{"ExposedPorts":"{}"}}}}"#, "a".repeat(LIMIT - 100)),
        ),
        other => panic!("no case {other}"),
    }
}

/// `VmRSS` or `VmHWM` of this process in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn hostile_documents_take_little_memory() {
    if let Some(host) = std::env::var_os(CASE) {
        let image = reference(&format!("{}/app", host.into_string().unwrap()));
        let client = client(&[image.host()]);
        // Once for what the first request loads.
        client
            .blob(&image, None, &digest(b"x"), 1)
            .await
            .expect_err("there is no such blob");
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let error = client
            .resolve(&image, None, &platform("amd64"))
            .await
            .unwrap_err();
        println!("PEAK={} {}", memory("VmHWM") - before, error);
        return;
    }
    for case in CASES {
        let (is_config, text) = document(case);
        assert!(text.len() <= LIMIT, "{case}");
        let id = digest(text.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"layers":[{{"digest":"{id}","size":1,"mediaType":""}}],
                "config":{{"mediaType":"","digest":"{id}","size":{}}}}}"#,
            text.len()
        );
        let server = Server::start(move |asked| match asked.path.contains("/manifests/") {
            true if is_config => Answer::new(200, manifest.clone()).with("content-type", OCI.manifest),
            true => Answer::new(200, text.clone()),
            false if asked.path.ends_with(id.as_str()) => Answer::new(200, text.clone()),
            false => Answer::new(404, ""),
        })
        .await;
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args([
                "--exact",
                "hostile::hostile_documents_take_little_memory",
                "--nocapture",
            ])
            .env(CASE, &server.host);
        let ended = tokio::task::spawn_blocking(move || again.output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success(), "{case}: {text}");
        let line = text.lines().find_map(|line| line.split_once("PEAK=")).unwrap().1;
        let (peak, error) = line.split_once(' ').unwrap();
        println!("{case}: {peak} KiB, {error}");
        assert!(
            peak.parse::<u64>().unwrap() < 32 * 1024,
            "{case}: {peak} KiB, {error}"
        );
        assert!(error.len() < 1000, "{case}: {error}");
    }
}

/// Manifests with what is wrong, and the words that say so.
fn contradictions() -> Vec<(String, ErrorKind, &'static str)> {
    let id = digest(b"x");
    let layer = |size: &str| format!(r#"{{"mediaType":"","digest":"{id}","size":{size}}}"#);
    let of_layers = |layers: String| {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#,
            layer("2")
        )
    };
    let many = vec![layer("1"); 4000].join(",");
    vec![
        (of_layers(layer("-1")), ErrorKind::Malformed, "cannot be read"),
        (
            of_layers(layer("18446744073709551616")),
            ErrorKind::Malformed,
            "cannot be read",
        ),
        (
            of_layers(layer("18446744073709551615")),
            ErrorKind::Malformed,
            "claims to have",
        ),
        (of_layers(layer("1e3")), ErrorKind::Malformed, "cannot be read"),
        (of_layers(layer("\"1\"")), ErrorKind::Malformed, "cannot be read"),
        (
            of_layers(many),
            ErrorKind::Unsupported,
            "4000 layers, more than 512",
        ),
        (
            format!(
                r#"{{"schemaVersion":2,"config":{0},"config":{0},"layers":[]}}"#,
                layer("2")
            ),
            ErrorKind::Malformed,
            "duplicate field",
        ),
        (
            format!(
                r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
                layer("2")
            ),
            ErrorKind::Malformed,
            "both an image and an index",
        ),
        (
            format!(r#"{{"schemaVersion":2,"a":{}"#, "[".repeat(1000)),
            ErrorKind::Malformed,
            "cannot be read",
        ),
        // A configuration of two bytes, `{}`, has no diff ids.
        (
            of_layers(layer("0")),
            ErrorKind::Malformed,
            "1 layers, its configuration 0",
        ),
    ]
}

#[tokio::test]
async fn figures_and_names_that_contradict_are_refused() {
    let (id, config) = (digest(b"x"), digest(b"{}"));
    for (text, kind, word) in contradictions() {
        let text = text.replacen(id.as_str(), config.as_str(), 1);
        let server = Server::start(move |asked| match asked.path.contains("/manifests/") {
            true => Answer::new(200, text.clone()).with("content-type", OCI.manifest),
            false => Answer::new(200, "{}"),
        })
        .await;
        let image = reference(&format!("{}/app", server.host));
        let error = client(&[&server.host])
            .resolve(&image, None, &platform("amd64"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{word}: {error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_token_reply_without_end_is_refused() {
    for body in [vec![b' '; 300 * 1024], vec![b'['; 200 * 1024]] {
        let tokens = Server::start(move |_| Answer::new(200, body.clone())).await;
        let realm = format!("Bearer realm=\"http://{}/t\"", tokens.host);
        let registry = Server::start(move |_| Answer::new(401, "").with("www-authenticate", &realm)).await;
        let image = reference(&format!("{}/app", registry.host));
        let error = client(&[&registry.host, &tokens.host])
            .resolve(&image, None, &platform("amd64"))
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Failing),
            "{error}"
        );
    }
}
