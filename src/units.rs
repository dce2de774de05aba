//! Durations, sizes and rates as an operator writes them: `2h30m`, `16MiB`,
//! `100MB/s`.
//!
//! Whole numbers only, so that what is read is exactly what is meant. Every
//! `format_` function writes what its `parse_` function reads back as the same
//! value. Pure; used by the topology file, the configuration and the commands.
//!
//! ```text
//! duration = part+           parts from the largest unit to the smallest, each once
//! part     = number unit     unit: w d h m s ms
//! size     = number [unit]   unit: B, kB MB GB TB PB (1000), KiB MiB GiB TiB PiB (1024)
//! rate     = size "/s"
//! ```
//! `KB` is read as `kB`. Spaces may stand around numbers and units, digits may
//! be grouped with `_`.

use std::time::Duration;

/// Reads a duration such as `2h30m`, `500ms` or `7d`. The result is a whole
/// number of milliseconds.
///
/// # Errors
/// Anything else, with what was wrong; see [`UnitError`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Empty { expected: "a duration such as \"30s\" or \"2h30m\"" });
    }
    let mut total_ms: u64 = 0;
    let mut last: Option<&Unit> = None;
    while !rest.is_empty() {
        let (number, unit, after) = take_part(rest)?;
        let unit = find_unit(DURATION_UNITS, number, unit, MissingUnit::Refused)?;
        if let Some(before) = last.filter(|before| before.factor <= unit.factor) {
            return Err(UnitError::Order { unit: unit.name, before: before.name });
        }
        let part_ms = number.checked_mul(unit.factor);
        total_ms = part_ms
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or(UnitError::TooLarge { greatest: DURATION_GREATEST })?;
        last = Some(unit);
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`parse_duration`] reads it back: `2h30m`. What is
/// finer than a millisecond is cut off; nothing at all is `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for unit in DURATION_UNITS.iter().filter(|unit| unit.name != "w") {
        let number = rest / unit.factor;
        if number > 0 {
            text.push_str(&format!("{number}{}", unit.name));
            rest %= unit.factor;
        }
    }
    text
}

/// Reads a size in bytes such as `16MiB`, `1GB` or `1048576`.
///
/// # Errors
/// Anything else, with what was wrong; see [`UnitError`].
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty { expected: "a size such as \"512KiB\" or \"10GB\"" });
    }
    let (number, unit, after) = take_part(text)?;
    let unit = find_unit(SIZE_UNITS, number, unit, MissingUnit::Bytes)?;
    if !after.is_empty() {
        return Err(UnitError::Trailing { text: shorten(after) });
    }
    number.checked_mul(unit.factor).ok_or(UnitError::TooLarge { greatest: SIZE_GREATEST })
}

/// Writes a size exactly, in the unit that gives the smallest whole number:
/// `16MiB`, `1GB`, `1025B`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let mut best = (bytes, "B");
    for unit in SIZE_UNITS.iter().filter(|unit| bytes > 0 && bytes.is_multiple_of(unit.factor)) {
        let number = bytes / unit.factor;
        if number < best.0 {
            best = (number, unit.name);
        }
    }
    format!("{}{}", best.0, best.1)
}

/// Reads a rate such as `100MB/s`, in bytes per second.
///
/// # Errors
/// Anything else, with what was wrong; see [`UnitError`].
pub fn parse_rate(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty { expected: "a rate such as \"100MB/s\"" });
    }
    let Some(size) = text.strip_suffix("/s") else {
        return Err(UnitError::MissingPerSecond { text: shorten(text) });
    };
    parse_size(size)
}

/// Writes a rate so that [`parse_rate`] reads it back: `100MB/s`.
#[must_use]
pub fn format_rate(bytes_per_second: u64) -> String {
    format!("{}/s", format_size(bytes_per_second))
}

