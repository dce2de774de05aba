//! Opening a log: what is there, what is whole, where it goes on.
//!
//! 1. Take the lock, read `IDENT`.
//! 2. Read the header of every segment file; order those in use by lsn.
//! 3. Choose the newest snapshot that is whole and whose later entries are
//!    still there. A file of another version ends the attempt; until here
//!    nothing was changed. Temporary files are removed.
//! 4. Read and check the segments that hold entries behind the snapshot. Older
//!    ones are trusted by header and footer, so the cost does not depend on the
//!    backlog; one without a footer is read as well.
//! 5. Write the last block once more, as it is, and sync it: after a failed
//!    sync the system may show bytes that the disk does not have.
//! 6. Raise the boot counter, durably, and note there a last block that is cut:
//!    its bytes may be gone before anything stands behind it. Only now is
//!    anything new written, and it goes to a fresh segment; one that holds no
//!    whole block is a spare again.
//!
//! Every step leaves a directory from which the same recovery can start again.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::block::Walked;
use super::codec::round_up;
use super::engine::{DiskLog, LogOptions, OnEvent};
use super::footer::Footer;
use super::found::{FoundSegments, find_segments, proof};
use super::header::SegmentHeader;
use super::headless;
use super::ident::{IDENT, Ident, Known, OpenCut, remove_if_there};
use super::keeper::Keeper;
use super::scan::{Proof, Scan, scan};
use super::segment::{Inner, Segment, SegmentEnd, SegmentIndex, Spare, segment_name, segment_number};
use super::segments::Segments;
use super::shared::Start;
use super::snapshot::{self, FoundSnapshot};
use super::storage::{Storage, StorageFile};
use super::{Cut, EntryNumber, LogError, Opened, Replayed, file_error};
use crate::id::{Epoch, GroupNumber, Index, StorageId};
use crate::limits;
use crate::wire::run::RunKind;

/// A log that has been opened and not yet started: the relay restores its
/// state from the snapshot, has the entries behind it replayed, and starts.
pub struct Recovery {
    storage: Arc<dyn Storage>,
    options: LogOptions,
    ident: Ident,
    end: SegmentEnd,
    segments: Vec<Arc<Segment>>,
    spares: Vec<Spare>,
    next_number: u32,
    snapshot_covers: EntryNumber,
    covered: EntryNumber,
    snapshot: Option<EntryNumber>,
    lock: Box<dyn Send + Sync>,
}

impl Recovery {
    /// Opens the log in `storage`, or makes a new one in an empty directory.
    /// `random` fills a buffer with random bytes. Blocks.
    ///
    /// # Errors
    /// When the directory is in use or is not a log of this version, when an
    /// entry that the state needs is gone for good, or the storage refuses.
    pub fn open(
        storage: Arc<dyn Storage>,
        options: LogOptions,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(Self, Opened), LogError> {
        let options = rounded(options);
        let lock = take_lock(&*storage)?;
        let names = storage.list().map_err(|e| file_error("list", "the data directory", e))?;
        let ident = match Ident::read(&*storage)? {
            Some(ident) => ident,
            None => new_ident(&names, random)?,
        };
        let found = find_segments(&*storage, &ident, &names)?;
        let fits = |snapshot: &super::Snapshot| found.has_after(snapshot::covers(snapshot));
        let snapshot = snapshot::read_newest(&*storage, ident.epoch.storage, &fits)?;
        // Not before it is known that everything here is of this version.
        remove_temporary(&*storage, &names)?;
        let mut reading = Reading::new(&snapshot, &ident, found);
        reading.take_back_replaced(&*storage, &options)?;
        reading.read_all()?;
        let empty = std::mem::take(&mut reading.empty);
        let (mut recovery, opened) = reading.finish(storage, options, snapshot, ident, random, lock)?;
        recovery.ident.write(&*recovery.storage)?;
        recovery.take_back(empty)?;
        Ok((recovery, opened))
    }

    /// Segments that were taken into use and hold no block are spares again.
    fn take_back(&mut self, empty: Vec<Spare>) -> Result<(), LogError> {
        for spare in empty {
            let name = segment_name(spare.number);
            if spare.capacity == self.options.segment_bytes {
                spare.mark(self.ident.epoch.storage).map_err(|error| file_error("write", &name, error))?;
                self.spares.push(spare);
            } else {
                remove_if_there(&*self.storage, &name)?;
            }
        }
        Ok(())
    }

    /// How many segments hold entries behind the snapshot: each start reads these.
    #[must_use]
    pub fn segments_behind(&self) -> usize {
        self.segments.iter().filter(|segment| segment.read().end.entry > self.snapshot_covers).count()
    }

    /// Reads the entries behind the snapshot again, in order. Entries that are
    /// lost are left out: the numbers tell. Blocks.
    ///
    /// # Errors
    /// When the storage refuses.
    pub fn replay(&self, f: &mut dyn FnMut(EntryNumber, Replayed)) -> Result<(), LogError> {
        for segment in &self.segments {
            let end = segment.read().end;
            if end.entry <= self.snapshot_covers {
                continue;
            }
            let proof = Proof::end(end);
            let mut on_entry = |entry: &Walked, block: &[u8]| {
                if entry.number > self.snapshot_covers {
                    f(entry.number, replayed(entry, block));
                }
            };
            scan(segment.header, Arc::clone(&segment.file), proof, &mut on_entry)
                .map_err(|error| file_error("read", &segment.name(), error))?;
        }
        Ok(())
    }

    /// Of a block whose body alone is damaged the head still tells the entries: they are replayed,
    /// and what is missing of them is told when it is read. Those are not lost.
    fn spare_replayed(&self, lost: &mut Vec<(EntryNumber, EntryNumber)>) -> Result<(), LogError> {
        if lost.is_empty() {
            return Ok(());
        }
        let mut replayed = Vec::new();
        self.replay(&mut |number, _| replayed.push(number.0))?;
        *lost = without(lost, &replayed);
        Ok(())
    }

    /// Starts the log. `on_event` is called from its threads and must not block.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn start(self, on_event: OnEvent) -> Result<DiskLog, LogError> {
        self.start_with(on_event, false)
    }

