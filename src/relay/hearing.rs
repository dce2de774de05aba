//! After a start: what is released is heard of before it is given to who knows nothing of it.
//!
//! What is released stands in snapshots and in no entry of the log. A relay that has crashed has again what it
//! had let go since the last one, and does not know that nobody needs it. Who has had it says so when the two
//! compare; who never had it, or has lost its disk and knows no more what it had, would be given all of it,
//! and its applications what they are done with (R3). So of a stream of which a neighbour has told
//! nothing it is given what stood in the log at the start only when all neighbours have had a
//! moment to say what is released, or it is clear that one of them does not.
//!
//! What neighbours know of waits for nothing. What stands behind such a stream in the same group waits with it,
//! for [`limits::HEARING_MS_MAX`] at the most.

use std::collections::BTreeSet;

use super::Relay;
use super::input::Now;
use super::timer::Timer;
use crate::id::{GroupNumber, LinkId, Time};
use crate::limits;

/// A relay has started, and hears from others what is released.
#[derive(Clone, Debug)]
pub(super) struct Hearing {
    /// Then it goes on without those who are not there.
    until: Time,
    /// What neighbours are not given meanwhile.
    held: BTreeSet<(GroupNumber, LinkId)>,
}

impl Hearing {
    /// A neighbour was to be given what stood in the log at the start, of a stream that it does not know.
    pub(super) fn hold(&mut self, number: GroupNumber, link: LinkId) {
        self.held.insert((number, link));
    }

    /// Whether it waits.
    pub(super) fn holds(&self, number: GroupNumber, link: LinkId) -> bool {
        self.held.contains(&(number, link))
    }
}

impl Relay {
    /// It has started.
    pub(super) fn begin_hearing(&mut self, now: Now) {
        if self.groups.iter().any(|group| group.spread.is_some()) {
            let until = now.time.after_ms(limits::HEARING_MS_MAX);
            self.hearing = Some(Hearing { until, held: BTreeSet::new() });
            self.timers.set(Timer::Hearing, now.time.after_ms(limits::HEARING_MS));
        }
    }

    /// A neighbour has told anew what it has.
    pub(super) fn look_again(&mut self, number: GroupNumber, link: LinkId) {
        if let Some(hearing) = &mut self.hearing {
            hearing.held.remove(&(number, link));
        }
    }

    pub(super) fn on_hearing_time(&mut self, now: Now) {
        let Some(hearing) = &self.hearing else { return };
        let mut links = self.links.table.values();
        let has_said = links.all(|link| link.is_up && now.time >= link.since.after_ms(limits::HEARING_MS));
        if !has_said && now.time < hearing.until {
            return self.timers.set(Timer::Hearing, now.time.after_ms(limits::HEARING_LOOK_MS));
        }
        let held = self.hearing.take().map(|hearing| hearing.held).unwrap_or_default();
        for (number, link) in held {
            self.settle_released(number);
            self.pass_unowed(now, number, link);
            self.enqueue_reader(number, link);
        }
    }

    /// What nobody is owed, as is known by now, and no history keeps, is let go soon: a neighbour is not given it.
    fn pass_unowed(&mut self, now: Now, number: GroupNumber, link: LinkId) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let kept = group.owed().min(group.history(now.wall)).min(group.durable);
        if let Some(reader) = group.spread().reader(link).filter(|reader| reader.next < kept) {
            (reader.next, reader.ahead) = (kept, None);
        }
    }
}
