//! Busybox images in a registry, and what a scheduler says of them.

use testkit::docker_registry::DockerRegistry;
use testkit::image::Layer;
use wire::v1::Image;

/// Pushes the layers under `name`; what a scheduler would say of the image.
pub async fn push(registry: &DockerRegistry, name: &str, layers: Vec<Layer>) -> Image {
    let pusher = registry.pusher().expect("a client");
    let mut said = Vec::new();
    for layer in layers {
        let packed = layer.pack().expect("memory takes it");
        let digest = pusher.blob(name, &packed.blob).await;
        said.push(wire::v1::Layer {
            digest: digest.expect("the registry takes it"),
            diff_id: packed.diff_id,
            size: packed.blob.len() as u64,
            compression: "gzip".to_owned(),
        });
    }
    Image {
        reference: format!("{}/{name}:latest", registry.host()),
        layers: said,
        ..Image::default()
    }
}

/// A layer with busybox, a home, and a web page.
pub fn busybox() -> Layer {
    Layer::of_busybox()
        .and_then(|layer| layer.dir("home/app", 0o755))
        .and_then(|layer| layer.dir("www", 0o755))
        .and_then(|layer| layer.file("www/index.html", 0o644, b"hello from busybox\n"))
        .expect("busybox-static is installed")
}

/// A layer with one file of zeros.
pub fn zeros(name: &str, bytes: usize) -> Layer {
    let layer = Layer::new().file(name, 0o644, &vec![0; bytes]);
    layer.expect("memory takes it")
}
