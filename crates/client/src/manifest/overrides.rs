//! Flags of `push` over a manifest. Flags about a process go to the `web` process where the manifest lists it, else to
//! the app; flags about one app are refused when several are pushed.

use serde_json::{Map, Value, json};

use super::{Manifest, text};
use crate::error::{Error, Result};

/// How large and how many: the flags that a deployment takes instead of the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// `-i`
    pub instances: Option<u64>,
    /// `-m`, as typed
    pub memory: Option<String>,
    /// `-k`, as typed
    pub disk: Option<String>,
    /// `-l`, as typed
    pub log_rate: Option<String>,
}

/// The flags of `push` that end up in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The positional.
    pub name: String,
    /// `-i -m -k -l`
    pub scale: Scale,
    /// `-c`; "null" and "default" mean the image's own command.
    pub command: Option<String>,
    /// `-u`
    pub health_check: Option<String>,
    /// `--endpoint`
    pub endpoint: Option<String>,
    /// `-t`, seconds
    pub timeout: Option<u64>,
    /// `-o`
    pub image: Option<String>,
    /// `--docker-username`
    pub username: Option<String>,
    /// Which route the app gets.
    pub route: Routing,
}

/// Which route an app gets that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// Its name under the default domain.
    #[default]
    Default,
    /// A random one.
    Random,
    /// None.
    No,
}

impl Overrides {
    /// The manifest with these flags, except the scale.
    ///
    /// # Errors
    /// `Incorrect Usage: …` when flags and manifest contradict each other.
    pub fn apply(&self, manifest: Manifest) -> Result<Manifest> {
        let mut manifest = self.choose(manifest)?;
        if self.needs_one_app() && manifest.apps.len() > 1 {
            return Err(several());
        }
        if let [app] = manifest.apps.as_mut_slice() {
            self.apply_to(app)?;
        }
        for app in &mut manifest.apps {
            let settled = ["random-route", "no-route", "random_route", "no_route"];
            if !settled
                .iter()
                .any(|key| app.get(*key) == Some(&Value::Bool(true)))
            {
                app.insert("default-route".into(), true.into());
            }
        }
        Ok(manifest)
    }

    /// The manifest with the scale of these flags.
    ///
    /// # Errors
    /// When several apps are pushed.
    pub fn apply_scale(&self, mut manifest: Manifest) -> Result<Manifest> {
        if self.scale == Scale::default() {
            return Ok(manifest);
        }
        let [app] = manifest.apps.as_mut_slice() else {
            return Err(several());
        };
        let disk_key = if web_process(app).is_some() {
            "disk_quota"
        } else {
            "disk-quota"
        };
        match web_process(app) {
            Some(web) => self.scale_process(web, disk_key),
            None => self.scale_process(app, disk_key),
        }
        Ok(manifest)
    }

    fn scale_process(&self, process: &mut Map<String, Value>, disk_key: &str) {
        let Scale {
            instances,
            memory,
            disk,
            log_rate,
        } = &self.scale;
        if let Some(instances) = instances {
            process.insert("instances".into(), json!(instances));
        }
        if let Some(memory) = memory {
            process.insert("memory".into(), json!(memory));
        }
        if let Some(disk) = disk {
            replace(process, disk_key, json!(disk));
        }
        if let Some(log_rate) = log_rate {
            replace(process, "log-rate-limit-per-second", json!(log_rate));
        }
    }

    /// The app the positional names, or all apps without one.
    fn choose(&self, mut manifest: Manifest) -> Result<Manifest> {
        let nameless = manifest.names().contains(&"");
        if manifest.apps.len() > 1 && nameless {
            return Err(Error::message("Found an application with no name specified."));
        }
        if self.name.is_empty() {
            return if nameless {
                Err(name_required())
            } else {
                Ok(manifest)
            };
        }
        if let Some(index) = manifest.names().iter().position(|name| *name == self.name) {
            manifest.apps = vec![manifest.apps.swap_remove(index)];
            return Ok(manifest);
        }
        match manifest.apps.as_mut_slice() {
            [only] => {
                only.insert("name".into(), json!(self.name));
                Ok(manifest)
            }
            _ => Err(Error::message(format!(
                "Could not find app named '{}' in manifest",
                self.name
            ))),
        }
    }

