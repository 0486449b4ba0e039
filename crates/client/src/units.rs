//! Quantities as people type and read them: `128M`, `1G`, `16K/s`.

/// Reads a size with a unit (`256M`, `1024MB`, `1G`) as whole mebibytes.
///
/// # Errors
/// The text for the user, when there is no unit, no positive integer, or less than a mebibyte.
pub fn megabytes(text: &str) -> Result<u64, String> {
    let refused =
        || "Byte quantity must be an integer with a unit of measurement like M, MB, G, or GB".to_owned();
    match bytes(text) {
        Some(count) if count >= 1 << 20 => Ok(count >> 20),
        _ => Err(refused()),
    }
}

/// Reads a log rate (`128B`, `4K`, `1M`, `0`, `-1` for unlimited) as bytes per second.
///
/// # Errors
/// The text for the user.
pub fn log_rate(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        "0" => Ok(0),
        _ => bytes(text)
            .and_then(|count| i64::try_from(count).ok())
            .ok_or_else(|| {
                "Byte quantity must be an integer with a unit of measurement like B, K, KB, M, MB, G, or GB"
                    .to_owned()
            }),
    }
}

/// A positive integer directly followed by a unit.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(split)?;
    let shift = match unit {
        "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(1 << shift).filter(|&count| count > 0)
}

/// Writes a byte count with one decimal at most: `0B`, `12.3M`, `1G`.
pub fn size(count: i64) -> String {
    const UNITS: [(f64, &str); 4] = [
        (1_099_511_627_776.0, "T"),
        (1_073_741_824.0, "G"),
        (1_048_576.0, "M"),
        (1024.0, "K"),
    ];
    let count = count.max(0) as f64;
    let (divisor, unit) = UNITS
        .into_iter()
        .find(|(divisor, _)| count >= *divisor)
        .unwrap_or((1.0, "B"));
    let number = format!("{:.1}", count / divisor);
    format!("{}{unit}", number.strip_suffix(".0").unwrap_or(&number))
}

/// Writes a log rate limit.
pub fn rate_limit(limit: i64) -> String {
    if limit < 0 {
        "unlimited".to_owned()
    } else {
        format!("{}/s", size(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        for (text, mb) in [
            ("128M", 128),
            ("1G", 1024),
            ("1024mb", 1024),
            ("2048K", 2),
            ("1T", 1 << 20),
        ] {
            assert_eq!(megabytes(text), Ok(mb), "{text}");
        }
        for bad in [
            "",
            "128",
            "M",
            "-1M",
            "1.5G",
            "12Q",
            "1K",
            "0M",
            "99999999999999999999G",
            "18446744073709551615T",
        ] {
            assert!(megabytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn log_rates_may_be_unlimited() {
        assert_eq!(log_rate("-1"), Ok(-1));
        assert_eq!(log_rate("0"), Ok(0));
        assert_eq!(log_rate("4K"), Ok(4096));
        assert!(log_rate("4").is_err());
    }

    #[test]
    fn sizes_read_shortly() {
        for (count, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.5K"),
            (12_897_485, "12.3M"),
            (1 << 30, "1G"),
            (-1, "0B"),
        ] {
            assert_eq!(size(count), text);
        }
        assert_eq!(rate_limit(-1), "unlimited");
        assert_eq!(rate_limit(16384), "16K/s");
    }
}
