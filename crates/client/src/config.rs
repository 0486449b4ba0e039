//! What the command line remembers: the targeted API, tokens, org and space.
//!
//! One JSON file, `.slipway/config.json`, readable by its owner only. It is replaced atomically (new file, sync,
//! rename), so that a kill at any moment leaves either the old or the new content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::error::{Error, Result};

/// A thing with a GUID and a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// GUID.
    pub guid: String,
    /// Name.
    pub name: String,
}

/// The identity of a service account, kept because its tokens cannot be refreshed otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// Client id.
    pub id: String,
    /// Client secret.
    pub secret: Secret,
}

/// The remembered state. Empty strings mean "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Base URL of the API.
    pub api: String,
    /// Version the API announced when it was targeted.
    pub api_version: String,
    /// Base URL for logins.
    pub login: String,
    /// Base URL for users.
    pub uaa: String,
    /// Base URL of Log Cache.
    pub log_cache: String,
    /// Accept any certificate of these.
    pub skip_ssl_validation: bool,
    /// Access token, without `bearer`.
    pub access_token: Secret,
    /// Refresh token.
    pub refresh_token: Secret,
    /// Set after a login as a service account.
    pub client: Option<ClientCredentials>,
    /// Targeted org.
    pub org: Option<Named>,
    /// Targeted space.
    pub space: Option<Named>,
}

impl Config {
    /// Forgets who is logged in and what they targeted, but not the API.
    pub fn forget_user(&mut self) {
        self.access_token = Secret::default();
        self.refresh_token = Secret::default();
        self.client = None;
        self.org = None;
        self.space = None;
    }

    /// Whether somebody is logged in.
    pub fn is_logged_in(&self) -> bool {
        !self.access_token.is_empty() || !self.refresh_token.is_empty()
    }
}

/// The file that holds a [`Config`].
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    /// The configuration file under a home directory.
    pub fn under(home: &Path) -> Self {
        Self {
            path: home.join(".slipway").join("config.json"),
        }
    }

    /// Reads the file; a missing one is the empty configuration.
    ///
    /// # Errors
    /// When it cannot be read or is not what this program wrote.
    pub fn load(&self) -> Result<Config> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(Error::io(format!("cannot read {}", self.path.display()), error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            let path = self.path.display();
            Error::Message(format!("{path} is damaged ({error}): remove it and log in again"))
        })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When the directory or the file cannot be written; the old file is then still whole.
    pub fn save(&self, config: &Config) -> Result<()> {
        self.replace(config)
            .map_err(|error| Error::io(format!("cannot write {}", self.path.display()), error))
    }

    fn replace(&self, config: &Config) -> io::Result<()> {
        let directory = self
            .path
            .parent()
            .expect("the path was joined from a directory and a name");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        // The process id keeps two command lines that write at the same time apart.
        let draft = directory.join(format!("config.json.{}", std::process::id()));
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        let written = serde_json::to_writer_pretty(&mut file, config)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&draft, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        let home = tempfile::tempdir().unwrap();
        let file = ConfigFile::under(home.path());
        assert_eq!(file.load().unwrap(), Config::default());
        let config = Config {
            api: "http://api.example".into(),
            access_token: Secret::new("t0ken"),
            space: Some(Named {
                guid: "g".into(),
                name: "dev".into(),
            }),
            ..Config::default()
        };
        file.save(&config).unwrap();
        file.save(&config).unwrap();
        assert_eq!(file.load().unwrap(), config);
        let mode = fs::metadata(home.path().join(".slipway/config.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path().join(".slipway")).unwrap().count(), 1);
        assert!(!format!("{config:?}").contains("t0ken"));
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".slipway")).unwrap();
        fs::write(home.path().join(".slipway/config.json"), "{").unwrap();
        let error = ConfigFile::under(home.path()).load().unwrap_err().to_string();
        assert!(error.contains("remove it and log in again"), "{error}");
    }
}
