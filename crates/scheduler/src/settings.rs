//! What the scheduler is told at start.

use std::sync::Arc;
use std::time::Duration;

use auth::Sealer;
use model::{CellId, Platform, RegistrySettings, SpaceGuid};
use store::Store;
use wire::{Channel, LogSink};

/// Parts and numbers the scheduler works with. Time comes from the store's clock, the default registry from the image
/// client.
pub struct Settings {
    /// Desired and actual state.
    pub store: Store,
    /// Opens what the API sealed.
    pub sealer: Arc<Sealer>,
    /// Reads images at staging.
    pub image: image::Client,
    /// What the platform was started with about registries; the stored document goes over it.
    pub registry: RegistrySettings,
    /// What cells run; images must be built for it.
    pub platform: Platform,
    /// Every cell. Instances of cells that are not listed are started elsewhere at once.
    pub cells: Vec<(CellId, Channel)>,
    /// Where staging and crash lines go.
    pub logs: LogSink,
    /// The registry that is part of the platform, if there is one.
    pub own_registry: Option<OwnRegistry>,
    /// Waits.
    pub timing: Timing,
}

/// The platform's own registry: who stages or runs an image of it needs no credentials of the user.
#[derive(Clone)]
pub struct OwnRegistry {
    /// Its host as image references write it, `HOST` or `HOST:PORT`.
    pub host: String,
    /// Credentials with which the images of a space can be read for a while.
    pub credentials: Arc<dyn Fn(&SpaceGuid) -> image::Credentials + Send + Sync>,
}

/// Waits of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A build that takes longer fails.
    pub staging_timeout: Duration,
    /// Pause between full passes when nothing happens.
    pub converge_interval: Duration,
    /// A cell silent for this long is given up, if another can take its work.
    pub cell_lease: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            staging_timeout: Duration::from_secs(900),
            converge_interval: Duration::from_secs(30),
            cell_lease: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// Now, nanoseconds since 1970.
    pub(crate) fn now_ns(&self) -> i64 {
        base::unix_nanos(self.store.clock().now())
    }

    /// Credentials for an image of this space that came without any: those of the own registry, if it is there.
    pub(crate) fn own_credentials(
        &self,
        reference: &image::Reference,
        space: &SpaceGuid,
    ) -> Option<image::Credentials> {
        let own = self.own_registry.as_ref()?;
        (own.host.eq_ignore_ascii_case(reference.host())).then(|| (own.credentials)(space))
    }

    /// A reference as users write it.
    pub(crate) fn reference(&self, text: &str) -> Result<image::Reference, image::ReferenceError> {
        image::Reference::parse(text, &self.image.default_registry())
    }
}
