//! The query string of `GET /api/v1/read/{source_id}`.
//!
//! Rule: log-cache's read endpoint as its clients use it: times in signed nanoseconds, `limit` 100 unless told and at
//! most 1000, unknown parameters ignored.

use crate::store::{Order, Range};

const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 1000;

/// A query that was understood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// Which lines.
    pub(crate) range: Range,
    /// Whether kinds of envelopes were asked for of which the store holds any (it holds logs).
    pub(crate) wants_logs: bool,
    /// Whether the client walks forward and may be kept waiting for a line.
    pub(crate) may_wait: bool,
}

/// A query that cannot be answered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadQuery {
    #[error("{name} must be {want}, not {got:?}")]
    Value {
        name: &'static str,
        want: &'static str,
        got: String,
    },
    #[error("start_time ({start}) must not be after end_time ({end})")]
    Backwards { start: i64, end: i64 },
}

impl Query {
    /// Reads decoded name-value pairs; an empty value counts as absent.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, BadQuery> {
        let mut start = None;
        let mut end_ns = None;
        let mut limit = DEFAULT_LIMIT;
        let mut order = Order::Ascending;
        let (mut any_kind, mut logs) = (true, false);
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            match name.as_str() {
                "start_time" => start = Some(time("start_time", value)?),
                "end_time" => end_ns = Some(time("end_time", value)?).filter(|t| *t != 0),
                "limit" => limit = parse_limit(value)?,
                "descending" => order = parse_order(value)?,
                "envelope_types" => {
                    any_kind = false;
                    logs |= holds_logs(value)?;
                }
                _ => {}
            }
        }
        let range = Range {
            start_ns: start.unwrap_or(i64::MIN),
            end_ns,
            limit,
            order,
        };
        match end_ns {
            Some(end) if end < range.start_ns => Err(BadQuery::Backwards {
                start: range.start_ns,
                end,
            }),
            _ => Ok(Self {
                range,
                wants_logs: any_kind || logs,
                may_wait: start.is_some() && end_ns.is_none() && order == Order::Ascending,
            }),
        }
    }
}

fn bad(name: &'static str, want: &'static str, got: &str) -> BadQuery {
    BadQuery::Value {
        name,
        want,
        got: got.chars().take(64).collect(),
    }
}

fn time(name: &'static str, value: &str) -> Result<i64, BadQuery> {
    value
        .parse()
        .map_err(|_| bad(name, "a time in nanoseconds since 1970", value))
}

fn parse_limit(value: &str) -> Result<usize, BadQuery> {
    match value.parse() {
        Ok(0) => Ok(DEFAULT_LIMIT),
        Ok(limit) if limit <= MOST => Ok(limit),
        _ => Err(bad("limit", "a number from 1 to 1000", value)),
    }
}

fn parse_order(value: &str) -> Result<Order, BadQuery> {
    match value {
        "true" | "1" | "t" => Ok(Order::Descending),
        "false" | "0" | "f" => Ok(Order::Ascending),
        _ => Err(bad("descending", "true or false", value)),
    }
}

fn holds_logs(kind: &str) -> Result<bool, BadQuery> {
    match kind.to_ascii_uppercase().as_str() {
        "LOG" | "ANY" => Ok(true),
        "COUNTER" | "GAUGE" | "TIMER" | "EVENT" => Ok(false),
        _ => Err(bad(
            "envelope_types",
            "one of ANY, LOG, COUNTER, GAUGE, TIMER, EVENT",
            kind,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Query, BadQuery> {
        Query::parse(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn defaults_are_the_first_hundred_lines() {
        let query = parse(&[]).unwrap();
        assert_eq!(
            (query.range.start_ns, query.range.end_ns, query.range.limit),
            (i64::MIN, None, 100)
        );
        assert!(query.wants_logs && !query.may_wait);
    }

    #[test]
    fn what_the_cli_sends_is_understood() {
        let recent = [
            ("descending", "true"),
            ("envelope_types", "LOG"),
            ("limit", "1000"),
            ("start_time", "-6795364578871345152"),
        ];
        let query = parse(&recent).unwrap();
        assert_eq!((query.range.limit, query.range.order), (1000, Order::Descending));
        assert!(!query.may_wait && query.wants_logs);
        assert!(
            parse(&[("start_time", "1700000000000000001"), ("envelope_types", "LOG")])
                .unwrap()
                .may_wait
        );
    }

    #[test]
    fn kinds_the_store_does_not_hold_give_nothing() {
        assert!(
            !parse(&[("envelope_types", "GAUGE"), ("envelope_types", "TIMER")])
                .unwrap()
                .wants_logs
        );
        assert!(
            parse(&[("envelope_types", "GAUGE"), ("envelope_types", "LOG")])
                .unwrap()
                .wants_logs
        );
        assert!(
            parse(&[("name_filter", "cpu.*"), ("envelope_types", "")])
                .unwrap()
                .wants_logs
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (name, value) in [
            ("limit", "1001"),
            ("limit", "-1"),
            ("limit", "many"),
            ("start_time", "yesterday"),
            ("end_time", "99999999999999999999"),
            ("descending", "maybe"),
            ("envelope_types", "LOGS"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name) && error.contains(value), "{error}");
        }
        assert_eq!(
            parse(&[("start_time", "5"), ("end_time", "4")]).unwrap_err(),
            BadQuery::Backwards { start: 5, end: 4 }
        );
    }
}
