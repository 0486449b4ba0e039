//! Getting an image's layers onto the cell: each once, a few at a time, none when they are here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base::{Report, Tasks};
use futures_util::future::try_join_all;
use image::{Credentials, Reference, ResolveError};
use model::{Compression, Digest, Layer};
use rootfs::{LayerInfo, LayerStore, Origin, UnpackError, UnpackLimits};
use tokio::sync::Semaphore;
use tracing::{info, warn};
use wire::v1;

use crate::outcome::Failure;

/// Layers fetched and unpacked at the same time, over all instances. Each keeps more than one core busy, in a process of
/// some 20 MiB; more of them took more memory and no less time.
const AT_ONCE: usize = 2;
/// Entries of one layer; honest images stay far below.
const MAX_ENTRIES: u64 = 2_000_000;
/// How often one layer is fetched for one instance; each fetch has tries of its own at the registry.
const MOST_TRIES: u32 = 3;
/// How many times its packed size a layer takes on disk, about.
const UNPACKED_SIZE: u64 = 4;

/// Brings layers from registries into the store.
#[derive(Clone)]
pub(crate) struct Fetcher {
    client: image::Client,
    store: LayerStore,
    slots: Arc<Semaphore>,
    flights: Arc<Mutex<HashMap<Flight, Arc<tokio::sync::Mutex<()>>>>>,
    tasks: Tasks,
}

/// What is fetched once at a time: a layer from a repository. Fetches from other repositories do not wait for it, so
/// that no tenant notices what another fetches.
type Flight = (Digest, Origin);

/// The right to fetch a layer, and one of the slots.
type Held = Option<(
    tokio::sync::OwnedMutexGuard<()>,
    tokio::sync::OwnedSemaphorePermit,
)>;

/// Where an image's layers come from, and as whom.
struct Source {
    reference: Reference,
    origin: Origin,
    credentials: Option<Credentials>,
}

/// An image as an instance needs it.
#[derive(Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) image: &'a v1::Image,
    pub(crate) layers: &'a [Layer],
    /// The instance's disk limit, bytes; the image counts against it.
    pub(crate) disk_bytes: u64,
    /// Hears how the fetching goes, in words for the app's log.
    pub(crate) tell: &'a (dyn Fn(&str) + Send + Sync),
}

impl Fetcher {
    pub(crate) fn new(client: image::Client, store: LayerStore, tasks: Tasks) -> Self {
        Self {
            client,
            store,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            flights: Arc::default(),
            tasks,
        }
    }

    /// Makes sure that every layer is here and was handed out by the image's own repository, and that they fit the
    /// disk limit. Dropping the future stops nothing that has begun: a layer on its way is of use to the next
    /// instance.
    pub(crate) async fn ensure(&self, wanted: Wanted<'_>) -> Result<(), Failure> {
        let source = self.source(wanted.image)?;
        let missing: Vec<&Layer> = wanted
            .layers
            .iter()
            .filter(|layer| !self.store.has(&layer.diff_id, &source.origin))
            .collect();
        if !missing.is_empty() {
            let packed: u64 = wanted.layers.iter().map(|layer| layer.size).sum();
            fits("layers exceed", packed, wanted.disk_bytes)?;
            let (count, bytes) = (missing.len(), missing.iter().map(|layer| layer.size).sum());
            (wanted.tell)(&format!(
                "Fetching layers: {count} to go, {}, from {}",
                megabytes(bytes),
                source.reference.host()
            ));
            let left = AtomicUsize::new(count);
            let fetches = missing.iter().map(async |layer| {
                self.fetch(&source, layer, wanted.disk_bytes).await?;
                let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
                (wanted.tell)(&format!(
                    "Fetched a layer of {}, {left} to go",
                    megabytes(layer.size)
                ));
                Ok::<(), Failure>(())
            });
            try_join_all(fetches).await?;
            self.settle();
        }
        fits(
            "the unpacked image exceeds",
            self.unpacked(wanted.layers),
            wanted.disk_bytes,
        )
    }

