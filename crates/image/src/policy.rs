//! Which images may be named, and where a registry may send us: the operator's allow and deny rules.
//!
//! Rules: `deny` beats `allow`; with an empty `allow` everything is allowed that `deny` does not name. A rule without a
//! port means every port in `deny`, and in `allow` and `redirects` only the one that a reference without a port means:
//! to let a tenant choose the port of an allowed host would let him knock at every service there.
//!
//! All of it is decided from names alone, before any contact. The hub's other names count as [`HUB`].

use model::RegistrySettings;
use url::Url;

use crate::authority::Authority;
use crate::reference::{HUB, Reference};
use crate::settings::SettingsError;

/// Names of the hub's API that are the hub.
const HUB_NAMES: [&str; 4] = [
    HUB,
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];
/// Where the hub sends its own clients for tokens and blobs: part of it, whatever `redirects` says.
const HUB_DOMAINS: [&str; 2] = [".docker.io", ".docker.com"];
const HUB_STORAGE: &str = "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com";
/// Of every list; a longer one would make each request slow.
const MAX_RULES: usize = 4096;
const FORM: &str = "HOST, HOST:PORT, *.DOMAIN or one of them with /REPOSITORY or /PREFIX*";
const HOST_FORM: &str = "HOST, HOST:PORT or *.DOMAIN";

/// The operator's rules, ready to judge.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    redirects: Vec<Rule>,
}

/// Why an image or a host is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A deny rule covers it.
    #[error("the platform's deny rule {rule:?} covers it")]
    Denied {
        /// As the operator wrote it.
        rule: String,
    },
    /// There are allow rules, and none covers it.
    #[error("no rule of the platform's {list} list covers it")]
    NotAllowed {
        /// `allow`, or for hosts that a registry sends us to, `allow` or `redirects`.
        list: &'static str,
    },
}

#[derive(Clone, Debug)]
struct Rule {
    text: String,
    host: HostRule,
    port: Option<u16>,
    repository: RepositoryRule,
}

#[derive(Clone, Debug)]
enum HostRule {
    Is(String),
    /// Ends with this, which begins with a dot.
    Below(String),
}

#[derive(Clone, Debug)]
enum RepositoryRule {
    Any,
    Is(String),
    Begins(String),
}

/// A host with its port, in the one spelling that rules compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the port is the scheme's own.
    default_port: bool,
}

impl Place {
    /// `None` for what makes no URL.
    pub(crate) fn of_authority(authority: &str) -> Option<Self> {
        Url::parse(&format!("https://{authority}/"))
            .ok()
            .as_ref()
            .and_then(Self::of_url)
    }

    /// The URL parser has brought every spelling of an address, such as `127.1`, into one form.
    pub(crate) fn of_url(url: &Url) -> Option<Self> {
        let host = url.host_str()?;
        let hub = HUB_NAMES.contains(&host);
        Some(Self {
            host: if hub { HUB } else { host }.to_owned(),
            port: url.port_or_known_default()?,
            default_port: url.port().is_none(),
        })
    }

    pub(crate) fn is_hub(&self) -> bool {
        self.host == HUB && self.default_port
    }
}

impl Rules {
    /// Reads the rules of a document; the error names the wrong entry.
    pub fn new(document: &RegistrySettings) -> Result<Self, SettingsError> {
        let rules = |list, entries: &[String], form| {
            if entries.len() > MAX_RULES {
                let count = entries.len();
                return Err(SettingsError::TooMany {
                    list,
                    count,
                    most: MAX_RULES,
                });
            }
            entries.iter().map(|entry| parse(list, entry, form)).collect()
        };
        let redirects: Vec<Rule> = rules("redirects", &document.redirects, HOST_FORM)?;
        if let Some(rule) = redirects
            .iter()
            .find(|rule| !matches!(rule.repository, RepositoryRule::Any))
        {
            return Err(wrong("redirects", &rule.text, "names a repository", HOST_FORM));
        }
        Ok(Self {
            allow: rules("allow", &document.allow, FORM)?,
            deny: rules("deny", &document.deny, FORM)?,
            redirects,
        })
    }

    /// Whether an image may be named.
    pub fn judge(&self, reference: &Reference) -> Result<(), Refusal> {
        let Some(place) = Place::of_authority(reference.host()) else {
            // It makes no URL either, and is refused as that.
            return Ok(());
        };
        let repository = reference.repository();
        if let Some(rule) = self.deny.iter().find(|rule| rule.denies(&place, repository)) {
            return Err(Refusal::Denied {
                rule: rule.text.clone(),
            });
        }
        let allowed = self.allow.is_empty() || self.allow.iter().any(|rule| rule.allows(&place, repository));
        match allowed {
            true => Ok(()),
            false => Err(Refusal::NotAllowed { list: "allow" }),
        }
    }

