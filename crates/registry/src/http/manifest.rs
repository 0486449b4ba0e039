//! Reading and pushing manifests.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::unread::Unread;
use super::{CONTENT_DIGEST, Call, blocking, reply, value};
use crate::failure::Failure;
use crate::manifest::LARGEST;
use crate::name::Reference;

/// A whole manifest must arrive within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// `GET` and `HEAD` of a manifest.
pub(super) async fn get(call: Call, reference: &str) -> Result<Response, Failure> {
    let is_head = call.method == Method::HEAD;
    let unknown = || Failure::ManifestUnknown(reference.chars().take(128).collect());
    let reference: Reference = reference.parse().map_err(|_| unknown())?;
    let (storage, repository) = (call.shared.storage, call.repository);
    let found = blocking(move || match storage.manifest(&repository, &reference)? {
        None if !storage.has_repository(&repository) => {
            Err(Failure::NameUnknown(repository.as_str().to_owned()))
        }
        found => Ok(found),
    });
    let manifest = found.await?.ok_or_else(unknown)?;
    let headers = [
        (CONTENT_TYPE, value(&manifest.media_type)),
        (CONTENT_LENGTH, manifest.content.len().into()),
        (ETAG, value(format!("\"{}\"", manifest.digest))),
        (CONTENT_DIGEST, value(manifest.digest.as_str())),
    ];
    let body = if is_head {
        Body::empty()
    } else {
        manifest.content.into()
    };
    Ok((StatusCode::OK, headers, body).into_response())
}

/// `PUT` of a manifest.
pub(super) async fn put(call: Call, reference: &str, body: &Unread) -> Result<Response, Failure> {
    let reference: Reference = reference.parse().map_err(|_| {
        let reference: String = reference.chars().take(128).collect();
        Failure::ManifestInvalid(format!("{reference:?} is neither a tag nor a sha256 digest"))
    })?;
    let content_type = call.header(CONTENT_TYPE).map(str::to_owned);
    let content = timeout(PATIENCE, read(body.take()))
        .await
        .map_err(|_| Failure::BodyBroken)??;
    let (storage, repository) = (call.shared.storage, call.repository.clone());
    let put = move || storage.put_manifest((&repository, &reference), content_type.as_deref(), &content);
    let digest = blocking(put).await?;
    let location = format!("/v2/{}/manifests/{digest}", call.repository.as_str());
    Ok(reply(
        StatusCode::CREATED,
        [
            (LOCATION, value(location)),
            (CONTENT_DIGEST, value(digest.as_str())),
        ],
    ))
}

async fn read(body: Body) -> Result<Vec<u8>, Failure> {
    let mut body = body.into_data_stream();
    let mut content = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Failure::BodyBroken)?;
        if content.len() + chunk.len() > LARGEST {
            return Err(Failure::TooLarge(LARGEST as u64));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}
