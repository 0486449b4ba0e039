//! Desired LRPs: what an app runs, pinned when it starts.
//!
//! Commands, variables, droplets and memory act at the next start only, so all of them are written down once, sealed,
//! under a new version; the scheduler replaces instances of any other version. Only the count of instances and the
//! routes act at once.

use std::collections::BTreeMap;

use model::is_root_user;
use prost::Message;
use serde_json::json;
use store::{Query, Tx, app, desired_lrp, droplet, new_guid, process};
use wire::v1::{AppIdentity, Image, InstanceSpec, Layer};

use crate::State;
use crate::droplet::Pinned;
use crate::env::{self, Home};
use crate::error::ApiError;
use crate::process as rules;
use crate::registry;

/// Grace between SIGTERM and SIGKILL, ms (cloudfoundry/diego-release:jobs/rep/spec).
const GRACE_MS: u64 = 10_000;
/// Port of an app whose image exposes none.
pub const DEFAULT_PORT: u16 = 8080;

/// Pins what every process of the app runs from now on.
pub async fn pin(state: &State, tx: &Tx, app: &app::Model, droplet: &droplet::Model) -> Result<(), ApiError> {
    unpin(tx, &app.guid).await?;
    let home = Home::of(tx, app).await?;
    let pinned = Pinned::read(state, droplet)?;
    let root = RootRule::read(state, tx).await?;
    for process in tx
        .all(Query::<process::Entity>::new().eq(process::Column::AppGuid, &app.guid))
        .await?
    {
        if process.instances > 0 {
            root.demand(&process, &pinned.config.user)?;
        }
        let version = new_guid();
        let process = tx
            .update::<process::Entity>(process::Model {
                version: version.clone(),
                ..process
            })
            .await?;
        let spec = spec(state, app, &home, &process, &pinned)?;
        let sealed = state.sealer.seal(&hex(&spec.encode_to_vec()), &version);
        let row = desired_lrp::Model {
            id: 0,
            guid: version,
            created_at: 0,
            updated_at: 0,
            process_guid: process.guid,
            app_guid: app.guid.clone(),
            lifecycle: app.lifecycle.clone(),
            memory_mb: process.memory_mb,
            disk_mb: process.disk_mb,
            spec_sealed: sealed,
        };
        tx.insert::<desired_lrp::Entity>(row).await?;
    }
    Ok(())
}

/// Refuses instances of a process that had none, where its user may not be. What runs already is left alone.
pub(crate) async fn demand_user(
    state: &State,
    tx: &Tx,
    app: &app::Model,
    process: &process::Model,
) -> Result<(), ApiError> {
    let Some(droplet) = &app.droplet_guid else {
        return Ok(());
    };
    let droplet = tx.get::<droplet::Entity>(droplet).await?;
    let config = droplet
        .read_config()
        .map_err(|error| ApiError::internal(&error))?;
    RootRule::read(state, tx).await?.demand(process, &config.user)
}

/// Whether processes may run as root inside their user namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RootRule {
    Allowed,
    Refused,
}

impl RootRule {
    async fn read(state: &State, tx: &Tx) -> Result<Self, ApiError> {
        match registry::effective(state, tx).await?.allow_root_user {
            Some(false) => Ok(Self::Refused),
            None | Some(true) => Ok(Self::Allowed),
        }
    }

    fn demand(self, process: &process::Model, of_image: &str) -> Result<(), ApiError> {
        let user = process.run_as.as_deref().unwrap_or(of_image);
        if self == Self::Refused && is_root_user(user) {
            return Err(ApiError::root_user(&process.kind));
        }
        Ok(())
    }
}

