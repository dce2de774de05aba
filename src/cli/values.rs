//! What people write on the command line, and what it means: durations, sizes,
//! points in time, headers.
//!
//! Durations and sizes are written as everywhere in Treecast ([`crate::units`]).

use std::time::{Duration, SystemTime};

use crate::id::WallTime;
use crate::limits;
use crate::units::{UnitError, parse_rate};

/// A duration in milliseconds, written like `30s` or `2h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u64);

impl Millis {
    /// As the standard library has it.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Reads a duration.
///
/// # Errors
/// Says what is wrong with it.
pub fn millis(text: &str) -> Result<Millis, String> {
    let duration = crate::units::parse_duration(text)
        .map_err(|error| format!("{error}; write it like `30s` or `2h30m`"))?;
    u64::try_from(duration.as_millis()).map(Millis).map_err(|error| error.to_string())
}

/// Reads a duration that is longer than nothing.
///
/// # Errors
/// Says what is wrong with it.
pub fn positive_millis(text: &str) -> Result<Millis, String> {
    match millis(text)? {
        Millis(0) => Err("it must be 1ms or more".to_owned()),
        millis => Ok(millis),
    }
}

/// Reads a size of at least one byte.
///
/// # Errors
/// Says what is wrong with it.
pub fn positive_bytes(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("it must be 1B or more".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Reads a size in bytes.
///
/// # Errors
/// Says what is wrong with it.
pub fn bytes(text: &str) -> Result<u64, String> {
    crate::units::parse_size(text).map_err(|e| e.to_string())
}

/// Bytes per second.
pub fn rate(text: &str) -> Result<u64, String> {
    let advice =
        |error: UnitError| error.suggestion().map_or_else(|| error.to_string(), |s| format!("{error}; {s}"));
    parse_rate(text).map_err(advice)
}

/// Reads a list of durations, `1s,5s,30s`.
///
/// # Errors
/// Says what is wrong with the first that is wrong.
pub fn millis_list(text: &str) -> Result<MillisList, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| millis(part).map(|ms| ms.0)).collect::<Result<_, _>>().map(MillisList)
}

/// Durations in milliseconds, in the order written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MillisList(pub Vec<u64>);

/// A number of things to do: at least one.
///
/// # Errors
/// When it is not a number, or 0.
pub fn positive(text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse() {
        Ok(0) => Err("it must be 1 or more".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// A point in time: written as such (RFC 3339), or as how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At this time.
    At(WallTime),
    /// So many milliseconds ago.
    Ago(Millis),
}

impl Since {
    /// The time that is meant, when it is `now`.
    #[must_use]
    pub fn time(self, now: WallTime) -> WallTime {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => WallTime(now.0.saturating_sub(ago.0.saturating_mul(1000))),
        }
    }
}

/// Reads a point in time.
///
/// # Errors
/// When it is neither a duration nor a time.
pub fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = millis(text) {
        return Ok(Since::Ago(ago));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        "write how long ago, like `2h30m`, or a time with its zone, like `2026-03-01T12:00:00Z`".to_owned()
    })?;
    let micros = u64::try_from(time.as_microsecond()).map_err(|_| "the time lies before 1970".to_owned())?;
    Ok(Since::At(WallTime(micros)))
}

/// The wall clock.
#[must_use]
pub fn now() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

/// A header as written: `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderPair {
    /// Before the first `=`.
    pub key: String,
    /// Behind it.
    pub value: String,
}

/// Reads a header.
///
/// # Errors
/// When there is no `=`, or nothing before it, or the key is too long.
pub fn header(text: &str) -> Result<HeaderPair, String> {
    match text.split_once('=') {
        None => Err("write it as `key=value`".to_owned()),
        Some(("", _)) => Err("there is no key before the `=`".to_owned()),
        Some((key, value)) if key.len() + value.len() > limits::HEADERS_BYTES_MAX => Err(format!(
            "it has {} bytes; at most {} are allowed",
            key.len() + value.len(),
            limits::HEADERS_BYTES_MAX
        )),
        Some((key, value)) => Ok(HeaderPair { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// Reads a subject.
///
/// # Errors
/// When it is empty or too long, or contains a wildcard.
pub fn subject(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty; leave the option out for a message without a subject".to_owned());
    }
    if text.len() > limits::SUBJECT_BYTES_MAX {
        return Err(format!(
            "it has {} bytes; at most {} are allowed",
            text.len(),
            limits::SUBJECT_BYTES_MAX
        ));
    }
    if text.contains(['+', '#']) {
        return Err("`+` and `#` belong into filters, not into subjects".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_relative() {
        let now = WallTime(10_000_000_000);
        assert_eq!(since("1s").unwrap().time(now), WallTime(9_999_000_000));
        assert_eq!(since("1970-01-01T00:00:02Z").unwrap().time(now), WallTime(2_000_000));
        assert_eq!(since("100h").unwrap().time(now), WallTime(0));
        assert!(since("yesterday").unwrap_err().contains("2h30m"));
        assert!(since("1960-01-01T00:00:00Z").unwrap_err().contains("1970"));
    }

    #[test]
    fn a_header_is_split_at_the_first_equals_sign() {
        assert_eq!(header("a=b=c").unwrap(), HeaderPair { key: "a".into(), value: "b=c".into() });
        assert_eq!(header("a=").unwrap().value, "");
        assert!(header("a").is_err());
        assert!(header("=a").is_err());
        assert!(header(&format!("k={}", "x".repeat(limits::HEADERS_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_subject_has_no_wildcards() {
        assert!(subject("a/b").is_ok());
        assert!(subject("").is_err());
        assert!(subject("a/+").is_err());
        assert!(subject(&"x".repeat(limits::SUBJECT_BYTES_MAX)).is_ok());
        assert!(subject(&"x".repeat(limits::SUBJECT_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn lists_of_durations_may_be_empty() {
        assert_eq!(millis_list("").unwrap(), MillisList(vec![]));
        assert_eq!(millis_list("1s, 5s").unwrap(), MillisList(vec![1000, 5000]));
        assert!(millis_list("1s,x").is_err());
    }

    #[test]
    fn counts_are_positive() {
        assert_eq!(positive("1_000"), Ok(1000));
        assert!(positive("0").is_err());
        assert!(positive("-1").is_err());
    }
}
