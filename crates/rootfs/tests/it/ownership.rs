//! Owners and capabilities as the host and a process in the instance's user namespace see them.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rootfs::Rootfs;
use sys::userns::{IdExtent, user_namespace};

use crate::room::{RANGE, Room};
use crate::tars::{Meta, Tar};

/// Runs a shell line as `uid` in a user namespace with the instance's map, with the root filesystem as its root.
struct Inside<'a> {
    root: &'a Path,
    namespace: OwnedFd,
}

impl<'a> Inside<'a> {
    fn new(root: &'a Path) -> Self {
        let map = [IdExtent {
            inside: 0,
            outside: RANGE.first_host_id,
            count: RANGE.size,
        }];
        Self {
            root,
            namespace: user_namespace(&map, &map).unwrap(),
        }
    }

    fn sh(&self, uid: u32, line: &str) -> String {
        let namespace = format!(
            "--user=/proc/{}/fd/{}",
            std::process::id(),
            self.namespace.as_raw_fd()
        );
        let enter = Command::new("nsenter")
            .args([&namespace, "-S0", "-G0", "--", "chroot"])
            .args(["--groups=", &format!("--userspec={uid}:{uid}")])
            .arg(self.root)
            .args(["/bin/busybox", "sh", "-c", line])
            .output()
            .unwrap();
        assert!(
            enter.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&enter.stderr)
        );
        String::from_utf8(enter.stdout).unwrap().trim().to_owned()
    }
}

fn image(room: &Room) -> model::Digest {
    let busybox = fs::read("/bin/busybox").unwrap();
    let exec = Meta {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let user = Meta {
        mode: 0o600,
        uid: 1000,
        gid: 1001,
    };
    // cap_dac_override=ep, revision 2: no root id, as images carry it.
    let capability: [u8; 20] = [1, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    room.unpack(
        Tar::default()
            .dir("./", 0o755)
            .dir("bin", 0o755)
            .file_as("bin/busybox", &busybox, exec)
            .hard_link("bin/cat", "bin/busybox")
            .hard_link("bin/chown", "bin/busybox")
            .hard_link("bin/mkdir", "bin/busybox")
            .hard_link("bin/stat", "bin/busybox")
            .hard_link("bin/touch", "bin/busybox")
            .file_as(
                "sevens",
                "seven",
                Meta {
                    mode: 0o600,
                    uid: 7,
                    gid: 7,
                },
            )
            .pax(&[("SCHILY.xattr.security.capability", &capability)])
            .file_as("cap/cat", &busybox, exec)
            .dir_as("home", Meta { mode: 0o700, ..user })
            .file_as("home/own", "mine", user)
            .file_as(
                "secret",
                "s",
                Meta {
                    mode: 0o600,
                    uid: 0,
                    gid: 0,
                },
            )
            .file_as(
                "alien",
                "x",
                Meta {
                    mode: 0o644,
                    uid: 70_000,
                    gid: 0,
                },
            ),
    )
}

/// A set-user-id program with its libraries; busybox would not do, it drops such rights by itself.
fn set_user_id_layer(room: &Room) -> model::Digest {
    let program = "/usr/bin/head";
    let needed = Command::new("ldd").arg(program).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    let libraries = needed.split_whitespace().filter(|word| word.starts_with('/'));
    let plain = Meta {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let suid = Meta {
        mode: 0o4755,
        uid: 7,
        gid: 0,
    };
    let tar = Tar::default().file_as("suid/head", fs::read(program).unwrap(), suid);
    room.unpack(libraries.fold(tar, |tar, path| tar.file_as(path, fs::read(path).unwrap(), plain)))
}

#[test]
fn owners_are_the_images_inside_and_the_instances_outside() {
    for room in [Room::new(), Room::with(Rootfs::with_path_mounts)] {
        let layer = image(&room);
        let at = room.assemble(std::slice::from_ref(&layer));
        let owner = |path: &Path| fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
        assert_eq!(owner(&at), (300_000, 300_000));
        assert_eq!(owner(&at.join("home/own")), (301_000, 301_001));
        let inside = Inside::new(&at);
        assert_eq!(
            inside.sh(0, "stat -c %u:%g / /bin /home/own /alien"),
            "0:0\n0:0\n1000:1001\n65534:0"
        );
        // The owner reads and writes; copy-up, chown and new files give host ids of the range.
        assert_eq!(
            inside.sh(1000, "echo more >> /home/own; cat /home/own"),
            "minemore"
        );
        inside.sh(0, "touch /new; chown 33:34 /new /secret; mkdir /d; chown 1000 /d");
        inside.sh(1000, "touch /d/by-user");
        let upper = room.instance().join("rw/upper");
        assert_eq!(owner(&upper.join("home/own")), (301_000, 301_001));
        assert_eq!(owner(&upper.join("new")), (300_033, 300_034));
        assert_eq!(owner(&upper.join("secret")), (300_033, 300_034));
        assert_eq!(owner(&upper.join("d/by-user")), (301_000, 301_000));
        assert_eq!(inside.sh(0, "stat -c %u /secret /d/by-user"), "33\n1000");
        // The layer itself is as it was.
        assert_eq!(owner(&room.layer_dir(&layer).join("home/own")), (1000, 1001));
        room.clean();
        room.assert_clean();
    }
}

#[test]
fn set_user_id_and_file_capabilities_work_inside() {
    let room = Room::new();
    let layers = [image(&room), set_user_id_layer(&room)];
    let at = room.assemble(&layers);
    let inside = Inside::new(&at);
    assert_eq!(
        inside.sh(1000, "cat /sevens 2>&- || /suid/head -n1 /sevens"),
        "seven"
    );
    assert_eq!(inside.sh(1000, "cat /secret 2>&- || echo refused"), "refused");
    assert_eq!(inside.sh(1000, "/cap/cat /secret"), "s");
    // Copied up, the capability still counts.
    inside.sh(0, "touch /cap/cat");
    assert_eq!(inside.sh(1000, "/cap/cat /secret"), "s");
    room.clean();
    room.assert_clean();
}

#[test]
fn two_instances_share_layers_and_nothing_else() {
    let room = Room::new();
    let layer = image(&room);
    let first = room.assemble(std::slice::from_ref(&layer));
    let (instance, target) = (room.path().join("second"), room.path().join("second-root"));
    let id_range = rootfs::IdRange {
        first_host_id: 900_000,
        size: 65_536,
    };
    let spec = rootfs::RootfsSpec {
        layers: &[layer],
        instance_dir: &instance,
        writable_bytes: None,
        id_range,
        target: &target,
    };
    let second = room.rootfs.assemble(&spec).unwrap();
    fs::write(first.join("home/own"), "changed").unwrap();
    assert_eq!(
        fs::read_to_string(second.target.join("home/own")).unwrap(),
        "mine"
    );
    assert_eq!(
        fs::metadata(second.target.join("home/own")).unwrap().uid(),
        901_000
    );
    assert_eq!(fs::metadata(first.join("home/own")).unwrap().uid(), 301_000);
    room.rootfs.unmount(&target).unwrap();
    room.rootfs.discard(&instance).unwrap();
    room.clean();
    room.assert_clean();
}
