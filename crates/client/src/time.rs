//! Points in time as the API writes them (RFC 3339) and as people read them (local time).

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A point in time from the API; none when it is missing or malformed.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// "Mon 02 Jan 15:04:05 UTC 2006", in the given zone; what is no time stays as it is.
pub fn friendly(text: &str, zone: &TimeZone) -> String {
    match parse(text) {
        Some(time) => time
            .to_zoned(zone.clone())
            .strftime("%a %d %b %H:%M:%S %Z %Y")
            .to_string(),
        None => text.to_owned(),
    }
}

/// "2006-01-02T15:04:05.00-0700": how log lines and events are stamped.
pub fn stamp(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    let centiseconds = zoned.subsec_nanosecond() / 10_000_000;
    format!(
        "{}.{centiseconds:02}{}",
        zoned.strftime("%Y-%m-%dT%H:%M:%S"),
        zoned.strftime("%z")
    )
}

/// "2006-01-02T15:04:05Z" of the moment `uptime_secs` before `now`.
pub fn since(now: SystemTime, uptime_secs: i64) -> String {
    let start = Timestamp::try_from(now)
        .ok()
        .and_then(|now| now.checked_sub(SignedDuration::from_secs(uptime_secs)).ok());
    start
        .map(|start| start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_read_like_cf() {
        assert_eq!(
            friendly("2024-01-02T15:04:05Z", &TimeZone::UTC),
            "Tue 02 Jan 15:04:05 UTC 2024"
        );
        assert_eq!(friendly("soon", &TimeZone::UTC), "soon");
        let time = parse("2024-01-02T15:04:05.987Z").unwrap();
        assert_eq!(stamp(time, &TimeZone::UTC), "2024-01-02T15:04:05.98+0000");
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_060);
        assert_eq!(since(now, 60), "2023-11-14T22:13:20Z");
        assert_eq!(since(now, i64::MAX), "");
    }
}
