//! Finding one record of a stream in the log of its group.
//!
//! The log knows places in a group, not in a stream. But within a group the records of one stream
//! stand in order, so a few reads find one: each begins in the middle of what is left, goes on to
//! the first run of that stream, and tells from it on which side the wanted one lies. The samples
//! that a stream keeps of its places ([`super::stream::Stream::bracket`]) give the first bounds.
//!
//! The reads are those that deliveries use, one at a time, small, and few
//! ([`limits::LOOKUP_READS_MAX`]): who asks where a message is holds up nobody.

use crate::id::{GroupNumber, Index, Sequence, StreamNumber};
use crate::limits;
use crate::log::{MissingCause, Piece};
use crate::wire::run::StoredRun;

/// So many indexes are read from their beginning instead of from their middle.
const LINEAR: u64 = 256;

/// A record that is looked for.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) group: GroupNumber,
    pub(super) stream: StreamNumber,
    pub(super) sequence: Sequence,
    /// It stands at or behind this.
    low: Index,
    /// It stands before this.
    high: Index,
    /// Where the reads began that have met no run of the stream yet.
    probe: Index,
    /// The next read.
    at: Index,
    reads: u32,
    is_damaged: bool,
}

/// What a read has shown.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The log is to be read from here.
    Read(Index),
    /// It is in this run.
    Found(Box<StoredRun>),
    /// It is not in the log.
    Nowhere,
    /// It is not in what can be read of the log, and some of that is damaged.
    Damaged,
    /// It took too long.
    GivenUp,
}

impl Lookup {
    /// Looks for a record that stands in `low..high`, if it is there.
    pub(super) fn new(
        group: GroupNumber,
        (stream, sequence): (StreamNumber, Sequence),
        (low, high): (Index, Index),
    ) -> Self {
        Self { group, stream, sequence, low, high, probe: low, at: low, reads: 0, is_damaged: false }
    }

    /// The first read.
    pub(super) fn begin(&mut self) -> Step {
        self.halve()
    }

    /// What was asked for last.
    pub(super) fn at(&self) -> Index {
        self.at
    }

    /// What was read at [`Lookup::at`].
    pub(super) fn on_pieces(&mut self, pieces: &[Piece]) -> Step {
        let before = (self.low, self.high);
        for piece in pieces {
            let is_over = match piece {
                Piece::Missing { to, cause, .. } => {
                    match cause {
                        MissingCause::Released => self.low = self.low.max(*to),
                        MissingCause::Damaged | MissingCause::Unreadable => self.is_damaged = true,
                    }
                    self.at = self.at.max(*to);
                    false
                }
                Piece::Run(run) => match self.look_at(run) {
                    Some(Step::Found(run)) => return Step::Found(run),
                    Some(_) => true,
                    None => false,
                },
            };
            if is_over || self.at >= self.high {
                self.high = self.high.min(self.probe);
                break;
            }
        }
        if pieces.is_empty() {
            self.high = self.high.min(self.probe);
        }
        if (self.low, self.high) == before && self.low < self.high {
            // Only other streams so far.
            return self.read(self.at);
        }
        self.halve()
    }

    /// Takes what one run tells; something, when no more of the read is of use.
    fn look_at(&mut self, run: &StoredRun) -> Option<Step> {
        self.at = run.end_index();
        if run.stream != self.stream {
            return None;
        }
        let header = &run.run.header;
        if header.first > self.sequence {
            return Some(Step::Nowhere);
        }
        if self.sequence < header.end() {
            return Some(Step::Found(Box::new(run.clone())));
        }
        self.low = self.low.max(run.end_index());
        // From here on it is as if the read had begun behind this run.
        self.probe = run.end_index();
        None
    }

    fn halve(&mut self) -> Step {
        if self.low >= self.high {
            return if self.is_damaged { Step::Damaged } else { Step::Nowhere };
        }
        let width = self.high.0 - self.low.0;
        self.probe = if width <= LINEAR { self.low } else { self.low.after(width / 2) };
        self.read(self.probe)
    }

