//! Whether runs are packed for a neighbour: only for one that takes it, over a link that is slow, and
//! of streams for which it pays.
//!
//! A link is slow when it has a rate, or when its socket takes less than
//! [`limits::PACK_BYTES_PER_SECOND`]: packing then costs less time than it saves. A stream whose run
//! does not become shorter is left alone for some runs, for twice as many each time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;

use crate::id::StreamNumber;
use crate::limits;
use crate::wire::packed;

/// Streams of which it is remembered; of more it is tried out anew.
const STREAMS_MAX: usize = 1024;

/// Runs that are left alone at a time, at the most.
const SKIP_MAX: u32 = 256;

/// Bytes of a write from which its time says something of the link.
const TELLING_BYTES: u64 = 64 * 1024;

/// What is known of one stream.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    /// Runs that are left alone from now on.
    skip: u32,
    /// How many they were the last time.
    skipped: u32,
}

/// Packs the runs for one neighbour.
#[derive(Debug)]
pub struct Packer {
    /// Whether the link has a rate: a latest value, of who configures it.
    is_capped: Arc<AtomicBool>,
    is_slow: bool,
    streams: HashMap<StreamNumber, Trial, foldhash::fast::FixedState>,
    /// Bytes that were not sent because of it, in all.
    saved: u64,
}

impl Packer {
    /// For a link that has a rate, or none, as `is_capped` says at any time.
    #[must_use]
    pub fn new(is_capped: Arc<AtomicBool>) -> Self {
        Self { is_capped, is_slow: false, streams: HashMap::default(), saved: 0 }
    }

    /// Packs records behind what is in `out`, if it pays. False: they are to be sent as they are.
    pub fn pack(&mut self, stream: StreamNumber, records: &[u8], out: &mut BytesMut) -> bool {
        let is_capped = self.is_capped.load(Ordering::Relaxed);
        if !(is_capped || self.is_slow) || records.len() < limits::PACK_BYTES_MIN {
            return false;
        }
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&stream) {
            self.streams.clear();
        }
        let trial = self.streams.entry(stream).or_default();
        if trial.skip > 0 {
            trial.skip -= 1;
            return false;
        }
        let before = out.len();
        let pays = packed::pack(records, out);
        if pays {
            self.saved += (records.len() - (out.len() - before)) as u64;
            *trial = Trial::default();
        } else {
            trial.skipped = (trial.skipped * 2).clamp(1, SKIP_MAX);
            trial.skip = trial.skipped;
        }
        pays
    }

    /// Notes how long the socket took for so many bytes.
    pub fn wrote(&mut self, bytes: u64, took: Duration) {
        if bytes >= TELLING_BYTES {
            let quick = u128::from(limits::PACK_BYTES_PER_SECOND) * took.as_nanos()
                < u128::from(bytes) * 1_000_000_000;
            self.is_slow = !quick;
        }
    }

    /// Bytes that were not sent because of it, in all.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const STREAM: StreamNumber = StreamNumber(1);

    fn packer(is_capped: bool) -> Packer {
        Packer::new(Arc::new(AtomicBool::new(is_capped)))
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut dice = Dice::new(3);
        (0..bytes).map(|_| dice.below(256) as u8).collect()
    }

    #[test]
    fn nothing_is_packed_for_a_link_that_is_fast() {
        let mut packer = packer(false);
        let mut out = BytesMut::new();
        assert!(!packer.pack(STREAM, &[7; 10_000], &mut out));
        packer.wrote(1 << 20, Duration::from_millis(1));
        assert!(!packer.pack(STREAM, &[7; 10_000], &mut out));
        packer.wrote(1 << 20, Duration::from_millis(500));
        assert!(packer.pack(STREAM, &[7; 10_000], &mut out), "2 MB/s");
        packer.wrote(1 << 20, Duration::from_millis(1));
        out.clear();
        assert!(!packer.pack(STREAM, &[7; 10_000], &mut out) && out.is_empty());
    }

    #[test]
    fn a_rate_that_is_set_or_taken_away_counts_from_the_next_run_on() {
        let is_capped = Arc::new(AtomicBool::new(false));
        let mut packer = Packer::new(Arc::clone(&is_capped));
        let packs = [false, true, false].map(|capped| {
            is_capped.store(capped, Ordering::Relaxed);
            packer.pack(STREAM, &[7; 10_000], &mut BytesMut::new())
        });
        assert_eq!(packs, [false, true, false]);
    }

    #[test]
    fn a_stream_that_does_not_become_shorter_is_tried_less_and_less() {
        let mut packer = packer(true);
        let noise = noise(10_000);
        let mut tried = 0;
        for _ in 0..10_000 {
            let skip = packer.streams.get(&STREAM).map_or(0, |trial| trial.skip);
            tried += u32::from(skip == 0);
            assert!(!packer.pack(STREAM, &noise, &mut BytesMut::new()));
        }
        assert!((20..=60).contains(&tried), "tried {tried} times");
        // One that does has nothing to do with it, and the first comes back when it does.
        assert!(packer.pack(StreamNumber(2), &[7; 10_000], &mut BytesMut::new()));
        let later = (0..300).filter(|_| packer.pack(STREAM, &[7; 10_000], &mut BytesMut::new())).count();
        assert!(later > 40, "{later}");
        assert!(packer.saved() > 300_000);
    }

    #[test]
    fn small_runs_are_left_and_streams_take_no_memory_without_end() {
        let mut packer = packer(true);
        assert!(!packer.pack(STREAM, &[7; limits::PACK_BYTES_MIN - 1], &mut BytesMut::new()));
        for stream in 0..10_000 {
            packer.pack(StreamNumber(stream), &[7; 1_000], &mut BytesMut::new());
        }
        assert!(packer.streams.len() <= STREAMS_MAX);
    }
}
