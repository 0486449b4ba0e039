//! Showing what a manifest changes: the manifest as YAML, each line marked as kept, new or gone.
//!
//! Values of environment variables are never shown: this text ends up in the logs of pipelines.

use serde_json::{Map, Value};

use crate::json::Json;
use crate::ui::Ui;

const REDACTED: &str = "<redacted>";

/// Prints a manifest with the differences the API found.
pub fn print(ui: &Ui, manifest: &Value, diff: &Value) {
    for (mark, text) in lines(manifest, diff) {
        match mark {
            Mark::Kept => ui.line(&format!("  {text}")),
            Mark::New => ui.line(&ui.green(&format!("+ {text}"))),
            Mark::Gone => ui.line(&ui.red(&format!("- {text}"))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Kept,
    New,
    Gone,
}

/// Where in the document a node stands, and how its lines look.
#[derive(Clone, Copy, Debug)]
struct Spot<'a> {
    path: &'a str,
    mark: Mark,
    indent: &'a str,
}

fn lines(manifest: &Value, diff: &Value) -> Vec<(Mark, String)> {
    let mut writer = Writer {
        diff: diff.items("/diff"),
        lines: vec![(Mark::Kept, "---".to_owned())],
    };
    if let Some(map) = manifest.as_object() {
        writer.entries(
            map,
            Spot {
                path: "",
                mark: Mark::Kept,
                indent: "",
            },
            "",
        );
    }
    writer.lines
}

struct Writer<'a> {
    diff: &'a [Value],
    lines: Vec<(Mark, String)>,
}

impl Writer<'_> {
    /// A node after `lead` (`key:` or `-`).
    fn node(&mut self, lead: &str, value: &Value, spot: Spot<'_>) {
        let op = self.diff.iter().find(|op| op.text("/path") == spot.path);
        let mark = match op.map(|op| op.text("/op")) {
            Some("add") => Mark::New,
            Some("replace") => {
                let was = op.and_then(|op| op.get("was")).cloned().unwrap_or_default();
                self.write(
                    lead,
                    &was,
                    Spot {
                        mark: Mark::Gone,
                        ..spot
                    },
                );
                Mark::New
            }
            _ => spot.mark,
        };
        self.write(lead, value, Spot { mark, ..spot });
    }

    fn write(&mut self, lead: &str, value: &Value, spot: Spot<'_>) {
        let Spot { path, mark, indent } = spot;
        match value {
            Value::Object(map) if !map.is_empty() && lead == "-" => self.entries(map, spot, "- "),
            Value::Object(map) if !map.is_empty() => {
                self.lines.push((mark, format!("{indent}{lead}")));
                self.entries(
                    map,
                    Spot {
                        indent: &format!("{indent}  "),
                        ..spot
                    },
                    "",
                );
            }
            Value::Array(items) if !items.is_empty() => {
                self.lines.push((mark, format!("{indent}{lead}")));
                for (index, item) in items.iter().enumerate() {
                    self.node(
                        "-",
                        item,
                        Spot {
                            path: &format!("{path}/{index}"),
                            ..spot
                        },
                    );
                }
                self.gone(spot, |rest| {
                    rest.parse::<usize>().is_ok_and(|index| index >= items.len())
                });
            }
            scalar => self
                .lines
                .push((mark, format!("{indent}{lead} {}", shown(scalar, path)))),
        }
    }

    /// The entries of a map; the first line carries `hyphen` when the map is an item of a list.
    fn entries(&mut self, map: &Map<String, Value>, spot: Spot<'_>, hyphen: &str) {
        // The name of a thing comes first, whatever the order of the rest.
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by_key(|key| !matches!(key.as_str(), "name" | "type"));
        let below = format!("{}{}", spot.indent, " ".repeat(hyphen.len()));
        let before = self.lines.len();
        for key in keys {
            let Some(value) = map.get(key) else { continue };
            let path = format!("{}/{}", spot.path, key.replace('~', "~0").replace('/', "~1"));
            self.node(
                &format!("{key}:"),
                value,
                Spot {
                    path: &path,
                    indent: &below,
                    ..spot
                },
            );
        }
        self.gone(
            Spot {
                indent: &below,
                ..spot
            },
            |rest| !map.contains_key(rest),
        );
        if let Some((_, line)) = self.lines.get_mut(before).filter(|_| !hyphen.is_empty()) {
            *line = format!("{}{hyphen}{}", spot.indent, line.trim_start());
        }
    }

    /// What the diff removes directly below a spot.
    fn gone(&mut self, spot: Spot<'_>, missing: impl Fn(&str) -> bool) {
        if spot.mark != Mark::Kept {
            return;
        }
        let removed = |op: &&Value| op.text("/op") == "remove";
        let below = |op: &Value| {
            let rest = op.text("/path").strip_prefix(spot.path)?.strip_prefix('/')?;
            (!rest.contains('/') && missing(rest)).then(|| (rest.to_owned(), op["was"].clone()))
        };
        let removed: Vec<_> = self.diff.iter().filter(removed).filter_map(below).collect();
        for (key, was) in removed {
            let lead = if key.parse::<usize>().is_ok() {
                "-".to_owned()
            } else {
                format!("{key}:")
            };
            self.write(
                &lead,
                &was,
                Spot {
                    path: &format!("{}/{key}", spot.path),
                    mark: Mark::Gone,
                    ..spot
                },
            );
        }
    }
}

fn shown(scalar: &Value, path: &str) -> String {
    // /applications/N/env/NAME
    let mut parts = path.split('/').skip(3);
    if parts.next() == Some("env") && parts.next().is_some() {
        return REDACTED.to_owned();
    }
    match scalar {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::tests::captured;
    use serde_json::json;

    #[test]
    fn changes_are_marked() {
        let manifest = json!({"applications": [{
            "name": "shop", "instances": 3, "memory": "64M", "env": {"KEY": "s3cret"},
            "routes": [{"route": "a.example"}], "docker": {"image": "nginx"},
        }]});
        let diff = json!({"diff": [
            {"op": "replace", "path": "/applications/0/instances", "was": 1, "value": 3},
            {"op": "add", "path": "/applications/0/memory", "value": "64M"},
            {"op": "add", "path": "/applications/0/routes/0", "value": {"route": "a.example"}},
            {"op": "remove", "path": "/applications/0/env/OLD", "was": "0ld"},
        ]});
        assert_eq!(
            captured(|ui| print(ui, &manifest, &diff)),
            "  ---\n  applications:\n  - name: shop\n    docker:\n      image: nginx\n    env:\n      KEY: <redacted>\n\
             -     OLD: <redacted>\n-   instances: 1\n+   instances: 3\n+   memory: 64M\n    routes:\n\
             +   - route: a.example\n"
        );
    }
}
