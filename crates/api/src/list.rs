//! List requests: paging, filters, order, label selectors, and the envelope of the answer.
//!
//! Rules: cloudfoundry/cloud_controller_ng:docs/v3 ("Pagination", "Filters", "Label selectors").

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use store::{Compare, Direction, LabelRequirement, Noun, Page, Query};

use crate::error::ApiError;

const COMMON: [&str; 7] = [
    "page",
    "per_page",
    "order_by",
    "guids",
    "created_ats",
    "updated_ats",
    "label_selector",
];

/// The query string of a request, decoded but not yet judged.
#[derive(Debug, Clone)]
pub struct ListQuery {
    path: String,
    pairs: BTreeMap<String, String>,
}

impl<S: Send + Sync> FromRequestParts<S> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let uri = parts
            .extensions
            .get::<OriginalUri>()
            .map_or(&parts.uri, |original| &original.0);
        Ok(Self::parse(uri.path(), uri.query().unwrap_or_default()))
    }
}

impl ListQuery {
    /// Decodes a query string.
    pub fn parse(path: &str, query: &str) -> Self {
        let decode = |text: &str| {
            percent_decode_str(&text.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        };
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Self {
            path: path.to_owned(),
            pairs,
        }
    }

    /// Refuses parameters that are neither common to all lists nor in `known`.
    pub fn allow(self, known: &[&str]) -> Result<Self, ApiError> {
        if self
            .pairs
            .iter()
            .any(|(key, value)| key.contains('\0') || value.contains('\0'))
        {
            return Err(ApiError::bad_query("a NUL character is not allowed"));
        }
        let base = |key: &str| {
            key.split_once('[')
                .map_or(key.to_owned(), |(base, _)| base.to_owned())
        };
        let unknown: Vec<String> = self
            .pairs
            .keys()
            .filter(|key| !COMMON.contains(&base(key).as_str()) && !known.contains(&base(key).as_str()))
            .map(|key| format!("'{key}'"))
            .collect();
        if unknown.is_empty() {
            return Ok(self);
        }
        let valid: Vec<String> = COMMON.iter().chain(known).map(|key| format!("'{key}'")).collect();
        Err(ApiError::bad_query(format!(
            "Unknown query parameter(s): {}. Valid parameters are: {}",
            unknown.join(", "),
            valid.join(", ")
        )))
    }

    /// The raw value of a parameter.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// A comma list; each element is decoded once more, since clients encode a comma inside a name twice. An empty
    /// value is a list of one empty text: `hosts=` selects the empty host.
    pub fn csv(&self, key: &str) -> Option<Vec<String>> {
        let value = self.pairs.get(key)?;
        Some(
            value
                .split(',')
                .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
                .collect(),
        )
    }

    /// Adds `column IN (…)` when the parameter is given.
    pub fn filter<E: Noun>(&self, query: Query<E>, key: &str, column: E::Column) -> Query<E> {
        match self.csv(key) {
            Some(values) => query.any_of(column, values),
            None => query,
        }
    }

    /// Adds the filters every list has (`guids`, times, labels) and the order. `orders` are further columns to order
    /// by, by their name in the API.
    pub fn common<E: Noun>(
        &self,
        query: Query<E>,
        orders: &[(&str, E::Column)],
    ) -> Result<Query<E>, ApiError> {
        let mut query = self.filter(query, "guids", E::guid());
        query = self.times(query, "created_ats", E::created_at())?;
        query = self.times(query, "updated_ats", E::updated_at())?;
        if let Some(selector) = self.text("label_selector") {
            query = query.labels(&label_selector(selector)?);
        }
        self.order(query, orders)
    }

    fn order<E: Noun>(&self, query: Query<E>, orders: &[(&str, E::Column)]) -> Result<Query<E>, ApiError> {
        let Some(order) = self.text("order_by") else {
            return Ok(query);
        };
        let (direction, name) = match order.strip_prefix('-') {
            Some(name) => (Direction::Descending, name),
            // A plus sign arrives as a blank, since it is one in a query string.
            None => (Direction::Ascending, order.trim_start_matches(['+', ' '])),
        };
        let column = match name {
            "created_at" => E::created_at(),
            "updated_at" => E::updated_at(),
            name => match orders.iter().find(|(known, _)| *known == name) {
                Some((_, column)) => *column,
                None => {
                    let known: Vec<String> = ["created_at", "updated_at"]
                        .iter()
                        .chain(orders.iter().map(|(known, _)| known))
                        .map(|known| format!("'{known}'"))
                        .collect();
                    return Err(ApiError::bad_query(format!(
                        "Order by can only be: {}",
                        known.join(", ")
                    )));
                }
            },
        };
        Ok(query.order(column, direction))
    }

    fn times<E: Noun>(
        &self,
        mut query: Query<E>,
        key: &str,
        column: E::Column,
    ) -> Result<Query<E>, ApiError> {
        let micros = |text: &str| {
            text.parse::<jiff::Timestamp>()
                .map(|at| at.as_microsecond())
                .map_err(|_| {
                    ApiError::bad_query(format!("{key} has an invalid timestamp {text:?}, want RFC 3339"))
                })
        };
        // Stored times are finer than the seconds that are shown: a whole second means all of it.
        let second = 1_000_000;
        if let Some(values) = self.csv(key) {
            let mut any = Query::<E>::new().any_of(column, Vec::<i64>::new());
            for value in values {
                let from = micros(&value)?;
                let within = Query::<E>::new().compare(column, Compare::Gte, from).compare(
                    column,
                    Compare::Lt,
                    from + second,
                );
                any = Query::<E>::new().either(any, within);
            }
            query = query.either(any.clone(), any);
        }
        for (operator, how, shift) in [
            ("gt", Compare::Gte, second),
            ("gte", Compare::Gte, 0),
            ("lt", Compare::Lt, 0),
            ("lte", Compare::Lt, second),
        ] {
            if let Some(value) = self.text(&format!("{key}[{operator}]")) {
                query = query.compare(column, how, micros(value)? + shift);
            }
        }
        Ok(query)
    }

    /// Which page is asked for.
    pub fn page(&self) -> Result<Page, ApiError> {
        let number = |key: &str, default: u64, max: u64| match self.text(key) {
            None => Ok(default),
            Some(text) => match text.parse::<u64>() {
                Ok(n) if (1..=max).contains(&n) => Ok(n),
                Ok(0) | Err(_) => Err(ApiError::bad_query(format!(
                    "{} must be a positive integer",
                    label(key)
                ))),
                Ok(_) => Err(ApiError::bad_query(format!(
                    "{} must be between 1 and {max}",
                    label(key)
                ))),
            },
        };
        Ok(Page {
            number: number("page", 1, MAX_PAGE)?,
            size: number("per_page", 50, 5000)?,
        })
    }

    /// Whether `include` names `what`; other names than `known` are refused.
    pub fn includes(&self, known: &[&str]) -> Result<Vec<String>, ApiError> {
        let wanted = self.csv("include").unwrap_or_default();
        for name in &wanted {
            if !known.contains(&name.as_str()) {
                let valid: Vec<String> = known.iter().map(|k| format!("'{k}'")).collect();
                return Err(ApiError::bad_query(format!(
                    "Invalid included resource: '{name}'. Valid included resources are: {}",
                    valid.join(", ")
                )));
            }
        }
        Ok(wanted)
    }

    /// The envelope of a list. `origin` is the API's URL without a path.
    pub fn envelope(&self, origin: &str, page: Page, total: u64, resources: Vec<Value>) -> Value {
        let pages = total.div_ceil(page.size).max(1);
        let href = |number: u64| {
            let mut query = vec![format!("page={number}"), format!("per_page={}", page.size)];
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, ENCODE).to_string();
            for (key, value) in &self.pairs {
                if key != "page" && key != "per_page" {
                    query.push(format!("{}={}", encode(key), encode(value)));
                }
            }
            json!({"href": format!("{origin}{}?{}", self.path, query.join("&"))})
        };
        let next = if page.number < pages {
            href(page.number + 1)
        } else {
            Value::Null
        };
        let previous = if page.number > 1 {
            href((page.number - 1).min(pages))
        } else {
            Value::Null
        };
        json!({
            "pagination": {
                "total_results": total, "total_pages": pages,
                "first": href(1), "last": href(pages), "next": next, "previous": previous,
            },
            "resources": resources,
        })
    }
}

