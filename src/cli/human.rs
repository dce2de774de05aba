//! Numbers as people like to read them. Programs get the bare numbers (`--output json`).

use crate::id::WallTime;

/// A count with a comma between thousands.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many a second, to three digits: no rate is the same twice beyond them.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 9.95 {
        return format!("{:.1}", if per_second.is_finite() { per_second } else { 0.0 });
    }
    let unit = 10_f64.powf((per_second.log10().floor() - 2.0).max(0.0));
    count(((per_second / unit).round() * unit) as u64)
}

/// A count of things, which are more than one unless it is 1. For words whose plural takes an `s`.
#[must_use]
pub fn of(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// Bytes in the largest binary unit that leaves at least one before the point.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while scaled >= 1023.95 {
        let Some(next) = units.next() else { break };
        scaled /= 1024.0;
        unit = next;
    }
    format!("{scaled:.1} {unit}")
}

/// A duration in its two largest units.
#[must_use]
pub fn millis(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let Some(largest) = UNITS.iter().position(|(length, _)| ms >= *length) else {
        return "0s".to_owned();
    };
    let mut rest = ms;
    let mut parts = Vec::new();
    for (length, unit) in UNITS.iter().skip(largest).take(2) {
        if rest >= *length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    parts.join(" ")
}

/// How long ago a time was.
#[must_use]
pub fn ago(time: WallTime, now: WallTime) -> String {
    match now.0.saturating_sub(time.0) / 1000 {
        0..1000 => "just now".to_owned(),
        ms => format!("{} ago", millis(ms)),
    }
}

/// A time as RFC 3339 in UTC, to the microsecond; a number where no calendar reaches.
#[must_use]
pub fn timestamp(time: WallTime) -> String {
    let at = i64::try_from(time.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    at.map_or_else(|| time.to_string(), |at| format!("{at:.6}"))
}

/// Microseconds with a unit that keeps three digits meaningful.
#[must_use]
pub fn micros(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// A limit, or that there is none.
#[must_use]
pub fn limit(limit: Option<u64>, show: fn(u64) -> String) -> String {
    limit.map_or_else(|| "none".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn rates_have_three_digits() {
        let found = [0.0, 0.26, 9.94, 9.96, 99.6, 1234.0, 999_999.0, 1_234_567.0, f64::INFINITY].map(rate);
        let expected = ["0.0", "0.3", "9.9", "10", "100", "1,230", "1,000,000", "1,230,000", "0.0"];
        assert_eq!(found, expected);
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(of(0, "message"), "0 messages");
        assert_eq!(of(1, "message"), "1 message");
        assert_eq!(of(1001, "message"), "1,001 messages");
    }

    #[test]
    fn sizes_have_a_fitting_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn durations_have_at_most_two_units() {
        assert_eq!(millis(0), "0s");
        assert_eq!(millis(999), "999ms");
        assert_eq!(millis(1500), "1s 500ms");
        assert_eq!(millis(3_600_000), "1h");
        assert_eq!(millis(90_061_000), "1d 1h");
        assert_eq!(millis(86_400_000 + 59_000), "1d");
    }

    #[test]
    fn times_are_relative_or_rfc_3339() {
        let now = WallTime(1_767_225_600_000_000);
        assert_eq!(ago(now, now), "just now");
        assert_eq!(ago(WallTime(now.0 - 5_000_000), now), "5s ago");
        assert_eq!(ago(WallTime(now.0 + 5_000_000), now), "just now");
        assert_eq!(timestamp(now), "2026-01-01T00:00:00.000000Z");
        assert_eq!(timestamp(WallTime(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn short_times_keep_three_digits() {
        assert_eq!(micros(999), "999 µs");
        assert_eq!(micros(1234), "1.23 ms");
        assert_eq!(micros(2_500_000), "2.50 s");
    }
}
