//! Talking to the API: requests with a fresh token, retries, warnings, pages, jobs.
//!
//! Replies stay JSON; commands read what they need through `json::Json`. Links that the server sends back (next
//! pages, jobs) are followed on the origin the user targeted, whatever host they name: the token never goes elsewhere,
//! and a forwarded port works.

mod http;
mod job;
mod logcache;
mod login;
mod page;
mod trace;

use std::sync::{Arc, Mutex, MutexGuard};

use base::Clock;
use reqwest::{Method, Url};
use serde_json::Value;

use crate::config::{Config, ConfigFile};
use crate::environment::Environment;
use crate::error::{Error, Refusal, Result};
use crate::token;
use crate::ui::Ui;

pub use http::{Body, Reply};
pub use logcache::{Envelope, Stream, Tail};
pub use login::Grant;

use http::{Exchange, Http};

/// Tries of a request that may be repeated.
const TRIES: u32 = 3;

/// The API as one user sees it.
pub struct Api {
    ui: Arc<Ui>,
    http: Http,
    config: Mutex<Config>,
    file: ConfigFile,
    clock: Arc<dyn Clock>,
    /// Held while a token is replaced, so that it happens once.
    refreshing: tokio::sync::Mutex<()>,
}

impl Api {
    /// The API that `config` names; changes of the configuration are kept in `file`.
    pub fn new(ui: Arc<Ui>, environment: &Environment, file: ConfigFile, config: Config) -> Self {
        let http = Http::new(ui.clone(), environment, config.skip_ssl_validation);
        let refreshing = tokio::sync::Mutex::new(());
        Self {
            ui,
            http,
            config: Mutex::new(config),
            file,
            clock: environment.clock.clone(),
            refreshing,
        }
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Config {
        self.lock().clone()
    }

    /// Changes the configuration and keeps the change.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&self, change: impl FnOnce(&mut Config)) -> Result<()> {
        let mut config = self.lock();
        change(&mut config);
        self.file.save(&config)
    }

