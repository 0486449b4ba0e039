//! Reading a manifest: YAML into checked wishes, every problem named with its app.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::body::Metadata;
use crate::env::Changes;
use crate::error::ApiError;

/// Largest manifest accepted, bytes.
const MAX_BYTES: usize = 1 << 20;

/// What one app is to be like. `None` leaves things as they are; an inner `None` resets to the default.
#[derive(Debug, Default, Clone)]
pub struct AppWish {
    pub name: String,
    pub docker: Option<Docker>,
    pub lifecycle: Option<String>,
    pub env: Changes,
    pub features: BTreeMap<String, bool>,
    pub processes: Vec<ProcessWish>,
    pub routes: Vec<RouteWish>,
    pub route_default: RouteDefault,
    pub metadata: Option<Metadata>,
    /// The app's section as it was sent, for the diff.
    pub raw: Map<String, Value>,
}

/// `docker:` of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Docker {
    pub image: Option<String>,
    pub username: Option<String>,
}

/// What happens to routes that are not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RouteDefault {
    /// Nothing.
    #[default]
    Keep,
    /// All mappings are removed.
    None,
    /// An app without a route gets one named after it.
    Default,
    /// An app without a route gets one with a random name.
    Random,
}

/// One listed route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWish {
    pub route: String,
    pub protocol: Option<String>,
}

/// What one process is to be like.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct ProcessWish {
    pub kind: String,
    pub instances: Option<i64>,
    pub memory_mb: Option<i64>,
    pub disk_mb: Option<i64>,
    pub log_rate_limit: Option<i64>,
    pub command: Option<Option<String>>,
    pub user: Option<Option<String>>,
    pub health: CheckWish,
    pub readiness: CheckWish,
}

/// What a health check is to be like.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct CheckWish {
    pub kind: Option<String>,
    pub endpoint: Option<String>,
    pub timeout: Option<i64>,
    pub invocation_timeout: Option<i64>,
    pub interval: Option<i64>,
}

impl CheckWish {
    /// Whether anything is wished.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads a manifest. Problems of apps come back together, each with its app's name.
pub fn read(bytes: &[u8]) -> Result<Vec<AppWish>, ApiError> {
    if bytes.len() > MAX_BYTES {
        return Err(ApiError::unprocessable(
            "Manifest size is too large. The maximum supported manifest size is 1MB.",
        ));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| ApiError::bad_request("Manifest is not valid UTF-8"))?;
    if has_anchor(text) {
        return Err(ApiError::bad_request(
            "Manifest does not support Anchors and Aliases",
        ));
    }
    let root: Value = serde_saphyr::from_str(text).map_err(|error| {
        ApiError::bad_request(format!(
            "Manifest is not valid YAML: {}",
            error.to_string().lines().next().unwrap_or_default()
        ))
    })?;
    let Value::Object(root) = root else {
        return Err(ApiError::bad_request("Invalid app manifest"));
    };
    if root
        .get("version")
        .is_some_and(|version| version.as_i64() != Some(1))
    {
        return Err(ApiError::unprocessable(
            "Unsupported manifest schema version. Currently supported versions: [1].",
        ));
    }
    let apps = match root.get("applications") {
        Some(Value::Array(apps)) if !apps.is_empty() => apps,
        _ => {
            return Err(ApiError::bad_request(
                "Manifest must have at least one application in 'applications'",
            ));
        }
    };
    let mut wishes = Vec::new();
    let mut problems = Vec::new();
    for (index, app) in apps.iter().enumerate() {
        let (wish, found) = read_app(app);
        let heading = match &wish.name {
            name if name.is_empty() => format!("For application at index {index}: "),
            name => format!("For application '{name}': "),
        };
        problems.extend(found.into_iter().map(|problem| format!("{heading}{problem}")));
        wishes.push(wish);
    }
    if problems.is_empty() {
        Ok(wishes)
    } else {
        Err(ApiError::unprocessable_all(problems))
    }
}

/// Anchors (`&a`) and aliases (`*a`) as YAML tokens: after a blank or an indicator, outside quotes.
fn has_anchor(text: &str) -> bool {
    text.lines().any(|line| {
        let mut before = ' ';
        let mut quote = None;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match quote {
                Some(q) if c == q => quote = None,
                Some(_) => {}
                None if c == '#' && before == ' ' => return false,
                None if (c == '"' || c == '\'') && " :-[{,".contains(before) => quote = Some(c),
                None if (c == '&' || c == '*') && before == ' ' => {
                    let after_key = line.find(c).is_some_and(|at| {
                        let head = line.get(..at).unwrap_or_default().trim_end();
                        head.is_empty() || head.ends_with([':', '-', '[', '{', ','])
                    });
                    if after_key && chars.peek().is_some_and(|n| n.is_alphanumeric() || *n == '_') {
                        return true;
                    }
                }
                None => {}
            }
            before = c;
        }
        false
    })
}

