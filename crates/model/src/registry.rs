//! What an operator says about registries: one document, used when staging and when running.

use serde::{Deserialize, Serialize};

/// How images are looked for and fetched. An empty document changes nothing.
///
/// The document has one form everywhere (JSON in the admin API, in the database and between roles); the image client
/// checks it and says what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Registry of references that name none, `HOST[:PORT]`; `None`: as the platform was started with.
    pub default_registry: Option<String>,
    /// `HOST:PORT` of registries whose certificate is not checked and which may speak plain HTTP.
    pub insecure: Vec<String>,
    /// PEM bundles of certificate authorities trusted besides the system's.
    pub ca_certificates: Vec<String>,
    /// Copies that are asked before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// Rules `HOST[:PORT][/REPOSITORY[/*]]`; when there are any, an image must match one. `*.DOMAIN` matches hosts
    /// below a domain, and a trailing `*` in a repository anything that begins so.
    pub allow: Vec<String>,
    /// Rules of the same form; an image that matches one is refused, whatever `allow` says.
    pub deny: Vec<String>,
    /// `HOST[:PORT]` or `*.DOMAIN`: where registries may send us for blobs and tokens while `allow` has rules.
    pub redirects: Vec<String>,
    /// Which addresses registries may have.
    pub addresses: AddressRules,
    /// Proxy for registry traffic; `None`: as the process environment says.
    pub proxy: Option<Proxy>,
    /// Whether images may run as root inside their user namespace; `None`: yes. Twin of the original's
    /// `allow_docker_root_user`.
    pub allow_root_user: Option<bool>,
}

/// A pull-through copy of a registry. Asked without credentials, and only for images named without any: a mirror must
/// not see a tenant's password, nor decide what a tenant may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The registry it copies, `HOST[:PORT]`, as references name it.
    pub registry: String,
    /// Where the copy is, `HOST[:PORT]`; the repository keeps its name.
    pub mirror: String,
    /// What happens when the mirror has not got an image or does not answer.
    #[serde(default)]
    pub fallback: Fallback,
}

/// What happens when a mirror cannot give an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The next mirror, at last the registry itself.
    #[default]
    Registry,
    /// The next mirror, never the registry itself.
    Never,
}

/// Which addresses a registry, its token server and the hosts it redirects to may have. Hosts that the operator names
/// in `insecure`, `mirrors`, `default_registry` or a literal `allow` rule may have any but link-local ones; all others
/// only public ones, unless listed here. `deny` beats `allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddressRules {
    /// Networks in CIDR form that are fine although internal.
    pub allow: Vec<String>,
    /// Networks in CIDR form that are refused for every host.
    pub deny: Vec<String>,
}

/// A proxy for registry traffic. A proxy that wants a password is given by the process environment instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// `http://HOST:PORT` for `http` requests.
    pub http: Option<String>,
    /// `http://HOST:PORT` for `https` requests.
    pub https: Option<String>,
    /// Hosts, domains (`.example.org`) and networks reached directly.
    pub no_proxy: Vec<String>,
}

impl RegistrySettings {
    /// This document over another: its lists are added to the other's, its values win.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        fn join<T>(mut base: Vec<T>, more: Vec<T>) -> Vec<T> {
            base.extend(more);
            base
        }
        Self {
            default_registry: self.default_registry.or(base.default_registry),
            insecure: join(base.insecure, self.insecure),
            ca_certificates: join(base.ca_certificates, self.ca_certificates),
            mirrors: join(base.mirrors, self.mirrors),
            allow: join(base.allow, self.allow),
            deny: join(base.deny, self.deny),
            redirects: join(base.redirects, self.redirects),
            addresses: AddressRules {
                allow: join(base.addresses.allow, self.addresses.allow),
                deny: join(base.addresses.deny, self.addresses.deny),
            },
            proxy: self.proxy.or(base.proxy),
            allow_root_user: self.allow_root_user.or(base.allow_root_user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_adds_to_lists_and_wins_in_values() {
        let base = RegistrySettings {
            default_registry: Some("a".to_owned()),
            insecure: vec!["x:1".to_owned()],
            ..RegistrySettings::default()
        };
        let over = RegistrySettings {
            default_registry: Some("b".to_owned()),
            insecure: vec!["y:1".to_owned()],
            allow_root_user: Some(false),
            ..RegistrySettings::default()
        };
        let merged = over.over(base.clone());
        assert_eq!(merged.default_registry.as_deref(), Some("b"));
        assert_eq!(merged.insecure, ["x:1", "y:1"]);
        assert_eq!(merged.allow_root_user, Some(false));
        assert_eq!(RegistrySettings::default().over(base.clone()), base);
    }
}
