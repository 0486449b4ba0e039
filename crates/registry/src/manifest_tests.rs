//! Tests of what is accepted as a manifest.

use serde_json::{Value, json};

use super::*;

fn digest(n: u8) -> String {
    Digest::from_sha256(&[n; 32]).to_string()
}

fn image(extra: Value) -> Value {
    let mut document = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "a/b", "digest": digest(1), "size": 1},
        "layers": [{"digest": digest(2), "size": 2}, {"digest": digest(3), "size": 3, "urls": ["https://elsewhere"]}],
    });
    for (name, value) in extra.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn read(content_type: Option<&str>, document: &Value) -> Result<Checked, String> {
    check(content_type, document.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn images_need_their_config_and_their_own_layers() {
    let needs = vec![(digest(1).parse().unwrap(), 1), (digest(2).parse().unwrap(), 2)];
    let want = Checked {
        media_type: DOCKER_MANIFEST,
        kind: Kind::Image,
        needs,
    };
    assert_eq!(read(Some(DOCKER_MANIFEST), &image(json!({}))).unwrap(), want);
    assert_eq!(
        read(None, &image(json!({"mediaType": DOCKER_MANIFEST}))).unwrap(),
        want
    );
    assert_eq!(
        read(Some(&format!("{OCI_MANIFEST}; charset=utf-8")), &image(json!({})))
            .unwrap()
            .media_type,
        OCI_MANIFEST
    );
    assert_eq!(read(None, &image(json!({}))).unwrap().media_type, OCI_MANIFEST);
}

#[test]
fn indexes_need_their_manifests() {
    let index = json!({"schemaVersion": 2, "manifests": [{"digest": digest(7), "size": 9}]});
    let want = vec![(digest(7).parse().unwrap(), 9)];
    assert_eq!(
        read(None, &index).unwrap(),
        Checked {
            media_type: OCI_INDEX,
            kind: Kind::Index,
            needs: want
        }
    );
    assert_eq!(read(Some(DOCKER_LIST), &index).unwrap().media_type, DOCKER_LIST);
}

#[test]
fn what_is_not_clearly_a_manifest_is_refused() {
    let cases = [
        (None, json!([])),
        (None, json!({"schemaVersion": 1})),
        (None, json!({"schemaVersion": 2})),
        (None, image(json!({"manifests": []}))),
        (None, image(json!({"config": null}))),
        (
            None,
            image(json!({"layers": [{"digest": "sha512:00", "size": 1}]})),
        ),
        (
            None,
            image(json!({"layers": [{"digest": digest(1), "size": -1}]})),
        ),
        (Some(OCI_INDEX), image(json!({}))),
        (Some(OCI_MANIFEST), image(json!({"mediaType": DOCKER_MANIFEST}))),
        (Some("application/json"), image(json!({}))),
        (
            Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            image(json!({})),
        ),
    ];
    for (content_type, document) in cases {
        assert!(
            read(content_type, &document).is_err(),
            "{content_type:?} {document}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(check(None, deep.as_bytes()).is_err());
    assert!(check(None, b"{\"schemaVersion\":2,\"schemaVersion\":2}").is_err());
}

#[test]
fn tags_sort_regardless_of_case() {
    let mut tags = vec!["b", "C", "a", "B", "1"];
    tags.sort_by_cached_key(|tag| tag_order(tag));
    assert_eq!(tags, ["1", "a", "B", "b", "C"]);
}
