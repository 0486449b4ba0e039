//! Log lines: reading them once, and following them.
//!
//! Following means asking again from shortly before the newest line seen, because lines of several instances arrive
//! slightly out of order; what was seen before is counted and left out. Nothing late by less than the overlap is lost,
//! and nothing is shown twice.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::{Method, Url};
use serde_json::Value;

use super::Api;
use super::http::{Body, Exchange};
use crate::error::{Error, Result};
use crate::json::Json;

/// The most lines one read returns.
pub const MOST: usize = 1000;
/// "Since the beginning", as `cf` writes it.
const BEGINNING: i64 = -6_795_364_578_871_345_152;
/// How far back a following read looks again.
const OVERLAP_NANOS: i64 = 2_000_000_000;

/// Which stream a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// When, in nanoseconds since 1970.
    pub nanos: i64,
    /// Which instance.
    pub instance: String,
    /// Who says so: `APP/PROC/WEB`, `STG`, `CELL`…
    pub source: String,
    /// Which stream.
    pub stream: Stream,
    /// The line, without its end.
    pub text: String,
}

impl Envelope {
    /// When it was written.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.nanos)).unwrap_or_default()
    }
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// From when on, in nanoseconds.
    pub start: Option<i64>,
    /// At most how many.
    pub limit: usize,
    /// Newest first.
    pub descending: bool,
    /// Log lines only; otherwise envelopes of any kind.
    pub logs_only: bool,
}

impl Api {
    /// Reads the newest `limit` lines, oldest first. A server that finds that too much is asked for fewer.
    ///
    /// # Errors
    /// Those of Log Cache.
    pub async fn recent_logs(&self, app: &str, limit: usize) -> Result<Vec<Envelope>> {
        let mut limit = limit;
        loop {
            let read = Read {
                start: None,
                limit,
                descending: true,
                logs_only: true,
            };
            match self.read_logs(app, read).await {
                Ok(mut lines) => {
                    lines.reverse();
                    return Ok(lines);
                }
                Err(Error::Unexpected { status: 429, .. }) if limit > 1 => limit /= 2,
                Err(error) => return Err(error),
            }
        }
    }

    async fn read_logs(&self, app: &str, read: Read) -> Result<Vec<Envelope>> {
        let url = self.log_url(app, read)?;
        let exchange = Exchange {
            method: Method::GET,
            url,
            headers: &[],
            body: Body::Empty,
            token: self.bearer().await?,
        };
        let reply = self.http.send(&exchange).await?;
        if reply.status != 200 {
            return Err(Error::Unexpected {
                status: reply.status,
                request_id: String::new(),
                detail: log_failure(&reply.body),
            });
        }
        let body = reply.json()?;
        Ok(body.items("/envelopes/batch").iter().map(envelope).collect())
    }

    /// Log Cache sits at the root of its origin; any path of its link is left out, as `cf` does.
    fn log_url(&self, app: &str, read: Read) -> Result<String> {
        let base = self.config().log_cache;
        let mut url = Url::parse(&base)
            .map_err(|e| Error::message(format!("Log Cache has no usable URL '{base}': {e}")))?;
        url.set_path(&format!("/api/v1/read/{app}"));
        let mut query = url.query_pairs_mut();
        query
            .clear()
            .append_pair("start_time", &read.start.unwrap_or(BEGINNING).to_string());
        query.append_pair("limit", &read.limit.to_string());
        if read.descending {
            query.append_pair("descending", "true");
        }
        if read.logs_only {
            query.append_pair("envelope_types", "LOG");
        }
        drop(query);
        Ok(url.into())
    }
}

fn log_failure(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(500).collect()
}

fn envelope(value: &Value) -> Envelope {
    // Numbers of 64 bits travel as strings.
    let nanos = match value.text("/timestamp") {
        "" => value.number("/timestamp"),
        text => text.parse().unwrap_or_default(),
    };
    let payload = STANDARD.decode(value.text("/log/payload")).unwrap_or_default();
    Envelope {
        nanos,
        instance: value.text("/instance_id").to_owned(),
        source: value.text("/tags/source_type").to_owned(),
        stream: if value.text("/log/type") == "ERR" {
            Stream::Err
        } else {
            Stream::Out
        },
        text: String::from_utf8_lossy(&payload)
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
    }
}

/// Follows the lines of one app.
#[derive(Debug)]
pub struct Tail {
    app: String,
    earliest: i64,
    start: i64,
    seen: HashMap<(i64, u64), usize>,
    /// Read but not yet handed out; kept here so that a dropped call of `next` loses nothing.
    pending: Vec<Envelope>,
}

