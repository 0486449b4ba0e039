//! One operation against registries: whom to ask, what to send, how to judge the answer, when to try again.
//!
//! A request goes out with the header kept for its repository, or none. A 401 from the registry itself is answered
//! once with a fresh header; a 401 from a host a redirect led to is never answered. Mirrors are asked before the
//! registry, each once.

use std::sync::Arc;

use model::{Digest, RegistrySettings};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use crate::body::{self, Unread, error_code};
use crate::cause::classify;
use crate::credentials::Credentials;
use crate::document::Document;
use crate::error::{Access, ErrorKind, ResolveError};
use crate::mirror::Source;
use crate::policy::Refusal;
use crate::reference::Reference;
use crate::retry::{Failure, Retries, Retry, retry_after};
use crate::settings::{SettingsError, Timeouts};
use crate::token::{Grants, Holder};
use crate::transport::{Get, Origin, Reply, Transport, Verb};

/// What outlives a change of the document.
pub(crate) struct Shared {
    pub(crate) max_retries: u32,
    pub(crate) timeouts: Timeouts,
    pub(crate) grants: Grants,
}

impl Shared {
    pub(crate) fn new(max_retries: u32, timeouts: Timeouts) -> Self {
        Self {
            max_retries,
            timeouts,
            grants: Grants::default(),
        }
    }
}

/// A document at work.
pub(crate) struct Live {
    pub(crate) document: Document,
    pub(crate) transport: Transport,
}

impl Live {
    pub(crate) fn new(registry: RegistrySettings, timeouts: &Timeouts) -> Result<Self, SettingsError> {
        let document = Document::read(registry)?;
        let transport = Transport::new(&document, timeouts)?;
        Ok(Self { document, transport })
    }
}

/// One operation.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Live>,
    /// How often one request is tried again.
    max_retries: u32,
}

/// One request below `/v2/NAME/`.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) reference: Reference,
    pub(crate) credentials: Option<Credentials>,
    /// `manifests/…` or `blobs/…`.
    pub(crate) path: String,
    /// What it is about, for messages.
    pub(crate) what: String,
    pub(crate) accept: &'static str,
    /// What a small answer must be, when that is known: mirrors are held to it.
    pub(crate) digest: Option<Digest>,
}

/// A small answer, read whole.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) headers: HeaderMap,
    /// `host:port` that answered.
    pub(crate) host: String,
}

impl Answer {
    /// A header's value; empty without one.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE.as_str())
    }
}

