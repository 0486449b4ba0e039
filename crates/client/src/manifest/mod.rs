//! App manifests: finding, reading, filling in variables, applying flags, writing them for the API.
//!
//! A manifest stays a JSON tree: keys this program does not know go to the API untouched.

mod diff;
mod overrides;
mod variables;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

pub use diff::print as print_diff;
pub use overrides::{Overrides, Routing, Scale};
pub use variables::Variables;

use crate::error::{Error, Result};
use crate::json::Json;

/// The largest manifest that is read; the API takes no larger one either.
const MAX_SIZE: u64 = 1 << 20;

/// A manifest with at least one app.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file it came from, if it did.
    pub path: Option<PathBuf>,
    version: Option<Value>,
    apps: Vec<Map<String, Value>>,
}

impl Manifest {
    /// The manifest of an app about which nothing is written down.
    pub fn of_app(name: &str) -> Self {
        let mut app = Map::new();
        if !name.is_empty() {
            app.insert("name".into(), name.into());
        }
        Self {
            path: None,
            version: None,
            apps: vec![app],
        }
    }

    /// Where the manifest is: the given file, or the one in the given directory; none when there is none.
    ///
    /// # Errors
    /// When a path was given and leads nowhere.
    pub fn locate(directory: &Path, given: Option<&str>) -> Result<Option<PathBuf>> {
        let place = given.map_or_else(|| directory.to_owned(), |given| directory.join(given));
        if place.is_file() {
            return Ok(Some(place));
        }
        let found = ["manifest.yml", "manifest.yaml"]
            .iter()
            .map(|name| place.join(name))
            .find(|path| path.is_file());
        match (found, given) {
            (None, Some(given)) => Err(Error::message(format!(
                "Could not find 'manifest.yml' file in {given}"
            ))),
            (found, _) => Ok(found),
        }
    }

    /// Reads a manifest and fills in its variables.
    ///
    /// # Errors
    /// When the file cannot be read, is no YAML, names no app, or needs a variable nobody set.
    pub fn read(path: &Path, variables: &Variables) -> Result<Self> {
        let mut document = read_yaml(path)?;
        variables.fill(&mut document)?;
        let version = document.get("version").cloned();
        let apps = document
            .items("/applications")
            .iter()
            .map(|app| app.as_object().cloned())
            .collect::<Option<Vec<_>>>();
        match apps {
            Some(apps) if !apps.is_empty() => Ok(Self {
                path: Some(path.to_owned()),
                version,
                apps,
            }),
            Some(_) => Err(Error::message("Manifest must have at least one application.")),
            None => Err(Error::message(format!(
                "{}: every entry of 'applications' must be a map",
                path.display()
            ))),
        }
    }

    /// The names of the apps; an app without a name has an empty one.
    pub fn names(&self) -> Vec<&str> {
        self.apps.iter().map(|app| text(app, "name")).collect()
    }

    /// The image and the registry user of each app, in order.
    pub fn images(&self) -> Vec<(&str, &str)> {
        let image = |app| {
            let app: &Map<String, Value> = app;
            let docker = app.get("docker");
            let get = |key| {
                docker
                    .and_then(|docker| docker.get(key))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            (get("image"), get("username"))
        };
        self.apps.iter().map(image).collect()
    }

    /// The tree, as the API gets it.
    pub fn document(&self) -> Value {
        let mut document = json!({ "applications": self.apps });
        if let (Some(version), Some(map)) = (&self.version, document.as_object_mut()) {
            map.insert("version".into(), version.clone());
        }
        document
    }

    /// The text, as the API gets it. Strings are quoted, so that no reader takes "on" or "1:30" for something else.
    ///
    /// # Errors
    /// When a value has no YAML form.
    pub fn to_yaml(&self) -> Result<String> {
        let options = serde_saphyr::ser_options! { quote_all: true };
        serde_saphyr::to_string_with_options(&self.document(), options)
            .map_err(|error| Error::message(format!("the manifest cannot be written as YAML: {error}")))
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a YAML file of bounded size.
fn read_yaml(path: &Path) -> Result<Value> {
    let cannot = |error| Error::io(format!("cannot read {}", path.display()), error);
    if fs::metadata(path).map_err(cannot)?.len() > MAX_SIZE {
        return Err(Error::message(format!(
            "{} is larger than a manifest may be (1 MB)",
            path.display()
        )));
    }
    let text = fs::read_to_string(path).map_err(cannot)?;
    serde_saphyr::from_str(&text).map_err(|error| {
        Error::message(format!(
            "Unable to push app because manifest {} is not valid yaml.\n{error}",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(yaml: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.yml");
        fs::write(&path, yaml).unwrap();
        (directory, path)
    }

    #[test]
    fn what_is_read_is_sent() {
        let (_directory, path) = written(
            "version: 1\ndefaults: &d\n  memory: 64M\napplications:\n- name: shop\n  <<: *d\n  instances: 2\n  \
             docker: {image: 'nginx:1', username: ann}\n  env: {MODE: \"on\", PORT: '0800', RATE: 1.5, EMPTY: ''}\n  \
             unknown: [a, 1:30]\n",
        );
        let manifest = Manifest::read(&path, &Variables::default()).unwrap();
        assert_eq!(manifest.names(), ["shop"]);
        assert_eq!(manifest.images(), [("nginx:1", "ann")]);
        let yaml = manifest.to_yaml().unwrap();
        let back: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, manifest.document(), "{yaml}");
        assert_eq!(
            back.pointer("/applications/0/memory"),
            Some(&json!("64M")),
            "{yaml}"
        );
        assert_eq!(
            back.pointer("/applications/0/env/MODE"),
            Some(&json!("on")),
            "{yaml}"
        );
        assert_eq!(
            back.pointer("/applications/0/instances"),
            Some(&json!(2)),
            "{yaml}"
        );
        assert!(back.get("defaults").is_none());
    }

    #[test]
    fn long_and_odd_strings_survive() {
        let odd = [
            "a ".repeat(200),
            "two\nlines\n".into(),
            "tab\t'quote' \"double\" \\ #x: y".into(),
            "~".into(),
            " ".into(),
        ];
        let mut manifest = Manifest::of_app("x");
        manifest.apps[0].insert("env".into(), json!(odd));
        let back: Value = serde_saphyr::from_str(&manifest.to_yaml().unwrap()).unwrap();
        assert_eq!(back, manifest.document());
    }

    #[test]
    fn bad_manifests_are_explained() {
        for (yaml, part) in [
            ("applications: []", "at least one application"),
            ("{}", "at least one application"),
            ("applications: [x]", "must be a map"),
            ("a: [", "not valid yaml"),
            ("applications: [{name: ((who))}]", "who"),
        ] {
            let (_directory, path) = written(yaml);
            let error = Manifest::read(&path, &Variables::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{yaml}: {error}");
        }
    }

    #[test]
    fn manifests_are_found_in_directories() {
        let (directory, path) = written("applications: [{name: x}]");
        let at = directory.path();
        assert_eq!(Manifest::locate(at, None).unwrap(), Some(path.clone()));
        assert_eq!(
            Manifest::locate(at, Some("manifest.yml")).unwrap(),
            Some(path.clone())
        );
        assert_eq!(
            Manifest::locate(Path::new("/"), at.to_str()).unwrap(),
            Some(path.clone())
        );
        assert!(Manifest::locate(at, Some("nowhere")).is_err());
        fs::rename(&path, at.join("manifest.yaml")).unwrap();
        assert_eq!(
            Manifest::locate(at, None).unwrap(),
            Some(at.join("manifest.yaml"))
        );
    }
}
