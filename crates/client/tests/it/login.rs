//! Logging in, staying logged in, targeting.

use serde_json::json;

use crate::server::{Answer, Server};
use crate::terminal::{NOW, Person, prompts, token, tokens};

#[tokio::test]
async fn login_targets_the_only_org_and_space() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let form = server.last("POST /oauth/token");
    assert_eq!(form.header("authorization"), "Basic Y2Y6");
    assert_eq!(form.body, "username=ann&password=pw&grant_type=password");
    let config = person.config();
    assert_eq!(
        (&config["org"]["guid"], &config["space"]["guid"]),
        (&json!("O"), &json!("S"))
    );
    assert_eq!(config["api_version"], "3.220.0");
    let done = person.run("target").await.ends(0);
    let table = format!(
        "API endpoint:   {}\nAPI version:    3.220.0\nuser:           ann\norg:            o\nspace:          s\n",
        server.url
    );
    assert_eq!(done.out, table);
    assert!(!person.home.path().join(".cf").exists());
}

#[tokio::test]
async fn a_wrong_password_is_asked_for_again_and_never_shown() {
    let server = Server::start().await;
    server.on("GET /login", prompts());
    let refused = Answer::json(
        401,
        json!({"error": "unauthorized", "error_description": "Bad credentials"}),
    );
    server
        .on("POST /oauth/token", refused.clone())
        .on("POST /oauth/token", refused);
    server.on("POST /oauth/token", Answer::json(200, tokens(NOW + 600)));
    server.list("GET /v3/organizations", json!([]));
    let mut person = Person::new();
    person.input = "ann\nwrong-1\nwrong-2\nright-3\n".into();
    let done = person.run(&format!("login -a {}", server.url)).await.ends(0);
    let done = done.says(&[
        "Email: ",
        "Password: ",
        "Authenticating...",
        "Password: ",
        "OK",
        "user:           ann",
    ]);
    let done = done
        .says(&["No org or space targeted"])
        .complains("Credentials were rejected, please try again.");
    assert!(!done.out.contains("wrong") && !done.err.contains("wrong"));
}

#[tokio::test]
async fn a_script_with_a_wrong_password_fails_at_once() {
    let server = Server::start().await;
    server.on("GET /login", prompts());
    server.on(
        "POST /oauth/token",
        Answer::json(401, json!({"error": "unauthorized"})),
    );
    let mut person = Person::new();
    person.password = "from-environment".into();
    let done = person
        .run(&format!("login -a {} -u ann", server.url))
        .await
        .ends(1);
    done.complains("Unable to authenticate.").says(&["FAILED"]);
    assert_eq!(server.changes().len(), 1);
}

#[tokio::test]
async fn tokens_are_refreshed_a_minute_before_they_end() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    person.clock.advance(std::time::Duration::from_secs(530));
    person.run("orgs").await.ends(0);
    assert_eq!(server.changes().len(), 1, "still good for 70 s");
    person.clock.advance(std::time::Duration::from_secs(20));
    server.on("POST /oauth/token", Answer::json(200, tokens(NOW + 1200)));
    server.on("POST /oauth/token", Answer::json(200, tokens(NOW + 1200)));
    person.run("orgs").await.ends(0);
    assert_eq!(
        server.last("POST /oauth/token").body,
        "grant_type=refresh_token&refresh_token=refresh-1"
    );
    let done = person.run("oauth-token").await.ends(0);
    assert_eq!(
        done.out.trim(),
        format!("bearer {}", person.config()["access_token"].as_str().unwrap())
    );
}

