//! What a relay answers that is emptied: how far that is, and what holds it up.

use serde::{Deserialize, Serialize};

use crate::id::{GroupName, RelayId, SubscriptionName};
use crate::wire::is_zero;

/// How far a relay is emptied. Each list has the first 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// The relay.
    pub relay: RelayId,
    /// Whether it is being drained. If not, it has subscriptions that are to leave first.
    pub begun: bool,
    /// Whether nothing that anybody is owed is there alone any more.
    pub may_go: bool,
    /// Subscriptions that live there; a queue has one of its own.
    pub homes: Vec<Home>,
    /// How many.
    pub home_count: u64,
    /// Groups in which members lack something that was put there.
    pub waits: Vec<DrainingWait>,
    /// How many.
    pub wait_count: u64,
    /// What it keeps of origins that cannot be reached, or have lost the disk it was on: perhaps nobody else has it.
    pub kept: Vec<DrainingKept>,
    /// How many.
    pub kept_count: u64,
    /// Whether it is still part of a tree as an origin.
    pub is_origin: bool,
    /// Sessions of applications that have not left.
    pub sessions: u64,
    /// Groups in which it is still an origin, though none of the above is of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closing: Vec<GroupName>,
    /// How many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closing_count: u64,
}

impl Draining {
    /// Nothing so far.
    #[must_use]
    pub fn new(relay: RelayId, begun: bool) -> Self {
        Self {
            relay,
            begun,
            may_go: false,
            homes: Vec::new(),
            home_count: 0,
            waits: Vec::new(),
            wait_count: 0,
            kept: Vec::new(),
            kept_count: 0,
            is_origin: false,
            sessions: 0,
            closing: Vec::new(),
            closing_count: 0,
        }
    }

    /// Counts what was added, and keeps of each list the first `max`.
    pub fn count(&mut self, max: usize) {
        fn take<T>(list: &mut Vec<T>, count: &mut u64, max: usize) {
            let before = (*count as usize).min(max);
            *count += (list.len() - before) as u64;
            list.truncate(max);
        }
        take(&mut self.homes, &mut self.home_count, max);
        take(&mut self.waits, &mut self.wait_count, max);
        take(&mut self.kept, &mut self.kept_count, max);
        take(&mut self.closing, &mut self.closing_count, max);
    }
}

/// A subscription that lives at a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The group.
    pub group: GroupName,
    /// Its name.
    pub name: SubscriptionName,
    /// Messages in its backlog.
    pub backlog: u64,
    /// The relay to which it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves_to: Option<RelayId>,
    /// The relay where it lives still: it moves to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comes_from: Option<RelayId>,
}

/// A group in which members lack something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingWait {
    /// The group.
    pub group: GroupName,
    /// Records that not all members have confirmed.
    pub records: u64,
    /// Members that have not, the first eight.
    pub members: Vec<RelayId>,
}

/// Records of another origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingKept {
    /// The group.
    pub group: GroupName,
    /// The origin.
    pub origin: RelayId,
    /// How many.
    pub records: u64,
    /// Whether the origin can be reached, and has lost the disk that they were on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_lost: bool,
}
