//! Mount options by their mount(8) names (opencontainers/runtime-spec:config.md "Linux mount options").

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use super::Failure;
use crate::oci::Mount;

/// What the options of a mount ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Attributes of the mount.
    pub attributes: MountAttrFlags,
    /// How later mounts below spread.
    pub propagation: Option<MountPropagationFlags>,
    /// Words for the filesystem, with their values.
    pub data: Vec<(String, Option<String>)>,
}

/// What the specification knows and this runtime does not do. Passing them on or leaving them out would give a
/// container other than asked for.
const UNSUPPORTED: &[&str] = &[
    "tmpcopyup",
    "idmap",
    "ridmap",
    "remount",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnoatime",
    "rstrictatime",
    "rrelatime",
    "rnodiratime",
    "rdiratime",
    "rnosymfollow",
    "rsymfollow",
    "mand",
    "iversion",
];

/// Reads the options of `mount`.
///
/// # Errors
/// Names an option that is not supported.
pub(crate) fn parse(mount: &Mount) -> Result<Options, Failure> {
    let mut options = Options {
        attributes: MountAttrFlags::empty(),
        propagation: None,
        data: Vec::new(),
    };
    for option in &mount.options {
        if UNSUPPORTED.contains(&option.as_str()) {
            return Err(unsupported(mount, option));
        }
        if let Some((flag, on)) = attribute(option) {
            options.attributes.set(flag, on);
        } else if let Some(propagation) = propagation(option) {
            options.propagation = Some(propagation);
        } else if !is_default(option) {
            if mount.is_bind() {
                return Err(unsupported(mount, option));
            }
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (option.as_str(), None),
            };
            options.data.push((key.to_owned(), value));
        }
    }
    Ok(options)
}

fn unsupported(mount: &Mount, option: &str) -> Failure {
    Failure::refused(format!(
        "mount option {option} of {} is not supported by the built-in runtime",
        mount.destination
    ))
}

/// Words that say what holds anyway. Every instance of devpts is a new one since Linux 4.7.
fn is_default(option: &str) -> bool {
    matches!(
        option,
        "bind" | "rbind" | "defaults" | "async" | "silent" | "loud" | "nomand" | "noiversion" | "newinstance"
    )
}

/// The attribute an option sets or clears. The three kinds of access times exclude each other; "relatime" is what
/// the kernel does without a word.
fn attribute(option: &str) -> Option<(MountAttrFlags, bool)> {
    use MountAttrFlags as Flags;
    Some(match option {
        "ro" => (Flags::MOUNT_ATTR_RDONLY, true),
        "rw" => (Flags::MOUNT_ATTR_RDONLY, false),
        "nosuid" => (Flags::MOUNT_ATTR_NOSUID, true),
        "suid" => (Flags::MOUNT_ATTR_NOSUID, false),
        "nodev" => (Flags::MOUNT_ATTR_NODEV, true),
        "dev" => (Flags::MOUNT_ATTR_NODEV, false),
        "noexec" => (Flags::MOUNT_ATTR_NOEXEC, true),
        "exec" => (Flags::MOUNT_ATTR_NOEXEC, false),
        "nodiratime" => (Flags::MOUNT_ATTR_NODIRATIME, true),
        "diratime" => (Flags::MOUNT_ATTR_NODIRATIME, false),
        "nosymfollow" => (Flags::MOUNT_ATTR_NOSYMFOLLOW, true),
        "symfollow" => (Flags::MOUNT_ATTR_NOSYMFOLLOW, false),
        "strictatime" => (Flags::MOUNT_ATTR_STRICTATIME, true),
        "nostrictatime" => (Flags::MOUNT_ATTR_STRICTATIME, false),
        "noatime" => (Flags::MOUNT_ATTR_NOATIME, true),
        "atime" => (Flags::MOUNT_ATTR_NOATIME, false),
        "relatime" | "norelatime" => (Flags::MOUNT_ATTR_NOATIME | Flags::MOUNT_ATTR_STRICTATIME, false),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    Some(match option {
        "private" | "rprivate" => MountPropagationFlags::PRIVATE,
        "slave" | "rslave" => MountPropagationFlags::DOWNSTREAM,
        "shared" | "rshared" => MountPropagationFlags::SHARED,
        "unbindable" | "runbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount {
            destination: "/x".to_owned(),
            kind: kind.to_owned(),
            source: kind.to_owned(),
            options: options.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn the_last_word_on_an_attribute_wins_and_data_is_kept() {
        let got = parse(&mount("tmpfs", &["ro", "nosuid", "rw", "size=4k", "rslave"])).expect("known");
        assert_eq!(got.attributes, MountAttrFlags::MOUNT_ATTR_NOSUID);
        assert_eq!(got.propagation, Some(MountPropagationFlags::DOWNSTREAM));
        assert_eq!(got.data, [("size".to_owned(), Some("4k".to_owned()))]);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (kind, option) in [
            ("tmpfs", "tmpcopyup"),
            ("bind", "size=1"),
            ("bind", "rro"),
            ("tmpfs", "idmap"),
        ] {
            let refused = parse(&mount(kind, &["ro", option]))
                .expect_err(option)
                .to_string();
            assert!(refused.contains(option) && refused.contains("/x"), "{refused}");
        }
    }
}
