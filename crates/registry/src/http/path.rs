//! What a path is about. Names of repositories contain slashes, so a path is read from its end.

use model::Digest;

use crate::failure::Failure;
use crate::name::Repository;

/// The thing within a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `blobs/<digest>`
    Blob(Digest),
    /// `manifests/<reference>`; which form is accepted depends on what is to be done.
    Manifest(String),
    /// `tags/list`
    Tags,
    /// `blobs/uploads/`
    Uploads,
    /// `blobs/uploads/<id>`
    Upload(String),
    /// `referrers/<digest>`
    Referrers,
}

/// Reads a path below `/v2/`.
pub(super) fn parse(path: &str) -> Result<(Repository, Target), Failure> {
    let path = decode(path.strip_prefix("/v2/").unwrap_or_default()).ok_or(Failure::NoSuchEndpoint)?;
    let words: Vec<_> = path.split('/').collect();
    let (name, target) = match words.as_slice() {
        [name @ .., "tags", "list"] => (name, Target::Tags),
        [name @ .., "manifests", reference] => (name, Target::Manifest((*reference).to_owned())),
        [name @ .., "referrers", _] => (name, Target::Referrers),
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => (name, Target::Uploads),
        [name @ .., "blobs", "uploads", id] => (name, Target::Upload((*id).to_owned())),
        [name @ .., "blobs", digest] => {
            let digest = digest
                .parse()
                .map_err(|_| Failure::DigestMalformed(clip(digest)))?;
            (name, Target::Blob(digest))
        }
        _ => return Err(Failure::NoSuchEndpoint),
    };
    let name = name.join("/");
    let repository = name.parse().map_err(|_| Failure::NameInvalid(clip(&name)))?;
    Ok((repository, target))
}

fn clip(text: &str) -> String {
    text.chars().take(255).collect()
}

/// Undoes `%xx`: some clients write the colon of a digest so.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                bytes.push(high << 4 | low);
            }
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::from_sha256(&[7; 32]);
        let encoded = digest.as_str().replace(':', "%3A");
        for (path, name, target) in [
            ("/v2/a/tags/list".to_owned(), "a", Target::Tags),
            ("/v2/tags/list/tags/list".to_owned(), "tags/list", Target::Tags),
            (
                "/v2/a/b/manifests/v1".to_owned(),
                "a/b",
                Target::Manifest("v1".into()),
            ),
            (
                "/v2/a/manifests/manifests/.x".to_owned(),
                "a/manifests",
                Target::Manifest(".x".into()),
            ),
            (format!("/v2/a/blobs/{digest}"), "a", Target::Blob(digest.clone())),
            (
                format!("/v2/a/blobs/{encoded}"),
                "a",
                Target::Blob(digest.clone()),
            ),
            ("/v2/a/blobs/uploads/".to_owned(), "a", Target::Uploads),
            ("/v2/a/blobs/uploads".to_owned(), "a", Target::Uploads),
            (
                "/v2/a/blobs/uploads/xyz".to_owned(),
                "a",
                Target::Upload("xyz".into()),
            ),
            (format!("/v2/a/referrers/{digest}"), "a", Target::Referrers),
        ] {
            let (repository, found) = parse(&path).unwrap();
            assert_eq!((repository.as_str(), found), (name, target), "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "/v2/",
            "/v2/a",
            "/v2/_catalog",
            "/v2/a/blobs/latest",
            "/v2/tags/list",
            "/v2/%zz/tags/list",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
        for path in [
            "/v2/../../etc/tags/list",
            "/v2/A/tags/list",
            "/v2/a%2F..%2Fb/tags/list",
            "/v2/a+b/tags/list",
        ] {
            assert!(matches!(parse(path), Err(Failure::NameInvalid(_))), "{path}");
        }
    }
}
