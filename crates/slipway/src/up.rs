//! `slipway up`: checks, start, the word that it is ready, and the orderly end.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::address::{Addresses, Sockets};
use crate::check;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::platform::Platform;

/// Runs the platform until SIGTERM or SIGINT.
///
/// # Errors
/// One line with the remedy; nothing is left behind.
pub fn run(config: Config) -> anyhow::Result<()> {
    base::init_tracing(config.log_format, &config.log_filter);
    check::demand()?;
    let sockets = Sockets::bind(&config)?;
    let fresh = !config.data_dir.exists();
    let data = DataDir::hold(&config.data_dir)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let path = data.path().to_owned();
    let outcome = runtime.block_on(async {
        let started = std::time::Instant::now();
        let platform = Platform::start(&config, data, sockets).await?;
        announce(&platform.addresses, started.elapsed());
        wait_for_end().await?;
        platform.stop().await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    if outcome.is_err() && fresh {
        // Best effort: what a failed first start made is of no use to anybody.
        let _ = std::fs::remove_dir_all(path);
    }
    outcome
}

/// Instances need many descriptors; where the limit cannot be raised the platform works with what there is.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

async fn wait_for_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    // Cancel-safe: signals stay pending until received.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn announce(addresses: &Addresses, took: Duration) {
    let mut out = std::io::stdout().lock();
    let text = ready_text(
        addresses,
        took,
        console::colors_enabled() && std::io::stdout().is_terminal(),
    );
    // A closed stdout is no reason to end the platform.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn ready_text(addresses: &Addresses, took: Duration, coloured: bool) -> String {
    let bold = |text: &str| {
        if coloured {
            console::style(text).bold().to_string()
        } else {
            text.to_owned()
        }
    };
    let login = match &addresses.password_file {
        Some(file) => format!("cf login -a {} -u admin -p \"$(cat {file})\"", addresses.api),
        None => format!("cf login -a {} -u admin", addresses.api),
    };
    let mut text = format!(
        "{} in {} ms\n\n  API       {}\n  apps      {}\n  registry  {}\n",
        bold("Slipway is ready"),
        took.as_millis(),
        addresses.api,
        addresses.apps,
        addresses.registry
    );
    if let Some(file) = &addresses.password_file {
        text.push_str(&format!("  password  {file} (user admin)\n"));
    }
    if let Some(file) = &addresses.ca_file {
        text.push_str(&format!("  CA        {file} (trust it for HTTPS)\n"));
    }
    text.push_str(&format!("\nNext: {}\n", bold(&login)));
    text
}

/// Refuses early what cannot work.
pub fn demand_root() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("must run as root: it makes namespaces, networks and mounts for apps; try: sudo slipway up");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_text_names_the_next_command() {
        let addresses = Addresses {
            api: "http://127.0.0.1:8081".into(),
            apps: "http://*.apps.localhost:8080".into(),
            registry: "127.0.0.1:8082".into(),
            password_file: Some("/data/admin-password".into()),
            ca_file: None,
        };
        let text = ready_text(&addresses, Duration::from_millis(321), false);
        assert!(text.starts_with("Slipway is ready in 321 ms\n"), "{text}");
        assert!(text.ends_with(
            "Next: cf login -a http://127.0.0.1:8081 -u admin -p \"$(cat /data/admin-password)\"\n"
        ));
    }
}
