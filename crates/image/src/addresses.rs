//! Which addresses may be connected to: a registry named by a tenant must not be a way into the operator's network.
//!
//! Rules: hosts that the operator names may have any address but those that only a machine itself can mean
//! (link-local, cloud metadata); all others only public ones. `allow` lists exceptions for every host, `deny` beats
//! all. An address that carries another (IPv4-mapped, NAT64, 6to4) is judged as both.
//!
//! Sources: the IANA special-purpose address registries (RFC 6890 and its updates).

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{AddressRules, RegistrySettings};
use url::{Host, Url};

use crate::policy::{Place, Rules, wrong};
use crate::settings::SettingsError;

const MAX_NETWORKS: usize = 1024;

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Public,
    Loopback,
    Private,
    SharedNat,
    LinkLocal,
    Metadata,
    Unspecified,
    Multicast,
    Reserved,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::SharedNat => "shared NAT (100.64.0.0/10)",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        })
    }
}

/// Whether the operator has named a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In the insecure list, as a mirror, as default registry or in a literal allow rule.
    Named,
    /// By a tenant, or by a registry.
    Stranger,
}

/// Why an address may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedAddress {
    #[error("it has the {class} address {address}")]
    Class { address: IpAddr, class: Class },
    #[error("its address {address} is in {network}, which addresses.deny of the platform's settings lists")]
    Denied { address: IpAddr, network: IpNet },
}

/// The operator's rules about addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    named: HashSet<(String, u16)>,
}

impl AddressPolicy {
    pub(crate) fn new(document: &RegistrySettings, rules: &Rules) -> Result<Self, SettingsError> {
        let AddressRules { allow, deny } = &document.addresses;
        let hosts = document
            .insecure
            .iter()
            .chain(&document.default_registry)
            .chain(document.mirrors.iter().flat_map(|m| [&m.registry, &m.mirror]))
            .filter_map(|text| Place::of_authority(text.trim()));
        let mut named: HashSet<(String, u16)> = hosts.map(|place| (place.host, place.port)).collect();
        named.extend(rules.named().map(|(host, port)| (host.to_owned(), port)));
        Ok(Self {
            allow: networks("addresses.allow", allow)?,
            deny: networks("addresses.deny", deny)?,
            named,
        })
    }

    /// Whether the operator has named this URL's host and port.
    pub(crate) fn standing(&self, url: &Url) -> Standing {
        let named = Place::of_url(url).is_some_and(|place| self.named.contains(&(place.host, place.port)));
        if named {
            Standing::Named
        } else {
            Standing::Stranger
        }
    }

    /// Judges a host that is an address; names are judged when they are resolved.
    pub(crate) fn judge_literal(&self, url: &Url) -> Result<(), RefusedAddress> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.judge(address, self.standing(url))
    }

    pub(crate) fn judge(&self, address: IpAddr, standing: Standing) -> Result<(), RefusedAddress> {
        let forms = forms(address);
        let listed = |networks: &[IpNet]| {
            let holds = |network: &&IpNet| forms.iter().flatten().any(|form| network.contains(form));
            networks.iter().find(holds).copied()
        };
        if let Some(network) = listed(&self.deny) {
            return Err(RefusedAddress::Denied { address, network });
        }
        let class = classify(address);
        let fine = match (class, standing) {
            (Class::Public, _) => true,
            (Class::LinkLocal | Class::Metadata, _) => false,
            (_, standing) => standing == Standing::Named,
        };
        if fine || listed(&self.allow).is_some() {
            return Ok(());
        }
        Err(RefusedAddress::Class { address, class })
    }
}

fn networks(list: &'static str, entries: &[String]) -> Result<Vec<IpNet>, SettingsError> {
    if entries.len() > MAX_NETWORKS {
        let count = entries.len();
        return Err(SettingsError::TooMany {
            list,
            count,
            most: MAX_NETWORKS,
        });
    }
    let network = |entry: &String| {
        let text = entry.trim();
        let parsed = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        parsed.map_err(|_| {
            wrong(
                list,
                entry,
                "is no network",
                "CIDR form, for example 10.1.0.0/16 or fd00:1::/64",
            )
        })
    };
    entries.iter().map(network).collect()
}

/// The address, and the IPv4 address it carries.
fn forms(address: IpAddr) -> [Option<IpAddr>; 2] {
    let carried = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => carried(address).map(IpAddr::V4),
    };
    [Some(address), carried]
}

