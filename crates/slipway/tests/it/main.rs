//! The binary as operators meet it: options, refusals, and that a refusal leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn slipway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(args)
        .env_remove("SLIPWAY_DATA_DIR")
        .output()
        .unwrap()
}

/// Runs a command that must fail with one line that has all these parts.
fn refused(args: &[&str], parts: &[&str]) {
    let output = slipway(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{args:?} succeeded");
    assert_eq!(
        text.trim_end().lines().count(),
        1,
        "{args:?}: more than one line:\n{text}"
    );
    for part in parts {
        assert!(text.contains(part), "{args:?}: no {part:?} in {text}");
    }
}

#[test]
fn help_tells_a_stranger_what_to_do() {
    let text = String::from_utf8(slipway(&["--help"]).stdout).unwrap();
    for part in ["check", "up", "down", "push", "alias cf=slipway"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = String::from_utf8(slipway(&["up", "--help"]).stdout).unwrap();
    for part in [
        "--data-dir",
        "--api-listen",
        "SLIPWAY_HTTP_LISTEN",
        "127.0.0.1:8080",
        "--container-network",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_taken_port_is_named_and_nothing_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = [
        "up",
        "--data-dir",
        data.to_str().unwrap(),
        "--http-listen",
        &address,
    ];
    refused(
        &[
            &args[..],
            &["--api-listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0"],
        ]
        .concat(),
        &[&address, "--http-listen"],
    );
    assert!(!data.exists(), "the data directory was made");
}

#[test]
fn bad_values_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let file = dir.path().join("slipway.toml");
    std::fs::write(&file, "apps-domian = 'x.y'\n").unwrap();
    let anywhere = [
        "--api-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        "--registry-listen",
        "127.0.0.1:0",
    ];
    for (args, parts) in [
        (
            &["--apps-domain", "nonsense"][..],
            &["--apps-domain", "not a domain name"][..],
        ),
        (
            &["--config", file.to_str().unwrap()],
            &["slipway.toml", "apps-domian"],
        ),
        (&["--config", "/nonexistent.toml"], &["cannot read --config"]),
        (
            &["--admin-password-file", "/nonexistent"],
            &["cannot read --admin-password-file"],
        ),
        (&["--insecure-registry", "https://x"], &["https://x"]),
        (&["--container-network", "banana"], &["banana"]),
    ] {
        let args = [&["up", "--data-dir", data][..], &anywhere, args].concat();
        refused(&args, parts);
        assert!(!Path::new(data).exists(), "{args:?} left a data directory");
    }
}

#[test]
fn down_removes_only_what_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "x").unwrap();
    refused(
        &["down", "--data-dir", dir.path().to_str().unwrap()],
        &["not a data directory of Slipway"],
    );
    assert!(dir.path().join("precious").exists());
    let output = slipway(&["down", "--data-dir", dir.path().join("none").to_str().unwrap()]);
    assert!(output.status.success());
}

#[test]
fn check_passes_on_a_machine_that_runs_the_tests() {
    let output = slipway(&["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("This machine can run Slipway"), "{text}");
}