impl Tail {
    /// Follows what comes after the newest line of now, or from `back_nanos` before it.
    ///
    /// # Errors
    /// Those of Log Cache.
    pub async fn open(api: &Api, app: &str, back_nanos: Option<i64>) -> Result<Self> {
        let newest = Read {
            start: None,
            limit: 1,
            descending: true,
            logs_only: false,
        };
        let newest = api
            .read_logs(app, newest)
            .await?
            .first()
            .map(|envelope| envelope.nanos);
        let earliest = match (newest, back_nanos) {
            (None, _) => BEGINNING,
            (Some(nanos), None) => nanos.saturating_add(1),
            (Some(nanos), Some(back)) => nanos.saturating_sub(back),
        };
        Ok(Self::from(app, earliest))
    }

    /// Follows from a moment on.
    fn from(app: &str, earliest: i64) -> Self {
        Self {
            app: app.to_owned(),
            earliest,
            start: earliest,
            seen: HashMap::new(),
            pending: Vec::new(),
        }
    }

    /// The lines that came since the last call, in order of time.
    ///
    /// # Errors
    /// Those of Log Cache; the next call continues where this one stopped. Cancel-safe.
    pub async fn next(&mut self, api: &Api) -> Result<Vec<Envelope>> {
        // A burst is read page by page; the bound hands over to the caller, who prints and comes back.
        for _ in 0..50 {
            let read = Read {
                start: Some(self.start),
                limit: MOST,
                descending: false,
                logs_only: true,
            };
            let lines = api.read_logs(&self.app, read).await?;
            let full = lines.len() >= MOST;
            let mut fresh = self.sift(lines, full);
            self.pending.append(&mut fresh);
            if !full {
                break;
            }
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// Keeps what was not seen before and moves the start. A full page moves past its last line, since looking back
    /// from there would read the same page for ever.
    fn sift(&mut self, lines: Vec<Envelope>, full: bool) -> Vec<Envelope> {
        let mut now: HashMap<(i64, u64), usize> = HashMap::new();
        let mut newest = None;
        let mut fresh = Vec::new();
        for line in lines {
            newest = newest.max(Some(line.nanos));
            let key = (line.nanos, fingerprint(&line));
            let count = now.entry(key).or_default();
            *count += 1;
            let before = self.seen.entry(key).or_default();
            if *count > *before {
                *before = *count;
                fresh.push(line);
            }
        }
        if let Some(newest) = newest {
            let next = if full {
                newest.saturating_add(1)
            } else {
                newest.saturating_sub(OVERLAP_NANOS)
            };
            self.start = next.max(self.start).max(self.earliest);
            self.seen.retain(|(nanos, _), _| *nanos >= self.start);
        }
        fresh
    }
}

fn fingerprint(line: &Envelope) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(seconds: i64, text: &str) -> Envelope {
        let nanos = seconds * 1_000_000_000;
        Envelope {
            nanos,
            instance: "0".into(),
            source: "APP".into(),
            stream: Stream::Out,
            text: text.into(),
        }
    }

    fn texts(lines: &[Envelope]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn envelopes_are_decoded() {
        let got = envelope(&json!({
            "timestamp": "1700000000000000001", "instance_id": "2", "tags": {"source_type": "APP/PROC/WEB"},
            "log": {"payload": STANDARD.encode("hello\n"), "type": "ERR"},
        }));
        assert_eq!(
            (got.nanos, got.stream, got.text.as_str()),
            (1_700_000_000_000_000_001, Stream::Err, "hello")
        );
        assert_eq!(
            (got.instance.as_str(), got.source.as_str()),
            ("2", "APP/PROC/WEB")
        );
    }

    #[test]
    fn late_lines_are_shown_and_none_twice() {
        let mut tail = Tail::from("a", BEGINNING);
        assert_eq!(
            texts(&tail.sift(vec![line(10, "a"), line(12, "b")], false)),
            ["a", "b"]
        );
        assert_eq!(tail.start, 10_000_000_000);
        // "late" arrives after "b" was seen; the same text twice at one moment is two lines.
        let again = vec![
            line(10, "a"),
            line(11, "late"),
            line(12, "b"),
            line(12, "b"),
            line(13, "c"),
        ];
        assert_eq!(texts(&tail.sift(again, false)), ["late", "b", "c"]);
        assert_eq!(tail.start, 11_000_000_000);
        assert!(tail.seen.keys().all(|(nanos, _)| *nanos >= tail.start));
        assert_eq!(
            texts(&tail.sift(vec![line(11, "late"), line(13, "c")], false)),
            [""; 0]
        );
    }

    #[test]
    fn a_full_page_moves_on() {
        let mut tail = Tail::from("a", BEGINNING);
        tail.sift(vec![line(10, "a"), line(10, "b")], true);
        assert_eq!(tail.start, 10_000_000_001);
    }
}
