//! Relays with new disks, and what they may take for the table of memberships (I6).
//!
//! A relay that has lost its disk must not take puts before it knows who is a member: what it took
//! would be owed to nobody. It learns that from a neighbour that has a table, however much or
//! little is in it. One that has none either cannot tell: two relays that lose their disks at the
//! same time would take each other's empty tables for whole ones. So relays without a table say so
//! in their link states, and tell what they know without an end.
//!
//! In a network that begins nobody has one. Then it is enough that all are there: once every relay
//! that is named in anybody's links can be reached, and all of them are new, no disk knows more. If
//! one of them cannot be reached, the others wait for it for [`limits::NEWCOMER_WAIT_MS`], and go
//! on without it.

use std::collections::BTreeSet;

use super::Relay;
use super::input::Now;
use super::state::Operation;
use super::timer::Timer;
use crate::id::RelayId;
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::link::LinkMessage;

/// Missing relays that are named.
const NAMED_MAX: usize = 8;

/// Whom a relay without a table finds around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    /// Nobody yet, or somebody who has a table and will tell it.
    Wait,
    /// Only relays without one, and some that are named are not there.
    Some,
    /// Only relays without one, and all are there.
    All,
}

impl Relay {
    /// The map has changed: perhaps it is known now that nobody has a table.
    pub(super) fn look_for_table(&mut self, now: Now) {
        if self.links.has_table {
            return;
        }
        match self.company() {
            Company::Wait => self.timers.clear(Timer::Newcomer),
            Company::Some => {
                let at = now.time.after_ms(limits::NEWCOMER_WAIT_MS);
                self.timers.set_by(Timer::Newcomer, at);
            }
            Company::All => self.take_table(now),
        }
    }

    fn company(&self) -> Company {
        let me = &self.options.relay;
        let is_there = |relay: &RelayId| relay == me || self.links.toward.contains_key(relay);
        let mut company = if self.links.toward.is_empty() { Company::Wait } else { Company::All };
        for state in self.links.states.values().filter(|state| is_there(&state.relay)) {
            if !state.is_new && state.relay != *me {
                return Company::Wait;
            }
            if company == Company::All && !state.links.iter().all(|link| is_there(&link.neighbour)) {
                company = Company::Some;
            }
        }
        company
    }

    /// Why nothing is taken before there is a table, and whom that waits for.
    pub(super) fn no_table(&self) -> Refusal {
        let mut message = "the relay does not know yet who is a member: it waits for ".to_owned();
        if self.company() == Company::Some {
            let is_there = |relay: &RelayId| self.links.toward.contains_key(relay);
            let named = self.links.states.values().flat_map(|state| &state.links);
            let missing = named.map(|link| &link.neighbour).filter(|relay| !is_there(relay));
            let missing: BTreeSet<&RelayId> = missing.filter(|relay| **relay != self.options.relay).collect();
            let mut names: Vec<&str> = missing.iter().take(NAMED_MAX).map(|relay| relay.as_str()).collect();
            if missing.len() > NAMED_MAX {
                names.push("others");
            }
            let seconds = limits::NEWCOMER_WAIT_MS / 1000;
            message += &format!("{}, and goes on without after {seconds} seconds", names.join(", "));
        } else {
            message += "a neighbour";
        }
        Refusal::new(RefusalCode::NotReady, message)
    }

    /// Whoever is missing has been waited for.
    pub(super) fn on_newcomer_time(&mut self, now: Now) {
        if self.company() != Company::Wait {
            self.take_table(now);
        }
    }

    /// What is known here is the table, or as much of it as there is.
    pub(super) fn take_table(&mut self, now: Now) {
        if self.links.has_table {
            return;
        }
        self.links.has_table = true;
        self.timers.clear(Timer::Newcomer);
        let operation = Operation::TableLearned;
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.tell_uncertain(now);
        for group in self.links.mourned.keys() {
            self.journal.wait(super::journal::Waiting::Mourned { group: *group });
        }
        self.announce_links(now);
        self.take_queues_in_force(now);
        // Whoever has none either has heard all facts before.
        for link in self.links.up().collect::<Vec<_>>() {
            self.say(link, LinkMessage::FactsEnd);
        }
    }
}
