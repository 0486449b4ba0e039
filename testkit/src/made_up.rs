//! Parts of images that nobody runs, for tests that look at bytes and documents only.

use serde_json::{Value, json};

use crate::image::digest;

/// Bytes that do not repeat and are the same in each run.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The diff id that [`config`] gives a layer: it cannot be the true one, for noise is no archive.
pub fn diff_id(layer: &[u8]) -> String {
    digest(&[layer, b"diff"].concat())
}

/// An image configuration that says something of everything, with one diff id per layer.
pub fn config(architecture: &str, layers: &[Vec<u8>]) -> Value {
    let ids: Vec<String> = layers.iter().map(|layer| diff_id(layer)).collect();
    json!({"os": "linux", "architecture": architecture, "created": "2024-05-06T07:08:09Z",
        "config": {"Cmd": ["serve"], "Entrypoint": ["/bin/app"], "Env": ["A=1"], "WorkingDir": "/srv",
            "User": "app", "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "Labels": {"team": "x"}},
        "rootfs": {"type": "layers", "diff_ids": ids}})
}
