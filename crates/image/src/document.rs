//! The operator's document, checked: what the rest of the client works with.

use std::collections::HashSet;

use model::RegistrySettings;

use crate::addresses::AddressPolicy;
use crate::authority::Authority;
use crate::mirror::Mirrors;
use crate::policy::{Place, Rules};
use crate::proxies::Proxies;
use crate::reference::HUB;
use crate::settings::SettingsError;

const MAX_INSECURE: usize = 1024;
const MAX_BUNDLES: usize = 64;

/// A document whose every entry has been read.
pub(crate) struct Document {
    pub(crate) settings: RegistrySettings,
    pub(crate) default_registry: String,
    /// Lower-case `host:port`, as requests are compared.
    pub(crate) insecure: HashSet<String>,
    pub(crate) rules: Rules,
    pub(crate) addresses: AddressPolicy,
    pub(crate) mirrors: Mirrors,
    pub(crate) proxies: Proxies,
}

impl Document {
    pub(crate) fn read(settings: RegistrySettings) -> Result<Self, SettingsError> {
        at_most("insecure", settings.insecure.len(), MAX_INSECURE)?;
        at_most("ca_certificates", settings.ca_certificates.len(), MAX_BUNDLES)?;
        let default_registry = settings
            .default_registry
            .as_deref()
            .unwrap_or(HUB)
            .trim()
            .to_owned();
        if Authority::parse(&default_registry).is_none() || Place::of_authority(&default_registry).is_none() {
            return Err(SettingsError::DefaultRegistry(default_registry));
        }
        let insecure = settings.insecure.iter().map(|entry| insecure_entry(entry.trim()));
        let rules = Rules::new(&settings)?;
        Ok(Self {
            default_registry,
            insecure: insecure.collect::<Result<_, _>>()?,
            addresses: AddressPolicy::new(&settings, &rules)?,
            mirrors: Mirrors::new(&settings.mirrors)?,
            proxies: Proxies::new(settings.proxy.as_ref())?,
            rules,
            settings,
        })
    }
}

pub(crate) fn at_most(list: &'static str, count: usize, most: usize) -> Result<(), SettingsError> {
    match count > most {
        true => Err(SettingsError::TooMany { list, count, most }),
        false => Ok(()),
    }
}

fn insecure_entry(entry: &str) -> Result<String, SettingsError> {
    if entry.contains("://") {
        return Err(SettingsError::InsecureScheme(entry.to_owned()));
    }
    let malformed = || SettingsError::InsecureMalformed(entry.to_owned());
    let authority = Authority::parse(entry).ok_or_else(malformed)?;
    let Some(port) = authority.port else {
        return Err(SettingsError::InsecureWithoutPort(entry.to_owned()));
    };
    // In the spelling requests have.
    let url = url::Url::parse(&format!("https://{authority}/")).map_err(|_| malformed())?;
    Ok(format!("{}:{port}", url.host_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_insecure_list_takes_host_and_port_only() {
        let check = |entry: &str| {
            let settings = RegistrySettings {
                insecure: vec![entry.to_owned()],
                ..RegistrySettings::default()
            };
            Document::read(settings)
                .map(|document| document.insecure)
                .map_err(|e| e.to_string())
        };
        assert!(check("Reg.Example:5000").unwrap().contains("reg.example:5000"));
        assert!(check("[0::1]:5000").unwrap().contains("[::1]:5000"));
        assert!(check("127.1:443").unwrap().contains("127.0.0.1:443"));
        for (entry, why) in [
            ("http://reg:5000", "must not have a scheme"),
            ("reg.example", "has no port"),
            ("reg:5000/path", "HOST:PORT"),
            ("1.2.3.4.5:80", "HOST:PORT"),
        ] {
            let error = check(entry).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
