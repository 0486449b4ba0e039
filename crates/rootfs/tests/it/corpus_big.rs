//! One layer of a gigabyte, made as it is read: time and disk grow with a layer, memory does not.

use std::fs::File;
use std::io::{self, Read};

use model::Digest;
use rootfs::UnpackLimits;
use sha2::{Digest as _, Sha256};

use crate::corpus_tars::{file, open_tar};
use crate::hostile_bounds::{MEMORY, Memory, alone, is_alone, sum};
use crate::room::Room;
use crate::tars::{layer, origin};

const SIZE: u64 = 1 << 30;
const BLOCK: usize = 1 << 20;

#[test]
fn a_layer_of_a_gigabyte_takes_no_more_memory_than_others() {
    alone("corpus_big::in_a_process_of_its_own");
}

#[test]
fn in_a_process_of_its_own() {
    if !is_alone() {
        return;
    }
    let room = Room::new();
    let diff_id = sha256(Big::new());
    let mut content = Sha256::new();
    let block = Big::new();
    for n in 0..SIZE / BLOCK as u64 {
        content.update(block.numbered(n));
    }
    let wanted = model::Layer {
        diff_id: diff_id.clone(),
        ..layer(b"")
    };
    let limits = UnpackLimits {
        max_bytes: 2 * SIZE,
        max_entries: 10,
    };
    let memory = Memory::watch();
    let blob = zstd::stream::read::Encoder::new(Big::new(), 1).unwrap();
    let info = room.store.unpack(&wanted, &origin(), blob, limits).unwrap();
    let grown = memory.grown();
    assert!(grown < MEMORY, "{grown} bytes of memory");
    assert_eq!((info.bytes, info.entries), (SIZE, 1));
    let root = room.assemble(&[diff_id]);
    let content = Digest::from_sha256(&content.finalize().into());
    assert_eq!(sha256(File::open(root.join("big")).unwrap()), content);
    room.clean();
    room.assert_clean();
}

fn sha256(mut from: impl Read) -> Digest {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return Digest::from_sha256(&hash.finalize().into()),
            len => hash.update(&buffer[..len]),
        }
    }
}

/// The tar: a header, then blocks that are alike but for their numbers.
struct Big {
    /// What is being read: the header, a block, the end.
    piece: Vec<u8>,
    block: Vec<u8>,
    next: u64,
    at: usize,
}

impl Big {
    fn new() -> Self {
        let mut header = open_tar([file("big", "")]);
        header[124..136].copy_from_slice(format!("{SIZE:011o}\0").as_bytes());
        sum(&mut header);
        let mut state = 1u64;
        let block = (0..BLOCK).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8 & 0x3f
        });
        Self {
            piece: header,
            block: block.collect(),
            next: 0,
            at: 0,
        }
    }

    fn numbered(&self, n: u64) -> Vec<u8> {
        let mut block = self.block.clone();
        for at in (0..BLOCK).step_by(4096) {
            block[at..at + 8].copy_from_slice(&n.to_le_bytes());
        }
        block
    }
}

impl Read for Big {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            self.piece = match self.next {
                n if n < SIZE / BLOCK as u64 => self.numbered(n),
                n if n == SIZE / BLOCK as u64 => vec![0; 1024],
                _ => Vec::new(),
            };
            (self.at, self.next) = (0, self.next + 1);
        }
        let got = (&self.piece[self.at..]).read(into)?;
        self.at += got;
        Ok(got)
    }
}
