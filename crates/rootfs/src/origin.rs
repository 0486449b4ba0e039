//! Where a layer's bytes have come from.
//!
//! A layer's name is a digest that anybody may write into a manifest. So a layer that one tenant's image brought is
//! not used for another image because that names it: it is used for images of a repository that has handed out the
//! whole layer before. Who may read that repository has been asked when the image was staged; for any other
//! repository the layer is fetched and unpacked anew, as if it were not here, and thrown away once it proved to be
//! the same. So neither the content nor the time it takes tells what others run.

use std::collections::BTreeSet;

/// Repositories remembered per layer; one more and the first by name is forgotten, which costs one fetch.
const MAX_ORIGINS: usize = 256;
/// Longest name, bytes: a host of 255, a port, a repository of 255.
const MAX_NAME: usize = 520;

/// A repository at its registry, `HOST/REPOSITORY`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// From a canonical repository name; `None` for one that is empty, longer than 520 bytes or not printable.
    pub fn new(name: &str) -> Option<Self> {
        let fine = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_graphic());
        fine.then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The repositories that have handed out a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins(BTreeSet<Origin>);

impl Origins {
    pub(crate) fn contains(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }

    /// With one more.
    pub(crate) fn and(&self, origin: &Origin) -> Self {
        let mut all = self.0.clone();
        if all.len() >= MAX_ORIGINS {
            all.pop_first();
        }
        all.insert(origin.clone());
        Self(all)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Origin> {
        self.0.iter()
    }
}

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_one_line_and_their_number_is_bounded() {
        for bad in ["", "a b", "a\nb", &"x".repeat(521)] {
            assert_eq!(Origin::new(bad), None, "{bad}");
        }
        let mut all = Origins::default();
        for n in 0..1000 {
            let origin = Origin::new(&format!("host/{n:04}")).unwrap();
            all = all.and(&origin);
            assert!(all.contains(&origin));
        }
        assert_eq!(all.iter().len(), MAX_ORIGINS);
    }
}
