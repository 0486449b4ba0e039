//! Brings one image onto a disk as a cell does and then ends, for `cargo xtask bench pull`.
//!
//! `pull DIRECTORY REFERENCE [UNPACK-COMMAND…]`: resolves the reference, whose registry may speak plain HTTP, fetches
//! and unpacks its layers into a layer store in DIRECTORY, and prints `ready`. A line on standard input lets it go on:
//! it makes the layers survive a power failure, prints `settled` and ends. Fetching is done as in `src/layers.rs`,
//! without what only a cell with many instances needs.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::try_join_all;
use image::{Client, Reference, Settings};
use model::{Layer, Platform, RegistrySettings};
use rootfs::{LayerStore, Origin, UnpackLimits, Unpacker};
use tokio::sync::Semaphore;

/// As a cell has it.
const AT_ONCE: usize = 2;
const LIMITS: UnpackLimits = UnpackLimits {
    max_bytes: 8 << 30,
    max_entries: 2_000_000,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args_os().skip(1);
    let dir = args.next().ok_or("no directory")?;
    if dir == "unpack" {
        rootfs::unpack_main(args);
    }
    let reference = args
        .next()
        .and_then(|reference| reference.into_string().ok())
        .ok_or("no reference")?;
    let unpack: Vec<OsString> = args.collect();
    let own = || vec![OsString::from("/proc/self/exe"), OsString::from("unpack")];
    let unpacker = Unpacker::new(if unpack.is_empty() { own() } else { unpack });
    testkit::tls();
    let store = LayerStore::open(Path::new(&dir), unpacker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(pull(&store, &reference))?;
    say("ready")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    store.settle()?;
    say("settled")
}

fn say(word: &str) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}

async fn pull(store: &LayerStore, reference: &str) -> Outcome<()> {
    let host = reference.split('/').next().unwrap_or_default();
    let registry = RegistrySettings {
        insecure: vec![host.to_owned()],
        ..RegistrySettings::default()
    };
    let client = Client::new(Settings {
        registry,
        ..Settings::default()
    })?;
    let reference = Reference::parse(reference, host)?;
    let origin = Origin::new(&reference.name()).ok_or("an image name that is not printable")?;
    let resolved = client.resolve(&reference, None, &Platform::host()).await?;
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let fetches = resolved.layers.into_iter().map(async |layer: Layer| {
        let slot = slots.clone().acquire_owned().await?;
        let blob = client.blob(&reference, None, &layer.digest, layer.size).await?;
        let (store, origin) = (store.clone(), origin.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            let unpacked = store.unpack(&layer, &origin, blob, LIMITS);
            drop(slot);
            unpacked
        });
        unpacked.await??;
        Outcome::Ok(())
    });
    try_join_all(fetches).await?;
    Ok(())
}
