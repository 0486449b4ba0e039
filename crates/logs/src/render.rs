//! JSON of the Log Cache API.
//!
//! The CLI decodes it with a strict reader: names are snake_case, 64-bit integers are strings, and one unknown name
//! makes it give up. So nothing may be added here that the original's messages do not have.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap, Serializer};
use serde::{Serialize, ser};

use crate::entry::{Entry, Origin, Output};
use crate::ring::SourceMeta;

#[derive(Serialize)]
struct ReadReply<'a> {
    envelopes: Batch<'a>,
}

#[derive(Serialize)]
struct Batch<'a> {
    batch: Vec<Envelope<'a>>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    timestamp: String,
    source_id: &'a str,
    instance_id: &'a str,
    deprecated_tags: Empty,
    tags: Tags<'a>,
    log: Log,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Log {
    payload: String,
    #[serde(rename = "type")]
    output: &'static str,
}

struct Tags<'a>(&'a Origin);

impl ser::Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.tags.len() + 1))?;
        map.serialize_entry("source_type", &self.0.source_type)?;
        for (name, value) in &self.0.tags {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct MetaReply<'a> {
    meta: BTreeMap<&'a str, Meta>,
}

#[derive(Serialize)]
struct Meta {
    count: String,
    expired: String,
    oldest_timestamp: String,
    newest_timestamp: String,
}

/// Body of a read.
pub(crate) fn envelopes(source_id: &str, entries: &[Entry]) -> Vec<u8> {
    let batch = entries
        .iter()
        .map(|entry| Envelope {
            timestamp: entry.timestamp_ns.to_string(),
            source_id,
            instance_id: &entry.origin.instance_id,
            deprecated_tags: Empty {},
            tags: Tags(&entry.origin),
            log: Log {
                payload: STANDARD.encode(&entry.payload),
                output: match entry.output {
                    Output::Out => "OUT",
                    Output::Err => "ERR",
                },
            },
        })
        .collect();
    to_json(&ReadReply {
        envelopes: Batch { batch },
    })
}

/// Body of the list of sources.
pub(crate) fn meta(sources: &[(String, SourceMeta)]) -> Vec<u8> {
    let meta = sources
        .iter()
        .map(|(id, meta)| {
            let row = Meta {
                count: meta.count.to_string(),
                expired: meta.expired.to_string(),
                oldest_timestamp: meta.oldest_ns.to_string(),
                newest_timestamp: meta.newest_ns.to_string(),
            };
            (id.as_str(), row)
        })
        .collect();
    to_json(&MetaReply { meta })
}

fn to_json(reply: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(reply).expect("strings and maps with string keys always serialize")
}