    /// Starts the log without threads: whoever holds it calls
    /// [`DiskLog::step`]. For simulations, which need one order of events.
    ///
    /// # Errors
    /// None at present.
    pub fn start_stepped(self, on_event: OnEvent) -> Result<DiskLog, LogError> {
        self.start_with(on_event, true)
    }

    fn start_with(self, on_event: OnEvent, stepped: bool) -> Result<DiskLog, LogError> {
        let start = Start {
            storage: self.storage,
            options: self.options,
            epoch: self.ident.epoch,
            secret: self.ident.secret,
            cut: self.ident.cut,
            passed_over: self.ident.passed_over,
            end: self.end,
            segments: Segments::new(self.segments),
            keeper: Keeper::new(self.spares, self.next_number, stepped),
            covered: self.covered,
            snapshot: self.snapshot,
        };
        DiskLog::start(start, on_event, self.lock, stepped)
    }
}

impl DiskLog {
    /// Opens and starts a log in one go, for those who need no replay of their own.
    ///
    /// # Errors
    /// See [`Recovery::open`], [`Recovery::replay`] and [`Recovery::start`].
    pub fn open(
        storage: Arc<dyn Storage>,
        options: LogOptions,
        on_event: OnEvent,
        replay: &mut dyn FnMut(EntryNumber, Replayed),
    ) -> Result<(Self, Opened), LogError> {
        let (recovery, opened) = Recovery::open(storage, options, &mut system_random)?;
        recovery.replay(replay)?;
        Ok((recovery.start(on_event)?, opened))
    }
}

/// Random bytes from the operating system, for [`Recovery::open`].
///
/// # Panics
/// When the operating system has none, as at the very start of a machine.
pub fn system_random(bytes: &mut [u8]) {
    use ring::rand::{SecureRandom, SystemRandom};
    SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
}

/// Makes the postings of a sealed segment again out of its blocks.
pub(crate) fn rebuild(segment: &Segment) {
    let end = segment.read().end;
    let proof = Proof::end(end);
    let Ok(scan) = scan(segment.header, Arc::clone(&segment.file), proof, &mut |_, _| {}) else { return };
    let mut inner = segment.write();
    inner.gap = scan.gap.or(inner.gap);
    inner.index = SegmentIndex::Memory(scan.postings);
}

fn rounded(options: LogOptions) -> LogOptions {
    let segment_bytes = options.segment_bytes.max(limits::SEGMENT_BYTES_MIN).min(u64::from(u32::MAX / 2));
    LogOptions { segment_bytes: round_up(segment_bytes, super::block::PAGE_BYTES), ..options }
}

