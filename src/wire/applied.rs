//! A topology that was applied to a running network, as it travels and rests.

use serde::{Deserialize, Serialize};

use crate::id::{RelayId, WallTime};
use crate::limits;
use crate::topology::TopologyVersion;

/// Which topology, and who applied it. The greatest is in force: no two of different texts are
/// equal, so all relays agree on which that is, in whatever order they hear of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopologyHead {
    /// Its version.
    pub version: TopologyVersion,
    /// The relay at which it was applied.
    pub by: RelayId,
    /// When, by the clock of that relay.
    pub at: WallTime,
    /// It is the text of this earlier one again: it was rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
}

/// A topology with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyEntry {
    /// Which one it is.
    pub head: TopologyHead,
    /// The file, as its operator wrote it; at most [`limits::TOPOLOGY_BYTES_MAX`].
    pub text: String,
}

/// Why what came as an applied topology is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The text is longer than any that is applied.
    #[error("the topology has {found} bytes; at most {max} can be applied to a network")]
    TooLong {
        /// Bytes it has.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The hash in the version is not that of the text.
    #[error("the text of topology {0} is not the one that was applied")]
    Hash(TopologyVersion),
    /// Version 0 is what a relay was started with; it is never told.
    #[error("a topology of version 0 was applied by nobody")]
    Unapplied,
    /// Its version is beyond all that is counted to.
    #[error("nobody counts as far as topology {0}")]
    Counter(TopologyVersion),
}

/// Checks the length of a text that is to be applied.
///
/// # Errors
/// When it is too long.
pub fn check_length(text: &str) -> Result<(), EntryFault> {
    let (found, max) = (text.len(), limits::TOPOLOGY_BYTES_MAX);
    if found > max { Err(EntryFault::TooLong { found, max }) } else { Ok(()) }
}

impl TopologyEntry {
    /// Checks what came from another relay.
    ///
    /// # Errors
    /// When its parts do not fit together, or it is too long.
    pub fn check(&self) -> Result<(), EntryFault> {
        check_length(&self.text)?;
        let version = self.head.version;
        if version.counter == 0 {
            return Err(EntryFault::Unapplied);
        }
        if version.counter >= limits::SEQUENCE_MAX {
            return Err(EntryFault::Counter(version));
        }
        if TopologyVersion::new(version.counter, &self.text) != version {
            return Err(EntryFault::Hash(version));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(counter: u64, text: &str) -> TopologyEntry {
        let version = TopologyVersion::new(counter, text);
        let head = TopologyHead { version, by: RelayId::new("a").unwrap(), at: WallTime(7), restores: None };
        TopologyEntry { head, text: text.to_owned() }
    }

    #[test]
    fn what_was_changed_on_its_way_is_refused() {
        assert_eq!(entry(1, "version = 1").check(), Ok(()));
        let spoilt = TopologyEntry { text: "version = 2".to_owned(), ..entry(1, "version = 1") };
        assert!(matches!(spoilt.check(), Err(EntryFault::Hash(_))));
        assert_eq!(entry(0, "version = 1").check(), Err(EntryFault::Unapplied));
    }

    #[test]
    fn the_longest_text_is_taken_and_one_byte_more_is_not() {
        let longest = "#".repeat(limits::TOPOLOGY_BYTES_MAX);
        assert_eq!(entry(1, &longest).check(), Ok(()));
        assert!(matches!(entry(1, &(longest + "#")).check(), Err(EntryFault::TooLong { .. })));
    }

    #[test]
    fn of_two_with_one_counter_exactly_one_is_newer() {
        let (one, other) = (entry(5, "a"), entry(5, "b"));
        assert_ne!(one.head, other.head);
        assert!(entry(6, "a").head > one.head.clone().max(other.head));
    }
}
