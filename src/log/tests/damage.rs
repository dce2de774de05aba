//! Damage to files at rest: what each kind of byte may cost, and no more.
//!
//! Every byte of every file belongs to a region, and every region has its
//! price: a bit in a block may cost the runs of that block, which are then
//! named; a bit anywhere else costs nothing that is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index as Pick;
use proptest::test_runner::{TestRng, TestRunner};

use super::super::block::{BLOCK_HEADER_BYTES, BlockHeader, Walk};
use super::super::header::SegmentHeader;
use super::powercut::read_all;
use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::MemoryStorage;
use crate::log::*;
use crate::wire::run::StoredRun;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 0,
        waiting_bytes: 0,
        collect_age_ms: 0,
    }
}

type Entries = Vec<u64>;

fn open(sim: &MemoryStorage) -> Result<(DiskLog, Opened, Entries), LogError> {
    let (recovery, opened) = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9))?;
    let mut entries = Vec::new();
    recovery.replay(&mut |number, _| entries.push(number.0))?;
    let log = recovery.start_stepped(Box::new(|_| ()))?;
    log.release(GroupNumber(BULK), Index(BULK_RELEASED));
    log.settle_released();
    Ok((log, opened, entries))
}

/// Most of its runs are released, so that old segments are rewritten.
const BULK: u32 = 1;
const BULK_RELEASED: u64 = 150;
const LAGGARD: u32 = 2;
/// A group of which only the last segment has anything.
const LATE: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ident,
    Snapshot,
    SegmentHeader,
    BlockHeader,
    Head,
    Body,
    Footer,
    /// Padding, zeros, spares.
    Free,
}

/// Bytes of a file that stand for the same thing.
#[derive(Clone, Debug)]
struct Region {
    file: String,
    range: Range<usize>,
    kind: Kind,
    /// Which copy of an ident or a cold header, or which block of all.
    number: usize,
}

/// A block, with what is in it.
#[derive(Clone, Debug, Default)]
struct Block {
    file: String,
    entries: Vec<u64>,
    runs: Vec<(u32, u64)>,
    is_cold: bool,
}

/// A log at rest, and all that is known of it.
struct Example {
    sim: MemoryStorage,
    clean: bool,
    held: BTreeMap<(u32, u64), StoredRun>,
    last: u64,
    snapshots: [(String, Snapshot); 2],
    regions: Vec<Region>,
    blocks: Vec<Block>,
}

fn snapshot(log: &DiskLog, text: &'static [u8]) -> Snapshot {
    let snapshot = Snapshot { shards: vec![(log.durable(), Bytes::from_static(text))] };
    log.snapshot(log.begin_snapshot(), snapshot.clone()).unwrap();
    snapshot
}

impl Example {
    fn new(clean: bool) -> Self {
        let sim = MemoryStorage::default();
        let (log, ..) = open(&sim).unwrap();
        let mut next = BTreeMap::new();
        let mut held = BTreeMap::new();
        let mut commit = |log: &DiskLog, groups: &[(u32, usize)]| {
            let entries = groups.iter().map(|(group, bytes)| {
                let at = next.entry(*group).or_insert(1);
                let run = test_run(*group, *at, 1, *bytes);
                held.insert((*group, *at), run.stored());
                *at += 1;
                Entry::Run(run)
            });
            let state = Entry::State(Bytes::from(vec![5; 40 * (groups.len() % 2)]));
            let entries = entries.chain((groups.len() > 2).then_some(state)).collect();
            log.append(entries, Urgency::Sync).unwrap();
            log.step();
        };
        for _ in 0..50 {
            commit(&log, &[(BULK, 900), (BULK, 900), (BULK, 900), (LAGGARD, 60)]);
        }
        for _ in 0..2 {
            commit(&log, &[(BULK, 90)]);
            snapshot(&log, b"early");
        }
        (0..8).for_each(|_| log.step());
        assert!(log.space().cold_segments > 0, "{:?}", log.space());
        drop(log);
        let (log, ..) = open(&sim).unwrap();
        commit(&log, &[(LATE, 300)]);
        let older = snapshot(&log, b"older");
        commit(&log, &[(BULK, 900), (LAGGARD, 700), (BULK, 5)]);
        let newer = snapshot(&log, b"newer");
        for _ in 0..8 {
            commit(&log, &[(BULK, 900)]);
            commit(&log, &[(LAGGARD, 300), (BULK, 300), (LAGGARD, 300)]);
        }
        let last = log.durable().0;
        if clean {
            log.stop().unwrap();
        }
        drop(log);
        held.retain(|(group, at), _| *group != BULK || *at >= BULK_RELEASED);
        let names: Vec<_> = sim.names().into_iter().filter(|name| name.ends_with(".tcs")).collect();
        let [one, two] = names.try_into().unwrap();
        let snapshots = [(one, older), (two, newer)];
        let mut example = Self { sim, clean, held, last, snapshots, regions: Vec::new(), blocks: Vec::new() };
        example.survey();
        example
    }

