//! Tars with everything a header can say: odd names, owners, times, extended headers, devices, sparse files.

/// One entry.
#[derive(Clone)]
pub struct Entry {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    time: i64,
    data: Vec<u8>,
    pax: Vec<(String, Vec<u8>)>,
    device: (u32, u32),
    sparse: Option<(u64, Vec<(u64, u64)>)>,
}

pub const TIME: i64 = 1_234_567_890;

fn entry(kind: u8, name: impl AsRef<[u8]>, mode: u32) -> Entry {
    Entry {
        kind,
        name: name.as_ref().to_vec(),
        link: Vec::new(),
        mode,
        owner: (0, 0),
        time: TIME,
        data: Vec::new(),
        pax: Vec::new(),
        device: (0, 0),
        sparse: None,
    }
}

pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Entry {
    let data = data.as_ref().to_vec();
    Entry {
        data,
        ..entry(b'0', name, 0o644)
    }
}

pub fn dir(name: impl AsRef<[u8]>) -> Entry {
    entry(b'5', name, 0o755)
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    let link = target.as_ref().to_vec();
    Entry {
        link,
        ..entry(b'2', name, 0o777)
    }
}

pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    let link = target.as_ref().to_vec();
    Entry {
        link,
        ..entry(b'1', name, 0o644)
    }
}

pub fn fifo(name: impl AsRef<[u8]>) -> Entry {
    entry(b'6', name, 0o640)
}

pub fn device(kind: u8, name: impl AsRef<[u8]>, device: (u32, u32)) -> Entry {
    Entry {
        device,
        ..entry(kind, name, 0o666)
    }
}

/// Of a type no header has a name for.
pub fn odd(kind: u8, name: impl AsRef<[u8]>) -> Entry {
    entry(kind, name, 0o644)
}

/// Hides `name` in `dir`, which ends with a slash or is empty.
pub fn whiteout(dir: &str, name: &str) -> Entry {
    file(format!("{dir}.wh.{name}"), "")
}

pub fn opaque(dir: &str) -> Entry {
    file(format!("{dir}.wh..wh..opq"), "")
}

impl Entry {
    /// The same below `dir`, with the file a hard link names.
    pub fn below(mut self, dir: &str) -> Self {
        self.name = [dir.as_bytes(), b"/", &self.name].concat();
        if self.kind == b'1' {
            self.link = [dir.as_bytes(), b"/", &self.link].concat();
        }
        self
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self {
            owner: (uid, gid),
            ..self
        }
    }

    pub fn at(self, time: i64) -> Self {
        Self { time, ..self }
    }

    /// One record of the extended header before it.
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// In the old GNU form: `size` bytes, of which the pieces (offset, length) are the data.
    pub fn sparse(mut self, size: u64, pieces: &[(u64, u64)]) -> Self {
        self.kind = b'S';
        self.sparse = Some((size, pieces.to_vec()));
        self
    }

    fn write(&self, tar: &mut Vec<u8>) {
        if !self.pax.is_empty() {
            let records = self
                .pax
                .iter()
                .flat_map(|(key, value)| record(key, value))
                .collect();
            let pax = Entry {
                data: records,
                ..entry(b'x', "pax", 0o644)
            };
            pax.write(tar);
        }
        let says = |key: &str| self.pax.iter().any(|(known, _)| known == key);
        for (kind, text, key) in [(b'L', &self.name, "path"), (b'K', &self.link, "linkpath")] {
            if text.len() > 100 && !says(key) {
                let long = Entry {
                    data: [text.as_slice(), b"\0"].concat(),
                    ..entry(kind, "././@LongLink", 0o644)
                };
                long.write(tar);
            }
        }
        self.header(tar);
        tar.extend_from_slice(&self.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }

    fn header(&self, tar: &mut Vec<u8>) {
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, &number(i128::from(self.mode), 8));
        put(108, &number(i128::from(self.owner.0), 8));
        put(116, &number(i128::from(self.owner.1), 8));
        put(124, &number(self.data.len() as i128, 12));
        put(136, &number(i128::from(self.time), 12));
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar  \0");
        if matches!(self.kind, b'3' | b'4') {
            put(329, &number(i128::from(self.device.0), 8));
            put(337, &number(i128::from(self.device.1), 8));
        }
        let mut more: &[(u64, u64)] = &[];
        if let Some((size, pieces)) = &self.sparse {
            let (first, rest) = pieces.split_at(pieces.len().min(4));
            for (n, piece) in first.iter().enumerate() {
                put(386 + 24 * n, &number(i128::from(piece.0), 12));
                put(398 + 24 * n, &number(i128::from(piece.1), 12));
            }
            put(482, &[u8::from(!rest.is_empty())]);
            put(483, &number(i128::from(*size), 12));
            more = rest;
        }
        put(148, b"        ");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        while !more.is_empty() {
            let (now, rest) = more.split_at(more.len().min(21));
            let mut block = [0u8; 512];
            for (n, piece) in now.iter().enumerate() {
                block[24 * n..24 * n + 12].copy_from_slice(&number(i128::from(piece.0), 12));
                block[24 * n + 12..24 * n + 24].copy_from_slice(&number(i128::from(piece.1), 12));
            }
            block[504] = u8::from(!rest.is_empty());
            tar.extend_from_slice(&block);
            more = rest;
        }
    }
}

/// `length key=value\n`, the length counting itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut len = rest.len();
    while len != rest.len() + len.to_string().len() {
        len = rest.len() + len.to_string().len();
    }
    [len.to_string().as_bytes(), &rest].concat()
}

/// Octal where it fits, else base 256.
fn number(value: i128, width: usize) -> Vec<u8> {
    let octal = format!("{value:0digits$o}\0", digits = width - 1);
    if value >= 0 && octal.len() == width {
        return octal.into_bytes();
    }
    let mut bytes = value.to_be_bytes()[16 - width.min(16)..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

/// The finished archive.
pub fn tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut tar = open_tar(entries);
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Without the blocks that end an archive.
pub fn open_tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        entry.write(&mut tar);
    }
    tar
}
