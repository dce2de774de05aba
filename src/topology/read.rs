//! Reads single values out of a TOML tree that knows where everything stands,
//! and collects what is wrong with them.
//!
//! It knows types, units and places, and nothing of relays or groups: that is
//! `file`'s part.

mod syntax;
mod unclosed;

pub(super) use syntax::LINK_ADVICE;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::faults::{Code, Fault, Faults, Span};
use super::likely::{did_you_mean, likely_or_known};
use crate::units::{
    UnitError, format_duration, format_rate, parse_duration, parse_rate, parse_size, shorten,
};

/// A value with its place.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A key and what it belongs to, as messages call it: `ttl` of `group "a"`.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) key: &'a str,
    pub(super) of: &'a str,
    pub(super) at: Span,
}

/// Collects faults while values are read.
pub(super) struct Reader {
    faults: Faults,
    /// Lines that are not TOML: what was guessed there is not judged again.
    broken_lines: BTreeSet<usize>,
    /// Not all that stands in the file was understood.
    is_broken: bool,
    /// What was not understood may reach further than the lines that are known as broken.
    is_torn: bool,
    /// What was not understood may have been a relay.
    may_lack_relays: bool,
    /// The file is of a version whose keys may mean something else, or was
    /// not read at all.
    is_foreign: bool,
}

