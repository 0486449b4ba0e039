//! Durations as the reference prints them in log lines: `1m0s`, `2s`, `1.5s`, `300ms`.

use std::time::Duration;

/// A duration in Go's notation, to the millisecond.
pub(crate) fn text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, rest) = (millis / 1000 % 60, millis % 1000);
    let fraction = format!("{rest:03}");
    let fraction = fraction.trim_end_matches('0');
    let seconds = if fraction.is_empty() {
        format!("{seconds}s")
    } else {
        format!("{seconds}.{fraction}s")
    };
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_the_reference() {
        for (millis, expected) in [
            (0, "0s"),
            (300, "300ms"),
            (1500, "1.5s"),
            (60_000, "1m0s"),
            (180_000, "3m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(text(Duration::from_millis(millis)), expected);
        }
    }
}
