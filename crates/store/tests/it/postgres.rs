//! A PostgreSQL server of our own, one for the test binary: made on first use, on a socket in a temporary directory,
//! gone when this process is, however it ends.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Holds the server until its standard input ends, which is when the test process does, even by SIGKILL.
const KEEPER: &str = r#"
"$@" >"$ROOM/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server
wait $server
rm -rf "$ROOM"
"#;

struct Server {
    room: PathBuf,
    bin: PathBuf,
    /// Never waited for: its standard input stays open as long as we live.
    _keeper: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A new empty database; gives its URL. It sorts text as English does, which the store must not notice.
pub fn database() -> String {
    let server = SERVER.get_or_init(start);
    let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    server.psql(
        "postgres",
        &format!(
            "CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
        ),
    );
    format!(
        "postgres://postgres@localhost/{name}?host={}",
        server.room.display()
    )
}

/// Breaks the connections on which stores listen for commits. Gives how many there were.
pub fn cut_listeners(url: &str) -> u64 {
    count_listeners(url, "pg_terminate_backend(pid)")
}

/// How many stores listen for commits.
pub fn listeners(url: &str) -> u64 {
    count_listeners(url, "pid")
}

fn count_listeners(url: &str, what: &str) -> u64 {
    let server = SERVER.get().expect("the URL came from it");
    let (_, rest) = url.rsplit_once("@localhost/").expect("a URL of ours");
    let (name, _) = rest.split_once('?').expect("a URL of ours");
    let sql = format!(
        "SELECT count({what}) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    );
    server.psql(name, &sql).trim().parse().expect("a count")
}

impl Server {
    fn psql(&self, database: &str, sql: &str) -> String {
        let done = Command::new(self.bin.join("psql"))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--username=postgres",
            ])
            .args([
                "--set=ON_ERROR_STOP=1",
                "--dbname",
                database,
                "--command",
                sql,
                "--host",
            ])
            .arg(&self.room)
            .output()
            .expect("psql starts");
        assert!(
            done.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).expect("psql prints UTF-8")
    }
}

fn start() -> Server {
    let bin = newest_bin();
    let room = tempfile::Builder::new()
        .prefix("slipway-pg.")
        .tempdir()
        .expect("a temporary directory");
    if let Some((user, group)) = account() {
        std::os::unix::fs::chown(room.path(), Some(user), Some(group)).expect("root may");
    }
    std::fs::set_permissions(room.path(), Permissions::from_mode(0o700)).expect("it is ours");
    let made = as_postgres(&bin.join("initdb"))
        .args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ])
        .arg(room.path().join("data"))
        .current_dir(room.path())
        .output()
        .expect("initdb starts");
    assert!(
        made.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let keeper = keep(&bin, room.path());
    // From here on the keeper removes it.
    let server = Server {
        room: room.keep(),
        bin,
        _keeper: keeper,
    };
    server.wait();
    server
}

fn keep(bin: &Path, room: &Path) -> Child {
    // A process group of its own: Ctrl-C must not end the keeper before it has cleaned up.
    let postgres = as_postgres(&bin.join("postgres"));
    Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(postgres.get_program())
        .args(postgres.get_args())
        .arg("-D")
        .arg(room.join("data"))
        .arg("-k")
        .arg(room)
        .args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ])
        .env("ROOM", room)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts")
}

impl Server {
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let ready = || {
            Command::new(self.bin.join("pg_isready"))
                .arg("--quiet")
                .arg("--host")
                .arg(&self.room)
                .status()
        };
        while !ready().expect("pg_isready starts").success() {
            let log = || std::fs::read_to_string(self.room.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Becomes the program, with no process between: the keeper's signal must reach the server itself.
fn as_postgres(program: &Path) -> Command {
    let Some((user, group)) = account() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={group}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

/// User and group to run as when we are root, which the server refuses to be.
fn account() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").expect("proc is mounted").uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("accounts can be read");
    let line = accounts
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("the package made the account");
    let id = |field: usize| line.split(':').nth(field)?.parse().ok();
    Some((id(2)?, id(3)?))
}

fn newest_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("postgres").exists())
        .max()
        .expect("a PostgreSQL server is installed; .ci/install-test-tools does it")
        .1
}
