//! Paths of archive entries: relative, without `.`, `..`, empty or oversized components.
//!
//! A leading `/` is dropped, as every extractor does. `..` is refused rather than folded: no tool writes it, and
//! `a/../b` means something else once `a` is a symlink.

use crate::error::{UnpackError, shown};

/// Longest path of an entry, bytes (PATH_MAX without its NUL).
const MAX_PATH: usize = 4095;
/// Longest component, bytes (NAME_MAX).
const MAX_NAME: usize = 255;

/// A clean path below the layer's root; empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Cleans the bytes of an archive.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, UnpackError> {
        let refuse = |why| {
            Err(UnpackError::UnsafePath {
                path: shown(raw),
                why,
            })
        };
        if raw.len() > MAX_PATH {
            return refuse("the path is longer than 4095 bytes");
        }
        if raw.contains(&0) {
            return refuse("the path contains a NUL byte");
        }
        let mut clean = Vec::with_capacity(raw.len());
        for name in raw.split(|b| *b == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return refuse("the path contains \"..\""),
                name if name.len() > MAX_NAME => return refuse("a component is longer than 255 bytes"),
                name => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(name);
                }
            }
        }
        Ok(Self(clean))
    }

    /// The whole path, no leading slash.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the layer's root.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Parent directory (empty for the root) and last component.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => (
                self.0.get(..at).unwrap_or_default(),
                self.0.get(at + 1..).unwrap_or_default(),
            ),
            None => (&[], &self.0),
        }
    }
}

/// Every prefix of a clean path that ends at a component, shortest first, with that component.
pub(crate) fn prefixes(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'/')
        .map(|(at, _)| at);
    let ends = ends.chain((!path.is_empty()).then_some(path.len()));
    let mut start = 0;
    ends.map(move |end| {
        let name = path.get(start..end).unwrap_or_default();
        start = end + 1;
        (path.get(..end).unwrap_or_default(), name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(raw: &[u8]) -> Option<String> {
        EntryPath::parse(raw)
            .ok()
            .map(|p| String::from_utf8(p.0).unwrap())
    }

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (raw, want) in [
            ("./", ""),
            ("/", ""),
            ("a/./b//c/", "a/b/c"),
            ("/etc/passwd", "etc/passwd"),
            ("...", "..."),
        ] {
            assert_eq!(clean(raw.as_bytes()).as_deref(), Some(want), "{raw}");
        }
        let long = "x".repeat(256);
        let deep = "x/".repeat(2100);
        for raw in [
            "..",
            "../x",
            "a/../b",
            "/..",
            "a\0b",
            long.as_str(),
            deep.as_str(),
        ] {
            assert_eq!(clean(raw.as_bytes()), None, "{raw}");
        }
    }

    #[test]
    fn prefixes_go_from_the_top_down() {
        let all: Vec<_> = prefixes(b"a/bc/d").collect();
        assert_eq!(all, [(&b"a"[..], &b"a"[..]), (b"a/bc", b"bc"), (b"a/bc/d", b"d")]);
        assert_eq!(prefixes(b"").count(), 0);
    }
}
