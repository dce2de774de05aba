//! What is consumed is said behind the facts (R15).
//!
//! Who has handed a subscription over has nothing more to be done with, and says so. An origin that hears that
//! before it hears where the subscription lives now would take it for consumed. Over a link that stays up
//! facts come before the receipts that follow from them; when one comes up, facts wait until both ends have
//! compared what they know ([`super::digest`]), and until then nothing is said there of what is consumed.

use std::collections::BTreeMap;

use super::Relay;
use crate::id::{LinkId, Sequence};
use crate::wire::link::Receipt;

/// Receipts that wait for the facts of a link. A neighbour that does not ask for them by then gets them as they are.
const HELD_MAX: usize = 1 << 14;

/// Receipts of which a link has not said everything.
#[derive(Clone, Debug, Default)]
pub(super) struct BehindFacts {
    /// Whether the neighbour has been told all facts since the link came up.
    has_told: bool,
    held: Vec<Receipt>,
}

impl Relay {
    /// Of receipts that are ahead of the facts only that goes now which has nothing to do with them.
    pub(super) fn keep_behind_facts(&mut self, link: LinkId, receipts: &mut [Receipt]) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        if state.behind_facts.has_told {
            return;
        }
        if state.behind_facts.held.len() + receipts.len() > HELD_MAX {
            return self.say_behind_facts(link);
        }
        let says = |receipt: &&mut Receipt| receipt.consumed > Sequence(0) || receipt.brought.is_some();
        for receipt in receipts.iter_mut().filter(says) {
            state.behind_facts.held.push(receipt.clone());
            (receipt.consumed, receipt.brought) = (Sequence(0), None);
        }
    }

    /// The neighbour knows what is known here, or is told in what was just said.
    pub(super) fn say_behind_facts(&mut self, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link).filter(|state| state.is_up) else { return };
        state.behind_facts.has_told = true;
        let held = std::mem::take(&mut state.behind_facts.held);
        if !held.is_empty() {
            self.say_receipts(BTreeMap::from([(link, held)]));
        }
    }
}
