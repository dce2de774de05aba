//! A reader's place in a group: a floor, below which everything is done, and
//! a window above it in which some is done already.
//!
//! With acks in order the window is empty and costs nothing. Out of order it is
//! a bitmap whose length is bounded by the subscription's window, since nothing
//! beyond `floor + window` is ever delivered: 8 KiB for the largest.

use std::collections::VecDeque;

use crate::id::Index;
use crate::limits;

const WORD_BITS: u64 = 64;

/// How far above its floor a cursor may have something done: what was delivered, and one run behind it that a
/// filter passed over.
const REACH: u32 = limits::WINDOW_MAX + limits::RUN_RECORDS_MAX;

/// Words of the longest window.
pub(super) const WORDS_MAX: usize = REACH as usize / WORD_BITS as usize + 2;

/// The index behind all that may be done above a floor.
pub(super) fn reach(floor: Index) -> Index {
    floor.after(u64::from(REACH))
}

/// A floor and the acks above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    floor: Index,
    /// Bits of the words `floor / 64, floor / 64 + 1, …`; bits below the floor mean nothing.
    words: VecDeque<u64>,
    /// Bits set at or above the floor.
    above: u32,
}

impl Cursor {
    pub(super) fn new(floor: Index) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Everything below is done.
    pub(super) fn floor(&self) -> Index {
        self.floor
    }

    /// The index after the last one that is done.
    pub(super) fn end(&self) -> Index {
        let bits = self.words.iter().rposition(|word| *word != 0).map(|at| {
            let word = self.words[at];
            (self.first_word() + at as u64 + 1) * WORD_BITS - u64::from(word.leading_zeros())
        });
        self.floor.max(Index(bits.unwrap_or(0)))
    }

    /// How many at or above the floor are done.
    pub(super) fn above(&self) -> u64 {
        u64::from(self.above)
    }

    /// Marks `from..to` as done and says how many of them were not done before.
    /// The caller has cut the range to what was delivered, which bounds the bitmap.
    pub(super) fn ack(&mut self, from: Index, to: Index) -> u64 {
        let from = from.max(self.floor);
        if from >= to {
            return 0;
        }
        if from > self.floor {
            return self.set(from.0, to.0);
        }
        let done_before = self.count_set(from.0, to.0);
        self.raise(to);
        (to.0 - from.0) - done_before
    }

    /// The first part of `from..to` that is not done, as a half-open range.
    pub(super) fn next_open(&self, from: Index, to: Index) -> Option<(Index, Index)> {
        let from = from.max(self.floor);
        if from >= to {
            return None;
        }
        if self.above == 0 {
            return Some((from, to));
        }
        let start = (from.0..to.0).find(|i| !self.bit(*i))?;
        let end = (start..to.0).find(|i| self.bit(*i)).unwrap_or(to.0);
        Some((Index(start), Index(end)))
    }

    /// How many of `from..to` are not done.
    pub(super) fn count_open(&self, from: Index, to: Index) -> u64 {
        let from = from.max(self.floor);
        if from >= to {
            return 0;
        }
        let is_all = from == self.floor && to.0 / WORD_BITS >= self.first_word() + self.words.len() as u64;
        let done = if is_all { self.above() } else { self.count_set(from.0, to.0) };
        (to.0 - from.0) - done
    }

