//! Lists: all pages of them.

use serde_json::Value;

use super::Api;
use crate::error::{Error, Result};
use crate::json::Json;

/// The most pages that are followed; at 50 a page this is more than any platform holds.
const MAX_PAGES: usize = 20_000;

/// A list with what its rows refer to.
#[derive(Debug, Default)]
pub struct Listing {
    /// The rows.
    pub rows: Vec<Value>,
    /// Everything included, by kind and page: look under `/users` and the like.
    pub included: Vec<Value>,
}

impl Api {
    /// All rows of a list.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        Ok(self.listing(path, query).await?.rows)
    }

    /// The rows of one page, as the query asks for it.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn page(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut body = self.get(path, query).await?;
        rows(path, &mut body)
    }

    /// All rows of a list, with what they refer to.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn listing(&self, path: &str, query: &[(&str, &str)]) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut body = self.get(path, query).await?;
        for _ in 0..MAX_PAGES {
            listing.rows.append(&mut rows(path, &mut body)?);
            listing.included.extend(body.get_mut("included").map(Value::take));
            let next = body.text("/pagination/next/href").to_owned();
            if next.is_empty() {
                return Ok(listing);
            }
            body = self.get(&next, &[]).await?;
        }
        Err(Error::message(format!(
            "the list {path} does not end: stopped after {MAX_PAGES} pages"
        )))
    }
}

fn rows(path: &str, body: &mut Value) -> Result<Vec<Value>> {
    match body.get_mut("resources").map(Value::take) {
        Some(Value::Array(rows)) => Ok(rows),
        _ => Err(Error::message(format!(
            "the reply to {path} holds no list of resources: is this a v3 API?"
        ))),
    }
}
