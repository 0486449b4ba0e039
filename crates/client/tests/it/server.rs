//! A server that answers as told and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use base::Tasks;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub fn error(status: u16, code: u32, title: &str, detail: &str) -> Self {
        Self::json(
            status,
            json!({"errors": [{"code": code, "title": title, "detail": detail}]}),
        )
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[derive(Default)]
struct World {
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
    seen: Mutex<Vec<Seen>>,
}

/// The server; it ends when dropped.
pub struct Server {
    pub url: String,
    world: Arc<World>,
    tasks: Tasks,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

impl Server {
    /// Starts a server that knows its own links and how to log in.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(World::default());
        let app = Router::new().fallback(answer).with_state(world.clone());
        let tasks = Tasks::new();
        tasks.spawn("server", async move { axum::serve(listener, app).await.unwrap() });
        let server = Self {
            url: url.clone(),
            world,
            tasks,
        };
        let link = || json!({ "href": url });
        server.on(
            "GET /",
            Answer::json(
                200,
                json!({"links": {"self": link(), "login": link(), "uaa": link(), "log_cache": link(), "routing": null,
                    "cloud_controller_v3": {"href": format!("{url}/v3"), "meta": {"version": "3.220.0"}}}}),
            ),
        );
        server
    }

    /// Answers `METHOD /path` (with or without its query) like this; of several answers each is given once, the last
    /// one for ever.
    pub fn on(&self, line: &str, answer: Answer) -> &Self {
        self.world
            .answers
            .lock()
            .unwrap()
            .entry(line.to_owned())
            .or_default()
            .push_back(answer);
        self
    }

    /// Answers with a list.
    pub fn list(&self, line: &str, rows: Value) -> &Self {
        self.on(
            line,
            Answer::json(200, json!({"pagination": {"next": null}, "resources": rows})),
        )
    }

    /// Everything asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.world.seen.lock().unwrap().clone()
    }

    /// The requests that change something, in order.
    pub fn changes(&self) -> Vec<String> {
        self.seen()
            .into_iter()
            .map(|seen| seen.line)
            .filter(|line| !line.starts_with("GET "))
            .collect()
    }

    /// The only request with this line, or its last repetition.
    pub fn last(&self, line: &str) -> Seen {
        self.seen()
            .into_iter()
            .rfind(|seen| seen.line == line)
            .unwrap_or_else(|| {
                let lines: Vec<String> = self.seen().into_iter().map(|seen| seen.line).collect();
                panic!("{line} was never asked; asked were {lines:#?}")
            })
    }
}

async fn answer(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let whole = format!("{method} {uri}");
    let path = format!("{method} {}", uri.path());
    let body = String::from_utf8(body.to_vec()).unwrap();
    world.seen.lock().unwrap().push(Seen {
        line: whole.clone(),
        headers,
        body,
    });
    let mut answers = world.answers.lock().unwrap();
    let key = if answers.contains_key(&whole) { whole } else { path };
    let answer = match answers.get_mut(&key) {
        Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
        Some(queue) => queue.front().unwrap().clone(),
        None => Answer::error(
            404,
            10000,
            "CF-NotFound",
            &format!("no answer was prepared for {key}"),
        ),
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}
