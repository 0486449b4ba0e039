//! Shapes that all resources share: times, links, metadata, relationships.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use store::{MetadataKind, StoreError, Tx};

use crate::body::Metadata;
use crate::error::ApiError;

/// `YYYY-MM-DDThh:mm:ssZ` from microseconds since 1970.
pub fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// `{"data": {"guid": …}}`, or null data for `None`.
pub fn to_one(guid: Option<&str>) -> Value {
    json!({"data": guid.map(|guid| json!({"guid": guid}))})
}

/// `{"href": …}`.
pub fn link(origin: &str, path: &str) -> Value {
    json!({"href": format!("{origin}{path}")})
}

/// `{"href": …, "method": …}`.
pub fn action(origin: &str, path: &str, method: &str) -> Value {
    json!({"href": format!("{origin}{path}"), "method": method})
}

/// `space_guid` as people read it: `Space guid`.
pub fn humanise(field: &str) -> String {
    let text = field.replace('_', " ");
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Labels and annotations of many resources, read at once.
#[derive(Debug, Default)]
pub struct MetadataOf {
    labels: HashMap<String, Map<String, Value>>,
    annotations: HashMap<String, Map<String, Value>>,
}

impl MetadataOf {
    /// Reads the metadata of these resources.
    pub async fn read<'a>(tx: &Tx, guids: impl IntoIterator<Item = &'a str>) -> Result<Self, StoreError> {
        let guids: Vec<&str> = guids.into_iter().collect();
        let mut read = Self::default();
        for (kind, into) in [
            (MetadataKind::Label, &mut read.labels),
            (MetadataKind::Annotation, &mut read.annotations),
        ] {
            for (guid, name, value) in tx.metadata(kind, guids.iter().copied()).await? {
                into.entry(guid).or_default().insert(name, value.into());
            }
        }
        Ok(read)
    }

    /// `{"labels": {…}, "annotations": {…}}` of one resource.
    pub fn of(&self, guid: &str) -> Value {
        let empty = Map::new();
        json!({
            "labels": self.labels.get(guid).unwrap_or(&empty),
            "annotations": self.annotations.get(guid).unwrap_or(&empty),
        })
    }
}

/// Stores the metadata of a request.
pub async fn write_metadata(tx: &Tx, guid: &str, metadata: Option<&Metadata>) -> Result<(), ApiError> {
    let Some(metadata) = metadata else { return Ok(()) };
    check_metadata(metadata)?;
    for (kind, entries) in [
        (MetadataKind::Label, &metadata.labels),
        (MetadataKind::Annotation, &metadata.annotations),
    ] {
        for (name, value) in entries {
            tx.set_metadata(guid, kind, name, value.as_deref()).await?;
        }
    }
    Ok(())
}

/// Removes all labels and annotations of a resource that stays.
pub async fn clear_metadata(tx: &Tx, guid: &str) -> Result<(), StoreError> {
    for kind in [MetadataKind::Label, MetadataKind::Annotation] {
        for (_, name, _) in tx.metadata(kind, [guid]).await? {
            tx.set_metadata(guid, kind, &name, None).await?;
        }
    }
    Ok(())
}

fn check_metadata(metadata: &Metadata) -> Result<(), ApiError> {
    let refuse =
        |what: &str, why: String| Err(ApiError::unprocessable(format!("Metadata {what} error: {why}")));
    for (what, entries) in [
        ("label key", &metadata.labels),
        ("annotation key", &metadata.annotations),
    ] {
        if let Some(why) = entries.keys().find_map(|key| bad_key(key)) {
            return refuse(what, why);
        }
    }
    for value in metadata.labels.values().flatten() {
        if !label_text(value) && !value.is_empty() {
            return refuse("label value", format!("'{value}' is not a valid label value"));
        }
    }
    match metadata
        .annotations
        .values()
        .flatten()
        .find(|value| value.len() > 5000)
    {
        Some(_) => refuse("annotation value", "is greater than 5000 characters".to_owned()),
        None => Ok(()),
    }
}

fn bad_key(key: &str) -> Option<String> {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|p| p.is_empty() || p.len() > 253 || !p.contains('.')) {
        return Some(format!(
            "prefix of '{key}' must be a DNS name of at most 253 characters"
        ));
    }
    (!label_text(name)).then(|| {
        format!("'{key}' must be at most 63 letters, digits, '-', '_' or '.', and start and end with a letter or digit")
    })
}

fn label_text(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Joins an `included` section to a list or a resource.
pub fn with_included(mut body: Value, included: BTreeMap<&str, Vec<Value>>) -> Value {
    if !included.is_empty() {
        body["included"] = json!(included);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds() {
        assert_eq!(time(1_700_000_000_999_999), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn labels_follow_their_grammar() {
        for (key, ok) in [
            ("a", true),
            ("a.b/c-d", true),
            ("a/c", false),
            ("-a", false),
            ("", false),
            (&"x".repeat(64), false),
        ] {
            assert_eq!(bad_key(key).is_none(), ok, "{key}");
        }
    }
}
