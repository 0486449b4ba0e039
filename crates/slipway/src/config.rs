//! Options to settings: command line over environment over file over defaults, every value checked here, once.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use auth::Secret;
use model::{AddressRules, Fallback, Mirror, RegistrySettings};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::cli::UpArgs;

/// What `up` runs with.
#[derive(Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub api_listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub https: Option<Https>,
    pub registry_listen: SocketAddr,
    pub system_domain: Option<String>,
    pub apps_domain: String,
    pub admin_password: Option<Secret>,
    /// What is said about registries before an operator says more at run time.
    pub registry: RegistrySettings,
    /// PEM, one certificate an entry.
    pub trusted_certs: Vec<String>,
    pub container_network: Option<String>,
    pub memory_mb: Option<u64>,
    pub maximum_disk_mb: u32,
    pub disk_quota: cell::DiskQuota,
    pub image_store_mb: Option<u64>,
    pub oci_runtime: Option<PathBuf>,
    pub at_stop: AtStop,
    pub log_filter: String,
    pub log_format: base::LogFormat,
}

/// The HTTPS side of the router.
#[derive(Debug)]
pub struct Https {
    pub listen: SocketAddr,
    /// Chain and key, PEM; `None`: from the platform's own CA.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// What happens to apps when the platform stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStop {
    LeaveApps,
    StopApps,
}

impl Config {
    /// Reads files and checks values.
    ///
    /// # Errors
    /// One line that names the option, the value and what to do.
    pub fn load(args: UpArgs) -> anyhow::Result<Self> {
        let args = match &args.config {
            Some(file) => over(args.clone(), read_file(file)?),
            None => args,
        };
        // Taken from the environment only: a password on a command line is everybody's.
        #[expect(clippy::disallowed_methods, reason = "configuration is read here")]
        let password = std::env::var("SLIPWAY_ADMIN_PASSWORD").ok();
        Self::check(args, password)
    }

    fn check(args: UpArgs, password: Option<String>) -> anyhow::Result<Self> {
        let https = https(&args)?;
        let registry = registry(&args)?;
        let admin_password = admin_password(&args, password)?;
        let apps_domain = domain(
            "apps-domain",
            args.apps_domain.unwrap_or_else(|| "apps.localhost".to_owned()),
        )?;
        let system_domain = args
            .system_domain
            .map(|name| domain("system-domain", name))
            .transpose()?;
        ensure!(
            system_domain.as_ref() != Some(&apps_domain),
            "--system-domain and --apps-domain must differ, else an app could take the platform's hosts; \
             use for example sys.example.org and apps.example.org"
        );
        let data_dir = args.data_dir.unwrap_or_else(|| "/var/lib/slipway".into());
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self {
            data_dir: std::path::absolute(&data_dir)
                .with_context(|| format!("--data-dir {}", data_dir.display()))?,
            api_listen: args.api_listen.unwrap_or_else(|| local(8081)),
            http_listen: args.http_listen.unwrap_or_else(|| local(8080)),
            https,
            registry_listen: args.registry_listen.unwrap_or_else(|| local(8082)),
            system_domain,
            apps_domain,
            admin_password,
            registry,
            trusted_certs: trusted_certs(&args.trusted_certs)?,
            container_network: args.container_network,
            memory_mb: args.memory_mb,
            maximum_disk_mb: args.maximum_disk_mb.unwrap_or(2048).max(1),
            disk_quota: disk_quota(args.disk_quota.as_deref().unwrap_or("auto"))?,
            image_store_mb: args.image_store_mb,
            oci_runtime: args.oci_runtime,
            at_stop: if args.stop_apps {
                AtStop::StopApps
            } else {
                AtStop::LeaveApps
            },
            log_filter: args.log.unwrap_or_else(|| "warn".to_owned()),
            log_format: if args.log_json {
                base::LogFormat::Json
            } else {
                base::LogFormat::Text
            },
        })
    }
}

fn disk_quota(name: &str) -> anyhow::Result<cell::DiskQuota> {
    Ok(match name {
        "auto" => cell::DiskQuota::Auto,
        "btrfs" => cell::DiskQuota::Btrfs,
        "loop" => cell::DiskQuota::Loop,
        "none" => cell::DiskQuota::None,
        _ => bail!("--disk-quota {name:?} is no driver; give auto, btrfs, loop or none"),
    })
}

