//! `((name))` in a manifest: filled from `--var` and `--vars-file`.
//!
//! A scalar that is nothing but a variable takes its value with its type; within a longer text the value must be a
//! string, a number or a boolean. `((a.b))` reaches into a map.

use std::path::Path;

use serde_json::{Map, Value};

use super::read_yaml;
use crate::error::{Error, Result};

/// Named values.
#[derive(Clone, Debug, Default)]
pub struct Variables(Map<String, Value>);

impl Variables {
    /// Values from files, in order, then from `NAME=VALUE` pairs; later ones win.
    ///
    /// # Errors
    /// When a file cannot be read or a pair has no `=`.
    pub fn collect(directory: &Path, files: &[String], pairs: &[String]) -> Result<Self> {
        let mut all = Map::new();
        for file in files {
            match read_yaml(&directory.join(file))? {
                Value::Object(map) => all.extend(map),
                Value::Null => {}
                _ => {
                    return Err(Error::message(format!(
                        "The option --vars-file expects a valid YAML file. {file} is no map"
                    )));
                }
            }
        }
        for pair in pairs {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Error::Usage(format!(
                    "invalid argument for flag `--var': '{pair}' is not NAME=VALUE"
                ))
            })?;
            let value = serde_saphyr::from_str(value).unwrap_or_else(|_| Value::from(value));
            all.insert(name.to_owned(), value);
        }
        Ok(Self(all))
    }

    /// Fills in every variable below `value`.
    ///
    /// # Errors
    /// `Expected to find variables: …`, all of them at once.
    pub fn fill(&self, value: &mut Value) -> Result<()> {
        let mut missing = Vec::new();
        self.walk(value, &mut missing);
        missing.sort();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::message(format!(
            "Expected to find variables: {}",
            missing.join(", ")
        )))
    }

    fn walk(&self, value: &mut Value, missing: &mut Vec<String>) {
        match value {
            Value::String(text) => {
                if let Some(filled) = self.filled(text, missing) {
                    *value = filled;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, missing)),
            Value::Object(map) => {
                let old = std::mem::take(map);
                for (key, mut item) in old {
                    self.walk(&mut item, missing);
                    let key = self
                        .filled(&key, missing)
                        .map_or(key, |filled| plain(&filled).unwrap_or_default());
                    map.insert(key, item);
                }
            }
            _ => {}
        }
    }

    /// The text with its variables filled in; none when it has none.
    fn filled(&self, text: &str, missing: &mut Vec<String>) -> Option<Value> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, name, after)) = variable(rest) {
            parts.push((before, name));
            rest = after;
        }
        if let ([("", name)], "") = (parts.as_slice(), rest) {
            return self.find(name, missing).cloned();
        }
        if parts.is_empty() {
            return None;
        }
        let mut whole = String::new();
        for (before, name) in parts {
            whole.push_str(before);
            let value = self.find(name, missing)?;
            match plain(value) {
                Some(value) => whole.push_str(&value),
                None => missing.push(format!("{name} (as a text)")),
            }
        }
        whole.push_str(rest);
        Some(Value::String(whole))
    }

    fn find(&self, name: &str, missing: &mut Vec<String>) -> Option<&Value> {
        let mut parts = name.split('.');
        let first = parts.next().and_then(|first| self.0.get(first));
        let found = self
            .0
            .get(name)
            .or_else(|| parts.try_fold(first?, |value, part| value.get(part)));
        if found.is_none() {
            missing.push(name.to_owned());
        }
        found
    }
}

/// The first variable of a text: what stands before it, its name, what stands after it.
fn variable(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text.get(from..)?.find("((")?;
        let inside = text.get(open + 2..)?;
        let close = inside.find("))")?;
        let name = inside.get(..close)?;
        let bare = name.strip_prefix('!').unwrap_or(name);
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
        if !bare.is_empty() && bare.chars().all(is_name) {
            return Some((text.get(..open)?, bare, inside.get(close + 2..)?));
        }
        from = open + 1;
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables(pairs: &[&str]) -> Variables {
        let pairs: Vec<String> = pairs.iter().map(|&pair| pair.to_owned()).collect();
        Variables::collect(Path::new("/"), &[], &pairs).unwrap()
    }

    #[test]
    fn values_keep_their_type_or_join_the_text() {
        let mut tree = json!({"n": "((count))", "t": "x-((name))-((count))", "l": ["((!name))"], "((name))": 1, "o": "(( x"});
        variables(&["count=3", "name=shop"]).fill(&mut tree).unwrap();
        assert_eq!(
            tree,
            json!({"n": 3, "t": "x-shop-3", "l": ["shop"], "shop": 1, "o": "(( x"})
        );
    }

    #[test]
    fn maps_are_reached_into_and_gaps_are_named_together() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("v.yml"), "db: {host: h}\n").unwrap();
        let variables = Variables::collect(directory.path(), &["v.yml".into()], &[]).unwrap();
        let mut tree = json!(["((db.host))", "((b))", "((a)) ((b))"]);
        assert_eq!(
            variables.fill(&mut tree).unwrap_err().to_string(),
            "Expected to find variables: a, b"
        );
        assert_eq!(tree[0], "h");
    }
}
