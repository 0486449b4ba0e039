//! One authenticated GET in a repository: answer the registry's challenge, judge the status, try again.
//!
//! A request goes out with the header kept for its repository, or none. A 401 from the registry itself is answered
//! once with a fresh header; a 401 from a host a redirect led to is never answered.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::challenge::{self, Challenge};
use crate::credentials::Credentials;
use crate::error::{Access, ResolveError, one_line};
use crate::reference::Reference;
use crate::retry::{Failure, Retries, Retry, retry_after};
use crate::settings::{Settings, SettingsError};
use crate::token::{self, Grant, Grants, Holder};
use crate::transport::{Get, Origin, Reply, Transport, classify};

/// Largest token reply.
const MAX_TOKEN_REPLY: usize = 256 * 1024;
/// How much of an error's body is looked at for its code, and for how long.
const MAX_ERROR_BODY: usize = 64 * 1024;
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// A client of any number of registries. Cloning shares connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    transport: Transport,
    grants: Grants,
}

/// One GET below `/v2/NAME/`.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) reference: Reference,
    pub(crate) credentials: Option<Credentials>,
    /// `manifests/…` or `blobs/…`.
    pub(crate) path: String,
    /// What it is about, for messages.
    pub(crate) what: String,
    pub(crate) accept: &'static str,
}

/// A small answer, read whole.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: String,
    /// `Docker-Content-Digest`, as sent.
    pub(crate) digest: Option<String>,
}

impl Client {
    /// A client for these settings. Reads the system's certificate authorities and the proxy environment.
    ///
    /// The process must have installed a rustls provider.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check_default_registry()?;
        let transport = Transport::new(&settings)?;
        Ok(Self(Arc::new(Inner {
            settings,
            transport,
            grants: Grants::default(),
        })))
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn retries(&self) -> Retries {
        Retries::new(self.0.settings.max_retries, &self.0.settings.timeouts)
    }

