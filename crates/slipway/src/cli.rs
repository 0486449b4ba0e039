//! The platform's own commands and flags; every other command is the built-in client's.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;

/// Whose command a command line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Door {
    /// `up`, `down`, `check`.
    Platform,
    /// No command, or a wish for help.
    Overview,
    /// Everything else.
    Client,
}

/// Decides by the first word.
pub fn which(args: &[String]) -> Door {
    match args.get(1).map(String::as_str) {
        None | Some("-h" | "--help") => Door::Overview,
        Some("help") if args.len() == 2 => Door::Overview,
        Some("up" | "down" | "check" | "--version" | "-V") => Door::Platform,
        Some(_) => Door::Client,
    }
}

/// What `slipway` alone prints.
pub fn overview() -> String {
    let mut text = String::from(
        "Slipway runs container images for many tenants, with the cf command line you know.\n\n\
         Usage: slipway <command> [options]\n\n\
         The platform:\n\
         \x20  check                  Check that this machine can run the platform\n\
         \x20  up                     Run the platform on this machine\n\
         \x20  down                   Stop it and remove everything it made\n\n\
         Apps (the grammar of cf; `alias cf=slipway` works):\n",
    );
    let width = client::commands()
        .iter()
        .map(|(name, alias, _)| name.len() + alias.len())
        .max()
        .unwrap_or(20)
        + 4;
    for (name, alias, summary) in client::commands() {
        let shown = if alias.is_empty() {
            (*name).to_owned()
        } else {
            format!("{name}, {alias}")
        };
        text.push_str(&format!("   {shown:<width$}{summary}\n"));
    }
    text.push_str("\nSee `slipway <command> --help` for the options of one command.\n");
    text
}

/// Runs container images for many tenants, with the cf command line you know.
#[derive(Parser)]
#[command(name = "slipway", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A platform command.
#[derive(Subcommand)]
pub enum Command {
    /// Run the platform on this machine until it is told to stop
    ///
    /// Every option can also be set by the environment variable shown with it, or in the TOML file named with
    /// --config, under the option's name without the dashes: http-listen = "0.0.0.0:80". The command line wins over the
    /// environment, which wins over the file.
    Up(Box<UpArgs>),
    /// Stop the platform and remove everything it made: apps, networks, mounts and its data directory
    Down(DownArgs),
    /// Check that this machine has what the platform needs, and say what to do where it does not
    Check,
}

