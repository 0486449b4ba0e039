//! The sealed spec of a version → the order for one instance.

use std::collections::{BTreeSet, HashMap};

use model::SpaceGuid;
use prost::Message;
use store::{Query, StoreError, desired_lrp};
use wire::v1::InstanceSpec;

use crate::Settings;

/// Versions asked for with one query; bounds the sealed specs in memory.
const CHUNK: usize = 100;

/// Why a version cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("what the app runs cannot be opened")]
    Sealed(#[source] auth::SealError),
    #[error("what the app runs is not hexadecimal text")]
    Hex(#[source] hex::FromHexError),
    #[error("what the app runs is damaged")]
    Damaged(#[source] prost::DecodeError),
}

/// The opened specs of some versions. A version that is not in here was deleted meanwhile.
pub(crate) type Specs = HashMap<String, Result<InstanceSpec, SpecError>>;

/// Reads and opens the specs of these versions.
pub(crate) async fn load(settings: &Settings, versions: &BTreeSet<String>) -> Result<Specs, StoreError> {
    let mut specs = Specs::new();
    if versions.is_empty() {
        return Ok(specs);
    }
    let tx = settings.store.read().await?;
    let versions: Vec<&String> = versions.iter().collect();
    for chunk in versions.chunks(CHUNK) {
        let query =
            Query::<desired_lrp::Entity>::new().any_of(desired_lrp::Column::Guid, chunk.iter().copied());
        for row in tx.all(query).await? {
            let spec = open(settings, &row);
            specs.insert(row.guid, spec);
        }
    }
    Ok(specs)
}

/// The context of the seal is the version.
fn open(settings: &Settings, row: &desired_lrp::Model) -> Result<InstanceSpec, SpecError> {
    let text = settings
        .sealer
        .open(&row.spec_sealed, &row.guid)
        .map_err(SpecError::Sealed)?;
    let bytes = hex::decode(text.expose()).map_err(SpecError::Hex)?;
    let mut spec = InstanceSpec::decode(bytes.as_slice()).map_err(SpecError::Damaged)?;
    lend_credentials(settings, &mut spec);
    Ok(spec)
}

/// Images of the own registry come with credentials that live a short time, so they are made with each order.
fn lend_credentials(settings: &Settings, spec: &mut InstanceSpec) {
    let (Some(image), Some(app)) = (spec.image.as_mut(), spec.app.as_ref()) else {
        return;
    };
    if !image.username.is_empty() {
        return;
    }
    let Ok(reference) = settings.reference(&image.reference) else {
        return;
    };
    let space = SpaceGuid::new(&app.space_guid);
    if let Some(own) = settings.own_credentials(&reference, &space) {
        image.username = own.username;
        image.password = own.password;
    }
}
