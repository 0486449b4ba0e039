//! Signature version 4: how requests to the key-pair registry's cloud are signed.
//!
//! Rule: "Create a signed AWS API request" of its IAM user guide. The canonical request has no query here.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

/// What is signed, and with which key pair.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Lower-case names in order, each with its value.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) key_id: &'a str,
    pub(crate) secret: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub(crate) at: &'a str,
}

/// The value of `Authorization`.
pub(crate) fn authorization(request: &Request<'_>) -> String {
    let date = request.at.split('T').next().unwrap_or_default();
    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical_headers: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!(
        "{}\n{}\n\n{canonical_headers}\n{names}\n{}",
        request.method,
        request.path,
        hex(&Sha256::digest(request.body))
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.at,
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let steps = [date, request.region, request.service, "aws4_request", &to_sign];
    let start = format!("AWS4{}", request.secret).into_bytes();
    let signature = steps.iter().fold(start, |key, text| {
        sign(&Key::new(HMAC_SHA256, &key), text.as_bytes())
            .as_ref()
            .to_vec()
    });
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
        request.key_id,
        hex(&signature)
    )
}

/// A moment as the signature wants it.
pub(crate) fn stamp(now: std::time::SystemTime) -> String {
    let zoned = jiff::Timestamp::try_from(now)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(TimeZone::UTC);
    zoned.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla` and `post-vanilla` of the published test suite.
    #[test]
    fn the_published_vectors() {
        for (method, signature) in [
            (
                "GET",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ] {
            let request = Request {
                method,
                path: "/",
                headers: &[
                    ("host", "example.amazonaws.com"),
                    ("x-amz-date", "20150830T123600Z"),
                ],
                body: b"",
                region: "us-east-1",
                service: "service",
                key_id: "AKIDEXAMPLE",
                secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                at: "20150830T123600Z",
            };
            assert_eq!(
                authorization(&request),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }

    #[test]
    fn a_stamp_is_utc_to_the_second() {
        let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_440_938_160_999);
        assert_eq!(stamp(then), "20150830T123600Z");
    }
}
