//! A real image of a usual size: Debian with Python, over 200 MB, as most images are made.

use serde_json::json;
use testkit::debian;
use testkit::image::{Image, Layer};

use crate::world::{World, demand, host};

const SERVER: &[u8] = br#"
import http.server, os, pwd, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"python {sys.version_info.major} as {pwd.getpwuid(os.getuid()).pw_name} in {os.getcwd()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Hello).serve_forever()
"#;

#[tokio::test]
async fn debian_with_python_serves() -> anyhow::Result<()> {
    let world = World::new().await?;
    let config = json!({
        "Entrypoint": ["python3", "-u"], "Cmd": ["server.py"], "WorkingDir": "/srv/app", "User": "nobody",
        "ExposedPorts": {"5000/tcp": {}}, "Env": ["PATH=/usr/bin:/bin", "GREETING=hello"],
    });
    let app = Layer::new()
        .dir("srv/app", 0o755)?
        .file("srv/app/server.py", 0o644, SERVER)?;
    let image = Image::new(config)
        .layer(Layer::new().tree(&debian::rootfs()?)?)?
        .layer(app)?;
    anyhow::ensure!(
        image.uncompressed_bytes() > 200_000_000,
        "only {} bytes",
        image.uncompressed_bytes()
    );
    let reference = world.put("debian-python", &image, None).await?;
    let cf = world.client().await?;
    cf.run(&[
        "push",
        "snake",
        "--docker-image",
        &reference,
        "-m",
        "128M",
        "-k",
        "1G",
    ])
    .await?;
    let (status, body) = world.get(&host("snake"), "/").await?;
    anyhow::ensure!(status == 200, "{status} {body}");
    demand(&body, "python 3 as nobody in /srv/app")?;
    // Too small a disk is known before any layer is fetched.
    let text = cf
        .fail(&[
            "push",
            "cramped",
            "--docker-image",
            &reference,
            "-m",
            "128M",
            "-k",
            "16M",
        ])
        .await?;
    demand(&text, "StagingError")?;
    world.end()
}
