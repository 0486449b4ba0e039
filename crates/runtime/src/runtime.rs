//! The daemon's handle: making containers and asking about them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::account;
use crate::cgroup::{Cgroups, Group, Stats};
use crate::error::{Error, file};
use crate::external::OciRuntime;
use crate::init::Failure;
use crate::log::LogReader;
use crate::protocol::{Announcement, Request};
use crate::record::{self, Exit, names};
use crate::rules::{self, Surroundings};
use crate::shim::SHIMS;
use crate::signal::Signal;
use crate::spec::{ContainerSpec, check_id};

/// Longer than a shim waits for its container's init, so that its own, better reason is heard.
const CREATED_WITHIN: Duration = Duration::from_secs(40);
/// How long a shim that has closed its socket may take to be gone.
const LEAVING_TRIES: u32 = 50;
const LEAVING_STEP: Duration = Duration::from_millis(2);
/// A shim announces itself in one line.
const LONGEST_ANNOUNCEMENT: u64 = 64 << 10;

/// Where containers are kept and how they are held.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One directory per container is made in it; best on a tmpfs that lives as long as the machine's boot.
    pub state_dir: PathBuf,
    /// Name of the group all containers are in, in each hierarchy: one plain file name, unique to this daemon.
    pub cgroup_root: String,
    /// Runs [`crate::shim_main`] with what is appended: `["/proc/self/exe", "shim"]` for a binary that is its own.
    pub shim_command: Vec<OsString>,
}

/// Containers of one state directory. Cloning shares the handle.
///
/// Calls about one container are meant to come one after another; about different ones at the same time.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
    oci: OciRuntime,
}

#[derive(Debug)]
pub(crate) struct Inner {
    settings: Settings,
    pub(crate) cgroups: Cgroups,
    /// Containers whose shim may not answer yet because it is being started.
    making: Mutex<HashSet<String>>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Namespaces exist; nothing of the image has run.
    Created {
        /// Host pid of the container's init: its `/proc/<pid>/ns/net` is the place for links.
        pid: i32,
    },
    /// The program runs.
    Running {
        /// Host pid of the container's init.
        pid: i32,
        /// When the program was started.
        started_at: SystemTime,
    },
    /// Everything in it is dead.
    Exited(Exit),
    /// There is no such container.
    Gone,
}

