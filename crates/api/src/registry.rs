//! The operator's registry settings: one document, over the options the platform was started with.
//!
//! A change is a whole document against the version it was made from (`If-Match`), so that two operators cannot
//! overwrite each other unseen. It takes effect by being stored: whoever fetches images watches the feed. What the
//! image client knows of documents and registries is asked through [`Images`], which the door gives.

use std::future::Future;
use std::pin::Pin;

use auth::Secret;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::http::header::{ETAG, IF_MATCH};
use axum::response::{IntoResponse, Response};
use model::RegistrySettings;
use serde_json::{Value, json};
use store::registry_settings::{Entity, Model, ONLY};
use store::{StoreError, Tx};

use crate::State;
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::present::time;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/slipway/v1/registry", show),
        Endpoint::put("/slipway/v1/registry", replace),
    ]
}

/// What the image client knows of settings and registries.
pub trait Images: Send + Sync {
    /// Checks a document; the error names the entry and what to write instead.
    fn check_settings(&self, settings: &RegistrySettings) -> Result<(), String>;

    /// For each image, in their order, the rule of the document that refuses it, if one does.
    fn refusals(&self, settings: &RegistrySettings, images: &[String]) -> Vec<Option<String>>;

    /// Goes through fetching an image, step by step, and tells of each; the error says why there is no first step.
    fn explain<'a>(
        &'a self,
        settings: &'a RegistrySettings,
        image: &'a str,
        login: Option<Login>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Step>, String>> + Send + 'a>>;
}

/// What a registry is told about who asks.
pub struct Login {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// One step of fetching an image.
#[derive(Clone, Debug)]
pub struct Step {
    /// `reference`, `rules`, `dns`, `tls`…
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found; of a step that failed, also what to do.
    pub detail: String,
    /// How long it took, milliseconds.
    pub ms: u64,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// The image cannot be fetched because of this.
    Failed,
    /// There was nothing to do, or an earlier step failed.
    Skipped,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The stored document with its version; version 0 is the empty document that nobody has written.
struct Stored {
    row: Option<Model>,
    document: RegistrySettings,
}

impl Stored {
    async fn read(tx: &Tx) -> Result<Self, ApiError> {
        let row = tx.find::<Entity>(ONLY).await?;
        let document = match &row {
            Some(row) => serde_json::from_str(&row.document).map_err(|error| ApiError::internal(&error))?,
            None => RegistrySettings::default(),
        };
        Ok(Self { row, document })
    }

    fn version(&self) -> i64 {
        self.row.as_ref().map_or(0, |row| row.version)
    }
}

/// The settings in force: the stored document over the options.
pub(crate) async fn effective(state: &State, tx: &Tx) -> Result<RegistrySettings, ApiError> {
    let stored = Stored::read(tx).await?.document;
    Ok(stored.over(state.settings.registry.clone()))
}

async fn show(Extract(state): Extract<State>, caller: Caller) -> Result<Response, ApiError> {
    caller.demand_admin()?;
    let stored = Stored::read(&state.store.read().await?).await?;
    Ok(present(&state, &stored))
}

async fn replace(
    Extract(state): Extract<State>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.demand_admin()?;
    let made_from = made_from(&headers)?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::parse(
            "the body is empty; send the whole document, {} for none",
        ));
    }
    let document: RegistrySettings = crate::body::parse(&body)?;
    let effective = document.clone().over(state.settings.registry.clone());
    state
        .images
        .check_settings(&effective)
        .map_err(ApiError::unprocessable)?;
    let tx = state.store.write().await?;
    let stored = Stored::read(&tx).await?;
    if let MadeFrom::Version(version) = made_from
        && version != stored.version()
    {
        return Err(ApiError::settings_moved(version, stored.version()));
    }
    let row = write(&tx, stored, &document).await?;
    let target = Target {
        kind: "registry",
        guid: ONLY,
        name: ONLY,
        space_guid: None,
        org_guid: None,
    };
    let data = json!({"version": row.version, "request": without_certificates(&document)});
    event::record(&tx, &caller, "slipway.registry.update", target, data).await?;
    tx.commit().await?;
    let stored = Stored {
        row: Some(row),
        document,
    };
    Ok(present(&state, &stored))
}

async fn write(tx: &Tx, stored: Stored, document: &RegistrySettings) -> Result<Model, StoreError> {
    let document = serde_json::to_string(document).expect("plain structs become JSON");
    let version = stored.version() + 1;
    match stored.row {
        Some(row) => {
            let row = Model {
                version,
                document,
                ..row
            };
            tx.update::<Entity>(row).await
        }
        None => {
            let row = Model {
                id: 0,
                guid: ONLY.to_owned(),
                created_at: 0,
                updated_at: 0,
                version,
                document,
            };
            tx.insert::<Entity>(row).await
        }
    }
}

/// Which document the sender has seen.
#[derive(Debug, PartialEq, Eq)]
enum MadeFrom {
    Version(i64),
    /// `*`: whatever is there.
    Any,
}

/// `If-Match`: `3`, `"3"` or `*`.
fn made_from(headers: &HeaderMap) -> Result<MadeFrom, ApiError> {
    let text = headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
    let text = text.ok_or_else(ApiError::version_required)?.trim();
    if text == "*" {
        return Ok(MadeFrom::Any);
    }
    let version = text.trim_matches('"').parse();
    version
        .map(MadeFrom::Version)
        .map_err(|_| ApiError::version_required())
}

fn present(state: &State, stored: &Stored) -> Response {
    let version = stored.version();
    let body = json!({
        "version": version,
        "updated_at": stored.row.as_ref().map(|row| time(row.updated_at)),
        "settings": stored.document,
        "options": state.settings.registry,
    });
    ([(ETAG, format!("\"{version}\""))], Json(body)).into_response()
}

/// The document as events tell it: certificates are long and say nothing to a reader.
fn without_certificates(document: &RegistrySettings) -> Value {
    let mut shown = json!(document);
    let count = document.ca_certificates.len();
    shown["ca_certificates"] = json!(format!("{count} bundles, not shown"));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_version_may_be_quoted_and_must_be_there() {
        let of = |text: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(IF_MATCH, HeaderValue::from_static(text));
            }
            made_from(&headers).map_err(|error| error.status().as_u16())
        };
        assert_eq!(of(Some("3")), Ok(MadeFrom::Version(3)));
        assert_eq!(of(Some("\"3\"")), Ok(MadeFrom::Version(3)));
        assert_eq!(of(Some("*")), Ok(MadeFrom::Any));
        assert_eq!(of(Some("W/\"x\"")), Err(428));
        assert_eq!(of(None), Err(428));
    }
}