/// IPv4-mapped and -compatible, NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff | 0] if (g, h) > (0, 1) => Some(of(g, h)),
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(of(g, h)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

pub(crate) fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => carried(address).map_or_else(|| classify_v6(address), classify_v4),
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        // A cloud's metadata service inside the shared range.
        [100, 100, 100, 200] => Class::Metadata,
        [100, 64..=127, ..] => Class::SharedNat,
        [169, 254, ..] => Class::LinkLocal,
        // Public by number, and answered by the machine a cloud server runs on.
        [168, 63, 129, 16] => Class::Metadata,
        [192, 0, 0, _] | [192, 0, 2, _] | [192, 88, 99, _] => Class::Reserved,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Reserved,
        [224..=239, ..] => Class::Multicast,
        [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    if address.is_unspecified() {
        return Class::Unspecified;
    }
    if address.is_loopback() {
        return Class::Loopback;
    }
    match address.segments() {
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => Class::Metadata,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Class::Private,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        // Teredo, benchmarking, ORCHID and others; documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Reserved,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_addresses() {
        for (text, class) in [
            ("8.8.8.8", Class::Public),
            ("0.0.0.0", Class::Unspecified),
            ("0.1.2.3", Class::Unspecified),
            ("127.0.0.1", Class::Loopback),
            ("127.255.255.255", Class::Loopback),
            ("10.0.0.1", Class::Private),
            ("172.15.0.1", Class::Public),
            ("172.31.255.255", Class::Private),
            ("192.168.1.1", Class::Private),
            ("100.63.255.255", Class::Public),
            ("100.64.0.1", Class::SharedNat),
            ("100.100.100.200", Class::Metadata),
            ("169.254.169.254", Class::LinkLocal),
            ("168.63.129.16", Class::Metadata),
            ("198.18.0.1", Class::Reserved),
            ("224.0.0.1", Class::Multicast),
            ("255.255.255.255", Class::Reserved),
            ("::", Class::Unspecified),
            ("::1", Class::Loopback),
            ("::ffff:127.0.0.1", Class::Loopback),
            ("::ffff:8.8.8.8", Class::Public),
            ("::10.0.0.1", Class::Private),
            ("64:ff9b::a9fe:a9fe", Class::LinkLocal),
            ("64:ff9b::808:808", Class::Public),
            ("64:ff9b:1::1", Class::Private),
            ("2002:7f00:1::", Class::Loopback),
            ("2002:a00:1::1", Class::Private),
            ("2001:0:1::1", Class::Reserved),
            ("2001:db8::1", Class::Reserved),
            ("2001:4860:4860::8888", Class::Public),
            ("fd00:ec2::254", Class::Metadata),
            ("fd12::1", Class::Private),
            ("fe80::1", Class::LinkLocal),
            ("fec0::1", Class::Private),
            ("ff02::1", Class::Multicast),
            ("100::1", Class::Reserved),
            ("4000::1", Class::Reserved),
        ] {
            assert_eq!(classify(text.parse().unwrap()), class, "{text}");
        }
    }

    fn policy(allow: &[&str], deny: &[&str]) -> AddressPolicy {
        let own = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
        let document = RegistrySettings {
            insecure: vec!["10.0.0.5:5000".to_owned(), "127.1:80".to_owned()],
            default_registry: Some("reg.corp.example".to_owned()),
            allow: vec!["lit.example/team/*".to_owned(), "*.wild.example".to_owned()],
            addresses: AddressRules {
                allow: own(allow),
                deny: own(deny),
            },
            ..RegistrySettings::default()
        };
        AddressPolicy::new(&document, &Rules::new(&document).unwrap()).unwrap()
    }

    #[test]
    fn a_host_is_named_with_its_port() {
        let policy = policy(&[], &[]);
        for (url, named) in [
            ("https://10.0.0.5:5000/", true),
            ("https://10.0.0.5:2375/", false),
            ("http://127.0.0.1/", true),
            ("https://reg.corp.example/", true),
            ("https://reg.corp.example:8443/", false),
            ("https://lit.example/", true),
            ("https://a.wild.example/", false),
        ] {
            let standing = policy.standing(&url.parse().unwrap());
            assert_eq!(standing == Standing::Named, named, "{url}");
        }
    }

    #[test]
    fn named_hosts_may_be_internal_and_deny_wins() {
        let plain = policy(&[], &[]);
        let ruled = policy(&["10.1.0.0/16", "169.254.1.0/24"], &["10.1.2.0/24", "9.9.9.9"]);
        for (policy, text, named, stranger) in [
            (&plain, "10.1.1.1", true, false),
            (&plain, "127.0.0.1", true, false),
            (&plain, "169.254.169.254", false, false),
            (&plain, "fd00:ec2::254", false, false),
            (&plain, "1.1.1.1", true, true),
            (&ruled, "10.1.1.1", true, true),
            (&ruled, "::ffff:10.1.1.1", true, true),
            (&ruled, "10.1.2.1", false, false),
            (&ruled, "::ffff:10.1.2.1", false, false),
            (&ruled, "64:ff9b::a01:201", false, false),
            (&ruled, "9.9.9.9", false, false),
            (&ruled, "169.254.1.1", true, true),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(policy.judge(address, Standing::Named).is_ok(), named, "{text}");
            assert_eq!(
                policy.judge(address, Standing::Stranger).is_ok(),
                stranger,
                "{text}"
            );
        }
    }

    #[test]
    fn wrong_networks_are_named() {
        for entry in ["10.0.0.0/33", "ten", "10.0.0.0-10.0.0.9"] {
            let error = networks("addresses.deny", &[entry.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(entry), "{error}");
        }
    }
}
