//! Who has put what already: a retry that was taken before is dropped (ruling R1).
//!
//! Per producer a floor and a bounded set of received ranges. Only a sequence
//! below the floor or inside a range is a repeat; a gap is never refused, since
//! density is the producer's duty. Each put tells the lowest sequence that the
//! producer has no answer for; nothing below it will be sent again, so the
//! floor rises to it and the set stays small.
//!
//! Such a put says nothing of what was taken at another relay and is still on
//! its way here: that the producer has its answer does not mean that it came.
//! So the gaps that the floor has passed are kept, and what arrives over a link
//! and lies in one of them is new.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ranges;
use crate::id::{Index, ProducerId, ProducerSequence, WallTime};
use crate::limits;
use crate::wire::moving::ProducerDone;

/// How long a producer that ends with its session is remembered: 10 minutes, for
/// a retry on its next connection.
const TRANSIENT_IDLE_US: u64 = 600 * 1_000_000;

/// One producer of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Producer {
    floor: u64,
    /// Received at or above the floor: half-open, sorted, apart from one another.
    ranges: Vec<(u64, u64)>,
    last_put: WallTime,
    transient: bool,
    /// Below the floor and never received here: half-open, sorted, apart from one another.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    passed: Vec<(u64, u64)>,
    /// What another relay took and may be put once more: half-open, sorted, apart from one another.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    afar: Vec<(u64, u64)>,
    /// Nothing at or above a sequence was put here before an index of the group: two such places at most, the
    /// first one first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    put_from: Vec<(u64, Index)>,
}

impl Producer {
    fn is_repeat(&self, sequence: u64) -> bool {
        sequence < self.floor || self.ranges.iter().any(|(from, to)| (*from..*to).contains(&sequence))
    }

    /// Something is put here, at this index.
    fn note_put(&mut self, from: u64, index: Index) {
        let end = self.ranges.last().map_or(self.floor, |(_, to)| *to);
        match *self.put_from {
            [] => self.put_from.push((0, index)),
            [_] if from >= end => self.put_from.push((from, index)),
            // Nothing below the later one is put any more.
            [_, later] if from >= end && later.0 <= self.floor => self.put_from = vec![later, (from, index)],
            _ => {}
        }
    }

    /// An index of the group before which nothing from this sequence on was put here; the largest one if
    /// nothing was.
    fn put_from(&self, sequence: u64) -> Index {
        let known = self.put_from.iter().rfind(|(from, _)| *from <= sequence);
        let least = if self.put_from.is_empty() { Index(u64::MAX) } else { Index(0) };
        known.map_or(least, |(_, index)| *index)
    }

    /// Notes what another relay took. Of too many stretches the two oldest become one: what was put here
    /// then has a level that is not told, rather than one that is not so.
    fn note_afar(&mut self, from: u64, to: u64) {
        ranges::add(&mut self.afar, (from, to));
        while self.afar.len() > limits::PRODUCER_RANGES_MAX {
            let (_, to) = self.afar.remove(1);
            self.afar[0].1 = to;
        }
    }

    /// The same of what comes from another relay.
    fn has_arrived(&self, sequence: u64) -> bool {
        let was_passed = self.passed.iter().any(|(from, to)| (*from..*to).contains(&sequence));
        self.is_repeat(sequence) && !was_passed
    }

    /// Whether one more range `from..to` would be one too many, once nothing below `lowest` counts.
    fn is_full_for(&self, from: u64, to: u64, lowest: u64) -> bool {
        let floor = self.floor.max(lowest);
        let stays = |(f, t): &&(u64, u64)| *t > floor && (*t < from || to < *f);
        from > floor && self.ranges.iter().filter(stays).count() >= limits::PRODUCER_RANGES_MAX
    }

    fn insert(&mut self, from: u64, to: u64) {
        self.fill(from, to);
        ranges::add(&mut self.ranges, (from.max(self.floor), to));
        self.settle();
    }

    fn raise(&mut self, floor: u64) {
        while self.ranges.first().is_some_and(|(from, _)| *from < floor) {
            self.pass_first();
        }
        self.pass_to(floor);
        self.settle();
        ranges::cut_below(&mut self.afar, floor);
    }

