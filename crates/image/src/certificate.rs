//! What a certificate says of itself (X.509, DER), for people who look for a fault: bytes of a stranger.
//!
//! Nothing is decided by this: trust is the TLS library's affair.

use crate::error::one_line;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];
/// Of the alternative names.
const SHOWN: usize = 4;

/// Subject, issuer and end in one line.
pub(crate) fn describe(der: &[u8]) -> String {
    read(der).unwrap_or_else(|| "a certificate that cannot be read".to_owned())
}

fn read(der: &[u8]) -> Option<String> {
    let mut certificate = Der(Der(der).expect(SEQUENCE)?);
    let mut fields = Der(certificate.expect(SEQUENCE)?);
    let (mut tag, _) = fields.next()?;
    if tag == 0xa0 {
        // The version; the serial number follows.
        tag = fields.next()?.0;
    }
    if tag != 0x02 {
        return None;
    }
    fields.expect(SEQUENCE)?;
    let issuer = name(fields.expect(SEQUENCE)?);
    let mut validity = Der(fields.expect(SEQUENCE)?);
    validity.next()?;
    let (kind, end) = validity.next()?;
    let subject = name(fields.expect(SEQUENCE)?);
    let names = alternative_names(fields).unwrap_or_default();
    let subject = match (subject.is_empty(), names.is_empty()) {
        (true, true) => "nobody".to_owned(),
        (true, false) => names.join(", "),
        (false, true) => subject,
        (false, false) => format!("{subject} ({})", names.join(", ")),
    };
    let issuer = if issuer.is_empty() {
        "nobody".to_owned()
    } else {
        issuer
    };
    Some(one_line(&format!(
        "certificate for {subject}, issued by {issuer}, valid until {}",
        date(kind, end)?
    )))
}

/// The common name, else the organization.
fn name(rdns: &[u8]) -> String {
    let mut found = String::new();
    let mut rdns = Der(rdns);
    while let Some((SET, set)) = rdns.next() {
        let Some(pair) = Der(set).expect(SEQUENCE) else {
            break;
        };
        let mut pair = Der(pair);
        let (Some(kind), Some((_, text))) = (pair.expect(OBJECT_ID), pair.next()) else {
            break;
        };
        if kind == COMMON_NAME || (kind == ORGANIZATION && found.is_empty()) {
            found = String::from_utf8_lossy(text).into_owned();
        }
    }
    found
}

fn alternative_names(mut fields: Der<'_>) -> Option<Vec<String>> {
    let extensions = loop {
        match fields.next()? {
            (0xa3, extensions) => break extensions,
            _ => continue,
        }
    };
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    loop {
        let mut extension = Der(extensions.expect(SEQUENCE)?);
        if extension.expect(OBJECT_ID)? != ALTERNATIVE_NAMES {
            continue;
        }
        let mut value = extension.next()?;
        if value.0 == 0x01 {
            // Whether it is critical.
            value = extension.next()?;
        }
        let mut names = Der(Der(value.1).expect(SEQUENCE)?);
        let mut found = Vec::new();
        while let Some((tag, name)) = names.next() {
            if found.len() == SHOWN {
                found.push("…".to_owned());
                break;
            }
            match (tag, name) {
                (0x82, name) => found.push(String::from_utf8_lossy(name).into_owned()),
                (0x87, [a, b, c, d]) => found.push(format!("{a}.{b}.{c}.{d}")),
                _ => {}
            }
        }
        return Some(found);
    }
}

/// `YYYY-MM-DD`.
fn date(kind: u8, text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (year, rest) = match kind {
        // Two digits of a year mean 1950 to 2049 (RFC 5280, 4.1.2.5.1).
        0x17 => {
            let (year, rest) = (text.get(..2)?, text.get(2..)?);
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        0x18 => (text.get(..4)?.to_owned(), text.get(4..)?),
        _ => return None,
    };
    Some(format!("{year}-{}-{}", rest.get(..2)?, rest.get(2..4)?))
}

/// The values of a DER encoding, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (
                    digits.iter().fold(0, |n, digit| n << 8 | usize::from(*digit)),
                    rest,
                )
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_described_and_any_part_of_it_harms_nothing() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec!["reg.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the registry");
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der();
        assert_eq!(
            describe(der),
            "certificate for the registry (reg.example, 127.0.0.1), issued by the registry, valid until 2031-02-03"
        );
        for end in 0..der.len() {
            describe(&der[..end]);
            let mut broken = der.to_vec();
            broken[end] ^= 0xff;
            describe(&broken);
        }
    }
}
