//! A client we did not write: skopeo pushes and pulls back, byte for byte.

use std::path::{Path, PathBuf};
use std::process::Output;

use base::Tasks;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::house::{digest, gzip, noise, open, serve};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An OCI layout written by hand: images per architecture and an index over them, tagged `v1`.
struct Layout(PathBuf);

impl Layout {
    fn write(dir: &Path, architectures: &[&str]) -> Self {
        let layout = Self(dir.to_owned());
        std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let images: Vec<_> = architectures
            .iter()
            .zip(0..)
            .map(|(arch, seed)| layout.image(arch, seed))
            .collect();
        let mut top = match <[Value; 1]>::try_from(images) {
            Ok([image]) => image,
            Err(images) => layout.blob(
                INDEX,
                json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}).to_string(),
            ),
        };
        top["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "manifests": [top]});
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        layout
    }

    fn image(&self, architecture: &str, seed: u64) -> Value {
        let layers = [noise(seed, 5 << 20), b"shared by all".to_vec()];
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer).to_string()).collect();
        let layers = layers.map(|layer| self.blob(LAYER, gzip(&layer)));
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(CONFIG, config.to_string());
        let media_type = crate::house::OCI_MANIFEST;
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        let mut descriptor = self.blob(media_type, manifest.to_string());
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    fn blob(&self, media_type: &str, content: impl AsRef<[u8]>) -> Value {
        let content = content.as_ref();
        let digest = digest(content);
        std::fs::write(self.0.join("blobs/sha256").join(digest.hex()), content).unwrap();
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": content.len()})
    }
}

fn blobs(layout: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().into(), std::fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

async fn skopeo(args: &[&str]) -> Output {
    let mut command = Command::new("skopeo");
    command
        .args(["--insecure-policy", "--command-timeout", "60s"])
        .args(args)
        .kill_on_drop(true);
    command.output().await.expect("skopeo is installed")
}

async fn copy(args: &[&str]) {
    let tls = [
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--preserve-digests",
    ];
    let output = skopeo(&[&["copy", "--quiet"], &tls[..], args].concat()).await;
    assert!(
        output.status.success(),
        "skopeo copy {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_comes_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let address = serve(&tasks, open(&dir.path().join("registry"))).await;
    for (repository, architectures) in [
        ("alice/one", &["amd64"][..]),
        ("alice/many", &["amd64", "arm64", "riscv64"]),
    ] {
        let name = repository.replace('/', "-");
        let pushed = Layout::write(&dir.path().join(&name), architectures);
        let back = dir.path().join(format!("{name}-back"));
        let (from, to) = (
            format!("oci:{}:v1", pushed.0.display()),
            format!("oci:{}:v1", back.display()),
        );
        let there = format!("docker://{address}/{repository}:v1");
        copy(&["--all", "--dest-creds", "alice:alice-secret", &from, &there]).await;
        copy(&["--all", "--src-creds", "alice:alice-secret", &there, &to]).await;
        assert!(blobs(&pushed.0) == blobs(&back), "{repository} came back changed");
    }
    // From repository to repository, which skopeo does by mounting.
    let from = format!("docker://{address}/alice/many:v1");
    let to = format!("docker://{address}/alice/copy:v2");
    copy(&[
        "--all",
        "--src-creds",
        "alice:alice-secret",
        "--dest-creds",
        "alice:alice-secret",
        &from,
        &to,
    ])
    .await;
    let tags = format!("docker://{address}/alice/copy");
    let output = skopeo(&[
        "list-tags",
        "--tls-verify=false",
        "--creds",
        "alice:alice-secret",
        &tags,
    ])
    .await;
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["Tags"], json!(["v2"]));
    tasks.shutdown(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_archive_is_pushed_and_pulled_as_docker_image() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let address = serve(&tasks, open(&dir.path().join("registry"))).await;
    let layout = Layout::write(&dir.path().join("layout"), &["amd64"]);
    let archive = format!("docker-archive:{}:a/b:v1", dir.path().join("image.tar").display());
    let from = format!("oci:{}:v1", layout.0.display());
    let convert = skopeo(&["copy", "--quiet", &from, &archive]).await;
    assert!(
        convert.status.success(),
        "{}",
        String::from_utf8_lossy(&convert.stderr)
    );
    let there = format!("docker://{address}/alice/docker:v1");
    let push = [
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
        "--dest-creds",
        "alice:alice-secret",
        &archive,
        &there,
    ];
    let output = skopeo(&push).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let inspect = [
        "inspect",
        "--raw",
        "--tls-verify=false",
        "--creds",
        "alice:alice-secret",
        &there,
    ];
    let manifest: Value = serde_json::from_slice(&skopeo(&inspect).await.stdout).unwrap();
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.docker.distribution.manifest.v2+json"
    );
    let back = dir.path().join("back");
    copy(&[
        "--src-creds",
        "alice:alice-secret",
        &there,
        &format!("dir:{}", back.display()),
    ])
    .await;
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        let wanted = layer["digest"].as_str().unwrap();
        let content = std::fs::read(back.join(wanted.trim_start_matches("sha256:"))).unwrap();
        assert_eq!(digest(&content).as_str(), wanted);
    }
    tasks.shutdown(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_neighbours_get_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let address = serve(&tasks, open(&dir.path().join("registry"))).await;
    let layout = Layout::write(&dir.path().join("layout"), &["amd64"]);
    let from = format!("oci:{}:v1", layout.0.display());
    let there = format!("docker://{address}/alice/one:v1");
    copy(&["--dest-creds", "alice:alice-secret", &from, &there]).await;
    for (args, said) in [
        (
            vec![
                "copy",
                "--dest-tls-verify=false",
                "--dest-no-creds",
                &from,
                &there,
            ],
            "authentication required",
        ),
        (
            vec![
                "copy",
                "--dest-tls-verify=false",
                "--dest-creds",
                "alice:wrong",
                &from,
                &there,
            ],
            "authentication required",
        ),
        (
            vec![
                "copy",
                "--dest-tls-verify=false",
                "--dest-creds",
                "bob:bob-secret",
                &from,
                &there,
            ],
            "denied",
        ),
        (
            vec![
                "inspect",
                "--tls-verify=false",
                "--creds",
                "bob:bob-secret",
                &there,
            ],
            "name unknown",
        ),
    ] {
        let output = skopeo(&args).await;
        let stderr = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!output.status.success(), "{args:?}");
        assert!(
            stderr.contains(said) || stderr.contains("unauthorized"),
            "{args:?}: {stderr}"
        );
    }
    tasks.shutdown(std::time::Duration::from_secs(5)).await;
}