fn https(args: &UpArgs) -> anyhow::Result<Option<Https>> {
    let Some(listen) = args.https_listen else {
        return Ok(None);
    };
    let files = args.https_cert.as_deref().zip(args.https_key.as_deref());
    let certificate = files
        .map(|(chain, key)| Ok::<_, anyhow::Error>((read(chain, "https-cert")?, read(key, "https-key")?)));
    Ok(Some(Https {
        listen,
        certificate: certificate.transpose()?,
    }))
}

fn admin_password(args: &UpArgs, from_environment: Option<String>) -> anyhow::Result<Option<Secret>> {
    match (&args.admin_password_file, from_environment) {
        (Some(file), _) => password_of(file).map(Some),
        (None, Some(text)) => checked_password(&text, "SLIPWAY_ADMIN_PASSWORD").map(Some),
        (None, None) => Ok(None),
    }
}

fn read_file(file: &Path) -> anyhow::Result<UpArgs> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read --config {}", file.display()))?;
    toml::from_str(&text).map_err(|error| {
        let place = error.span().map_or(String::new(), |span| {
            format!(
                " line {}",
                text.get(..span.start).unwrap_or_default().lines().count().max(1)
            )
        });
        anyhow::anyhow!("{}{place}: {}", file.display(), error.message())
    })
}

/// `first` where it says something, `second` elsewhere.
fn over(first: UpArgs, second: UpArgs) -> UpArgs {
    let lists = |one: Vec<_>, other: Vec<_>| if one.is_empty() { other } else { one };
    UpArgs {
        config: first.config,
        data_dir: first.data_dir.or(second.data_dir),
        api_listen: first.api_listen.or(second.api_listen),
        http_listen: first.http_listen.or(second.http_listen),
        https_listen: first.https_listen.or(second.https_listen),
        https_cert: first.https_cert.or(second.https_cert),
        https_key: first.https_key.or(second.https_key),
        registry_listen: first.registry_listen.or(second.registry_listen),
        system_domain: first.system_domain.or(second.system_domain),
        apps_domain: first.apps_domain.or(second.apps_domain),
        admin_password_file: first.admin_password_file.or(second.admin_password_file),
        registry_ca: if first.registry_ca.is_empty() {
            second.registry_ca
        } else {
            first.registry_ca
        },
        insecure_registry: lists(first.insecure_registry, second.insecure_registry),
        registry_mirror: lists(first.registry_mirror, second.registry_mirror),
        registry_allow_address: lists(first.registry_allow_address, second.registry_allow_address),
        trusted_certs: if first.trusted_certs.is_empty() {
            second.trusted_certs
        } else {
            first.trusted_certs
        },
        default_registry: first.default_registry.or(second.default_registry),
        container_network: first.container_network.or(second.container_network),
        memory_mb: first.memory_mb.or(second.memory_mb),
        maximum_disk_mb: first.maximum_disk_mb.or(second.maximum_disk_mb),
        disk_quota: first.disk_quota.or(second.disk_quota),
        image_store_mb: first.image_store_mb.or(second.image_store_mb),
        oci_runtime: first.oci_runtime.or(second.oci_runtime),
        stop_apps: first.stop_apps || second.stop_apps,
        log: first.log.or(second.log),
        log_json: first.log_json || second.log_json,
    }
}

fn read(file: &Path, option: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read --{option} {}", file.display()))
}

/// The registry options as a document.
fn registry(args: &UpArgs) -> anyhow::Result<RegistrySettings> {
    let bundles = args.registry_ca.iter().map(|file| text(file, "registry-ca"));
    let mirrors = args.registry_mirror.iter().map(|pair| mirror(pair));
    Ok(RegistrySettings {
        default_registry: args.default_registry.clone(),
        insecure: args.insecure_registry.clone(),
        ca_certificates: bundles.collect::<Result<_, _>>()?,
        mirrors: mirrors.collect::<Result<_, _>>()?,
        addresses: AddressRules {
            allow: args.registry_allow_address.clone(),
            deny: Vec::new(),
        },
        ..RegistrySettings::default()
    })
}

fn text(file: &Path, option: &str) -> anyhow::Result<String> {
    String::from_utf8(read(file, option)?)
        .map_err(|_| anyhow::anyhow!("--{option} {} is no text; give PEM certificates", file.display()))
}

fn mirror(pair: &str) -> anyhow::Result<Mirror> {
    let Some((registry, mirror)) = pair.split_once('=') else {
        bail!(
            "--registry-mirror {pair:?} is not of the form REGISTRY=MIRROR, such as docker.io=mirror.example.org:5000"
        );
    };
    Ok(Mirror {
        registry: registry.trim().to_owned(),
        mirror: mirror.trim().to_owned(),
        fallback: Fallback::default(),
    })
}