    fn region(&mut self, file: &str, range: Range<usize>, kind: Kind, number: usize) {
        if !range.is_empty() {
            self.regions.push(Region { file: file.to_owned(), range, kind, number });
        }
    }

    fn survey(&mut self) {
        for name in self.sim.names() {
            let content = self.sim.content(&name);
            let length = content.len();
            if name == "IDENT" {
                self.region(&name, 0..128, Kind::Ident, 0);
                self.region(&name, 128..512, Kind::Free, 0);
                self.region(&name, 512..length, Kind::Ident, 1);
            } else if name.ends_with(".tcs") {
                let number = usize::from(name == self.snapshots[1].0);
                self.region(&name, 0..length, Kind::Snapshot, number);
            } else {
                self.survey_segment(&name, &content);
            }
        }
    }

    fn survey_segment(&mut self, name: &str, content: &[u8]) {
        let header = SegmentHeader::decode(content).unwrap();
        let mut at = usize::try_from(header.start()).unwrap();
        for copy in 0..at / 512 {
            self.region(name, copy * 512..(copy + 1) * 512, Kind::SegmentHeader, copy);
        }
        while let Some(block) =
            header.in_use.then(|| BlockHeader::decode(&content[at..], header.epoch, at as u64)).flatten()
        {
            let number = self.blocks.len();
            let is_cold = header.cold.is_some();
            let mut of_block = Block { file: name.to_owned(), is_cold, ..Block::default() };
            self.region(name, at..at + BLOCK_HEADER_BYTES, Kind::BlockHeader, number);
            let mut end = at + BLOCK_HEADER_BYTES;
            for entry in Walk::new(&content[at..], block) {
                self.region(name, at + entry.start..at + entry.body.start, Kind::Head, number);
                self.region(name, at + entry.body.start..at + entry.body.end, Kind::Body, number);
                of_block.entries.push(entry.number.0);
                of_block.runs.extend(entry.run.map(|run| (run.group.0, run.first_index.0)));
                end = at + entry.body.end;
            }
            self.blocks.push(of_block);
            at = usize::try_from(block.end()).unwrap();
            self.region(name, end..at, Kind::Free, 0);
        }
        let trailer = content.len() - 512;
        let kind = if content[trailer..].starts_with(b"TCFT") { Kind::Footer } else { Kind::Free };
        self.region(name, at..content.len(), kind, 0);
    }

    fn regions(&self, kind: Kind) -> Vec<&Region> {
        self.regions.iter().filter(|region| region.kind == kind).collect()
    }
}

/// What is not as it was, and what that may cost.
#[derive(Debug, Default)]
struct Hits {
    idents: BTreeSet<usize>,
    snapshots: BTreeSet<usize>,
    blocks: BTreeSet<usize>,
    /// Segments of which neither the header nor the first block is whole.
    files: BTreeSet<String>,
    /// One bit of something that is there is not taken for a file that was cut off.
    is_flip: bool,
}

impl Hits {
    fn of(example: &Example, now: &MemoryStorage, is_flip: bool) -> Self {
        let mut hits = Self { is_flip, ..Self::default() };
        let mut headers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut file = ("", Vec::new(), Vec::new());
        for region in &example.regions {
            if file.0 != region.file {
                file = (&region.file, example.sim.content(&region.file), now.content(&region.file));
            }
            if file.2.get(region.range.clone()) == Some(&file.1[region.range.clone()]) {
                continue;
            }
            let is_first = region.range.start == 512 && region.kind == Kind::BlockHeader;
            match region.kind {
                Kind::Ident => drop(hits.idents.insert(region.number)),
                Kind::Snapshot => drop(hits.snapshots.insert(region.number)),
                Kind::BlockHeader | Kind::Head | Kind::Body => drop(hits.blocks.insert(region.number)),
                Kind::SegmentHeader | Kind::Footer | Kind::Free => {}
            }
            if region.kind == Kind::SegmentHeader || is_first {
                *headers.entry(&region.file).or_default() += 1;
            }
            let is_short = region.file.starts_with("segment") && file.2.len() < 1024;
            if headers.get(&*region.file) == Some(&2) || is_short {
                hits.files.insert(region.file.clone());
            }
        }
        let of_files = |block: &Block| hits.files.contains(&block.file);
        let blocks = example.blocks.iter().enumerate().filter(|(_, block)| of_files(block));
        hits.blocks.extend(blocks.map(|(number, _)| number).collect::<Vec<_>>());
        hits
    }

