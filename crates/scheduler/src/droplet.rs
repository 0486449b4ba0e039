//! What comes out of staging, as rows: the droplet, and the end of its build.
//!
//! `image` is the canonical form of the reference: it means the same under any default registry, so that a changed
//! setting does not change what a droplet is; where the user named a host and a tag it is what they wrote.

use image::Resolved;
use model::{Port, Protocol};
use serde::Serialize;
use serde_json::json;
use store::{StoreError, build, config_column, droplet, layers_column, new_guid};

use crate::Settings;
use crate::stage::{Job, STAGED, STAGING};

const FAILED: &str = "FAILED";

/// How an image is run, as API consumers read it (cloudfoundry/dockerapplifecycle:protocol/protocol.go): empty parts
/// are left out, and `Port` and `Protocol` are capitalised.
#[derive(Serialize)]
struct ExecutionMetadata<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    workdir: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<PortMetadata>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
}

#[derive(Serialize)]
struct PortMetadata {
    #[serde(rename = "Port")]
    port: u16,
    #[serde(rename = "Protocol")]
    protocol: &'static str,
}

/// Writes the droplet and ends the build. False if the build is gone or was ended by somebody else: then nothing is
/// written.
pub(crate) async fn finish(
    settings: &Settings,
    job: &Job,
    image: &image::Reference,
    resolved: &Resolved,
) -> Result<bool, StoreError> {
    let tx = settings.store.write().await?;
    let Some(row) = tx.find::<build::Entity>(&job.build).await? else {
        return Ok(false);
    };
    if row.state != STAGING {
        return Ok(false);
    }
    let droplet = tx
        .insert::<droplet::Entity>(droplet(settings, job, image, resolved))
        .await?;
    let row = build::Model {
        state: STAGED.to_owned(),
        droplet_guid: Some(droplet.guid),
        ..row
    };
    tx.update::<build::Entity>(row).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends the build with an error.
pub(crate) async fn fail(settings: &Settings, build: &str, error: &str) -> Result<(), StoreError> {
    let tx = settings.store.write().await?;
    let Some(row) = tx.find::<build::Entity>(build).await? else {
        return Ok(());
    };
    if row.state != STAGING {
        return Ok(());
    }
    let row = build::Model {
        state: FAILED.to_owned(),
        error: Some(error.to_owned()),
        ..row
    };
    tx.update::<build::Entity>(row).await?;
    tx.commit().await
}

fn droplet(settings: &Settings, job: &Job, image: &image::Reference, resolved: &Resolved) -> droplet::Model {
    let guid = new_guid();
    // Only what the user gave: credentials for the own registry are made anew for each use.
    let given = job.credentials.as_ref();
    let password_sealed = given.map(|c| settings.sealer.seal(&c.password, &guid));
    droplet::Model {
        id: 0,
        guid,
        created_at: 0,
        updated_at: 0,
        app_guid: job.app.clone(),
        package_guid: job.package.clone(),
        build_guid: job.build.clone(),
        state: STAGED.to_owned(),
        error: None,
        image: image.canonical(),
        index_digest: resolved.index_digest.as_ref().map(ToString::to_string),
        manifest_digest: resolved.manifest_digest.to_string(),
        layers: layers_column(&resolved.layers),
        config: config_column(&resolved.config),
        process_types: json!({"web": resolved.config.argv().join(" ")}).to_string(),
        execution_metadata: execution_metadata(&resolved.config),
        username: given.map(|c| c.username.clone()),
        password_sealed,
    }
}

fn execution_metadata(config: &model::ImageConfig) -> String {
    let port = |port: &Port| PortMetadata {
        port: port.number,
        protocol: protocol(port.protocol),
    };
    let metadata = ExecutionMetadata {
        cmd: &config.cmd,
        entrypoint: &config.entrypoint,
        workdir: &config.workdir,
        ports: config.ports.iter().map(port).collect(),
        user: &config.user,
    };
    serde_json::to_string(&metadata).expect("plain structs become JSON")
}

/// `tcp`, `udp`.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ImageConfig;

    #[test]
    fn execution_metadata_is_the_reference_s() {
        assert_eq!(execution_metadata(&ImageConfig::default()), "{}");
        let config = ImageConfig {
            entrypoint: vec!["/bin/app".to_owned()],
            cmd: vec!["serve".to_owned()],
            workdir: "/srv".to_owned(),
            user: "app".to_owned(),
            ports: vec![
                Port {
                    number: 53,
                    protocol: Protocol::Udp,
                },
                Port {
                    number: 8080,
                    protocol: Protocol::Tcp,
                },
            ],
            ..ImageConfig::default()
        };
        assert_eq!(
            execution_metadata(&config),
            r#"{"cmd":["serve"],"entrypoint":["/bin/app"],"workdir":"/srv","ports":[{"Port":53,"Protocol":"udp"},{"Port":8080,"Protocol":"tcp"}],"user":"app"}"#
        );
    }
}
