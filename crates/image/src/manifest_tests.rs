//! What is read, chosen and refused.

use serde_json::{Value, json};

use super::*;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(n: u8) -> String {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
}

fn entry(n: u8, platform: &str) -> Value {
    let mut parts = platform.split('/');
    let mut value = json!({"mediaType": OCI_IMAGE, "digest": digest(n), "size": 1,
        "platform": {"os": parts.next(), "architecture": parts.next()}});
    if let Some(variant) = parts.next() {
        value["platform"]["variant"] = json!(variant);
    }
    value
}

fn index(entries: &[Value]) -> Vec<Entry> {
    let text = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
    match parse(text.as_bytes(), OCI_INDEX).unwrap() {
        Manifest::Index(entries) => entries,
        Manifest::Image(_) => panic!("an index was read as an image"),
    }
}

fn wanted(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Platform {
        os: next(),
        architecture: next(),
        variant: next(),
    }
}

fn layered(media_types: &[&str]) -> Result<Manifest, Fault> {
    let layers: Vec<Value> = media_types
        .iter()
        .map(|t| json!({"mediaType": t, "digest": digest(2), "size": 7}))
        .collect();
    let config =
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(1), "size": 3});
    parse(
        json!({"schemaVersion": 2, "config": config, "layers": layers})
            .to_string()
            .as_bytes(),
        OCI_IMAGE,
    )
}

#[test]
fn the_best_platform_is_chosen_and_attestations_are_not() {
    let mut attestation = entry(9, "unknown/unknown");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let mut disguised = entry(8, "linux/amd64");
    disguised["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let entries = index(&[
        attestation,
        disguised,
        entry(1, "linux/amd64/v3"),
        entry(2, "linux/amd64"),
        entry(3, "linux/arm/v5"),
        entry(4, "linux/arm/v6"),
        entry(5, "linux/arm64/v8"),
        entry(6, "windows/amd64"),
    ]);
    for (platform, n) in [
        ("linux/amd64", 2),
        ("linux/amd64/v3", 1),
        ("linux/arm", 4),
        ("linux/arm/v5", 3),
        ("linux/arm64", 5),
    ] {
        assert_eq!(
            select(&entries, &wanted(platform)).unwrap().digest,
            digest(n),
            "{platform}"
        );
    }
    let available = select(&entries, &wanted("linux/s390x")).unwrap_err();
    let names: Vec<String> = available.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "linux/amd64/v3",
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm64/v8",
            "windows/amd64"
        ]
    );
}

#[test]
fn an_entry_without_platform_is_the_last_resort() {
    let bare = json!({"mediaType": OCI_IMAGE, "digest": digest(1), "size": 1});
    let entries = index(&[bare.clone(), entry(2, "linux/amd64")]);
    assert_eq!(
        select(&entries, &wanted("linux/amd64")).unwrap().digest,
        digest(2)
    );
    assert_eq!(
        select(&index(&[bare]), &wanted("linux/amd64")).unwrap().digest,
        digest(1)
    );
    assert_eq!(select(&index(&[]), &wanted("linux/amd64")).unwrap_err(), []);
}

#[test]
fn layers_are_known_by_their_media_type() {
    let known = [
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "",
    ];
    let Manifest::Image(image) = layered(&known).unwrap() else {
        panic!("an image was read as an index")
    };
    let id: Digest = digest(5).parse().unwrap();
    let layers = image.layers(vec![id.clone(); 5]).unwrap();
    let kinds: Vec<Compression> = layers.iter().map(|layer| layer.compression).collect();
    use Compression::{Gzip, None, Zstd};
    assert_eq!(kinds, [Gzip, None, Gzip, Zstd, Gzip]);
    assert_eq!((layers[0].diff_id.clone(), layers[0].size), (id.clone(), 7));
    for (bad, word) in [
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "foreign",
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "foreign",
        ),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "unknown"),
        ("text/plain", "unknown"),
    ] {
        match layered(&[bad]) {
            Err(Fault::Unsupported(text)) => assert!(text.contains(word) && text.contains(bad), "{text}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    assert!(matches!(
        layered(&vec![""; MAX_LAYERS + 1]),
        Err(Fault::Unsupported(_))
    ));
    let Ok(Manifest::Image(image)) = layered(&["", ""]) else {
        panic!("two layers are an image")
    };
    assert!(matches!(image.layers(vec![id]), Err(Fault::Malformed(_))));
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let helm =
        json!({"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(1), "size": 1});
    let check =
        |value: Value, content_type: &str| parse(value.to_string().as_bytes(), content_type).unwrap_err();
    assert_eq!(
        check(json!({"schemaVersion": 1, "fsLayers": []}), "application/json"),
        Fault::Schema1
    );
    assert_eq!(
        check(
            json!({}),
            "application/vnd.docker.distribution.manifest.v1+prettyjws"
        ),
        Fault::Schema1
    );
    let unsupported = [
        (
            json!({"schemaVersion": 2, "config": helm, "layers": []}),
            OCI_IMAGE,
        ),
        (
            json!({"schemaVersion": 2}),
            "application/vnd.oci.artifact.manifest.v1+json",
        ),
        (json!({"schemaVersion": 3, "manifests": []}), OCI_INDEX),
    ];
    for (value, content_type) in unsupported {
        assert!(
            matches!(check(value.clone(), content_type), Fault::Unsupported(_)),
            "{value}"
        );
    }
}

#[test]
fn contradictions_and_bad_bytes_are_malformed() {
    let descriptor = json!({"mediaType": "", "digest": digest(1), "size": 1});
    let malformed = [
        (
            json!({"schemaVersion": 2, "manifests": [], "layers": [], "config": descriptor}),
            OCI_INDEX,
        ),
        (json!({"schemaVersion": 2, "manifests": []}), OCI_IMAGE),
        (
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "layers": [], "config": descriptor}),
            OCI_INDEX,
        ),
        (json!({"schemaVersion": 2, "config": descriptor}), OCI_IMAGE),
        (
            json!({"config": {"digest": "md5:1", "size": 1}, "layers": []}),
            OCI_IMAGE,
        ),
        (
            json!({"config": {"digest": digest(1), "size": -1}, "layers": []}),
            OCI_IMAGE,
        ),
        (json!([1]), "text/html"),
    ];
    for (value, content_type) in malformed {
        assert!(
            matches!(
                parse(value.to_string().as_bytes(), content_type),
                Err(Fault::Malformed(_))
            ),
            "{value}"
        );
    }
    assert!(matches!(
        parse("[".repeat(100_000).as_bytes(), OCI_INDEX),
        Err(Fault::Malformed(_))
    ));
}
