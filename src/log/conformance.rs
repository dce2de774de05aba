//! What every [`Log`] must do, as a suite: run over the engine on a disk, over
//! the engine on simulated storage, and over the log in memory.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::engine::OnEvent;
pub use super::sample::sample_run as test_run;
use super::{Entry, EntryNumber, Log, LogEvent, MissingCause, Piece, RunEntry, Urgency};
use crate::id::{GroupNumber, Index};

/// Makes an empty log that tells its events to what it is given.
pub type Make<'a> = dyn FnMut(OnEvent) -> Box<dyn Log> + 'a;

/// How long a log may take to become durable before the suite gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the whole suite.
///
/// # Panics
/// When the log does not do what it must.
pub fn conformance(make: &mut Make<'_>) {
    let cases: [fn(&Bench); 9] = [
        numbers_are_dense,
        runs_come_back_in_order,
        any_index_inside_a_run_finds_it,
        a_piece_limit_gives_at_least_one,
        groups_do_not_mix,
        gaps_left_on_purpose_are_passed,
        released_indexes_are_said_to_be,
        riders_become_durable_by_themselves,
        a_stopped_log_takes_nothing,
    ];
    for case in cases {
        case(&Bench::new(make));
    }
}

/// A log and what it has said.
struct Bench {
    log: Box<dyn Log>,
    durable: Arc<(Mutex<EntryNumber>, Condvar)>,
}

impl Bench {
    fn new(make: &mut Make<'_>) -> Self {
        let durable = Arc::new((Mutex::new(EntryNumber(0)), Condvar::new()));
        let told = Arc::clone(&durable);
        let log = make(Box::new(move |event| {
            if let LogEvent::Durable(number) = event {
                let mut now = told.0.lock().expect("no test panics while it holds this");
                assert!(number > *now, "durable numbers rise");
                *now = number;
                told.1.notify_all();
            }
        }));
        Self { log, durable }
    }

    fn append(&self, entries: Vec<Entry>) -> EntryNumber {
        self.log.append(entries, Urgency::Sync).expect("a healthy log takes entries")
    }

    fn wait(&self, number: EntryNumber) {
        let now = self.durable.0.lock().expect("no test panics while it holds this");
        let waited = self.durable.1.wait_timeout_while(now, PATIENCE, |now| *now < number);
        let (now, _) = waited.expect("no test panics while it holds this");
        assert!(*now >= number, "entry {number} is not durable after {PATIENCE:?}");
    }

    fn put(&self, entries: Vec<Entry>) {
        self.wait(self.append(entries));
    }

    /// From memory if it is there, else from disk; both must agree.
    fn read(&self, group: u32, from: u64, bytes_max: usize) -> Vec<Piece> {
        let read = self.log.read(GroupNumber(group), Index(from), bytes_max);
        let read = read.expect("a healthy log can be read");
        if let Some(tail) = self.log.tail(GroupNumber(group), Index(from), usize::MAX) {
            let all = self.log.read(GroupNumber(group), Index(from), usize::MAX);
            assert_eq!(all.expect("a healthy log can be read"), tail, "tail and disk agree");
        }
        read
    }
}

fn piece(entry: &RunEntry) -> Piece {
    Piece::Run(entry.stored())
}

fn entries(runs: &[RunEntry]) -> Vec<Entry> {
    runs.iter().cloned().map(Entry::Run).collect()
}

fn numbers_are_dense(bench: &Bench) {
    assert_eq!(bench.append(Vec::new()), EntryNumber(0));
    assert_eq!(bench.append(entries(&[test_run(1, 1, 2, 10)])), EntryNumber(1));
    let state = || Entry::State(Bytes::from_static(b"state"));
    assert_eq!(bench.append(vec![state(), state()]), EntryNumber(3));
    assert_eq!(bench.append(vec![Entry::State(Bytes::new())]), EntryNumber(4));
    bench.wait(EntryNumber(4));
    assert!(bench.log.space().commits > 0);
}

