//! A host in a box: a thread in a network namespace of its own, containers in user-namespaced ones, and
//! an "outside" behind a default route.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use network::{Attached, Network, Settings};

/// Longer than any answer takes here; a packet that was dropped costs a test this much.
///
/// Above a second, since a first packet lost to a busy machine is sent again after one.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Runs `test` as the root of a fresh host without any network but loopback.
pub fn on_a_fresh_host(test: impl FnOnce(&Lab) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::netns::unshare().expect("tests run as root");
            ip("link set lo up");
            // A new namespace takes this from the machine, where others may have switched it on.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            let directory = tempfile::tempdir().unwrap();
            test(&Lab { directory });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    pub fn state(&self, tag: &str) -> PathBuf {
        self.directory.path().join(tag)
    }

    pub fn settings(&self, tag: &str, cidr: &str) -> Settings {
        Settings {
            tag: tag.to_owned(),
            cidr: cidr.parse().unwrap(),
            state_dir: self.state(tag),
        }
    }

    pub fn network(&self, tag: &str, cidr: &str) -> Network {
        Network::open(self.settings(tag, cidr)).unwrap()
    }

    /// The outside world: public, private and metadata addresses, all behind the host's default route.
    pub fn outside(&self) -> Space {
        let outside = Space::plain();
        ip(&format!(
            "link add wan type veth peer name eth0 netns {}",
            outside.pid()
        ));
        ip("addr add 203.0.113.1/24 dev wan");
        ip("link set wan up");
        ip("route add default via 203.0.113.2");
        outside.run(|| {
            ip("link set lo up");
            ip("addr add 203.0.113.2/24 dev eth0");
            for address in ["192.168.77.2", "169.254.169.254", "100.64.1.1", "198.51.100.9"] {
                ip(&format!("addr add {address}/32 dev lo"));
            }
            ip("link set eth0 up");
        });
        wait_until("the way out has a carrier", || {
            ip("link show dev wan").contains("state UP")
        });
        outside
    }

    /// A container on `network`.
    pub fn container(&self, network: &Network, id: &str) -> (Space, Attached) {
        let space = Space::user_namespaced();
        let attached = network.attach(id, space.pid()).unwrap();
        (space, attached)
    }
}

/// A process that does nothing but hold a network namespace; it ends with this value or with the test.
pub struct Space {
    holder: Child,
    namespace: File,
}

impl Space {
    pub fn user_namespaced() -> Self {
        Self::start(&["--user", "--map-root-user", "--net"])
    }

    fn plain() -> Self {
        Self::start(&["--net"])
    }

    fn start(flags: &[&str]) -> Self {
        // `cat` waits on the pipe this value holds, so it cannot outlive the test.
        let mut command = Command::new("unshare");
        command
            .args(flags)
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let holder = command.spawn().unwrap();
        let (net, name) = (
            format!("/proc/{}/ns/net", holder.id()),
            format!("/proc/{}/comm", holder.id()),
        );
        let identity = |path: &str| std::fs::metadata(path).map(|meta| meta.ino()).ok();
        wait_until("the namespace exists", || {
            identity(&net) != identity("/proc/thread-self/ns/net")
                && std::fs::read_to_string(&name).is_ok_and(|name| name.trim() == "cat")
        });
        let namespace = File::open(&net).unwrap();
        Self { holder, namespace }
    }

    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let work = || {
                sys::netns::enter(self.namespace.as_fd()).unwrap();
                work()
            };
            scope
                .spawn(work)
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn listen(&self, address: &str) -> TcpListener {
        self.run(|| TcpListener::bind(address).unwrap())
    }

    pub fn connect(&self, to: impl Into<SocketAddr> + Send) -> io::Result<TcpStream> {
        self.run(|| connect(to))
    }

    pub fn udp(&self, address: &str) -> UdpSocket {
        self.run(|| UdpSocket::bind(address).unwrap())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Connects from the calling thread's namespace.
pub fn connect(to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to.into(), PATIENCE)
}

/// The next datagram's text and sender; `None` when none comes.
pub fn receive(socket: &UdpSocket) -> Option<(String, Ipv4Addr)> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    let SocketAddr::V4(from) = from else {
        panic!("IPv6 is not in use")
    };
    Some((String::from_utf8(buffer[..length].to_vec()).unwrap(), *from.ip()))
}

/// Runs the `ip` program in the calling thread's namespace and returns what it printed.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Names of all interfaces but loopback, in the calling thread's namespace.
pub fn interfaces() -> Vec<String> {
    let name = |line: &str| line.split([':', '@']).nth(1).map(|name| name.trim().to_owned());
    ip("-o link show")
        .lines()
        .filter_map(name)
        .filter(|name| name != "lo")
        .collect()
}

/// Files in the lease directory that are leases.
pub fn leases(state: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(state.join("leases")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "last")
        .collect()
}

/// Waits for a condition, at most some seconds.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}