/// The certificates of PEM files, each alone.
fn trusted_certs(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut all = Vec::new();
    for file in files {
        let text = text(file, "trusted-certs")?;
        let before = all.len();
        for part in text.split(BEGIN).skip(1) {
            let body = part.split_once(END).map(|(body, _)| body);
            let pem = format!("{BEGIN}{}{END}\n", body.unwrap_or_default());
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
                let number = all.len() - before + 1;
                anyhow::anyhow!(
                    "--trusted-certs {}: certificate {number} is damaged: {error}",
                    file.display()
                )
            })?;
            all.push(pem);
        }
        ensure!(
            all.len() > before,
            "--trusted-certs {} has no certificate; give PEM files with BEGIN CERTIFICATE",
            file.display()
        );
    }
    Ok(all)
}

fn domain(option: &str, name: String) -> anyhow::Result<String> {
    let label =
        |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.len() > 200
        || !name.contains('.')
        || !name.split('.').all(label)
        || name.parse::<IpAddr>().is_ok()
    {
        bail!(
            "--{option} {name:?} is not a domain name; give one with at least one dot, such as apps.example.org"
        );
    }
    Ok(name.to_ascii_lowercase())
}

fn password_of(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read --admin-password-file {}", file.display()))?;
    checked_password(text.trim_end_matches(['\r', '\n']), "--admin-password-file")
}

fn checked_password(text: &str, source: &str) -> anyhow::Result<Secret> {
    ensure!(
        !text.is_empty(),
        "{source} is empty; put the password of the user admin into it"
    );
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file: UpArgs =
            toml::from_str("apps-domain = 'a.example.org'\nhttp-listen = '127.0.0.1:80'\nstop-apps = true")
                .unwrap();
        let line = UpArgs {
            apps_domain: Some("b.example.org".into()),
            ..UpArgs::default()
        };
        let config = Config::check(over(line, file), None).unwrap();
        assert_eq!(config.apps_domain, "b.example.org");
        assert_eq!(config.http_listen.port(), 80);
        assert_eq!(config.at_stop, AtStop::StopApps);
    }

    #[test]
    fn bad_values_are_named() {
        for (args, part) in [
            (
                UpArgs {
                    apps_domain: Some("localhost".into()),
                    ..UpArgs::default()
                },
                "--apps-domain \"localhost\" is not a domain name",
            ),
            (
                UpArgs {
                    system_domain: Some("apps.localhost".into()),
                    ..UpArgs::default()
                },
                "must differ",
            ),
            (
                UpArgs {
                    admin_password_file: Some("/nonexistent".into()),
                    ..UpArgs::default()
                },
                "cannot read --admin-password-file",
            ),
        ] {
            assert!(
                Config::check(args, None).unwrap_err().to_string().contains(part),
                "{part}"
            );
        }
        assert!(toml::from_str::<UpArgs>("nonsense = 1").is_err());
    }

    #[test]
    fn registry_options_become_a_document() {
        let args: UpArgs = toml::from_str(
            "insecure-registry = ['x:1']\ndefault-registry = 'r.example.org'\nregistry-mirror = ['docker.io=m:5000']",
        )
        .unwrap();
        let registry = Config::check(args, None).unwrap().registry;
        assert_eq!(registry.default_registry.as_deref(), Some("r.example.org"));
        assert_eq!(
            (registry.insecure, registry.mirrors[0].mirror.as_str()),
            (vec!["x:1".to_owned()], "m:5000")
        );
        let args = UpArgs {
            registry_mirror: vec!["docker.io".into()],
            ..UpArgs::default()
        };
        let error = Config::check(args, None).unwrap_err().to_string();
        assert!(error.contains("REGISTRY=MIRROR"), "{error}");
    }

    #[test]
    fn trusted_certificates_are_split_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = || {
            rcgen::generate_simple_self_signed(vec!["x".into()])
                .unwrap()
                .cert
                .pem()
        };
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let bundle = format!("# company\n{}# other\n{}", certificate(), certificate());
        let good = trusted_certs(&[file("a", &bundle), file("b", &certificate())]).unwrap();
        assert_eq!(good.len(), 3);
        assert!(
            good.iter()
                .all(|pem| pem.matches("BEGIN").count() == 1 && !pem.contains('#'))
        );
        for (text, why) in [
            ("nothing", "has no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
                "certificate 1 is damaged",
            ),
        ] {
            let error = trusted_certs(&[file("c", text)]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_password_does_not_print() {
        let config = Config::check(UpArgs::default(), Some("hush".into())).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
