//! Row `router`: CPU time a proxied request costs, ours beside nginx, to the same app.
//!
//! ```text
//! wrk (CPU 0) ──▶ router of the platform, or nginx (CPU 1) ──▶ app: nginx with 1 KB in a container (CPU 0)
//! ```
//! Both keep connections alive on both sides, add the forwarding headers and write an access log: nginx to a file in
//! memory, ours to the platform's log store, where the app's developer reads it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use testkit::cf::Cf;
use testkit::image::{Destination, Image, Layer};
use testkit::leaks;
use testkit::platform::{PASSWORD, Platform};

use super::Bench;
use super::http::first_200;
use super::meter::{Place, Who, demand_two_cpus};
use super::nginx::{self, Nginx};
use super::pairs::{Series, Side};
use super::process;

const PAIRS: usize = 7;
const SECONDS: u64 = 3;
const APP: &str = "kilobyte";
/// Where the load and the app run when pinned.
const LOAD: &str = "0";
/// Where what is measured runs when pinned.
const TESTED: &str = "1";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Pinned,
    Anywhere,
}

const CASES: [(&str, u32, Where); 3] = [
    ("64 connections", 64, Where::Pinned),
    ("8 connections", 8, Where::Pinned),
    ("64 connections, unpinned", 64, Where::Anywhere),
];

/// Measures.
pub async fn run(bench: &Bench, results: &mut Vec<Series>) -> anyhow::Result<()> {
    demand_two_cpus()?;
    let platform = Platform::start(&[]).await?;
    let pid = platform.pid().context("it runs")?;
    bench.meter.put(pid, Place::Ours)?;
    push(&platform).await?;
    let port = platform.router.rsplit(':').next().unwrap_or_default().to_owned();
    let host = format!("{APP}.apps.localhost:{port}");
    first_200(&platform.router, (&host, "/"), Instant::now()).await?;
    let app = app_process(pid)?;
    let peer = proxy(bench, &address_of(app)?).await?;
    first_200(&peer.address, (&host, "/"), Instant::now()).await?;
    let tag = leaks::tag(&platform.data_dir());
    let (who, beside) = (Who::Ours(tag.clone()), Who::Peer(tag));
    for (case, connections, place) in CASES {
        let everywhere = format!("0-{}", process::cpus() - 1);
        let (load, tested) = match place {
            Where::Pinned => (LOAD, TESTED),
            Where::Anywhere => (everywhere.as_str(), everywhere.as_str()),
        };
        process::pin(pid, tested)?;
        process::pin(app, load)?;
        process::pin(peer.pid(), tested)?;
        let mut series = Series::new("router", case, "nginx");
        let wrk = |address: &str| wrk(load, (address, &host), connections);
        // Connections and caches are warm before the first figure.
        wrk(&platform.router)?;
        wrk(&peer.address)?;
        while series.wants(bench.pairs(PAIRS)) {
            let ours = Load::measure(bench, (&who, Place::Ours, pid), || wrk(&platform.router))?;
            let others = Load::measure(bench, (&beside, Place::Peer, peer.pid()), || wrk(&peer.address))?;
            series.add(ours, others);
        }
        results.push(series);
    }
    Ok(())
}

struct Load;

impl Load {
    fn measure(
        bench: &Bench,
        (who, place, pid): (&Who, Place, u32),
        wrk: impl Fn() -> anyhow::Result<Wrk>,
    ) -> anyhow::Result<Side> {
        let (reading, used) = (bench.meter.now(who), bench.meter.used(place));
        let router = process::threads_cpu(pid, "router");
        let load = wrk()?;
        let spent = bench.meter.since(who, &reading);
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / load.requests;
        let used = bench.meter.used(place).saturating_sub(used);
        let side = Side::new()
            .with("cpu_us_per_request", per_request(used))
            .with("requests_per_s", load.per_second)
            .with("p99_ms", load.p99_ms);
        let router = process::threads_cpu(pid, "router").saturating_sub(router);
        // The share of the threads that carry requests; the rest keeps the access log.
        let side = if place == Place::Ours {
            side.with("router_threads_us", per_request(router))
        } else {
            side
        };
        Ok(spent.judge(side))
    }
}

/// What wrk saw.
struct Wrk {
    requests: f64,
    per_second: f64,
    p99_ms: f64,
}

