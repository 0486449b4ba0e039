//! Reading blobs, whole or in part.

use std::io::{Seek, SeekFrom};

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use model::Digest;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{CONTENT_DIGEST, Call, blocking, reply, value};
use crate::disk::Doing;
use crate::failure::Failure;

/// Bytes read from disk at a time.
const CHUNK: usize = 256 << 10;

/// Which part of a blob is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Slice {
        start: u64,
        len: u64,
    },
    /// Lies beyond the end.
    Nowhere,
}

/// `GET` and `HEAD` of a blob.
pub(super) async fn get(call: Call, digest: Digest) -> Result<Response, Failure> {
    let part = call.header(RANGE).map(str::to_owned);
    let is_head = call.method == Method::HEAD;
    let (storage, repository, wanted) = (call.shared.storage, call.repository, digest.clone());
    let found = blocking(move || Ok(storage.open_blob(&repository, &wanted)?)).await?;
    let Some((mut file, size)) = found else {
        return Err(Failure::BlobUnknown(digest));
    };
    let (status, start, len) = match part.map_or(Part::Whole, |header| parse(&header, size)) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Slice { start, len } => (StatusCode::PARTIAL_CONTENT, start, len),
        Part::Nowhere => {
            let range = (CONTENT_RANGE, value(format!("bytes */{size}")));
            return Ok(reply(StatusCode::RANGE_NOT_SATISFIABLE, [range]));
        }
    };
    let body = if is_head {
        Body::empty()
    } else {
        file.seek(SeekFrom::Start(start))
            .doing("read", digest.as_str().as_ref())?;
        Body::from_stream(ReaderStream::with_capacity(
            tokio::fs::File::from_std(file).take(len),
            CHUNK,
        ))
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_LENGTH, len.into()),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (ETAG, value(format!("\"{digest}\""))),
        (CONTENT_DIGEST, value(digest.as_str())),
    ];
    let mut response = (status, headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = value(format!("bytes {start}-{}/{size}", start + len - 1));
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// Reads a `Range` header (RFC 9110 section 14). What is malformed, or asks for several parts, is ignored as the RFC
/// allows.
fn parse(header: &str, size: u64) -> Part {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .ok()
            .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
    };
    let (start, last) = match (number(first), number(last)) {
        (Some(start), Some(end)) if start <= end => (start, end),
        (Some(start), None) if last.is_empty() => (start, u64::MAX),
        (None, Some(0)) if first.is_empty() => return Part::Nowhere,
        (None, Some(count)) if first.is_empty() => (size.saturating_sub(count), u64::MAX),
        _ => return Part::Whole,
    };
    match size.checked_sub(1) {
        Some(end) if start <= end => Part::Slice {
            start,
            len: last.min(end) - start + 1,
        },
        _ => Part::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let slice = |start, len| Part::Slice { start, len };
        for (header, size, want) in [
            ("bytes=0-4", 10, slice(0, 5)),
            ("bytes=3-", 10, slice(3, 7)),
            ("bytes=-3", 10, slice(7, 3)),
            ("bytes=-30", 10, slice(0, 10)),
            ("bytes=9-99", 10, slice(9, 1)),
            ("bytes=0-18446744073709551615", 10, slice(0, 10)),
            ("bytes=10-", 10, Part::Nowhere),
            ("bytes=-0", 10, Part::Nowhere),
            ("bytes=0-", 0, Part::Nowhere),
            ("bytes=5-4", 10, Part::Whole),
            ("bytes=0-1,3-4", 10, Part::Whole),
            ("bytes=+1-2", 10, Part::Whole),
            ("bytes=-", 10, Part::Whole),
            ("items=0-1", 10, Part::Whole),
        ] {
            assert_eq!(parse(header, size), want, "{header} of {size}");
        }
    }
}