    /// The answer to a call from its first byte, after retries.
    pub(crate) async fn open(&self, call: &Call) -> Result<Reply, ResolveError> {
        let mut retries = self.retries();
        loop {
            match self.try_open(call, 0).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => retries.pause(failure).await?,
            }
        }
    }

    /// The whole body of an answer of at most `cap` bytes, after retries.
    pub(crate) async fn document(&self, call: &Call, cap: usize) -> Result<Document, ResolveError> {
        let mut retries = self.retries();
        loop {
            let failure = match self.try_open(call, 0).await {
                Ok(reply) => match self.read_document(call, reply, cap).await {
                    Ok(document) => return Ok(document),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            retries.pause(failure).await?;
        }
    }

    async fn read_document(&self, call: &Call, reply: Reply, cap: usize) -> Result<Document, Failure> {
        let text = |name: &str| {
            reply
                .response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let content_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let digest = text("docker-content-digest");
        let wait = self.0.settings.timeouts.response;
        match read(reply.response, cap, wait).await {
            Ok(bytes) => Ok(Document {
                bytes,
                content_type,
                digest,
            }),
            Err(Unread::TooLarge) => {
                let what = format!("its description is larger than {cap} bytes");
                Err(ResolveError::Malformed {
                    image: call.what.clone(),
                    what,
                }
                .into())
            }
            Err(Unread::Cut(error)) => Err(classify(&error, reply.host)),
            Err(Unread::Slow) => Err(Failure::passing(ResolveError::Unreachable {
                host: reply.host,
                cause: format!("an answer did not end within {} s", wait.as_secs_f32()),
            })),
        }
    }

    /// One try: a successful answer from byte `from` on, or why not.
    pub(crate) async fn try_open(&self, call: &Call, from: u64) -> Result<Reply, Failure> {
        let holder = Holder {
            host: call.reference.api_host().to_owned(),
            repository: call.reference.repository().to_owned(),
            credentials: call.credentials.clone(),
        };
        let kept = self.0.grants.get(&holder);
        let reply = self.send(call, from, kept.clone()).await?;
        if !is_challenge(&reply) {
            return self.judge(call, reply).await;
        }
        if let Some(refused) = kept {
            self.0.grants.forget(&holder, &refused);
        }
        let grant = self.answer(call, &reply).await?;
        let header = grant.header.clone();
        self.0.grants.keep(holder.clone(), grant);
        let reply = self.send(call, from, Some(header.clone())).await?;
        if is_challenge(&reply) {
            self.0.grants.forget(&holder, &header);
        }
        self.judge(call, reply).await
    }

    async fn send(
        &self,
        call: &Call,
        from: u64,
        authorization: Option<reqwest::header::HeaderValue>,
    ) -> Result<Reply, Failure> {
        let text = format!(
            "https://{}/v2/{}/{}",
            call.reference.api_host(),
            call.reference.repository(),
            call.path
        );
        let url = Url::parse(&text).map_err(|error| ResolveError::Malformed {
            image: call.what.clone(),
            what: format!("its name makes no URL ({error})"),
        })?;
        let get = Get {
            url,
            image: &call.what,
            accept: call.accept,
            authorization,
            range_from: from,
        };
        self.0.transport.get(get).await
    }

    /// A header for the registry's challenge.
    async fn answer(&self, call: &Call, reply: &Reply) -> Result<Grant, Failure> {
        let values = reply
            .response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok());
        match (challenge::choose(values), &call.credentials) {
            (Some(Challenge::Basic), Some(credentials)) => Ok(token::basic(credentials)),
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                let url = self.token_url(call, &realm, service.as_deref(), scope.as_deref())?;
                self.fetch_token(call, url).await
            }
            (Some(Challenge::Basic) | None, _) => Err(unauthorized(call).into()),
        }
    }

    fn token_url(
        &self,
        call: &Call,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Url, ResolveError> {
        let url = Url::parse(realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = url else {
            let status = "401 with a token server that is no URL".to_owned();
            let host = call.reference.api_host().to_owned();
            return Err(ResolveError::Failing {
                host,
                image: call.what.clone(),
                status,
            });
        };
        if url.scheme() == "http" && !self.0.transport.is_insecure(&url) {
            let host = crate::authority::of_url(&url);
            return Err(ResolveError::Unsafe {
                image: call.what.clone(),
                what: format!("asking the token server {host} over plain HTTP"),
                remedy: format!("serve it over HTTPS or list {host} with --insecure-registry"),
            });
        }
        let own_scope = format!("repository:{}:pull", call.reference.repository());
        let mut query = vec![("scope", scope.unwrap_or(&own_scope))];
        query.extend(service.map(|service| ("service", service)));
        query.extend(
            call.credentials
                .as_ref()
                .map(|c| ("account", c.username.as_str())),
        );
        Ok(token::token_url(&url, &query))
    }

    async fn fetch_token(&self, call: &Call, url: Url) -> Result<Grant, Failure> {
        let authorization = call.credentials.as_ref().map(|c| token::basic(c).header);
        let get = Get {
            url,
            image: &call.what,
            accept: "application/json",
            authorization,
            range_from: 0,
        };
        let reply = self.0.transport.get(get).await?;
        let reply = self
            .judge(call, reply)
            .await
            .map_err(|failure| match *failure.error {
                ResolveError::NotFound { .. } => unauthorized(call).into(),
                _ => failure,
            })?;
        let host = reply.host.clone();
        let document = self.read_document(call, reply, MAX_TOKEN_REPLY).await?;
        token::bearer(&document.bytes).map_err(|what| {
            ResolveError::Failing {
                host,
                image: call.what.clone(),
                status: what.to_owned(),
            }
            .into()
        })
    }

    /// Lets successful answers pass and names the others.
    async fn judge(&self, call: &Call, reply: Reply) -> Result<Reply, Failure> {
        let status = reply.response.status();
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(reply);
        }
        let after = retry_after(reply.response.headers());
        let retry = after.map_or(Retry::Soon, Retry::After);
        let (host, image) = (reply.host, call.what.clone());
        let failing = |code: Option<String>| {
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            ResolveError::Failing {
                host: host.clone(),
                image: image.clone(),
                status: format!("{status}{code}"),
            }
        };
        match (status.as_u16(), reply.origin) {
            (401 | 403, Origin::Asked) => Err(unauthorized(call).into()),
            // A signed address may have run out: the registry gives a new one.
            (401 | 403, Origin::Elsewhere) => Err(Failure::new(failing(None), retry)),
            (404, _) => Err(ResolveError::NotFound { what: image }.into()),
            (429, _) => Err(Failure::new(
                ResolveError::RateLimited {
                    host,
                    image,
                    retry_after: after,
                },
                retry,
            )),
            (408 | 500 | 502 | 503 | 504, _) => {
                Err(Failure::new(failing(error_code(reply.response).await), retry))
            }
            _ => Err(failing(error_code(reply.response).await).into()),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("default_registry", &self.0.settings.default_registry)
            .finish_non_exhaustive()
    }
}

fn is_challenge(reply: &Reply) -> bool {
    reply.response.status() == StatusCode::UNAUTHORIZED && reply.origin == Origin::Asked
}

fn unauthorized(call: &Call) -> ResolveError {
    let access = if call.credentials.is_some() {
        Access::WithCredentials
    } else {
        Access::Anonymous
    };
    ResolveError::Unauthorized {
        image: call.what.clone(),
        access,
    }
}

/// Why a body could not be read.
enum Unread {
    TooLarge,
    Cut(reqwest::Error),
    Slow,
}

async fn read(mut response: Response, cap: usize, wait: Duration) -> Result<Vec<u8>, Unread> {
    let announced = content_length(response.headers());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > cap)) {
        return Err(Unread::TooLarge);
    }
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Unread::Cut)? {
            if bytes.len() + chunk.len() > cap {
                return Err(Unread::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(wait, whole)
        .await
        .unwrap_or(Err(Unread::Slow))
}

/// `Content-Length`, when it is a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(reqwest::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

/// The registry's error code, such as `DENIED`. Its message is free text and could repeat what we sent: left out.
async fn error_code(response: Response) -> Option<String> {
    let bytes = read(response, MAX_ERROR_BODY, ERROR_BODY_WAIT).await.ok()?;
    let body: ErrorBody = serde_json::from_slice(&bytes).ok()?;
    let code = body.errors.into_iter().next()?.code;
    let plain = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    plain.then(|| one_line(&code))
}
