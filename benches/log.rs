//! Appends and syncs by batch size, and cold reads, on a real disk.
//!
//! The directory is made under `TREECAST_BENCH_DIR`, else where temporary
//! files go: give one on the disk that matters.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use treecast::id::{GroupNumber, Index, LinkId, Sequence, StreamNumber, WallTime};
use treecast::log::disk::DiskStorage;
use treecast::log::{DiskLog, Entry, EntryNumber, Log, LogOptions, Piece, RunEntry, Snapshot, Urgency};
use treecast::wire::run::{Record, Run, RunHeader, RunKind};
use xxhash_rust::xxh3::xxh3_64;

const RECORD_BYTES: usize = 1024;
const RECORDS_PER_RUN: u32 = 64;

fn body(records: u32, bytes: usize) -> Bytes {
    let mut body = BytesMut::new();
    for _ in 0..records {
        Record { payload: &vec![7; bytes], ..Record::default() }.encode(&mut body);
    }
    body.freeze()
}

fn run(group: u32, first: u64, count: u32, body: &Bytes, body_hash: u64) -> Entry {
    let header = RunHeader {
        kind: RunKind::Data,
        has_ttl: false,
        has_subject: false,
        count,
        body_bytes: u32::try_from(body.len()).expect("runs are short"),
        first: Sequence(first),
        body_hash,
        chain: 0,
        accepted: WallTime(1),
        producer: None,
    };
    Entry::Run(RunEntry {
        group: GroupNumber(group),
        stream: StreamNumber(1),
        first_index: Index(first),
        arrived: WallTime(1),
        age_ms: 0,
        link: LinkId(0),
        run: Run { header, body: body.clone() },
    })
}

fn directory() -> tempfile::TempDir {
    let parent = std::env::var_os("TREECAST_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::tempdir_in(parent).expect("the directory can be made")
}

fn open(path: &std::path::Path) -> DiskLog {
    let storage = Arc::new(DiskStorage::open(path).expect("the directory opens"));
    let opened = DiskLog::open(storage, LogOptions::default(), Box::new(|_| ()), &mut |_, _| ());
    opened.expect("the log opens").0
}

/// Lets go of everything written so far, so that a long bench does not fill the disk.
fn release(log: &DiskLog, group: u32, below: u64) {
    log.release(GroupNumber(group), Index(below));
    let shards = vec![(log.durable(), Bytes::new())];
    log.snapshot(log.begin_snapshot(), Snapshot { shards }).expect("the snapshot is written");
}

/// Appends of `runs` runs each, up to `depth` of them on their way at once.
fn append(c: &mut Criterion, name: &str, records: u32, bytes: usize, depth: u64) {
    let directory = directory();
    let log = open(directory.path());
    let body = body(records, bytes);
    let hash = xxh3_64(&body);
    let mut next = 1;
    let mut group = c.benchmark_group("append_sync");
    group.throughput(Throughput::Elements(u64::from(records)));
    group.measurement_time(Duration::from_secs(4)).sample_size(10);
    group.bench_function(BenchmarkId::new(name, depth), |bench| {
        bench.iter_custom(|rounds| {
            let start = Instant::now();
            let mut last = EntryNumber(0);
            for _ in 0..rounds {
                last = log
                    .append(vec![run(1, next, records, &body, hash)], Urgency::Sync)
                    .expect("it takes entries");
                next += u64::from(records);
                if last.0 > depth {
                    assert!(log.wait_durable(EntryNumber(last.0 - depth)));
                }
            }
            assert!(log.wait_durable(last));
            let elapsed = start.elapsed();
            release(&log, 1, next);
            elapsed
        });
    });
    group.finish();
}

fn appends(c: &mut Criterion) {
    append(c, "1x1KiB", 1, RECORD_BYTES, 0);
    append(c, "1x1KiB", 1, RECORD_BYTES, 64);
    append(c, "1x1KiB", 1, RECORD_BYTES, 1024);
    append(c, "64x1KiB", RECORDS_PER_RUN, RECORD_BYTES, 0);
    append(c, "64x1KiB", RECORDS_PER_RUN, RECORD_BYTES, 16);
    append(c, "64x1KiB", RECORDS_PER_RUN, RECORD_BYTES, 128);
    append(c, "1000x16B", 1000, 16, 64);
}

/// Drains a group whose runs lie between those of others.
fn cold_read(c: &mut Criterion) {
    let mut group = c.benchmark_group("cold_read");
    group.measurement_time(Duration::from_secs(4)).sample_size(10);
    for groups in [1_u32, 8] {
        let directory = directory();
        let log = open(directory.path());
        let body = body(RECORDS_PER_RUN, RECORD_BYTES);
        let hash = xxh3_64(&body);
        let runs = 8000 / u64::from(groups);
        let mut last = EntryNumber(0);
        for at in 0..runs {
            let first = 1 + at * u64::from(RECORDS_PER_RUN);
            let entries = (0..groups).map(|g| run(g, first, RECORDS_PER_RUN, &body, hash)).collect();
            last = log.append(entries, Urgency::Sync).expect("it takes entries");
            log.wait_durable(EntryNumber(last.0.saturating_sub(64)));
        }
        assert!(log.wait_durable(last));
        group.throughput(Throughput::Bytes(runs * body.len() as u64));
        group.bench_function(BenchmarkId::new("groups", groups), |bench| {
            bench.iter(|| {
                let mut at = Index(1);
                loop {
                    let pieces = log.read(GroupNumber(0), at, 1024 * 1024).expect("it can be read");
                    let Some(Piece::Run(run)) = pieces.last() else { break };
                    at = run.end_index();
                    black_box(&pieces);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, appends, cold_read);
criterion_main!(benches);
