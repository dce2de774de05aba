//! Looking into a log: for the command line over a log that is not running,
//! and for the slow check of a running one. Nothing here writes; a footer that the
//! check finds damaged is left to the keeper.

use std::ops::Range;
use std::sync::Arc;

use super::engine::DiskLog;
use super::footer::Footer;
use super::found::{FoundSegments, find_segments, is_still_there, proof};
use super::header::SegmentHeader;
use super::ident::{IDENT, Ident};
use super::recover;
use super::scan::{Proof, Scan, scan};
use super::segment::{Segment, SegmentIndex, segment_name};
use super::snapshot;
use super::storage::{Storage, StorageFile};
use super::{EntryNumber, LogError, LogEvent, Replayed, file_error};
use crate::id::{Epoch, GroupNumber, Index, Lsn};

/// What [`check`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The last boot.
    pub epoch: Epoch,
    /// Whether the log was stopped cleanly.
    pub clean: bool,
    /// Segments in use, in order.
    pub segments: Vec<SegmentReport>,
    /// Segments that wait to be used, or for the next start to take them back.
    pub spare_segments: usize,
    /// The last entry of which the newest whole snapshot includes everything before.
    pub snapshot_covers: EntryNumber,
    /// Whether something is damaged or missing. What a crash leaves is not: a torn end, a footer
    /// that is not there yet.
    pub is_damaged: bool,
    /// Everything that is not as it should be, for people to read.
    pub problems: Vec<String>,
}

impl Report {
    fn damage(&mut self, problem: String) {
        self.is_damaged = true;
        self.problems.push(problem);
    }
}

/// One segment in a [`Report`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The file's name.
    pub name: String,
    /// Whether it holds what was left of older segments. Blocks and entries
    /// are then those of the older ones.
    pub is_cold: bool,
    /// The first block and the last one.
    pub blocks: (Lsn, Lsn),
    /// The first entry and the last one.
    pub entries: (EntryNumber, EntryNumber),
    /// Bytes of blocks.
    pub bytes: u64,
    /// How many runs there are.
    pub runs: usize,
    /// How many groups they belong to.
    pub groups: usize,
    /// Whether the footer is there and whole.
    pub has_footer: bool,
    /// Ranges of groups that are damaged.
    pub damaged: Vec<(GroupNumber, Index, Index)>,
    /// Entries that are lost, half-open.
    pub lost: Vec<(EntryNumber, EntryNumber)>,
    /// Bytes behind the end that belong to no block.
    pub torn_bytes: u64,
}

/// Reads and checks everything in a log's directory. Blocks, and takes as long
/// as it takes to read the whole log.
///
/// # Errors
/// When there is no log, or the storage refuses. Damage is in the report.
pub fn check(storage: &dyn Storage) -> Result<Report, LogError> {
    scrub(storage, &mut |_| {})
}

/// Does what [`check`] does, slowly: `pace` is called with the bytes read since
/// the call before and may sleep. Blocks.
///
/// # Errors
/// As [`check`].
pub fn scrub(storage: &dyn Storage, pace: &mut dyn FnMut(u64)) -> Result<Report, LogError> {
    let mut report = Report::default();
    walk(storage, &mut report, &mut |_, entry| {
        pace(entry.bytes());
    })?;
    Ok(report)
}

/// Hands out all entries that are whole, in order; runs in cold segments
/// without the number that they once had. Blocks.
///
/// # Errors
/// When there is no log, or the storage refuses.
pub fn dump(
    storage: &dyn Storage,
    f: &mut dyn FnMut(Option<EntryNumber>, Replayed),
) -> Result<Report, LogError> {
    let mut report = Report::default();
    walk(storage, &mut report, f)?;
    Ok(report)
}

fn walk(
    storage: &dyn Storage,
    report: &mut Report,
    f: &mut dyn FnMut(Option<EntryNumber>, Replayed),
) -> Result<(), LogError> {
    let missing = || LogError::Format { file: IDENT.to_owned(), reason: "there is none".to_owned() };
    let ident = Ident::read(storage)?.ok_or_else(missing)?;
    (report.epoch, report.clean) = (ident.epoch, ident.clean);
    let names = storage.list().map_err(|error| file_error("list", "the data directory", error))?;
    let found = find_segments(storage, &ident, &names)?;
    report.spare_segments = found.spares.len() + found.replaced.len();
    report.problems.extend(found.ignored.iter().cloned());
    report.is_damaged = !found.headless.is_empty();
    found.notes.iter().for_each(|note| report.damage(note.clone()));
    let is_there = walk_snapshots(storage, &ident, &found, report);
    walk_segments(&ident, found, is_there, report, f)
}

