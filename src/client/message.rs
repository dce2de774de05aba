//! Messages as applications see them.

use std::fmt;
use std::str::FromStr;
use std::sync::Weak;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::subscriber::SubscriberShared;
use crate::id::{GroupName, Index, RelayId, Sequence, WallTime};
use crate::limits;
use crate::wire::body::{GapCause, Refusal, RefusalCode};
use crate::wire::frame::AckKind;
use crate::wire::run::Record;

/// A message to put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    payload: Bytes,
    subject: Option<String>,
    headers: BytesMut,
    ttl_ms: Option<u64>,
}

impl Message {
    /// A message with this payload: any bytes, up to what the group takes (16 MiB by default).
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// Sets the subject that filters look at: levels separated by `/`, at most 1,024 bytes.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds a header. Keys may repeat; all headers together have at most 64 KiB.
    ///
    /// # Panics
    /// When the key has 64 KiB or more or the value 4 GiB or more.
    #[must_use]
    pub fn header(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        Record::encode_header(&mut self.headers, key, value.as_ref());
        self
    }

    /// Sets after how long the message is of no use any more; milliseconds count.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn check(&self, payload_bytes_max: u64) -> Result<(), Refusal> {
        let too_large = |what: &str, found: usize, max: u64| {
            let message = format!("the {what} has {found} bytes; at most {max} are allowed");
            Err(Refusal::new(RefusalCode::TooLarge, message))
        };
        let subject_bytes = self.subject.as_ref().map_or(0, String::len);
        if self.payload.len() as u64 > payload_bytes_max {
            return too_large("payload", self.payload.len(), payload_bytes_max);
        }
        if subject_bytes > limits::SUBJECT_BYTES_MAX {
            return too_large("subject", subject_bytes, limits::SUBJECT_BYTES_MAX as u64);
        }
        if self.headers.len() > limits::HEADERS_BYTES_MAX {
            return too_large("headers", self.headers.len(), limits::HEADERS_BYTES_MAX as u64);
        }
        Ok(())
    }

    pub(super) fn record(&self) -> Record<'_> {
        Record {
            ttl_ms: self.ttl_ms,
            subject: self.subject.as_deref(),
            headers: &self.headers,
            payload: &self.payload,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}

/// Names a message in the whole network, for ever: the relay where it was put, that
/// relay's boot (counter and nonce), the group, and its sequence there.
///
/// As text: `ORIGIN@COUNTER.NONCE:GROUP:SEQUENCE`, the nonce in 16 hexadecimal digits,
/// for instance `north@3.00f1a2b3c4d5e6f7:orders/eu:1042`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The relay at which it was put.
    pub origin: RelayId,
    /// How often that relay's storage had been booted.
    pub boot: u64,
    /// The random number of that boot.
    pub nonce: u64,
    /// The group.
    pub group: GroupName,
    /// Its sequence in the stream of that relay, boot and group.
    pub sequence: Sequence,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.{:016x}:{}:{}", self.origin, self.boot, self.nonce, self.group, self.sequence)
    }
}

/// A text that is not a message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a message id; one looks like `north@3.00f1a2b3c4d5e6f7:orders/eu:1042`")]
pub struct MessageIdError(String);

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let parse = || {
            let (stream, sequence) = text.rsplit_once(':')?;
            let (origin, rest) = stream.split_once('@')?;
            let (boot, group) = rest.split_once(':')?;
            let (boot, nonce) = boot.split_once('.')?;
            Some(Self {
                origin: origin.parse().ok()?,
                boot: boot.parse().ok()?,
                nonce: u64::from_str_radix(nonce, 16).ok()?,
                group: group.parse().ok()?,
                sequence: Sequence(sequence.parse().ok()?),
            })
        };
        parse().ok_or_else(|| MessageIdError(text.to_owned()))
    }
}

/// What a relay says of a put that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The message; `None` when it was a repeat, whose first copy has the id.
    pub id: Option<MessageId>,
    /// Whether it had been taken before, by an earlier try of the same producer.
    pub repeat: bool,
}

/// What a subscriber is given.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A message.
    Message(Received),
    /// Messages that it will not be given, in the place where they would have been.
    Gap(Gap),
}

/// Messages that a subscription does not get, and why. To be acked like messages.
#[derive(Debug, Clone)]
pub struct Gap {
    /// The first insertion index.
    pub from: Index,
    /// The insertion index after the last.
    pub to: Index,
    /// Why.
    pub cause: GapCause,
    pub(super) subscriber: Weak<SubscriberShared>,
}

impl Gap {
    /// Notes that the application knows of the gap: it is not told again.
    pub fn ack(&self) {
        if let Some(subscriber) = self.subscriber.upgrade() {
            subscriber.say(AckKind::Ack, self.from, self.to, 0);
        }
    }
}

/// A message that was delivered. It is delivered again unless it is acked in time (30 s
/// unless the group says otherwise).
#[derive(Debug, Clone)]
pub struct Received {
    /// What the publisher sent.
    pub payload: Bytes,
    /// Its id.
    pub id: MessageId,
    /// Its insertion index at the relay.
    pub index: Index,
    /// 1 for the first delivery, more for another one.
    pub attempt: u32,
    /// When the origin accepted it.
    pub accepted: WallTime,
    pub(super) record: Bytes,
    pub(super) subscriber: Weak<SubscriberShared>,
}

impl Received {
    fn decoded(&self) -> Record<'_> {
        let record = crate::wire::run::Records::new(&self.record).next();
        record.and_then(Result::ok).unwrap_or_default()
    }

    /// Its subject.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.decoded().subject
    }

    /// Its headers, in order.
    #[must_use]
    pub fn headers(&self) -> Vec<(&str, &[u8])> {
        self.decoded().headers().collect()
    }

    fn say(&self, kind: AckKind, delay: Duration) {
        if let Some(subscriber) = self.subscriber.upgrade() {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            subscriber.say(kind, self.index, self.index.after(1), delay_ms);
        }
    }

    /// Done: it is never delivered again. Recorded at once, sent within a few milliseconds.
    pub fn ack(&self) {
        self.say(AckKind::Ack, Duration::ZERO);
    }

    /// Not done: it is delivered again after `delay`, or the group's back-off if that is zero.
    pub fn nack(&self, delay: Duration) {
        self.say(AckKind::Nack, delay);
    }

    /// Still at work: the wait for the ack begins anew.
    pub fn progress(&self) {
        self.say(AckKind::Progress, Duration::ZERO);
    }

    /// Never to be done: it goes to the dead-letter group.
    pub fn reject(&self) {
        self.say(AckKind::Reject, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_read_as_it_is_written() {
        let id = MessageId {
            origin: RelayId::new("north").unwrap(),
            boot: 3,
            nonce: 0xf1a2,
            group: GroupName::new("orders/eu:x").unwrap(),
            sequence: Sequence(42),
        };
        assert_eq!(id.to_string(), "north@3.000000000000f1a2:orders/eu:x:42");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("north:orders".parse::<MessageId>().is_err());
    }

    #[test]
    fn a_message_over_a_bound_is_refused_before_it_is_sent() {
        assert!(Message::new("abc").check(3).is_ok());
        assert!(Message::new("abcd").check(3).is_err());
        assert!(Message::new("").subject("s".repeat(1025)).check(3).is_err());
        assert!(Message::new("").header("k", vec![0; 70_000]).check(3).is_err());
    }
}
