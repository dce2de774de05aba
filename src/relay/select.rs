//! Which records of a run a subscription gets: the next stretch that shares one fate.

use super::filter::Filter;
use crate::id::WallTime;
use crate::wire::run::{Records, RunKind, StoredRun};

/// What becomes of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are delivered.
    Deliver,
    /// The subscription does not want them, or they are the relays' own.
    Filtered,
    /// They are past their time to live.
    Expired,
    /// They cannot be read.
    Damaged,
    /// A LOSS: here messages may be missing.
    Uncertain,
}

/// What decides it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    pub(super) filter: Option<&'a Filter>,
    /// Runs that arrived before are not wanted (a start by time).
    pub(super) not_before: WallTime,
    /// The group's time to live, for records that name none.
    pub(super) ttl_ms: Option<u64>,
    pub(super) now: WallTime,
}

/// Consecutive records of a run with one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) fate: Fate,
    /// How many records: at least 1.
    pub(super) count: u32,
    /// How many bytes they have.
    pub(super) bytes: usize,
}

/// How old a run is, counted over all relays. A clock that went back makes it no younger than on arrival.
fn age_ms(run: &StoredRun, now: WallTime) -> u64 {
    u64::from(run.age_ms).saturating_add(now.0.saturating_sub(run.arrived.0) / 1000)
}

/// The stretch that begins at record number `record`, `offset` bytes into the
/// body, with at most `count_max` records.
pub(super) fn stretch(
    run: &StoredRun,
    (record, offset): (u32, usize),
    count_max: u32,
    rule: &Rule<'_>,
) -> Stretch {
    let header = &run.run.header;
    let left = header.count.saturating_sub(record);
    let rest = run.run.body.get(offset..).unwrap_or(&[]);
    let all = |fate| Stretch { fate, count: left.max(1), bytes: rest.len() };
    if run.arrived < rule.not_before {
        return all(Fate::Filtered);
    }
    match header.kind {
        RunKind::Data => {}
        RunKind::Loss if super::lost::in_place(&run.run).is_some() => return all(Fate::Damaged),
        RunKind::Loss if super::loss::is_told_here(run) => return all(Fate::Uncertain),
        RunKind::Loss => return all(Fate::Filtered),
        RunKind::Mark | RunKind::Genesis | RunKind::Seal => return all(Fate::Filtered),
    }
    let age = age_ms(run, rule.now);
    let may_expire = header.has_ttl || rule.ttl_ms.is_some();
    if rule.filter.is_none() && !may_expire {
        return if left <= count_max { all(Fate::Deliver) } else { skip(rest, count_max) };
    }
    let mut records = Records::new(rest);
    let mut found = Stretch { fate: Fate::Damaged, count: 0, bytes: 0 };
    while found.count < left {
        let fate = match records.next() {
            Some(Ok(record)) if record.ttl_ms.or(rule.ttl_ms).is_some_and(|ttl| age >= ttl) => Fate::Expired,
            Some(Ok(record)) if rule.filter.is_none_or(|f| f.matches(record.subject)) => Fate::Deliver,
            Some(Ok(_)) => Fate::Filtered,
            Some(Err(_)) | None => return if found.count == 0 { all(Fate::Damaged) } else { found },
        };
        if found.count > 0 && fate != found.fate || fate == Fate::Deliver && found.count >= count_max {
            break;
        }
        found = Stretch { fate, count: found.count + 1, bytes: rest.len() - records.rest() };
    }
    found
}

/// The first `count` records, without looking into them.
fn skip(rest: &[u8], count: u32) -> Stretch {
    let mut records = Records::new(rest);
    for _ in 0..count {
        if records.pass().is_err() {
            return Stretch { fate: Fate::Damaged, count, bytes: rest.len() };
        }
    }
    Stretch { fate: Fate::Deliver, count, bytes: rest.len() - records.rest() }
}
