//! F54, F48: the commit queue, the durable mark and the table of segments, compiled once more over
//! the locks of a scheduler that tries many orders of their steps. A wake-up that is lost is a
//! deadlock there, and it reports that; its waits never time out.
//!
//! The cursor table needs none of this: it has one owner, the driver, and no lock.

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::{check_pct, check_random, thread};

use self::mark::Mark;
use self::queue::Queue;
use self::segment::{Header, Segment};
use self::segments::{Segments, let_go};
use self::sync::Arc;
use super::super::{committer, priority};
use crate::id::Lsn;
use crate::log::{Entry, EntryNumber, Urgency};

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
}

#[path = "../mark.rs"]
#[expect(dead_code, reason = "not all of it is used here")]
#[expect(clippy::duplicate_mod, reason = "that is the idea: the same file over other locks")]
mod mark;
#[path = "../queue.rs"]
#[expect(dead_code, reason = "not all of it is used here")]
#[expect(clippy::duplicate_mod, reason = "that is the idea: the same file over other locks")]
mod queue;
#[path = "../segments.rs"]
#[expect(clippy::duplicate_mod, reason = "that is the idea: the same file over other locks")]
mod segments;

/// As much of a segment as the table of segments knows.
mod segment {
    use super::sync::{Arc, RwLock};
    use crate::id::Lsn;

    #[derive(Clone, Copy)]
    pub(crate) struct Header {
        pub(crate) base: Lsn,
        /// The last block that it replaces, of a cold one.
        pub(crate) cold: Option<Lsn>,
    }

    impl Header {
        pub(crate) fn replaces(&self, other: &Self) -> bool {
            self.cold.is_some_and(|last| (self.base..=last).contains(&other.base))
        }
    }

    pub(crate) struct Inner {
        pub(crate) end: End,
    }

    pub(crate) struct End {
        pub(crate) lsn: Lsn,
    }

    pub(crate) struct Segment {
        pub(crate) header: Header,
        inner: Inner,
        /// Whether its file is used for something else by now.
        pub(crate) file: Arc<RwLock<bool>>,
    }

    impl Segment {
        pub(crate) fn new(header: Header, last: Lsn) -> Self {
            Self { header, inner: Inner { end: End { lsn: last } }, file: Arc::new(RwLock::new(false)) }
        }

        pub(crate) fn read(&self) -> &Inner {
            &self.inner
        }
    }
}

/// Tries orders at random, and those in which few threads overtake others at bad moments.
fn check(test: fn()) {
    check_random(test, 3000);
    check_pct(test, 3000, 3);
}

fn entry(producer: u8, number: u8) -> Entry {
    Entry::State(bytes::Bytes::copy_from_slice(&[producer, number]))
}

/// Commits as the committing thread does; now and then there is no room at first.
fn commit_all(queue: &Queue, durable: &Mark, bytes_max: u64) -> Vec<Entry> {
    let mut committed = Vec::new();
    let mut refusals = 0;
    while queue.wait() {
        let batches = queue.take(bytes_max);
        if refusals < 2 && shuttle::rand::Rng::gen_bool(&mut shuttle::rand::thread_rng(), 0.2) {
            refusals += 1;
            queue.put_back(batches);
            continue;
        }
        committed.extend(batches.into_iter().flat_map(|batch| batch.entries));
        durable.set(EntryNumber(committed.len() as u64));
    }
    committed
}

const EACH: u8 = 3;

/// Three that append, of which two do not bring a commit about, and wait until it is durable.
fn commit(bytes_max: u64) {
    let queue = Arc::new(Queue::new(EntryNumber(0)));
    let durable = Arc::new(Mark::new(EntryNumber(0)));
    let committer = {
        let (queue, durable) = (Arc::clone(&queue), Arc::clone(&durable));
        thread::spawn(move || commit_all(&queue, &durable, bytes_max))
    };
    let urgencies = [Urgency::Sync, Urgency::Ride, Urgency::Soon];
    let appends = urgencies.map(|urgency| {
        let (queue, durable) = (Arc::clone(&queue), Arc::clone(&durable));
        thread::spawn(move || {
            let producer = urgency as u8;
            for number in 0..EACH {
                let entries = vec![entry(producer, number), entry(producer, number + EACH)];
                let bytes = entries.iter().map(committer::entry_bytes).sum();
                let last = queue.push(entries, bytes, urgency);
                if urgency != Urgency::Sync {
                    queue.hurry();
                }
                assert!(durable.wait(last, || false));
            }
        })
    });
    for append in appends {
        append.join().unwrap();
    }
    let last = queue.push(vec![entry(3, 0)], 20, Urgency::Ride);
    queue.drain();
    let committed = committer.join().unwrap();
    assert_eq!((committed.len() as u64, queue.bytes()), (last.0, 0), "everything, once");
    for producer in urgencies.map(|urgency| urgency as u8) {
        let of: Vec<_> = committed.iter().filter(|entry| is_of(entry, producer)).collect();
        let pairs = (0..EACH).flat_map(|number| [entry(producer, number), entry(producer, number + EACH)]);
        assert!(of.into_iter().eq(pairs.collect::<Vec<_>>().iter()), "in the order of its appends");
    }
}