fn take_lock(storage: &dyn Storage) -> Result<Box<dyn Send + Sync>, LogError> {
    let holder = std::process::id().to_string();
    storage.lock(&holder).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            LogError::Locked { holder: storage.holder().unwrap_or_else(|| "unknown".to_owned()) }
        } else {
            file_error("lock", "the data directory", error)
        }
    })
}

fn remove_temporary(storage: &dyn Storage, names: &[String]) -> Result<(), LogError> {
    let is_ours = |name: &&String| {
        let is_part = |rest| rest == IDENT || segment_number(rest).is_some();
        *name == snapshot::TEMPORARY || name.strip_suffix(".tmp").is_some_and(is_part)
    };
    names.iter().filter(is_ours).try_for_each(|name| remove_if_there(storage, name))
}

fn new_ident(names: &[String], random: &mut dyn FnMut(&mut [u8])) -> Result<Ident, LogError> {
    if let Some(name) = names.iter().find(|name| segment_number(name).is_some() || name.ends_with(".tcs")) {
        let reason = format!("it is missing although {name} is there");
        return Err(LogError::Format { file: IDENT.to_owned(), reason });
    }
    let mut id = [0; 16];
    random(&mut id);
    let mut secret = [0; 8];
    random(&mut secret);
    let epoch = Epoch { storage: StorageId(id), ..Epoch::default() };
    Ok(Ident {
        epoch,
        secret: u64::from_le_bytes(secret),
        clean: true,
        known: Known::default(),
        cut: None,
        passed_over: 0,
    })
}

/// Reads the segments of a log that is being opened.
struct Reading {
    covers: EntryNumber,
    /// Entries up to this one were durable once.
    reached: EntryNumber,
    known: Known,
    found: FoundSegments,
    end: SegmentEnd,
    segments: Vec<Arc<Segment>>,
    damaged: Vec<(GroupNumber, Index, Index)>,
    lost: Vec<Range<u64>>,
    torn_bytes: u64,
    cut: Option<Cut>,
    /// Segments that were taken into use and hold no block.
    empty: Vec<Spare>,
    /// Between how many segments there is less than was written.
    holes: usize,
}

impl Reading {
    fn new(snapshot: &FoundSnapshot, ident: &Ident, found: FoundSegments) -> Self {
        Self {
            covers: snapshot::covers(&snapshot.snapshot),
            reached: snapshot::reaches(&snapshot.snapshot).max(ident.known.entry),
            known: ident.known,
            found,
            end: SegmentEnd::default(),
            segments: Vec::new(),
            damaged: Vec::new(),
            lost: Vec::new(),
            torn_bytes: 0,
            cut: None,
            empty: Vec::new(),
            holes: 0,
        }
    }

    fn read_all(&mut self) -> Result<(), LogError> {
        let used = std::mem::take(&mut self.found.used);
        let next = used.iter().skip(1).map(|(_, header, _)| Some(*header)).chain([None]);
        let next: Vec<_> = next.collect();
        for ((_, header, file), next) in used.into_iter().zip(next) {
            self.read_one(header, file, next)
                .map_err(|error| file_error("read", &segment_name(header.number), error))?;
        }
        Ok(())
    }

    fn read_one(
        &mut self,
        header: SegmentHeader,
        file: Arc<dyn StorageFile>,
        next: Option<SegmentHeader>,
    ) -> std::io::Result<()> {
        let trailer = Footer::open(&*file, header.epoch).unwrap_or(None);
        let (mut inner, scanned) = match trailer {
            Some(trailer) if trailer.end.entry <= self.covers => {
                let index = SegmentIndex::Footer(Arc::new(trailer.footer));
                (Inner::sealed(index, trailer.end, trailer.gap), false)
            }
            Some(trailer) => {
                let proof = Proof::end(trailer.end);
                let scan = self.scan(header, &file, proof)?;
                let index = SegmentIndex::Footer(Arc::new(trailer.footer));
                (Inner::sealed(index, trailer.end, scan.gap.or(trailer.gap)), false)
            }
            None => {
                let mut proof = proof(&self.known, &header, next);
                if next.is_none() {
                    proof.entry = proof.entry.max(self.reached);
                }
                let scan = self.scan(header, &file, proof)?;
                self.settle(&header, &file, next, &scan)?;
                (Inner::sealed(SegmentIndex::Memory(scan.postings), scan.end, scan.gap), true)
            }
        };
        if inner.end.lsn < header.base {
            // Not marked before what was cut in it is noted.
            self.empty.push(Spare { number: header.number, capacity: file.len()?, file });
            return Ok(());
        }
        inner.partial = scanned && next.is_none();
        self.note_missing(&header, &mut inner);
        self.end = inner.end;
        self.segments.push(Arc::new(Segment::new(header, file, inner)));
        Ok(())
    }

