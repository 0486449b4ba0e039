//! The cloud registry whose passwords are key pairs: an access key id and its secret are exchanged for a token.
//!
//! Rule: the original's helper for such hosts, which treats every user name and password as a key pair; here the user
//! name of a ready-made token passes as it is. The token is kept until shortly before its end, so it is not asked for
//! with every layer.

use std::time::{Duration, SystemTime};

use base::{Clock, SystemClock};
use reqwest::header::HeaderValue;
use serde::Deserialize;
use url::Url;

use crate::credentials::Credentials;
use crate::error::ResolveError;
use crate::policy::Place;
use crate::retry::Failure;
use crate::session::{Call, Session, unauthorized};
use crate::sigv4;
use crate::token::{Grant, Holder};
use crate::transport::{Get, Verb};

/// The user name of a token that was fetched elsewhere: an ordinary password.
pub(crate) const TOKEN_USER: &str = "AWS";

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const BODY: &str = "{}";
const MAX_REPLY: usize = 64 * 1024;
/// Life of a token that does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenReply {
    authorization_data: Vec<AuthorizationData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationData {
    authorization_token: Option<String>,
    /// Seconds since 1970.
    expires_at: Option<f64>,
}

impl Session {
    /// A token for a key pair, for all repositories of the account; not the one that was `refused`.
    pub(crate) async fn key_pair_grant(
        &self,
        call: &Call,
        (region, credentials): (&Region, &Credentials),
        refused: Option<&HeaderValue>,
    ) -> Result<Grant, Failure> {
        let holder = Holder {
            host: region.api_host(),
            repository: String::new(),
            credentials: Some(credentials.clone()),
        };
        let grants = &self.shared.grants;
        let flight = grants.flight(&holder);
        let _fetching = flight.lock().await;
        if let Some(grant) = grants
            .grant(&holder)
            .filter(|grant| Some(&grant.header) != refused)
        {
            return Ok(grant);
        }
        let grant = self.exchange(call, region, credentials).await?;
        grants.keep(holder, grant.clone());
        Ok(grant)
    }

    async fn exchange(
        &self,
        call: &Call,
        region: &Region,
        credentials: &Credentials,
    ) -> Result<Grant, Failure> {
        let now = SystemClock.now();
        let host = region.api_host();
        let failing = |status: String| ResolveError::Failing {
            host: host.clone(),
            image: call.what.clone(),
            status,
        };
        let url = Url::parse(&format!("https://{host}/")).map_err(|error| failing(error.to_string()))?;
        if let Some(asked) = Place::of_authority(call.reference.api_host()) {
            self.live.transport.judge_host(&asked, &url, &call.what)?;
        }
        let at = sigv4::stamp(now);
        let authorization = sigv4::authorization(&sigv4::Request {
            method: "POST",
            path: "/",
            headers: &[
                ("content-type", CONTENT_TYPE),
                ("host", &host),
                ("x-amz-date", &at),
                ("x-amz-target", TARGET),
            ],
            body: BODY.as_bytes(),
            region: region.name(),
            service: "ecr",
            key_id: &credentials.username,
            secret: &credentials.password,
            at: &at,
        });
        // A key id with characters that no header may hold is no key id.
        let mut authorization =
            HeaderValue::try_from(authorization).map_err(|_| Failure::from(unauthorized(call)))?;
        authorization.set_sensitive(true);
        let date = HeaderValue::try_from(at).map_err(|error| failing(error.to_string()))?;
        let headers = vec![
            ("content-type", HeaderValue::from_static(CONTENT_TYPE)),
            ("x-amz-date", date),
            ("x-amz-target", HeaderValue::from_static(TARGET)),
        ];
        let get = Get {
            url,
            image: &call.what,
            accept: CONTENT_TYPE,
            authorization: Some(authorization),
            range_from: 0,
            verb: Verb::Post(headers, BODY),
        };
        let reply = self.live.transport.get(get).await?;
        if reply.response.status().as_u16() == 400 {
            // Unknown and disabled keys, wrong signatures and missing rights all come as 400.
            return Err(unauthorized(call).into());
        }
        let reply = self.judge(call, reply).await?;
        let answer = self.read(&call.what, reply, MAX_REPLY).await?;
        grant(&answer.bytes, now).map_err(|what| failing(what.to_owned()).into())
    }
}