    fn needs_one_app(&self) -> bool {
        let free = Self {
            name: self.name.clone(),
            scale: self.scale.clone(),
            ..Self::default()
        };
        *self != free
    }

    fn apply_to(&self, app: &mut Map<String, Value>) -> Result<()> {
        match web_process(app) {
            Some(web) => self.apply_process(web)?,
            None => self.apply_process(app)?,
        }
        match self.route {
            Routing::Default => {}
            Routing::Random => replace(app, "random-route", true.into()),
            Routing::No => replace(app, "no-route", true.into()),
        }
        self.apply_docker(app)
    }

    fn apply_process(&self, process: &mut Map<String, Value>) -> Result<()> {
        if let Some(command) = &self.command {
            let own = matches!(command.as_str(), "null" | "default" | "");
            process.insert("command".into(), if own { Value::Null } else { json!(command) });
        }
        if let Some(kind) = &self.health_check {
            replace(process, "health-check-type", json!(kind));
            if kind != "http" {
                process.remove("health-check-http-endpoint");
                process.remove("health_check_http_endpoint");
            }
        }
        if let Some(endpoint) = &self.endpoint {
            let kind = text(process, "health-check-type");
            if !matches!(kind, "" | "http") {
                return Err(mismatch(
                    "--endpoint",
                    &format!("health-check-type set to {kind}"),
                ));
            }
            replace(process, "health-check-http-endpoint", json!(endpoint));
        }
        if let Some(timeout) = self.timeout {
            process.insert("timeout".into(), json!(timeout));
        }
        Ok(())
    }

    fn apply_docker(&self, app: &mut Map<String, Value>) -> Result<()> {
        if self.image.is_some() {
            for other in ["buildpacks", "buildpack", "path"] {
                if app.contains_key(other) {
                    return Err(mismatch("--docker-image, -o", other));
                }
            }
        }
        let parts = [("image", &self.image), ("username", &self.username)];
        for (key, value) in parts
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)))
        {
            let docker = app.entry("docker").or_insert_with(|| json!({}));
            if !docker.is_object() {
                *docker = json!({});
            }
            if let Some(docker) = docker.as_object_mut() {
                docker.insert((*key).to_owned(), json!(value));
            }
        }
        Ok(())
    }
}

fn web_process(app: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let processes = app.get_mut("processes")?.as_array_mut()?;
    processes
        .iter_mut()
        .filter_map(Value::as_object_mut)
        .find(|process| text(process, "type") == "web")
}

/// Sets a key whose words may be joined by hyphens or underscores, so that it stands there once.
fn replace(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.remove(&key.replace('-', "_"));
    map.remove(&key.replace('_', "-"));
    map.insert(key.to_owned(), value);
}

fn several() -> Error {
    let text = "Command line flags (except -f and --no-start) cannot be applied when pushing multiple apps from a manifest file.";
    Error::Usage(text.into())
}

fn name_required() -> Error {
    let text = "The push command requires an app name. The app name can be supplied as an argument or with a manifest.yml file.";
    Error::Usage(text.into())
}