    fn scan(
        &mut self,
        header: SegmentHeader,
        file: &Arc<dyn StorageFile>,
        proof: Proof,
    ) -> std::io::Result<Scan> {
        let mut scan = scan(header, Arc::clone(file), proof, &mut |_, _| {})?;
        self.damaged.append(&mut scan.damaged);
        self.lost.append(&mut scan.lost);
        Ok(scan)
    }

    /// Makes the end of the last segment durable: what was read may have been
    /// the system's memory only.
    fn settle(
        &mut self,
        header: &SegmentHeader,
        file: &Arc<dyn StorageFile>,
        next: Option<SegmentHeader>,
        scan: &Scan,
    ) -> std::io::Result<()> {
        if next.is_some() || header.cold.is_some() {
            return Ok(());
        }
        (self.torn_bytes, self.cut) = (scan.torn_bytes, scan.cut.clone());
        let Some(last) = scan.last_block else { return Ok(()) };
        let length = usize::try_from(scan.end.position.saturating_sub(last)).unwrap_or(0);
        let mut bytes = vec![0; length];
        // A file may have been cut off in the padding, which is zeros.
        let there = usize::try_from(file.len()?.saturating_sub(last)).unwrap_or(length).min(length);
        file.read_at(bytes.get_mut(..there).unwrap_or_default(), last)?;
        file.write_at(&[std::io::IoSlice::new(&bytes)], last)?;
        file.write_at(&[std::io::IoSlice::new(&header.encode())], 0)?;
        file.sync()
    }

    /// Takes what cold segments replace out of use.
    fn take_back_replaced(&mut self, storage: &dyn Storage, options: &LogOptions) -> Result<(), LogError> {
        if !self.found.replaced.is_empty() {
            // The names of the cold ones may be in the system's memory only: they must outlast a
            // cut of the power before what they replace is written over.
            storage.sync_dir().map_err(|error| file_error("sync", "the data directory", error))?;
        }
        for (header, file) in std::mem::take(&mut self.found.replaced) {
            let name = segment_name(header.number);
            let length = file.len().map_err(|error| file_error("read", &name, error))?;
            if header.cold.is_none() && length == options.segment_bytes {
                self.take_back(header, file).map_err(|error| file_error("write", &name, error))?;
            } else {
                remove_if_there(storage, &name)?;
            }
        }
        Ok(())
    }

    /// A segment that a cold one replaces is a spare again.
    fn take_back(&mut self, header: SegmentHeader, file: Arc<dyn StorageFile>) -> std::io::Result<()> {
        let spare = Spare { number: header.number, capacity: file.len()?, file };
        spare.mark(header.storage)?;
        self.found.spares.push(spare);
        Ok(())
    }

    /// Between two segments, entries behind the snapshot may be missing.
    fn note_missing(&mut self, header: &SegmentHeader, inner: &mut Inner) {
        let expected = self.end.entry.next().0.max(self.covers.0 + 1);
        if header.base_entry.0 > expected {
            self.lost.push(expected..header.base_entry.0);
            inner.gap = Some(0);
        }
        let jumps = !self.segments.is_empty() && header.base.0 != self.end.lsn.0 + 1;
        if jumps && !self.found.ignored.is_empty() {
            // A file that is not usable may be the one that is missing here.
            inner.gap = Some(0);
        }
        self.holes += usize::from(jumps || header.base_entry.0 > expected);
    }

    /// After a crash nothing tells whether a file that is not usable was the last segment, and what
    /// it held; unless it is missed in the middle, or was there and not in use before that boot.
    fn note_headless(&mut self, ident: &Ident, passed_over: u64) {
        let is_known = ident.clean || passed_over == ident.passed_over;
        if self.cut.is_none() && !is_known && self.found.headless.len() > self.holes {
            self.cut = Some(Cut { from: self.end.entry.next(), entries: None, messages: None });
        }
    }