    fn runs(&self, example: &Example) -> BTreeSet<(u32, u64)> {
        self.blocks.iter().flat_map(|number| example.blocks[*number].runs.iter().copied()).collect()
    }

    fn entries(&self, example: &Example) -> BTreeSet<u64> {
        let hot = self.blocks.iter().map(|number| &example.blocks[*number]).filter(|block| !block.is_cold);
        hot.flat_map(|block| block.entries.iter().copied()).collect()
    }
}

/// The runs that can be read; asserts that they are the right ones, and that
/// those which cannot be read may be missing. `is_told` knows what is named elsewhere.
fn read(
    example: &Example,
    log: &DiskLog,
    hits: &Hits,
    is_told: &dyn Fn((u32, u64)) -> bool,
) -> BTreeSet<(u32, u64)> {
    let mut there = BTreeSet::new();
    let mut named = Vec::new();
    for group in [BULK, LAGGARD, LATE] {
        let from = if group == BULK { BULK_RELEASED } else { 1 };
        for piece in read_all(log, group, from) {
            match piece {
                Piece::Run(run) => {
                    let key = (group, run.first_index.0);
                    assert_eq!(Some(&run), example.held.get(&key), "never other bytes");
                    assert!(there.insert(key), "{key:?} comes twice");
                }
                Piece::Missing { from, to, .. } => named.push((group, from.0..to.0)),
            }
        }
        // Whoever reads knows how far the group goes, and that an early end is a loss.
        let end = there.iter().filter(|key| key.0 == group).map(|key| key.1 + 1).max();
        named.push((group, end.unwrap_or(from)..u64::MAX));
    }
    let may_miss = hits.runs(example);
    for key in example.held.keys().filter(|key| !there.contains(key)) {
        assert!(may_miss.contains(key), "{key:?} is missing for {hits:?}");
        let is_named = named.iter().any(|(group, range)| *group == key.0 && range.contains(&key.1));
        assert!(is_named || is_told(*key), "{key:?} is gone silently for {hits:?}");
    }
    there
}

fn check_opened(example: &Example, opened: &Opened, replayed: &[u64], hits: &Hits) {
    let [older, newer] = &example.snapshots;
    let is_older = hits.snapshots.contains(&1);
    assert_eq!(opened.snapshot, if is_older { older.1.clone() } else { newer.1.clone() });
    let has_note = |name: &str| opened.notes.iter().any(|note| note.starts_with(name));
    assert_eq!(has_note(&newer.0), is_older, "{opened:?}");
    assert!(hits.files.iter().all(|file| has_note(file)), "{opened:?} for {hits:?}");
    // Every entry behind the snapshot is replayed once, or named as lost.
    let lost = |number: &u64| opened.lost.iter().any(|(from, to)| (from.0..to.0).contains(number));
    let covers = opened.snapshot.shards[0].0.0;
    let replayed: BTreeSet<_> = replayed.iter().copied().collect();
    let may_lose = hits.entries(example);
    for number in covers + 1..=opened.last.0 {
        assert!(replayed.contains(&number) != lost(&number), "entry {number} of {opened:?}");
        assert!(!lost(&number) || may_lose.contains(&number), "entry {number} is lost for {hits:?}");
    }
    // Only an end of which nothing proves that it was there is cut.
    let is_cut = opened.last.0 < example.last;
    assert!(!is_cut || !example.clean, "{opened:?} for {hits:?}");
    assert!((opened.last.0 + 1..=example.last).all(|number| may_lose.contains(&number)), "{opened:?}");
    assert!(!is_cut || !hits.is_flip || opened.torn_bytes > 0, "{opened:?}");
}