/// Wants nothing of this app any more.
pub async fn unpin(tx: &Tx, app_guid: &str) -> Result<(), ApiError> {
    tx.delete_where(Query::<desired_lrp::Entity>::new().eq(desired_lrp::Column::AppGuid, app_guid))
        .await?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spec(
    state: &State,
    app: &app::Model,
    home: &Home,
    process: &process::Model,
    pinned: &Pinned,
) -> Result<InstanceSpec, ApiError> {
    let argv = match (&process.command, process.kind.as_str()) {
        (Some(command), _) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()],
        (None, "web") => pinned.config.argv(),
        (None, kind) => {
            return Err(ApiError::unprocessable(format!(
                "Process type {kind} has no start command"
            )));
        }
    };
    if argv.is_empty() {
        return Err(ApiError::unprocessable(
            "The image names no command, and the app sets none. Push with -c COMMAND",
        ));
    }
    let ports = open_ports(&pinned.config.tcp_ports(), &process.kind);
    let variables = env::open(state, app)?;
    let vcap = env::vcap_application(state, app, home, Some(process));
    let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(InstanceSpec {
        process_guid: process.guid.clone(),
        process_version: process.version.clone(),
        process_type: process.kind.clone(),
        app: Some(AppIdentity {
            app_guid: app.guid.clone(),
            app_name: app.name.clone(),
            space_guid: home.space.guid.clone(),
            space_name: home.space.name.clone(),
            org_guid: home.org.guid.clone(),
            org_name: home.org.name.clone(),
        }),
        image: Some(image(pinned)),
        argv,
        workdir: pinned.config.workdir.clone(),
        user: process
            .run_as
            .clone()
            .unwrap_or_else(|| pinned.config.user.clone()),
        image_env: pinned.config.env.clone(),
        process_env: process_env(process, &ports, &variables, &vcap.to_string()),
        ports: ports.iter().map(|port| u32::from(*port)).collect(),
        memory_mb: unsigned(process.memory_mb),
        disk_mb: unsigned(process.disk_mb),
        log_rate_limit_bytes_per_second: process.log_rate_limit,
        health_check: Some(rules::liveness(process)),
        readiness_check: rules::readiness(process),
        start_timeout_ms: unsigned(process.health_timeout.unwrap_or(rules::START_TIMEOUT_SECS)) * 1000,
        grace_ms: GRACE_MS,
        stop_signal: pinned.config.stop_signal.clone(),
        ..InstanceSpec::default()
    })
}

fn image(pinned: &Pinned) -> Image {
    let layer = |layer: &model::Layer| Layer {
        digest: layer.digest.to_string(),
        diff_id: layer.diff_id.to_string(),
        size: layer.size,
        compression: crate::droplet::compression_name(layer.compression).to_owned(),
    };
    Image {
        reference: pinned.reference.clone(),
        manifest_digest: pinned.manifest_digest.clone(),
        layers: pinned.layers.iter().map(layer).collect(),
        username: pinned.username.clone().unwrap_or_default(),
        password: pinned
            .password
            .as_ref()
            .map(|p| p.expose().to_owned())
            .unwrap_or_default(),
    }
}

/// TCP ports an instance serves: those the image exposes; `web` without any gets the default.
pub fn open_ports(exposed: &[u16], process_type: &str) -> Vec<u16> {
    if exposed.is_empty() && process_type == "web" {
        vec![DEFAULT_PORT]
    } else {
        exposed.to_vec()
    }
}

fn process_env(
    process: &process::Model,
    ports: &[u16],
    user: &BTreeMap<String, String>,
    vcap: &str,
) -> Vec<String> {
    let mut env = Vec::new();
    if let Some(port) = ports.first() {
        env.push(format!("PORT={port}"));
    }
    env.extend(user.iter().map(|(name, value)| format!("{name}={value}")));
    env.push(format!("VCAP_APPLICATION={vcap}"));
    env.push(format!("MEMORY_LIMIT={}m", process.memory_mb));
    env.push(format!("VCAP_SERVICES={}", json!({})));
    env
}

#[cfg(test)]
mod tests {
    use super::open_ports;

    #[test]
    fn web_always_has_a_port() {
        assert_eq!(open_ports(&[], "web"), [8080]);
        assert_eq!(open_ports(&[80, 443], "web"), [80, 443]);
        assert!(open_ports(&[], "worker").is_empty());
    }
}
