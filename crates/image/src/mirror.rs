//! Copies of registries that are asked first.
//!
//! A mirror is asked without credentials and only for images named without any. What it cannot or will not give comes
//! from the next one, at last from the registry itself unless the operator said never. A mirror that did not answer is
//! passed over for a while; one that lied, longer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Fallback, Mirror};
use tokio::time::Instant;

use crate::authority::Authority;
use crate::document::at_most;
use crate::policy::{Place, wrong};
use crate::reference::{HUB, Reference};
use crate::settings::SettingsError;

const MAX_MIRRORS: usize = 256;
const FORM: &str = "HOST or HOST:PORT, without a scheme or path";
/// How long a mirror that gave wrong bytes is passed over.
const LIAR_REST: Duration = Duration::from_secs(600);

/// The mirrors of a document and what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    all: Vec<Twin>,
    resting: Mutex<HashMap<String, Instant>>,
}

#[derive(Debug)]
struct Twin {
    of: Place,
    host: String,
    fallback: Fallback,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Registry,
    /// `HOST[:PORT]`.
    Mirror(String),
}

impl Mirrors {
    pub(crate) fn new(mirrors: &[Mirror]) -> Result<Self, SettingsError> {
        at_most("mirrors", mirrors.len(), MAX_MIRRORS)?;
        let twin = |entry: &Mirror| {
            let host = |list, text: &str| {
                let text = text.trim();
                Authority::parse(text)
                    .and_then(|authority| Some((Place::of_authority(text)?, authority)))
                    .ok_or_else(|| wrong(list, text, "is no host", FORM))
            };
            let (of, _) = host("mirrors.registry", &entry.registry)?;
            let (at, authority) = host("mirrors.mirror", &entry.mirror)?;
            if of == at {
                return Err(wrong(
                    "mirrors.mirror",
                    &entry.mirror,
                    "is the registry itself",
                    "another host",
                ));
            }
            Ok(Twin {
                of,
                host: authority.to_string(),
                fallback: entry.fallback,
            })
        };
        Ok(Self {
            all: mirrors.iter().map(twin).collect::<Result<_, _>>()?,
            resting: Mutex::default(),
        })
    }

    /// Whom to ask for an image of this registry, in order: never empty. Resting mirrors are left out, unless nobody
    /// else is left.
    pub(crate) fn sources(&self, reference: &Reference) -> Vec<Source> {
        let twins = self.of(reference);
        let last = twins.iter().all(|twin| twin.fallback == Fallback::Registry);
        let now = Instant::now();
        let resting = self.lock();
        let awake = |twin: &&&Twin| resting.get(&twin.host).is_none_or(|until| *until <= now);
        let mut sources: Vec<Source> = twins
            .iter()
            .filter(awake)
            .map(|twin| Source::Mirror(twin.host.clone()))
            .collect();
        if last {
            sources.push(Source::Registry);
        } else if sources.is_empty() {
            sources.extend(twins.iter().map(|twin| Source::Mirror(twin.host.clone())));
        }
        sources
    }

    /// The mirrors of a reference's registry, and what the last of them falls back to.
    pub(crate) fn described(&self, reference: &Reference) -> (Vec<String>, Fallback) {
        let twins = self.of(reference);
        let fallback = match twins.iter().all(|twin| twin.fallback == Fallback::Registry) {
            true => Fallback::Registry,
            false => Fallback::Never,
        };
        (twins.iter().map(|twin| twin.host.clone()).collect(), fallback)
    }

    fn of(&self, reference: &Reference) -> Vec<&Twin> {
        let place = Place::of_authority(reference.host());
        self.all
            .iter()
            .filter(|twin| Some(&twin.of) == place.as_ref())
            .collect()
    }

    /// Passes a mirror over for a while: it did not answer.
    pub(crate) fn rest(&self, host: &str, time: Duration) {
        self.lock().insert(host.to_owned(), Instant::now() + time);
    }

    /// Passes a mirror over for longer: its bytes were not what was asked for.
    pub(crate) fn distrust(&self, host: &str) {
        tracing::warn!(
            mirror = host,
            "a registry mirror gives wrong bytes and is passed over"
        );
        self.rest(host, LIAR_REST);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Host and port to ask for an image.
    pub(crate) fn api_host<'a>(&'a self, reference: &'a Reference) -> &'a str {
        match self {
            Self::Registry => reference.api_host(),
            Self::Mirror(host) if host == HUB => reference.api_host(),
            Self::Mirror(host) => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(entries: &[(&str, &str, Fallback)]) -> Result<Mirrors, SettingsError> {
        let entries: Vec<Mirror> = entries
            .iter()
            .map(|(registry, mirror, fallback)| Mirror {
                registry: (*registry).to_owned(),
                mirror: (*mirror).to_owned(),
                fallback: *fallback,
            })
            .collect();
        Mirrors::new(&entries)
    }

    fn names(sources: &[Source]) -> Vec<&str> {
        sources
            .iter()
            .map(|source| match source {
                Source::Registry => "-",
                Source::Mirror(host) => host,
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn mirrors_come_first_and_rest_when_they_fail() {
        use Fallback::{Never, Registry};
        let some = mirrors(&[
            ("docker.io", "m1:5000", Registry),
            ("index.docker.io", "m2", Registry),
            ("reg.example:443", "m3", Never),
        ])
        .unwrap();
        let nginx = Reference::parse("nginx", HUB).unwrap();
        let closed = Reference::parse("reg.example/x", HUB).unwrap();
        assert_eq!(names(&some.sources(&nginx)), ["m1:5000", "m2", "-"]);
        assert_eq!(names(&some.sources(&closed)), ["m3"]);
        assert_eq!(
            names(&some.sources(&Reference::parse("ghcr.io/x/y", HUB).unwrap())),
            ["-"]
        );
        some.rest("m1:5000", Duration::from_secs(30));
        some.distrust("m3");
        assert_eq!(names(&some.sources(&nginx)), ["m2", "-"]);
        assert_eq!(names(&some.sources(&closed)), ["m3"]);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(names(&some.sources(&nginx)), ["m1:5000", "m2", "-"]);
    }

    #[test]
    fn wrong_mirrors_are_named() {
        for (registry, mirror, list) in [
            ("https://docker.io", "m", "mirrors.registry"),
            ("docker.io", "http://m:5000", "mirrors.mirror"),
            ("docker.io", "m/path", "mirrors.mirror"),
            ("docker.io", "registry-1.docker.io", "mirrors.mirror"),
        ] {
            let error = mirrors(&[(registry, mirror, Fallback::Registry)]).unwrap_err();
            assert!(error.to_string().starts_with(list), "{error}");
        }
    }
}
