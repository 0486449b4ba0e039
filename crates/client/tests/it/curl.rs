//! `curl`, and the tracing of requests.

use serde_json::json;

use crate::server::{Answer, Server};
use crate::terminal::Person;

#[tokio::test]
async fn curl_passes_everything_on() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.on(
        "POST /v3/x",
        Answer::json(201, json!({"a": 1})).with("x-own", "yes"),
    );
    let done = person
        .run("curl /v3/x?y=1 -X post -H X-Mine:1 -d {} -i")
        .await
        .ends(0);
    assert!(done.out.starts_with("HTTP/1.1 201 Created\r\n"), "{}", done.out);
    done.says(&["x-own: yes\r\n", "\r\n\r\n{\"a\":1}\n"]);
    let seen = server.last("POST /v3/x?y=1");
    assert_eq!((seen.header("x-mine"), seen.body.as_str()), ("1", "{}"));
    assert!(seen.header("authorization").starts_with("bearer "));
}

#[tokio::test]
async fn curl_fails_only_when_told() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.on("GET /v3/x", Answer::json(404, json!({"errors": []})));
    person.run("curl v3/x").await.ends(0).says(&["{\"errors\":[]}"]);
    person
        .run("curl /v3/x --fail")
        .await
        .ends(22)
        .complains("The requested URL returned error: 404")
        .says(&["FAILED"]);
}

#[tokio::test]
async fn files_go_in_and_out() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.on("PUT /v3/x", Answer::json(200, json!([1])));
    person.write("in.json", "[0]");
    person
        .run("curl /v3/x -X PUT -d @in.json --output out.json")
        .await
        .ends(0)
        .says(&["OK"]);
    assert_eq!(server.last("PUT /v3/x").body, "[0]");
    assert_eq!(
        std::fs::read_to_string(person.home.path().join("out.json")).unwrap(),
        "[1]"
    );
    person
        .run("curl /v3/x -d @gone.json")
        .await
        .ends(1)
        .complains("cannot read");
}

#[tokio::test]
async fn traces_show_requests_without_secrets() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let done = person
        .run("-v orgs")
        .await
        .ends(0)
        .complains("REQUEST:\nGET http://127.0.0.1");
    let done = done
        .complains("RESPONSE:\n200 OK")
        .complains("Authorization: [PRIVATE DATA HIDDEN]");
    assert!(
        !done
            .err
            .contains(person.config()["access_token"].as_str().unwrap())
    );
    let done = person
        .run(&format!("login -a {} -u ann -p pw-s3cret -v", server.url))
        .await
        .ends(0);
    assert!(
        !done.err.contains("pw-s3cret") && !done.err.contains("refresh-1"),
        "{}",
        done.err
    );
}