impl Runtime {
    /// Opens the state directory, made when missing. Containers in it are left as they are; see [`Runtime::list`].
    ///
    /// # Errors
    /// When the directory or the control groups cannot be used, or a setting makes no sense.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        check_id(&settings.cgroup_root)?;
        if settings.shim_command.is_empty() {
            return Err(Error::Invalid {
                what: "no shim command".to_owned(),
            });
        }
        let dir = &settings.state_dir;
        file(
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir),
            "make",
            dir,
        )?;
        let cgroups = Cgroups::detect()?;
        let settings = Settings {
            state_dir: file(fs::canonicalize(dir), "find", dir)?,
            ..settings
        };
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                cgroups,
                making: Mutex::new(HashSet::new()),
            }),
            oci: OciRuntime::BuiltIn,
        })
    }

    /// A handle on the same containers that makes new ones with `oci`. Existing ones stay with the runtime that made
    /// them, whichever handle is used.
    ///
    /// # Errors
    /// When the program cannot be used.
    pub fn using(&self, oci: OciRuntime) -> Result<Self, Error> {
        if let OciRuntime::External(program) = &oci {
            let invalid = |why: &str| Error::Invalid {
                what: format!("OCI runtime {} {why}", program.display()),
            };
            if !program.is_absolute() || program.to_str().is_none() {
                return Err(invalid("is not an absolute UTF-8 path"));
            }
            let found =
                fs::metadata(program).map_err(|_| invalid("does not exist; install it or name another"))?;
            if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
                return Err(invalid("is not an executable file"));
            }
        }
        Ok(Self {
            inner: Arc::clone(&self.inner),
            oci,
        })
    }

    /// Makes a container up to the point where its program can be started; returns the host pid of its init.
    ///
    /// Dropping the future leaves a half-made container; [`Runtime::delete`] removes it.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`], or [`Error::Setup`] with the reason; then nothing of it is left. With
    /// another OCI runtime also [`Error::Start`], for a program the image does not have.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<i32, Error> {
        spec.check()?;
        let id = spec.id.as_str();
        let _making = self.inner.begin(id)?;
        let dir = self.inner.dir(id);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { id: id.to_owned() });
            }
            made => file(made, "make", &dir)?,
        }
        let made = self.make(spec, &dir).await;
        if let Err(error) = &made {
            tracing::debug!(id, %error, "removing what was made of a container");
            if let Err(left) = self.inner.bury_remains(id).await {
                tracing::warn!(id, error = %base::Report(&left), "what was made of a container could not be removed");
            }
        }
        made
    }

    async fn make(&self, spec: &ContainerSpec, dir: &Path) -> Result<i32, Error> {
        let setup = |reason: String| Error::Setup {
            id: spec.id.clone(),
            reason,
        };
        let mut bundle = self
            .bundle(spec)
            .map_err(|failure| setup(base::chain(&failure)))?;
        bundle.linux.cgroups_path = self.inner.cgroups.path(&bundle.linux.cgroups_path);
        let config = dir.join(names::CONFIG);
        let json = file(
            serde_json::to_vec(&bundle).map_err(io::Error::from),
            "write",
            &config,
        )?;
        file(record::write_whole(&config, &json), "write", &config)?;
        let mut shim = self.spawn_shim(dir)?;
        let heard = tokio::time::timeout(CREATED_WITHIN, hear(&mut shim)).await;
        let announcement = match heard {
            Ok(Ok(announcement)) => announcement,
            Ok(Err(error)) => {
                let said = fs::read_to_string(dir.join(names::COMPLAINTS)).unwrap_or_default();
                kill_shim(&mut shim).await;
                return Err(setup(format!("its shim ended without a word ({error}) {said}")));
            }
            Err(_) => {
                kill_shim(&mut shim).await;
                return Err(setup(format!(
                    "its shim was not ready within {}s",
                    CREATED_WITHIN.as_secs()
                )));
            }
        };
        match (announcement.pid, announcement.error) {
            // The child's handle is dropped: tokio reaps it whenever it ends, or init does after us.
            (Some(pid), None) => Ok(pid),
            (_, reason) => {
                // It has said its last word and removed its cgroups; its end is awaited so that none is left over.
                kill_shim(&mut shim).await;
                let reason = reason.unwrap_or_else(|| "its shim gave no reason".to_owned());
                Err(if announcement.start_failed {
                    Error::Start { reason }
                } else {
                    setup(reason)
                })
            }
        }
    }

    /// The container's bundle; nothing in it is left to look up later.
    fn bundle(&self, spec: &ContainerSpec) -> Result<crate::oci::Spec, Failure> {
        let root = account::open_root(&spec.rootfs)?;
        let account = account::resolve(root.as_fd(), &spec.user, &rules::mappings(spec))?;
        let mut bundle = rules::bundle(
            spec,
            &Surroundings {
                cgroup_root: &self.inner.settings.cgroup_root,
                account: &account,
                own_pids: u64::from(self.oci == OciRuntime::BuiltIn),
            },
        );
        if let OciRuntime::External(program) = &self.oci {
            let program = program.to_string_lossy().into_owned();
            bundle.annotations.insert(rules::RUNTIME.to_owned(), program);
        }
        Ok(bundle)
    }

    fn spawn_shim(&self, dir: &Path) -> Result<Child, Error> {
        let complaints = dir.join(names::COMPLAINTS);
        let options = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&complaints);
        let stderr = file(options, "open", &complaints)?;
        // The lock is the shim's from its first moment to its last, since it inherits the open file.
        let locked = rustix::fs::flock(&stderr, FlockOperation::NonBlockingLockExclusive);
        file(locked.map_err(io::Error::from), "lock", &complaints)?;
        let (program, args) = self.inner.shim_command()?;
        let mut command = Command::new(program);
        command.args(args).arg(dir).env_clear().current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        file(command.spawn(), "run the shim", program)
    }

    /// Runs the program; returns when its own code runs.
    ///
    /// # Errors
    /// [`Error::Start`] with a reason for the app's developer; the container then ends as
    /// [`crate::ExitCause::NotStarted`].
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        self.inner.request(id, &Request::Start).await.map(drop)
    }

    /// Sends a signal to the program (not to its children, nor to the container's init).
    ///
    /// # Errors
    /// [`Error::State`] when the program does not run.
    pub async fn signal(&self, id: &str, signal: Signal) -> Result<(), Error> {
        self.inner
            .request(
                id,
                &Request::Signal {
                    number: signal.number(),
                },
            )
            .await
            .map(drop)
    }

    /// Asks the program to end, with the signal the container was created with.
    ///
    /// # Errors
    /// As [`Runtime::signal`].
    pub async fn stop(&self, id: &str) -> Result<(), Error> {
        let bundle = self.inner.bundle(id)?;
        let name = bundle.annotations.get(rules::STOP_SIGNAL);
        let signal = name.and_then(|name| name.parse().ok()).unwrap_or(Signal::TERM);
        self.signal(id, signal).await
    }

    /// Kills everything in the container. Its end is seen by [`Runtime::wait`].
    ///
    /// # Errors
    /// When the shim cannot be reached; a container that has ended is fine.
    pub async fn kill(&self, id: &str) -> Result<(), Error> {
        match self.inner.request(id, &Request::Kill).await {
            Err(Error::State { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Where the container is in its life.
    ///
    /// A container whose shim was killed is dead with it; this records that, and makes sure of it.
    ///
    /// # Errors
    /// When the shim does not answer, or while [`Runtime::create`] runs.
    pub async fn state(&self, id: &str) -> Result<State, Error> {
        check_id(id)?;
        match self.inner.ask(id, &Request::State).await? {
            Some(reply) => Ok(match reply.started_at {
                None => State::Created { pid: reply.pid },
                Some(at) => State::Running {
                    pid: reply.pid,
                    started_at: record::time(at),
                },
            }),
            None if !self.inner.dir(id).exists() => Ok(State::Gone),
            None => Ok(State::Exited(self.inner.exit(id).await?)),
        }
    }

    /// All containers of the state directory, in no order, whatever their state.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let dir = &self.inner.settings.state_dir;
        let mut ids = Vec::new();
        for entry in file(fs::read_dir(dir), "list", dir)? {
            let name = file(entry, "list", dir)?.file_name();
            ids.extend(name.into_string().ok().filter(|name| check_id(name).is_ok()));
        }
        Ok(ids)
    }

    /// What the container uses now.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn stats(&self, id: &str) -> Result<Stats, Error> {
        let path = self.inner.cgroup_path(id)?;
        Ok(self.inner.cgroups.group(&path).stats())
    }

    /// Follows the container's output from line number `from` (0: the oldest there is).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn logs(&self, id: &str, from: u64) -> Result<LogReader, Error> {
        check_id(id)?;
        let dir = self.inner.dir(id);
        if !dir.exists() {
            return Err(Error::NotFound { id: id.to_owned() });
        }
        let nudges = self.inner.subscribe(id).await?;
        Ok(LogReader::new(dir, from, nudges))
    }

    /// Removes the daemon's own groups if no container is left. Containers go on running. May block for 0.1 s.
    pub fn close(&self) {
        self.inner.remove_parents();
    }
}

