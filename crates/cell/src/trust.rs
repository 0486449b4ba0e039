//! The operator's certificate authorities, as every container has them: one file each in a directory that is shown
//! read-only (cloudfoundry/executor:depot/containerstore, trusted system certificates).
//!
//! The directory stays the same, so that containers of an earlier daemon see what the present one was told.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{CellError, file};
use crate::host::make_dir;

/// Where containers have them.
pub(crate) const INSIDE: &str = "/etc/cf-system-certificates";

/// Whether there are any, and where on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// None: containers have no such directory.
    Nobody,
    /// In this directory.
    In(PathBuf),
}

impl Trust {
    /// Brings the directory in line with these certificates, PEM, one an entry.
    pub(crate) fn lay(dir: &Path, certificates: &[String]) -> Result<Self, CellError> {
        if certificates.is_empty() && !dir.exists() {
            return Ok(Self::Nobody);
        }
        make_dir(dir, 0o755)?;
        let mut wanted = BTreeSet::new();
        for (number, certificate) in (1..).zip(certificates) {
            let name = format!("trusted-ca-{number}.crt");
            place(dir, &name, certificate)?;
            wanted.insert(name);
        }
        for entry in fs::read_dir(dir).map_err(file("list", dir))? {
            let entry = entry.map_err(file("list", dir))?;
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name))
            {
                fs::remove_file(entry.path()).map_err(file("remove", entry.path()))?;
            }
        }
        Ok(match wanted.is_empty() {
            true => Self::Nobody,
            false => Self::In(dir.to_owned()),
        })
    }

    /// What the program finds in its environment.
    pub(crate) fn variable(&self) -> Option<String> {
        matches!(self, Self::In(_)).then(|| format!("CF_SYSTEM_CERT_PATH={INSIDE}"))
    }
}

/// By rename: a container that reads sees a whole file.
fn place(dir: &Path, name: &str, certificate: &str) -> Result<(), CellError> {
    let draft = dir.join(".draft");
    fs::write(&draft, certificate).map_err(file("write", &draft))?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o644))
        .map_err(file("set the mode of", &draft))?;
    let path = dir.join(name);
    fs::rename(&draft, &path).map_err(file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_holds_what_is_trusted_now() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("certs");
        let lay = |certificates: &[&str]| {
            let certificates: Vec<String> = certificates.iter().map(|&c| c.to_owned()).collect();
            Trust::lay(&dir, &certificates).unwrap()
        };
        assert_eq!((lay(&[]), dir.exists()), (Trust::Nobody, false));
        assert_eq!(lay(&["one", "two"]), Trust::In(dir.clone()));
        assert_eq!(fs::read_to_string(dir.join("trusted-ca-2.crt")).unwrap(), "two");
        let trust = lay(&["three"]);
        assert_eq!(fs::read_to_string(dir.join("trusted-ca-1.crt")).unwrap(), "three");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(
            trust.variable().as_deref(),
            Some("CF_SYSTEM_CERT_PATH=/etc/cf-system-certificates")
        );
        assert_eq!(lay(&[]), Trust::Nobody);
    }
}