    fn source(&self, image: &v1::Image) -> Result<Source, Failure> {
        let reference = Reference::parse(&image.reference, &self.client.default_registry())
            .map_err(|error| Failure::app(Report(&error).to_string()))?;
        let name = reference.name();
        let origin = Origin::new(&name)
            .ok_or_else(|| Failure::app(format!("the image name {name:?} is not printable")))?;
        Ok(Source {
            reference,
            origin,
            credentials: credentials(image),
        })
    }

    /// What fetches.
    pub(crate) fn client(&self) -> &image::Client {
        &self.client
    }

    /// Bytes of an image's files, each layer once.
    pub(crate) fn unpacked(&self, layers: &[Layer]) -> u64 {
        let mut seen = std::collections::HashSet::new();
        let once = layers.iter().filter(|layer| seen.insert(&layer.diff_id));
        once.filter_map(|layer| self.store.size(&layer.diff_id)).sum()
    }

    async fn fetch(&self, source: &Source, layer: &Layer, disk_bytes: u64) -> Result<(), Failure> {
        let key = (layer.diff_id.clone(), source.origin.clone());
        let flight = self.flight(&key).lock_owned().await;
        if self.store.has(&layer.diff_id, &source.origin) {
            return Ok(());
        }
        let slot = self.slots.clone().acquire_owned().await;
        let mut held: Held = Some((flight, slot.expect("it is never closed")));
        let mut tries = 0;
        loop {
            tries += 1;
            let unpacked = self.try_fetch(source, layer, disk_bytes, &mut held).await?;
            let Err(error) = unpacked else { break };
            if tries >= MOST_TRIES || !self.may_pass(&error, layer).await {
                return Err(unpack_failure(&source.reference, &error, disk_bytes));
            }
            info!(layer = %layer.diff_id, error = %Report(&error), "fetching a layer once more");
        }
        drop(held);
        self.forget_flight(&key);
        Ok(())
    }

    /// Fetches and unpacks once. `held` goes with the work, which goes on when nobody waits for it any more.
    async fn try_fetch(
        &self,
        source: &Source,
        layer: &Layer,
        disk_bytes: u64,
        held: &mut Held,
    ) -> Result<Result<LayerInfo, UnpackError>, Failure> {
        let reference = &source.reference;
        let blob = self
            .client
            .blob(reference, source.credentials.as_ref(), &layer.digest, layer.size)
            .await;
        let blob = blob.map_err(|error| pull_failure(reference, &error))?;
        info!(layer = %layer.diff_id, bytes = layer.size, image = %reference.name(), "fetching a layer");
        let (store, layer, origin) = (self.store.clone(), layer.clone(), source.origin.clone());
        let guards = held.take();
        let work = tokio::task::spawn_blocking(move || {
            let limits = UnpackLimits {
                max_bytes: disk_bytes,
                max_entries: MAX_ENTRIES,
            };
            (store.unpack(&layer, &origin, blob, limits), guards)
        });
        match work.await {
            Ok((unpacked, guards)) => {
                *held = guards;
                Ok(unpacked)
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Whether another try may end better: unused layers have made room, or the bytes may come from elsewhere, as
    /// after a mirror that gave wrong ones.
    async fn may_pass(&self, error: &UnpackError, layer: &Layer) -> bool {
        if let UnpackError::Read(cause) = error
            && let Some(cause) = cause
                .get_ref()
                .and_then(|cause| cause.downcast_ref::<ResolveError>())
        {
            return cause.is_transient();
        }
        if !rootfs::lacks_room(error) {
            return false;
        }
        let (store, bytes) = (self.store.clone(), layer.size.saturating_mul(UNPACKED_SIZE));
        let made = tokio::task::spawn_blocking(move || store.make_room(bytes)).await;
        matches!(made, Ok(Ok(removed)) if removed.layers > 0)
    }

    fn flight(&self, key: &Flight) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().expect("no holder of this lock panics");
        Arc::clone(flights.entry(key.clone()).or_default())
    }

    /// Drops the lock of a layer nobody waits for.
    fn forget_flight(&self, key: &Flight) {
        let mut flights = self.flights.lock().expect("no holder of this lock panics");
        if flights
            .get(key)
            .is_some_and(|flight| Arc::strong_count(flight) == 1)
        {
            flights.remove(key);
        }
    }

    /// Makes the new layers survive a power failure, in the background.
    fn settle(&self) {
        let store = self.store.clone();
        self.tasks.spawn("settle layers", async move {
            let settled = tokio::task::spawn_blocking(move || store.settle()).await;
            if let Ok(Err(error)) = settled {
                warn!(error = %Report(&error), "layers may have to be fetched again after a power failure");
            }
        });
    }
}

/// The layers of a spec, checked.
pub(crate) fn parse(image: &v1::Image) -> Result<Vec<Layer>, String> {
    image.layers.iter().map(layer).collect()
}

fn layer(layer: &v1::Layer) -> Result<Layer, String> {
    let compression = match layer.compression.as_str() {
        "none" | "" => Compression::None,
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        other => return Err(format!("layer {}: unknown compression {other:?}", layer.digest)),
    };
    Ok(Layer {
        digest: layer.digest.parse().map_err(|error| format!("layer: {error}"))?,
        diff_id: layer.diff_id.parse().map_err(|error| format!("layer: {error}"))?,
        size: layer.size,
        compression,
    })
}

fn credentials(image: &v1::Image) -> Option<Credentials> {
    let given = !image.username.is_empty() || !image.password.is_empty();
    given.then(|| Credentials {
        username: image.username.clone(),
        password: image.password.clone(),
    })
}

fn fits(what: &str, bytes: u64, limit: u64) -> Result<(), Failure> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Failure::app(format!(
        "{what} disk quota {bytes}/{limit} bytes ({} of {}): raise it to more than {} with `cf scale -k` or \
         use a smaller image",
        megabytes(bytes),
        megabytes(limit),
        megabytes(bytes)
    )))
}

