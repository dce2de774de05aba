//! A queue of relays by distance, for searches whose distances only grow.
//!
//! Dial's buckets (Dial 1969), as wide as the cheapest link allows (Denardo and
//! Fox 1979): within such a bucket no relay can improve another, so the order in
//! it does not matter. Where the dearest link is very many times the cheapest,
//! buckets are wider and a relay may be taken twice, which costs time but never
//! changes the distances. Finding the next bucket looks at two words.

/// Buckets in the ring: two levels of 64 bits say which are not empty.
const BUCKETS: usize = 64 * 64;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    relay: u16,
    distance: u32,
    /// The next one in the same bucket.
    next: u32,
}

/// Relays waiting to be looked at. Empty again when a search ends, so one queue
/// serves all searches over one map.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    /// A bucket holds the distances that are equal without their last bits.
    shift: u32,
    /// The bucket looked at, counted from distance 0 without going round.
    current: u32,
    heads: Vec<u32>,
    waiting: Vec<Waiting>,
    /// Which of 64 buckets are not empty.
    filled: [u64; 64],
    /// Which words of `filled` are not 0.
    words: u64,
}

impl Buckets {
    /// A queue for links that cost `least..=greatest`.
    pub(crate) fn new(least: u32, greatest: u32) -> Self {
        let mut shift = least.max(1).ilog2();
        // The ring must be longer than the longest step, or a relay would land
        // in a bucket that was meant for a lesser distance.
        while (greatest >> shift) as usize >= BUCKETS - 1 {
            shift += 1;
        }
        Self { shift, current: 0, heads: vec![NONE; BUCKETS], waiting: Vec::new(), filled: [0; 64], words: 0 }
    }

    /// Begins a search: the queue must be empty.
    pub(crate) fn start(&mut self) {
        debug_assert_eq!(self.words, 0, "the last search ended before its queue was empty");
        self.current = 0;
        self.waiting.clear();
    }

    /// Adds a relay at a distance that is not below the last one taken.
    pub(crate) fn push(&mut self, relay: u16, distance: u32) {
        let bucket = (distance >> self.shift) as usize % BUCKETS;
        let at = u32::try_from(self.waiting.len()).expect("a search pushes at most once per end of a link");
        self.waiting.push(Waiting { relay, distance, next: self.heads[bucket] });
        self.heads[bucket] = at;
        self.filled[bucket / 64] |= 1 << (bucket % 64);
        self.words |= 1 << (bucket / 64);
    }

    /// Takes a relay from the nearest bucket, with the distance it was added at.
    pub(crate) fn pop(&mut self) -> Option<(u16, u32)> {
        let bucket = self.next_filled()?;
        let taken = self.waiting[self.heads[bucket] as usize];
        self.heads[bucket] = taken.next;
        if taken.next == NONE {
            self.filled[bucket / 64] &= !(1 << (bucket % 64));
            if self.filled[bucket / 64] == 0 {
                self.words &= !(1 << (bucket / 64));
            }
        }
        self.current = taken.distance >> self.shift;
        Some((taken.relay, taken.distance))
    }

    /// The first bucket that is not empty, from the current one round the ring.
    fn next_filled(&self) -> Option<usize> {
        let here = self.current as usize % BUCKETS;
        let (word, bit) = (here / 64, here % 64);
        let ahead = self.filled[word] >> bit;
        if ahead != 0 {
            return Some(here + ahead.trailing_zeros() as usize);
        }
        if self.words == 0 {
            return None;
        }
        // The words after this one, then from the first again; this one comes
        // last, for the buckets before the current one.
        let turn = (word as u32 + 1) % 64;
        let word = (self.words.rotate_right(turn).trailing_zeros() + turn) as usize % 64;
        Some(word * 64 + self.filled[word].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_come_by_bucket_round_the_ring() {
        let mut queue = Buckets::new(1, 4000);
        queue.start();
        queue.push(1, 0);
        for step in 0..100_000_u32 {
            let (relay, distance) = queue.pop().unwrap();
            assert_eq!((relay, distance), (1, step * 3));
            queue.push(1, distance + 3);
            if step % 7 == 0 {
                queue.push(2, distance);
                assert_eq!(queue.pop(), Some((2, distance)));
            }
        }
        assert!(queue.pop().is_some());
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_wide_range_of_costs_still_fits() {
        let mut queue = Buckets::new(1, 3_000_000);
        queue.start();
        queue.push(1, 0);
        assert_eq!(queue.pop(), Some((1, 0)));
        queue.push(2, 3_000_000);
        queue.push(3, 5_000);
        assert_eq!(queue.pop(), Some((3, 5_000)));
        assert_eq!(queue.pop(), Some((2, 3_000_000)));
        assert_eq!(queue.pop(), None);
    }
}
