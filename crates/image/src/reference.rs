//! Image references: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`.
//!
//! Rule: the reference grammar of the distribution project, which is stricter about names than Cloud Foundry was, and
//! Cloud Foundry's words for refusals. Both a tag and a digest may be given: the digest says what runs, the tag is
//! kept to be shown.

use std::fmt;

use model::Digest;

use crate::authority::Authority;

/// The public hub's name in references.
pub const HUB: &str = "docker.io";

/// The tag of a reference that names neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// Where the public hub's API is served.
const HUB_API: &str = "registry-1.docker.io";
/// An older name of the hub that references still carry.
const HUB_ALIAS: &str = "index.docker.io";
/// Longest `HOST/NAME` (reference grammar).
const MAX_NAME_LEN: usize = 255;
/// Longest tag (reference grammar).
const MAX_TAG_LEN: usize = 128;
/// How much of a refused text is repeated to its author.
const SHOWN: usize = 300;

/// A parsed reference. `Display` gives what its author wrote; [`Reference::canonical`] gives a form that means the
/// same everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    written_name: String,
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A scheme other than `docker://`.
    #[error("Docker URI [{0}] should not contain scheme")]
    Scheme(String),
    /// The host part is no host.
    #[error("Invalid image registry [{0}]")]
    Host(String),
    /// The path breaks the grammar or is too long.
    #[error("Invalid image name [{0}]")]
    Name(String),
    /// The tag breaks the grammar.
    #[error("Invalid image tag [{0}]")]
    Tag(String),
    /// Not a sha256 digest.
    #[error("Invalid image digest [{0}]: it must be sha256: and 64 hexadecimal digits")]
    Digest(String),
}

