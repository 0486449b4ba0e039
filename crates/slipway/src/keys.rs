//! Keys and the admin's password: made once, kept 0600 in the data directory, written so that a crash leaves either
//! none or all of one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use auth::{SealKey, Sealer, Secret, SigningKey, random_secret};

use crate::data_dir::DataDir;

/// What the platform signs and seals with.
pub struct Keys {
    pub signing: Arc<SigningKey>,
    pub sealer: Arc<Sealer>,
}

impl Keys {
    /// Reads the keys, making those that are missing.
    pub fn open(data: &DataDir) -> anyhow::Result<Self> {
        let signing = kept(&data.join("keys/token-signing.pem"), || {
            Ok(SigningKey::generate()?.to_pkcs8_pem())
        })?;
        let sealing = kept(
            &data.join("keys/sealing-1"),
            || Ok(SealKey::generate(1).to_text()),
        )?;
        let sealing = SealKey::from_text(sealing.expose().trim())
            .with_context(|| format!("{} is damaged", data.join("keys/sealing-1").display()))?;
        Ok(Self {
            signing: Arc::new(
                SigningKey::from_pkcs8_pem(signing.expose()).with_context(|| {
                    format!("{} is damaged", data.join("keys/token-signing.pem").display())
                })?,
            ),
            sealer: Arc::new(Sealer::new(sealing, [])?),
        })
    }
}

/// The generated password of the user admin, and the file it is kept in.
pub fn admin_password(data: &DataDir) -> anyhow::Result<(Secret, PathBuf)> {
    let path = data.join("admin-password");
    let text = kept(&path, || Ok(random_secret()))?;
    Ok((Secret::new(text.expose().trim()), path))
}

/// The content of a file, made first when it is missing.
pub fn kept(path: &Path, make: impl FnOnce() -> anyhow::Result<Secret>) -> anyhow::Result<Secret> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(Secret::new(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let secret = make()?;
    write(path, secret.expose()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secret)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let first = kept(&path, || Ok(random_secret())).unwrap();
        let second = kept(&path, || panic!("it is there")).unwrap();
        assert_eq!(first.expose(), second.expose().trim());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