/// Everything but RFC 3986 unreserved characters and the comma that separates list elements.
const ENCODE: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b',');

/// Beyond any list; keeps the count of skipped rows within what databases count with.
const MAX_PAGE: u64 = 1_000_000_000_000;

fn label(key: &str) -> &'static str {
    if key == "page" { "Page" } else { "Per page" }
}

/// Reads a label selector: `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, separated by commas.
pub fn label_selector(text: &str) -> Result<Vec<LabelRequirement>, ApiError> {
    let mut requirements = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    let ends = text.char_indices().filter(|&(_, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    for end in ends.map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>() {
        requirements.push(requirement(text.get(start..end).unwrap_or_default().trim())?);
        start = end + 1;
    }
    Ok(requirements)
}

fn requirement(text: &str) -> Result<LabelRequirement, ApiError> {
    let invalid = || ApiError::bad_query("Invalid label_selector value");
    let key = |text: &str| {
        let text = text.trim();
        let ok = !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if ok { Ok(text.to_owned()) } else { Err(invalid()) }
    };
    let set = |text: &str| {
        let inner = text
            .trim()
            .strip_prefix('(')
            .and_then(|t| t.strip_suffix(')'))
            .ok_or_else(invalid)?;
        Ok::<_, ApiError>(inner.split(',').map(|v| v.trim().to_owned()).collect::<Vec<_>>())
    };
    if let Some((name, values)) = text.split_once(" notin ") {
        return Ok(LabelRequirement::NotIn(key(name)?, set(values)?));
    }
    if let Some((name, values)) = text.split_once(" in ") {
        return Ok(LabelRequirement::In(key(name)?, set(values)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(LabelRequirement::NotIn(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(LabelRequirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(LabelRequirement::Absent(key(name)?)),
        None => Ok(LabelRequirement::Exists(key(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_are_encoded_twice() {
        let query = ListQuery::parse("/v3/apps", "names=a%252Cb,c&hosts=&fields%5Bspace%5D=guid");
        assert_eq!(query.csv("names"), Some(vec!["a,b".into(), "c".into()]));
        assert_eq!(query.csv("hosts"), Some(vec![String::new()]));
        assert_eq!(query.text("fields[space]"), Some("guid"));
        assert!(query.csv("paths").is_none());
    }

    #[test]
    fn unknown_parameters_are_refused() {
        let error = ListQuery::parse("/v3/apps", "nam=x")
            .allow(&["names"])
            .unwrap_err();
        assert!(
            error
                .details()
                .next()
                .unwrap()
                .contains("Unknown query parameter(s): 'nam'. Valid parameters are:")
        );
        assert!(
            ListQuery::parse("/v3/apps", "names=%00")
                .allow(&["names"])
                .is_err()
        );
        assert!(
            ListQuery::parse("/v3/apps", "names=x&created_ats[gt]=2026-01-01T00:00:00Z")
                .allow(&["names"])
                .is_ok()
        );
    }

    #[test]
    fn the_envelope_repeats_filters() {
        let query = ListQuery::parse("/v3/apps", "names=a%2Cb&per_page=2&page=2");
        let page = query.page().unwrap();
        let envelope = query.envelope("http://api", page, 5, vec![]);
        assert_eq!(envelope["pagination"]["total_pages"], 3);
        assert_eq!(
            envelope["pagination"]["next"]["href"],
            "http://api/v3/apps?page=3&per_page=2&names=a,b"
        );
        assert_eq!(
            envelope["pagination"]["previous"]["href"],
            "http://api/v3/apps?page=1&per_page=2&names=a,b"
        );
    }

    #[test]
    fn selectors_parse() {
        use LabelRequirement::*;
        let v = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            label_selector("a,!b,c=1,d==2,e!=3,f in (x, y),g notin (z)").unwrap(),
            [
                Exists("a".into()),
                Absent("b".into()),
                In("c".into(), v(&["1"])),
                In("d".into(), v(&["2"])),
                NotIn("e".into(), v(&["3"])),
                In("f".into(), v(&["x", "y"])),
                NotIn("g".into(), v(&["z"])),
            ]
        );
        assert!(label_selector("a b").is_err());
    }
}