fn runs_come_back_in_order(bench: &Bench) {
    let runs: Vec<_> = (0..40).map(|at| test_run(1, 1 + at * 3, 3, 700)).collect();
    for pair in runs.chunks(2) {
        bench.put(entries(pair));
    }
    let all: Vec<_> = runs.iter().map(piece).collect();
    assert_eq!(bench.read(1, 1, usize::MAX), all);
    assert_eq!(bench.read(1, 0, usize::MAX), all);
    assert_eq!(bench.read(1, 61, usize::MAX), all[20..]);
}

fn any_index_inside_a_run_finds_it(bench: &Bench) {
    let runs = [test_run(1, 1, 5, 10), test_run(1, 6, 5, 10)];
    bench.put(entries(&runs));
    for from in 1..=10 {
        let first = usize::from(from > 5);
        assert_eq!(bench.read(1, from, 1), [piece(&runs[first])], "from {from}");
    }
    assert_eq!(bench.read(1, 11, 1), []);
    assert_eq!(bench.read(1, u64::MAX, 1), []);
}

fn a_piece_limit_gives_at_least_one(bench: &Bench) {
    let runs: Vec<_> = (0..10).map(|at| test_run(1, 1 + at, 1, 1000)).collect();
    bench.put(entries(&runs));
    assert_eq!(bench.read(1, 1, 0).len(), 1);
    assert_eq!(bench.read(1, 1, 1).len(), 1);
    let some = bench.read(1, 1, 2500).len();
    assert!((2..=4).contains(&some), "{some} runs of 1,000 bytes for 2,500");
}

fn groups_do_not_mix(bench: &Bench) {
    let runs: Vec<_> = (0..60).map(|at| test_run(at % 7, 1 + u64::from(at / 7) * 2, 2, 100)).collect();
    bench.put(entries(&runs));
    for group in 0..8 {
        let wanted: Vec<_> = runs.iter().filter(|run| run.group.0 == group).map(piece).collect();
        assert_eq!(bench.read(group, 1, usize::MAX), wanted);
    }
}

fn gaps_left_on_purpose_are_passed(bench: &Bench) {
    let runs = [test_run(1, 1, 5, 10), test_run(1, 100, 5, 10)];
    bench.put(entries(&runs));
    assert_eq!(bench.read(1, 1, usize::MAX), [piece(&runs[0]), piece(&runs[1])]);
    assert_eq!(bench.read(1, 50, usize::MAX), [piece(&runs[1])]);
}

fn released_indexes_are_said_to_be(bench: &Bench) {
    let runs = [test_run(1, 1, 5, 10), test_run(1, 6, 5, 10), test_run(2, 1, 1, 1)];
    bench.put(entries(&runs));
    let (group, other) = (GroupNumber(1), GroupNumber(2));
    bench.log.release(group, Index(6));
    bench.log.release(group, Index(3));
    let missing =
        |from, to| Piece::Missing { from: Index(from), to: Index(to), cause: MissingCause::Released };
    let read = |from| bench.log.read(group, Index(from), usize::MAX).expect("a healthy log can be read");
    assert_eq!(read(2), [missing(2, 6), piece(&runs[1])]);
    assert_eq!(read(6), [piece(&runs[1])]);
    bench.log.release(group, Index(u64::MAX));
    assert_eq!(read(2), [missing(2, u64::MAX)]);
    assert_eq!(bench.log.read(other, Index(1), 1).expect("a healthy log can be read"), [piece(&runs[2])]);
}

fn riders_become_durable_by_themselves(bench: &Bench) {
    let rider = vec![Entry::State(Bytes::from_static(b"cursor"))];
    let number = bench.log.append(rider, Urgency::Ride).expect("a healthy log takes entries");
    bench.wait(number);
}

fn a_stopped_log_takes_nothing(bench: &Bench) {
    let run = test_run(1, 1, 1, 1);
    bench.append(entries(std::slice::from_ref(&run)));
    bench.log.stop().expect("a healthy log stops");
    assert!(bench.log.append(entries(&[run]), Urgency::Sync).is_err());
}
