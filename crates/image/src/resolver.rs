//! Names to addresses that may be connected to.
//!
//! The connection is made to the very addresses judged here, so a name that changes its address in between gains
//! nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::addresses::{AddressPolicy, RefusedAddress, Standing};

/// Resolves as the system does, and keeps what the policy lets pass.
pub(crate) struct Resolver(Option<(Arc<AddressPolicy>, Standing)>);

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("the name {host} does not resolve ({cause})")]
pub(crate) struct Unresolved {
    host: String,
    cause: String,
}

impl Resolver {
    pub(crate) fn judging(policy: Arc<AddressPolicy>, standing: Standing) -> Self {
        Self(Some((policy, standing)))
    }

    pub(crate) fn trusting() -> Self {
        Self(None)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let found = lookup(name.as_str()).await?;
            let good = match rules {
                Some((policy, standing)) => choose(&policy, standing, found)?,
                None => found,
            };
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// Every address of a name.
pub(crate) async fn lookup(host: &str) -> Result<Vec<SocketAddr>, Unresolved> {
    let unresolved = |cause: String| Unresolved {
        host: host.to_owned(),
        cause,
    };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|error| unresolved(crate::error::one_line(&error.to_string())))?
        .collect();
    match found.is_empty() {
        true => Err(unresolved("it has no address".to_owned())),
        false => Ok(found),
    }
}

/// The addresses that may be used; the first refusal when none may.
pub(crate) fn choose(
    policy: &AddressPolicy,
    standing: Standing,
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, RefusedAddress> {
    let mut refused = None;
    let mut good = Vec::new();
    for address in found {
        match policy.judge(address.ip(), standing) {
            Ok(()) => good.push(address),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    match refused {
        Some(error) if good.is_empty() => Err(error),
        _ => Ok(good),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_both_kinds_of_address_is_reached_at_the_public_one_only() {
        let policy = AddressPolicy::default();
        let all = |texts: &[&str]| {
            texts
                .iter()
                .map(|t| SocketAddr::new(t.parse().unwrap(), 0))
                .collect()
        };
        let good = choose(&policy, Standing::Stranger, all(&["10.0.0.1", "8.8.8.8", "::1"])).unwrap();
        assert_eq!(good, all(&["8.8.8.8"]));
        let error = choose(&policy, Standing::Stranger, all(&["169.254.169.254", "::1"])).unwrap_err();
        assert_eq!(error.to_string(), "it has the link-local address 169.254.169.254");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_is_said() {
        let host = format!("{}.example", "a".repeat(70));
        let error = lookup(&host).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("the name {host} does not resolve (")),
            "{error}"
        );
    }
}