    /// Whether the registry at `asked` may send us to `target` for a blob or a token.
    pub(crate) fn judge_host(&self, asked: &Place, target: &Place) -> Result<(), Refusal> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.denies_host(target)) {
            return Err(Refusal::Denied {
                rule: rule.text.clone(),
            });
        }
        let same = asked.host == target.host && asked.port == target.port;
        let hosts = self.allow.iter().chain(&self.redirects);
        let allowed = self.allow.is_empty()
            || same
            || is_part(asked, target)
            || hosts.clone().any(|rule| rule.allows_host(target));
        match allowed {
            true => Ok(()),
            false => Err(Refusal::NotAllowed {
                list: "allow or redirects",
            }),
        }
    }

    /// Hosts that `allow` names literally.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, u16)> {
        self.allow.iter().filter_map(|rule| match &rule.host {
            HostRule::Is(host) => Some((host.as_str(), rule.port.unwrap_or(443))),
            HostRule::Below(_) => None,
        })
    }
}

/// Hosts that belong to the registry asked, so that whoever allows the one allows the other.
fn is_part(asked: &Place, target: &Place) -> bool {
    let hub = asked.is_hub()
        && target.default_port
        && (target.host == HUB_STORAGE || HUB_DOMAINS.iter().any(|domain| target.host.ends_with(domain)));
    hub || crate::ecr::Region::of(&asked.host).is_some_and(|region| region.api_host() == target.host)
}

impl Rule {
    fn covers_host(&self, place: &Place) -> bool {
        match &self.host {
            HostRule::Is(host) => *host == place.host,
            HostRule::Below(domain) => place.host.ends_with(domain.as_str()),
        }
    }

    fn covers_repository(&self, repository: &str) -> bool {
        match &self.repository {
            RepositoryRule::Any => true,
            RepositoryRule::Is(name) => name == repository,
            RepositoryRule::Begins(start) => repository.starts_with(start.as_str()),
        }
    }

    fn denies(&self, place: &Place, repository: &str) -> bool {
        self.covers_host(place)
            && self.port.is_none_or(|port| port == place.port)
            && self.covers_repository(repository)
    }

    fn denies_host(&self, place: &Place) -> bool {
        matches!(self.repository, RepositoryRule::Any)
            && self.covers_host(place)
            && self.port.is_none_or(|port| port == place.port)
    }

    fn allows_port(&self, place: &Place) -> bool {
        self.port.map_or(place.default_port, |port| port == place.port)
    }

    fn allows(&self, place: &Place, repository: &str) -> bool {
        self.covers_host(place) && self.allows_port(place) && self.covers_repository(repository)
    }

    fn allows_host(&self, place: &Place) -> bool {
        matches!(self.repository, RepositoryRule::Any) && self.covers_host(place) && self.allows_port(place)
    }
}

fn parse(list: &'static str, entry: &str, form: &'static str) -> Result<Rule, SettingsError> {
    let text = entry.trim();
    let fault = |why| wrong(list, entry, why, form);
    if text.contains("://") {
        return Err(fault("has a scheme"));
    }
    let (host, repository) = match text.split_once('/') {
        Some((host, repository)) => (host, Some(repository)),
        None => (text, None),
    };
    let (below, host) = match host.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, host),
    };
    let authority = Authority::parse(host).ok_or_else(|| fault("names no host"))?;
    let place = Place::of_authority(&authority.to_string()).ok_or_else(|| fault("names no host"))?;
    let is_hub = place.host == HUB && !below;
    let host = match below {
        // Of a domain, not of the hub that answers there.
        true => HostRule::Below(format!(".{}", authority.host)),
        false => HostRule::Is(place.host),
    };
    let repository = match repository {
        None | Some("*") => RepositoryRule::Any,
        Some(path) => repository_rule(path, is_hub).ok_or_else(|| fault("names no repository"))?,
    };
    Ok(Rule {
        text: text.to_owned(),
        host,
        port: authority.port,
        repository,
    })
}

fn repository_rule(path: &str, is_hub: bool) -> Option<RepositoryRule> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
    let (name, begins) = match path.strip_suffix('*') {
        Some(start) => (start, true),
        None => (path, false),
    };
    if name.is_empty() || !name.bytes().all(plain) || name.starts_with('/') || name.contains("//") {
        return None;
    }
    match begins {
        true => Some(RepositoryRule::Begins(name.to_owned())),
        false if name.ends_with('/') => None,
        false if is_hub && !name.contains('/') => Some(RepositoryRule::Is(format!("library/{name}"))),
        false => Some(RepositoryRule::Is(name.to_owned())),
    }
}

pub(crate) fn wrong(
    list: &'static str,
    entry: &str,
    why: &'static str,
    write: &'static str,
) -> SettingsError {
    SettingsError::Entry {
        list,
        entry: crate::error::one_line(entry),
        why,
        write,
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
