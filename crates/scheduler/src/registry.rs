//! The operator's registry settings, brought to whoever fetches images: the stager's client and every cell.
//!
//! The stored document goes over the options of the start. The stager reads it in the transaction in which it reads a
//! build, so that a rule holds for every build made after it; the follower brings it to the cells at once and again
//! whenever one connects.

use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, chain};
use model::RegistrySettings;
use store::registry_settings::{Entity, ONLY};
use store::{StoreError, Tx};
use tokio::time::sleep;
use tracing::{error, info};
use wire::v1::ConfigureRequest;

use crate::Settings;
use crate::courier::Courier;

/// Why the stored document cannot be obeyed. The API stores none that could not be, so this is another version's or a
/// clash with new options.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the stored registry settings cannot be read")]
    Damaged(#[from] serde_json::Error),
    #[error("the registry settings cannot be used")]
    Refused(#[from] image::SettingsError),
}

/// The settings in force, and the version of the stored document in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    version: i64,
    settings: RegistrySettings,
}

/// Reads the stored document and lets the image client obey it.
pub(crate) async fn obey(settings: &Settings, tx: &Tx) -> Result<Result<InForce, Unusable>, StoreError> {
    let row = tx.find::<Entity>(ONLY).await?;
    let (version, text) = row.map_or((0, "{}".to_owned()), |row| (row.version, row.document));
    Ok(in_force(settings, version, &text))
}

fn in_force(settings: &Settings, version: i64, text: &str) -> Result<InForce, Unusable> {
    let stored: RegistrySettings = serde_json::from_str(text)?;
    let in_force = InForce {
        version,
        settings: stored.over(settings.registry.clone()),
    };
    settings.image.apply(in_force.settings.clone())?;
    Ok(in_force)
}

/// Brings every change to the cells until its task set ends.
pub(crate) async fn follow(settings: Arc<Settings>, couriers: Vec<Courier>) {
    let mut feed = settings.store.feed();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut known = None;
    let mut told = false;
    loop {
        feed.mark_unchanged();
        match look(&settings).await {
            Ok(Ok(new)) => {
                backoff.reset();
                told = false;
                if known.as_ref() != Some(&new) {
                    tell(&couriers, &new);
                    known = Some(new);
                }
            }
            Ok(Err(unusable)) => {
                if !std::mem::replace(&mut told, true) {
                    error!(
                        error = chain(&unusable),
                        "cells keep the registry settings they have, and builds fail"
                    );
                }
            }
            Err(failure) => {
                error!(error = chain(&failure), "the registry settings cannot be read");
                sleep(backoff.next_pause()).await;
                continue;
            }
        }
        // Cancel-safe: both only wait.
        tokio::select! {
            _ = feed.changed() => {}
            () = sleep(settings.timing.converge_interval) => {}
        }
    }
}

async fn look(settings: &Settings) -> Result<Result<InForce, Unusable>, StoreError> {
    let tx = settings.store.read().await?;
    obey(settings, &tx).await
}

fn tell(couriers: &[Courier], new: &InForce) {
    info!(version = new.version, "registry settings");
    let request = ConfigureRequest {
        registry_settings: serde_json::to_string(&new.settings).expect("plain structs become JSON"),
        version: new.version,
    };
    for courier in couriers {
        courier.configure(request.clone());
    }
}
