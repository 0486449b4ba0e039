//! The flags of `push`: which there are, which go together, what they mean.

use serde_json::json;

use crate::commands::deployment::{self, Plan};
use crate::commands::instance::Until;
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Kind};
use crate::manifest::{Overrides, Routing, Scale};
use crate::units;

/// The grammar.
pub const FLAGS: &[Flag] = &[
    Flag::text(
        "docker-image",
        "o",
        "Docker image to use (e.g. user/docker-image-name)",
    ),
    Flag::text(
        "docker-username",
        "",
        "Repository username; used with password from environment variable CF_DOCKER_PASSWORD",
    ),
    Flag::text("manifest", "f", "Path to manifest"),
    Flag::switch("no-manifest", "", "Ignore manifest file"),
    Flag::many(
        "var",
        "",
        "Variable key value pair for variable substitution, (e.g., name=app1)",
    ),
    Flag::many(
        "vars-file",
        "",
        "Path to a variable substitution file for manifest",
    ),
    Flag::value("instances", "i", Kind::Count, "Number of instances"),
    Flag::text("memory", "m", "Memory limit (e.g. 256M, 1024M, 1G)"),
    Flag::text("disk", "k", "Disk limit (e.g. 256M, 1024M, 1G)"),
    Flag::text(
        "log-rate-limit",
        "l",
        "Log rate limit per second, in bytes (e.g. 128B, 4K, 1M), -1 for unlimited",
    ),
    Flag::text(
        "start-command",
        "c",
        "Startup command, set to null to reset to default start command",
    ),
    Flag::value(
        "health-check-type",
        "u",
        Kind::HealthCheck,
        "'port' (default), 'process' or 'http' (with --endpoint)",
    ),
    Flag::text("endpoint", "", "Valid path on the app for an HTTP health check"),
    Flag::value(
        "app-start-timeout",
        "t",
        Kind::Positive,
        "Seconds until the first healthy response from the app",
    ),
    Flag::switch("no-route", "", "Do not map a route to this app"),
    Flag::switch("random-route", "", "Create a random route for this app"),
    Flag::switch("no-start", "", "Do not stage and start the app after pushing"),
    Flag::switch(
        "no-wait",
        "",
        "Exit when the first instance of the web process is healthy",
    ),
    Flag::switch(
        "task",
        "",
        "Push an app that is used only to execute tasks: staged, not started, no route",
    ),
    Flag::switch(
        "redact-env",
        "",
        "Do not print values of env variables (they never are)",
    ),
    Flag::text("lifecycle", "", "App lifecycle; only docker"),
    Flag::text("path", "p", "Refused: source code is not built here"),
    Flag::text("buildpack", "b", "Refused: source code is not built here"),
    Flag::text("stack", "s", "Refused: source code is not built here"),
    Flag::text("droplet", "", "Refused: source code is not built here"),
    deployment::STRATEGY,
    deployment::MAX_IN_FLIGHT,
];

/// Flags that exclude each other.
const EXCLUSIVE: [(&str, &str, &str); 6] = [
    ("no-manifest", "manifest", "--no-manifest, --manifest, -f"),
    ("no-manifest", "vars-file", "--no-manifest, --vars-file"),
    ("no-manifest", "var", "--no-manifest, --vars"),
    ("no-start", "no-wait", "--no-start, --no-wait"),
    ("no-route", "random-route", "--no-route, --random-route"),
    ("no-start", "task", "--no-start, --task"),
];

/// How far a push goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A package, nothing more.
    Package,
    /// A droplet for tasks.
    Droplet,
    /// A running app.
    Start(Until),
}

/// The flags of one push.
#[derive(Debug)]
pub struct Flags {
    /// What goes into the manifest.
    pub overrides: Overrides,
    /// How far to go.
    pub extent: Extent,
    /// How to replace what runs; none means stop and start.
    pub plan: Option<Plan>,
}