/// Why a duration, size or rate could not be read. The operator's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// There is nothing but spaces.
    #[error("empty, expected {expected}")]
    Empty {
        /// What would have been right.
        expected: &'static str,
    },
    /// A number was expected where something else stands.
    #[error("expected a whole number before {text:?}")]
    MissingNumber {
        /// What stands there.
        text: String,
    },
    /// A number below zero.
    #[error("{text:?} is negative, expected a whole number")]
    Negative {
        /// The number as written.
        text: String,
    },
    /// A number with a fraction or an exponent.
    #[error("{text:?} is not a whole number, write it in a smaller unit")]
    Fraction {
        /// The number as written.
        text: String,
    },
    /// A duration without a unit.
    #[error("{number} has no unit, expected one of {expected}")]
    MissingUnit {
        /// The number that lacks a unit.
        number: u64,
        /// The units there are.
        expected: &'static str,
    },
    /// A unit that does not exist.
    #[error("unknown unit {unit:?}, expected one of {expected}")]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The units there are.
        expected: &'static str,
        /// The unit that was probably meant.
        likely: Option<&'static str>,
    },
    /// A unit that is not smaller than the one before it.
    #[error("{unit:?} after {before:?}, expected units from the largest to the smallest, each once")]
    Order {
        /// The unit that stands too late.
        unit: &'static str,
        /// The unit before it.
        before: &'static str,
    },
    /// Something follows a complete value.
    #[error("unexpected {text:?} after the value")]
    Trailing {
        /// What follows.
        text: String,
    },
    /// A rate that does not end in `/s`.
    #[error("{text:?} does not end in \"/s\"")]
    MissingPerSecond {
        /// The rate as written.
        text: String,
    },
    /// More than 64 bits hold.
    #[error("too large, the greatest is {greatest}")]
    TooLarge {
        /// The greatest value there is.
        greatest: &'static str,
    },
}

impl UnitError {
    /// What the operator probably meant to write, when it can be told.
    #[must_use]
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::MissingUnit { number, .. } => Some(format!("did you mean \"{number}s\"?")),
            Self::UnknownUnit { likely: Some(likely), .. } => {
                Some(format!("did you mean the unit \"{likely}\"?"))
            }
            Self::MissingPerSecond { text } => {
                let better = format!("{text}/s");
                // Without a unit too it would be a rate, but hardly the one that is meant.
                let has_unit = text.ends_with(char::is_alphabetic);
                (has_unit && parse_rate(&better).is_ok()).then(|| format!("did you mean {better:?}?"))
            }
            Self::Fraction { .. } => {
                Some("for 1.5h write \"1h30m\", for 1.5GiB write \"1536MiB\"".to_owned())
            }
            Self::UnknownUnit { likely: None, .. }
            | Self::Empty { .. }
            | Self::MissingNumber { .. }
            | Self::Negative { .. }
            | Self::Order { .. }
            | Self::Trailing { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}

/// A unit and how many milliseconds or bytes one of it is.
struct Unit {
    name: &'static str,
    factor: u64,
}

/// What a number without a unit means.
#[derive(Clone, Copy)]
enum MissingUnit {
    Refused,
    Bytes,
}

/// From the largest to the smallest: [`format_duration`] takes them in order.
const DURATION_UNITS: &[Unit] = &[
    Unit { name: "w", factor: 7 * 24 * 3_600_000 },
    Unit { name: "d", factor: 24 * 3_600_000 },
    Unit { name: "h", factor: 3_600_000 },
    Unit { name: "m", factor: 60_000 },
    Unit { name: "s", factor: 1_000 },
    Unit { name: "ms", factor: 1 },
];

const SIZE_UNITS: &[Unit] = &[
    Unit { name: "PiB", factor: 1 << 50 },
    Unit { name: "PB", factor: 1_000_000_000_000_000 },
    Unit { name: "TiB", factor: 1 << 40 },
    Unit { name: "TB", factor: 1_000_000_000_000 },
    Unit { name: "GiB", factor: 1 << 30 },
    Unit { name: "GB", factor: 1_000_000_000 },
    Unit { name: "MiB", factor: 1 << 20 },
    Unit { name: "MB", factor: 1_000_000 },
    Unit { name: "KiB", factor: 1 << 10 },
    Unit { name: "kB", factor: 1_000 },
    BYTE,
];

const BYTE: Unit = Unit { name: "B", factor: 1 };
const DURATION_NAMES: &str = "w d h m s ms";
const SIZE_NAMES: &str = "B kB MB GB TB PB KiB MiB GiB TiB PiB";
const DURATION_GREATEST: &str = "18446744073709551615ms";
const SIZE_GREATEST: &str = "18446744073709551615B";

/// Cuts `text` into its leading number, the unit after it and what follows.
fn take_part(text: &str) -> Result<(u64, &str, &str), UnitError> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if rest.starts_with(['.', ',']) {
        return Err(UnitError::Fraction { text: shorten(text) });
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        let text = shorten(text);
        let negative = text.starts_with(['-', '\u{2212}']);
        return Err(if negative { UnitError::Negative { text } } else { UnitError::MissingNumber { text } });
    }
    let mut number: u64 = 0;
    for digit in digits.bytes().filter(u8::is_ascii_digit) {
        number = number
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
            .ok_or(UnitError::TooLarge { greatest: "18446744073709551615" })?;
    }
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(end);
    Ok((number, unit, after.trim_start()))
}