fn mismatch(flag: &str, property: &str) -> Error {
    Error::Usage(format!(
        "The flag option {flag} cannot be used with the manifest property {property}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(apps: Value) -> Manifest {
        let apps = apps
            .as_array()
            .unwrap()
            .iter()
            .map(|app| app.as_object().unwrap().clone())
            .collect();
        Manifest {
            path: None,
            version: None,
            apps,
        }
    }

    fn pushed(flags: &Overrides, apps: Value) -> Value {
        let manifest = flags
            .apply(manifest(apps))
            .and_then(|manifest| flags.apply_scale(manifest))
            .unwrap();
        manifest.document()["applications"].clone()
    }

    fn refused(flags: &Overrides, apps: Value) -> String {
        flags
            .apply(manifest(apps))
            .and_then(|manifest| flags.apply_scale(manifest))
            .unwrap_err()
            .to_string()
    }

    fn flags(name: &str) -> Overrides {
        Overrides {
            name: name.into(),
            ..Overrides::default()
        }
    }

    #[test]
    fn flags_become_keys() {
        let flags = Overrides {
            scale: Scale {
                instances: Some(2),
                memory: Some("64M".into()),
                disk: Some("1G".into()),
                log_rate: Some("-1".into()),
            },
            command: Some("null".into()),
            health_check: Some("http".into()),
            endpoint: Some("/up".into()),
            timeout: Some(9),
            image: Some("nginx".into()),
            username: Some("ann".into()),
            ..flags("shop")
        };
        assert_eq!(
            pushed(&flags, json!([{"disk_quota": "2G"}])),
            json!([{"name": "shop", "instances": 2, "memory": "64M", "disk-quota": "1G",
                "log-rate-limit-per-second": "-1", "command": null, "health-check-type": "http",
                "health-check-http-endpoint": "/up", "timeout": 9, "default-route": true,
                "docker": {"image": "nginx", "username": "ann"}}])
        );
    }

    #[test]
    fn the_web_process_takes_what_concerns_it() {
        let flags = Overrides {
            scale: Scale {
                instances: Some(3),
                ..Scale::default()
            },
            command: Some("run".into()),
            ..flags("shop")
        };
        assert_eq!(
            pushed(
                &flags,
                json!([{"name": "shop", "processes": [{"type": "worker"}, {"type": "web"}]}])
            ),
            json!([{"name": "shop", "default-route": true, "processes":
                [{"type": "worker"}, {"type": "web", "instances": 3, "command": "run"}]}])
        );
    }

    #[test]
    fn routes_are_settled_once() {
        let random = Overrides {
            route: Routing::Random,
            ..flags("a")
        };
        assert_eq!(
            pushed(&random, json!([{}])),
            json!([{"name": "a", "random-route": true}])
        );
        let none = Overrides {
            route: Routing::No,
            ..flags("a")
        };
        assert_eq!(
            pushed(&none, json!([{}])),
            json!([{"name": "a", "no-route": true}])
        );
        let all = json!([{"name": "a", "no-route": true}, {"name": "b"}]);
        assert_eq!(
            pushed(&flags(""), all),
            json!([{"name": "a", "no-route": true}, {"name": "b", "default-route": true}])
        );
    }

    #[test]
    fn names_choose_apps() {
        assert_eq!(
            pushed(&flags("b"), json!([{"name": "a"}, {"name": "b"}]))[0]["name"],
            "b"
        );
        assert_eq!(pushed(&flags("new"), json!([{"name": "a"}]))[0]["name"], "new");
        assert!(
            refused(&flags("c"), json!([{"name": "a"}, {"name": "b"}]))
                .contains("Could not find app named 'c'")
        );
        assert!(refused(&flags(""), json!([{}])).contains("requires an app name"));
        let one = Overrides {
            scale: Scale {
                instances: Some(1),
                ..Scale::default()
            },
            ..flags("")
        };
        assert!(refused(&one, json!([{"name": "a"}, {"name": "b"}])).contains("multiple apps"));
        let image = Overrides {
            image: Some("i".into()),
            ..flags("")
        };
        assert!(refused(&image, json!([{"name": "a"}, {"name": "b"}])).contains("multiple apps"));
        assert!(refused(&image, json!([{"name": "a", "path": "."}])).contains("manifest property path"));
    }
}
