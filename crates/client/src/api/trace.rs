//! Showing requests and replies (`-v`, `CF_TRACE`) without what is secret in them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::http::{Body, Exchange, Reply};
use crate::environment::Trace;
use crate::ui::Ui;

const HIDDEN: &str = "[PRIVATE DATA HIDDEN]";

/// Shows exchanges on the screen, in a file, or not.
pub struct Tracer {
    ui: Arc<Ui>,
    screen: AtomicBool,
    file: Option<Mutex<File>>,
}

impl Tracer {
    /// A tracer as wished. A file that cannot be opened is a warning, not the end of the command.
    pub fn new(ui: Arc<Ui>, wish: &Trace) -> Self {
        let file = match wish {
            Trace::File(path) => {
                let opened = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(path);
                let complain =
                    |error| ui.warn(&format!("CF_TRACE: cannot write {}: {error}", path.display()));
                opened.map_err(complain).ok().map(Mutex::new)
            }
            Trace::Off | Trace::Screen => None,
        };
        Self {
            ui,
            screen: AtomicBool::new(*wish == Trace::Screen),
            file,
        }
    }

    /// Shows exchanges on the screen from now on.
    pub fn on_screen(&self) {
        self.screen.store(true, Ordering::Relaxed);
    }

    /// Shows a request.
    pub fn request(&self, exchange: &Exchange<'_>) {
        self.show(|| {
            let token = if exchange.token.is_some() {
                format!("\nAuthorization: {HIDDEN}")
            } else {
                String::new()
            };
            let body = match exchange.body {
                Body::Empty => String::new(),
                Body::Json(value) => redacted(value),
                Body::Yaml(text) => format!("[{} bytes of manifest]", text.len()),
                Body::Form(_) => HIDDEN.to_owned(),
                Body::Bytes(bytes) => shown(bytes),
            };
            format!("\nREQUEST:\n{} {}{token}\n{body}", exchange.method, exchange.url)
        });
    }

    /// Shows a reply.
    pub fn reply(&self, reply: &Reply) {
        self.show(|| {
            let location = reply.header("location");
            let location = if location.is_empty() {
                String::new()
            } else {
                format!("\nLocation: {location}")
            };
            format!("\nRESPONSE:\n{}{location}\n{}", reply.reason, shown(&reply.body))
        });
    }

    fn show(&self, text: impl FnOnce() -> String) {
        let screen = self.screen.load(Ordering::Relaxed);
        if !screen && self.file.is_none() {
            return;
        }
        let text = text();
        if screen {
            self.ui.error_line(&text);
        }
        if let Some(file) = &self.file {
            let mut file = file.lock().expect("no holder of this lock panics");
            // A full disk must not stop the command that is being watched.
            let _ = writeln!(file, "{text}");
        }
    }
}

fn shown(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => redacted(&value),
        Err(_) if body.is_empty() => String::new(),
        Err(_) => format!("[{} bytes]", body.len()),
    }
}

/// JSON, indented, without the values of keys that hold secrets.
fn redacted(value: &Value) -> String {
    let mut value = value.clone();
    hide(&mut value);
    format!("{value:#}")
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if is_secret(key) && !value.is_null() {
                    *value = HIDDEN.into()
                } else {
                    hide(value)
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let environments = [
        "var",
        "environment_variables",
        "system_env_json",
        "running_env_json",
        "staging_env_json",
        "credentials",
    ];
    environments.contains(&key.as_str())
        || ["password", "secret", "token", "passcode"]
            .iter()
            .any(|s| key.contains(s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_hidden_at_any_depth() {
        let text = redacted(&json!({
            "data": {"image": "nginx", "password": "p4ss"},
            "access_token": "tok",
            "list": [{"clientSecret": "s3"}],
            "var": {"DB": "url"},
        }));
        for secret in ["p4ss", "tok\"", "s3", "url"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("nginx"));
    }
}
