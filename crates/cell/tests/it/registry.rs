//! Debian's `docker-registry` as a child process on a free port, and busybox images in it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use model::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wire::v1::{Image, Layer};

const BUSYBOX: &str = "/bin/busybox";

/// A running registry; ends when dropped.
pub struct Registry {
    child: Child,
    port: u16,
    _home: TempDir,
}

impl Registry {
    pub fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory for the registry");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http:\n  addr: 127.0.0.1:0\n  secret: test\n",
            home.path().join("data").display()
        );
        std::fs::write(home.path().join("config.yml"), config).expect("config is written");
        let mut child = Command::new("/usr/bin/docker-registry")
            .arg("serve")
            .arg(home.path().join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let log = child.stderr.take().expect("stderr is piped");
        let (sender, ports) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            // Reads on to the end, so that the registry never blocks on its log.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some(port) = listening_port(&line) {
                    let _ = sender.try_send(port);
                }
            }
        });
        let port = ports.recv_timeout(Duration::from_secs(20));
        let registry = Self {
            child,
            port: port.as_ref().copied().unwrap_or_default(),
            _home: home,
        };
        port.expect("the registry listens");
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes the layers under `name`; what a scheduler would say of the image.
    pub async fn push(&self, name: &str, tars: &[Vec<u8>]) -> Image {
        let mut layers = Vec::new();
        for tar in tars {
            let packed = gzip(tar);
            self.blob(name, &packed).await;
            layers.push(Layer {
                digest: digest(&packed).to_string(),
                diff_id: digest(tar).to_string(),
                size: packed.len() as u64,
                compression: "gzip".to_owned(),
            });
        }
        Image {
            reference: format!("{}/{name}:latest", self.host()),
            layers,
            ..Image::default()
        }
    }

    async fn blob(&self, name: &str, bytes: &[u8]) {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let start = format!("http://{}/v2/{name}/blobs/uploads/", self.host());
        let answer = http.post(&start).send().await.expect("the registry answers");
        let location = answer.headers().get("location").and_then(|l| l.to_str().ok());
        let mut url = reqwest::Url::parse(&start)
            .and_then(|start| start.join(location.expect("an upload location")))
            .expect("a URL");
        url.query_pairs_mut()
            .append_pair("digest", digest(bytes).as_str());
        let answer = http
            .put(url)
            .body(bytes.to_vec())
            .send()
            .await
            .expect("the registry answers");
        assert_eq!(answer.status(), 201);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening_port(line: &str) -> Option<u16> {
    let address = line.split_once("listening on 127.0.0.1:")?.1;
    let digits: String = address.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes).into())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A layer with busybox, its usual names, and a web page.
pub fn busybox() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (dir, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("www", 0o755),
        ("home/app", 0o755),
    ] {
        entry(&mut tar, tar::EntryType::Directory, dir, mode, b"");
    }
    let busybox = std::fs::read(BUSYBOX).expect("busybox-static is installed");
    entry(&mut tar, tar::EntryType::Regular, "bin/busybox", 0o755, &busybox);
    let passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
    entry(&mut tar, tar::EntryType::Regular, "etc/passwd", 0o644, passwd);
    entry(
        &mut tar,
        tar::EntryType::Regular,
        "www/index.html",
        0o644,
        b"hello from busybox\n",
    );
    for name in [
        "sh", "env", "httpd", "nc", "sleep", "cat", "echo", "hostname", "dd", "head", "seq",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o777);
        let path = format!("bin/{name}");
        tar.append_link(&mut header, path, "busybox")
            .expect("memory takes it");
    }
    tar.into_inner().expect("memory takes it")
}

/// A layer with one file of zeros.
pub fn zeros(name: &str, bytes: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, tar::EntryType::Regular, name, 0o644, &vec![0; bytes]);
    tar.into_inner().expect("memory takes it")
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)
        .expect("memory takes it");
}
