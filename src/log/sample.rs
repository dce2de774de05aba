//! Runs whose content follows from their place: for tests and self-tests.

use bytes::BytesMut;
use xxhash_rust::xxh3::xxh3_64;

use super::RunEntry;
use crate::id::{GroupNumber, Index, LinkId, Sequence, StreamNumber, WallTime};
use crate::wire::run::{Record, Run, RunHeader, RunKind};

/// A run of `count` records of `bytes` bytes each.
///
/// # Panics
/// When the run would be longer than a run may be.
#[must_use]
pub fn sample_run(group: u32, first: u64, count: u32, bytes: usize) -> RunEntry {
    let mut body = BytesMut::new();
    for at in first..first + u64::from(count) {
        let seed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        let payload: Vec<u8> = seed.into_iter().cycle().take(bytes).collect();
        Record { payload: &payload, ..Record::default() }.encode(&mut body);
    }
    let body = body.freeze();
    let header = RunHeader {
        kind: RunKind::Data,
        has_ttl: false,
        has_subject: false,
        count,
        body_bytes: u32::try_from(body.len()).expect("runs are below 4 GiB"),
        first: Sequence(first),
        body_hash: xxh3_64(&body),
        chain: u64::from(group),
        accepted: WallTime(first),
        producer: None,
    };
    RunEntry {
        group: GroupNumber(group),
        stream: StreamNumber(group + 1),
        first_index: Index(first),
        arrived: WallTime(first + 1),
        age_ms: count,
        link: LinkId(group + 2),
        run: Run { header, body },
    }
}
