//! The client of any number of registries, and the operator's document it obeys.
//!
//! The document can change at any time: each operation takes the one of its beginning and goes on with it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::RegistrySettings;

use crate::session::{Live, Session, Shared};
use crate::settings::{Settings, SettingsError, Timeouts};

/// A client of any number of registries. Cloning shares connections, tokens and the operator's document.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    live: ArcSwap<Live>,
}

impl Client {
    /// A client for these settings. Reads the system's certificate authorities and the proxy environment.
    ///
    /// The process must have installed a rustls provider.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let shared = Shared::new(settings.max_retries, settings.timeouts);
        let live = Live::new(settings.registry, &settings.timeouts)?;
        Ok(Self(Arc::new(Inner {
            shared: Arc::new(shared),
            live: ArcSwap::from_pointee(live),
        })))
    }

    /// Obeys another document from now on, in all clones; what is under way goes on with the old one. A document with
    /// a fault changes nothing; the same document again costs nothing.
    pub fn apply(&self, registry: RegistrySettings) -> Result<(), SettingsError> {
        if self.0.live.load().document.settings == registry {
            return Ok(());
        }
        let live = Live::new(registry, &self.0.shared.timeouts)?;
        self.0.live.store(Arc::new(live));
        Ok(())
    }

    /// Whether a document can be applied; the error names the wrong entry and what to write.
    ///
    /// The process must have installed a rustls provider.
    pub fn check_settings(registry: &RegistrySettings) -> Result<(), SettingsError> {
        Live::new(registry.clone(), &Timeouts::default()).map(drop)
    }

    /// The document obeyed now.
    pub fn registry_settings(&self) -> RegistrySettings {
        self.0.live.load().document.settings.clone()
    }

    /// Registry of references that name none: what [`crate::Reference::parse`] wants.
    pub fn default_registry(&self) -> String {
        self.0.live.load().document.default_registry.clone()
    }

    /// Whether images may run as root inside their user namespace.
    pub fn allow_root_user(&self) -> bool {
        self.0
            .live
            .load()
            .document
            .settings
            .allow_root_user
            .unwrap_or(true)
    }

    /// One operation's view: it does not change under its feet.
    pub(crate) fn session(&self) -> Session {
        Session::new(self.0.shared.clone(), self.0.live.load_full())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("default_registry", &self.0.live.load().document.default_registry)
            .finish_non_exhaustive()
    }
}