/// Reads a reply; the error repeats none of it.
fn grant(body: &[u8], now: SystemTime) -> Result<Grant, &'static str> {
    let reply: TokenReply = serde_json::from_slice(body).map_err(|_| "a reply that is not a token")?;
    let data = reply.authorization_data.into_iter();
    let with_token = |data: AuthorizationData| Some((data.authorization_token?, data.expires_at));
    let (token, expires) = data
        .filter_map(with_token)
        .next()
        .ok_or("a reply that holds no token")?;
    // The token is user name and password in the very form that the registry wants.
    let header = HeaderValue::try_from(format!("Basic {token}"))
        .map_err(|_| "a token that holds characters no header may")?;
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let life = expires
        .and_then(|at| Duration::try_from_secs_f64(at).ok())
        .map_or(DEFAULT_LIFE, |at| at.saturating_sub(since_epoch));
    Ok(Grant::for_life(header, life))
}

/// Where such a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    name: String,
    fips: bool,
    china: bool,
}

impl Region {
    /// Reads `ACCOUNT.dkr.ecr[-fips].REGION.amazonaws.com[.cn]`.
    pub(crate) fn of(host: &str) -> Option<Self> {
        let (rest, china) = match host.strip_suffix(".amazonaws.com.cn") {
            Some(rest) => (rest, true),
            None => (host.strip_suffix(".amazonaws.com")?, false),
        };
        let (account, rest) = rest.split_once(".dkr.")?;
        let (kind, name) = rest.split_once('.')?;
        let fips = match kind {
            "ecr" => false,
            "ecr-fips" => true,
            _ => return None,
        };
        let word = |text: &str| {
            text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        (word(account) && word(name)).then(|| Self {
            name: name.to_owned(),
            fips,
            china,
        })
    }

    /// Where tokens are given.
    pub(crate) fn api_host(&self) -> String {
        let service = if self.fips { "ecr-fips" } else { "api.ecr" };
        let suffix = if self.china { ".cn" } else { "" };
        format!("{service}.{}.amazonaws.com{suffix}", self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_key_pair_registries() {
        for (host, api, region) in [
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "api.ecr.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
            (
                "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
                "ecr-fips.us-east-1.amazonaws.com",
                "us-east-1",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "api.ecr.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
        ] {
            let found = Region::of(host).unwrap();
            assert_eq!((found.api_host().as_str(), found.name()), (api, region));
        }
        for host in [
            "public.ecr.aws",
            "123.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "123.dkr.ecr.eu-west-1.evil.amazonaws.com",
            "123.dkr.ecs.eu-west-1.amazonaws.com",
            ".dkr.ecr.eu-west-1.amazonaws.com",
            "dkr.ecr.eu-west-1.amazonaws.com",
            "123.dkr.ecr..amazonaws.com",
            "123.dkr.ecr.eu-west-1.amazonaws.com:8443",
        ] {
            assert_eq!(Region::of(host), None, "{host}");
        }
    }

    #[test]
    fn replies_give_a_header_or_a_reason() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let body = br#"{"authorizationData":[{"authorizationToken":"QVdTOnNlY3JldA==","expiresAt":1043200.5,
            "proxyEndpoint":"https://1.dkr.ecr.eu-west-1.amazonaws.com"}]}"#;
        let header = grant(body, now).unwrap().header;
        assert!(header == "Basic QVdTOnNlY3JldA==" && header.is_sensitive());
        for body in [
            "",
            "{}",
            r#"{"authorizationData":[]}"#,
            r#"{"authorizationData":[{"expiresAt":1}]}"#,
            r#"{"authorizationData":[{"authorizationToken":"a\nb"}]}"#,
        ] {
            assert!(grant(body.as_bytes(), now).is_err(), "{body}");
        }
    }
}
