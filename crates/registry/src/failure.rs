//! What can go wrong for a client, and how it is told.
//!
//! Rule: distribution-spec, "Error Codes": `{"errors":[{"code","message"}]}`. Faults of the machine are logged with
//! their causes; the client learns only that there was one.

use std::io;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use model::Digest;
use serde_json::json;
use tracing::error;

use crate::disk::StorageError;

/// One refused or failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("credentials are needed: log in with a user of this platform")]
    Unauthenticated,
    #[error("this user may not push to {0}")]
    Denied(String),
    #[error("{0:?} is not a repository name: lower-case letters and digits, separated by . _ __ - or /")]
    NameInvalid(String),
    #[error("repository {0} does not exist, or this user may not see it")]
    NameUnknown(String),
    #[error("there is nothing at this path")]
    NoSuchEndpoint,
    #[error("{0} is not supported here")]
    Unsupported(&'static str),
    #[error("blob {0} is not in this repository")]
    BlobUnknown(Digest),
    #[error("there is no such upload in this repository; begin a new one")]
    UploadUnknown,
    #[error("{0}")]
    UploadInvalid(String),
    #[error("another request is writing to this upload")]
    UploadBusy,
    #[error("too many uploads are open; try again later")]
    TooManyUploads,
    #[error("the body ended early: the connection broke or stalled")]
    BodyBroken,
    #[error("{0:?} is not a digest of the form sha256:<64 hexadecimal digits>")]
    DigestMalformed(String),
    #[error("content has digest {actual}, not {wanted}")]
    DigestMismatch { wanted: Digest, actual: Digest },
    #[error("more than {0} bytes, the largest accepted here")]
    TooLarge(u64),
    #[error("manifest {0} is not in this repository")]
    ManifestUnknown(String),
    #[error("{0}")]
    ManifestInvalid(String),
    #[error("the manifest refers to {0}, which is not in this repository; push it first")]
    ManifestBlobUnknown(Digest),
    #[error("the registry could not use its storage")]
    Storage(#[from] StorageError),
    #[error("the registry failed")]
    Internal,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::NameUnknown(_)
            | Self::NoSuchEndpoint
            | Self::BlobUnknown(_)
            | Self::UploadUnknown
            | Self::ManifestUnknown(_)
            | Self::ManifestBlobUnknown(_) => StatusCode::NOT_FOUND,
            Self::Unsupported(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UploadBusy => StatusCode::CONFLICT,
            Self::TooManyUploads => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NameInvalid(_)
            | Self::UploadInvalid(_)
            | Self::BodyBroken
            | Self::DigestMalformed(_)
            | Self::DigestMismatch { .. }
            | Self::ManifestInvalid(_) => StatusCode::BAD_REQUEST,
            Self::Storage(fault) if is_full(fault) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage(_) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHORIZED",
            Self::Denied(_) => "DENIED",
            Self::NameInvalid(_) => "NAME_INVALID",
            Self::NameUnknown(_) => "NAME_UNKNOWN",
            Self::NoSuchEndpoint | Self::Unsupported(_) => "UNSUPPORTED",
            Self::BlobUnknown(_) => "BLOB_UNKNOWN",
            Self::UploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::UploadInvalid(_) | Self::UploadBusy | Self::BodyBroken => "BLOB_UPLOAD_INVALID",
            Self::TooManyUploads => "TOOMANYREQUESTS",
            Self::DigestMalformed(_) | Self::DigestMismatch { .. } => "DIGEST_INVALID",
            Self::TooLarge(_) => "SIZE_INVALID",
            Self::ManifestUnknown(_) => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid(_) => "MANIFEST_INVALID",
            Self::ManifestBlobUnknown(_) => "MANIFEST_BLOB_UNKNOWN",
            Self::Storage(_) | Self::Internal => "UNKNOWN",
        }
    }
}

fn is_full(fault: &StorageError) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Self::Storage(fault) = &self {
            error!(error = %base::Report(fault), "the registry could not use its storage");
        }
        let body = json!({"errors": [{"code": self.code(), "message": self.to_string()}]}).to_string();
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status(), [(CONTENT_TYPE, json)], body).into_response();
        if matches!(self, Self::Unauthenticated) {
            let challenge = HeaderValue::from_static("Basic realm=\"Slipway\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
