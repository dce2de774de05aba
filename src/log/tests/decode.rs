//! F53: what is decoded from disk: any bytes, and numbers that lie although the
//! hash beside them is right. Nothing panics, and nothing takes more memory
//! than a few times what is there.

use proptest::prelude::*;
use proptest::sample::Index as Pick;
use proptest::test_runner::TestRunner;

use super::super::block::{BLOCK_HEADER_BYTES, BlockHeader, RunHead};
use super::super::codec::{NUMBER_MAX, salt, seal};
use super::super::footer;
use super::super::fuzz::{
    EPOCH, ID, PLACE, judge_block, judge_footer, judge_segment, read_ident, read_snapshot,
};
use super::super::header::SegmentHeader;
use super::super::postings::{Posting, Postings};
use super::super::segment::SegmentEnd;
use crate::id::{GroupNumber, Index, Lsn, Sequence};
use crate::log::conformance::test_run;
use crate::log::memory::MemoryStorage;
use crate::log::*;

/// Numbers that are right, near a border, or anything.
fn number() -> impl Strategy<Value = u64> {
    let border = prop_oneof![Just(0), Just(1_u64 << 31), Just(1 << 32), Just(1 << 63), Just(u64::MAX)];
    prop_oneof![
        2 => (border, 0..3_u64, any::<bool>())
            .prop_map(|(at, by, up)| if up { at.wrapping_add(by) } else { at.wrapping_sub(by) }),
        2 => 0..300_u64,
        1 => any::<u64>(),
    ]
}

fn narrow() -> impl Strategy<Value = u32> {
    number().prop_map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..length)
}

/// Writes `value` over what is at `at`.
fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Makes the hash at the end right again.
fn seal_again(bytes: &mut Vec<u8>, salt: u64) {
    bytes.truncate(bytes.len() - 8);
    seal(bytes, 0, salt);
}

