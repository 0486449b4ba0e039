//! Reading replies: messages in a datagram, attributes in a message.

use super::{HEADER, NLA_TYPE_MASK, align};

/// One received message: header fields and what follows the header.
#[derive(Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits the first message off a datagram; `None` at the end or on nonsense.
    pub(crate) fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(read_u32(datagram, 0)?).ok()?;
        if length < HEADER {
            return None;
        }
        let frame = Self {
            kind: read_u16(datagram, 4)?,
            flags: read_u16(datagram, 6)?,
            sequence: read_u32(datagram, 8)?,
            payload: datagram.get(HEADER..length)?,
        };
        Some((frame, datagram.get(align(length)..).unwrap_or(&[])))
    }

    /// The attributes after a fixed part of `fixed` bytes.
    pub(crate) fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes(self.payload.get(align(fixed)..).unwrap_or(&[]))
    }
}

/// An iterator over attributes: type without flags, value.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of type `kind`.
    pub(crate) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone()
            .find(|(found, _)| *found == kind)
            .map(|(_, value)| value)
    }

    /// A 32-bit value in the machine's byte order.
    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        read_u32(self.get(kind)?, 0)
    }

    /// A 32-bit value in network byte order.
    pub(crate) fn number_be(&self, kind: u16) -> Option<u32> {
        self.number(kind).map(u32::from_be)
    }

    /// A zero-terminated string; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, kind: u16) -> Option<String> {
        let value = self.get(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(value.get(..end)?).into_owned())
    }

    /// The attributes nested in `kind`.
    pub(crate) fn nested(&self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(read_u16(self.0, 0)?);
        let kind = read_u16(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// The interface index of an `ifinfomsg`, `ifaddrmsg` or `ndmsg`: all keep it at offset four.
pub(crate) fn ifinfo_index(payload: &[u8]) -> Option<u32> {
    read_u32(payload, 4)
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Request;

    #[test]
    fn what_was_written_is_read_back() {
        let mut request = Request::new(20, 0, &[0; 8]);
        request.text(3, "eth0").number(4, 1500).nest(18, |inner| {
            inner.text(1, "veth");
        });
        let bytes = request.finish(9, 0);
        let (frame, rest) = Frame::split(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!((frame.kind, frame.sequence), (20, 9));
        let attributes = frame.attributes(8);
        assert_eq!(attributes.text(3).as_deref(), Some("eth0"));
        assert_eq!(attributes.number(4), Some(1500));
        assert_eq!(attributes.nested(18).unwrap().text(1).as_deref(), Some("veth"));
    }

    #[test]
    fn nonsense_ends_the_iteration() {
        for bytes in [
            &[][..],
            &[1],
            &[0, 0, 0, 0],
            &[3, 0, 1, 0],
            &[255, 255, 1, 0, 9],
            &[2, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
            assert!(Frame::split(bytes).is_none(), "{bytes:?}");
        }
    }
}