impl Inner {
    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.settings.state_dir.join(id)
    }

    /// Program and arguments of a shim.
    pub(crate) fn shim_command(&self) -> Result<(&OsString, &[OsString]), Error> {
        let command = self.settings.shim_command.split_first();
        command.ok_or_else(|| Error::Invalid {
            what: "no shim command".to_owned(),
        })
    }

    pub(crate) fn is_being_made(&self, id: &str) -> bool {
        self.making
            .lock()
            .expect("no holder of this lock panics")
            .contains(id)
    }

    fn begin(&self, id: &str) -> Result<Making<'_>, Error> {
        let new = self
            .making
            .lock()
            .expect("no holder of this lock panics")
            .insert(id.to_owned());
        if !new {
            return Err(Error::Exists { id: id.to_owned() });
        }
        Ok(Making {
            inner: self,
            id: id.to_owned(),
        })
    }

    /// The container's bundle.
    pub(crate) fn bundle(&self, id: &str) -> Result<crate::oci::Spec, Error> {
        check_id(id)?;
        let path = self.dir(id).join(names::CONFIG);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound { id: id.to_owned() })
            }
            read => {
                let bytes = file(read, "read", &path)?;
                file(
                    serde_json::from_slice(&bytes).map_err(io::Error::from),
                    "parse",
                    &path,
                )
            }
        }
    }

    /// Where its groups are. The bundle knows it even when this daemon was started elsewhere than the one before.
    fn cgroup_path(&self, id: &str) -> Result<String, Error> {
        Ok(self.bundle(id)?.linux.cgroups_path)
    }

    /// The container's group, also when its bundle is missing or damaged.
    pub(crate) fn group(&self, id: &str) -> Group<'_> {
        let fallback = || self.cgroups.path(&format!("{}/{id}", self.settings.cgroup_root));
        self.cgroups
            .group(&self.cgroup_path(id).unwrap_or_else(|_| fallback()))
    }

    /// Removes the daemon's own groups when nothing is in them. Blocks for a moment when the last container has just
    /// gone: its shim may not have quite left its group yet.
    pub(crate) fn remove_parents(&self) {
        let root = &self.settings.cgroup_root;
        let shims = self.cgroups.path(&format!("{root}/{SHIMS}"));
        let (shims, root) = (
            self.cgroups.group(&shims),
            self.cgroups.group(&self.cgroups.path(root)),
        );
        let last = fs::read_dir(&self.settings.state_dir).is_ok_and(|mut entries| entries.next().is_none());
        let tries = if last { LEAVING_TRIES } else { 1 };
        for _ in 0..tries {
            if shims.remove_if_empty() && root.remove_if_empty() {
                return;
            }
            std::thread::sleep(LEAVING_STEP);
        }
    }
}

/// Removes the mark when making ends, however it ends.
struct Making<'a> {
    inner: &'a Inner,
    id: String,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.inner
            .making
            .lock()
            .expect("no holder of this lock panics")
            .remove(&self.id);
    }
}

/// Reads the shim's one line.
async fn hear(shim: &mut Child) -> io::Result<Announcement> {
    let mut line = Vec::new();
    let stdout = shim.stdout.as_mut().ok_or_else(|| io::Error::other("no pipe"))?;
    stdout.take(LONGEST_ANNOUNCEMENT).read_to_end(&mut line).await?;
    Ok(serde_json::from_slice(&line)?)
}

/// Ends a shim whose container was not made; its pid 1 dies with it.
async fn kill_shim(shim: &mut Child) {
    if let Err(error) = shim.kill().await {
        tracing::warn!(%error, "cannot kill a shim");
    }
}