fn wrk(cpus: &str, (address, host): (&str, &str), connections: u32) -> anyhow::Result<Wrk> {
    let output = Command::new("taskset")
        .args(["-c", cpus, "wrk", "--threads", "1", "--latency"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{SECONDS}s")])
        .args(["--header", &format!("Host: {host}")])
        .arg(format!("http://{address}/"))
        .output()
        .context("cannot run taskset and wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!(
            "wrk was not answered well: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let before = |word: &[&str]| {
        words
            .windows(word.len())
            .position(|w| w == word)
            .and_then(|at| words.get(at.checked_sub(1)?))
    };
    let after = |word: &str| {
        words
            .iter()
            .position(|w| *w == word)
            .and_then(|at| words.get(at + 1))
    };
    let number = |word: Option<&&str>| word.and_then(|word| word.parse::<f64>().ok());
    Ok(Wrk {
        requests: number(before(&["requests", "in"])).context("wrk counted no requests")?,
        per_second: number(after("Requests/sec:")).context("wrk tells no rate")?,
        p99_ms: after("99%")
            .and_then(|word| latency(word))
            .context("wrk tells no latency")?,
    })
}

/// Milliseconds of `1.23ms`, `456.00us`, `1.20s`.
fn latency(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let scale = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

async fn push(platform: &Platform) -> anyhow::Result<()> {
    let cf = Cf::built_in(platform.scratch())?;
    cf.at_home(&platform.api, "bench", "dev").await?;
    cf.run(&["enable-feature-flag", "diego_docker"]).await?;
    let to = Destination {
        registry: &platform.registry,
        repository: "bench/dev/kilobyte",
        tag: "1",
        login: Some(("admin", PASSWORD)),
    };
    image()?.push(&to).await?;
    let image = format!("{}/bench/dev/kilobyte:1", platform.registry);
    cf.run(&["push", APP, "--docker-image", &image, "-m", "64M"])
        .await?;
    Ok(())
}

/// This machine's nginx with its libraries, and a page of 1 KB.
fn image() -> anyhow::Result<Image> {
    let config = "daemon off; master_process off; user root root; pid /tmp/pid; error_log stderr;\n\
        events { worker_connections 1024; }\n\
        http { access_log off; keepalive_requests 1000000000; client_body_temp_path /tmp/1; proxy_temp_path /tmp/2;\n\
        fastcgi_temp_path /tmp/3; uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;\n\
        server { listen 8080; root /srv; } }\n";
    let mut layer = Layer::new().dir("tmp", 0o1777)?;
    for dir in [
        "etc",
        "srv",
        "lib",
        "lib64",
        "lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
        "usr",
        "usr/sbin",
    ] {
        layer = layer.dir(dir, 0o755)?;
    }
    for library in libraries(Path::new(nginx::PROGRAM))? {
        layer = layer.file(library.trim_start_matches('/'), 0o755, &std::fs::read(&library)?)?;
    }
    let layer = layer
        .file("usr/sbin/nginx", 0o755, &std::fs::read(nginx::PROGRAM)?)?
        .file("etc/nginx.conf", 0o644, config.as_bytes())?
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?
        .file("etc/group", 0o644, b"root:x:0:\n")?
        .file("srv/index.html", 0o644, &[b'x'; 1024])?;
    Image::new(serde_json::json!({
        "Cmd": [nginx::PROGRAM, "-e", "stderr", "-p", "/tmp", "-c", "/etc/nginx.conf"],
        "ExposedPorts": {"8080/tcp": {}},
    }))
    .layer(layer)
}

/// Files a program is linked with, by ldd(1).
fn libraries(program: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd")?;
    ensure!(output.status.success(), "ldd cannot read {}", program.display());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(str::to_owned).collect())
}

/// The app's process on the host.
fn app_process(platform: u32) -> anyhow::Result<u32> {
    let all = process::tree(platform);
    let app = all
        .iter()
        .find(|process| process.command.starts_with("nginx") || process.command.starts_with(nginx::PROGRAM));
    Ok(app.context("the app's process is not below the platform's")?.pid)
}

/// `ADDRESS:8080` of the container a process is in.
fn address_of(pid: u32) -> anyhow::Result<String> {
    let output = Command::new("nsenter")
        .args([
            "--net",
            "--target",
            &pid.to_string(),
            "ip",
            "-4",
            "-o",
            "address",
            "show",
            "scope",
            "global",
        ])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let address = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    let address = address
        .and_then(|word| word.split('/').next())
        .context("the container has no address")?;
    Ok(format!("{address}:8080"))
}

async fn proxy(bench: &Bench, app: &str) -> anyhow::Result<Nginx> {
    let http = format!(
        "access_log access.log;\n  upstream app {{ server {app}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen @LISTEN@; location / {{\n\
         proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;\n\
         }} }}"
    );
    Nginx::start(&bench.meter, &bench.dir.path().join("proxy"), (1, &http)).await
}

#[cfg(test)]
mod tests {
    #[test]
    fn latencies_have_units() {
        for (text, expected) in [
            ("1.50ms", Some(1.5)),
            ("250.00us", Some(0.25)),
            ("2.00s", Some(2000.0)),
            ("x", None),
        ] {
            assert_eq!(super::latency(text), expected, "{text}");
        }
    }
}
