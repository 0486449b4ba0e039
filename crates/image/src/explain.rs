//! What happens between a reference and its image, step by step, for an operator who wants to know where it fails.
//!
//! Every step is the real one, made once without retries, under the same rules as a push. Details name hosts,
//! addresses, user names and certificates, never a password, a token or a URL's query.

use std::fmt::Display;
use std::time::Duration;

use model::{Fallback, Platform};
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::authorize::challenge_of;
use crate::challenge::Challenge;
use crate::client::Client;
use crate::credentials::Credentials;
use crate::error::{ResolveError, one_line};
use crate::manifest::{ACCEPT, Manifest};
use crate::mirror::Source;
use crate::probe::Target;
use crate::reference::Reference;
use crate::resolve::{First, Resolution, Resolved};
use crate::session::{Answer, Call, Session, is_challenge, unauthorized};
use crate::token::Holder;
use crate::transport::{Reply, Verb};

/// The steps, in order.
const STEPS: [&str; 11] = [
    "reference",
    "rules",
    "mirrors",
    "dns",
    "connection",
    "auth",
    "manifest",
    "platform",
    "config",
    "layers",
    "limits",
];

/// One step on the way to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// One word, the same in every explanation.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, or what is wrong and what to do. One line.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// It ends here.
    Failed,
    /// An earlier one failed.
    Skipped,
}

impl Client {
    /// Walks the way from a reference to its image without fetching a layer. All steps are there whatever happens;
    /// after one that failed the others are skipped.
    pub async fn explain(
        &self,
        text: &str,
        credentials: Option<&Credentials>,
        platform: &Platform,
    ) -> Vec<Step> {
        let mut account = Account {
            steps: Vec::new(),
            since: Instant::now(),
        };
        let session = self.session().impatient();
        if let Err(failed) = walk(&mut account, &session, (text, credentials, platform)).await {
            account.note(Outcome::Failed, failed.0);
        }
        account.finish()
    }
}

/// The text of a failure.
struct Failed(String);

impl<E: Display> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The steps so far.
struct Account {
    steps: Vec<Step>,
    since: Instant,
}

impl Account {
    fn good(&mut self, detail: String) {
        self.note(Outcome::Ok, detail);
    }

    fn note(&mut self, outcome: Outcome, detail: String) {
        if let Some(name) = STEPS.get(self.steps.len()) {
            self.steps.push(Step {
                name,
                outcome,
                detail: detail.replace(|c: char| c.is_control(), " "),
                took: self.since.elapsed(),
            });
        }
        self.since = Instant::now();
    }

    fn finish(mut self) -> Vec<Step> {
        for name in STEPS.iter().skip(self.steps.len()) {
            self.steps.push(Step {
                name,
                outcome: Outcome::Skipped,
                detail: String::new(),
                took: Duration::ZERO,
            });
        }
        self.steps
    }
}

async fn walk(
    account: &mut Account,
    session: &Session,
    (text, credentials, wanted): (&str, Option<&Credentials>, &Platform),
) -> Result<(), Failed> {
    let reference = Reference::parse(text, &session.live.document.default_registry)?;
    let image = reference.canonical();
    account.good(format!("{image}, in the registry {}", reference.host()));
    session.judge_reference(&reference)?;
    account.good(rules(session));
    let call = Call {
        reference: reference.clone(),
        credentials: credentials.cloned(),
        path: format!("manifests/{}", reference.selector()),
        what: image.clone(),
        accept: ACCEPT,
        digest: None,
    };
    account.good(mirrors(session, &call).await);
    // The registry itself where it may be asked: that is where faults are.
    let source = session.sources(&call).pop().unwrap_or(Source::Registry);
    let target = Target::new(session, &call, &source)?;
    account.good(target.resolve(session, &call).await?);
    let reply = target.connect(session, (&call, &source)).await;
    let (reply, detail) = reply?;
    account.good(detail);
    account.good(authorize(session, (&call, &source), reply).await?);
    let resolution = Resolution {
        session: session.clone(),
        reference: &reference,
        credentials,
        wanted,
        image,
    };
    describe(account, &resolution).await
}

fn rules(session: &Session) -> String {
    let settings = &session.live.document.settings;
    match (settings.allow.len(), settings.deny.len()) {
        (0, 0) => "there are none".to_owned(),
        (0, deny) => format!("none of {deny} deny rules covers it"),
        (allow, deny) => format!("one of {allow} allow rules covers it and none of {deny} deny rules"),
    }
}

/// Which mirrors are asked and how they are. None of them can make a push fail, unless they are all there is.
async fn mirrors(session: &Session, call: &Call) -> String {
    let (hosts, fallback) = session.live.document.mirrors.described(&call.reference);
    if hosts.is_empty() {
        return "there is none for this registry".to_owned();
    }
    if call.credentials.is_some() {
        return format!("{} would be asked, but not with credentials", hosts.join(", "));
    }
    let mut found = Vec::new();
    for host in hosts {
        let source = Source::Mirror(host.clone());
        let state = match session.ask(call, &source, (Verb::Head, 0)).await {
            Ok(_) => "has it".to_owned(),
            Err(failure) => match *failure.error {
                ResolveError::NotFound { .. } => "has not got it".to_owned(),
                error => error.to_string(),
            },
        };
        found.push(format!("{host}: {state}"));
    }
    let last = match fallback {
        Fallback::Registry => "then the registry itself",
        Fallback::Never => "never the registry itself",
    };
    format!("{}; {last}", found.join("; "))
}