/// Options of `up`. All are optional here: the file and the defaults come in `config`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct UpArgs {
    /// TOML file with options
    #[arg(long, env = "SLIPWAY_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Where everything is kept; made with mode 0700 [default: /var/lib/slipway]
    #[arg(long, env = "SLIPWAY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address of the API, the login server and the logs, without TLS [default: 127.0.0.1:8081]
    #[arg(long, env = "SLIPWAY_API_LISTEN", value_name = "HOST:PORT")]
    pub api_listen: Option<SocketAddr>,

    /// Address where apps are served over HTTP [default: 127.0.0.1:8080]
    #[arg(long, env = "SLIPWAY_HTTP_LISTEN", value_name = "HOST:PORT")]
    pub http_listen: Option<SocketAddr>,

    /// Address where apps are served over HTTPS [default: off]
    #[arg(long, env = "SLIPWAY_HTTPS_LISTEN", value_name = "HOST:PORT")]
    pub https_listen: Option<SocketAddr>,

    /// Certificate chain for HTTPS, PEM [default: made by the platform's own CA]
    #[arg(long, env = "SLIPWAY_HTTPS_CERT", value_name = "FILE", requires = "https_key")]
    pub https_cert: Option<PathBuf>,

    /// Key of that certificate, PEM
    #[arg(long, env = "SLIPWAY_HTTPS_KEY", value_name = "FILE", requires = "https_cert")]
    pub https_key: Option<PathBuf>,

    /// Address of the platform's own image registry [default: 127.0.0.1:8082]
    #[arg(long, env = "SLIPWAY_REGISTRY_LISTEN", value_name = "HOST:PORT")]
    pub registry_listen: Option<SocketAddr>,

    /// Domain of the platform itself: api., login., uaa., log-cache. and registry. below it are served beside the apps
    #[arg(long, env = "SLIPWAY_SYSTEM_DOMAIN", value_name = "DOMAIN")]
    pub system_domain: Option<String>,

    /// Domain that apps get their routes under [default: apps.localhost]
    #[arg(long, env = "SLIPWAY_APPS_DOMAIN", value_name = "DOMAIN")]
    pub apps_domain: Option<String>,

    /// File with the password of the user admin [default: made once and kept in the data directory]
    #[arg(long, env = "SLIPWAY_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,

    /// PEM file with a certificate authority to trust for registries; may be repeated
    #[arg(long, env = "SLIPWAY_REGISTRY_CA", value_name = "FILE", value_delimiter = ',')]
    pub registry_ca: Vec<PathBuf>,

    /// Registry whose certificate is not checked and which may speak plain HTTP; may be repeated
    #[arg(
        long,
        env = "SLIPWAY_INSECURE_REGISTRY",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub insecure_registry: Vec<String>,

    /// Copy that is asked before a registry, such as docker.io=mirror.example.org:5000; may be repeated
    #[arg(
        long,
        env = "SLIPWAY_REGISTRY_MIRROR",
        value_name = "REGISTRY=MIRROR",
        value_delimiter = ','
    )]
    pub registry_mirror: Vec<String>,

    /// Network that registries may have internal addresses in, such as 10.1.0.0/16; may be repeated. Hosts named by
    /// another registry option, but for authorities, may have any
    #[arg(
        long,
        env = "SLIPWAY_REGISTRY_ALLOW_ADDRESS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub registry_allow_address: Vec<String>,

    /// PEM file with certificate authorities that every container finds in /etc/cf-system-certificates; may be repeated
    #[arg(
        long,
        env = "SLIPWAY_TRUSTED_CERTS",
        value_name = "FILE",
        value_delimiter = ',',
        num_args = 1..
    )]
    pub trusted_certs: Vec<PathBuf>,

    /// Registry of image names that name none [default: docker.io]
    #[arg(long, env = "SLIPWAY_DEFAULT_REGISTRY", value_name = "HOST")]
    pub default_registry: Option<String>,

    /// Addresses for containers, such as 10.200.0.0/16 [default: a free private range]
    #[arg(long, env = "SLIPWAY_CONTAINER_NETWORK", value_name = "CIDR")]
    pub container_network: Option<String>,

    /// Memory for apps, MiB [default: what the machine has]
    #[arg(long, env = "SLIPWAY_MEMORY_MB", value_name = "MIB")]
    pub memory_mb: Option<u64>,

    /// Most disk an app may ask for, MiB [default: 2048]
    #[arg(long, env = "SLIPWAY_MAXIMUM_DISK_MB", value_name = "MIB")]
    pub maximum_disk_mb: Option<u32>,

    /// What bounds the disk of apps: auto, btrfs, loop or none [default: auto, the first that works]
    #[arg(long, env = "SLIPWAY_DISK_QUOTA", value_name = "DRIVER")]
    pub disk_quota: Option<String>,

    /// Most disk that cached image layers may take, MiB; those in use always stay [default: until the disk is 85 % full]
    #[arg(long, env = "SLIPWAY_IMAGE_STORE_MB", value_name = "MIB")]
    pub image_store_mb: Option<u64>,

    /// OCI runtime that makes containers, such as /usr/bin/crun [default: the built-in one]
    #[arg(long, env = "SLIPWAY_OCI_RUNTIME", value_name = "PATH")]
    pub oci_runtime: Option<PathBuf>,

    /// Stop the apps when the platform is stopped, instead of leaving them running
    #[arg(long, env = "SLIPWAY_STOP_APPS")]
    pub stop_apps: bool,

    /// How much the platform tells about itself on stderr: error, warn, info, debug, or tracing directives
    /// [default: warn]
    #[arg(long, env = "SLIPWAY_LOG", value_name = "LEVEL")]
    pub log: Option<String>,

    /// Write that as JSON
    #[arg(long, env = "SLIPWAY_LOG_JSON")]
    pub log_json: bool,
}

/// Options of `down`.
#[derive(Args, Clone, Debug)]
pub struct DownArgs {
    /// The platform's data directory
    #[arg(
        long,
        env = "SLIPWAY_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/slipway"
    )]
    pub data_dir: PathBuf,

    /// Keep the data directory with its database, keys and images; remove only what runs
    #[arg(long)]
    pub keep_data: bool,
}

/// Parses a platform command; prints help, version or a usage error and ends the process where that is the answer.
pub fn parse(args: Vec<String>) -> Command {
    Cli::parse_from(args).command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_first_word_decides() {
        let args = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        for (words, door) in [
            (&["slipway"][..], Door::Overview),
            (&["slipway", "help"], Door::Overview),
            (&["slipway", "help", "push"], Door::Client),
            (&["slipway", "up", "--help"], Door::Platform),
            (&["slipway", "push", "x"], Door::Client),
        ] {
            assert_eq!(which(&args(words)), door, "{words:?}");
        }
    }
}
