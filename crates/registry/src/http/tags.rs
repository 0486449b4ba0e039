//! Listing tags, page by page.

use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Call, blocking, value};
use crate::failure::Failure;
use crate::manifest::tag_order;

/// Most tags of one page.
const PAGE: usize = 1000;

/// `GET /v2/<name>/tags/list?n=<count>&last=<tag>`
pub(super) async fn list(call: Call) -> Result<Response, Failure> {
    let count = call
        .param("n")
        .and_then(|n| n.parse().ok())
        .unwrap_or(PAGE)
        .min(PAGE);
    let after = call.param("last").map(tag_order);
    let (storage, repository) = (call.shared.storage, call.repository);
    let name = repository.as_str().to_owned();
    let found = blocking(move || Ok(storage.tags(&repository)?)).await?;
    let Some(tags) = found else {
        return Err(Failure::NameUnknown(name));
    };
    let rest: Vec<_> = tags
        .into_iter()
        .filter(|tag| after.as_ref().is_none_or(|a| tag_order(tag) > *a))
        .collect();
    let page: Vec<_> = rest.iter().take(count).collect();
    let mut response = axum::Json(json!({"name": name, "tags": page})).into_response();
    if let Some(last) = page.last()
        && page.len() < rest.len()
    {
        let link = format!("</v2/{name}/tags/list?n={count}&last={last}>; rel=\"next\"");
        response.headers_mut().insert(LINK, value(link));
    }
    Ok(response)
}
