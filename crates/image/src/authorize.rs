//! A registry's challenge answered: with the password, with a token for it, or with a token for a key pair.

use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use tokio::time::Instant;
use url::Url;

use crate::challenge::{self, Challenge};
use crate::ecr::{self, Region};
use crate::error::ResolveError;
use crate::policy::Place;
use crate::retry::Failure;
use crate::session::{Call, Session, unauthorized};
use crate::token::{self, Grant, Holder};
use crate::transport::{Get, Reply, Verb};

/// Largest token reply.
const MAX_TOKEN_REPLY: usize = 256 * 1024;

impl Session {
    /// A header for a challenge, in place of `kept` which was refused. Of all that ask at once for the same holder one
    /// fetches it, and the others take what came, be it an error.
    pub(crate) async fn renew(
        &self,
        call: &Call,
        (holder, kept): (&Holder, Option<HeaderValue>),
        reply: &Reply,
    ) -> Result<HeaderValue, Failure> {
        let grants = &self.shared.grants;
        let flight = grants.flight(holder);
        let arrived = Instant::now();
        let mut last_failure = flight.lock().await;
        if let Some(header) = grants.get(holder).filter(|header| Some(header) != kept.as_ref()) {
            return Ok(header);
        }
        if let Some((_, failure)) = last_failure.as_ref().filter(|(at, _)| *at >= arrived) {
            return Err(failure.clone());
        }
        if let Some(refused) = &kept {
            grants.forget(holder, refused);
        }
        match self.answer(call, (holder, kept.as_ref()), reply).await {
            Ok(grant) => {
                let header = grant.header.clone();
                grants.keep(holder.clone(), grant);
                Ok(header)
            }
            Err(failure) => {
                *last_failure = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn answer(
        &self,
        call: &Call,
        (holder, refused): (&Holder, Option<&HeaderValue>),
        reply: &Reply,
    ) -> Result<Grant, Failure> {
        match (challenge_of(reply), &call.credentials) {
            (Some(Challenge::Basic), Some(credentials)) => match Region::of(&holder.host) {
                Some(region) if credentials.username != ecr::TOKEN_USER => {
                    self.key_pair_grant(call, (&region, credentials), refused).await
                }
                _ => Ok(token::basic(credentials)),
            },
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                let url = self.token_url(call, &realm, (service.as_deref(), scope.as_deref()))?;
                if let Ok(asked) = Url::parse(&format!("https://{}/", holder.host))
                    && let Some(asked) = Place::of_url(&asked)
                {
                    self.live.transport.judge_host(&asked, &url, &call.what)?;
                }
                self.fetch_token(call, url).await
            }
            (Some(Challenge::Basic) | None, _) => Err(unauthorized(call).into()),
        }
    }

    fn token_url(
        &self,
        call: &Call,
        realm: &str,
        (service, scope): (Option<&str>, Option<&str>),
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
        if url.scheme() == "http" && !self.live.transport.is_insecure(&url) {
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
            verb: Verb::Get,
        };
        let reply = self.live.transport.get(get).await?;
        let reply = self
            .judge(call, reply)
            .await
            .map_err(|failure| match *failure.error {
                ResolveError::NotFound { .. } => unauthorized(call).into(),
                _ => failure,
            })?;
        let host = reply.host.clone();
        let answer = self.read(&call.what, reply, MAX_TOKEN_REPLY).await?;
        token::bearer(&answer.bytes).map_err(|what| {
            ResolveError::Failing {
                host,
                image: call.what.clone(),
                status: what.to_owned(),
            }
            .into()
        })
    }
}

/// What a registry asks for.
pub(crate) fn challenge_of(reply: &Reply) -> Option<Challenge> {
    let values = reply.response.headers().get_all(WWW_AUTHENTICATE);
    challenge::choose(values.iter().filter_map(|value| value.to_str().ok()))
}
