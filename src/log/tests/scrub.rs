//! Damage that nobody has read yet is found by reading everything slowly.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use super::*;
use crate::id::{GroupNumber, Index, Lsn};

fn scrub_all(log: &DiskLog) -> (u64, usize) {
    let (mut bytes, mut segments, mut reached) = (0, 0, Lsn(0));
    while let Some(next) = log.scrub(reached, &mut |read| bytes += read) {
        assert!(next > reached);
        (reached, segments) = (next, segments + 1);
    }
    (bytes, segments)
}

#[test]
fn scrubbing_finds_damage_once_and_reading_says_that_it_is_missing() {
    let sim = MemoryStorage::default();
    let found: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let told = Arc::clone(&found);
    let on_event: OnEvent = Box::new(move |event| {
        if let LogEvent::Damaged { group, from, to } = event {
            assert_eq!(group, GroupNumber(1));
            told.lock().unwrap().push((from.0, to.0));
        }
    });
    let (log, _) = DiskLog::open(sim.storage(), options(), on_event, &mut |_, _| ()).unwrap();
    for at in 1..200 {
        log.append(vec![Entry::Run(test_run(1, at, 1, 900))], Urgency::Sync).unwrap();
    }
    assert!(log.wait_durable(EntryNumber(199)));
    let (bytes, segments) = scrub_all(&log);
    assert!(segments >= 2 && bytes >= 100_000, "{bytes} bytes of {segments} segments");
    assert!(found.lock().unwrap().is_empty(), "a whole log is whole");

    let body = test_run(1, 5, 1, 900).run.body;
    let holds = |name: &String| sim.content(name).windows(body.len()).any(|window| window == body);
    let name = sim.names().into_iter().find(holds).unwrap();
    let at = sim.content(&name).windows(body.len()).position(|window| window == body).unwrap();
    let file = sim.storage().open(&name).unwrap();
    file.write_at(&[IoSlice::new(&[body[0] ^ 1])], at as u64).unwrap();
    assert_eq!(scrub_all(&log).1, segments, "damage does not end the round");
    assert_eq!(*found.lock().unwrap(), [(5, 6)]);
    scrub_all(&log);
    assert_eq!(*found.lock().unwrap(), [(5, 6)], "it is told once");
    let missing = Piece::Missing { from: Index(5), to: Index(6), cause: MissingCause::Damaged };
    assert!(read_all(&log, 1, 4).contains(&missing));
}