impl Reference {
    /// Reads a reference. `default_registry` (`HOST` or `HOST:PORT`) serves references that name no registry.
    pub fn parse(text: &str, default_registry: &str) -> Result<Self, ReferenceError> {
        let text = text.trim();
        let text = text.strip_prefix("docker://").unwrap_or(text);
        if text.contains("://") {
            return Err(ReferenceError::Scheme(shown(text)));
        }
        let (host, path) = split_host(text);
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => (
                path,
                Some(
                    digest
                        .parse()
                        .map_err(|_| ReferenceError::Digest(shown(digest)))?,
                ),
            ),
            None => (path, None),
        };
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        if !is_name(path) {
            return Err(ReferenceError::Name(shown(path)));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(shown(tag)));
        }
        let written_host = host.unwrap_or(default_registry);
        let host_name = match Authority::parse(written_host).map(|a| a.to_string()) {
            Some(name) if name == HUB_ALIAS => HUB.to_owned(),
            Some(name) => name,
            None => return Err(ReferenceError::Host(shown(written_host))),
        };
        let repository = if host_name == HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if host_name.len() + 1 + repository.len() > MAX_NAME_LEN {
            return Err(ReferenceError::Name(shown(path)));
        }
        Ok(Self {
            written_name: host.map_or_else(|| path.to_owned(), |host| format!("{host}/{path}")),
            host: host_name,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Registry, `HOST` or `HOST:PORT`, lower-case; [`HUB`] for the public hub.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Name inside the registry, with the hub's `library/`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, when one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same name and tag, pinned to a digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// `HOST/NAME` with neither tag nor digest: what allow lists and messages name.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Everything spelled out: parses to the same image whatever the default registry is.
    pub fn canonical(&self) -> String {
        let mut text = self.name();
        match (&self.tag, &self.digest) {
            (Some(tag), _) => text = format!("{text}:{tag}"),
            (None, None) => text = format!("{text}:{DEFAULT_TAG}"),
            (None, Some(_)) => {}
        }
        match &self.digest {
            Some(digest) => format!("{text}@{digest}"),
            None => text,
        }
    }

    /// What a manifest is asked for by: the digest when there is one, else the tag.
    pub(crate) fn selector(&self) -> &str {
        match &self.digest {
            Some(digest) => digest.as_str(),
            None => self.tag.as_deref().unwrap_or(DEFAULT_TAG),
        }
    }

    /// Host and port of the registry's API.
    pub(crate) fn api_host(&self) -> &str {
        if self.host == HUB { HUB_API } else { &self.host }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written_name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest
            .as_ref()
            .map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// The first segment is a registry when it cannot be the start of a hub name.
fn split_host(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, text),
    }
}

/// `path-component ("/" path-component)*`.
fn is_name(path: &str) -> bool {
    path.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`: words joined by one dot, one or two underscores, or dashes.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    let mut after_word = false;
    for byte in text.bytes() {
        if word(byte) {
            let allowed =
                matches!(separator.as_str(), "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
            if !allowed || (!after_word && !separator.is_empty()) {
                return false;
            }
            separator.clear();
            after_word = true;
        } else if matches!(byte, b'.' | b'_' | b'-') {
            separator.push(char::from(byte));
        } else {
            return false;
        }
    }
    after_word && separator.is_empty()
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG_LEN
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_name_registry_repository_tag_and_digest() {
        for (text, canonical) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("  nginx:1.27 ", "docker.io/library/nginx:1.27".to_owned()),
            ("docker://nginx", "docker.io/library/nginx:latest".to_owned()),
            ("docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            (
                "index.docker.io/nginx",
                "docker.io/library/nginx:latest".to_owned(),
            ),
            (
                "cloudfoundry/diego-docker-app",
                "docker.io/cloudfoundry/diego-docker-app:latest".to_owned(),
            ),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a:b", "localhost:5000/a:b".to_owned()),
            ("localhost:5000", "docker.io/library/localhost:5000".to_owned()),
            ("Reg.Example/a/b/c:V_1.-", "reg.example/a/b/c:V_1.-".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            ("a__b/c--d/e.f_g", "docker.io/a__b/c--d/e.f_g:latest".to_owned()),
            (
                &format!("nginx@{DIGEST}"),
                format!("docker.io/library/nginx@{DIGEST}"),
            ),
            (
                &format!("reg:1/nginx:9@{DIGEST}"),
                format!("reg:1/nginx:9@{DIGEST}"),
            ),
        ] {
            let reference = Reference::parse(text, HUB).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.canonical(), canonical, "{text}");
            let again = Reference::parse(&reference.canonical(), "other.example").unwrap();
            assert_eq!(
                (again.canonical(), again.selector()),
                (canonical, reference.selector()),
                "{text}"
            );
        }
    }

    #[test]
    fn display_is_what_was_written() {
        for text in [
            "nginx",
            "nginx:1",
            "docker.io/nginx",
            "localhost:5000/a:b",
            &format!("a/b:c@{DIGEST}"),
        ] {
            assert_eq!(Reference::parse(text, HUB).unwrap().to_string(), text);
        }
        let pinned = Reference::parse("nginx:1", HUB)
            .unwrap()
            .with_digest(DIGEST.parse().unwrap());
        assert_eq!(pinned.to_string(), format!("nginx:1@{DIGEST}"));
        assert_eq!(pinned.selector(), DIGEST);
    }

    #[test]
    fn another_default_registry_gets_no_library() {
        let reference = Reference::parse("nginx", "localhost:5000").unwrap();
        assert_eq!(
            (reference.host(), reference.repository()),
            ("localhost:5000", "nginx")
        );
        assert_eq!(
            Reference::parse("nginx", HUB).unwrap().api_host(),
            "registry-1.docker.io"
        );
    }

    #[test]
    fn refusals_use_the_words_users_know() {
        let long = "a".repeat(256);
        for (text, want) in [
            (
                "http://reg/a",
                "Docker URI [http://reg/a] should not contain scheme",
            ),
            (
                "docker://https://reg/a",
                "Docker URI [https://reg/a] should not contain scheme",
            ),
            ("", "Invalid image name []"),
            ("Nginx", "Invalid image name [Nginx]"),
            ("reg.example/", "Invalid image name []"),
            ("a//b", "Invalid image name [a//b]"),
            ("/a", "Invalid image name [/a]"),
            ("-a", "Invalid image name [-a]"),
            ("a-", "Invalid image name [a-]"),
            ("a..b", "Invalid image name [a..b]"),
            ("a___b", "Invalid image name [a___b]"),
            ("a/../b", "Invalid image name [a/../b]"),
            ("a b", "Invalid image name [a b]"),
            (&long, &format!("Invalid image name [{long}]")),
            ("a:", "Invalid image tag []"),
            ("a:-x", "Invalid image tag [-x]"),
            ("a:b:c", "Invalid image tag [b:c]"),
            ("a:b/c", "Invalid image registry [a:b]"),
            ("user@reg.example/a", "Invalid image registry [user@reg.example]"),
            (
                "a@sha256:12",
                "Invalid image digest [sha256:12]: it must be sha256: and 64 hexadecimal digits",
            ),
            (
                "a@",
                "Invalid image digest []: it must be sha256: and 64 hexadecimal digits",
            ),
        ] {
            assert_eq!(
                Reference::parse(text, HUB).unwrap_err().to_string(),
                want,
                "{text}"
            );
        }
        assert!(Reference::parse(&format!("a:{}", "b".repeat(129)), HUB).is_err());
    }
}
