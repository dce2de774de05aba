//! Names and numbers of the domain: newtypes only.
//!
//! Everything that could be swapped with something else of the same width has
//! a type of its own. Names are what people write and what travels between
//! relays; numbers are what one relay uses inside itself.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The name is longer than [`limits::NAME_BYTES_MAX`].
    #[error("the name has {found} bytes; at most {max} are allowed")]
    TooLong {
        /// How many bytes it has.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Two slashes in a row, or one at the start or the end.
    #[error("`{0}` has an empty level; write levels like `metrics/cpu`")]
    EmptyLevel(String),
    /// A name that starts with `$` belongs to the system.
    #[error("`{0}` starts with `$`, which is reserved")]
    Reserved(String),
    /// A control character, `+`, `#` or white space.
    #[error("`{name}` contains {found:?}, which no name may contain")]
    Character {
        /// The whole name.
        name: String,
        /// The character that is not allowed.
        found: char,
    },
}

/// Checks what all names have in common: 1 to [`limits::NAME_BYTES_MAX`] bytes
/// of levels separated by `/`, none of them empty, without white space, control
/// characters and the wildcards `+` and `#`; a leading `$` is reserved.
fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limits::NAME_BYTES_MAX {
        return Err(NameError::TooLong { found: text.len(), max: limits::NAME_BYTES_MAX });
    }
    if let Some(found) = text.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '+' | '#'))
    {
        return Err(NameError::Character { name: text.to_owned(), found });
    }
    if text.split('/').any(str::is_empty) {
        return Err(NameError::EmptyLevel(text.to_owned()));
    }
    if text.starts_with('$') {
        return Err(NameError::Reserved(text.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 255 bytes, `/` between levels; cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// When the text is not a name; the error says what is wrong with it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// A relay, by the name the operator gave it in the topology file.
    RelayId
}
impl RelayId {
    /// A name that stands before all others.
    pub(crate) fn least() -> Self {
        Self(Arc::from("!"))
    }
}

name! {
    /// A group, or a queue: one name space for both.
    GroupName
}
name! {
    /// A durable subscription of one group at one home relay.
    SubscriptionName
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A group inside one relay: given once, never used again, kept on its disk.
    GroupNumber(u32)
}
number! {
    /// A stream inside one relay: given once, never used again, kept on its disk.
    StreamNumber(u32)
}
number! {
    /// A link inside one relay; 0 stands for the relay itself (its own sessions).
    LinkId(u32)
}
number! {
    /// Position in a stream: 1, 2, 3, … without gaps. 0 stands for "before the first".
    Sequence(u64)
}
number! {
    /// Position in a relay's copy of a group, in the order in which the records
    /// of all streams were inserted there: 1, 2, 3, … It means nothing elsewhere.
    Index(u64)
}
number! {
    /// A block of the log: 1, 2, 3, … in the order of the commits.
    Lsn(u64)
}
number! {
    /// One connection, for as long as it lives. Not on disk.
    SessionId(u64)
}
number! {
    /// A counter that a producer raises by one with every message to a group.
    ProducerSequence(u64)
}
number! {
    /// Names a message source that retries: a hash of a chosen name, or random bits behind the
    /// [mark](ProducerId::passing) of those that end with their connection.
    ProducerId(u128)
}
number! {
    /// Monotonic time in nanoseconds since the process started. Told to the core, never read by it.
    Time(u64)
}
number! {
    /// Wall-clock time in microseconds since 1970-01-01T00:00:00Z. Only for people and for ages.
    WallTime(u64)
}

impl Sequence {
    /// The sequence after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Index {
    /// The index after `count` more records.
    #[must_use]
    pub fn after(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl Time {
    /// This time and `ms` milliseconds; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

impl ProducerId {
    /// The producer that a person named: the same name is always the same producer.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
    }

    /// An id for as long as a process or a connection lives, of 96 random bits (the lower ones count).
    /// Every relay can tell by its upper 32 bits that nobody will come back with it, also from a log or
    /// over a link: among more producers than a relay remembers, these make room first.
    #[must_use]
    pub fn passing(random: u128) -> Self {
        Self(random & (u128::MAX >> 32) | u128::from(PASSING) << 96)
    }

    /// Whether it was made by [`ProducerId::passing`]. One name in 2³² seems so too, which only
    /// matters where a group has more producers than a relay remembers.
    #[must_use]
    pub fn is_passing(self) -> bool {
        self.0 >> 96 == u128::from(PASSING)
    }
}

/// The upper 32 bits of an id that ends with its connection.
const PASSING: u32 = 0x7061_7373;

/// A data directory, from the moment it was made: 128 random bits. A wiped and
/// newly made directory is another storage, and old receipts do not count for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct StorageId(pub [u8; 16]);

impl fmt::Display for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One boot of one storage. Ordered by the counter; the nonce tells a cloned
/// directory from the one it was cloned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Epoch {
    /// How many times this storage was booted, this one included: 1, 2, 3, …
    pub counter: u64,
    /// The data directory.
    pub storage: StorageId,
    /// Random, drawn at this boot.
    pub nonce: u64,
}

/// What one origin relay appended to one group in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The group.
    pub group: GroupName,
    /// How often the group was removed and made again before.
    pub incarnation: u32,
    /// The relay at which the messages were put.
    pub origin: RelayId,
    /// The boot of that relay.
    pub epoch: Epoch,
}

impl StreamId {
    /// The hash that stands before the first record: it binds the chain of
    /// hashes to this stream, so that a record of another one cannot be in it.
    #[must_use]
    pub fn chain_start(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(self.group.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(self.origin.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(&self.incarnation.to_le_bytes());
        hash.update(&self.epoch.counter.to_le_bytes());
        hash.update(&self.epoch.storage.0);
        hash.update(&self.epoch.nonce.to_le_bytes());
        hash.digest()
    }
}

/// Writes what names a message as text, `ORIGIN@COUNTER.NONCE:GROUP:SEQUENCE`: where it was put, the boot (its
/// counter and nonce), the group, and its sequence there.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_message_id(
    out: &mut impl fmt::Write,
    (origin, group): (&RelayId, &GroupName),
    (boot, nonce): (u64, u64),
    sequence: Sequence,
) -> fmt::Result {
    write!(out, "{origin}@{boot}.{nonce:016x}:{group}:{sequence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_levels() {
        assert!(GroupName::new("metrics/cpu").is_ok());
        assert_eq!(GroupName::new(""), Err(NameError::Empty));
        assert!(matches!(GroupName::new("a//b"), Err(NameError::EmptyLevel(_))));
        assert!(matches!(GroupName::new("/a"), Err(NameError::EmptyLevel(_))));
        assert!(matches!(GroupName::new("$sys"), Err(NameError::Reserved(_))));
        assert!(matches!(GroupName::new("a b"), Err(NameError::Character { found: ' ', .. })));
        assert!(matches!(GroupName::new("a/+"), Err(NameError::Character { found: '+', .. })));
        assert!(matches!(GroupName::new(&"x".repeat(256)), Err(NameError::TooLong { found: 256, .. })));
    }

    #[test]
    fn no_name_of_a_relay_stands_before_the_least() {
        let all = (0..=u32::from('~')).filter_map(char::from_u32);
        let names: Vec<RelayId> = all.filter_map(|c| RelayId::new(&c.to_string()).ok()).collect();
        assert!(names.len() > 80);
        assert_eq!(names.into_iter().min(), Some(RelayId::least()));
    }

    #[test]
    fn epochs_are_ordered_by_the_counter() {
        let old = Epoch { counter: 1, storage: StorageId([9; 16]), nonce: 9 };
        let new = Epoch { counter: 2, storage: StorageId([0; 16]), nonce: 0 };
        assert!(old < new);
    }

    #[test]
    fn the_chain_starts_differently_in_every_stream() {
        let one = StreamId {
            group: GroupName::new("g").unwrap(),
            incarnation: 0,
            origin: RelayId::new("r").unwrap(),
            epoch: Epoch { counter: 1, ..Epoch::default() },
        };
        let two = StreamId { epoch: Epoch { counter: 2, ..Epoch::default() }, ..one.clone() };
        assert_ne!(one.chain_start(), two.chain_start());
    }
}
