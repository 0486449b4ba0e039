//! The completeness marker of a layer: a small text file written after the layer's directory has its final name.
//!
//! A marker is first written for this boot only: after a crash of the process the kernel still has every byte, so
//! running containers keep their layers. After `settle` has flushed the filesystem it is rewritten as durable. A
//! marker of another boot that never became durable proves nothing and its layer is removed.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::LayerInfo;
use crate::extract::Borrowed;
use crate::origin::{Origin, Origins};

/// First line; another version's layers are unpacked again.
const FORM: &str = "slipway-layer 3";
/// Last line: a torn marker lacks it.
const END: &str = "end\n";
/// Largest marker read back, bytes.
const MAX_BYTES: u64 = 64 << 20;

/// How long a marker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The layer's bytes have been flushed.
    Durable,
    /// They are in the kernel's memory, of the boot with this id.
    ThisBoot(String),
}

/// What is known of a complete layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) durability: Durability,
    pub(crate) info: LayerInfo,
    /// Who has handed it out.
    pub(crate) origins: Origins,
    /// The layer sets the attributes of `/` itself.
    pub(crate) root_explicit: bool,
    /// Directories whose attributes should come from lower layers, sorted.
    pub(crate) implicit: Vec<Vec<u8>>,
    /// Hard links to files of lower layers, in the order of the tar.
    pub(crate) borrowed: Vec<Borrowed>,
}

/// The id of this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

impl Marker {
    /// The text of the file.
    fn text(&self) -> String {
        let LayerInfo {
            bytes,
            entries,
            devices_skipped,
            xattrs_skipped,
        } = self.info;
        let boot = match &self.durability {
            Durability::Durable => "durable",
            Durability::ThisBoot(boot) => boot,
        };
        let mut text = format!(
            "{FORM}\n{boot}\n{bytes} {entries} {devices_skipped} {xattrs_skipped} {} {} {} {}\n",
            u8::from(self.root_explicit),
            self.origins.iter().len(),
            self.implicit.len(),
            self.borrowed.len(),
        );
        for origin in self.origins.iter() {
            text.push_str(origin.as_str());
            text.push('\n');
        }
        for path in &self.implicit {
            text.push_str(&hex::encode(path));
            text.push('\n');
        }
        for link in &self.borrowed {
            text.push_str(&format!(
                "{} {}\n",
                hex::encode(&link.path),
                hex::encode(&link.target)
            ));
        }
        text.push_str(END);
        text
    }

    /// Reads a marker's text; `None` for a torn or foreign one.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix(END)?.lines();
        if lines.next()? != FORM {
            return None;
        }
        let durability = match lines.next()? {
            "durable" => Durability::Durable,
            boot => Durability::ThisBoot(boot.to_owned()),
        };
        let mut numbers = lines.next()?.split(' ').map(|n| n.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let info = LayerInfo {
            bytes: next()?,
            entries: next()?,
            devices_skipped: next()?,
            xattrs_skipped: next()?,
        };
        let root_explicit = next()? == 1;
        let mut count = || usize::try_from(next()?).ok();
        let (origins, implied, borrowed) = (count()?, count()?, count()?);
        let origins: Vec<_> = lines
            .by_ref()
            .take(origins)
            .map(Origin::new)
            .collect::<Option<_>>()?;
        let paths = lines.by_ref().take(implied).map(|line| hex::decode(line).ok());
        let implicit: Vec<_> = paths.collect::<Option<_>>()?;
        let links: Vec<_> = lines.map(Borrowed::parse).collect::<Option<_>>()?;
        (implicit.len() == implied && links.len() == borrowed).then_some(Self {
            durability,
            info,
            origins: origins.into_iter().collect(),
            root_explicit,
            implicit,
            borrowed: links,
        })
    }

    /// Reads the marker at `path`; `Ok(None)` for one that is missing, torn or foreign.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() && meta.len() <= MAX_BYTES => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(None),
        }
        Ok(String::from_utf8(fs::read(path)?)
            .ok()
            .and_then(|text| Self::parse(&text)))
    }

    /// Writes the marker to `draft` and renames it to `path`; a durable one is flushed first.
    pub(crate) fn write(&self, draft: &Path, path: &Path) -> io::Result<()> {
        let mut file = fs::File::create(draft)?;
        file.write_all(self.text().as_bytes())?;
        if self.durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(draft, path)
    }
}

impl Borrowed {
    fn parse(line: &str) -> Option<Self> {
        let (path, target) = line.split_once(' ')?;
        Some(Self {
            path: hex::decode(path).ok()?,
            target: hex::decode(target).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip_and_a_torn_one_is_nothing() {
        let info = LayerInfo {
            bytes: 7,
            entries: 3,
            devices_skipped: 1,
            xattrs_skipped: 2,
        };
        let implicit = vec![b"a".to_vec(), b"a/\n\xff".to_vec()];
        let borrowed = vec![Borrowed {
            path: b"b".to_vec(),
            target: b"a/\n".to_vec(),
        }];
        let durability = Durability::ThisBoot("0-1".into());
        let origins = ["h/a", "h/b"]
            .iter()
            .filter_map(|name| Origin::new(name))
            .collect();
        let marker = Marker {
            durability,
            info,
            origins,
            root_explicit: true,
            implicit,
            borrowed,
        };
        let text = marker.text();
        assert_eq!(Marker::parse(&text), Some(marker));
        for cut in 0..text.len() {
            assert_eq!(Marker::parse(&text[..cut]), None, "{cut}");
        }
    }
}
