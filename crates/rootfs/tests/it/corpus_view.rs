//! A root filesystem as a container sees it, beside the same one as another tool makes it, compared path by path.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use crate::tars::digest;

/// What there is to say of each path.
pub type View = BTreeMap<String, BTreeMap<String, String>>;

/// Lists a tree without following anything: one line per path, fields apart by tabs. Times of the last hour are `now`:
/// directories that nobody gave a time.
const LISTER: &str = r#"
import os, stat, sys, hashlib, time
root = os.fsencode(sys.argv[1])
rows, groups = [], {}
def look(path, name):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    row = {'type': {stat.S_IFREG: 'file', stat.S_IFDIR: 'dir', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo',
                    stat.S_IFCHR: 'char', stat.S_IFBLK: 'block', stat.S_IFSOCK: 'socket'}[kind],
           'uid': s.st_uid, 'gid': s.st_gid,
           'mtime': 'now' if abs(time.time() - s.st_mtime) < 3600 else s.st_mtime_ns}
    if kind != stat.S_IFLNK: row['mode'] = oct(stat.S_IMODE(s.st_mode))
    if kind == stat.S_IFREG:
        h = hashlib.sha256()
        with open(path, 'rb') as f:
            while piece := f.read(1 << 20): h.update(piece)
        row['size'], row['sha256'] = s.st_size, h.hexdigest()
    if kind == stat.S_IFLNK: row['target'] = os.readlink(path).hex()
    if kind in (stat.S_IFCHR, stat.S_IFBLK): row['device'] = f'{os.major(s.st_rdev)}:{os.minor(s.st_rdev)}'
    for attr in sorted(os.listxattr(path, follow_symlinks=False)):
        row['xattr ' + attr] = os.getxattr(path, attr, follow_symlinks=False).hex()
    rows.append((name, row))
    if kind == stat.S_IFDIR:
        for child in sorted(os.listdir(path)): look(path + b'/' + child, name + b'/' + child)
    else:
        groups.setdefault((s.st_dev, s.st_ino), []).append((name, row))
look(root, b'')
for group in groups.values():
    if len(group) > 1:
        for _, row in group: row['links'] = b' '.join(n for n, _ in group).hex()
for name, row in rows:
    print('\t'.join([name.hex()] + [f'{k}={v}' for k, v in row.items()]))
"#;

/// As the host sees it.
pub fn outside(root: &Path) -> View {
    list(Command::new("python3"), root)
}

/// As root of a user namespace sees it.
pub fn inside(namespace: &OwnedFd, root: &Path) -> View {
    let user = format!("--user=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let mut enter = Command::new("nsenter");
    enter.args([&user, "-S0", "-G0", "--", "python3"]);
    list(enter, root)
}

fn list(mut python: Command, root: &Path) -> View {
    let output = python.args(["-c", LISTER]).arg(root).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let field = |text: &str| {
        text.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    let row = |line: &str| {
        let mut fields = line.split('\t');
        let name = hex::decode(fields.next().unwrap()).unwrap();
        let name = match name.len() {
            0 => "/".to_owned(),
            // Long names are told apart by their digest.
            301.. => format!("{}… {}", name[..60].escape_ascii(), &digest(&name).hex()[..8]),
            _ => name.escape_ascii().to_string(),
        };
        (name, fields.filter_map(field).collect())
    };
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(row)
        .collect()
}

/// Every difference, as `path: what, ours, theirs`.
pub fn differences(ours: &View, theirs: &View) -> Vec<String> {
    let mut found = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (Some(own), Some(their)) = (ours.get(path), theirs.get(path)) else {
            let who = if ours.contains_key(path) {
                "only ours"
            } else {
                "only theirs"
            };
            found.push(format!("{path}: {who}"));
            continue;
        };
        for key in own.keys().chain(their.keys()).collect::<BTreeSet<_>>() {
            if own.get(key) != their.get(key) {
                let show =
                    |row: &BTreeMap<String, String>| row.get(key).map_or("-", String::as_str).to_owned();
                found.push(format!("{path}: {key}, {}, {}", show(own), show(their)));
            }
        }
    }
    found
}
