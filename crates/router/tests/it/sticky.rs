//! Sticky sessions.

use http::Request;
use http_body_util::Full;

use crate::fixture::{Answer, App, Reply, Router, answer};

async fn session_app(name: &'static str) -> App {
    App::http(move |request| async move {
        let mut response: Answer = answer(name);
        if request.uri().path().ends_with("/login") {
            let cookie = "JSESSIONID=abc; Path=/; Secure; SameSite=Lax";
            response
                .headers_mut()
                .insert("set-cookie", cookie.parse().unwrap());
        }
        response
    })
    .await
}

fn instance_cookie(reply: &Reply) -> Option<String> {
    let cookies = reply
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap());
    cookies
        .into_iter()
        .find(|cookie| cookie.starts_with("__VCAP_ID__="))
        .map(str::to_owned)
}

#[tokio::test]
async fn sessions_stay_and_move_when_they_must() {
    let router = Router::start().await;
    let (one, two) = (session_app("one").await, session_app("two").await);
    router.route("a.com", "/ctx", &[&one, &two]);
    let with = |cookies: &str| {
        let request = Request::get("http://a.com/ctx/x").header("cookie", cookies);
        request.body(Full::<bytes::Bytes>::default()).unwrap()
    };
    let login = router.get("http://a.com/ctx/login").await;
    let index = if login.body == "one" { 0 } else { 1 };
    let cookie = instance_cookie(&login).unwrap();
    assert_eq!(
        cookie,
        format!("__VCAP_ID__=app-{index}; Path=/ctx; HttpOnly; Secure; SameSite=Lax")
    );

    let session = format!("JSESSIONID=abc; __VCAP_ID__=app-{index}");
    for _ in 0..4 {
        let reply = router.send(with(&session)).await;
        assert_eq!(reply.body, login.body);
        assert_eq!(
            instance_cookie(&reply),
            None,
            "nothing to say while the session stays"
        );
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(router.send(with(&format!("__VCAP_ID__=app-{index}"))).await.body);
    }
    seen.sort();
    assert_eq!(seen, ["one", "two"], "without a session cookie nothing sticks");

    let moved = router.send(with("JSESSIONID=abc; __VCAP_ID__=gone")).await;
    let index = if moved.body == "one" { 0 } else { 1 };
    assert_eq!(
        instance_cookie(&moved),
        Some(format!("__VCAP_ID__=app-{index}; Path=/ctx; HttpOnly"))
    );
}
