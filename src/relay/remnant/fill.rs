//! A remnant is filled: what the old home copies comes here.

use super::super::Relay;
use super::super::cursor::reach;
use super::super::input::Now;
use super::super::journal::Waiting;
use super::super::journal::WaitingRun;
use super::super::state::Operation;
use super::super::subscription::{SubscriptionKey, SubscriptionNumber};
use crate::id::{GroupNumber, Index, LinkId, Sequence, StreamNumber};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::GapCause;
use crate::wire::link::LinkMessage;
use crate::wire::moving::{CopyHead, Left, MoveFrame, MoveSays};
use crate::wire::run::{Run, RunKind};

/// Whether what is said to be left of a part can be.
fn is_sound(left: &Left) -> bool {
    let reach = reach(left.floor);
    let in_order = |ranges: &[(Index, Index)]| {
        let mut at = Index(0);
        ranges.iter().all(|(from, to)| std::mem::replace(&mut at, *to) <= *from && from < to)
    };
    let places = |gaps: &[(Index, Index, GapCause)]| -> Vec<(Index, Index)> {
        gaps.iter().map(|(from, to, _)| (*from, *to)).collect()
    };
    let (lost, gaps) = (places(&left.lost), places(&left.gaps));
    left.to.0 <= limits::SEQUENCE_MAX
        && left.floor <= left.to
        && left.done.iter().all(|(from, to)| *from >= left.floor && *to <= reach)
        && in_order(&left.done)
        && in_order(&lost)
        // These were told in the order in which they came to be.
        && gaps.iter().all(|(from, to)| from < to && to.0 <= limits::SEQUENCE_MAX)
}

impl Relay {
    /// The old home is to copy a part, and asks how far it is here.
    pub(in crate::relay) fn on_copy_asked(
        &mut self,
        now: Now,
        frame: &MoveFrame,
        (part, from): (u32, Index),
    ) {
        let Some((key, has_come)) = self.arrives(frame) else {
            return self.answer_move_durably(now, frame, MoveSays::Void);
        };
        if has_come {
            return self.answer_move_durably(now, frame, MoveSays::Taken);
        }
        let known = self.remnant(key, part).map(|group| (group.number, group.remnant.as_ref()));
        let known = known.and_then(|(number, remnant)| Some((number, remnant?.from)));
        let number = match known {
            Some((number, begun)) if begun <= from => Some(number),
            // It has lost acks with a crash, and needs more.
            Some((number, _)) => {
                self.end_copied_from(key, number);
                self.begin_remnant(now, key, (part, from))
            }
            None => self.begin_remnant(now, key, (part, from)),
        };
        if let Some(group) = number.and_then(|number| self.groups.get(number)) {
            let through = group.next;
            self.answer_move_durably(now, frame, MoveSays::Copied { part, through });
        }
    }

    /// The old home has started again, and copies a part anew, and then all that are behind it: these would
    /// else stand before it, since parts are delivered in the order in which they were begun here.
    fn end_copied_from(&mut self, key: SubscriptionKey, number: GroupNumber) {
        let is_copied = |other: &GroupNumber| {
            let remnant = self.groups.get(*other).and_then(|group| group.remnant.as_deref());
            *other >= number && remnant.is_some_and(|remnant| !remnant.is_open)
        };
        let copied = self.remnants_of(key).iter().copied().filter(is_copied);
        for other in copied.collect::<Vec<_>>() {
            self.end_remnant(other);
        }
    }

    fn begin_remnant(
        &mut self,
        now: Now,
        key: SubscriptionKey,
        (part, from): (u32, Index),
    ) -> Option<GroupNumber> {
        let is_full = self.remnants_of(key).len() >= limits::REMNANTS_MAX || from.0 > limits::SEQUENCE_MAX;
        if is_full || self.counters.groups == u32::MAX {
            return None;
        }
        let group = self.groups.get(key.group)?;
        let subscription = group.subscriptions.get(group.find(key.number)?)?;
        let remnant = GroupNumber(self.counters.groups + 1);
        let operation = Operation::RemnantBegun {
            group: remnant,
            of: (key.group, key.number),
            part,
            name: group.name.clone(),
            incarnation: group.incarnation,
            settings: group.settings_of_remnant(),
            subscription: SubscriptionNumber(self.counters.subscriptions + 1),
            subscription_name: subscription.name.clone(),
            shared: subscription.shared,
            filter: subscription.filter.as_ref().map(|filter| filter.as_str().to_owned()),
            window: subscription.window,
            from,
            at: now.wall,
        };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.apply(operation, false).expect("an operation that was checked applies");
        Some(remnant)
    }

