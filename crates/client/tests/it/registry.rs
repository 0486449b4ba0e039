//! The operator's commands: registry settings, checks, images.

use serde_json::{Value, json};

use crate::server::{Answer, Server};
use crate::terminal::Person;

const GET: &str = "GET /slipway/v1/registry";
const PUT: &str = "PUT /slipway/v1/registry";

async fn world(settings: Value) -> (Server, Person) {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let options = json!({"insecure": ["own:5000"], "deny": [], "mirrors": []});
    let shown = json!({"version": 7, "updated_at": null, "settings": settings, "options": options});
    server.on(GET, Answer::json(200, shown));
    server.on(PUT, Answer::json(200, json!({"version": 8})));
    (server, person)
}

#[tokio::test]
async fn one_entry_is_changed_against_the_version_that_was_read() {
    let (server, person) = world(json!({"deny": ["a"], "allow": [], "mirrors": []})).await;
    let done = person.run("registry deny evil.example.org").await.ends(0);
    assert_eq!(
        done.out,
        "Changing registry settings (deny) as ann...\nOK\n\n\
         The settings are at version 8 and in force for every push and fetch from now on; running apps go on.\n"
    );
    let sent = server.last(PUT);
    assert_eq!(sent.header("if-match"), "7");
    assert_eq!(sent.json()["deny"], json!(["a", "evil.example.org"]));
    person
        .run("registry mirror docker.io m.example.org:5000 --no-fallback")
        .await
        .ends(0);
    let mirror = json!({"registry": "docker.io", "mirror": "m.example.org:5000", "fallback": "never"});
    assert_eq!(server.last(PUT).json()["mirrors"], json!([mirror]));
    person.run("registry deny a --remove").await.ends(0);
    assert_eq!(server.last(PUT).json()["deny"], json!([]));
    let before = server.changes().len();
    let same = person.run("registry deny a").await.ends(0);
    assert!(same.out.contains("There already."), "{}", same.out);
    let lost = person.run("registry deny b --remove").await.ends(1);
    assert!(lost.err.contains("'b' not found"), "{}", lost.err);
    assert_eq!(server.changes().len(), before);
}

#[tokio::test]
async fn somebody_elses_change_is_not_undone() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.on(
        GET,
        Answer::json(
            200,
            json!({"version": 7, "settings": {"deny": []}, "options": {}}),
        ),
    );
    server.on(
        PUT,
        Answer::error(412, 10412, "Slipway-SettingsMoved", "they are at version 8"),
    );
    let done = person.run("registry deny x").await.ends(1);
    assert_eq!(
        (done.err.as_str(), done.out.ends_with("FAILED\n")),
        ("they are at version 8\n", true)
    );
}

#[tokio::test]
async fn the_document_is_shown_as_yaml_and_taken_back() {
    let (server, person) = world(json!({"deny": ["a", "b"], "allow_root_user": false})).await;
    let shown = person.run("registry settings").await.ends(0).out;
    assert!(shown.starts_with("# version 7\n"), "{shown}");
    assert!(shown.contains("# insecure:\n"), "{shown}");
    person.write("settings.yml", &shown);
    person.run("registry set settings.yml").await.ends(0);
    assert_eq!(
        server.last(PUT).json(),
        json!({"deny": ["a", "b"], "allow_root_user": false})
    );
    person.write("empty.yml", "# nothing\n");
    person.run("registry set empty.yml").await.ends(0);
    assert_eq!(server.last(PUT).json(), json!({}));
    let bad = person.run("registry set missing.yml").await.ends(1);
    assert!(bad.err.contains("cannot read"), "{}", bad.err);
}

#[tokio::test]
async fn a_check_lists_steps_and_fails_with_the_first_that_failed() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let step = |name: &str, outcome: &str, detail: &str| json!({"name": name, "outcome": outcome, "detail": detail, "ms": 12});
    let line = "POST /slipway/v1/registry/check";
    let steps = json!([
        step("reference", "ok", "docker.io/library/x:latest"),
        step(
            "tls",
            "failed",
            "unknown authority\nadd it with registry trust-ca"
        ),
        step("manifest", "skipped", "")
    ]);
    server.on(line, Answer::json(200, json!({"image": "x", "steps": steps})));
    server.on(
        line,
        Answer::json(
            200,
            json!({"image": "x", "steps": [step("reference", "ok", "fine")]}),
        ),
    );
    let failed = person.run("registry check x").await.ends(1);
    assert_eq!(
        failed.out,
        "Checking image x as ann...\n\n\
         ✓   reference   12 ms   docker.io/library/x:latest\n\
         ✗   tls         12 ms   unknown authority\n\
         \u{20}                       add it with registry trust-ca\n\
         –   manifest            \nFAILED\n"
    );
    assert_eq!(failed.err, "\nThe platform cannot fetch x: step 'tls' failed.\n");
    let good = person.run("registry check x").await.ends(0);
    assert!(good.out.ends_with("The platform can fetch x.\n"), "{}", good.out);
}

#[tokio::test]
async fn reports_are_tables() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let violation = json!({"app": {"name": "shop", "state": "STARTED"}, "space": {"name": "dev"},
        "organization": {"name": "acme"}, "image": "x/y:1", "rule": "deny x"});
    server.on(
        "GET /slipway/v1/registry/violations",
        Answer::json(200, json!({"violations": [violation]})),
    );
    let shown = person.run("registry violations").await.ends(0).out;
    assert!(
        shown.contains("acme   dev     shop   started   x/y:1   deny x\n"),
        "{shown}"
    );
    let image = json!({"reference": "x/y:1", "digest": "sha256:0123456789abcdef", "bytes": 1024, "exclusive_bytes": 0,
        "layers": 2, "users": [{"app": {"name": "shop"}, "instances": 1}], "last_used_at": null});
    server.on(
        "GET /slipway/v1/images",
        Answer::json(200, json!({"cells": [{"guid": "cell-1", "images": [image]}]})),
    );
    let shown = person.run("images").await.ends(0).out;
    assert!(
        shown.contains(
            "cell cell-1\nimage   digest         size   exclusive   layers   used by   last used\n"
        ),
        "{shown}"
    );
    assert!(
        shown.contains("x/y:1   0123456789ab   1K     0B          2        shop      \n"),
        "{shown}"
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_explained() {
    let (server, person) = world(json!({})).await;
    for (line, why) in [
        ("registry", "ACTION"),
        ("registry nonsense", "'nonsense' is no action of registry"),
        ("registry deny", "`RULE` was not provided"),
        ("registry settings x", "unexpected argument \"x\""),
        ("registry mirror a", "`MIRROR`"),
        ("registry root-user maybe", "'allow' or 'refuse'"),
    ] {
        let done = person.run(line).await.ends(1);
        assert!(done.err.contains(why), "{line}: {}", done.err);
    }
    let put = server.changes().into_iter().any(|line| line.starts_with("PUT"));
    assert!(!put, "nothing was to be changed");
}