#[tokio::test]
async fn a_revoked_token_is_refreshed_once() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    let fresh = Answer::json(200, tokens(NOW + 900));
    // The first answer for tokens is the one of the login again.
    server
        .on("POST /oauth/token", fresh.clone())
        .on("POST /oauth/token", fresh);
    let invalid = Answer::error(401, 1000, "CF-InvalidAuthToken", "Invalid Auth Token");
    server
        .on("GET /v3/feature_flags", invalid.clone())
        .on("GET /v3/feature_flags", invalid.clone());
    server.list(
        "GET /v3/feature_flags",
        json!([{"name": "diego_docker", "enabled": true}]),
    );
    let done = person.run("feature-flags").await.ends(1);
    done.complains("The token expired, was revoked, or the token ID is incorrect.");
    assert_eq!(server.changes().len(), 2, "refreshed once, not for ever");
    person
        .run("feature-flags")
        .await
        .ends(0)
        .says(&["diego_docker   enabled"]);
    let domains = "GET /v3/organizations/O/domains";
    server
        .on(domains, invalid)
        .list(domains, json!([{"name": "example"}]));
    person.run("domains").await.ends(0).says(&["example   shared"]);
    assert_eq!(
        server.last(domains).header("authorization"),
        format!("bearer {}", token(NOW + 900))
    );
}

#[tokio::test]
async fn an_ended_session_says_so() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    person.clock.advance(std::time::Duration::from_secs(3600));
    let refused = Answer::json(
        401,
        json!({"error": "invalid_token", "error_description": "expired"}),
    );
    server
        .on("POST /oauth/token", refused.clone())
        .on("POST /oauth/token", refused);
    server.on("POST /oauth/token", Answer::json(200, tokens(1)));
    person.run("orgs").await.ends(0);
    let done = person.run("orgs").await.ends(1);
    done.complains("The token expired, was revoked, or the token ID is incorrect.")
        .says(&["FAILED"]);
}

#[tokio::test]
async fn service_accounts_log_in_again_by_themselves() {
    let server = Server::start().await;
    let person = Person::new();
    person
        .run(&format!("api {}", server.url))
        .await
        .ends(0)
        .says(&["OK", "Not logged in"]);
    server.on(
        "POST /oauth/token",
        Answer::json(200, json!({"access_token": token(NOW + 61)})),
    );
    person
        .run("auth ci s3cret --client-credentials")
        .await
        .ends(0)
        .says(&["Authenticating...", "OK"]);
    let first = server.last("POST /oauth/token");
    assert_eq!(
        first.body,
        "grant_type=client_credentials&client_id=ci&client_secret=s3cret"
    );
    assert_eq!(first.header("authorization"), "");
    person.clock.advance(std::time::Duration::from_secs(30));
    server.list("GET /v3/organizations", json!([]));
    person.run("orgs").await.ends(0).says(&["No orgs found."]);
    assert_eq!(server.changes().len(), 2);
    person.run("logout").await.ends(0);
    person
        .run("orgs")
        .await
        .ends(1)
        .complains("Not logged in. Use 'cf login'");
}

#[tokio::test]
async fn missing_credentials_are_named() {
    let server = Server::start().await;
    let person = Person::new();
    person
        .run("orgs")
        .await
        .ends(1)
        .complains("No API endpoint set. Use 'cf login' or 'cf api'");
    person.run(&format!("api {}", server.url)).await.ends(0);
    person
        .run("auth")
        .await
        .ends(1)
        .complains("Username and password not provided.");
    person
        .run("auth ann")
        .await
        .ends(1)
        .complains("Password not provided.");
}

#[tokio::test]
async fn a_wrong_target_is_forgotten() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.list(
        "GET /v3/spaces?names=gone&organization_guids=O&page=1&per_page=1",
        json!([]),
    );
    person
        .run("target -s gone")
        .await
        .ends(1)
        .complains("Space 'gone' not found.");
    person
        .run("apps")
        .await
        .ends(1)
        .complains("No space targeted, use 'cf target -s SPACE' to target a space.");
}

#[tokio::test]
async fn an_address_that_is_no_api_is_refused() {
    let server = Server::start().await;
    let person = Person::new();
    person
        .run("api ftp://x")
        .await
        .ends(1)
        .complains("it must begin with http:// or https://");
    person
        .run(&format!("api {}/elsewhere", server.url))
        .await
        .ends(1)
        .complains("API endpoint not found at");
    let gone = { Server::start().await.url.clone() };
    let done = person.run(&format!("api {gone}")).await.ends(1);
    done.complains("cannot reach")
        .complains("TIP: If you are behind a firewall");
}