/// Answers the registry's challenge, and sees whether the answer is accepted.
async fn authorize(
    session: &Session,
    (call, source): (&Call, &Source),
    reply: Reply,
) -> Result<String, Failed> {
    let user = match &call.credentials {
        Some(credentials) => format!("as {}", one_line(&credentials.username)),
        None => "anonymously".to_owned(),
    };
    if !is_challenge(&reply) {
        let reply = session.judge(call, reply).await;
        return match reply.map_err(|failure| *failure.error) {
            Ok(_) | Err(ResolveError::NotFound { .. }) => Ok("the registry asks for nothing".to_owned()),
            Err(error) => Err(error.into()),
        };
    }
    let asked = match challenge_of(&reply) {
        Some(Challenge::Basic) => "the registry asks for a user name and password".to_owned(),
        Some(Challenge::Bearer { realm, .. }) => {
            let host = url::Url::parse(&realm).map(|url| crate::authority::of_url(&url));
            let host = host.unwrap_or_else(|_| "a server that is no URL".to_owned());
            format!("the registry asks for a token of {host}")
        }
        None => "the registry asks for something this client does not know".to_owned(),
    };
    let holder = Holder {
        host: source.api_host(&call.reference).to_owned(),
        repository: call.reference.repository().to_owned(),
        credentials: call.credentials.clone(),
    };
    let refused = |error: ResolveError| Failed(format!("{asked}; {user}: {error}"));
    let header: HeaderValue = session
        .renew(call, (&holder, None), &reply)
        .await
        .map_err(|failure| refused(*failure.error))?;
    let again = session
        .send(call, source, (Verb::Head, 0, Some(header.clone())))
        .await;
    let again = again.map_err(|failure| refused(*failure.error))?;
    match again.response.status().as_u16() {
        401 | 403 => {
            session.shared.grants.forget(&holder, &header);
            Err(refused(unauthorized(call)))
        }
        _ => Ok(format!("{asked}; accepted {user}")),
    }
}

async fn describe(account: &mut Account, resolution: &Resolution<'_>) -> Result<(), Failed> {
    let First {
        digest,
        manifest,
        answer,
    } = resolution.first_manifest().await?;
    let kind = match &manifest {
        Manifest::Index(entries) => format!("an index of {} entries", entries.len()),
        Manifest::Image(_) => "an image".to_owned(),
    };
    account.good(format!(
        "{digest} from {}, {kind}, {} bytes, {}",
        answer.host,
        answer.bytes.len(),
        one_line(answer.content_type())
    ));
    let available = match &manifest {
        Manifest::Index(entries) => crate::manifest::platforms(entries),
        Manifest::Image(_) => Vec::new(),
    };
    let chosen = resolution.choose(digest, manifest).await?;
    account.good(match available.is_empty() {
        true => format!("{} is wanted, there is one image for all", resolution.wanted),
        false => format!(
            "{} is wanted, there are {}",
            resolution.wanted,
            crate::error::list(&available)
        ),
    });
    let resolved = resolution.describe(chosen).await?;
    account.good(config(&resolved));
    account.good(layers(&resolved));
    account.good(limits(&answer));
    Ok(())
}

fn config(resolved: &Resolved) -> String {
    let config = &resolved.config;
    let command = match config.argv().as_slice() {
        [] => "no command".to_owned(),
        argv => format!("command {}", one_line(&argv.join(" "))),
    };
    let user = if config.user.is_empty() {
        "root"
    } else {
        &config.user
    };
    let ports: Vec<String> = config
        .tcp_ports()
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    let ports = match ports.is_empty() {
        true => "no TCP port".to_owned(),
        false => format!("TCP ports {}", ports.join(", ")),
    };
    let platform = &resolved.platform;
    format!("{platform}, {command}, user {}, {ports}", one_line(user))
}

fn layers(resolved: &Resolved) -> String {
    let all = resolved.compressed_size();
    let count = resolved.layers.len();
    match resolved.layers.iter().max_by_key(|layer| layer.size) {
        Some(biggest) => format!(
            "{count} layers, {all} bytes compressed, the biggest {} of {} bytes",
            biggest.digest, biggest.size
        ),
        None => "there are none".to_owned(),
    }
}

/// What the registry says of its rate limit.
fn limits(answer: &Answer) -> String {
    let names = [
        "ratelimit-limit",
        "ratelimit-remaining",
        "docker-ratelimit-source",
    ];
    let said: Vec<String> = names
        .iter()
        .filter(|name| !answer.header(name).is_empty())
        .map(|name| format!("{name}: {}", one_line(answer.header(name))))
        .collect();
    match said.is_empty() {
        true => "the registry tells of none".to_owned(),
        false => said.join(", "),
    }
}
