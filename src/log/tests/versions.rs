//! F52: what another version of this program wrote is refused by name, and left as it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::options;
use crate::log::codec::salt;
use crate::log::conformance::test_run;
use crate::log::memory::MemoryStorage;
use crate::log::*;

/// A directory with everything in it: two segments in use, one of them with a
/// footer, spares, a snapshot, and what an interrupted run left behind.
fn example() -> MemoryStorage {
    let sim = MemoryStorage::default();
    for boot in 0..2 {
        let (recovery, _) = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9)).unwrap();
        recovery.replay(&mut |_, _| ()).unwrap();
        let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
        log.append(vec![Entry::Run(test_run(1, 1 + boot, 1, 300))], Urgency::Sync).unwrap();
        log.step();
        log.snapshot(
            log.begin_snapshot(),
            Snapshot { shards: vec![(log.durable(), Bytes::from_static(b"state"))] },
        )
        .unwrap();
        if boot == 0 {
            log.stop().unwrap();
        }
    }
    sim.put("snapshot.tmp", vec![1; 10]);
    sim.put("segment-000000ff.log.tmp", vec![1; 10]);
    sim
}

fn content(sim: &MemoryStorage) -> BTreeMap<String, Vec<u8>> {
    sim.names().into_iter().map(|name| (name.clone(), sim.content(&name))).collect()
}

/// Sets the version at `place` and makes the hash behind `covered` right again.
fn set_version(content: &mut [u8], place: usize, covered: std::ops::Range<usize>) {
    content[place] = 2;
    let hash = xxh3_64(&content[covered.clone()]).to_le_bytes();
    content[covered.end..covered.end + 8].copy_from_slice(&hash);
}

fn refused(sim: &MemoryStorage, name: &str) {
    let before = content(sim);
    let opened = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9));
    let error = opened.err().expect("another version is refused");
    assert!(matches!(&error, LogError::Version { file, found: 2, known: 1 } if file == name), "{error}");
    let words = format!("{name} has format version 2; this program reads version 1");
    assert_eq!(error.to_string(), words);
    assert!(content(sim) == before, "a file was changed, made or removed");
    assert!(inspect::check(&*sim.storage()).is_err() || name.ends_with(".tcs"));
}

#[test]
fn f52_an_ident_of_another_version_is_refused() {
    let sim = example();
    let mut ident = sim.content("IDENT");
    set_version(&mut ident, 8, 0..120);
    set_version(&mut ident, 512 + 8, 512..632);
    sim.put("IDENT", ident);
    refused(&sim, "IDENT");
}

#[test]
fn f52_a_segment_of_another_version_is_refused() {
    let sim = example();
    let mut seen = 0;
    for name in sim.names().into_iter().filter(|name| name.ends_with(".log")) {
        let sim = sim.copy();
        let mut segment = sim.content(&name);
        set_version(&mut segment, 4, 0..504);
        sim.put(&name, segment);
        refused(&sim, &name);
        seen += 1;
    }
    assert!(seen >= 3, "in use with a footer, in use without, and spare");
}

#[test]
fn f52_a_snapshot_of_another_version_is_refused_though_an_older_one_is_whole() {
    let sim = example();
    let names: Vec<_> = sim.names().into_iter().filter(|name| name.ends_with(".tcs")).collect();
    assert_eq!(names.len(), 2);
    let mut snapshot = sim.content(&names[1]);
    set_version(&mut snapshot, 4, 0..32 + 24);
    sim.put(&names[1], snapshot);
    refused(&sim, &names[1]);
}

#[test]
fn f52_a_footer_of_another_version_is_made_again_from_the_blocks() {
    let sim = example();
    let names: Vec<_> = sim.names().into_iter().filter(|name| name.ends_with(".log")).collect();
    let with_footer = |name: &&String| {
        let content = sim.content(name);
        content.len() >= 512 && content[content.len() - 512..].starts_with(b"TCFT")
    };
    let name = names.iter().find(with_footer).expect("the first boot was stopped cleanly");
    let mut segment = sim.content(name);
    let trailer = segment.len() - 512;
    segment[trailer + 4] = 2;
    let epoch = u64::from_le_bytes(segment[40..48].try_into().unwrap());
    let hash = xxh3_64_with_seed(&segment[trailer..trailer + 504], salt(epoch, trailer as u64));
    segment[trailer + 504..].copy_from_slice(&hash.to_le_bytes());
    sim.put(name, segment);
    let (recovery, opened) = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9)).unwrap();
    assert!(opened.lost.is_empty() && opened.damaged.is_empty(), "{opened:?}");
    let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
    let pieces = log.read(crate::id::GroupNumber(1), crate::id::Index(1), usize::MAX).unwrap();
    assert_eq!(pieces, [1, 2].map(|at| Piece::Run(test_run(1, at, 1, 300).stored())));
}