    /// The words of the window from the floor's word on, for the disk.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().copied()
    }

    /// A cursor as it was written: a floor and the words of [`Cursor::words`].
    pub(super) fn from_words(floor: Index, words: impl IntoIterator<Item = u64>) -> Self {
        let mut cursor = Self { floor, words: words.into_iter().collect(), above: 0 };
        cursor.above = u32::try_from(cursor.count_all()).unwrap_or(u32::MAX);
        cursor
    }

    fn first_word(&self) -> u64 {
        self.floor.0 / WORD_BITS
    }

    fn bit(&self, index: u64) -> bool {
        let word = (index / WORD_BITS).checked_sub(self.first_word());
        word.and_then(|w| self.words.get(usize::try_from(w).ok()?))
            .is_some_and(|word| word & (1 << (index % WORD_BITS)) != 0)
    }

    fn count_all(&self) -> u64 {
        let end = (self.first_word() + self.words.len() as u64) * WORD_BITS;
        self.count_set(self.floor.0, end)
    }

    fn count_set(&self, from: u64, to: u64) -> u64 {
        if self.words.is_empty() {
            return 0;
        }
        let first = self.first_word();
        let last = (first + self.words.len() as u64).min(to.div_ceil(WORD_BITS));
        (from / WORD_BITS..last)
            .map(|word| {
                let bits = self.words.get((word - first) as usize).copied().unwrap_or(0);
                u64::from((bits & mask(word, from, to)).count_ones())
            })
            .sum()
    }

    fn set(&mut self, from: u64, to: u64) -> u64 {
        let first = self.first_word();
        let words = (to.div_ceil(WORD_BITS) - first) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        let mut new = 0;
        for word in from / WORD_BITS..to.div_ceil(WORD_BITS) {
            let bits = &mut self.words[(word - first) as usize];
            let wanted = mask(word, from, to);
            new += (wanted & !*bits).count_ones();
            *bits |= wanted;
        }
        self.above += new;
        u64::from(new)
    }

    /// Raises the floor to `to` and over everything that is done right behind it.
    fn raise(&mut self, to: Index) {
        if self.above == 0 {
            self.words.clear();
            self.floor = to;
            return;
        }
        self.above -= self.count_set(self.floor.0, to.0) as u32;
        let mut end = to.0;
        while self.above > 0 && self.bit(end) {
            end += 1;
            self.above -= 1;
        }
        let drop = (end / WORD_BITS - self.first_word()).min(self.words.len() as u64);
        self.words.drain(..drop as usize);
        self.floor = Index(end);
        if self.above == 0 {
            self.words.clear();
        }
    }
}

/// The bits of `from..to` that lie in word number `word`.
fn mask(word: u64, from: u64, to: u64) -> u64 {
    let base = word * WORD_BITS;
    let low = from.saturating_sub(base).min(WORD_BITS);
    let high = to.saturating_sub(base).min(WORD_BITS);
    if low >= high {
        return 0;
    }
    (u64::MAX >> (WORD_BITS - (high - low))) << low
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn acks_in_order_need_no_bitmap() {
        let mut cursor = Cursor::new(Index(10));
        assert_eq!(cursor.ack(Index(10), Index(20)), 10);
        assert_eq!(cursor.ack(Index(5), Index(25)), 5);
        assert_eq!(cursor.floor(), Index(25));
        assert_eq!(cursor.words().count(), 0);
    }

    #[test]
    fn f44_the_largest_window_takes_eight_kilobytes() {
        let mut cursor = Cursor::new(Index(1));
        let end = Index(1 + u64::from(crate::limits::WINDOW_MAX));
        assert_eq!(cursor.ack(Index(2), end), u64::from(crate::limits::WINDOW_MAX) - 1);
        assert!(cursor.words().count() * 8 <= 8192 + 8);
    }

    proptest! {
        #[test]
        fn f43_any_order_of_acks_is_that_of_a_set(
            start in 1u64..200,
            acks in prop::collection::vec((0u64..300, 0u64..70), 0..60),
        ) {
            let mut cursor = Cursor::new(Index(start));
            let mut model: BTreeSet<u64> = BTreeSet::new();
            for (from, length) in acks {
                let new = cursor.ack(Index(from), Index(from + length));
                let before = model.len();
                model.extend((from..from + length).filter(|i| *i >= start));
                prop_assert_eq!(new as usize, model.len() - before);
                let floor = (start..).find(|i| !model.contains(i)).unwrap();
                prop_assert_eq!(cursor.floor(), Index(floor));
                prop_assert_eq!(cursor.above() as usize, model.iter().filter(|i| **i >= floor).count());
                let open = (0..400).filter(|i| *i >= floor && !model.contains(i)).count();
                prop_assert_eq!(cursor.count_open(Index(0), Index(400)) as usize, open);
                for end in (0..400).step_by(13) {
                    let below = (floor..end).filter(|i| !model.contains(i)).count();
                    prop_assert_eq!(cursor.count_open(Index(0), Index(end)) as usize, below);
                }
                let first = (floor..400).find(|i| !model.contains(i)).map(Index);
                prop_assert_eq!(cursor.next_open(Index(0), Index(400)).map(|r| r.0), first);
            }
            let back = Cursor::from_words(cursor.floor(), cursor.words());
            prop_assert_eq!(&back, &cursor);
        }
    }
}
