//! What a subscriber says of its messages, until it is sent.
//!
//! Acks are merged into ranges and outlive the connection: the relay matches
//! them by insertion index, and a message that was acked while there was no
//! connection need not be delivered again. Those that were sent are kept too
//! and are sent again on the next connection, since the relay may have lost
//! them with its memory; until it says that they are durable, or shows by a
//! delivery that it has gone back behind them. Everything else is about a
//! delivery that a lost connection takes back anyway, and goes with it.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::id::Index;
use crate::limits;
use crate::wire::frame::{Ack, AckKind};

/// One statement: about `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Statement {
    kind: AckKind,
    from: Index,
    to: Index,
    delay_ms: u64,
}

/// Statements in the order in which they were made, neighbours merged.
#[derive(Debug, Default)]
pub(super) struct AckBuffer {
    acks: Vec<(Index, Index)>,
    /// Acks that were sent and may not be durable; ascending, apart.
    sent: VecDeque<(Index, Index)>,
    others: Vec<Statement>,
    /// Statements made since the last were sent.
    count: u32,
    /// Something that was acked or rejected will not be said any more, and may not be durable.
    is_lost: bool,
}

impl AckBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.others.is_empty()
    }

    /// Statements made since the last were sent.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Notes a statement.
    pub(super) fn say(&mut self, kind: AckKind, from: Index, to: Index, delay_ms: u64) {
        self.count = self.count.saturating_add(1);
        if kind == AckKind::Ack {
            match self.acks.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                Some(_) | None => self.acks.push((from, to)),
            }
            return;
        }
        let statement = Statement { kind, from, to, delay_ms };
        let is_crowded = self.others.len() >= limits::CLIENT_STATEMENTS_MAX;
        match self.others.last_mut() {
            Some(last) if *last == statement => {}
            Some(last) if last.to == from && last.kind == kind && last.delay_ms == delay_ms => last.to = to,
            Some(_) if kind == AckKind::Progress && is_crowded => {}
            Some(_) | None => self.others.push(statement),
        }
    }

    /// The session is over: what was said of its deliveries, acks and rejects apart, means nothing now.
    pub(super) fn on_lost(&mut self) {
        self.others.retain(|statement| statement.kind == AckKind::Reject);
        self.acks.extend(self.sent.drain(..));
        self.merge();
    }

    /// These are delivered, so the relay takes them for not acked: it has lost
    /// the acks, or an operator has moved the subscription back. What was acked
    /// before says nothing about what it does now.
    pub(super) fn on_deliver(&mut self, from: Index, to: Index) {
        let place = self.sent.partition_point(|range| range.1 <= from);
        if self.sent.get(place).is_some_and(|range| range.0 < to) {
            self.sent.clear();
        }
    }

    /// All that was sent is durable.
    pub(super) fn confirm(&mut self) {
        self.sent.clear();
    }

    /// Keeps a range that is sent: joined to the last ones, as far as it is in order.
    fn keep(&mut self, (from, to): (Index, Index)) {
        let place = self.sent.partition_point(|range| range.1 < from);
        match self.sent.get_mut(place) {
            Some(range) if range.0 <= to => *range = (range.0.min(from), range.1.max(to)),
            Some(_) | None => self.sent.insert(place, (from, to)),
        }
        while let Some(next) = self.sent.get(place + 1).copied().filter(|next| next.0 <= self.sent[place].1) {
            self.sent[place].1 = self.sent[place].1.max(next.1);
            self.sent.remove(place + 1);
        }
        if self.sent.len() > limits::CLIENT_SENT_ACKS_MAX {
            self.sent.pop_front();
        }
    }

    /// Forgets what was said of messages at or behind `end`: others may have their places now.
    pub(super) fn cut(&mut self, end: Index) {
        let is_behind = |(_, to): &(Index, Index)| *to > end;
        self.is_lost |= self.acks.iter().chain(&self.sent).any(is_behind)
            || self.others.iter().any(|said| said.kind == AckKind::Reject && said.to > end);
        let is_left = |(from, to): &mut (Index, Index)| {
            *to = (*to).min(end);
            *from < *to
        };
        self.acks.retain_mut(is_left);
        self.sent.retain_mut(is_left);
        self.others.retain_mut(|statement| {
            statement.to = statement.to.min(end);
            statement.from < statement.to
        });
    }

    /// Forgets everything: it is about another place, whose relay has ended it in order.
    pub(super) fn clear(&mut self) {
        *self = Self { is_lost: self.is_lost, ..Self::default() };
    }

    /// Something was acked that cannot be said: its place is another message's now.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Whether acks or rejects have got lost since this was asked last.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.is_lost)
    }

    fn merge(&mut self) {
        if self.acks.is_sorted_by(|a, b| a.1 < b.0) {
            return;
        }
        self.acks.sort_unstable();
        self.acks.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }

    /// Appends everything to the body of an ack frame and forgets it. Acks come
    /// last: they outweigh whatever was said of the same message before.
    pub(super) fn drain(&mut self, handle: u32, out: &mut BytesMut) {
        self.merge();
        self.count = 0;
        for Statement { kind, from, to, delay_ms } in self.others.drain(..) {
            Ack { handle, kind, from, to, delay_ms }.encode(out);
        }
        let mut acks = std::mem::take(&mut self.acks);
        for (from, to) in acks.drain(..) {
            Ack { handle, kind: AckKind::Ack, from, to, delay_ms: 0 }.encode(out);
            self.keep((from, to));
        }
        self.acks = acks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(buffer: &mut AckBuffer) -> Vec<(AckKind, u64, u64)> {
        let mut out = BytesMut::new();
        buffer.drain(7, &mut out);
        assert!(buffer.is_empty());
        let acks = Ack::decode_list(out.freeze()).unwrap();
        acks.into_iter().map(|ack| (ack.kind, ack.from.0, ack.to.0)).collect()
    }

    fn ack(buffer: &mut AckBuffer, index: u64) {
        buffer.say(AckKind::Ack, Index(index), Index(index + 1), 0);
    }

    #[test]
    fn acks_in_any_order_become_ranges() {
        let mut buffer = AckBuffer::default();
        [5, 6, 3, 9, 4, 10, 6].into_iter().for_each(|index| ack(&mut buffer, index));
        assert_eq!(drained(&mut buffer), [(AckKind::Ack, 3, 7), (AckKind::Ack, 9, 11)]);
    }

    #[test]
    fn acks_and_rejects_outlive_the_session_and_the_rest_does_not() {
        let mut buffer = AckBuffer::default();
        ack(&mut buffer, 1);
        for (kind, index) in [(AckKind::Nack, 2), (AckKind::Progress, 3), (AckKind::Reject, 4)] {
            buffer.say(kind, Index(index), Index(index + 1), 0);
        }
        buffer.on_lost();
        assert_eq!(drained(&mut buffer), [(AckKind::Reject, 4, 5), (AckKind::Ack, 1, 2)]);
    }

    fn sent(buffer: &mut AckBuffer, range: std::ops::Range<u64>) {
        range.for_each(|index| ack(buffer, index));
        drained(buffer);
    }

    #[test]
    fn sent_acks_are_kept_as_ranges_for_the_next_connection() {
        let mut buffer = AckBuffer::default();
        for range in [5..8, 1..3, 8..9, 20..21, 3..5] {
            sent(&mut buffer, range);
        }
        ack(&mut buffer, 30);
        buffer.on_lost();
        assert_eq!(
            drained(&mut buffer),
            [(AckKind::Ack, 1, 9), (AckKind::Ack, 20, 21), (AckKind::Ack, 30, 31)]
        );
        buffer.confirm();
        buffer.on_lost();
        assert_eq!(drained(&mut buffer), []);
    }

    #[test]
    fn what_is_behind_a_cut_is_forgotten_be_it_sent_or_not() {
        let mut buffer = AckBuffer::default();
        sent(&mut buffer, 1..5);
        sent(&mut buffer, 8..10);
        (5..8).for_each(|index| ack(&mut buffer, index));
        [2, 7].into_iter().for_each(|at| buffer.say(AckKind::Reject, Index(at), Index(at + 1), 0));
        buffer.cut(Index(6));
        buffer.on_lost();
        assert_eq!(drained(&mut buffer), [(AckKind::Reject, 2, 3), (AckKind::Ack, 1, 6)]);
    }

    #[test]
    fn what_is_lost_is_told_once_and_what_is_durable_or_was_no_ack_is_not() {
        let mut buffer = AckBuffer::default();
        sent(&mut buffer, 1..5);
        buffer.confirm();
        buffer.say(AckKind::Nack, Index(8), Index(9), 0);
        buffer.clear();
        assert!(!buffer.take_lost());
        sent(&mut buffer, 1..5);
        buffer.cut(Index(5));
        assert!(!buffer.take_lost(), "all of it is said again");
        buffer.cut(Index(4));
        assert!(buffer.take_lost() && !buffer.take_lost());
        for kind in [AckKind::Ack, AckKind::Reject] {
            buffer.clear();
            buffer.take_lost();
            buffer.say(kind, Index(8), Index(9), 0);
            buffer.cut(Index(8));
            assert!(buffer.take_lost(), "{kind:?}");
        }
    }

    #[test]
    fn a_delivery_of_what_was_acked_takes_the_sent_acks_back() {
        let mut buffer = AckBuffer::default();
        sent(&mut buffer, 1..5);
        buffer.on_deliver(Index(5), Index(9));
        buffer.on_lost();
        assert_eq!(drained(&mut buffer), [(AckKind::Ack, 1, 5)]);
        buffer.on_deliver(Index(1), Index(2));
        buffer.on_lost();
        assert_eq!(drained(&mut buffer), [], "the subscription was moved back");
    }

    #[test]
    fn no_more_sent_ranges_are_kept_than_the_bound_says() {
        let mut buffer = AckBuffer::default();
        let many = limits::CLIENT_SENT_ACKS_MAX as u64 + 10;
        (0..many).for_each(|index| ack(&mut buffer, index * 2));
        drained(&mut buffer);
        buffer.on_lost();
        let kept = drained(&mut buffer);
        assert_eq!((kept.len(), kept[0].1), (limits::CLIENT_SENT_ACKS_MAX, 20), "the lowest are dropped");
    }
}
