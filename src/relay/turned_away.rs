//! The order of a producer whose put was refused for the moment (P4).
//!
//! A publisher sends on before it hears that something was refused, and then sends all of it again,
//! in order. Had the reason gone meanwhile, what was on its way would be taken first and what goes
//! before it last. So in a session that was refused something for the moment, what follows that is
//! refused too, until it comes again or its publisher says that it has given it up.
//!
//! ```text
//! put 1 refused ──▶ 2, 3 refused ──▶ 1 taken ──▶ 2 taken ──▶ 3 taken: nothing is held back any more
//! ```

use std::collections::BTreeMap;

use super::Relay;
use crate::id::{GroupNumber, ProducerId, ProducerSequence, SessionId};
use crate::limits;
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::frame::PutHead;

type Key = (GroupNumber, ProducerId);

/// What of one producer is to come again before anything else of it is taken.
#[derive(Clone, Copy, Debug)]
struct Turned {
    /// The next message that may be taken.
    next: ProducerSequence,
    /// The last put that was refused begins here: behind it nothing is held back.
    through: ProducerSequence,
}

/// What one session was refused for the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct TurnedAway(BTreeMap<Key, Turned>);

impl TurnedAway {
    /// Whether messages before this one are to come again.
    fn holds_back(&mut self, key: Key, first: ProducerSequence, lowest: ProducerSequence) -> bool {
        // Who does not say which are unanswered may have given all of them up.
        let Some(turned) = self.0.get_mut(&key).filter(|_| lowest > ProducerSequence(0)) else {
            return false;
        };
        turned.next = turned.next.max(lowest);
        if turned.next > turned.through {
            self.0.remove(&key);
            return false;
        }
        first > turned.next
    }

    /// A put is refused for the moment. False: there are too many of them.
    fn note(&mut self, key: Key, first: ProducerSequence) -> bool {
        let is_full = self.0.len() >= limits::SESSION_TURNED_AWAY_MAX;
        if is_full && !self.0.contains_key(&key) {
            return false;
        }
        let turned = self.0.entry(key).or_insert(Turned { next: first, through: first });
        (turned.next, turned.through) = (turned.next.min(first), turned.through.max(first));
        true
    }

    /// A put is taken.
    fn take(&mut self, key: Key, first: ProducerSequence, count: u32) {
        let Some(turned) = self.0.get_mut(&key) else { return };
        if first <= turned.next {
            let end = first.0.saturating_add(u64::from(count));
            turned.next = turned.next.max(ProducerSequence(end));
        }
        if turned.next > turned.through {
            self.0.remove(&key);
        }
    }
}

impl Relay {
    /// Why a put is refused for the moment: all are, or an earlier one of its producer was.
    pub(super) fn refused_for_now(
        &mut self,
        (session, group): (SessionId, GroupNumber),
        head: &PutHead,
    ) -> Option<Refusal> {
        if !self.links.has_table {
            return Some(self.no_table());
        }
        let (producer, first) = head.producer?;
        let turned = &mut self.sessions.get_mut(&session)?.turned_away;
        turned.holds_back((group, producer), first, head.lowest_unanswered).then(|| {
            let message =
                "an earlier message of its producer was refused for the moment: that one comes first";
            Refusal::new(RefusalCode::NotReady, message)
        })
    }

    /// A put is taken.
    pub(super) fn note_taken(
        &mut self,
        (session, group): (SessionId, GroupNumber),
        head: &PutHead,
        count: u32,
    ) {
        if let Some((producer, first)) = head.producer
            && let Some(state) = self.sessions.get_mut(&session)
        {
            state.turned_away.take((group, producer), first, count);
        }
    }

    /// A put is refused; for the moment, if so: what follows it waits for it.
    pub(super) fn note_refused(
        &mut self,
        (session, group): (SessionId, GroupNumber),
        head: &PutHead,
        refusal: &Refusal,
    ) {
        if let (Some((producer, first)), RefusalCode::NotReady) = (head.producer, refusal.code)
            && let Some(state) = self.sessions.get_mut(&session)
            && !state.turned_away.note((group, producer), first)
        {
            let max = limits::SESSION_TURNED_AWAY_MAX;
            let reason =
                format!("puts of more than {max} producers were refused for the moment: connect again");
            self.effects.push_back(super::effect::Effect::Close { session, reason });
        }
    }
}