    /// A run that is copied here, or passes by.
    pub(in crate::relay) fn on_copy(&mut self, now: Now, link: LinkId, mut head: CopyHead, run: Run) {
        if head.to != self.options.relay {
            let Some((way, hops)) = self.way_on(&head.to, link, head.hops) else { return };
            head.hops = hops;
            if self.takes_circuits(way) {
                self.say(way, LinkMessage::Copy { head: Box::new(head), run });
            }
            return;
        }
        let CopyHead { from, to, hops, group, name, token, part, .. } = head.clone();
        let says = MoveSays::Copy { part, from: head.behind };
        let frame = MoveFrame { from, to, hops, group, name, token, says };
        let Some((key, false)) = self.arrives(&frame) else { return };
        let Some(group) = self.remnant(key, part) else { return };
        let number = group.number;
        if self.take_copied(now, (number, link), &head, run)
            && let Some(group) = self.groups.get(number)
        {
            let through = group.next;
            self.answer_move_durably(now, &frame, MoveSays::Copied { part, through });
        }
    }

    /// Takes a run into a remnant, if it is next. Whether it is there now.
    fn take_copied(
        &mut self,
        now: Now,
        (number, link): (GroupNumber, LinkId),
        head: &CopyHead,
        run: Run,
    ) -> bool {
        let Some(group) = self.groups.get(number) else { return false };
        let header = run.header;
        // The first one may begin a little before what is left.
        if head.first_index < group.next && !group.streams.is_empty() {
            return true;
        }
        let is_next = head.behind <= group.next && head.first_index.0 <= limits::SEQUENCE_MAX;
        let end = head.first_index.after(u64::from(header.count));
        let in_it = |(from, to): &(Index, Index)| head.first_index <= *from && from < to && *to <= end;
        if !is_next || header.kind != RunKind::Data || !self.room || !head.not_owed.iter().all(in_it) {
            return false;
        }
        if !self.fits(&run) {
            self.warn_of_length(number);
            return false;
        }
        for (from, to) in &head.not_owed {
            let operation = Operation::RemnantPasses { group: number, from: *from, to: *to };
            self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Ride);
            self.apply(operation, false).expect("an operation that was checked applies");
        }
        let stream = self.stream_in(number, head);
        let Some(group) = self.groups.get_mut(number) else { return false };
        group.go_to(head.first_index);
        let arrival = group.arrival(now);
        if let Some((producer, first)) = header.producer {
            group.note_order(head.first_index, (producer, first), header.count, arrival);
        }
        if let Some(stream) = group.stream(stream) {
            stream.note(&run);
        }
        let end = self.append_run(now, (number, stream), (link, head.age_ms), (run, Urgency::Sync));
        let last = Sequence(header.end().0 - 1);
        let run = WaitingRun { group: number, end, stream, last };
        self.journal.wait(Waiting::Run { run, count: 0, put: None });
        true
    }

    fn stream_in(&mut self, number: GroupNumber, head: &CopyHead) -> StreamNumber {
        let known = self.groups.get(number).and_then(|group| group.stream_of(&head.origin, head.epoch));
        match known.map(|stream| stream.number) {
            Some(stream) => stream,
            None => self.open_stream(number, (&head.origin, head.epoch), Urgency::Ride),
        }
    }

    /// Whether what is said to be left of a part is here.
    pub(in crate::relay) fn is_here(&self, key: SubscriptionKey, left: &Left) -> bool {
        let remnant = self.remnant(key, left.part).and_then(|group| group.remnant.as_deref());
        is_sound(left) && remnant.is_some_and(|remnant| remnant.from <= left.floor)
    }

    /// The old home hands over what is left. False: it is not here.
    pub(in crate::relay) fn open_remnants(&mut self, key: SubscriptionKey, left: &[Left]) -> bool {
        if !left.iter().all(|left| self.is_here(key, left)) {
            return false;
        }
        for number in self.remnants_of(key).to_vec() {
            let part = self.groups.get(number).and_then(|group| Some(group.remnant.as_ref()?.part));
            match left.iter().find(|left| Some(left.part) == part) {
                Some(left) => {
                    let left = Box::new(left.clone());
                    let operation = Operation::RemnantOpened { group: number, left };
                    self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
                    self.apply(operation, false).expect("an operation that was checked applies");
                }
                // All of it was taken there after all.
                None => self.end_remnant(number),
            }
        }
        true
    }
}