impl Reader {
    /// A reader of `text`, in which nothing has been found yet.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self {
            faults: Faults::new(name, text),
            broken_lines: BTreeSet::new(),
            is_broken: false,
            is_torn: false,
            may_lack_relays: false,
            is_foreign: false,
        }
    }

    /// What was found.
    pub(super) fn into_faults(self) -> Faults {
        self.faults
    }

    /// Whether every line was TOML, but for what stands there twice.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_broken
    }

    /// Whether how the parts fit together can be judged without any doubt.
    pub(super) fn can_check(&self) -> bool {
        self.is_whole() && !self.is_foreign
    }

    /// Whether the file is of a version whose keys may mean something else, or was not read at all.
    pub(super) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Whether what was read is as it was written, though some of it may be missing.
    pub(super) fn is_trusted(&self) -> bool {
        !self.is_torn
    }

    /// Whether a relay that was not read is not in the file.
    pub(super) fn knows_relays(&self) -> bool {
        !self.is_torn && !self.may_lack_relays
    }

    /// Whether a line that holds some of `span` is not TOML.
    pub(super) fn is_broken_at(&self, span: Span) -> bool {
        let (first, last) = (self.faults.line_of(span.start), self.faults.line_of(span.end));
        self.broken_lines.range(first..=last).next().is_some()
    }

    /// Notes that the file cannot be judged any further.
    pub(super) fn set_foreign(&mut self) {
        self.is_foreign = true;
    }

    /// Advice naming the likely one of `known`, else the first few. None once
    /// so much is wrong that it would not be shown.
    pub(super) fn likely_or_known<'c>(
        &self,
        word: &str,
        known: impl Iterator<Item = &'c str> + Clone,
    ) -> Option<String> {
        if self.faults.is_full_of_errors() { None } else { likely_or_known(word, known) }
    }

    /// Adds a fault, unless it stands on a line that is not TOML.
    pub(super) fn fault(&mut self, fault: Fault, at: impl Into<Span>) {
        let at = at.into();
        if !self.broken_lines.contains(&self.faults.line_of(at.start)) {
            self.faults.push(fault.at(at));
        }
    }

    /// The line of a place, for messages that point to a second place.
    pub(super) fn line_of(&self, span: Span) -> usize {
        self.faults.line_of(span.start)
    }

    /// Adds the fault that `field` does not exist where it stands.
    pub(super) fn unknown_key(&mut self, field: Field<'_>, known: &[&str]) {
        let advice = did_you_mean(field.key, known.iter().copied())
            .unwrap_or_else(|| format!("known keys are {}", known.join(", ")));
        self.unknown_key_but(field, advice);
    }

    /// The same, with advice of the caller's.
    pub(super) fn unknown_key_but(&mut self, field: Field<'_>, advice: String) {
        let message = format!("unknown key {:?} in {}", shorten(field.key), field.of);
        self.fault(Fault::new(Code::UnknownKey, message).suggest(Some(advice)), field.at);
    }

    /// Adds the fault that `key` is missing in what stands at `at`. Nothing is
    /// said when a broken line may have held it.
    pub(super) fn missing_key(&mut self, key: &str, of: &str, advice: &str, at: Span) {
        if self.is_whole() {
            let message = format!("{of} has no {key}");
            self.fault(Fault::new(Code::MissingKey, message).suggest(Some(advice.to_owned())), at);
        }
    }

    /// Adds the fault that a value has the wrong type.
    pub(super) fn wrong_type(
        &mut self,
        field: Field<'_>,
        value: &Value<'_>,
        right: &str,
        advice: Option<String>,
    ) {
        let message =
            format!("{} of {} is {}, must be {right}", field.key, field.of, describe(value.get_ref()));
        self.fault(Fault::new(Code::WrongType, message).suggest(advice), value.span());
    }

    /// Adds the fault that a value cannot be taken: `found` as the operator
    /// wrote it, `why` with what would have been right.
    pub(super) fn bad_value(&mut self, field: Field<'_>, at: Span, why: &str, advice: Option<String>) {
        let message = format!("{} of {} {why}", field.key, field.of);
        self.fault(Fault::new(Code::BadValue, message).suggest(advice), at);
    }

    /// A table.
    pub(super) fn table<'v, 't>(
        &mut self,
        field: Field<'_>,
        value: &'v Value<'t>,
        advice: &str,
    ) -> Option<&'v DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(field, value, "a table", Some(advice.to_owned()));
        }
        table
    }

    /// A text. `right` says what kind of text is expected.
    pub(super) fn text<'v>(
        &mut self,
        field: Field<'_>,
        value: &'v Value<'_>,
        right: &str,
    ) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(field, value, right, None);
        }
        text
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, field: Field<'_>, value: &Value<'_>) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            let quoted = value.get_ref().as_str().filter(|text| matches!(*text, "true" | "false"));
            let advice = quoted.map(|text| format!("write {text} without quotes"));
            self.wrong_type(field, value, "true or false", advice);
        }
        flag
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        field: Field<'_>,
        value: &Value<'_>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let right = known.join(" or ");
        let text = self.text(field, value, &right)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let why = format!("is {:?}, must be {right}", shorten(text));
            let advice = did_you_mean(text, words.iter().map(|(word, _)| *word));
            self.bad_value(field, value.span().into(), &why, advice);
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A whole number within `range`.
    pub(super) fn count(
        &mut self,
        field: Field<'_>,
        value: &Value<'_>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let found = self.number(field, value, "a whole number")?;
        if !range.contains(&found) {
            let why = out_of_range(&found.to_string(), &range, |number| number.to_string());
            self.bad_value(field, value.span().into(), &why, None);
            return None;
        }
        Some(found)
    }

    /// A duration such as `"2h30m"`.
    pub(super) fn duration(
        &mut self,
        field: Field<'_>,
        value: &Value<'_>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let right = "a duration such as \"30s\" or \"2h30m\"";
        if let Some(number) = value.get_ref().as_integer() {
            let number = shorten(number.as_str());
            let advice = format!("did you mean \"{number}s\" or \"{number}ms\"?");
            self.wrong_type(field, value, right, Some(advice));
            return None;
        }
        let text = self.text(field, value, right)?;
        let found = self.unit(field, value, parse_duration(text), right)?;
        if !range.contains(&found) {
            let why = out_of_range(&format_duration(found), &range, |limit| format_duration(*limit));
            self.bad_value(field, value.span().into(), &why, None);
            return None;
        }
        Some(found)
    }

    /// A duration of a group, in milliseconds; its range is checked later.
    pub(super) fn duration_ms(&mut self, field: Field<'_>, value: &Value<'_>) -> Option<u64> {
        let any = Duration::ZERO..=Duration::from_millis(u64::MAX);
        let duration = self.duration(field, value, any)?;
        u64::try_from(duration.as_millis()).ok()
    }

    /// A size such as `"16MiB"`, or plain bytes.
    pub(super) fn size(&mut self, field: Field<'_>, value: &Value<'_>) -> Option<u64> {
        let right = "a size such as \"16MiB\" or a number of bytes";
        if value.get_ref().is_integer() {
            return self.number(field, value, right);
        }
        let text = self.text(field, value, right)?;
        self.unit(field, value, parse_size(text), right)
    }

    /// A rate such as `"100MB/s"`, in bytes per second.
    pub(super) fn rate(&mut self, field: Field<'_>, value: &Value<'_>, least: u64) -> Option<u64> {
        let right = "a rate such as \"100MB/s\"";
        if let Some(number) = value.get_ref().as_integer() {
            let advice = format!("did you mean \"{}/s\"?", shorten(number.as_str()));
            self.wrong_type(field, value, right, Some(advice));
            return None;
        }
        let text = self.text(field, value, right)?;
        let found = self.unit(field, value, parse_rate(text), right)?;
        if found < least {
            let why = format!("is {}, must be at least {}", format_rate(found), format_rate(least));
            self.bad_value(field, value.span().into(), &why, None);
            return None;
        }
        Some(found)
    }

    /// What `parsed` holds, or the fault that the text in `value` is not a
    /// duration, size or rate.
    fn unit<T>(
        &mut self,
        field: Field<'_>,
        value: &Value<'_>,
        parsed: Result<T, UnitError>,
        right: &str,
    ) -> Option<T> {
        match parsed {
            Ok(found) => Some(found),
            Err(error) => {
                let why = format!("is {}, must be {right}: {error}", describe(value.get_ref()));
                self.bad_value(field, value.span().into(), &why, error.suggestion());
                None
            }
        }
    }

    /// A whole number from 0.
    fn number(&mut self, field: Field<'_>, value: &Value<'_>, right: &str) -> Option<u64> {
        let Some(integer) = value.get_ref().as_integer() else {
            let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let quoted = value.get_ref().as_str().filter(digits);
            let advice = quoted.map(|text| format!("write {} without quotes", shorten(text)));
            self.wrong_type(field, value, right, advice);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            let shown = shorten(&integer.to_string());
            let why = format!("is {shown}, must be {right} from 0 to {}", u64::MAX);
            self.bad_value(field, value.span().into(), &why, None);
        }
        number
    }
}

/// What a value is, for a message: its type, and itself where it is short.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", shorten(text)),
        DeValue::Integer(number) => format!("the number {}", shorten(&number.to_string())),
        DeValue::Float(number) => format!("the fraction {}", shorten(number.as_str())),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// `is 0, must be 1 to 9`.
fn out_of_range<T>(found: &str, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> String {
    format!("is {found}, must be {} to {}", show(range.start()), show(range.end()))
}