    /// The floor rises over the oldest range, and over what never came before it.
    fn pass_first(&mut self) {
        let (from, to) = self.ranges.remove(0);
        self.pass_to(from);
        self.floor = self.floor.max(to);
    }

    /// The floor rises to `floor`, over what never came.
    fn pass_to(&mut self, floor: u64) {
        // Sequences begin with 1.
        let from = self.floor.max(1);
        self.floor = self.floor.max(floor);
        if from >= floor {
            return;
        }
        match self.passed.last_mut() {
            Some((_, to)) if *to == from => *to = floor,
            _ => self.passed.push((from, floor)),
        }
        self.join_oldest();
    }

    /// Of too many gaps the two oldest become one: what came between them would be taken twice,
    /// rather than that a message is lost.
    fn join_oldest(&mut self) {
        while self.passed.len() > limits::PRODUCER_RANGES_MAX {
            let (_, to) = self.passed.remove(1);
            self.passed[0].1 = to;
        }
    }

    /// Takes what has arrived out of what was passed.
    fn fill(&mut self, from: u64, to: u64) {
        if self.passed.iter().all(|(f, t)| *t <= from || to <= *f) {
            return;
        }
        let parts = |(f, t): (u64, u64)| [(f, t.min(from)), (f.max(to), t)];
        let rest = self.passed.drain(..).flat_map(parts).filter(|(f, t)| f < t).collect();
        self.passed = rest;
        self.join_oldest();
    }

    /// Moves the floor over ranges that touch it, and over the oldest gaps when there are too
    /// many: only a replay comes to that, which does not see the lowest unanswered sequences.
    /// Those gaps lay below one of them, or a put would have been refused.
    fn settle(&mut self) {
        while let Some((from, _)) = self.ranges.first().copied() {
            if from > self.floor && self.ranges.len() <= limits::PRODUCER_RANGES_MAX {
                break;
            }
            self.pass_first();
        }
        if self.ranges.is_empty() {
            self.ranges = Vec::new();
        }
    }
}

/// A put that may have been tried before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) producer: ProducerId,
    pub(super) transient: bool,
    /// Since its first try, rounded down; 0 for a first one.
    pub(super) age_seconds: u32,
}

/// What a put's records are to the producer's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// All were taken before.
    Repeat,
    /// None was taken before.
    New,
    /// Some were taken before; these were not: half-open, counted from 0.
    Part(Vec<(u32, u32)>),
}

/// All producers of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Producers {
    table: BTreeMap<ProducerId, Producer>,
    /// The last put of all producers that had to make room for others.
    #[serde(default)]
    forgotten: WallTime,
}