/// What the newest snapshot says of the entries.
#[derive(Clone, Copy)]
struct Reach {
    /// Entries behind this one must be there.
    covers: EntryNumber,
    /// Entries up to this one were durable.
    reaches: EntryNumber,
}

/// Reads the snapshots as a start does; nothing if none can be used.
fn walk_snapshots(
    storage: &dyn Storage,
    ident: &Ident,
    found: &FoundSegments,
    report: &mut Report,
) -> Option<Reach> {
    let id = ident.epoch.storage;
    let fits = |snapshot: &super::Snapshot| found.has_after(snapshot::covers(snapshot));
    match snapshot::read_newest(storage, id, &fits) {
        Ok(snapshot) => {
            for (name, reason) in snapshot.unusable {
                report.is_damaged |= !snapshot::is_of_another(storage, id, &name);
                report.problems.push(format!("{name}: {reason}"));
            }
            let snapshot = snapshot.snapshot;
            report.snapshot_covers = snapshot::covers(&snapshot);
            Some(Reach { covers: report.snapshot_covers, reaches: snapshot::reaches(&snapshot) })
        }
        Err(error) => {
            report.damage(format!("no start is possible: {error}"));
            None
        }
    }
}

fn walk_segments(
    ident: &Ident,
    found: FoundSegments,
    reach: Option<Reach>,
    report: &mut Report,
    f: &mut dyn FnMut(Option<EntryNumber>, Replayed),
) -> Result<(), LogError> {
    let reached = ident.known.entry.max(reach.map_or_else(EntryNumber::default, |reach| reach.reaches));
    let bases: Vec<_> = found.used.iter().map(|(_, header, _)| *header).collect();
    let mut last = EntryNumber(0);
    for ((_, header, file), at) in found.used.into_iter().zip(1..) {
        let name = segment_name(header.number);
        let trailer = Footer::open(&*file, header.epoch).unwrap_or(None);
        let has_footer = trailer.as_ref().is_some_and(|trailer| trailer.footer.check(&*file).is_ok());
        let mut until = match &trailer {
            Some(trailer) => Proof { is_end: false, ..Proof::end(trailer.end) },
            None => proof(&ident.known, &header, bases.get(at).copied()),
        };
        if trailer.is_none() && at == bases.len() {
            until.entry = until.entry.max(reached);
        }
        let mut scan =
            scan_into(header, Arc::clone(&file), until, f).map_err(|e| file_error("read", &name, e))?;
        if trailer.is_some() {
            // What stands behind the end is the footer.
            scan.torn_bytes = 0;
        }
        if !has_footer && at < bases.len() {
            report.problems.push(format!("{name}: it has no whole footer; the next start makes it again"));
        }
        // A relay that runs may have let go of it, and begun another in its place, since the files were looked for.
        let is_amiss = scan.torn_bytes > 0 || !scan.damaged.is_empty() || !scan.lost.is_empty();
        if is_amiss && !is_still_there(&*file, &header) {
            report.problems.push(format!("{name}: it was recycled while the log was read"));
            last = bases.get(at).map_or(last, |next| EntryNumber(next.base_entry.0 - 1));
            continue;
        }
        let expected = reach.map(|reach| last.max(reach.covers).next());
        if let Some(expected) = expected.filter(|expected| header.base_entry > *expected) {
            let base = header.base_entry;
            report.damage(format!("{name}: entries from {expected} to {base}, before it, are missing"));
        }
        note_problems(&name, &scan, report);
        let segment = segment_report(name, &header, has_footer, scan);
        last = segment.entries.1;
        report.segments.push(segment);
    }
    if reached > last {
        let next = last.next();
        report.damage(format!("the end of the log is missing: entries from {next} to {reached}"));
    }
    if let Some(cut) = ident.cut.filter(|cut| cut.is_behind(last)) {
        report.problems.push(format!("a last block with {} was cut; the next start notes it", cut.cut()));
    }
    Ok(())
}

fn scan_into(
    header: SegmentHeader,
    file: Arc<dyn StorageFile>,
    proof: Proof,
    f: &mut dyn FnMut(Option<EntryNumber>, Replayed),
) -> std::io::Result<Scan> {
    scan(header, file, proof, &mut |entry, block| {
        let number = header.cold.is_none().then_some(entry.number);
        f(number, recover::replayed(entry, block));
    })
}

