//! Which images the cell has run and still keeps the layers of: one small file per image.
//!
//! ```text
//! <data_dir>/images/<hex>   named by the manifest digest; no credentials in it
//! ```
//!
//! A file is replaced by rename and not flushed: what a power failure tears is dropped and written again when the
//! image runs next. The layers are the store's; a record whose layers are gone says nothing true and goes too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use model::{Digest, Layer};
use prost::Message;
use rootfs::LayerStore;
use tracing::warn;
use wire::v1;

use crate::error::{CellError, file};
use crate::instance::Instance;
use crate::layers;

const DRAFT: &str = ".draft";
/// Images remembered; one more and the one not used for the longest time is forgotten.
const MOST: usize = 1000;
/// Largest record read back, bytes.
const LARGEST: u64 = 1 << 20;

/// An image the cell keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// Digest of its manifest; `None` when whoever ran it did not say.
    pub manifest_digest: Option<Digest>,
    /// As it was last run: registry, repository, tag; never credentials.
    pub reference: String,
    /// Its layers with their packed sizes, bottom first.
    pub layers: Vec<Layer>,
    /// Bytes of files in its layers, each layer once.
    pub bytes: u64,
    /// Of these, bytes in layers that no other image here has.
    pub exclusive_bytes: u64,
    /// When it was first run here, nanoseconds since 1970.
    pub first_seen_ns: i64,
    /// When an instance of it last began or ended, nanoseconds since 1970.
    pub last_used_ns: i64,
    /// Instances that use it now, sorted.
    pub instances: Vec<String>,
}

/// A record as it is kept.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(string, tag = "1")]
    manifest_digest: String,
    #[prost(string, tag = "2")]
    reference: String,
    #[prost(message, repeated, tag = "3")]
    layers: Vec<v1::Layer>,
    #[prost(int64, tag = "4")]
    first_seen_ns: i64,
    #[prost(int64, tag = "5")]
    last_used_ns: i64,
}

/// The records. All calls but [`Self::list`] block.
#[derive(Debug)]
pub(crate) struct Images {
    dir: PathBuf,
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl Images {
    /// Opens or makes the directory and reads what is whole.
    pub(crate) fn open(dir: &Path) -> Result<Self, CellError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(file("make", dir))?;
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(file("list", dir))? {
            let name = entry.map_err(file("list", dir))?.file_name();
            let name = name.to_string_lossy().into_owned();
            match read(&dir.join(&name)) {
                Some(record) if !name.ends_with(DRAFT) => {
                    kept.insert(name, record);
                }
                _ => {
                    let path = dir.join(&name);
                    fs::remove_file(&path).map_err(file("remove", &path))?;
                }
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            kept: Mutex::new(kept),
        })
    }

    /// Notes that an instance of the image begins or ends.
    pub(crate) fn note(&self, image: &v1::Image, now_ns: i64) {
        let Some(name) = name(image) else { return };
        let record = {
            let mut kept = self.kept();
            let first_seen_ns = kept.get(&name).map_or(now_ns, |known| known.first_seen_ns);
            let record = Kept {
                manifest_digest: image.manifest_digest.clone(),
                reference: image.reference.clone(),
                layers: image.layers.clone(),
                first_seen_ns,
                last_used_ns: now_ns,
            };
            kept.insert(name.clone(), record.clone());
            record
        };
        // Without its file the image is only missing from a list after a restart.
        if let Err(error) = self.write(&name, &record) {
            warn!(image = image.reference, %error, "cannot keep the record of an image");
        }
        let oldest = {
            let kept = self.kept();
            let oldest = || kept.iter().min_by_key(|(_, record)| record.last_used_ns);
            (kept.len() > MOST)
                .then(oldest)
                .flatten()
                .map(|(name, _)| name.clone())
        };
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    /// Forgets images of which a layer is gone, unless an instance is about to use them.
    pub(crate) fn prune(&self, store: &LayerStore, instances: &[std::sync::Arc<Instance>]) {
        let used = users(instances);
        let gone: Vec<String> = {
            let kept = self.kept();
            let gone = kept
                .iter()
                .filter(|(name, record)| !used.contains_key(*name) && !is_whole(record, store));
            gone.map(|(name, _)| name.clone()).collect()
        };
        for name in gone {
            self.forget(&name);
        }
    }

    /// All images with every layer here, the last used first.
    pub(crate) fn list(
        &self,
        store: &LayerStore,
        instances: &[std::sync::Arc<Instance>],
    ) -> Vec<ImageRecord> {
        let mut users = users(instances);
        let whole: Vec<(String, Kept, Vec<Layer>)> = self
            .kept()
            .iter()
            .filter(|(_, record)| is_whole(record, store))
            .filter_map(|(name, record)| Some((name.clone(), record.clone(), parsed(record)?)))
            .collect();
        let mut holders: HashMap<Digest, usize> = HashMap::new();
        for (_, _, layers) in &whole {
            for diff_id in distinct(layers) {
                *holders.entry(diff_id).or_default() += 1;
            }
        }
        let mut all: Vec<ImageRecord> = whole
            .into_iter()
            .map(|(name, record, layers)| {
                let sizes: Vec<(u64, bool)> = distinct(&layers)
                    .map(|diff_id| {
                        let size = store.size(&diff_id).unwrap_or(0);
                        (size, holders.get(&diff_id) == Some(&1))
                    })
                    .collect();
                ImageRecord {
                    manifest_digest: record.manifest_digest.parse().ok(),
                    reference: record.reference,
                    bytes: sizes.iter().map(|(size, _)| size).sum(),
                    exclusive_bytes: sizes.iter().filter(|(_, own)| *own).map(|(size, _)| size).sum(),
                    layers,
                    first_seen_ns: record.first_seen_ns,
                    last_used_ns: record.last_used_ns,
                    instances: users.remove(&name).unwrap_or_default(),
                }
            })
            .collect();
        all.sort_by_key(|record| std::cmp::Reverse(record.last_used_ns));
        all
    }

    fn forget(&self, name: &str) {
        self.kept().remove(name);
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(name, %error, "cannot remove the record of an image");
            }
            _ => {}
        }
    }

    fn write(&self, name: &str, record: &Kept) -> io::Result<()> {
        // Two instances of one image may begin at the same time.
        let thread = format!("{:?}", std::thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let draft = self.dir.join(format!("{name}.{number}{DRAFT}"));
        fs::write(&draft, record.encode_to_vec())?;
        fs::rename(&draft, self.dir.join(name))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().expect("no holder of this lock panics")
    }
}