struct Section<'a> {
    map: &'a Map<String, Value>,
    problems: &'a mut Vec<String>,
}

impl Section<'_> {
    /// Hyphen and underscore spellings mean the same.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).or_else(|| self.map.get(&key.replace('-', "_")))
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => {
                self.problems.push(format!(
                    "{} must be a string",
                    crate::present::humanise(&key.replace('-', "_"))
                ));
                None
            }
        }
    }

    fn int(&mut self, key: &str) -> Option<i64> {
        let value = self.get(key)?;
        let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        if number.is_none() && !value.is_null() {
            self.problems.push(format!(
                "{} must be an integer",
                crate::present::humanise(&key.replace('-', "_"))
            ));
        }
        number
    }

    fn size_mb(&mut self, key: &str) -> Option<i64> {
        let text = self.text(key)?;
        let bytes = parse_size(&text);
        if bytes.is_none() {
            let name = crate::present::humanise(&key.replace('-', "_"));
            self.problems.push(format!(
                "{name} must use a supported unit: B, K, KB, M, MB, G, GB, T, or TB"
            ));
        }
        bytes.map(|bytes| bytes >> 20)
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(truth)) => *truth,
            Some(_) => {
                self.problems.push(format!(
                    "{} must be a boolean",
                    crate::present::humanise(&key.replace('-', "_"))
                ));
                false
            }
        }
    }
}

/// Bytes of `128M`, `1GB`, `0`; `None` for text that is no size.
fn parse_size(text: &str) -> Option<i64> {
    let text = text.trim().to_uppercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text.get(..digits)?.parse().ok()?;
    let shift = match text.get(digits..)?.trim() {
        "B" => 0,
        "" if number == 0 => 0,
        "K" | "KB" => 10,
        "M" | "MB" => 20,
        "G" | "GB" => 30,
        "T" | "TB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn read_app(app: &Value) -> (AppWish, Vec<String>) {
    let mut problems = Vec::new();
    let Value::Object(map) = app else {
        problems.push("Application must be a mapping".to_owned());
        return (AppWish::default(), problems);
    };
    let mut section = Section {
        map,
        problems: &mut problems,
    };
    let mut wish = AppWish {
        name: section.text("name").unwrap_or_default(),
        raw: map.clone(),
        ..AppWish::default()
    };
    wish.lifecycle = section.text("lifecycle");
    wish.route_default = route_default(&mut section);
    let mut web = read_process(&mut section);
    wish.docker = read_docker(&mut section);
    wish.routes = read_routes(&mut section);
    web.kind = "web".to_owned();
    if web
        != (ProcessWish {
            kind: "web".to_owned(),
            ..ProcessWish::default()
        })
    {
        wish.processes.push(web);
    }
    if wish.name.is_empty() {
        problems.push("Name must not be empty".to_owned());
    }
    maps(map, &mut wish, &mut problems);
    (wish, problems)
}

fn maps(map: &Map<String, Value>, wish: &mut AppWish, problems: &mut Vec<String>) {
    match map.get("env") {
        None | Some(Value::Null) => {}
        Some(Value::Object(env)) => {
            wish.env = env
                .iter()
                .map(|(k, v)| (k.clone(), (!v.is_null()).then(|| v.clone())))
                .collect();
        }
        Some(_) => problems.push("Env must be an object of keys and values".to_owned()),
    }
    if let Some(Value::Object(features)) = map.get("features") {
        for (name, value) in features {
            match (name.as_str(), value) {
                ("ssh" | "revisions", Value::Bool(on)) => _ = wish.features.insert(name.clone(), *on),
                _ => problems.push(format!(
                    "Features must be a map of valid feature names to booleans: {name}"
                )),
            }
        }
    }
    if let Some(metadata) = map.get("metadata").filter(|m| !m.is_null()) {
        match serde_json::from_value(metadata.clone()) {
            Ok(metadata) => wish.metadata = Some(metadata),
            Err(error) => problems.push(format!("Metadata is invalid: {error}")),
        }
    }
    more_processes(map, wish, problems);
    for (key, what) in [("sidecars", "Sidecars"), ("services", "Service bindings")] {
        if map
            .get(key)
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
        {
            problems.push(format!(
                "{what} are not supported by this version of the platform"
            ));
        }
    }
}

fn more_processes(map: &Map<String, Value>, wish: &mut AppWish, problems: &mut Vec<String>) {
    for process in map
        .get("processes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let Value::Object(map) = process else {
            problems.push("Processes must be a list of mappings".to_owned());
            continue;
        };
        let mut section = Section { map, problems };
        let kind = section.text("type").unwrap_or_default();
        let read = ProcessWish {
            kind: kind.clone(),
            ..read_process(&mut section)
        };
        if kind.is_empty() {
            problems.push("All Processes must specify a 'type' field".to_owned());
        } else if wish.processes.iter().any(|p| p.kind == kind && kind != "web") {
            problems.push(format!("Process '{kind}' may only be present once"));
        } else {
            wish.processes.push(read);
        }
    }
}