proptest! {
    #[test]
    fn f53_arbitrary_bytes_are_nothing(
        magic in prop::sample::select(vec![&b""[..], b"TCBK\x01\0\0\0", b"TCSG\x01\0\x02\0", b"TREECAST\x01\0\0\0",
            b"TCSN\x01\0\0\0\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03", b"\x01\0\0\0", b"\x02\0\0\0"]),
        rest in bytes(1200),
    ) {
        let bytes = [magic, &rest].concat();
        prop_assert_eq!(judge_block(&bytes), None);
        prop_assert_eq!(judge_segment(&bytes), None);
        prop_assert!(read_ident(bytes.clone()).is_err());
        prop_assert!(read_snapshot(bytes.clone()).is_err());
        prop_assert!(!judge_footer(bytes));
    }

    #[test]
    fn f53_a_segment_header_may_say_anything(
        state in 0..4_u16, rest in prop::collection::vec(number(), 12), tail in bytes(400),
    ) {
        let mut bytes = vec![0; 512];
        set(&mut bytes, 0, b"TCSG\x01\0");
        set(&mut bytes, 6, &state.to_le_bytes());
        let fields: Vec<_> = rest.iter().flat_map(|field| field.to_le_bytes()).collect();
        set(&mut bytes, 8, &fields);
        set(&mut bytes, 104, &tail);
        seal_again(&mut bytes, 0);
        let is_known = |places: &[usize]| places.iter().all(|place| rest[*place] <= NUMBER_MAX);
        let is_cold = state == 2 && rest[8] >= rest[5] && is_known(&[8, 9, 10, 11]);
        prop_assert_eq!(judge_segment(&bytes).is_some(), is_known(&[5, 6]) && rest[3] < 1 << 32 && (state < 2 || is_cold));
    }

    #[test]
    fn f53_an_ident_may_say_anything(clean: u32, fields in prop::collection::vec(number(), 13)) {
        let mut record = b"TREECAST\x01\0\0\0".to_vec();
        record.extend_from_slice(&clean.to_le_bytes());
        record.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        seal(&mut record, 0, 0);
        prop_assert_eq!(record.len(), 128);
        let ident = read_ident([&record[..], &[0; 384], &record].concat());
        let is_known = [2, 4, 5].iter().all(|place| fields[*place] <= NUMBER_MAX);
        prop_assert_eq!(ident.is_ok(), is_known);
        let epoch = ident.ok().flatten().map(|ident| (ident.epoch.counter, ident.epoch.nonce));
        prop_assert_eq!(epoch, is_known.then_some((fields[2], fields[3])));
    }

    #[test]
    fn f53_a_block_may_say_anything_of_its_entries(
        (lsn, first, count, length) in (number(), number(), narrow(), narrow()),
        entries in prop::collection::vec((any::<bool>(), narrow(), narrow(), number(), number(), bytes(40)), 0..20),
    ) {
        let header = BlockHeader {
            epoch: EPOCH, position: PLACE, lsn: Lsn(lsn), previous: 1,
            first: EntryNumber(first), count, bytes: length, heads_hash: 9,
        };
        let mut block = header.encode();
        for (is_run, count, length, first, index, body) in &entries {
            if *is_run {
                let mut run = test_run(1, 1, 1, 1);
                (run.first_index, run.run.header.first) = (Index(*index), Sequence(*first));
                (run.run.header.count, run.run.header.body_bytes) = (*count, *length);
                let place = PLACE + block.len() as u64;
                RunHead::encode(&run, &mut block, salt(EPOCH, place));
            } else {
                block.extend_from_slice(&[2, 0, 0, 0]);
                block.extend_from_slice(&length.to_le_bytes());
                block.extend_from_slice(&[0; 8]);
            }
            block.extend_from_slice(body);
        }
        let fits = length as usize >= BLOCK_HEADER_BYTES && lsn.max(first) <= NUMBER_MAX;
        prop_assert_eq!(judge_block(&block), fits.then_some(header));
        for at in (0..block.len()).step_by(16) {
            let _ = RunHead::decode(&block[at..], EPOCH, PLACE + at as u64).map(|head| head.end_index());
        }
    }

    #[test]
    fn f53_a_snapshot_may_say_anything_of_its_parts(
        count in narrow(),
        parts in prop::collection::vec((number(), number(), bytes(50)), 0..6),
        is_counted: bool,
        is_measured: bool,
    ) {
        let mut head = b"TCSN\x01\0\0\0".to_vec();
        head.extend_from_slice(&ID.0);
        let count = if is_counted { parts.len() as u32 } else { count };
        head.extend_from_slice(&u64::from(count).to_le_bytes());
        for (entry, length, body) in &parts {
            let length = if is_measured { body.len() as u64 } else { *length };
            for field in [*entry, length, xxhash_rust::xxh3::xxh3_64(body)] {
                head.extend_from_slice(&field.to_le_bytes());
            }
        }
        seal(&mut head, 0, 0);
        parts.iter().for_each(|(.., body)| head.extend_from_slice(body));
        let read = read_snapshot(head);
        let is_right = is_counted && is_measured && parts.iter().all(|(entry, ..)| *entry <= NUMBER_MAX);
        prop_assert!(!is_right || read.is_ok_and(|snapshot| snapshot.shards.len() == parts.len()));
    }
}

/// A segment of 30 pages of which the last ones are a footer.
fn with_footer(groups: u32, runs: u64) -> Vec<u8> {
    let mut postings = Postings::default();
    for (group, at) in (0..groups).flat_map(|group| (1..=runs).map(move |at| (group, at))) {
        let posting = Posting { first_index: at * 2, position: 512, count: 2, bytes: 300 };
        postings.push(GroupNumber(group), posting);
    }
    let end = SegmentEnd { position: 5000, lsn: Lsn(4), entry: EntryNumber(9), hash: 3 };
    let start = 30 * 4096 - footer::bytes(postings.groups(), postings.len());
    let mut content = vec![0; usize::try_from(start).unwrap()];
    content.extend(footer::encode(&postings, EPOCH, start, end, None));
    content
}

