//! Reading replies: a JSON pointer and a kind, with a harmless default for what is missing or null, because servers
//! differ in what they leave out.

use serde_json::Value;

/// Read access to foreign JSON by pointer (`/relationships/space/data/guid`).
pub trait Json {
    /// A string, or "".
    fn text(&self, pointer: &str) -> &str;
    /// An integer, or 0.
    fn number(&self, pointer: &str) -> i64;
    /// A number, if there is one.
    fn float(&self, pointer: &str) -> Option<f64>;
    /// A boolean, if there is one.
    fn truth(&self, pointer: &str) -> Option<bool>;
    /// The elements of an array, or none.
    fn items(&self, pointer: &str) -> &[Value];
    /// The `guid`, or "".
    fn guid(&self) -> &str {
        self.text("/guid")
    }
    /// The `name`, or "".
    fn name(&self) -> &str {
        self.text("/name")
    }
}

impl Json for Value {
    fn text(&self, pointer: &str) -> &str {
        self.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> i64 {
        let number = self.pointer(pointer);
        number
            .and_then(|n| n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)))
            .unwrap_or_default()
    }

    fn float(&self, pointer: &str) -> Option<f64> {
        self.pointer(pointer).and_then(Value::as_f64)
    }

    fn truth(&self, pointer: &str) -> Option<bool> {
        self.pointer(pointer).and_then(Value::as_bool)
    }

    fn items(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// `{"guid": …}` inside `{"data": …}`: how the API names a related thing.
pub fn related(guid: &str) -> Value {
    serde_json::json!({ "data": { "guid": guid } })
}