impl Producers {
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Where what was received of each producer ends, and when it has put last.
    pub(super) fn ends(&self) -> impl Iterator<Item = (ProducerId, u64, WallTime)> + '_ {
        let end = |known: &Producer| known.ranges.last().map_or(known.floor, |(_, to)| *to);
        self.table.iter().map(move |(id, known)| (*id, end(known).max(1), known.last_put))
    }

    #[cfg(test)]
    fn is_known(&self, producer: ProducerId) -> bool {
        self.table.contains_key(&producer)
    }

    /// Whether a retry that was first tried so long ago can be one of a producer that is
    /// remembered no longer, so that it cannot be told whether it was taken then.
    pub(super) fn may_be_forgotten(&self, retry: Retry, now: WallTime, idle_max_ms: u64) -> bool {
        if retry.age_seconds == 0 || self.table.contains_key(&retry.producer) {
            return false;
        }
        let idle_max_us = idle_us(retry.transient, idle_max_ms.saturating_mul(1000));
        let age_us = u64::from(retry.age_seconds).saturating_mul(1_000_000);
        // The age was rounded down.
        age_us >= idle_max_us || now.0.saturating_sub(age_us + 1_000_000) <= self.forgotten.0
    }

    /// Whether these records would leave one more gap than is remembered.
    pub(super) fn is_full_for(
        &self,
        records: (ProducerId, ProducerSequence),
        count: u32,
        lowest: u64,
    ) -> bool {
        let (id, first) = records;
        self.table.get(&id).is_some_and(|p| p.is_full_for(first.0, first.0 + u64::from(count), lowest))
    }

    /// What every producer has put so far, and has come here.
    pub(super) fn done(&self) -> Vec<ProducerDone> {
        let done = |(producer, known): (&ProducerId, &Producer)| {
            // What the floor has passed may have been taken elsewhere, and be on its way.
            let floor = known.passed.first().map_or(known.floor, |(from, _)| *from);
            let ends = known.passed.iter().skip(1).map(|(from, _)| *from).chain([known.floor]);
            let between = known.passed.iter().zip(ends).map(|((_, to), end)| (*to, end));
            let ranges = between.filter(|(from, to)| from < to).chain(known.ranges.iter().copied());
            ProducerDone { producer: *producer, floor, ranges: ranges.collect() }
        };
        self.table.iter().map(done).collect()
    }

    /// What the records `first..first + count` are.
    pub(super) fn novelty(&self, producer: ProducerId, first: ProducerSequence, count: u32) -> Novelty {
        self.novelty_by(Producer::is_repeat, producer, first, count)
    }

    /// What records are that have come from another relay.
    pub(super) fn novelty_from_afar(
        &self,
        producer: ProducerId,
        first: ProducerSequence,
        count: u32,
    ) -> Novelty {
        self.novelty_by(Producer::has_arrived, producer, first, count)
    }

    fn novelty_by(
        &self,
        is_old: fn(&Producer, u64) -> bool,
        producer: ProducerId,
        first: ProducerSequence,
        count: u32,
    ) -> Novelty {
        let Some(known) = self.table.get(&producer) else { return Novelty::New };
        if known.ranges.is_empty() && first.0 >= known.floor {
            return Novelty::New;
        }
        let new = |i: &u32| !is_old(known, first.0 + u64::from(*i));
        let mut stretches = Vec::new();
        let mut rest = 0;
        while let Some(from) = (rest..count).find(new) {
            rest = (from..count).find(|i| !new(i)).unwrap_or(count);
            stretches.push((from, rest));
        }
        match stretches.first() {
            None => Novelty::Repeat,
            Some(&(0, to)) if to == count => Novelty::New,
            Some(_) => Novelty::Part(stretches),
        }
    }

    /// Remembers that `first..first + count` was taken.
    pub(super) fn insert(
        &mut self,
        producer: (ProducerId, ProducerSequence),
        count: u32,
        now: WallTime,
        transient: bool,
    ) {
        let (id, first) = producer;
        self.used(id, (now, transient)).insert(first.0, first.0 + u64::from(count));
    }

    /// The same of what was put at this relay, and stands at this index of the group.
    pub(super) fn put(
        &mut self,
        (id, first): (ProducerId, ProducerSequence),
        index: Index,
        count: u32,
        put: (WallTime, bool),
    ) {
        let known = self.used(id, put);
        known.note_put(first.0, index);
        known.insert(first.0, first.0 + u64::from(count));
    }

    /// A producer that puts something.
    fn used(&mut self, id: ProducerId, (now, transient): (WallTime, bool)) -> &mut Producer {
        if !self.table.contains_key(&id) && self.table.len() >= limits::PRODUCERS_MAX {
            self.forget_oldest();
        }
        let known = self.table.entry(id).or_default();
        known.last_put = known.last_put.max(now);
        known.transient = transient;
        known
    }

    /// These records were taken by another relay.
    pub(super) fn note_afar(&mut self, (id, first): (ProducerId, ProducerSequence), count: u32) {
        if let Some(known) = self.table.get_mut(&id) {
            known.note_afar(first.0, first.0.saturating_add(u64::from(count)));
        }
    }

    /// Whether another relay took any of these: who has those is told to that one.
    pub(super) fn were_taken_elsewhere(
        &self,
        (id, first): (ProducerId, ProducerSequence),
        count: u32,
    ) -> bool {
        let range = (first.0, first.0.saturating_add(u64::from(count)));
        self.table.get(&id).is_some_and(|known| ranges::has_any(&known.afar, range))
    }

    /// An index of the group before which nothing of a producer from this sequence on was put at this relay; the
    /// largest one if nothing was.
    pub(super) fn put_from(&self, id: ProducerId, first: ProducerSequence) -> Index {
        self.table.get(&id).map_or(Index(u64::MAX), |known| known.put_from(first.0))
    }

    /// The producer has answers for everything below `lowest`.
    pub(super) fn raise(&mut self, producer: ProducerId, lowest: ProducerSequence) {
        if let Some(known) = self.table.get_mut(&producer) {
            known.raise(lowest.0);
        }
    }

    /// Forgets who has been idle for longer than `idle_max_ms`, or a few minutes if transient.
    pub(super) fn expire(&mut self, now: WallTime, idle_max_ms: u64) {
        let idle_max_us = idle_max_ms.saturating_mul(1000);
        self.table.retain(|_, known| {
            now.0.saturating_sub(known.last_put.0) <= idle_us(known.transient, idle_max_us)
        });
    }

    /// Forgets one producer that had been idle for too long when a run of it came. Housekeeping forgets while a
    /// relay runs, and writes nothing of it: a log that is read again must not join what came before with what
    /// came after.
    pub(super) fn forget_if_idle(&mut self, id: ProducerId, now: WallTime, idle_max_ms: u64) {
        let idle_max_us = idle_max_ms.saturating_mul(1000);
        let is_idle = |p: &Producer| now.0.saturating_sub(p.last_put.0) > idle_us(p.transient, idle_max_us);
        if self.table.get(&id).is_some_and(is_idle) {
            self.table.remove(&id);
        }
    }

    fn forget_oldest(&mut self) {
        // No link and no log says that one is transient; its id does.
        let ends = |id: &ProducerId, p: &Producer| p.transient || id.is_passing();
        let oldest = self.table.iter().min_by_key(|(id, p)| (!ends(id, p), p.last_put));
        if let Some(forgotten) = oldest.map(|(id, _)| *id).and_then(|id| self.table.remove(&id)) {
            self.forgotten = self.forgotten.max(forgotten.last_put);
        }
    }
}

