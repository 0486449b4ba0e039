//! Parts of a stranger's document that take no more memory than they deserve: what is beyond the limit is counted and
//! thrown away while it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The first `N` elements of a list, and how many there were.
#[derive(Debug)]
pub(crate) struct List<T, const N: usize> {
    items: Vec<T>,
    count: usize,
}

/// The first `N` entries of an object, and how many there were.
#[derive(Debug)]
pub(crate) struct Map<T, const N: usize> {
    items: BTreeMap<String, T>,
    count: usize,
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            count: 0,
        }
    }
}

impl<T, const N: usize> Default for Map<T, N> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<T, const N: usize> List<T, N> {
    /// All of it; the error says how many `what` there are.
    pub(crate) fn all(self, what: &str) -> Result<Vec<T>, String> {
        within(self.count, N, what).map(|()| self.items)
    }
}

impl<T, const N: usize> Map<T, N> {
    /// All of it; the error says how many `what` there are.
    pub(crate) fn all(self, what: &str) -> Result<BTreeMap<String, T>, String> {
        within(self.count, N, what).map(|()| self.items)
    }
}

fn within(count: usize, most: usize, what: &str) -> Result<(), String> {
    match count > most {
        true => Err(format!("it has {count} {what}, more than {most}")),
        false => Ok(()),
    }
}

impl<'de, T: DeserializeOwned, const N: usize> Deserialize<'de> for List<T, N> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(ListVisitor(PhantomData))
    }
}

impl<'de, T: DeserializeOwned, const N: usize> Deserialize<'de> for Map<T, N> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(MapVisitor(PhantomData))
    }
}

struct ListVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: DeserializeOwned, const N: usize> Visitor<'de> for ListVisitor<T, N> {
    type Value = List<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Self::Value, A::Error> {
        let mut list = List::default();
        while list.count < N {
            let Some(item) = input.next_element()? else {
                return Ok(list);
            };
            list.items.push(item);
            list.count += 1;
        }
        while input.next_element::<IgnoredAny>()?.is_some() {
            list.count += 1;
        }
        Ok(list)
    }
}

struct MapVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: DeserializeOwned, const N: usize> Visitor<'de> for MapVisitor<T, N> {
    type Value = Map<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::default();
        while map.count < N {
            let Some((name, item)) = input.next_entry()? else {
                return Ok(map);
            };
            map.items.insert(name, item);
            map.count += 1;
        }
        while input.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            map.count += 1;
        }
        Ok(map)
    }
}

/// Whether an object has a key that says what it is; nothing else of it is kept.
#[derive(Debug, Default)]
pub(crate) struct Attested(pub(crate) bool);

/// The key of attestations.
const ATTESTED: &str = "vnd.docker.reference.type";

impl<'de> Deserialize<'de> for Attested {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Attested;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Attested, A::Error> {
                let mut attested = Attested::default();
                while let Some((Key(found), IgnoredAny)) = input.next_entry()? {
                    attested.0 |= found;
                }
                Ok(attested)
            }
        }
        input.deserialize_map(Keys)
    }
}

struct Key(bool);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text == ATTESTED))
            }
        }
        input.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_not_kept() {
        let list: List<u8, 3> = serde_json::from_str("[1,2,3]").unwrap();
        assert_eq!(list.all("numbers").unwrap(), [1, 2, 3]);
        let list: List<u8, 3> = serde_json::from_str(r#"[1,2,3,{"a":[]},"x"]"#).unwrap();
        assert_eq!(list.items.len(), 3);
        assert_eq!(list.all("numbers").unwrap_err(), "it has 5 numbers, more than 3");
        let map: Map<u8, 1> = serde_json::from_str(r#"{"a":1}"#).unwrap();
        assert_eq!(map.all("names").unwrap().get("a"), Some(&1));
        let map: Map<u8, 1> = serde_json::from_str(r#"{"a":1,"b":[],"c":0}"#).unwrap();
        assert_eq!(map.all("names").unwrap_err(), "it has 3 names, more than 1");
        assert!(serde_json::from_str::<List<u8, 3>>("{}").is_err());
    }

    #[test]
    fn attestations_are_known_by_one_key() {
        for (text, want) in [
            (r#"{"a":{},"vnd.docker.reference.type":"x"}"#, true),
            (r#"{"a":"vnd.docker.reference.type"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(serde_json::from_str::<Attested>(text).unwrap().0, want, "{text}");
        }
    }
}
