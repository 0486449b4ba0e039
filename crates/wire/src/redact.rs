//! Printing of messages that hold secrets: a registry password, the environment of an app.

use std::fmt;

use crate::v1::{Image, InstanceSpec};

impl fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceSpec")
            .field("instance_guid", &self.instance_guid)
            .field("process_guid", &self.process_guid)
            .field("process_version", &self.process_version)
            .field("index", &self.index)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("reference", &self.reference)
            .field("manifest_digest", &self.manifest_digest)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::RunRequest;

    #[test]
    fn secrets_do_not_print() {
        let image = Image {
            username: "bob".into(),
            password: "hush".into(),
            ..Image::default()
        };
        let spec = InstanceSpec {
            image: Some(image),
            process_env: vec!["TOKEN=hush".into()],
            image_env: vec!["KEY=hush".into()],
            argv: vec!["--password=hush".into()],
            ..InstanceSpec::default()
        };
        let text = format!(
            "{:?}",
            RunRequest {
                instances: vec![spec]
            }
        );
        assert!(!text.contains("hush") && text.contains("InstanceSpec"), "{text}");
    }
}