#[test]
fn f53_a_footer_is_read_as_it_was_written() {
    assert!(judge_footer(with_footer(300, 7)) && judge_footer(with_footer(0, 0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn f53_a_footer_may_say_anything(
        (groups, runs) in (0..300_u32, 0..7_u64),
        trailer in prop::collection::vec((0..5_usize, number()), 0..3),
        records in prop::collection::vec((any::<Pick>(), any::<Pick>(), number()), 0..20),
    ) {
        let mut content = with_footer(groups, runs);
        let length = content.len();
        for (page, word, value) in records {
            let from = length / 4096 - footer::bytes(groups as usize, groups as usize * runs as usize) as usize / 4096;
            let at = (from + page.index(length / 4096 - from)) * 4096;
            let mut page = content[at..at + 4096].to_vec();
            set(&mut page, 4 * word.index(1021), &value.to_le_bytes());
            seal_again(&mut page, salt(EPOCH, at as u64));
            set(&mut content, at, &page);
        }
        // End, lsn, entry, both counts, first damage.
        for (field, value) in trailer {
            set(&mut content, length - 512 + [16, 24, 32, 48, 56][field], &value.to_le_bytes());
        }
        let mut sector = content.split_off(length - 512);
        set(&mut sector, 0, b"TCFT\x01\0\0\0");
        set(&mut sector, 8, &EPOCH.to_le_bytes());
        seal_again(&mut sector, salt(EPOCH, length as u64 - 512));
        content.extend(sector);
        judge_footer(content);
    }
}

/// A directory with all that there can be in one.
fn directory() -> MemoryStorage {
    let sim = MemoryStorage::default();
    let options = LogOptions { collect_age_ms: 0, ..super::options() };
    for boot in 0..2 {
        let (recovery, _) =
            Recovery::open(sim.storage(), options.clone(), &mut |bytes| bytes.fill(9)).unwrap();
        let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
        for at in boot * 70 + 1..=boot * 70 + 70 {
            let entries = vec![Entry::Run(test_run(1, at, 1, 1800)), Entry::Run(test_run(2, at, 1, 20))];
            log.append(entries, Urgency::Sync).unwrap();
            log.step();
        }
        if boot == 0 {
            log.release(GroupNumber(1), Index(60));
        }
        for _ in 0..2 {
            log.append(vec![Entry::State(bytes::Bytes::from_static(b"state"))], Urgency::Sync).unwrap();
            log.step();
            log.snapshot(
                log.begin_snapshot(),
                Snapshot { shards: vec![(log.durable(), bytes::Bytes::from_static(b"s"))] },
            )
            .unwrap();
        }
        (0..4).for_each(|_| log.step());
        log.append(vec![Entry::Run(test_run(3, 1 + boot, 1, 20))], Urgency::Sync).unwrap();
        log.step();
    }
    sim
}

/// Opens what is there, asks for everything, and goes on; as far as it goes.
fn use_all(sim: &MemoryStorage) -> Result<(), LogError> {
    for _ in 0..2 {
        let (recovery, _) = Recovery::open(sim.storage(), super::options(), &mut |bytes| bytes.fill(9))?;
        recovery.replay(&mut |_, _| ())?;
        let log = recovery.start_stepped(Box::new(|_| ()))?;
        for (group, from) in (0..5).flat_map(|group| [0, 1, 70, u64::MAX].map(|from| (group, from))) {
            log.read(GroupNumber(group), Index(from), 100_000)?;
        }
        log.append(vec![Entry::Run(test_run(4, 1, 1, 20))], Urgency::Sync)?;
        log.step();
        log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(log.durable(), bytes::Bytes::new())] })?;
        (0..3).for_each(|_| log.step());
        log.stop()?;
    }
    Ok(())
}

#[test]
fn f53_a_directory_that_lies_is_opened_or_refused() {
    let directory = directory();
    let lie = (any::<Pick>(), 0..3, 0..16_usize, number(), any::<bool>());
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let judged = TestRunner::new(config).run(&lie, |(file, kind, word, value, both)| {
        let sim = directory.copy();
        let names = sim.names();
        let name = file.get(&names);
        let mut content = sim.content(name);
        let length = content.len();
        // Where a record begins and ends, with its hash, and what its salt is made of.
        let epoch = SegmentHeader::decode(&content).map_or(0, |header| header.epoch);
        let (start, end, salt) = match kind {
            _ if name == "IDENT" => (0, 128, 0),
            _ if name.ends_with(".tcs") => (0, 64, 0),
            0 => (0, 512, 0),
            1 => (512, 512 + 96, salt(epoch, 512)),
            _ => (length - 512, length, salt(epoch, length as u64 - 512)),
        };
        let mut record = content[start..end].to_vec();
        let word = 8 + 8 * word % (record.len() - 24);
        set(&mut record, word, &value.to_le_bytes());
        seal_again(&mut record, salt);
        set(&mut content, start, &record);
        if (name == "IDENT" || start == 0 && epoch != 0) && both {
            set(&mut content, 512, &record);
        }
        sim.put(name, content);
        let _ = use_all(&sim);
        let is_long = |name: &String| sim.content(name).len() > 128 * 1024;
        assert_eq!(sim.names().into_iter().find(is_long), None);
        Ok(())
    });
    judged.unwrap_or_else(|error| panic!("{error}"));
}