    fn read(&mut self, at: Index) -> Step {
        if self.reads >= limits::LOOKUP_READS_MAX {
            return Step::GivenUp;
        }
        self.reads += 1;
        self.at = at;
        Step::Read(at)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::id::{LinkId, WallTime};
    use crate::wire::run::{Run, RunHeader, RunKind};

    fn run(stream: u32, first: u64, count: u32, index: u64) -> StoredRun {
        let header = RunHeader {
            kind: RunKind::Data,
            has_ttl: false,
            has_subject: false,
            count,
            body_bytes: 0,
            first: Sequence(first),
            body_hash: 0,
            chain: 0,
            accepted: WallTime(0),
            producer: None,
        };
        StoredRun {
            stream: StreamNumber(stream),
            first_index: Index(index),
            arrived: WallTime(0),
            age_ms: 0,
            link: LinkId(0),
            run: Run { header, body: Bytes::new() },
        }
    }

    /// A group of two streams, as a list of runs: which stream, and how many records.
    fn log(runs: &[(bool, u32)]) -> Vec<StoredRun> {
        let (mut next, mut index) = ([1, 1], 1);
        let mut log = Vec::new();
        for (stream, count) in runs {
            let stream = usize::from(*stream);
            log.push(run(stream as u32, next[stream], *count, index));
            next[stream] += u64::from(*count);
            index += u64::from(*count);
        }
        log
    }

    /// Looks for a record; gives where it is and how many reads it took.
    fn find(log: &[StoredRun], (stream, sequence): (u32, u64), high: u64, per_read: usize) -> (Step, u32) {
        let place = (StreamNumber(stream), Sequence(sequence));
        let mut lookup = Lookup::new(GroupNumber(1), place, (Index(1), Index(high)));
        let mut step = lookup.begin();
        while let Step::Read(at) = step {
            let runs = log.iter().filter(|run| run.end_index() > at).take(per_read);
            let pieces: Vec<Piece> = runs.cloned().map(Piece::Run).collect();
            step = lookup.on_pieces(&pieces);
        }
        (step, lookup.reads)
    }

    #[test]
    fn a_record_among_a_million_takes_few_reads() {
        let log = log(&(0..50_000).map(|i| (i % 3 == 0, 20)).collect::<Vec<_>>());
        for sequence in [1, 2, 777, 300_000, 333_340] {
            let (step, reads) = find(&log, (1, sequence), 1_000_001, 2);
            let Step::Found(found) = step else { panic!("{sequence}: {step:?}") };
            assert!((found.run.header.first.0..found.run.header.end().0).contains(&sequence));
            assert!(reads <= 24, "{sequence} took {reads} reads");
        }
        assert_eq!(find(&log, (1, 333_341), 1_000_001, 2).0, Step::Nowhere);
    }

    #[test]
    fn a_hole_is_told_from_a_record_that_was_let_go() {
        let low = |cause| {
            let place = (StreamNumber(0), Sequence(3));
            let mut lookup = Lookup::new(GroupNumber(1), place, (Index(1), Index(9)));
            assert_eq!(lookup.begin(), Step::Read(Index(1)));
            let missing = Piece::Missing { from: Index(1), to: Index(7), cause };
            lookup.on_pieces(&[missing, Piece::Run(run(0, 7, 2, 7))])
        };
        assert_eq!(low(MissingCause::Released), Step::Nowhere);
        assert_eq!(low(MissingCause::Damaged), Step::Damaged);
    }

    #[test]
    fn who_meets_other_streams_only_gives_up_in_the_end() {
        let log = log(&(0..10_000).map(|_| (false, 1)).collect::<Vec<_>>());
        assert_eq!(find(&log, (1, 1), 10_001, 1).0, Step::GivenUp);
        assert_eq!(find(&log, (1, 1), 10_001, 100).0, Step::Nowhere);
    }

    proptest! {
        #[test]
        fn every_record_that_is_there_is_found_and_no_other(
            runs in prop::collection::vec((any::<bool>(), 1u32..600), 1..60),
            stream in 0u32..2,
            sequence in 1u64..20_000,
            per_read in 1usize..5,
        ) {
            let log = log(&runs);
            let high = log.last().unwrap().end_index().0;
            let (step, _) = find(&log, (stream, sequence), high, per_read);
            let there = log.iter().find(|run| {
                let header = &run.run.header;
                run.stream.0 == stream && (header.first.0..header.end().0).contains(&sequence)
            });
            match (there, step) {
                (Some(there), Step::Found(found)) => prop_assert_eq!(there, &*found),
                (None, Step::Nowhere) => {}
                (there, step) => prop_assert!(false, "{:?} and {:?}", there, step),
            }
        }
    }
}