/// The unit called `name`, or the reason why there is none.
fn find_unit(
    units: &'static [Unit],
    number: u64,
    name: &str,
    missing: MissingUnit,
) -> Result<&'static Unit, UnitError> {
    let (expected, lone) = match missing {
        MissingUnit::Refused => (DURATION_NAMES, None),
        MissingUnit::Bytes => (SIZE_NAMES, Some(&BYTE)),
    };
    if name.is_empty() {
        return lone.ok_or(UnitError::MissingUnit { number, expected });
    }
    let name = if name == "KB" { "kB" } else { name };
    if let Some(unit) = units.iter().find(|unit| unit.name == name) {
        return Ok(unit);
    }
    Err(UnitError::UnknownUnit { unit: shorten(name), expected, likely: likely_unit(units, name) })
}

/// What people write for a unit in other notations.
fn likely_unit(units: &'static [Unit], name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let known = units.iter().map(|unit| unit.name);
    if let Some(same) = known.clone().find(|known| known.to_lowercase() == lower) {
        return Some(same);
    }
    let spelled = match lower.as_str() {
        "week" | "weeks" => "w",
        "day" | "days" => "d",
        "hour" | "hours" | "hr" | "hrs" => "h",
        "min" | "mins" | "minute" | "minutes" => "m",
        "sec" | "secs" | "second" | "seconds" => "s",
        "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
        "byte" | "bytes" => "B",
        "k" | "ki" => "KiB",
        "m" | "mi" => "MiB",
        "g" | "gi" => "GiB",
        "t" | "ti" => "TiB",
        "p" | "pi" => "PiB",
        _ => return None,
    };
    known.clone().find(|known| *known == spelled)
}

