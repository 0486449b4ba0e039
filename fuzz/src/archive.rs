//! Bytes of the fuzzer to a well-formed tar.

/// Names of a path: few, so that entries meet. Some are refused, which ends the layer.
const NAMES: [&[u8]; 16] = [
    b"a",
    b"b",
    b"c",
    b"a",
    b"b",
    b"d",
    b"a",
    b"\xff\n",
    b".wh.a",
    b".wh.b",
    b".wh..wh..opq",
    b".",
    b"",
    b".wh..wh.plnk",
    b".wh.",
    b"..",
];
/// Targets of links that are no such path.
const TARGETS: [&str; 8] = [
    "/",
    ".",
    "..",
    "../../outside",
    "/a",
    "/b/../c",
    "/proc/self/cwd",
    "a/b/../../..",
];

struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn path(&mut self) -> Vec<u8> {
        let shape = self.byte();
        let mut path = Vec::new();
        for _ in 0..=shape % 4 {
            path.push(NAMES[usize::from(self.byte()) % NAMES.len()]);
        }
        path.join(&b'/')
    }

    fn target(&mut self) -> Vec<u8> {
        match self.byte() {
            n @ 0..=63 => TARGETS[usize::from(n) % TARGETS.len()].as_bytes().to_vec(),
            64..=95 => crate::bait().into_bytes(),
            96..=127 => [b"/", &self.path()[..]].concat(),
            _ => self.path(),
        }
    }
}

/// The tar that `data` stands for: at most 64 entries.
pub fn of(data: &[u8]) -> Vec<u8> {
    let mut source = Source(data);
    let mut tar = Vec::new();
    for _ in 0..64 {
        if source.0.is_empty() {
            break;
        }
        entry(&mut source, &mut tar);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn entry(source: &mut Source<'_>, tar: &mut Vec<u8>) {
    let choice = source.byte();
    let mode = [0o644, 0o755, 0o4755, 0o1777][usize::from(choice >> 6)];
    let kind = match choice & 15 {
        0..=2 => b'0',
        3..=6 => b'5',
        7..=9 => b'2',
        10..=12 => b'1',
        13 => b'6',
        14 => b'3',
        _ => {
            attribute(source.byte(), tar);
            return entry_of(b'0', mode, source, tar);
        }
    };
    entry_of(kind, mode, source, tar);
}

fn entry_of(kind: u8, mode: u32, source: &mut Source<'_>, tar: &mut Vec<u8>) {
    let path = source.path();
    let link = if matches!(kind, b'1' | b'2') {
        source.target()
    } else {
        Vec::new()
    };
    let data: &[u8] = if kind == b'0' { b"content" } else { b"" };
    let owner = u32::from(source.byte());
    push(
        tar,
        &Header {
            kind,
            mode,
            owner,
            path: &path,
            link: &link,
        },
        data,
    );
}

/// A pax header with one attribute.
fn attribute(choice: u8, tar: &mut Vec<u8>) {
    let key = [
        "user.x",
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "security.capability",
        "system.posix_acl_access",
        "security.ima",
    ][usize::from(choice) % 6];
    let record = format!(" SCHILY.xattr.{key}=y\n");
    let record = format!("{}{record}", record.len() + 2);
    let header = Header {
        kind: b'x',
        mode: 0o644,
        owner: 0,
        path: b"pax",
        link: b"",
    };
    push(tar, &header, record.as_bytes());
}

struct Header<'a> {
    kind: u8,
    mode: u32,
    owner: u32,
    path: &'a [u8],
    link: &'a [u8],
}

fn push(tar: &mut Vec<u8>, entry: &Header<'_>, data: &[u8]) {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &entry.path[..entry.path.len().min(100)]);
    put(100, format!("{:07o}", entry.mode).as_bytes());
    put(108, format!("{:07o}", entry.owner).as_bytes());
    put(116, format!("{:07o}", entry.owner).as_bytes());
    put(124, format!("{:011o}", data.len()).as_bytes());
    put(136, b"11145401322");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.link[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}
