//! Messages as an application puts them, and the names of those that were taken.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::ClientError;
use crate::id::{GroupName, RelayId, Sequence, write_message_id};
use crate::limits;
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::run::Record;

/// A message to put.
///
/// ```
/// use std::time::Duration;
/// use treecast::client::Message;
///
/// let message = Message::new("21.5").subject("berlin/roof").ttl(Duration::from_secs(60));
/// assert_eq!(message.subject.as_deref(), Some("berlin/roof"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What is to arrive: any bytes, up to what the group takes (16 MiB unless told otherwise).
    pub payload: Bytes,
    /// The key inside the group that filters look at: levels separated by `/`,
    /// at most [`limits::SUBJECT_BYTES_MAX`] bytes.
    pub subject: Option<String>,
    /// Keys and values, in order; a key may occur more than once. At most
    /// [`limits::HEADERS_BYTES_MAX`] bytes together, 6 more for each header included.
    pub headers: Vec<(String, Bytes)>,
    /// After this time the message is of no use any more; counted in milliseconds.
    pub ttl: Option<Duration>,
}

impl Message {
    /// A message with this payload and nothing else.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// The same message with a subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The same message with one more header.
    #[must_use]
    pub fn header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((key.into(), value.into()));
        self
    }

    /// The same message with a time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Gives the message to `take` as a record, after its bounds were checked.
    #[inline]
    pub(super) fn with_record<T>(
        &self,
        payload_bytes_max: u64,
        take: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, ClientError> {
        check("payload", self.payload.len(), payload_bytes_max)?;
        let subject_bytes = self.subject.as_ref().map_or(0, String::len);
        check("subject", subject_bytes, limits::SUBJECT_BYTES_MAX as u64)?;
        let ttl_ms = self.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let subject = self.subject.as_deref();
        let record = Record { ttl_ms, subject, headers: &[], payload: &self.payload };
        if self.headers.is_empty() {
            return Ok(take(record));
        }
        let headers = self.encoded_headers()?;
        Ok(take(Record { headers: &headers, ..record }))
    }

    fn encoded_headers(&self) -> Result<BytesMut, ClientError> {
        let bytes = self.headers.iter().map(|(key, value)| 6 + key.len() + value.len()).sum();
        check("headers", bytes, limits::HEADERS_BYTES_MAX as u64)?;
        let mut headers = BytesMut::with_capacity(bytes);
        for (key, value) in &self.headers {
            Record::encode_header(&mut headers, key, value);
        }
        Ok(headers)
    }
}

#[inline]
pub(super) fn check(what: &str, found: usize, max: u64) -> Result<(), ClientError> {
    if found as u64 <= max { Ok(()) } else { Err(too_large(what, found, max)) }
}

#[cold]
fn too_large(what: &str, found: usize, max: u64) -> ClientError {
    let message = format!("the {what} of the message has {found} bytes; at most {max} are allowed");
    Refusal::new(RefusalCode::TooLarge, message).into()
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}

/// Where a message came from: what all messages of one stream have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MessageStream {
    pub(super) origin: RelayId,
    pub(super) boot: u64,
    pub(super) nonce: u64,
    pub(super) group: GroupName,
}

/// Names a message in the whole network, for ever: the relay where it was put,
/// that relay's boot (counter and nonce), the group, and its sequence there.
/// Cheap to clone.
///
/// As text: `ORIGIN@COUNTER.NONCE:GROUP:SEQUENCE`, with the nonce in 16
/// hexadecimal digits. The same message always has the same text:
///
/// ```
/// use treecast::client::MessageId;
///
/// let text = "north@3.00f1a2b3c4d5e6f7:orders/eu:1042";
/// let id: MessageId = text.parse()?;
/// assert_eq!(id.origin().as_str(), "north");
/// assert_eq!((id.boot(), id.nonce()), (3, 0xf1a2b3c4d5e6f7));
/// assert_eq!(id.group().as_str(), "orders/eu");
/// assert_eq!(id.sequence().0, 1042);
/// assert_eq!(id.to_string(), text);
/// # Ok::<(), treecast::client::MessageIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    stream: Arc<MessageStream>,
    sequence: Sequence,
}