fn megabytes(bytes: u64) -> String {
    format!("{}M", bytes.div_ceil(1 << 20))
}

fn pull_failure(reference: &Reference, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::platform(format!("failed to pull image {reference}: {}", Report(error)))
}

fn unpack_failure(reference: &Reference, error: &UnpackError, disk_bytes: u64) -> Failure {
    let text = format!("failed to unpack image {reference}: {}", Report(error));
    match error {
        UnpackError::Read(_)
        | UnpackError::Entry { .. }
        | UnpackError::DiskFull { .. }
        | UnpackError::DiskReserve { .. }
        | UnpackError::Confine { .. }
        | UnpackError::Worker { .. }
        | UnpackError::Store(_) => Failure::platform(text),
        UnpackError::TooLarge { .. } => Failure::app(format!(
            "uncompressed layer size exceeds quota: an image layer has more than the app's disk limit of {}: raise it \
             with `cf scale -k` or use a smaller image",
            megabytes(disk_bytes)
        )),
        _ => Failure::app(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Fault;

    #[test]
    fn layers_of_a_spec_are_checked() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let good = v1::Layer {
            digest: digest.clone(),
            diff_id: digest,
            size: 7,
            compression: "gzip".to_owned(),
        };
        assert_eq!(layer(&good).unwrap().compression, Compression::Gzip);
        let bad = v1::Layer {
            diff_id: "sha256:../x".to_owned(),
            ..good.clone()
        };
        assert!(layer(&bad).is_err());
        assert!(
            layer(&v1::Layer {
                compression: "lz4".to_owned(),
                ..good
            })
            .unwrap_err()
            .contains("lz4")
        );
    }

    #[test]
    fn the_disk_limit_names_both_sizes() {
        assert_eq!(fits("layers exceed", 5, 5), Ok(()));
        let failure = fits("layers exceed", 3 << 20, 1 << 20).unwrap_err();
        assert_eq!(failure.fault, Fault::App);
        assert!(
            failure
                .reason
                .starts_with("layers exceed disk quota 3145728/1048576 bytes (3M of 1M)")
        );
    }

    #[test]
    fn nameless_images_are_pulled_anonymously() {
        assert_eq!(credentials(&v1::Image::default()), None);
        let image = v1::Image {
            username: "u".to_owned(),
            password: "p".to_owned(),
            ..v1::Image::default()
        };
        assert!(credentials(&image).is_some());
    }
}