/// Opens what was damaged, and asserts that it cost no more than it may.
fn judge(example: &Example, sim: &MemoryStorage, is_flip: bool) {
    let hits = Hits::of(example, sim, is_flip);
    let (log, opened, replayed) = match open(sim) {
        Ok(opened) => opened,
        Err(LogError::Format { file, .. }) if file == "IDENT" && hits.idents.len() == 2 => return,
        Err(error) => panic!("{error} for {hits:?}"),
    };
    assert!(hits.idents.len() < 2);
    check_opened(example, &opened, &replayed, &hits);
    let is_told = |key: (u32, u64)| {
        let block = example.blocks.iter().find(|block| block.runs.contains(&key)).unwrap();
        let place = block.runs.iter().position(|run| *run == key).unwrap();
        let number = EntryNumber(block.entries[place]);
        let is_lost = opened.lost.iter().any(|(from, to)| (*from..*to).contains(&number));
        let is_cut = !block.is_cold && number > opened.last;
        is_lost || is_cut || hits.files.contains(&block.file)
    };
    let there = read(example, &log, &hits, &is_told);
    for at in 1..3 {
        log.append(vec![Entry::Run(test_run(9, at, 1, 500))], Urgency::Sync).unwrap();
        log.step();
    }
    assert_eq!(read_all(&log, 9, 1).len(), 2, "the log goes on");
    drop(log);
    let (log, ..) = open(sim).unwrap();
    assert_eq!(read(example, &log, &hits, &|_| true), there, "the same ones after another start");
    assert_eq!(read_all(&log, 9, 1).len(), 2);
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::{Body, Footer, Free, Head, Ident, SegmentHeader, Snapshot};
    prop::sample::select(vec![
        Ident,
        Snapshot,
        SegmentHeader,
        Kind::BlockHeader,
        Kind::BlockHeader,
        Head,
        Head,
        Head,
        Body,
        Body,
        Footer,
        Free,
    ])
}

/// The same draws in every run; with `TREECAST_DRAWS=N`, `N` times as many and others each time.
fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let times = std::env::var("TREECAST_DRAWS").ok().and_then(|times| times.parse::<u32>().ok());
    let cases = cases * times.unwrap_or(1);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = match times {
        Some(_) => TestRunner::new(config),
        None => {
            let seed = TestRng::deterministic_rng(config.rng_algorithm);
            TestRunner::new_with_rng(config, seed)
        }
    };
    let result = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn f24_a_flipped_bit_costs_what_it_stands_for_and_no_more() {
    let examples = [Example::new(false), Example::new(true)];
    let bit = (any::<bool>(), kind(), any::<Pick>(), any::<Pick>());
    run(800, &bit, |(clean, kind, region, bit)| {
        let example = &examples[usize::from(clean)];
        let regions = example.regions(kind);
        let region = region.get(&regions);
        let bits: Vec<_> = (region.range.start * 8..region.range.end * 8).collect();
        let sim = example.sim.copy();
        sim.flip(&region.file, *bit.get(&bits));
        judge(example, &sim, true);
    });
}

/// Every bit of footers that stands for something, or stands beside such a bit: most of a footer is
/// zeros, of which nothing is made.
fn footer_bits(example: &Example, is_wanted: &dyn Fn(usize, usize) -> bool) -> Vec<(String, usize)> {
    let bits = example.regions(Kind::Footer).into_iter().flat_map(|region| {
        let content = example.sim.content(&region.file);
        let is_used = |byte: &usize| content[byte - 4..(byte + 4).min(content.len())].iter().any(|b| *b != 0);
        let is_there = |byte: &usize| is_wanted(*byte, content.len());
        let used = region.range.clone().filter(is_used).filter(is_there).collect::<Vec<_>>().into_iter();
        used.flat_map(|byte| (byte * 8..byte * 8 + 8).map(|bit| (region.file.clone(), bit)))
    });
    bits.collect()
}

/// A bit flips, in a log at rest or in one that runs: all is there all the same.
fn check_footer_flip(example: &Example, (name, bit): &(String, usize), is_running: bool) {
    let sim = example.sim.copy();
    if !is_running {
        return judge(example, &flipped(&sim, name, *bit), true);
    }
    let (log, ..) = open(&sim).unwrap();
    let content = sim.content(name);
    let file = sim.storage().open(name).unwrap();
    let changed = [content[bit / 8] ^ 1 << (bit % 8)];
    file.write_at(&[std::io::IoSlice::new(&changed)], *bit as u64 / 8).unwrap();
    let there = read(example, &log, &Hits::default(), &|_| false);
    assert_eq!(there.len(), example.held.len());
}

