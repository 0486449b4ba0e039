//! The login server (UAA): tokens and users.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::Api;
use super::http::{Body, Exchange, Reply};
use crate::Secret;
use crate::config::ClientCredentials;
use crate::error::{EXPIRED, Error, Result};
use crate::json::Json;
use crate::token::Claims;

/// How somebody proves who they are.
#[derive(Debug)]
pub enum Grant {
    /// A user with a password and whatever else the server asked for.
    Password {
        /// Form fields: `username`, `password`, …
        fields: Vec<(String, Secret)>,
        /// Identity provider; may be empty.
        origin: String,
    },
    /// A user with a one-time passcode.
    Passcode(Secret),
    /// A service account.
    Client(ClientCredentials),
}

impl Api {
    /// What the login server asks for: field name, kind (`text`, `password`), label.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn prompts(&self) -> Result<Vec<(String, String, String)>> {
        let url = format!("{}/login", self.config().login);
        let body = accepted(self.http.send(&Exchange::get(url)).await?)?.json()?;
        let prompts = body.get("prompts").and_then(Value::as_object);
        let asked = |(name, prompt): (&String, &Value)| {
            (
                name.clone(),
                prompt.text("/0").to_owned(),
                prompt.text("/1").to_owned(),
            )
        };
        Ok(prompts
            .map(|prompts| prompts.iter().map(asked).collect())
            .unwrap_or_default())
    }

    /// Logs in and keeps the tokens.
    ///
    /// # Errors
    /// "Credentials were rejected, please try again." and others of the login server.
    pub async fn log_in(&self, grant: Grant) -> Result<()> {
        let (fields, query, client): (Vec<(&str, &str)>, _, _) = match &grant {
            Grant::Password { fields, origin } => {
                let own = fields.iter().map(|(name, value)| (name.as_str(), value.reveal()));
                let hint = if origin.is_empty() {
                    String::new()
                } else {
                    json!({ "origin": origin }).to_string()
                };
                (own.chain([("grant_type", "password")]).collect(), hint, None)
            }
            Grant::Passcode(code) => (
                vec![("grant_type", "password"), ("passcode", code.reveal())],
                String::new(),
                None,
            ),
            Grant::Client(client) => (client_fields(client), String::new(), Some(client.clone())),
        };
        let reply = self.token(&fields, &query, client.is_none()).await?;
        self.keep(&reply, client)
    }

    /// Replaces the token `old`, unless another request has done so meanwhile.
    pub(super) async fn refresh(&self, old: &str) -> Result<()> {
        let _turn = self.refreshing.lock().await;
        let config = self.config();
        if config.access_token.reveal() != old {
            return Ok(());
        }
        let reply = match &config.client {
            Some(client) => self.token(&client_fields(client), "", false).await,
            None if config.refresh_token.is_empty() => Err(Error::message(EXPIRED)),
            None => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", config.refresh_token.reveal()),
                ];
                self.token(&fields, "", true).await
            }
        };
        // A refused refresh token means the session is over, whatever the login server calls it.
        let reply = reply.map_err(|error| match error {
            Error::Login {
                status: 400 | 401, ..
            } => Error::message(EXPIRED),
            other => other,
        })?;
        self.keep(&reply, config.client)
    }

    fn keep(&self, reply: &Value, client: Option<ClientCredentials>) -> Result<()> {
        let access = reply.text("/access_token").to_owned();
        if access.is_empty() {
            return Err(Error::message("the login server sent no access token"));
        }
        let refresh = reply.text("/refresh_token").to_owned();
        self.update(|config| {
            config.access_token = Secret::new(access);
            if !refresh.is_empty() || client.is_some() {
                config.refresh_token = Secret::new(refresh);
            }
            config.client = client;
        })
    }

    async fn token(&self, fields: &[(&str, &str)], login_hint: &str, as_cf: bool) -> Result<Value> {
        let mut url = format!("{}/oauth/token", self.config().login);
        if !login_hint.is_empty() {
            let hinted = reqwest::Url::parse_with_params(&url, [("login_hint", login_hint)]);
            url = hinted
                .map_err(|error| Error::message(format!("the login server has no usable URL: {error}")))?
                .into();
        }
        // The public client `cf` has an empty secret.
        let basic = [(
            "authorization".to_owned(),
            format!("Basic {}", STANDARD.encode("cf:")),
        )];
        let headers: &[_] = if as_cf { &basic } else { &[] };
        let exchange = Exchange {
            method: Method::POST,
            url,
            headers,
            body: Body::Form(fields),
            token: None,
        };
        accepted(self.http.send(&exchange).await?)?.json()
    }

    /// Tells the login server to forget the token, if it can. Best effort: the token is forgotten here anyway.
    pub async fn revoke(&self) {
        let config = self.config();
        let claims = Claims::read(config.access_token.reveal());
        let Some(id) = claims.as_ref().and_then(Claims::revocable_id) else {
            return;
        };
        let url = format!("{}/oauth/token/revoke/{id}", config.login);
        let token = Some(config.access_token.reveal().to_owned());
        let exchange = Exchange {
            method: Method::DELETE,
            url,
            headers: &[],
            body: Body::Empty,
            token,
        };
        if let Err(error) = self.http.send(&exchange).await {
            self.ui.warn(&format!("the token could not be revoked: {error}"));
        }
    }

    /// Asks the user directory.
    ///
    /// # Errors
    /// Those of the login server.
    pub async fn directory(&self, method: Method, path: &str, body: Body<'_>) -> Result<Value> {
        let url = format!("{}{path}", self.config().uaa);
        let token = self.bearer().await?;
        accepted(
            self.http
                .send(&Exchange {
                    method,
                    url,
                    headers: &[],
                    body,
                    token,
                })
                .await?,
        )?
        .json()
    }
}

fn client_fields(client: &ClientCredentials) -> Vec<(&'static str, &str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client.id.as_str()),
        ("client_secret", client.secret.reveal()),
    ]
}

/// Turns a refusal of the login server into words.
fn accepted(reply: Reply) -> Result<Reply> {
    if reply.status < 400 {
        return Ok(reply);
    }
    let Ok(body) = reply.json() else {
        return Err(reply.unexpected());
    };
    let (error, description) = (body.text("/error"), body.text("/error_description"));
    let text = match (reply.status, error) {
        (401, "invalid_token") => EXPIRED.to_owned(),
        (401, _) if description.contains("locked") => description.to_owned(),
        (401, _) | (400, "invalid_grant") => "Credentials were rejected, please try again.".to_owned(),
        (403, _) => "You are not authorized to perform the requested action.".to_owned(),
        _ if description.is_empty() && error.is_empty() => return Err(reply.unexpected()),
        _ if description.is_empty() => error.to_owned(),
        _ => description.to_owned(),
    };
    Err(Error::Login {
        status: reply.status,
        text,
    })
}