impl Flags {
    /// Reads and checks the flags.
    ///
    /// # Errors
    /// `Incorrect Usage: …`
    pub fn read(args: &Args) -> Result<Self> {
        check(args)?;
        let text = |flag: &str| args.value(flag).map(str::to_owned);
        let route = match (args.has("no-route") || args.has("task"), args.has("random-route")) {
            (true, _) => Routing::No,
            (_, true) => Routing::Random,
            _ => Routing::Default,
        };
        let scale = Scale {
            instances: args.count("instances"),
            memory: text("memory"),
            disk: text("disk"),
            log_rate: text("log-rate-limit"),
        };
        let mut plan = Plan::of(args)?;
        if let Some(plan) = &mut plan {
            carry(plan, &scale)?;
        }
        let overrides = Overrides {
            name: args.at(0).to_owned(),
            scale,
            command: text("start-command"),
            health_check: text("health-check-type"),
            endpoint: text("endpoint"),
            timeout: args.count("app-start-timeout"),
            image: text("docker-image"),
            username: text("docker-username"),
            route,
        };
        let extent = match (args.has("no-start"), args.has("task"), args.has("no-wait")) {
            (true, ..) => Extent::Package,
            (_, true, _) => Extent::Droplet,
            (.., true) => Extent::Start(Until::Web),
            _ => Extent::Start(Until::Every),
        };
        Ok(Self {
            overrides,
            extent,
            plan,
        })
    }
}

/// Hands the sizes to the deployment.
fn carry(plan: &mut Plan, scale: &Scale) -> Result<()> {
    if let Some(instances) = scale.instances {
        plan.set("web_instances", json!(instances));
    }
    for (size, option) in [(&scale.memory, "memory_in_mb"), (&scale.disk, "disk_in_mb")] {
        if let Some(size) = size {
            plan.set(option, json!(units::megabytes(size).map_err(Error::Usage)?));
        }
    }
    if let Some(rate) = &scale.log_rate {
        plan.set(
            "log_rate_limit_in_bytes_per_second",
            json!(units::log_rate(rate).map_err(Error::Usage)?),
        );
    }
    Ok(())
}

/// Flags of `cf push` that are of use for source code only.
const SOURCE: [&str; 4] = ["path", "buildpack", "stack", "droplet"];

fn check(args: &Args) -> Result<()> {
    let usage = |text: String| Err(Error::Usage(text));
    if let Some(flag) = SOURCE.into_iter().find(|flag| args.has(flag)) {
        return usage(format!(
            "--{flag}: source code is not built here; build an image of it and push that with --docker-image (-o)"
        ));
    }
    let exclusive = |flags: &str| {
        usage(format!(
            "The following arguments cannot be used together: {flags}"
        ))
    };
    for (one, other, shown) in EXCLUSIVE {
        if args.has(one) && args.has(other) {
            return exclusive(shown);
        }
    }
    let strategy = args.text("strategy");
    let deploys = !matches!(strategy, "" | "null");
    for still in ["no-start", "task"] {
        if args.has(still) && deploys {
            return exclusive(&format!("--{still}, --strategy={strategy}"));
        }
    }
    if args.has("docker-username") && !args.has("docker-image") {
        return usage("'--docker-image, -o' and '--docker-username' must be used together.".into());
    }
    if args.text("health-check-type") == "http" && !args.has("endpoint") {
        return usage("'--endpoint' and '--health-check-type=http, -u=http' must be used together.".into());
    }
    match args.text("lifecycle") {
        "" | "docker" => Ok(()),
        other => usage(format!("--lifecycle {other}: only docker images are pushed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{Parsed, Positional, parse};

    fn read(line: &str) -> Result<Flags> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&[Positional::Optional], FLAGS, &words) {
            Ok(Parsed::Run(args)) => Flags::read(&args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_say_how_far_to_go() {
        for (line, extent) in [
            ("a -o i", Extent::Start(Until::Every)),
            ("a -o i --no-wait", Extent::Start(Until::Web)),
            ("a -o i --no-start", Extent::Package),
            ("a -o i --task", Extent::Droplet),
        ] {
            assert_eq!(read(line).unwrap().extent, extent, "{line}");
        }
        assert_eq!(read("a --task").unwrap().overrides.route, Routing::No);
        assert!(read("a --strategy rolling -m 64M").unwrap().plan.is_some());
        assert!(read("a --strategy null").unwrap().plan.is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, part) in [
            ("a --no-manifest -f m", "--no-manifest, --manifest, -f"),
            ("a --no-start --no-wait", "--no-start, --no-wait"),
            ("a --no-route --random-route", "--no-route, --random-route"),
            ("a --docker-username u", "must be used together"),
            ("a -u http", "'--endpoint' and"),
            (
                "a --no-start --strategy rolling",
                "--no-start, --strategy=rolling",
            ),
            ("a --max-in-flight 2", "'--max-in-flight' and '--strategy'"),
            ("a --strategy rolling -m 12Q", "Byte quantity"),
            ("a --lifecycle buildpack", "only docker"),
            ("a -p .", "--path: source code is not built here"),
            ("a -o i -b ruby", "--buildpack: source code is not built here"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(
                error.starts_with("Incorrect Usage: ") && error.contains(part),
                "{line}: {error}"
            );
        }
    }
}
