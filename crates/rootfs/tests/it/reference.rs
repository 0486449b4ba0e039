//! Against GNU tar: a tree with everything it can pack, unpacked by it and by us, is the same tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::room::{LIMITS, Room, listing};
use crate::tars::{gzip, layer, origin};

fn run(program: &str, args: &[&str], dir: &Path) {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A root filesystem of busybox with its applets as hard and symbolic links, and some of everything else.
fn busybox_tree(at: &Path) {
    for dir in ["bin", "etc", "tmp", "var/lib/deep/er", "empty"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", at.join("bin/busybox")).unwrap();
    for applet in ["sh", "ls", "cat", "httpd"] {
        fs::hard_link(at.join("bin/busybox"), at.join("bin").join(applet)).unwrap();
        symlink("busybox", at.join("bin").join(format!("{applet}.link"))).unwrap();
    }
    symlink("/etc/passwd", at.join("absolute")).unwrap();
    symlink("../../../..", at.join("var/up")).unwrap();
    fs::write(at.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(at.join("etc").join("n".repeat(200)), "long name").unwrap();
    fs::set_permissions(at.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let sparse = fs::File::create(at.join("var/lib/sparse")).unwrap();
    sparse.set_len(9_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 5_000_000).unwrap();
    std::os::unix::fs::chown(at.join("etc/passwd"), Some(12), Some(34)).unwrap();
    fs::set_permissions(at.join("bin/busybox"), fs::Permissions::from_mode(0o4711)).unwrap();
    rustix::fs::setxattr(
        at.join("etc/passwd"),
        "user.note",
        b"line\nline",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let fifo = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at.join("pipe"),
        rustix::fs::FileType::Fifo,
        fifo,
        0,
    )
    .unwrap();
}

#[test]
fn the_tree_is_the_one_gnu_tar_makes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    busybox_tree(&source);
    for (number, format) in ["--format=gnu", "--format=posix"].into_iter().enumerate() {
        let archive = dir.path().join(format!("{number}.tar"));
        let name = archive.to_str().unwrap();
        let xattrs: &[&str] = if format == "--format=posix" {
            &["--xattrs", "--xattrs-include=*"]
        } else {
            &[]
        };
        run(
            "tar",
            &[&["-cSf", name, format, "--numeric-owner"], xattrs, &["."]].concat(),
            &source,
        );
        let theirs = dir.path().join(format!("theirs{number}"));
        fs::create_dir(&theirs).unwrap();
        run(
            "tar",
            &[&["-xpf", name, "--numeric-owner"], xattrs].concat(),
            &theirs,
        );
        let tar = fs::read(&archive).unwrap();
        let room = Room::new();
        room.store
            .unpack(&layer(&tar), &origin(), &gzip(&tar)[..], LIMITS)
            .unwrap();
        let ours = listing(&room.layer_dir(&layer(&tar).diff_id));
        assert_eq!(ours, listing(&theirs), "{format}");
        assert_eq!(ours.len(), listing(&source).len());
    }
}
