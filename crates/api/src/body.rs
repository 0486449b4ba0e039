//! Request bodies: JSON into a typed value, with the API's words for what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON body. An empty body counts as `{}`, since clients send a JSON content type without a body. Types deny
/// unknown fields, which become `Unknown field(s): 'x'`.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(ApiError::parse)?;
        parse(&bytes).map(Body)
    }
}

/// Reads a JSON body.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) {
        b"{}"
    } else {
        bytes
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(ApiError::parse)?;
    // PostgreSQL keeps no text with NUL; refused for every database alike.
    if has_nul(&value) {
        return Err(ApiError::unprocessable(
            "A NUL character is not allowed in a text",
        ));
    }
    serde_json::from_value(value).map_err(|error| ApiError::unprocessable(explain(&error.to_string())))
}

fn has_nul(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn explain(message: &str) -> String {
    if let Some(field) = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next())
    {
        return format!("Unknown field(s): '{field}'");
    }
    if let Some(field) = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
    {
        return format!("{} can't be blank", crate::present::humanise(field));
    }
    message.to_owned()
}

/// Tells `null` from absent: `Some(None)` is null. Use with `#[serde(default, deserialize_with = "crate::body::some")]`.
pub fn some<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(
    input: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(input).map(Some)
}

/// A to-one relationship: `{"data": {"guid": "…"}}`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToOne {
    /// Absent or null: none.
    #[serde(default)]
    pub data: Option<Guid>,
}

impl ToOne {
    /// The guid, when there is one.
    pub fn guid(&self) -> Option<&str> {
        self.data.as_ref().map(|data| data.guid.as_str())
    }
}

/// `{"guid": "…"}`.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Guid {
    /// The guid.
    pub guid: String,
}

/// `metadata` of a request: null removes an entry.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// Labels.
    pub labels: std::collections::BTreeMap<String, Option<String>>,
    /// Annotations.
    pub annotations: std::collections::BTreeMap<String, Option<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Example {
        name: String,
    }

    #[test]
    fn errors_speak_the_api() {
        for (body, expected) in [
            (r#"{"name":"a","x":1}"#, "Unknown field(s): 'x'"),
            ("", "Name can't be blank"),
            (
                r#"{"name":"a\u0000"}"#,
                "A NUL character is not allowed in a text",
            ),
            (
                "{",
                "Request invalid due to parse error: EOF while parsing an object at line 1 column 1",
            ),
        ] {
            let error = parse::<Example>(body.as_bytes()).unwrap_err();
            assert_eq!(error.details().next(), Some(expected));
        }
    }
}
