//! What a caller asks for.

use std::path::PathBuf;

use model::Limits;

use crate::error::Error;
use crate::signal::Signal;

/// The host's ids a container's ids are shifted to; no two containers share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// Host id of id 0 inside; never 0.
    pub first_host_id: u32,
    /// How many ids there are inside, usually 65536.
    pub size: u32,
}

/// A file or directory of the host shown read-only inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindFile {
    /// Absolute path on the host; valid UTF-8.
    pub source: PathBuf,
    /// Absolute path inside; made when the image lacks it. Symlinks of the image are followed inside the image only.
    pub destination: String,
}

/// One container.
#[derive(Clone)]
pub struct ContainerSpec {
    /// Names everything derived from the container: 1 to 64 of `[A-Za-z0-9._-]`, starting with a letter or digit.
    pub id: String,
    /// A mounted directory whose files belong to ids of `id_range`; the caller owns its mount.
    pub rootfs: PathBuf,
    /// Ids of the user namespace.
    pub id_range: IdRange,
    /// Program (searched in the container's `PATH` when it has no slash) and its arguments.
    pub argv: Vec<String>,
    /// `NAME=value`; the last of a name wins. `PATH`, `USER` and `HOME` are added when unset.
    pub env: Vec<String>,
    /// Absolute directory inside; empty means `/`. Made (0755, the user's) when missing.
    pub cwd: String,
    /// `name`, `uid`, `name:group`, `uid:gid`…; empty means root. Names are looked up in the image.
    pub user: String,
    /// Empty means the container's id.
    pub hostname: String,
    /// Memory, CPU, processes, open files. `disk_bytes` is the business of whoever made `rootfs`.
    pub limits: Limits,
    /// Mounted in this order.
    pub files: Vec<BindFile>,
    /// What [`crate::Runtime::stop`] sends; kept with the container, so a later daemon knows it too.
    pub stop_signal: Signal,
}

/// Shows no environment and no arguments: they hold secrets.
impl std::fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerSpec")
            .field("id", &self.id)
            .field("rootfs", &self.rootfs)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// One more program in a running container.
pub struct ExecSpec {
    /// Program (searched in the container's `PATH` when it has no slash) and its arguments.
    pub argv: Vec<String>,
    /// `NAME=value`, added to the container's environment.
    pub env: Vec<String>,
    /// Absolute directory inside; empty means the container's.
    pub cwd: String,
    /// As in [`ContainerSpec`]; empty means the container's.
    pub user: String,
    /// Give it a terminal of this size; without, it gets three pipes.
    pub terminal: Option<WindowSize>,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// Shows no environment and no arguments: they hold secrets.
impl std::fmt::Debug for ExecSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecSpec")
            .field("user", &self.user)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

impl ExecSpec {
    /// Refuses what could never run.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying which field and why.
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |what: &str| {
            Err(Error::Invalid {
                what: what.to_owned(),
            })
        };
        if self.argv.first().is_none_or(String::is_empty) {
            return invalid("no command to run");
        }
        if !self.cwd.is_empty() && !self.cwd.starts_with('/') {
            return invalid("the working directory is not absolute");
        }
        if self
            .argv
            .iter()
            .chain(&self.env)
            .chain([&self.cwd, &self.user])
            .any(|text| text.contains('\0'))
        {
            return invalid("a NUL byte in the command");
        }
        Ok(())
    }
}

impl ContainerSpec {
    /// Refuses what could never run or could escape its names.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying which field and why.
    pub fn check(&self) -> Result<(), Error> {
        check_id(&self.id)?;
        let invalid = |what: String| Err(Error::Invalid { what });
        if self.id_range.first_host_id == 0 || self.id_range.size == 0 {
            return invalid("id range must not contain the host's root and must not be empty".to_owned());
        }
        if self
            .id_range
            .first_host_id
            .checked_add(self.id_range.size)
            .is_none()
        {
            return invalid(format!(
                "id range from {} ends beyond the last id",
                self.id_range.first_host_id
            ));
        }
        if self.argv.first().is_none_or(String::is_empty) {
            return invalid("no start command found or specified".to_owned());
        }
        if !self.rootfs.is_absolute() || self.rootfs.to_str().is_none() {
            return invalid(format!(
                "root filesystem {} is not an absolute UTF-8 path",
                self.rootfs.display()
            ));
        }
        if !self.cwd.is_empty() && !self.cwd.starts_with('/') {
            return invalid(format!("working directory {} is not absolute", self.cwd));
        }
        for file in &self.files {
            if !file.destination.starts_with('/') || file.destination.trim_matches('/').is_empty() {
                return invalid(format!(
                    "file destination {} is not an absolute path",
                    file.destination
                ));
            }
            if !file.source.is_absolute() || file.source.to_str().is_none() {
                return invalid(format!(
                    "file source {} is not an absolute UTF-8 path",
                    file.source.display()
                ));
            }
        }
        self.check_text()
    }

    fn check_text(&self) -> Result<(), Error> {
        let destinations = self.files.iter().map(|file| &file.destination);
        let texts = self
            .argv
            .iter()
            .chain(&self.env)
            .chain([&self.cwd, &self.user, &self.hostname]);
        if texts.chain(destinations).any(|text| text.contains('\0')) {
            return Err(Error::Invalid {
                what: "a NUL byte in the specification".to_owned(),
            });
        }
        Ok(())
    }
}

/// Refuses ids that are no plain file name.
pub fn check_id(id: &str) -> Result<(), Error> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    let starts = id.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts && id.len() <= 64 && id.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::Invalid {
        what: format!("container id {id:?} is not 1 to 64 of A-Z a-z 0-9 . _ -"),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spec() -> ContainerSpec {
        ContainerSpec {
            id: "c1".to_owned(),
            rootfs: PathBuf::from("/rootfs"),
            id_range: IdRange {
                first_host_id: 100_000,
                size: 65_536,
            },
            argv: vec!["/bin/app".to_owned()],
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            hostname: String::new(),
            limits: Limits {
                memory_bytes: 1 << 26,
                disk_bytes: 0,
                cpu_shares: 10,
                pids: 16,
                nofile: 1024,
            },
            files: Vec::new(),
            stop_signal: Signal::TERM,
        }
    }

    #[test]
    fn what_could_escape_or_never_run_is_refused() {
        assert!(spec().check().is_ok());
        let broken: [fn(&mut ContainerSpec); 9] = [
            |s| s.id = "../x".to_owned(),
            |s| s.id = "_shims".to_owned(),
            |s| s.id = "x".repeat(65),
            |s| s.id_range.first_host_id = 0,
            |s| s.argv.clear(),
            |s| s.cwd = "relative".to_owned(),
            |s| s.env.push("A=\0".to_owned()),
            |s| s.rootfs = PathBuf::from("x"),
            |s| {
                s.files.push(BindFile {
                    source: PathBuf::from("/a"),
                    destination: "/".to_owned(),
                })
            },
        ];
        for (at, spoil) in broken.iter().enumerate() {
            let mut spec = spec();
            spoil(&mut spec);
            assert!(spec.check().is_err(), "case {at}");
        }
    }
}