/// The name of an image's record: its manifest digest, or for want of one its top layer's.
fn name(image: &v1::Image) -> Option<String> {
    let digest = match image.manifest_digest.parse::<Digest>() {
        Ok(digest) => digest,
        Err(_) => image.layers.last()?.diff_id.parse().ok()?,
    };
    Some(digest.hex().to_owned())
}

fn read(path: &Path) -> Option<Kept> {
    if fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    let record = Kept::decode(fs::read(path).ok()?.as_slice()).ok()?;
    (!record.reference.is_empty() && parsed(&record).is_some()).then_some(record)
}

fn parsed(record: &Kept) -> Option<Vec<Layer>> {
    let image = v1::Image {
        layers: record.layers.clone(),
        ..v1::Image::default()
    };
    layers::parse(&image).ok()
}

fn is_whole(record: &Kept, store: &LayerStore) -> bool {
    parsed(record).is_some_and(|layers| layers.iter().all(|layer| store.size(&layer.diff_id).is_some()))
}

fn distinct(layers: &[Layer]) -> impl Iterator<Item = Digest> {
    let mut seen = HashSet::new();
    layers
        .iter()
        .map(|layer| layer.diff_id.clone())
        .filter(move |diff_id| seen.insert(diff_id.clone()))
}

/// Guids of live instances, by the name of their image's record.
fn users(instances: &[std::sync::Arc<Instance>]) -> HashMap<String, Vec<String>> {
    let mut users: HashMap<String, Vec<String>> = HashMap::new();
    for instance in instances.iter().filter(|instance| instance.is_live()) {
        if let Some(name) = instance.spec.image.as_ref().and_then(name) {
            users.entry(name).or_default().push(instance.guid().to_owned());
        }
    }
    for guids in users.values_mut() {
        guids.sort_unstable();
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use rootfs::Unpacker;

    fn image(manifest: char, layers: &[char]) -> v1::Image {
        let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
        v1::Image {
            reference: format!("registry.example/{manifest}:1"),
            manifest_digest: digest(manifest),
            layers: layers
                .iter()
                .map(|c| v1::Layer {
                    digest: digest(*c),
                    diff_id: digest(*c),
                    size: 7,
                    compression: "gzip".to_owned(),
                })
                .collect(),
            username: "user".to_owned(),
            password: "hunter2".to_owned(),
        }
    }

    #[test]
    fn records_survive_and_hold_no_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(dir.path()).unwrap();
        images.note(&image('a', &['1']), 5);
        images.note(&image('a', &['1']), 9);
        fs::write(dir.path().join("torn"), b"\x0a\xff").unwrap();
        let images = Images::open(dir.path()).unwrap();
        let kept = images.kept().values().cloned().collect::<Vec<_>>();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].first_seen_ns, kept[0].last_used_ns), (5, 9));
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        let text = String::from_utf8_lossy(&fs::read(files[0].path()).unwrap()).into_owned();
        assert!(!text.contains("hunter2") && text.contains("registry.example/a:1"));
    }

    #[test]
    fn the_number_of_records_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(dir.path()).unwrap();
        for number in 0..=MOST {
            let mut image = image('a', &['1']);
            image.manifest_digest = format!("sha256:{number:064x}");
            images.note(&image, i64::try_from(number).unwrap());
        }
        assert_eq!(images.kept().len(), MOST);
        assert!(!dir.path().join(format!("{:064x}", 0)).exists());
    }

    #[test]
    fn images_whose_layers_are_not_here_are_neither_listed_nor_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = LayerStore::open(&dir.path().join("layers"), Unpacker::new(Vec::new())).unwrap();
        let images = Images::open(&dir.path().join("images")).unwrap();
        images.note(&image('a', &['1']), 5);
        images.note(&image('b', &[]), 6);
        let listed = images.list(&store, &[]);
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].bytes, listed[0].layers.len()), (0, 0));
        images.prune(&store, &[]);
        assert_eq!(images.kept().len(), 1);
    }
}
