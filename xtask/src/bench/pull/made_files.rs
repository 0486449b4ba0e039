//! Contents of made-up files, from a seed: they pack about as well as a distribution's packages do.

/// Words sources and symbols are made of.
const WORDS: usize = 4096;
/// Instructions programs are made of.
const INSTRUCTIONS: usize = 4096;
/// Lines a source may repeat.
const REMEMBERED: u64 = 64;
/// What sizes are scaled by: their mean, bytes, and that links and directories have none.
const MEAN: u64 = 26_800;

/// A reproducible sequence of numbers (splitmix64).
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x5EED))
    }

    /// Another sequence.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`, all alike.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Below `end`, small ones more often: every power of two alike, as words and instructions are used.
    fn low(&mut self, end: usize) -> usize {
        let bits = u64::from(end.ilog2());
        let top = 1u64 << self.below(bits + 1);
        usize::try_from(self.below(top)).unwrap_or(0).min(end - 1)
    }

    /// From `low` to about `low` times `2^octaves`.
    fn sized(&mut self, low: u64, octaves: u64) -> u64 {
        let step = low << self.below(octaves);
        step + self.below(step)
    }
}

/// Makes contents.
pub struct Files {
    random: Random,
    words: Vec<String>,
    instructions: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Files {
    /// Of this sequence.
    pub fn new(mut random: Random) -> Self {
        let syllables = [
            "con", "ti", "ver", "de", "ra", "set", "in", "lo", "map", "ex", "ing", "er", "get", "buf", "str",
            "al", "un", "re", "ner", "val", "is", "or", "ta", "pre", "st", "add",
        ];
        let word = |random: &mut Random| {
            let count = 1 + random.low(4);
            let pick = |_| syllables.get(random.low(syllables.len())).copied();
            (0..=count).filter_map(pick).collect::<String>()
        };
        let words = (0..WORDS).map(|_| word(&mut random)).collect();
        let instruction = |random: &mut Random| {
            let length = 2 + random.below(5);
            (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
        };
        let instructions = (0..INSTRUCTIONS).map(|_| instruction(&mut random)).collect();
        Self {
            random,
            words,
            instructions,
            buffer: Vec::new(),
        }
    }

    /// Size of the next file, so that `entries` files have `total` bytes.
    pub fn size(&mut self, total: u64, entries: u64) -> u64 {
        let size = match self.random.below(1000) {
            0..550 => self.random.sized(200, 4),
            550..880 => self.random.sized(4_000, 3),
            880..994 => self.random.sized(40_000, 3),
            _ => self.random.sized(300_000, 4),
        };
        size * (total / entries) / MEAN
    }

    /// Mode and content of the next file.
    pub fn next(&mut self, size: u64) -> (u32, &[u8]) {
        let size = usize::try_from(size).unwrap_or(0);
        self.buffer.clear();
        let mode = match self.random.below(100) {
            0..2 => {
                while self.buffer.len() < size {
                    self.buffer.extend(self.random.next().to_le_bytes());
                }
                0o644
            }
            2..50 => {
                self.program(size);
                0o755
            }
            _ => {
                self.source(size);
                0o644
            }
        };
        self.buffer.truncate(size);
        (mode, &self.buffer)
    }

    fn word(&mut self) -> &[u8] {
        let index = self.random.low(WORDS);
        self.words.get(index).map_or(b"x", |word| word.as_bytes())
    }

    fn source(&mut self, size: usize) {
        let mut starts = vec![0];
        while self.buffer.len() < size {
            let depth = self.random.low(6);
            self.buffer.extend(std::iter::repeat_n(b' ', 4 * depth));
            // Sources repeat themselves: part of an earlier line comes again.
            if self.random.below(10) < 4 {
                let back = usize::try_from(self.random.below(REMEMBERED))
                    .unwrap_or(0)
                    .min(starts.len() - 1);
                let from = starts.get(starts.len() - 1 - back).copied().unwrap_or(0);
                let length = 10 + usize::try_from(self.random.below(30)).unwrap_or(0);
                let to = (from + length).min(self.buffer.len());
                self.buffer.extend_from_within(from..to);
            }
            for _ in 0..=self.random.low(8) {
                let word = self.word().to_vec();
                self.buffer.extend(word);
                let mark = [b" ", b" ", b".", b"(", b", "[..1].as_ref(), b"_", b" = ", b"->"];
                let index = self.random.low(mark.len());
                self.buffer.extend(mark.get(index).copied().unwrap_or(b" "));
            }
            self.buffer.extend(b";\n");
            starts.push(self.buffer.len());
        }
    }

    fn program(&mut self, size: usize) {
        self.buffer
            .extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0");
        while self.buffer.len() < size * 6 / 10 {
            self.instruction();
        }
        while self.buffer.len() < size * 75 / 100 {
            let word = self.word().to_vec();
            self.buffer.extend(word);
            let end: &[u8] = if self.random.below(3) == 0 { b"\0" } else { b"_" };
            self.buffer.extend(end);
        }
        // Relocations: ascending addresses, one kind, an offset.
        let mut address = 0x4000;
        while self.buffer.len() < size {
            address += 8 * (1 + self.random.below(4));
            let offset = self.random.below(1 << 20);
            for field in [address, 8, offset] {
                self.buffer.extend(field.to_le_bytes());
            }
        }
    }

    fn instruction(&mut self) {
        let index = self.random.low(INSTRUCTIONS);
        let bytes = self.instructions.get(index).map_or(&b"\x90"[..], Vec::as_slice);
        self.buffer.extend_from_slice(bytes);
        match self.random.below(10) {
            0..2 => self.buffer.push(self.random.next().to_le_bytes()[0] & 0x78),
            2..5 => {
                let target = self.random.below(1 << 20).to_le_bytes();
                self.buffer.extend(target.iter().take(4));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Files, Random};

    #[test]
    fn a_seed_gives_the_same_bytes_of_the_asked_size() {
        let make = || {
            let mut files = Files::new(Random::new(7));
            let sizes: Vec<u64> = (0..50).map(|_| files.size(26_800_000, 1000)).collect();
            let contents: Vec<Vec<u8>> = sizes.iter().map(|size| files.next(*size).1.to_vec()).collect();
            (sizes, contents)
        };
        let (sizes, contents) = make();
        assert_eq!((sizes.clone(), contents.clone()), make());
        for (size, content) in sizes.iter().zip(&contents) {
            assert_eq!(u64::try_from(content.len()).unwrap(), *size);
        }
    }
}
