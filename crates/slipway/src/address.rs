//! Sockets, and the names and addresses that follow from the options.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use model::RegistrySettings;

use crate::config::Config;

/// The bound sockets.
pub struct Sockets {
    pub api: TcpListener,
    pub http: TcpListener,
    pub https: Option<TcpListener>,
    pub registry: TcpListener,
}

impl Sockets {
    /// Binds all of them or none.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            api: bind(config.api_listen, "api-listen")?,
            http: bind(config.http_listen, "http-listen")?,
            https: config
                .https
                .as_ref()
                .map(|https| bind(https.listen, "https-listen"))
                .transpose()?,
            registry: bind(config.registry_listen, "registry-listen")?,
        })
    }
}

fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let socket = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; free it, or choose another address with --{option}")
    })?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Where things are, for people.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Target of `cf api`.
    pub api: String,
    /// An app named `NAME` is at this address with `NAME` in place of the star.
    pub apps: String,
    /// `HOST:PORT` of the own registry.
    pub registry: String,
    /// Where the admin's password can be read; `None` when the operator gave it.
    pub password_file: Option<String>,
    /// The CA to trust for HTTPS, when it is the platform's own.
    pub ca_file: Option<String>,
}

/// Names and addresses that follow from the options.
pub struct Names {
    pub settings: api::Settings,
    pub registry: String,
    pub system_hosts: HashMap<String, router::SystemBackend>,
}

impl Names {
    /// Reads the options and the bound sockets.
    pub fn of(config: &Config, sockets: &Sockets) -> anyhow::Result<Self> {
        let (api, registry) = (sockets.api.local_addr()?, sockets.registry.local_addr()?);
        let http = sockets.http.local_addr()?;
        let plain = format!("http://{}", reachable(api));
        let port = |standard: u16, port: u16| {
            if port == standard {
                String::new()
            } else {
                format!(":{port}")
            }
        };
        let origin = |host: &str| match (&config.system_domain, &sockets.https) {
            (None, _) => plain.clone(),
            (Some(domain), Some(https)) => {
                let port = https.local_addr().map_or(String::new(), |a| port(443, a.port()));
                format!("https://{host}.{domain}{port}")
            }
            (Some(domain), None) => format!("http://{host}.{domain}{}", port(80, http.port())),
        };
        let mut system_hosts = HashMap::new();
        if let Some(domain) = &config.system_domain {
            for host in ["api", "login", "uaa", "log-cache"] {
                system_hosts.insert(
                    format!("{host}.{domain}"),
                    router::SystemBackend {
                        address: reachable(api),
                    },
                );
            }
            system_hosts.insert(
                format!("registry.{domain}"),
                router::SystemBackend {
                    address: reachable(registry),
                },
            );
        }
        let settings = api::Settings {
            api_url: origin("api"),
            login_url: origin("login"),
            uaa_url: origin("uaa"),
            log_cache_url: origin("log-cache"),
            apps_domain: config.apps_domain.clone(),
            router_port_suffix: port(80, http.port()),
            platform_hosts: system_hosts.keys().cloned().collect(),
            registry: RegistrySettings {
                insecure: [
                    config.registry.insecure.clone(),
                    vec![reachable(registry).to_string()],
                ]
                .concat(),
                ..config.registry.clone()
            },
            default_memory_mb: 1024,
            default_disk_mb: 1024.min(i64::from(config.maximum_disk_mb)),
            maximum_disk_mb: i64::from(config.maximum_disk_mb),
        };
        Ok(Self {
            settings,
            registry: reachable(registry).to_string(),
            system_hosts,
        })
    }

    /// Where things are, for people.
    pub fn addresses(&self, password_file: Option<String>, ca_file: Option<String>) -> Addresses {
        let settings = &self.settings;
        Addresses {
            api: settings.api_url.clone(),
            apps: format!("http://*.{}{}", settings.apps_domain, settings.router_port_suffix),
            registry: self.registry.clone(),
            password_file,
            ca_file,
        }
    }
}

/// The address a client on this machine connects to.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    }
}