    /// The last entry, and what is missing before it.
    fn settle_end(&mut self) {
        let covers = self.covers.0;
        self.lost.retain(|lost| lost.end > covers + 1);
        if self.reached > self.end.entry {
            // The keeper lets the segment with the last block be, so its absence is never meant.
            // A snapshot may have the state of these entries; their messages are gone all the same.
            self.lost.push(self.end.entry.next().0..self.reached.next().0);
            self.end.entry = self.reached;
        }
        if self.known.lsn >= self.end.lsn {
            self.end.lsn = self.known.lsn;
            self.end.hash = self.known.hash;
        }
    }

    fn finish(
        mut self,
        storage: Arc<dyn Storage>,
        options: LogOptions,
        snapshot: FoundSnapshot,
        ident: Ident,
        random: &mut dyn FnMut(&mut [u8]),
        lock: Box<dyn Send + Sync>,
    ) -> Result<(Recovery, Opened), LogError> {
        self.settle_end();
        let passed_over = headless::fingerprint(&self.found.headless);
        self.note_headless(&ident, passed_over);
        let mut nonce = [0; 8];
        random(&mut nonce);
        let counter = ident.epoch.counter + 1;
        let epoch = Epoch { counter, nonce: u64::from_le_bytes(nonce), ..ident.epoch };
        let SegmentEnd { lsn, entry, hash, .. } = self.end;
        let mut notes = self.found.ignored;
        notes.append(&mut self.found.notes);
        notes.extend(snapshot.unusable.iter().map(|(name, reason)| format!("{name}: {reason}")));
        let (spares, others): (Vec<_>, Vec<_>) =
            self.found.spares.into_iter().partition(|spare| spare.capacity == options.segment_bytes);
        others.iter().try_for_each(|spare| remove_if_there(&*storage, &segment_name(spare.number)))?;
        let noted_before = ident.cut.filter(|cut| cut.is_behind(entry)).map(OpenCut::cut);
        let cut = self.cut.or(noted_before);
        let open_cut = cut.as_ref().map(OpenCut::of);
        let mut opened = Opened {
            epoch,
            clean: ident.clean && self.lost.is_empty() && self.torn_bytes == 0 && cut.is_none(),
            snapshot: snapshot.snapshot,
            last: entry,
            torn_bytes: self.torn_bytes,
            cut,
            damaged: self.damaged,
            lost: self.lost.iter().map(|lost| (EntryNumber(lost.start), EntryNumber(lost.end))).collect(),
            notes,
        };
        let recovery = Recovery {
            storage,
            options,
            ident: Ident {
                epoch,
                clean: false,
                known: Known { lsn, entry, hash },
                cut: open_cut,
                passed_over,
                ..ident
            },
            end: self.end,
            segments: self.segments,
            spares,
            next_number: self.found.next_number,
            snapshot_covers: self.covers,
            covered: snapshot.covered,
            snapshot: snapshot.number,
            lock,
        };
        recovery.spare_replayed(&mut opened.lost)?;
        Ok((recovery, opened))
    }
}

/// What is left of half-open ranges without `numbers`, which are in order.
fn without(ranges: &[(EntryNumber, EntryNumber)], numbers: &[u64]) -> Vec<(EntryNumber, EntryNumber)> {
    let mut left = Vec::new();
    for (from, to) in ranges {
        let mut start = from.0;
        for number in numbers.iter().filter(|number| (from.0..to.0).contains(number)) {
            left.push((start, *number));
            start = number + 1;
        }
        left.push((start, to.0));
    }
    let whole = left.into_iter().filter(|(from, to)| from < to);
    whole.map(|(from, to)| (EntryNumber(from), EntryNumber(to))).collect()
}

pub(crate) fn replayed(entry: &Walked, block: &[u8]) -> Replayed {
    let body = block.get(entry.body.clone()).unwrap_or_default();
    match &entry.run {
        None => Replayed::State(Bytes::copy_from_slice(body)),
        Some(run) => Replayed::Run {
            group: run.group,
            stream: run.stream,
            first_index: run.first_index,
            arrived: run.arrived,
            link: run.link,
            header: run.header,
            body: match run.header.kind {
                RunKind::Data => Bytes::new(),
                RunKind::Mark | RunKind::Genesis | RunKind::Seal | RunKind::Loss => {
                    Bytes::copy_from_slice(body)
                }
            },
        },
    }
}