/// The footers in a directory: the file, where the footer begins, and the epoch of its segment.
fn footers(sim: &MemoryStorage) -> Vec<(String, usize, u64)> {
    let footer = |name: String| {
        let content = sim.content(&name);
        let header = SegmentHeader::decode(&content).filter(|header| header.in_use)?;
        let file = sim.storage().open(&name).unwrap();
        let trailer = footer::Footer::open(&*file, header.epoch).unwrap()?;
        Some((name, usize::try_from(trailer.footer.blocks_end()).unwrap(), header.epoch))
    };
    sim.names().into_iter().filter(|name| name.starts_with("segment")).filter_map(footer).collect()
}

/// Reads every group to its end, while what is released is recycled and moved. Every read must get
/// on, and give nothing that was not appended.
fn read_to_the_end(sim: &MemoryStorage) {
    let options = LogOptions { collect_age_ms: 0, ..super::options() };
    let Ok((recovery, _)) = Recovery::open(sim.storage(), options, &mut |bytes| bytes.fill(9)) else {
        return;
    };
    if recovery.replay(&mut |_, _| ()).is_err() {
        return;
    }
    let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
    for group in 1..4 {
        let mut at = Index(1);
        loop {
            let pieces = log.read(GroupNumber(group), at, 5000).unwrap();
            if pieces.is_empty() {
                break;
            }
            for piece in pieces {
                let (from, to) = match &piece {
                    Piece::Run(run) => (run.first_index, run.end_index()),
                    Piece::Missing { from, to, .. } => (*from, *to),
                };
                assert!(from >= at && to > from, "group {group}: {from} to {to} comes behind {at}");
                at = to;
            }
        }
        log.release(GroupNumber(group), Index(100));
        (0..8).for_each(|_| log.step());
    }
    let is_long = |name: &String| sim.content(name).len() > 128 * 1024;
    assert_eq!(sim.names().into_iter().find(is_long), None);
}

/// Does something that may never end: then the test fails.
fn in_time(what: &str, does: impl FnOnce() + Send + 'static) {
    let (sender, done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        does();
        sender.send(()).ok();
    });
    let is_late = done.recv_timeout(std::time::Duration::from_secs(20))
        == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    assert!(!is_late, "{what}: it does not end");
    assert!(thread.join().is_ok(), "{what}");
}

#[test]
fn f14_a_footer_that_lies_makes_no_reader_go_round() {
    let directory = directory();
    let footers = footers(&directory);
    assert!(footers.len() > 2, "{footers:?}");
    for (name, start, epoch) in footers {
        let content = directory.content(&name);
        // All pages but that of the trailer, and of each the first few records.
        let pages = (start..content.len() - 4096).step_by(4096);
        for (page, word) in pages.flat_map(|page| (0..16).map(move |word| (page, word))) {
            let at = page + 4 * word;
            let before = u32::from_le_bytes(content[at..at + 4].try_into().unwrap());
            for lie in [0, before.wrapping_sub(20), u32::MAX] {
                let mut content = content.clone();
                set(&mut content, at, &lie.to_le_bytes());
                let mut sealed = content[page..page + 4096].to_vec();
                seal_again(&mut sealed, salt(epoch, page as u64));
                set(&mut content, page, &sealed);
                let sim = directory.copy();
                sim.put(&name, content);
                let what = format!("{name}: {lie} at {at} instead of {before}");
                in_time(&what, move || read_to_the_end(&sim));
            }
        }
    }
}
