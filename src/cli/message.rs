//! How a received message, or the gap where one is missing, is written to standard output.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::Unordered;
use crate::id::{GroupName, Index, WallTime};
use crate::wire::body::{GapCause, Missing, UnorderedCause};

use super::human;
use super::out::Context;

/// How payloads are written in text.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct FormatArgs {
    /// Write no line end behind each payload, only its bytes
    #[arg(long)]
    pub no_newline: bool,
}

/// A message, as it is shown.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The group that it was put into.
    pub group: &'a GroupName,
    /// Names it across all relays, for ever.
    pub id: String,
    /// Position at the home relay: what `subscription seek --from-index` takes.
    pub index: Index,
    /// The key inside the group.
    pub subject: Option<&'a str>,
    /// Keys and values.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// When the origin took it.
    pub accepted: WallTime,
    /// What was put.
    pub payload: &'a [u8],
}

impl Shown<'_> {
    /// Writes it: in text the payload alone, so that what was put comes out again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, format: FormatArgs, context: &mut Context) -> io::Result<()> {
        if !context.is_text() {
            return context.out.json(&self.to_json());
        }
        context.out.bytes(self.payload)?;
        if format.no_newline { Ok(()) } else { context.out.bytes(b"\n") }
    }

    /// For programs. A payload that is not UTF-8 is `payload_base64` instead of `payload`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut headers = Map::new();
        for (key, value) in &self.headers {
            add_header(&mut headers, key, bytes_json(value));
        }
        let mut value = json!({
            "id": self.id,
            "group": self.group,
            "index": self.index,
            "subject": self.subject,
            "headers": headers,
            "attempt": self.attempt,
            "accepted": human::timestamp(self.accepted),
        });
        let (key, payload) = match std::str::from_utf8(self.payload) {
            Ok(text) => ("payload", json!(text)),
            Err(_) => ("payload_base64", json!(BASE64.encode(self.payload))),
        };
        if let Some(fields) = value.as_object_mut() {
            fields.insert(key.to_owned(), payload);
        }
        value
    }
}