fn is_of(entry: &Entry, producer: u8) -> bool {
    matches!(entry, Entry::State(body) if body.first() == Some(&producer))
}

#[test]
fn f54_every_order_of_appends_and_commits_wakes_who_waits() {
    check(|| commit(u64::MAX));
}

#[test]
fn f54_a_commit_that_takes_a_part_leaves_the_rest_as_urgent_as_it_was() {
    // One entry at a time: 16 bytes of head, 2 of body.
    check(|| commit(20));
}

/// It is not woken for each of what is to be synced soon, and its sleep never ends here by itself.
#[test]
fn f54_what_is_to_be_synced_soon_is_committed_when_much_of_it_has_gathered_or_more_urgent_comes() {
    check(|| {
        let queue = Arc::new(Queue::new(EntryNumber(0)));
        let durable = Arc::new(Mark::new(EntryNumber(0)));
        let committer = {
            let (queue, durable) = (Arc::clone(&queue), Arc::clone(&durable));
            thread::spawn(move || commit_all(&queue, &durable, u64::MAX))
        };
        let half = crate::limits::SOON_BYTES_MAX / 2;
        for number in 0..2 {
            let last = queue.push(vec![entry(0, number)], half, Urgency::Soon);
            if number == 1 {
                assert!(durable.wait(last, || false), "as much as may gather");
            }
        }
        queue.push(vec![entry(0, 2)], 18, Urgency::Soon);
        let last = queue.push(vec![entry(0, 3)], 18, Urgency::Sync);
        assert!(durable.wait(last, || false), "more urgent");
        queue.push(vec![entry(0, 4)], 18, Urgency::Soon);
        queue.drain();
        assert_eq!(committer.join().unwrap().len(), 5);
    });
}

#[test]
fn f54_an_abandoned_queue_ends_its_committer_whenever_it_is() {
    check(|| {
        let queue = Arc::new(Queue::new(EntryNumber(0)));
        let ender = Arc::clone(&queue);
        let ender = thread::spawn(move || ender.abandon());
        queue.push(vec![entry(0, 0)], 18, Urgency::Sync);
        let durable = Mark::new(EntryNumber(0));
        let committed = commit_all(&queue, &durable, u64::MAX);
        assert!(committed.len() <= 1 && queue.is_ending());
        ender.join().unwrap();
    });
}

fn hot(base: u64, last: u64) -> Arc<Segment> {
    Arc::new(Segment::new(Header { base: Lsn(base), cold: None }, Lsn(last)))
}

/// Reads from a place to the end that there was when it began, as a reader of the log does; what
/// it holds must be what it was, and from `kept` on nothing may be missing.
fn walk(segments: &Segments, kept: u64) {
    let newest = segments.newest();
    let mut place = Lsn(1);
    while let Some(segment) = segments.from(place, newest) {
        let base = segment.header.base;
        assert!(base <= place || place.0 < kept, "blocks {place:?} to {base:?} are missing");
        let is_other = segment.file.read().unwrap();
        assert!(!*is_other, "the file of a segment that is being read is used for something else");
        drop(is_other);
        place = segment.read().end.lsn.max(segment.header.cold.unwrap_or_default());
        place = Lsn(place.0 + 1);
    }
    assert!(place > newest || place.0 < kept, "it ends at {place:?}, before {newest:?}");
}

/// Gives files of segments that nobody reads any more to something else.
fn recycle(leaving: &mut Vec<Arc<Segment>>) {
    let (free, held) = let_go(std::mem::take(leaving));
    for segment in free {
        *segment.file.write().unwrap() = true;
    }
    *leaving = held;
}

/// Segments of two blocks each; the first two go, the next two are rewritten into a cold one, new
/// ones come.
#[test]
fn f54_no_reader_meets_a_segment_that_left_and_none_misses_one_that_was_rewritten() {
    check(|| {
        let segments = Arc::new(Segments::new((0..4).map(|at| hot(2 * at + 1, 2 * at + 2))));
        let done = Arc::new(AtomicBool::new(false));
        let readers = [(); 2].map(|()| {
            let segments = Arc::clone(&segments);
            thread::spawn(move || {
                walk(&segments, 5);
                walk(&segments, 5);
            })
        });
        let committer = {
            let (segments, done) = (Arc::clone(&segments), Arc::clone(&done));
            thread::spawn(move || {
                segments.insert(hot(9, 10));
                segments.insert(hot(11, 12));
                done.store(true, Ordering::SeqCst);
            })
        };
        let mut leaving: Vec<_> = [1, 3].into_iter().filter_map(|base| segments.remove(Lsn(base))).collect();
        recycle(&mut leaving);
        let cold = Segment::new(Header { base: Lsn(5), cold: Some(Lsn(8)) }, Lsn(8));
        leaving.extend(segments.replace(Arc::new(cold)));
        recycle(&mut leaving);
        committer.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        recycle(&mut leaving);
        assert!(leaving.is_empty() && done.load(Ordering::SeqCst), "nobody holds one any more");
        assert_eq!(segments.all().len(), 3);
    });
}