impl MessageId {
    /// The id of the message with this sequence in the stream of a relay's boot
    /// (counter and nonce) and a group.
    #[must_use]
    pub fn new(origin: RelayId, (boot, nonce): (u64, u64), group: GroupName, sequence: Sequence) -> Self {
        Self::of(Arc::new(MessageStream { origin, boot, nonce, group }), sequence)
    }

    pub(super) fn of(stream: Arc<MessageStream>, sequence: Sequence) -> Self {
        Self { stream, sequence }
    }

    /// The relay at which the message was put.
    #[must_use]
    pub fn origin(&self) -> &RelayId {
        &self.stream.origin
    }

    /// How often that relay's storage had been booted.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.stream.boot
    }

    /// The random number of that boot.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.stream.nonce
    }

    /// The group that it was put into.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.stream.group
    }

    /// Its number in the stream that origin, boot and group name.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MessageStream { origin, boot, nonce, group } = &*self.stream;
        write_message_id(f, (origin, group), (*boot, *nonce), self.sequence)
    }
}

/// A text that is no message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a message id; one looks like `north@3.00f1a2b3c4d5e6f7:orders/eu:1042`")]
pub struct MessageIdError {
    /// The text.
    pub found: String,
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let parsed = parse_id(text).filter(|id| id.to_string() == text);
        parsed.ok_or_else(|| MessageIdError { found: text.to_owned() })
    }
}

fn parse_id(text: &str) -> Option<MessageId> {
    let (stream, sequence) = text.rsplit_once(':')?;
    let sequence = Sequence(sequence.parse().ok()?);
    // A relay's name may have an `@` in it: the right one stands before a boot.
    stream.match_indices('@').find_map(|(at, _)| {
        let (boot, group) = stream.get(at + 1..)?.split_once(':')?;
        let (boot, nonce) = boot.split_once('.').filter(|(_, nonce)| nonce.len() == 16)?;
        let boot = (boot.parse().ok()?, u64::from_str_radix(nonce, 16).ok()?);
        Some(MessageId::new(stream.get(..at)?.parse().ok()?, boot, group.parse().ok()?, sequence))
    })
}

/// What a relay says of a message that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The message's id. `None` when it travelled with a repeat: then the relay
    /// does not say which sequence it has.
    pub id: Option<MessageId>,
    /// Whether the relay had it already from an earlier try of the same
    /// producer. When it travelled together with others, it may be one of them.
    pub repeat: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(origin: &str, group: &str) -> MessageId {
        MessageId::new(origin.parse().unwrap(), (3, 0xf1a2), group.parse().unwrap(), Sequence(42))
    }

    #[test]
    fn a_message_id_is_read_as_it_is_written() {
        for (origin, group) in [("north", "orders/eu:x"), ("a@b.c/d:1", "g@1.2:3/x-y")] {
            let id = id(origin, group);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(id("north", "orders/eu:x").to_string(), "north@3.000000000000f1a2:orders/eu:x:42");
    }

    #[test]
    fn another_text_is_not_a_message_id() {
        let good = id("north", "g").to_string();
        for bad in ["", "north", "north:orders", "north@3.f1:g:1", "@3.00000000000000f1:g:1"] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
        for bad in [good.replace(":42", ":042"), good.replace("f1a2", "F1A2"), good.replace("@3.", "@x.")] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_checked_before_a_message_is_taken() {
        let check = |message: Message| message.with_record(4, |_| ());
        assert!(check(Message::new("1234")).is_ok());
        assert!(check(Message::new("12345")).is_err());
        assert!(check(Message::new("").subject("s".repeat(limits::SUBJECT_BYTES_MAX))).is_ok());
        assert!(check(Message::new("").subject("s".repeat(limits::SUBJECT_BYTES_MAX + 1))).is_err());
        let value = |bytes: usize| vec![0; bytes - 7];
        assert!(check(Message::new("").header("k", value(limits::HEADERS_BYTES_MAX))).is_ok());
        assert!(check(Message::new("").header("k", value(limits::HEADERS_BYTES_MAX + 1))).is_err());
        assert!(check(Message::new("").header("k".repeat(70_000), "")).is_err());
    }
}