/// A header that occurs once is a value, one that occurs more often a list of them.
fn add_header(headers: &mut Map<String, Value>, key: &str, value: Value) {
    match headers.get_mut(key) {
        None => {
            headers.insert(key.to_owned(), value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = json!([first.take(), value]),
    }
}

fn bytes_json(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({ "base64": BASE64.encode(bytes) }), |text| json!(text))
}

/// A word for programs and one for people.
#[must_use]
pub fn gap_words(cause: GapCause) -> (&'static str, &'static str) {
    match cause {
        GapCause::SubscriptionQuota => ("subscription-quota", "the subscription's quota dropped them"),
        GapCause::Retention => ("retention", "the group's limits deleted them"),
        GapCause::Damaged => ("damaged", "they were damaged on disk"),
        GapCause::Expired => ("expired", "their time to live was over"),
        GapCause::Evicted => ("evicted", "the subscription was over its quota and was removed"),
        GapCause::Uncertain => (
            "uncertain",
            "a relay has lost its disk or the end of its log, has an older disk again, or was forgotten",
        ),
    }
}

/// Tells of messages that the subscription will not get: an object for
/// programs, a warning for people, whose data it must not be mixed with.
///
/// # Errors
/// When it cannot be written.
pub fn write_gap(from: Index, to: Index, cause: GapCause, context: &mut Context) -> io::Result<()> {
    let (word, text) = gap_words(cause);
    if context.is_text() && cause == GapCause::Uncertain {
        context.notes.warning(format_args!("messages may be missing before position {from}: {text}"));
        return Ok(());
    }
    if context.is_text() {
        // Positions and not messages: the relay's own records have some too.
        let last = to.0.saturating_sub(1);
        context.notes.warning(format_args!("what was at positions {from} to {last} is missing: {text}"));
        return Ok(());
    }
    context.out.json(&json!({ "gap": { "from": from, "to": to, "cause": word } }))
}

/// Tells that messages of a producer come next though earlier ones have not come: an object for
/// programs, a warning for people.
///
/// # Errors
/// When it cannot be written.
pub fn write_unordered(unordered: &Unordered, context: &mut Context) -> io::Result<()> {
    let (word, text) = match unordered.cause {
        UnorderedCause::Waited => ("waited", "they were waited for as long as the group says"),
        UnorderedCause::Bound => ("bound", "more than a relay remembers were waiting"),
    };
    if context.is_text() {
        let (from, last) = (unordered.from, unordered.to.0.saturating_sub(1));
        match &unordered.missing {
            Some(Missing { producer, from: first, to }) => context.notes.warning(format_args!(
                "what comes at positions {from} to {last} was put by producer {producer} after its messages \
                 {first} to {}, which have not come: {text}",
                to.0.saturating_sub(1)
            )),
            None => context.notes.warning(format_args!(
                "what comes at positions {from} to {last} may be out of its producers' order: {text}"
            )),
        }
        return Ok(());
    }
    let missing = unordered.missing.map(
        |missing| json!({ "producer": missing.producer.to_string(), "from": missing.from, "to": missing.to }),
    );
    let (from, to) = (unordered.from, unordered.to);
    context.out.json(&json!({ "unordered": { "from": from, "to": to, "missing": missing, "cause": word } }))
}

#[cfg(test)]
mod tests {
    use super::super::Output;
    use super::super::tests::captured_context;
    use super::*;

    fn shown<'a>(group: &'a GroupName, payload: &'a [u8]) -> Shown<'a> {
        Shown {
            group,
            id: "relay/1/7".to_owned(),
            index: Index(9),
            subject: Some("a/b"),
            headers: vec![("k", b"v"), ("twice", b"1"), ("twice", &[0xff])],
            attempt: 2,
            accepted: WallTime(1_767_225_600_000_001),
            payload,
        }
    }

    #[test]
    fn text_is_the_payload_and_a_line_end() {
        let group = GroupName::new("g").unwrap();
        let write = |no_newline| {
            captured_context(Output::Text, |context| {
                shown(&group, b"\xffhi").write(FormatArgs { no_newline }, context)
            })
        };
        assert_eq!(write(false), b"\xffhi\n");
        assert_eq!(write(true), b"\xffhi");
    }

    #[test]
    fn json_is_one_line_with_all_there_is() {
        let group = GroupName::new("g").unwrap();
        let bytes = captured_context(Output::Json, |context| {
            shown(&group, b"hi\n").write(FormatArgs::default(), context)
        });
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let expected = json!({
            "id": "relay/1/7", "group": "g", "index": 9, "subject": "a/b", "attempt": 2,
            "headers": { "k": "v", "twice": ["1", { "base64": "/w==" }] },
            "accepted": "2026-01-01T00:00:00.000001Z", "payload": "hi\n",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_payload_that_is_no_text_is_base64() {
        let group = GroupName::new("g").unwrap();
        let value = shown(&group, &[0, 0xff]).to_json();
        assert_eq!(value["payload_base64"], "AP8=");
        assert!(value.get("payload").is_none());
    }

    #[test]
    fn what_is_to_be_known_of_the_order_is_an_object_for_programs_and_no_data_for_people() {
        use crate::id::{ProducerId, ProducerSequence};
        let missing = Missing { producer: ProducerId(9), from: ProducerSequence(3), to: ProducerSequence(5) };
        let unordered = |output, missing| {
            let (from, to, cause) = (Index(7), Index(8), UnorderedCause::Waited);
            let unordered = Unordered { from, to, missing, cause };
            captured_context(output, |context| write_unordered(&unordered, context))
        };
        assert_eq!(unordered(Output::Text, Some(missing)), b"");
        assert_eq!(unordered(Output::Text, None), b"");
        let value: Value = serde_json::from_slice(&unordered(Output::Json, Some(missing))).unwrap();
        let missing = json!({ "producer": "9", "from": 3, "to": 5 });
        let expected = json!({ "unordered": { "from": 7, "to": 8, "missing": missing, "cause": "waited" } });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_gap_is_an_object_for_programs_and_no_data_for_people() {
        let gap = |output| {
            captured_context(output, |context| write_gap(Index(3), Index(5), GapCause::Retention, context))
        };
        assert_eq!(gap(Output::Text), b"");
        let value: Value = serde_json::from_slice(&gap(Output::Json)).unwrap();
        let expected = json!({ "gap": { "from": 3, "to": 5, "cause": "retention" } });
        assert_eq!(value, expected);
    }
}
