//! Images that pack like real software and have the same bytes everywhere: programs, sources, small files, a little
//! that is packed already, links, and whiteouts of what lower layers have.
//!
//! Made once, kept beside the build: packing a gigabyte takes half a minute.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::made_files::{Files, Random};

/// Change it whenever the bytes change.
const VERSION: u32 = 1;
/// What most images in registries were packed with.
const GZIP_LEVEL: u32 = 6;
/// Files in one directory.
const TOGETHER: u64 = 12;

/// What an image consists of.
pub struct Recipe {
    /// Name of its repository.
    pub name: &'static str,
    layers: &'static [LayerRecipe],
}

struct LayerRecipe {
    entries: u64,
    megabytes: u64,
    /// Files of the lowest layer that this one removes.
    whiteouts: u64,
}

const fn layer(entries: u64, megabytes: u64, whiteouts: u64) -> LayerRecipe {
    LayerRecipe {
        entries,
        megabytes,
        whiteouts,
    }
}

/// One layer of 331 MB.
pub const ONE: Recipe = Recipe {
    name: "one",
    layers: &[layer(10_800, 331, 0)],
};

/// Six layers of 1 GB together.
pub const SIX: Recipe = Recipe {
    name: "six",
    layers: &[
        layer(12_000, 449, 0),
        layer(9_000, 180, 0),
        layer(11_000, 90, 0),
        layer(3_000, 240, 0),
        layer(3_000, 41, 0),
        layer(300, 1, 40),
    ],
};

/// An image on this disk.
pub struct Made {
    /// Its layers, lowest first.
    pub layers: Vec<MadeLayer>,
}

/// A packed layer.
pub struct MadeLayer {
    /// The gzipped archive.
    pub path: PathBuf,
    /// Bytes of the archive before it was gzipped.
    pub unpacked: u64,
    diff_id: String,
}

impl Made {
    /// The configuration of the image.
    pub fn config(&self) -> Value {
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
    }

    /// Bytes of all archives before they were gzipped.
    pub fn unpacked(&self) -> u64 {
        self.layers.iter().map(|layer| layer.unpacked).sum()
    }

    /// The packed layers.
    pub fn blobs(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let all = self.layers.iter().map(|layer| Ok(fs::read(&layer.path)?));
        all.collect()
    }
}

impl Recipe {
    /// Entries of all layers, and how many layers there are.
    pub fn shape(&self) -> (u64, usize) {
        let entries = self.layers.iter().map(|layer| layer.entries).sum();
        (entries, self.layers.len())
    }

    /// The image, made unless an earlier call has.
    ///
    /// # Errors
    /// The system's.
    pub fn make(&self) -> anyhow::Result<Made> {
        let base = testkit::target_dir().join("..").join("bench-images");
        fs::create_dir_all(&base)?;
        let dir = fs::canonicalize(&base)?.join(format!("{}-{VERSION}", self.name));
        if !dir.exists() {
            eprintln!("bench: making the image {:?}, once ...", self.name);
            let draft = tempfile::tempdir_in(&base)?;
            for (index, layer) in self.layers.iter().enumerate() {
                write_layer(&draft.path().join(index.to_string()), index, layer)?;
            }
            // Another run may have been quicker; its bytes are the same.
            let _ = fs::rename(draft.path(), &dir);
        }
        let layers = (0..self.layers.len()).map(|index| read_layer(&dir.join(index.to_string())));
        Ok(Made {
            layers: layers.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn read_layer(stem: &Path) -> anyhow::Result<MadeLayer> {
    let about = stem.with_extension("json");
    let about: Value =
        serde_json::from_slice(&fs::read(&about).with_context(|| about.display().to_string())?)?;
    Ok(MadeLayer {
        path: stem.with_extension("tar.gz"),
        unpacked: about["unpacked"].as_u64().context("a size")?,
        diff_id: about["diff_id"].as_str().context("a digest")?.to_owned(),
    })
}

fn write_layer(stem: &Path, index: usize, recipe: &LayerRecipe) -> anyhow::Result<()> {
    let file = BufWriter::new(File::create(stem.with_extension("tar.gz"))?);
    let packed = GzEncoder::new(file, flate2::Compression::new(GZIP_LEVEL));
    let mut tar = tar::Builder::new(Hashed {
        inner: packed,
        hash: Sha256::new(),
        bytes: 0,
    });
    Filler {
        random: Random::new(u64::try_from(index)?),
        layer: index,
        tar: &mut tar,
    }
    .fill(recipe)?;
    let Hashed { inner, hash, bytes } = tar.into_inner()?;
    inner.finish()?.flush()?;
    let diff_id = format!("sha256:{}", hex::encode(hash.finalize()));
    let about = json!({"diff_id": diff_id, "unpacked": bytes});
    fs::write(stem.with_extension("json"), serde_json::to_vec(&about)?)?;
    Ok(())
}

struct Filler<'a, W: Write> {
    random: Random,
    layer: usize,
    tar: &'a mut tar::Builder<W>,
}

impl<W: Write> Filler<'_, W> {
    fn fill(&mut self, recipe: &LayerRecipe) -> anyhow::Result<()> {
        let mut files = Files::new(self.random.split());
        for number in 0..recipe.entries {
            let dir = directory(self.layer, number);
            if number % TOGETHER == 0 {
                self.entry(tar::EntryType::Directory, (&dir, 0o755), std::io::empty(), 0)?;
                continue;
            }
            let path = format!("{dir}/{}", name(number));
            match self.random.below(25) {
                // Within its directory, so that every link leads somewhere.
                0 if number % TOGETHER > 1 => self.link(&path, &name(number - 1))?,
                _ => {
                    let size = files.size(recipe.megabytes * 1_000_000, recipe.entries);
                    let (mode, content) = files.next(size);
                    self.entry(tar::EntryType::Regular, (&path, mode), content, size)?;
                }
            }
        }
        for number in 0..recipe.whiteouts {
            let gone = number * TOGETHER + 1;
            let path = format!("{}/.wh.{}", directory(0, gone), name(gone));
            self.entry(tar::EntryType::Regular, (&path, 0o644), std::io::empty(), 0)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        kind: tar::EntryType,
        (path, mode): (&str, u32),
        content: impl Read,
        size: u64,
    ) -> anyhow::Result<()> {
        let mut header = header(kind, mode);
        header.set_size(size);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    fn link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777);
        header.set_size(0);
        Ok(self.tar.append_link(&mut header, path, target)?)
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn directory(layer: usize, number: u64) -> String {
    let package = number / TOGETHER;
    let area = ["lib", "share", "include"];
    let area = area
        .get(usize::try_from(package % 3).unwrap_or(0))
        .unwrap_or(&"lib");
    format!(
        "usr/{area}/package-{layer}-{:04}/part-{:02}",
        package / 8,
        package % 8
    )
}

fn name(number: u64) -> String {
    format!("file-{number:05}.dat")
}

/// Counts and hashes what passes.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.bytes += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
