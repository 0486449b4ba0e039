//! Small answers, read whole: never more than is wanted, never longer than is waited for.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::error::one_line;

/// How much of an error's body is looked at for its code, and for how long.
const MAX_ERROR_BODY: usize = 64 * 1024;
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// Why a body could not be read.
pub(crate) enum Unread {
    TooLarge,
    Cut(reqwest::Error),
    Slow,
}

pub(crate) async fn read(mut response: Response, cap: usize, wait: Duration) -> Result<Vec<u8>, Unread> {
    let announced = content_length(response.headers());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > cap)) {
        return Err(Unread::TooLarge);
    }
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Unread::Cut)? {
            if bytes.len() + chunk.len() > cap {
                return Err(Unread::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(wait, whole)
        .await
        .unwrap_or(Err(Unread::Slow))
}

/// `Content-Length`, when it is a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(reqwest::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

/// The registry's error code, such as `DENIED`. Its message is free text and could repeat what we sent: left out.
pub(crate) async fn error_code(response: Response) -> Option<String> {
    let bytes = read(response, MAX_ERROR_BODY, ERROR_BODY_WAIT).await.ok()?;
    let body: ErrorBody = serde_json::from_slice(&bytes).ok()?;
    let code = body.errors.into_iter().next()?.code;
    let plain = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    plain.then(|| one_line(&code))
}