fn route_default(section: &mut Section<'_>) -> RouteDefault {
    // In this order, since the command line sends default-route beside routes that the file names.
    if section.flag("no-route") {
        RouteDefault::None
    } else if section.flag("random-route") {
        RouteDefault::Random
    } else if section.flag("default-route") {
        RouteDefault::Default
    } else {
        RouteDefault::Keep
    }
}

fn read_docker(section: &mut Section<'_>) -> Option<Docker> {
    let docker = section.get("docker").filter(|d| !d.is_null())?.clone();
    let given = |key: &str| {
        section
            .get(key)
            .is_some_and(|v| !v.is_null() && v != "" && *v != Value::Array(vec![]))
    };
    if given("buildpack") || given("buildpacks") {
        section
            .problems
            .push("Cannot specify both buildpack(s) and docker keys".to_owned());
    }
    let Value::Object(map) = docker else {
        section.problems.push("Docker must be an object".to_owned());
        return None;
    };
    let mut inner = Section {
        map: &map,
        problems: section.problems,
    };
    let docker = Docker {
        image: inner.text("image"),
        username: inner.text("username"),
    };
    if docker.username.is_some() && docker.image.is_none() {
        section
            .problems
            .push("Docker image must be specified when a username is".to_owned());
    }
    Some(docker)
}

fn read_routes(section: &mut Section<'_>) -> Vec<RouteWish> {
    let routes = match section.get("routes") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(routes)) => routes.clone(),
        Some(_) => {
            section
                .problems
                .push("Routes must be a list of route objects".to_owned());
            return Vec::new();
        }
    };
    let mut read = Vec::new();
    for route in &routes {
        let protocol = route.get("protocol").and_then(Value::as_str).map(str::to_owned);
        match route.get("route").and_then(Value::as_str) {
            Some(_) if protocol.as_deref().is_some_and(|p| p != "http1" && p != "http2") => {
                section
                    .problems
                    .push("Route protocol must be 'http1' or 'http2'.".to_owned());
            }
            Some(text) if !text.is_empty() => read.push(RouteWish {
                route: text.to_owned(),
                protocol,
            }),
            _ => section
                .problems
                .push("Routes must be a list of route objects".to_owned()),
        }
    }
    read
}