fn note_problems(name: &str, scan: &Scan, report: &mut Report) {
    report.is_damaged |= !scan.damaged.is_empty() || !scan.lost.is_empty();
    let damaged = scan.damaged.iter();
    report.problems.extend(
        damaged.map(|(group, from, to)| format!("{name}: group {group} is damaged from {from} to {to}")),
    );
    let lost = scan.lost.iter();
    report
        .problems
        .extend(lost.map(|lost| format!("{name}: entries from {} to {} are lost", lost.start, lost.end)));
    if let Some(cut) = &scan.cut {
        report
            .problems
            .push(format!("{name}: the last block is damaged, with {cut}; the next start cuts it"));
    } else if scan.torn_bytes > 0 {
        report.problems.push(format!("{name}: {} bytes behind the end are no block", scan.torn_bytes));
    }
}

fn segment_report(name: String, header: &SegmentHeader, has_footer: bool, scan: Scan) -> SegmentReport {
    let range = |lost: &Range<u64>| (EntryNumber(lost.start), EntryNumber(lost.end));
    SegmentReport {
        name,
        is_cold: header.cold.is_some(),
        blocks: (header.base, scan.end.lsn),
        entries: (header.base_entry, scan.end.entry),
        bytes: scan.end.position,
        runs: scan.postings.len(),
        groups: scan.postings.groups(),
        has_footer,
        damaged: scan.damaged,
        lost: scan.lost.iter().map(range).collect(),
        torn_bytes: scan.torn_bytes,
    }
}

impl DiskLog {
    /// Reads and checks one segment of the running log, the first one that
    /// begins behind `after`, and before the first of all the snapshots;
    /// answers where it began, or nothing when there is none. Damaged runs are
    /// quarantined and told as [`LogEvent::Damaged`]; a damaged footer is made
    /// again; what a restart would miss is told as [`LogEvent::Lost`] and
    /// [`LogEvent::SnapshotDamaged`], until no snapshot that is kept needs it.
    /// `pace` is called with the bytes read since the call before and may
    /// sleep, so that a check of everything in a day takes hardly any of the
    /// disk's time. Blocks.
    pub fn scrub(&self, after: Lsn, pace: &mut dyn FnMut(u64)) -> Option<Lsn> {
        if after == Lsn(0) {
            snapshot::check_all(&self.shared, pace);
        }
        let segments = self.shared.segments.all();
        let segment = segments.into_iter().find(|segment| segment.header.base > after)?;
        self.scrub_blocks(&segment, pace);
        self.scrub_footer(&segment);
        Some(segment.header.base)
    }

    fn scrub_blocks(&self, segment: &Segment, pace: &mut dyn FnMut(u64)) {
        let (end, sealed) = {
            let inner = segment.read();
            (inner.end, inner.sealed)
        };
        // Behind the end of one that is being filled the committer is at work.
        let proof = Proof { is_end: !sealed, ..Proof::end(end) };
        let mut on_entry = |entry: &super::block::Walked, _: &[u8]| {
            pace((entry.body.end - entry.start) as u64);
        };
        let Ok(scan) = scan(segment.header, Arc::clone(&segment.file), proof, &mut on_entry) else { return };
        for (group, from, to) in scan.damaged {
            let found = scan.postings.find(group, from, 1).postings;
            let position = found.first().map_or(0, |posting| posting.position);
            if segment.write().quarantined.insert(position) {
                self.shared.tell(LogEvent::Damaged { group, from, to });
            }
        }
        // Those in a cold segment have other numbers; a snapshot has them all.
        if segment.header.cold.is_none() {
            self.tell_lost(&scan.lost);
        }
        let mut inner = segment.write();
        inner.gap = scan.gap.or(inner.gap);
    }

    fn tell_lost(&self, lost: &[Range<u64>]) {
        let needed = self.shared.covered.get().next();
        for lost in lost {
            let (from, to) = (needed.max(EntryNumber(lost.start)), EntryNumber(lost.end));
            if from < to {
                self.shared.tell(LogEvent::Lost { from, to });
            }
        }
    }

    fn scrub_footer(&self, segment: &Segment) {
        let footer = match &segment.read().index {
            SegmentIndex::Memory(_) => return,
            SegmentIndex::Footer(footer) => Arc::clone(footer),
        };
        let has_trailer = matches!(Footer::open(&*segment.file, segment.header.epoch), Ok(Some(_)));
        if has_trailer && footer.check(&*segment.file).is_ok() {
            return;
        }
        self.shared.tell(LogEvent::FooterDamaged { file: segment.name() });
        recover::rebuild(segment);
        self.shared.keeper.wake();
    }
}
