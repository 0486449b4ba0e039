//! Names as the distribution-spec allows them: repositories, tags, references. A value of these types is safe as a
//! file name.

use std::str::FromStr;

use model::Digest;

/// `name` of a repository: path components of lower-case letters and digits with single separators between.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Repository(String);

/// A tag: a word of at most 128 characters that does not begin with `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

/// What names a manifest within its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// By a movable name.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

/// Longest name of a repository: also the longest file name of Linux.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// Text that is no such name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadName;

impl Repository {
    /// The name as clients write it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its directory. `+` is in no repository's name, so no two repositories share one, and none lies
    /// within another's.
    pub(crate) fn dir_name(&self) -> String {
        self.0.replace('/', "+")
    }
}

impl FromStr for Repository {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let ok = text.len() <= LONGEST_REPOSITORY && text.split('/').all(is_component);
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName)
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = text.trim_matches(alphanumeric);
    let ends_well = text.starts_with(alphanumeric) && text.ends_with(alphanumeric);
    let separator = |run: &str| matches!(run, "." | "_" | "__" | "") || run.bytes().all(|b| b == b'-');
    ends_well && inner.split(alphanumeric).all(separator)
}

impl Tag {
    /// The tag as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let ok = text.len() <= LONGEST_TAG
            && text.starts_with(word)
            && text.chars().all(|c| word(c) || matches!(c, '.' | '-'));
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName)
        }
    }
}

impl FromStr for Reference {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text.contains(':') {
            true => text.parse().map(Self::Digest).map_err(|_| BadName),
            false => text.parse().map(Self::Tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        let longest = "a".repeat(255);
        for good in [
            "a",
            "library/nginx",
            "a.b_c__d-e---f/0",
            "org/space/app",
            "a/tags/list",
            &longest,
        ] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", "..", "a/../b", "a+b",
            "é", "a b", &long,
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
    }

    #[test]
    fn directories_are_one_per_repository() {
        assert_eq!("a/b/c".parse::<Repository>().unwrap().dir_name(), "a+b+c");
    }

    #[test]
    fn references() {
        let longest = "x".repeat(128);
        for good in ["latest", "_", "V1.0-rc_1", &longest] {
            assert!(matches!(good.parse(), Ok(Reference::Tag(_))), "{good}");
        }
        assert!(matches!(
            format!("sha256:{}", "0".repeat(64)).parse(),
            Ok(Reference::Digest(_))
        ));
        let long = "x".repeat(129);
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-a",
            "a/b",
            "a b",
            "sha256:12",
            "sha512:00",
            "a+b",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