/// The beginning of `text`, for a message: what an operator wrote may be a
/// megabyte long.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;

    #[test]
    fn durations_are_read() {
        let cases = [
            ("2h30m", Duration::from_secs(2 * HOUR + 1_800)),
            ("500ms", Duration::from_millis(500)),
            ("7d", Duration::from_secs(7 * 24 * HOUR)),
            ("1w", Duration::from_secs(7 * 24 * HOUR)),
            ("0s", Duration::ZERO),
            (" 1 h 1 ms ", Duration::from_millis(3_600_001)),
            ("1_000s", Duration::from_secs(1_000)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("16MiB", 16 << 20),
            ("1GB", 1_000_000_000),
            ("1048576", 1 << 20),
            ("512KB", 512_000),
            ("512kB", 512_000),
            ("10 GiB", 10 << 30),
            ("0", 0),
            ("18446744073709551615B", u64::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(parse_rate("100MB/s"), Ok(100_000_000));
        assert_eq!(parse_rate("1MiB /s"), Ok(1 << 20));
        assert_eq!(format_rate(100_000_000), "100MB/s");
    }

    #[test]
    fn what_cannot_be_read_is_told_precisely() {
        let cases = [
            (parse_duration("30").unwrap_err(), "30 has no unit, expected one of w d h m s ms"),
            (parse_duration("").unwrap_err(), "empty, expected a duration such as \"30s\" or \"2h30m\""),
            (parse_duration("5 sec").unwrap_err(), "unknown unit \"sec\", expected one of w d h m s ms"),
            (
                parse_duration("30m2h").unwrap_err(),
                "\"h\" after \"m\", expected units from the largest to the smallest, each once",
            ),
            (
                parse_duration("1.5h").unwrap_err(),
                "\"1.5h\" is not a whole number, write it in a smaller unit",
            ),
            (parse_duration("-5s").unwrap_err(), "\"-5s\" is negative, expected a whole number"),
            (parse_duration("soon").unwrap_err(), "expected a whole number before \"soon\""),
            (
                parse_duration("18446744073709551615s").unwrap_err(),
                "too large, the greatest is 18446744073709551615ms",
            ),
            (
                parse_size("1mib").unwrap_err(),
                "unknown unit \"mib\", expected one of B kB MB GB TB PB KiB MiB GiB TiB PiB",
            ),
            (parse_size("1MiB2").unwrap_err(), "unexpected \"2\" after the value"),
            (parse_size("20000PiB").unwrap_err(), "too large, the greatest is 18446744073709551615B"),
            (parse_rate("100MB").unwrap_err(), "\"100MB\" does not end in \"/s\""),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn the_unit_that_was_meant_is_suggested() {
        let suggestion = |error: UnitError| error.suggestion().unwrap();
        assert_eq!(suggestion(parse_duration("30").unwrap_err()), "did you mean \"30s\"?");
        assert_eq!(suggestion(parse_duration("5min").unwrap_err()), "did you mean the unit \"m\"?");
        assert_eq!(suggestion(parse_size("1mib").unwrap_err()), "did you mean the unit \"MiB\"?");
        assert_eq!(suggestion(parse_size("8G").unwrap_err()), "did you mean the unit \"GiB\"?");
        assert_eq!(suggestion(parse_rate("1MB").unwrap_err()), "did you mean \"1MB/s\"?");
        assert_eq!(parse_rate("10").unwrap_err().suggestion(), None);
    }

    #[test]
    fn sizes_are_written_in_the_unit_with_the_smallest_number() {
        let cases = [(0, "0B"), (1025, "1025B"), (1 << 20, "1MiB"), (100_000_000, "100MB"), (1_500, "1500B")];
        for (bytes, expected) in cases {
            assert_eq!(format_size(bytes), expected);
        }
        assert_eq!(format_duration(Duration::from_secs(9_000)), "2h30m");
        assert_eq!(format_duration(Duration::ZERO), "0s");
    }

    proptest! {
        #[test]
        fn durations_come_back_as_they_were(ms: u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn sizes_and_rates_come_back_as_they_were(number in 0u64..20_000, unit in 0..SIZE_UNITS.len(), odd: u64) {
            for bytes in [number.saturating_mul(SIZE_UNITS[unit].factor), odd] {
                prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
                prop_assert_eq!(parse_rate(&format_rate(bytes)), Ok(bytes));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*", near in "[0-9.,_ \\-]{0,22}[a-zA-ZµB/ ]{0,4}[0-9]{0,3}(ms|s|/s)?") {
            for text in [text, near] {
                for error in [
                    parse_duration(&text).err(),
                    parse_size(&text).err(),
                    parse_rate(&text).err(),
                ].into_iter().flatten() {
                    prop_assert!(!error.to_string().is_empty());
                    let _ = error.suggestion();
                }
            }
        }
    }
}
