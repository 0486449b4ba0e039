//! One identity server for one test: its own store, port and clock.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use auth::{Minter, Secret, SigningKey, Verifier};
use base::{ManualClock, Tasks};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use store::{Options, Store};
use tempfile::TempDir;
use uaa::{Parts, Settings, Uaa};

pub const ADMIN_PASSWORD: &str = "correct horse";

/// Making an RSA key takes long in a debug build; one does for all tests.
static KEY: LazyLock<Arc<SigningKey>> = LazyLock::new(|| Arc::new(SigningKey::generate().unwrap()));

pub struct Server {
    pub store: Store,
    pub clock: ManualClock,
    pub verifier: Arc<Verifier>,
    url: String,
    http: reqwest::Client,
    tasks: Tasks,
    _dir: TempDir,
}

/// A status and a JSON body (null when empty).
pub type Reply = (StatusCode, Value);

impl Server {
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let options = Options::Sqlite(dir.path().join("db"));
        let store = Store::open(options, Arc::new(clock.clone())).await.unwrap();
        uaa::seed(&store, Secret::new(ADMIN_PASSWORD)).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = format!("{url}/oauth/token");
        let verifier = Arc::new(Verifier::new([KEY.jwk()], &issuer).unwrap());
        let uaa = Uaa::new(Parts {
            store: store.clone(),
            minter: Arc::new(Minter::new(KEY.clone(), &issuer)),
            verifier: verifier.clone(),
            former_keys: vec![
                SigningKey::from_pkcs8_pem(KEY.to_pkcs8_pem().expose())
                    .unwrap()
                    .jwk()
                    .clone(),
            ],
            settings: Settings {
                login_url: url.clone(),
                uaa_url: url.clone(),
            },
        });
        let tasks = Tasks::new();
        let router = uaa.router();
        tasks.spawn("server", async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            store,
            clock,
            verifier,
            url,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            tasks,
            _dir: dir,
        }
    }

    pub async fn stop(self) {
        self.tasks.shutdown(Duration::from_secs(10)).await;
        self.store.close().await.unwrap();
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Asks for a token as the `cf` client.
    pub async fn token(&self, form: &[(&str, &str)]) -> Reply {
        let request = self
            .request(Method::POST, "/oauth/token")
            .basic_auth("cf", Some(""));
        send(request.form(form)).await
    }

    pub async fn login(&self, name: &str, password: &str) -> Reply {
        self.token(&[
            ("grant_type", "password"),
            ("username", name),
            ("password", password),
        ])
        .await
    }

    pub async fn refresh(&self, token: &str) -> Reply {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    /// An access token of the admin.
    pub async fn admin(&self) -> String {
        access(&self.login("admin", ADMIN_PASSWORD).await)
    }

    /// Makes a user and returns its id.
    pub async fn create_user(&self, name: &str, password: &str) -> String {
        let body = json!({"userName": name, "password": password, "origin": "",
            "name": {"familyName": name, "givenName": name}, "emails": [{"value": name, "primary": true}]});
        let (status, user) = self
            .call(Method::POST, "/Users", &self.admin().await, Some(body))
            .await;
        assert_eq!(status, 201, "{user}");
        user["id"].as_str().unwrap().to_owned()
    }

    /// Calls with a bearer token.
    pub async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Reply {
        let request = self.request(method, path).bearer_auth(token);
        send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }
}

pub async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub fn access(reply: &Reply) -> String {
    assert_eq!(reply.0, 200, "{}", reply.1);
    reply.1["access_token"].as_str().unwrap().to_owned()
}

pub fn refresh_of(reply: &Reply) -> String {
    reply.1["refresh_token"].as_str().unwrap().to_owned()
}

/// Status, `error` and whether the description contains `words`.
#[track_caller]
pub fn refused(reply: &Reply, status: u16, error: &str, words: &str) {
    let told = reply.1["error_description"].as_str().unwrap_or_default();
    assert_eq!(
        (reply.0.as_u16(), reply.1["error"].as_str()),
        (status, Some(error)),
        "{told}"
    );
    assert!(told.contains(words), "{told:?} lacks {words:?}");
}

/// The claims inside a token, unchecked, as the CLI reads them.
pub fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