fn read_process(section: &mut Section<'_>) -> ProcessWish {
    let nullable = |section: &mut Section<'_>, key: &str| {
        section
            .get(key)
            .map(Value::is_null)
            .map(|null| if null { None } else { section.text(key) })
    };
    let command = nullable(section, "command").map(|command| match command.as_deref() {
        // Words of the reference that mean: back to the image's own command.
        Some("default" | "null") => None,
        _ => command,
    });
    let log_rate_limit = section.text("log-rate-limit-per-second").and_then(|text| {
        let limit = if text.trim() == "-1" {
            Some(-1)
        } else {
            parse_size(&text)
        };
        if limit.is_none() {
            section
                .problems
                .push("Log rate limit per second must be -1 or a size such as 16K".to_owned());
        }
        limit
    });
    ProcessWish {
        kind: String::new(),
        instances: section.int("instances"),
        memory_mb: section.size_mb("memory"),
        disk_mb: section.size_mb("disk-quota"),
        log_rate_limit,
        command,
        user: nullable(section, "user"),
        health: CheckWish {
            timeout: section.int("timeout"),
            ..read_check(section, "health-check")
        },
        readiness: read_check(section, "readiness-health-check"),
    }
}

fn read_check(section: &mut Section<'_>, prefix: &str) -> CheckWish {
    CheckWish {
        kind: section.text(&format!("{prefix}-type")),
        endpoint: section.text(&format!("{prefix}-http-endpoint")),
        timeout: None,
        invocation_timeout: section.int(&format!("{prefix}-invocation-timeout")),
        interval: section.int(&format!("{prefix}-interval")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_understood() {
        let yaml = "applications:\n- name: shop\n  docker:\n    image: r/x:1\n  instances: 2\n  memory: 128M\n  disk-quota: 1G\n  default-route: true\n  env:\n    A: 1\n    B: null\n  command: null\n  health-check-type: http\n  health-check-http-endpoint: /ok\n  timeout: 90\n";
        let wish = read(yaml.as_bytes()).unwrap().remove(0);
        assert_eq!(wish.docker.unwrap().image.as_deref(), Some("r/x:1"));
        assert_eq!(wish.route_default, RouteDefault::Default);
        let web = &wish.processes[0];
        assert_eq!(
            (web.instances, web.memory_mb, web.disk_mb),
            (Some(2), Some(128), Some(1024))
        );
        assert_eq!(web.command, Some(None));
        assert_eq!(
            (web.health.kind.as_deref(), web.health.timeout),
            (Some("http"), Some(90))
        );
        assert_eq!(wish.env["A"], Some(Value::from(1)));
        assert_eq!(wish.env["B"], None);
    }

    #[test]
    fn problems_name_their_app() {
        for (yaml, text) in [
            (
                "applications:\n- name: a\n  memory: lots\n",
                "For application 'a': Memory must use a supported unit: B, K, KB, M, MB, G, GB, T, or TB",
            ),
            (
                "applications:\n- memory: 1G\n",
                "For application at index 0: Name must not be empty",
            ),
            (
                "applications: []\n",
                "Bad request: Manifest must have at least one application in 'applications'",
            ),
            (
                "version: 2\napplications:\n- name: a\n",
                "Unsupported manifest schema version. Currently supported versions: [1].",
            ),
            (
                "applications:\n- &x\n  name: a\n- *x\n",
                "Bad request: Manifest does not support Anchors and Aliases",
            ),
            (
                "applications:\n- name: a\n  docker: {image: x}\n  buildpack: b\n",
                "For application 'a': Cannot specify both buildpack(s) and docker keys",
            ),
        ] {
            assert_eq!(
                read(yaml.as_bytes()).unwrap_err().details().next(),
                Some(text),
                "{yaml}"
            );
        }
    }

    #[test]
    fn stars_and_ampersands_inside_values_are_fine() {
        let yaml = "applications:\n- name: a\n  command: run & wait * x\n  routes:\n  - route: '*.example.org'\n  env: {A: \"&x\"}\n";
        assert_eq!(read(yaml.as_bytes()).unwrap()[0].routes[0].route, "*.example.org");
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("128M", Some(128 << 20)),
            ("1GB", Some(1 << 30)),
            ("0", Some(0)),
            ("5", None),
            ("x", None),
            ("-1M", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