/// An answer that has begun.
pub(crate) struct Opened {
    pub(crate) reply: Reply,
    pub(crate) source: Source,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, live: Arc<Live>) -> Self {
        let max_retries = shared.max_retries;
        Self {
            shared,
            live,
            max_retries,
        }
    }

    /// The same, where every request has one try.
    pub(crate) fn impatient(mut self) -> Self {
        self.max_retries = 0;
        self
    }

    pub(crate) fn retries(&self) -> Retries {
        Retries::new(self.max_retries, &self.shared.timeouts)
    }

    /// The answer to a call from its first byte, after retries.
    pub(crate) async fn open(&self, call: &Call) -> Result<Opened, ResolveError> {
        let mut retries = self.retries();
        loop {
            match self.try_open(call, 0).await {
                Ok(opened) => return Ok(opened),
                Err(failure) => retries.pause(failure).await?,
            }
        }
    }

    /// The whole body of an answer of at most `cap` bytes, after retries.
    pub(crate) async fn document(&self, call: &Call, cap: usize) -> Result<Answer, ResolveError> {
        let mut retries = self.retries();
        loop {
            match self.try_document(call, cap).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => retries.pause(failure).await?,
            }
        }
    }

    /// Each source once, until one answers from byte `from` on.
    pub(crate) async fn try_open(&self, call: &Call, from: u64) -> Result<Opened, Failure> {
        self.try_each(call, Verb::Get, from).await
    }

    pub(crate) async fn try_each(&self, call: &Call, verb: Verb, from: u64) -> Result<Opened, Failure> {
        let mut outcome = Err(unreached(call));
        for source in self.sources(call) {
            match self.ask(call, &source, (verb.clone(), from)).await {
                Ok(reply) => return Ok(Opened { reply, source }),
                Err(failure) => outcome = Err(self.blame(&source, failure)),
            }
        }
        outcome
    }

    async fn try_document(&self, call: &Call, cap: usize) -> Result<Answer, Failure> {
        let mut outcome = Err(unreached(call));
        for source in self.sources(call) {
            match self.document_from(call, &source, cap).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => outcome = Err(self.blame(&source, failure)),
            }
        }
        outcome
    }

    async fn document_from(&self, call: &Call, source: &Source, cap: usize) -> Result<Answer, Failure> {
        let reply = self.ask(call, source, (Verb::Get, 0)).await?;
        let answer = self.read(&call.what, reply, cap).await?;
        match (&call.digest, source) {
            (Some(wanted), Source::Mirror(host)) if crate::resolve::digest_of(&answer.bytes) != *wanted => {
                let what = format!("the mirror {host} gave other bytes than {wanted}");
                let image = call.what.clone();
                Err(ResolveError::Malformed { image, what }.into())
            }
            _ => Ok(answer),
        }
    }

    pub(crate) fn sources(&self, call: &Call) -> Vec<Source> {
        match call.credentials {
            Some(_) => vec![Source::Registry],
            None => self.live.document.mirrors.sources(&call.reference),
        }
    }

    /// Remembers a mirror's failure, and lets the next source be asked whatever it was.
    pub(crate) fn blame(&self, source: &Source, mut failure: Failure) -> Failure {
        let Source::Mirror(host) = source else {
            return failure;
        };
        tracing::debug!(mirror = host, error = %failure.error, "a registry mirror is passed over");
        let mirrors = &self.live.document.mirrors;
        match failure.error.kind() {
            ErrorKind::NotFound => {
                if let ResolveError::NotFound { what } = &mut *failure.error {
                    what.push_str(&format!(" (asked only at the mirror {host})"));
                }
            }
            ErrorKind::Malformed => {
                mirrors.distrust(host);
                failure.retry = Retry::Soon;
            }
            _ => {
                mirrors.rest(host, self.shared.timeouts.mirror_rest);
                if failure.retry == Retry::Never {
                    failure.retry = Retry::Soon;
                }
            }
        }
        failure
    }

    /// A whole body.
    pub(crate) async fn read(&self, what: &str, reply: Reply, cap: usize) -> Result<Answer, Failure> {
        let headers = reply.response.headers().clone();
        let wait = self.shared.timeouts.response;
        let (host, image) = (reply.host, what.to_owned());
        match body::read(reply.response, cap, wait).await {
            Ok(bytes) => Ok(Answer { bytes, headers, host }),
            Err(Unread::TooLarge) => {
                let what = format!("its description is larger than {cap} bytes");
                Err(ResolveError::Malformed { image, what }.into())
            }
            Err(Unread::Cut(error)) => Err(classify(&error, host, &image)),
            Err(Unread::Slow) => {
                let cause = format!("an answer did not end within {} s", wait.as_secs_f32());
                Err(Failure::passing(ResolveError::Unreachable { host, image, cause }))
            }
        }
    }

    /// One request to one source: a successful answer, or why not.
    pub(crate) async fn ask(
        &self,
        call: &Call,
        source: &Source,
        (verb, from): (Verb, u64),
    ) -> Result<Reply, Failure> {
        self.judge_reference(&call.reference)?;
        let holder = Holder {
            host: source.api_host(&call.reference).to_owned(),
            repository: call.reference.repository().to_owned(),
            credentials: call.credentials.clone(),
        };
        let kept = self.shared.grants.get(&holder);
        let reply = self
            .send(call, source, (verb.clone(), from, kept.clone()))
            .await?;
        if !is_challenge(&reply) {
            return self.judge(call, reply).await;
        }
        let header = self.renew(call, (&holder, kept), &reply).await?;
        let reply = self
            .send(call, source, (verb, from, Some(header.clone())))
            .await?;
        if is_challenge(&reply) {
            self.shared.grants.forget(&holder, &header);
        }
        self.judge(call, reply).await
    }

    /// Whether the operator's rules let this image be named.
    pub(crate) fn judge_reference(&self, reference: &Reference) -> Result<(), ResolveError> {
        self.live.document.rules.judge(reference).map_err(|refusal| {
            let remedy = match refusal {
                Refusal::Denied { .. } => "name another image, or ask an administrator to change the rule",
                Refusal::NotAllowed { .. } => {
                    "name an image of an allowed registry, or ask an administrator to add a rule"
                }
            };
            ResolveError::Refused {
                image: reference.name(),
                why: refusal.to_string(),
                remedy: remedy.to_owned(),
            }
        })
    }

    pub(crate) async fn send(
        &self,
        call: &Call,
        source: &Source,
        (verb, range_from, authorization): (Verb, u64, Option<HeaderValue>),
    ) -> Result<Reply, Failure> {
        let url = api_url(call, source)?;
        let get = Get {
            url,
            image: &call.what,
            accept: call.accept,
            authorization,
            range_from,
            verb,
        };
        self.live.transport.get(get).await
    }

    /// Lets successful answers pass and names the others.
    pub(crate) async fn judge(&self, call: &Call, reply: Reply) -> Result<Reply, Failure> {
        let status = reply.response.status();
        // Redirects come here only where nothing is to be fetched.
        let good = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if good || crate::transport::is_redirect(status) {
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

/// Where a call goes.
pub(crate) fn api_url(call: &Call, source: &Source) -> Result<Url, ResolveError> {
    let host = source.api_host(&call.reference);
    let text = format!("https://{host}/v2/{}/{}", call.reference.repository(), call.path);
    Url::parse(&text).map_err(|error| ResolveError::Malformed {
        image: call.what.clone(),
        what: format!("its name makes no URL ({error})"),
    })
}

/// There is always a source; this is the error of a loop that found none.
fn unreached(call: &Call) -> Failure {
    let image = call.what.clone();
    let what = "its registry has no source".to_owned();
    ResolveError::Malformed { image, what }.into()
}

pub(crate) fn is_challenge(reply: &Reply) -> bool {
    reply.response.status() == StatusCode::UNAUTHORIZED && reply.origin == Origin::Asked
}

pub(crate) fn unauthorized(call: &Call) -> ResolveError {
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
