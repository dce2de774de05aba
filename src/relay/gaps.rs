//! What a subscription is told that it does not get: gaps in its backlog, until they are acked.
//!
//! They are bounded by [`limits::GAPS_MAX`]: with a quota that drops the oldest and a receiver that
//! acks none of them, each second brings another one. Beyond the bound those that touch and were
//! told become one, which loses nothing; when none touch, the two oldest do, and what stands
//! between them, which is done, is told as missing too, should it be told again.

use super::group::own_open;
use super::subscription::{Gap, Subscription};
use crate::id::Index;
use crate::limits;
use crate::wire::body::GapCause;

impl Subscription {
    /// The gaps in `from..to` are acked. Of one that was told a part may be: it was told in parts
    /// before it became one.
    pub(super) fn ack_gaps(&mut self, from: Index, to: Index) {
        let told = self.active.as_ref().map_or(0, |active| active.gaps_told);
        let (mut place, mut acked_told, mut acked) = (0, 0, false);
        self.gaps.retain_mut(|gap| {
            let is_acked = from <= gap.from && gap.to <= to;
            let is_told = place < told;
            // One that is acked from memory, before it was told again, was not counted as told.
            acked_told += usize::from(is_acked && is_told);
            place += 1;
            let before = *gap;
            if is_told && from <= gap.from && gap.from < to {
                gap.from = to.min(gap.to);
            } else if is_told && from < gap.to && gap.to <= to {
                gap.to = from.max(gap.from);
            }
            acked |= is_acked || *gap != before;
            !is_acked
        });
        self.dirty |= acked;
        if let Some(active) = &mut self.active {
            active.gaps_told -= acked_told;
        }
    }

    /// Nothing below `to` is owed any more, and it is told so. The relays' own records, which stand at `marks`,
    /// were owed to nobody.
    pub(super) fn drop_below(&mut self, to: Index, cause: GapCause, marks: &[Index]) {
        let floor = self.cursor.floor();
        let own = own_open(marks, &self.cursor, (floor, to));
        let dropped = self.skip(floor, to, cause);
        self.out.passed += own.min(dropped);
        self.out.evicted += dropped.saturating_sub(own);
    }

    /// Tells the subscription that it does not get the open part of `from..to`; says how many those are.
    pub(super) fn skip(&mut self, from: Index, to: Index, cause: GapCause) -> u64 {
        let from = from.max(self.cursor.floor());
        let Some((first, _)) = self.cursor.next_open(from, to) else { return 0 };
        let count = self.finish(from, to);
        let untold = self.gaps.len() > self.active.as_ref().map_or(0, |a| a.gaps_told);
        match self.gaps.last_mut() {
            Some(last) if untold && last.cause == cause && last.to == first => last.to = to,
            _ => self.gaps.push(Gap { from: first, to, cause }),
        }
        self.bound_gaps();
        self.dirty = true;
        self.next = self.next.max(self.cursor.floor());
        count
    }

    /// Makes room when there are too many.
    fn bound_gaps(&mut self) {
        if self.gaps.len() <= limits::GAPS_MAX {
            return;
        }
        let told = self.active.as_ref().map_or(0, |active| active.gaps_told);
        let mut kept: Vec<Gap> = Vec::with_capacity(self.gaps.len());
        let mut kept_told = 0;
        for (place, gap) in self.gaps.drain(..).enumerate() {
            // Those that were told come first.
            let (is_told, is_last_told) = (place < told, kept_told == kept.len());
            match kept.last_mut() {
                Some(last) if is_told == is_last_told && (last.cause, last.to) == (gap.cause, gap.from) => {
                    last.to = gap.to;
                }
                _ => {
                    kept.push(gap);
                    kept_told += usize::from(is_told);
                }
            }
        }
        self.gaps = kept;
        // Two that were both told, or both not: the bound is above 2.
        let at = usize::from(kept_told == 1);
        if self.gaps.len() > limits::GAPS_MAX && self.gaps.len() > at + 1 {
            let second = self.gaps.remove(at + 1);
            self.gaps[at].to = second.to;
            kept_told -= usize::from(kept_told > 1);
        }
        if let Some(active) = &mut self.active {
            active.gaps_told = kept_told;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SubscriptionName, WallTime};
    use crate::relay::active::Active;
    use crate::relay::subscription::{SubscriptionNumber, subscription_from};

    fn subscription() -> Subscription {
        let name = (SubscriptionNumber(1), SubscriptionName::new("s").unwrap());
        let mut made = subscription_from(name, (false, None, 16), (Index(1), WallTime(0))).unwrap();
        made.active = Some(Box::new(Active::default()));
        made
    }

    /// A receiver is told of each and acks none.
    fn tell(s: &mut Subscription) {
        let gaps = s.gaps.len();
        s.active.as_mut().unwrap().gaps_told = gaps;
    }

    #[test]
    fn gaps_that_nobody_acks_are_bounded_and_acked_as_they_were_told() {
        let mut s = subscription();
        let count = 3 * limits::GAPS_MAX as u64;
        for n in 0..count {
            assert_eq!(s.skip(Index(1 + n), Index(2 + n), GapCause::SubscriptionQuota), 1);
            tell(&mut s);
            assert!(s.gaps.len() <= limits::GAPS_MAX, "{}", s.gaps.len());
        }
        let told: u64 = s.gaps.iter().map(|gap| gap.to.0 - gap.from.0).sum();
        assert_eq!((told, s.owed_from()), (count, Index(1)), "nothing is told less");
        for n in 0..count {
            s.ack_gaps(Index(1 + n), Index(2 + n));
        }
        assert_eq!((s.gaps.as_slice(), s.active.as_ref().unwrap().gaps_told), (&[][..], 0));
    }

    /// What stands between was acked; only the second half is told.
    #[test]
    fn gaps_that_do_not_touch_are_bounded_too() {
        let mut s = subscription();
        for n in 0..3 * limits::GAPS_MAX as u64 {
            s.finish(Index(1 + 2 * n), Index(2 + 2 * n));
            s.skip(Index(2 + 2 * n), Index(3 + 2 * n), GapCause::SubscriptionQuota);
            if n % 2 == 0 {
                tell(&mut s);
            }
            let told = s.active.as_ref().unwrap().gaps_told;
            assert!(s.gaps.len() <= limits::GAPS_MAX && told <= s.gaps.len(), "{told} of {}", s.gaps.len());
            assert!(s.gaps.windows(2).all(|pair| pair[0].to <= pair[1].from), "in order and apart");
        }
        assert_eq!(s.owed_from(), Index(2));
        let told = s.active.as_ref().unwrap().gaps_told;
        assert_eq!(told, s.gaps.len() - 1, "the last one was not told");
    }
}