/// How long a producer is remembered.
fn idle_us(transient: bool, idle_max_us: u64) -> u64 {
    if transient { TRANSIENT_IDLE_US.min(idle_max_us) } else { idle_max_us }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: ProducerId = ProducerId(7);

    fn insert(producers: &mut Producers, first: u64, count: u32) {
        producers.insert((ID, ProducerSequence(first)), count, WallTime(0), false);
    }

    #[test]
    fn a_retry_is_a_repeat_and_a_gap_is_not() {
        let mut producers = Producers::default();
        insert(&mut producers, 1, 10);
        insert(&mut producers, 21, 10);
        assert_eq!(producers.novelty(ID, ProducerSequence(1), 10), Novelty::Repeat);
        assert_eq!(producers.novelty(ID, ProducerSequence(11), 10), Novelty::New);
        assert_eq!(producers.novelty(ID, ProducerSequence(5), 10), Novelty::Part(vec![(6, 10)]));
        assert_eq!(producers.novelty(ID, ProducerSequence(9), 14), Novelty::Part(vec![(2, 12)]));
        assert_eq!(producers.novelty(ID, ProducerSequence(25), 10), Novelty::Part(vec![(6, 10)]));
        assert_eq!(producers.novelty(ProducerId(8), ProducerSequence(1), 10), Novelty::New);
    }

    #[test]
    fn what_was_answered_elsewhere_is_new_when_it_comes_though_later_puts_have_said_that_it_has_an_answer() {
        let mut producers = Producers::default();
        let afar = |producers: &Producers, first, count| {
            producers.novelty_from_afar(ID, ProducerSequence(first), count)
        };
        // 1 to 4 were put at another relay, 7 and 8 at a third one.
        insert(&mut producers, 5, 2);
        producers.raise(ID, ProducerSequence(5));
        insert(&mut producers, 9, 1);
        producers.raise(ID, ProducerSequence(9));
        assert_eq!(
            producers.novelty(ID, ProducerSequence(1), 4),
            Novelty::Repeat,
            "it will not be put again"
        );
        assert_eq!(afar(&producers, 3, 7), Novelty::Part(vec![(0, 2), (4, 6)]));
        insert(&mut producers, 1, 3);
        assert_eq!(afar(&producers, 1, 3), Novelty::Repeat);
        assert_eq!(afar(&producers, 1, 4), Novelty::Part(vec![(3, 4)]));
        insert(&mut producers, 7, 2);
        assert_eq!(afar(&producers, 5, 5), Novelty::Repeat);
        // The oldest of too many become one: nothing that never came is taken for a repeat.
        for gap in 0..2 * limits::PRODUCER_RANGES_MAX as u64 {
            insert(&mut producers, 20 + 2 * gap, 1);
            producers.raise(ID, ProducerSequence(21 + 2 * gap));
        }
        for gap in 0..2 * limits::PRODUCER_RANGES_MAX as u64 - 1 {
            assert_eq!(afar(&producers, 21 + 2 * gap, 1), Novelty::New, "{gap}");
        }
        assert!(producers.table[&ID].passed.len() <= limits::PRODUCER_RANGES_MAX);
    }

    #[test]
    fn idle_producers_are_forgotten_in_time() {
        let mut producers = Producers::default();
        producers.insert((ID, ProducerSequence(1)), 1, WallTime(0), false);
        producers.insert((ProducerId(8), ProducerSequence(1)), 1, WallTime(0), true);
        producers.expire(WallTime(TRANSIENT_IDLE_US + 1), limits::PRODUCER_IDLE_MS_DEFAULT);
        assert!(producers.is_known(ID) && !producers.is_known(ProducerId(8)));
        producers
            .expire(WallTime(limits::PRODUCER_IDLE_MS_DEFAULT * 1000 + 1), limits::PRODUCER_IDLE_MS_DEFAULT);
        assert!(producers.is_empty());
    }

    #[test]
    fn at_the_bound_a_transient_or_the_longest_idle_one_is_forgotten() {
        let mut producers = Producers::default();
        for id in 1..=limits::PRODUCERS_MAX as u128 + 1 {
            producers.insert((ProducerId(id), ProducerSequence(1)), 1, WallTime(id as u64), false);
        }
        assert!(!producers.is_known(ProducerId(1)));
        assert!(producers.is_known(ProducerId(2)));
        // The youngest of all, and one that ends with its session.
        let newest = limits::PRODUCERS_MAX as u128 + 2;
        producers.insert((ProducerId(newest), ProducerSequence(1)), 1, WallTime(newest as u64), true);
        producers.insert((ProducerId(newest + 1), ProducerSequence(1)), 1, WallTime(newest as u64), false);
        assert!(!producers.is_known(ProducerId(2)), "it made room for the transient one");
        assert!(!producers.is_known(ProducerId(newest)), "a transient one goes before all others");
        assert!(producers.is_known(ProducerId(3)));
        // What a link or a log tells of: only the id says what it is.
        let passing = ProducerId::passing(u128::MAX);
        producers.insert((passing, ProducerSequence(1)), 1, WallTime(newest as u64), false);
        producers.insert((ProducerId(newest + 2), ProducerSequence(1)), 1, WallTime(newest as u64), false);
        assert!(!producers.is_known(passing), "nobody comes back with it");
        assert!(producers.is_known(ProducerId(4)));
    }

    proptest! {
        #[test]
        fn f42_ranges_say_what_a_set_would_say(
            puts in prop::collection::vec((1u64..400, 1u32..20), 1..60),
            asked in prop::collection::vec(1u64..450, 1..20),
        ) {
            let mut producers = Producers::default();
            let mut model = std::collections::BTreeSet::new();
            for (first, count) in puts {
                insert(&mut producers, first, count);
                model.extend(first..first + u64::from(count));
            }
            for sequence in asked {
                let novelty = producers.novelty(ID, ProducerSequence(sequence), 1);
                let expected = if model.contains(&sequence) { Novelty::Repeat } else { Novelty::New };
                prop_assert_eq!(novelty, expected);
            }
        }
    }
}
