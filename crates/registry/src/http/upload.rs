//! Pushing blobs: in one request, in chunks, or by mounting what another repository has.

use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use model::Digest;
use uuid::Uuid;

use super::unread::Unread;
use super::{CONTENT_DIGEST, Call, admit, blocking, reply, value};
use crate::access::Action;
use crate::blob::Partial;
use crate::failure::Failure;
use crate::name::Repository;
use crate::upload::{Held, hold_alone, receive, written};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// Smallest chunk clients are asked to send; smaller ones only cost them time and are taken as well.
const CHUNK_MIN: u64 = 64 << 10;

/// `POST /v2/<name>/blobs/uploads/`, with `mount` and `from`, or `digest`, or neither.
pub(super) async fn begin(call: Call, body: &Unread) -> Result<Response, Failure> {
    if let Some(mounted) = mount(&call).await? {
        return Ok(created(&call.repository, &mounted));
    }
    if let Some(algorithm) = call.param("digest-algorithm").filter(|name| *name != "sha256") {
        return Err(Failure::DigestMalformed(algorithm.chars().take(100).collect()));
    }
    let storage = call.shared.storage.clone();
    let partial = blocking(move || Ok(Partial::new(&storage)?)).await?;
    if let Some(digest) = call.param("digest") {
        let digest = parse_digest(digest)?;
        let held = receive(hold_alone(partial).await, body.take()).await?;
        return store(call, held, digest).await;
    }
    let id = call.shared.uploads.begin(&call.repository, partial)?;
    Ok(progress(StatusCode::ACCEPTED, (&call.repository, id), 0))
}

/// Mounts, when that is asked for and possible; otherwise the client uploads, as the spec wants.
async fn mount(call: &Call) -> Result<Option<Digest>, Failure> {
    let (Some(digest), Some(from)) = (call.param("mount"), call.param("from")) else {
        return Ok(None);
    };
    let digest = parse_digest(digest)?;
    let Ok(from) = from.parse::<Repository>() else {
        return Ok(None);
    };
    // Whoever may not read the source is treated as if the source had no such blob.
    if admit(&call.shared, &call.presented, (&from, Action::Pull))
        .await
        .is_err()
    {
        return Ok(None);
    }
    let (storage, to, wanted) = (
        call.shared.storage.clone(),
        call.repository.clone(),
        digest.clone(),
    );
    let mounted = blocking(move || Ok(storage.mount(&from, &to, &wanted)?)).await?;
    Ok(mounted.then_some(digest))
}

/// `GET` of an upload: how far it has come.
pub(super) async fn status(call: Call, id: &str) -> Result<Response, Failure> {
    let (id, held) = call.shared.uploads.hold(&call.repository, id).await?;
    Ok(progress(
        StatusCode::NO_CONTENT,
        (&call.repository, id),
        written(&held),
    ))
}

/// `PATCH` of an upload: one more chunk.
pub(super) async fn append(call: Call, id: &str, body: &Unread) -> Result<Response, Failure> {
    let (id, held) = call.shared.uploads.hold(&call.repository, id).await?;
    if let Some(refusal) = out_of_order(&call, id, &held)? {
        return Ok(refusal);
    }
    let held = receive(held, body.take()).await?;
    Ok(progress(
        StatusCode::ACCEPTED,
        (&call.repository, id),
        written(&held),
    ))
}

/// `PUT` of an upload: the last chunk, if any is left, and the digest of the whole.
pub(super) async fn finish(call: Call, id: &str, body: &Unread) -> Result<Response, Failure> {
    let digest = parse_digest(call.param("digest").unwrap_or_default())?;
    let (id, held) = call.shared.uploads.hold(&call.repository, id).await?;
    if let Some(refusal) = out_of_order(&call, id, &held)? {
        return Ok(refusal);
    }
    let held = receive(held, body.take()).await?;
    // Whether the digest is right or not, there is nothing more to add.
    call.shared.uploads.end(id);
    store(call, held, digest).await
}

/// `DELETE` of an upload.
pub(super) async fn cancel(call: Call, id: &str) -> Result<Response, Failure> {
    let (id, mut held) = call.shared.uploads.hold(&call.repository, id).await?;
    call.shared.uploads.end(id);
    let partial = held.take();
    blocking(move || {
        drop(partial);
        Ok(reply(StatusCode::NO_CONTENT, []))
    })
    .await
}

async fn store(call: Call, mut held: Held, digest: Digest) -> Result<Response, Failure> {
    let partial = held.take().ok_or(Failure::UploadUnknown)?;
    blocking(move || {
        partial.finish(&call.shared.storage, (&call.repository, &digest))?;
        Ok(created(&call.repository, &digest))
    })
    .await
}

/// The refusal of a chunk that does not begin where the last one ended, or `None`.
fn out_of_order(call: &Call, id: Uuid, held: &Held) -> Result<Option<Response>, Failure> {
    let Some(range) = call.header(CONTENT_RANGE) else {
        return Ok(None);
    };
    let malformed = || Failure::UploadInvalid("Content-Range must be <first byte>-<last byte>".to_owned());
    let (first, last) = range
        .trim_start_matches("bytes ")
        .split_once('-')
        .ok_or_else(malformed)?;
    let last = last.split('/').next().unwrap_or_default();
    let (first, last): (u64, u64) = (
        first.parse().map_err(|_| malformed())?,
        last.parse().map_err(|_| malformed())?,
    );
    let len = last
        .checked_sub(first)
        .and_then(|n| n.checked_add(1))
        .ok_or_else(malformed)?;
    let so_far = written(held);
    if first != so_far {
        let refusal = progress(StatusCode::RANGE_NOT_SATISFIABLE, (&call.repository, id), so_far);
        return Ok(Some(refusal));
    }
    let sent = call
        .header(CONTENT_LENGTH)
        .and_then(|text| text.parse().ok())
        .unwrap_or(len);
    if sent != len {
        return Err(Failure::UploadInvalid(format!(
            "Content-Range is {len} bytes long, Content-Length {sent}"
        )));
    }
    Ok(None)
}

fn parse_digest(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|_| Failure::DigestMalformed(text.chars().take(100).collect()))
}

/// A reply that says how far an upload has come.
fn progress(status: StatusCode, upload: (&Repository, Uuid), written: u64) -> Response {
    let (repository, id) = upload;
    let headers = [
        (
            LOCATION,
            value(format!("/v2/{}/blobs/uploads/{id}", repository.as_str())),
        ),
        // Of nothing yet there is no last byte; clients expect 0-0.
        (RANGE, value(format!("0-{}", written.saturating_sub(1)))),
        (UPLOAD_UUID, value(id.to_string())),
        (CHUNK_MIN_LENGTH, HeaderValue::from(CHUNK_MIN)),
        (CONTENT_LENGTH, HeaderValue::from(0)),
    ];
    reply(status, headers)
}

fn created(repository: &Repository, digest: &Digest) -> Response {
    let location = format!("/v2/{}/blobs/{digest}", repository.as_str());
    reply(
        StatusCode::CREATED,
        [
            (LOCATION, value(location)),
            (CONTENT_DIGEST, value(digest.as_str())),
        ],
    )
}
