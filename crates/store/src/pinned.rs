//! The two JSON columns of a droplet: its layers, and how its image is run.

use model::{Compression, ImageConfig, Layer, Port, Protocol};
use serde::{Deserialize, Serialize};

use crate::droplet;

/// A column that does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("droplet {guid} is damaged")]
pub struct Damaged {
    guid: String,
    #[source]
    source: serde_json::Error,
}

#[derive(Serialize, Deserialize)]
struct LayerRow {
    digest: String,
    diff_id: String,
    size: u64,
    compression: CompressionRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CompressionRow {
    None,
    Gzip,
    Zstd,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ConfigRow {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    workdir: String,
    user: String,
    tcp_ports: Vec<u16>,
    udp_ports: Vec<u16>,
    stop_signal: String,
}

/// The `layers` column.
pub fn layers_column(layers: &[Layer]) -> String {
    let row = |layer: &Layer| LayerRow {
        digest: layer.digest.to_string(),
        diff_id: layer.diff_id.to_string(),
        size: layer.size,
        compression: match layer.compression {
            Compression::None => CompressionRow::None,
            Compression::Gzip => CompressionRow::Gzip,
            Compression::Zstd => CompressionRow::Zstd,
        },
    };
    let rows: Vec<LayerRow> = layers.iter().map(row).collect();
    serde_json::to_string(&rows).expect("plain structs become JSON")
}

/// The `config` column.
pub fn config_column(config: &ImageConfig) -> String {
    let of = |protocol| {
        config
            .ports
            .iter()
            .filter(move |p| p.protocol == protocol)
            .map(|p| p.number)
            .collect()
    };
    let row = ConfigRow {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        workdir: config.workdir.clone(),
        user: config.user.clone(),
        tcp_ports: of(Protocol::Tcp),
        udp_ports: of(Protocol::Udp),
        stop_signal: config.stop_signal.clone(),
    };
    serde_json::to_string(&row).expect("plain structs become JSON")
}

impl droplet::Model {
    /// The layers, bottom first.
    pub fn read_layers(&self) -> Result<Vec<Layer>, Damaged> {
        let damaged = |source| Damaged {
            guid: self.guid.clone(),
            source,
        };
        let rows: Vec<LayerRow> = serde_json::from_str(&self.layers).map_err(damaged)?;
        let digest = |text: &str| {
            text.parse()
                .map_err(|error: model::DigestError| damaged(serde::de::Error::custom(error)))
        };
        rows.iter()
            .map(|row| {
                Ok(Layer {
                    digest: digest(&row.digest)?,
                    diff_id: digest(&row.diff_id)?,
                    size: row.size,
                    compression: match row.compression {
                        CompressionRow::None => Compression::None,
                        CompressionRow::Gzip => Compression::Gzip,
                        CompressionRow::Zstd => Compression::Zstd,
                    },
                })
            })
            .collect()
    }

    /// How the image is run.
    pub fn read_config(&self) -> Result<ImageConfig, Damaged> {
        let damaged = |source| Damaged {
            guid: self.guid.clone(),
            source,
        };
        let row: ConfigRow = serde_json::from_str(&self.config).map_err(damaged)?;
        let port = |protocol| move |&number: &u16| Port { number, protocol };
        let mut ports: Vec<Port> = row.tcp_ports.iter().map(port(Protocol::Tcp)).collect();
        ports.extend(row.udp_ports.iter().map(port(Protocol::Udp)));
        ports.sort_unstable();
        Ok(ImageConfig {
            entrypoint: row.entrypoint,
            cmd: row.cmd,
            env: row.env,
            workdir: row.workdir,
            user: row.user,
            ports,
            stop_signal: row.stop_signal,
        })
    }
}
