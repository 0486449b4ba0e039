//! The HTTP front door: a route table, the choice of a backend, the proxy and the access log.
//!
//! Knows routes, instances and HTTP. Knows nothing of apps, orgs or the database: everything it needs arrives over the
//! route feed ([`watch`]) and stays valid while the feed is away.
//!
//! ```text
//! listen ─▶ client (one connection) ─▶ proxy (one request) ─▶ table.lookup ─▶ pool.pick ─▶ backend (connection) ─▶ app
//!                                                     └─▶ access log line ─▶ Settings.log
//! ```
//!
//! Nothing on the way of a request waits for anything but its client and its backend: look-ups are lock-free, the only
//! locks guard a push or a pop of an idle connection and are never held over an await.

mod access_log;
mod backend;
mod body;
mod certificates;
mod client;
mod instance;
mod listen;
mod names;
mod proxy;
mod settings;
mod table;
mod trace;
mod watch;

pub use certificates::{CertificateError, Certificates};
pub use listen::{Listener, RunError, run};
pub use settings::{Limits, LogSink, Settings, SystemBackend, Timeouts};
pub use table::Table;
pub use watch::watch;