    fn lock(&self) -> MutexGuard<'_, Config> {
        self.config.lock().expect("no holder of this lock panics")
    }

    /// Shows requests from now on.
    pub fn trace_on_screen(&self) {
        self.http.trace_on_screen();
    }

    /// Targets an API: asks it for its parts and forgets who was logged in at the last one.
    ///
    /// # Errors
    /// When nothing that looks like an API answers there.
    pub async fn target(&self, url: &str, skip_ssl_validation: bool) -> Result<()> {
        let refused = |why: &str| Error::message(format!("'{url}' cannot be an API endpoint: {why}"));
        let parsed = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(refused("it must begin with http:// or https:// and name a host"));
        }
        self.http.skip_ssl_validation(skip_ssl_validation);
        let reply = self
            .http
            .send(&Exchange::get(format!("{}/", url.trim_end_matches('/'))))
            .await?;
        let root = reply.json().ok().filter(|_| reply.status < 300);
        let root = root.ok_or_else(|| Error::message(format!("API endpoint not found at '{url}'")))?;
        let link = |name: &str| {
            let href = root
                .pointer(&format!("/links/{name}/href"))
                .and_then(Value::as_str);
            href.unwrap_or_default().trim_end_matches('/').to_owned()
        };
        let version = root
            .pointer("/links/cloud_controller_v3/meta/version")
            .and_then(Value::as_str);
        let version = version
            .ok_or_else(|| Error::message(format!("API endpoint not found at '{url}'")))?
            .to_owned();
        let or = |found: String, other: &str| if found.is_empty() { other.to_owned() } else { found };
        self.update(|config| {
            config.forget_user();
            config.api = url.trim_end_matches('/').to_owned();
            config.api_version = version;
            config.skip_ssl_validation = skip_ssl_validation;
            config.uaa = or(link("uaa"), &link("login"));
            config.login = or(link("login"), &config.uaa);
            config.log_cache = or(link("log_cache"), &config.api);
        })
    }

    /// Whether the targeted API is at least this version.
    pub fn is_at_least(&self, wanted: (u64, u64, u64)) -> bool {
        let config = self.lock();
        let plain = config.api_version.split(['+', '-']).next().unwrap_or_default();
        let mut parts = plain
            .split('.')
            .map(|part| part.parse::<u64>().unwrap_or_default());
        let mut part = || parts.next().unwrap_or_default();
        (part(), part(), part()) >= wanted
    }

    /// GETs a resource.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.call(Method::GET, &self.url(path, query)?, Body::Empty)
            .await?
            .json()
    }

    /// POSTs JSON.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call(Method::POST, &self.url(path, &[])?, Body::Json(body))
            .await
    }

    /// POSTs nothing: an action.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn act(&self, path: &str) -> Result<Reply> {
        self.call(Method::POST, &self.url(path, &[])?, Body::Empty).await
    }

    /// POSTs YAML.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn post_yaml(&self, path: &str, body: &str) -> Result<Reply> {
        self.call(Method::POST, &self.url(path, &[])?, Body::Yaml(body))
            .await
    }

    /// PATCHes with JSON.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call(Method::PATCH, &self.url(path, &[])?, Body::Json(body))
            .await
    }

    /// PUTs JSON with further headers, once: what it meets may not be there a second time.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn put(&self, path: &str, headers: &[(String, String)], body: &Value) -> Result<Reply> {
        judge(self.raw(Method::PUT, path, headers, Body::Json(body)).await?)
    }

    /// DELETEs a resource and waits for the job, if that makes one.
    ///
    /// # Errors
    /// Those of the API and of the job.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<()> {
        let reply = self
            .call(Method::DELETE, &self.url(path, query)?, Body::Empty)
            .await?;
        self.finish(&reply).await
    }

    /// Sends a request for `curl`: whatever the status, the reply is a reply.
    ///
    /// # Errors
    /// Only when nothing answers, or the token cannot be refreshed.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Body<'_>,
    ) -> Result<Reply> {
        let url = self.url(path, &[])?;
        let exchange = Exchange {
            method,
            url,
            headers,
            body,
            token: self.bearer().await?,
        };
        self.http.send(&exchange).await
    }

    /// The access token, fresh for another minute; none when nobody is logged in.
    ///
    /// # Errors
    /// When it had to be refreshed and could not.
    pub async fn bearer(&self) -> Result<Option<String>> {
        let (token, logged_in) = {
            let config = self.lock();
            (config.access_token.clone(), config.is_logged_in())
        };
        if !logged_in {
            return Ok(None);
        }
        if token::needs_refresh(token.reveal(), self.clock.now()) {
            self.refresh(token.reveal()).await?;
        }
        Ok(Some(self.lock().access_token.reveal().to_owned()))
    }

    /// One authorised request. A status of 400 or more is an error.
    async fn call(&self, method: Method, url: &str, body: Body<'_>) -> Result<Reply> {
        let mut tries = 1;
        let mut refreshed = false;
        loop {
            let token = self.bearer().await?;
            let used = token.clone().unwrap_or_default();
            let exchange = Exchange {
                method: method.clone(),
                url: url.to_owned(),
                headers: &[],
                body,
                token,
            };
            let outcome = self.http.send(&exchange).await;
            // A POST may have worked although its reply was lost; the others can be repeated.
            let may_repeat = method != Method::POST && tries < TRIES;
            match outcome {
                Ok(reply) if reply.status == 401 && !refreshed && !used.is_empty() => {
                    refreshed = true;
                    self.refresh(&used).await?;
                }
                Ok(reply) if matches!(reply.status, 500 | 502..=504) && may_repeat => {}
                Ok(reply) => return judge(reply),
                Err(Error::Network { .. }) if may_repeat => {}
                Err(error) => return Err(error),
            }
            tries += 1;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// The address of a path of the API; a whole URL keeps its path and query only.
    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<String> {
        let base = self.lock().api.clone();
        let bad = |error| Error::message(format!("'{path}' is no path of the API: {error}"));
        let mut url = match Url::parse(path).ok().filter(Url::has_host) {
            Some(link) => {
                let mut url = Url::parse(&base).map_err(|error| bad(error.to_string()))?;
                url.set_path(link.path());
                url.set_query(link.query());
                url
            }
            None => Url::parse(&format!("{base}/{}", path.trim_start_matches('/')))
                .map_err(|e| bad(e.to_string()))?,
        };
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url.into())
    }
}

/// Turns a status of 400 or more into an error.
fn judge(reply: Reply) -> Result<Reply> {
    if reply.status < 400 {
        return Ok(reply);
    }
    let refusal = reply
        .json()
        .ok()
        .and_then(|body| Refusal::parse(reply.status, &body));
    match refusal {
        Some(refusal)
            if refusal.status == 404 && refusal.causes.iter().any(|c| c.detail == "Unknown request") =>
        {
            Err(Error::Message(format!(
                "API endpoint not found at '{}'",
                reply.url
            )))
        }
        Some(refusal) => Err(Error::Api(refusal)),
        None => Err(reply.unexpected()),
    }
}