#[test]
fn f14_a_bit_of_a_footer_changes_no_answer_whenever_it_flips() {
    let example = Example::new(true);
    let bits = footer_bits(&example, &|_, _| true);
    run(300, &(any::<Pick>(), any::<bool>()), |(bit, is_running)| {
        check_footer_flip(&example, bit.get(&bits), is_running);
    });
}

/// What is found by a posting is checked again where it lies, so most of what a posting could say
/// wrongly is seen without the hash of its page. The table of groups is believed: only its hash
/// keeps a group from being overlooked. It and the fence are few bits: all of them are tried.
#[test]
fn f14_no_bit_of_the_table_of_groups_hides_a_group() {
    let example = Example::new(true);
    let tables = |byte: usize, length: usize| (length - 3 * 4096..length - 4096).contains(&byte);
    let bits = footer_bits(&example, &tables);
    assert!(bits.len() > 1000, "only {} bits", bits.len());
    for (number, bit) in bits.iter().enumerate() {
        check_footer_flip(&example, bit, number % 4 > 0);
    }
}

fn flipped(sim: &MemoryStorage, name: &str, bit: usize) -> MemoryStorage {
    sim.flip(name, bit);
    sim.clone()
}

#[derive(Clone, Debug)]
enum Mutation {
    Truncate(Pick),
    Empty,
    Garbage(usize),
    Hole(Pick, usize),
    Duplicate,
    Swap(Pick),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        3 => any::<Pick>().prop_map(Mutation::Truncate),
        1 => Just(Mutation::Empty),
        1 => (1..9000_usize).prop_map(Mutation::Garbage),
        4 => (any::<Pick>(), 1..6_usize).prop_map(|(at, pages)| Mutation::Hole(at, pages)),
        1 => Just(Mutation::Duplicate),
        1 => any::<Pick>().prop_map(Mutation::Swap),
    ]
}

/// Does it to a file; false if that makes no sense.
fn mutate(sim: &MemoryStorage, name: &str, mutation: &Mutation) -> bool {
    let content = sim.content(name);
    let is_segment = |name: &String| name.starts_with("segment");
    match mutation {
        Mutation::Truncate(at) => sim.put(name, content[..at.index(content.len())].to_vec()),
        Mutation::Empty => sim.put(name, Vec::new()),
        Mutation::Garbage(bytes) => sim.put(name, [content, vec![7; *bytes]].concat()),
        Mutation::Hole(at, pages) => {
            let mut content = content;
            let start = at.index(content.len()) / 4096 * 4096;
            let end = (start + pages * 4096).min(content.len());
            content[start..end].fill(0);
            sim.put(name, content);
        }
        Mutation::Duplicate if name.starts_with("segment") => sim.put("segment-000000ab.log", content),
        Mutation::Swap(other) if name.starts_with("segment") => {
            let names: Vec<_> = sim.names().into_iter().filter(is_segment).collect();
            let other = other.get(&names);
            sim.put(name, sim.content(other));
            sim.put(other, content);
        }
        Mutation::Duplicate | Mutation::Swap(_) => return false,
    }
    true
}

#[test]
fn f27_a_mutilated_file_costs_what_was_in_it_and_no_more() {
    let examples = [Example::new(false), Example::new(true)];
    run(500, &(any::<bool>(), any::<Pick>(), mutation()), |(clean, name, mutation)| {
        let example = &examples[usize::from(clean)];
        let names = example.sim.names();
        let sim = example.sim.copy();
        let name: &String = name.get(&names);
        if !mutate(&sim, name, &mutation) {
            return;
        }
        let renamed = matches!(mutation, Mutation::Duplicate | Mutation::Swap(_));
        if renamed {
            // Names do not matter: a header says which segment it is.
            let (log, opened, _) = open(&sim).unwrap();
            assert!(opened.lost.is_empty() && opened.last.0 == example.last, "{opened:?}");
            let there = read(example, &log, &Hits::default(), &|_| false);
            assert_eq!(there.len(), example.held.len());
        } else {
            judge(example, &sim, false);
        }
    });
}
