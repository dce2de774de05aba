//! `IDENT`: which storage this is, how often it was booted, and up to where
//! the log was known to be whole.
//!
//! Written whole to a temporary file, synced, renamed, and the directory
//! synced: at each boot before anything else is written, and at a clean stop.
//! The same record stands at 0 and at 512, so that one bad sector is survived.
//! Where a full disk has no room for a second file, the two records are written
//! over and synced one after the other.
//!
//! Record, 128 bytes, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `TREECAST` |
//! | 8 | 4 | version of the log's format, 1 |
//! | 12 | 4 | 1 if the log was stopped cleanly |
//! | 16 | 16 | storage id |
//! | 32 | 8 | boot counter |
//! | 40 | 8 | nonce of this boot |
//! | 48 | 8 | lsn up to which everything was durable when this was written |
//! | 56 | 8 | number of the last entry up to there |
//! | 64 | 8 | hash of that block |
//! | 72 | 8 | secret, drawn once: nobody outside can foretell a segment epoch |
//! | 80 | 8 | first entry of a last block that was cut and behind which nothing stands yet; 0 for none |
//! | 88 | 8 | how many entries it had, and one more; 0 if that is not known |
//! | 96 | 8 | which segment files were passed over at this boot, as XXH3-64 of their names, one a line; 0 for none |
//! | 104 | 16 | reserved, 0 |
//! | 120 | 8 | XXH3-64 of bytes 0 to 120 |

use std::io::IoSlice;

use super::codec::{Input, NUMBER_MAX, Unusable, checked, seal};
use super::storage::{SECTOR_BYTES, Storage};
use super::{Cut, EntryNumber, LogError, file_error};
use crate::id::{Epoch, Lsn, StorageId};

/// The file's name.
pub(crate) const IDENT: &str = "IDENT";
const IDENT_TEMPORARY: &str = "IDENT.tmp";
const MAGIC: [u8; 8] = *b"TREECAST";
const VERSION: u32 = 1;
const RECORD_BYTES: usize = 128;

/// A place in the chain of blocks up to which everything is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) lsn: Lsn,
    pub(crate) entry: EntryNumber,
    pub(crate) hash: u64,
}

/// A last block that was cut, as long as nothing stands behind it that notes it:
/// its bytes are gone as soon as its segment is closed or is a spare again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenCut {
    pub(crate) from: EntryNumber,
    pub(crate) entries: Option<u64>,
}

impl OpenCut {
    pub(crate) fn of(cut: &Cut) -> Self {
        Self { from: cut.from, entries: cut.entries }
    }

    /// Whether the log still ends with `last`, where it was cut.
    pub(crate) fn is_behind(&self, last: EntryNumber) -> bool {
        self.from == last.next()
    }

    /// What can still be said of it.
    pub(crate) fn cut(self) -> Cut {
        Cut { from: self.from, entries: self.entries, messages: None }
    }

    fn encode(cut: Option<Self>) -> [u64; 2] {
        let entries = |cut: Self| cut.entries.map_or(0, |entries| entries.saturating_add(1));
        cut.map_or([0; 2], |cut| [cut.from.0, entries(cut)])
    }

    fn decode(from: u64, entries: u64) -> Option<Self> {
        (1..=NUMBER_MAX)
            .contains(&from)
            .then(|| Self { from: EntryNumber(from), entries: entries.checked_sub(1) })
    }
}

/// The content of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ident {
    pub(crate) epoch: Epoch,
    pub(crate) secret: u64,
    pub(crate) clean: bool,
    pub(crate) known: Known,
    pub(crate) cut: Option<OpenCut>,
    /// See [`super::headless`].
    pub(crate) passed_over: u64,
}

impl Ident {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(self.clean).to_le_bytes());
        out.extend_from_slice(&self.epoch.storage.0);
        let [cut_from, cut_entries] = OpenCut::encode(self.cut);
        for field in [
            self.epoch.counter,
            self.epoch.nonce,
            self.known.lsn.0,
            self.known.entry.0,
            self.known.hash,
            self.secret,
            cut_from,
            cut_entries,
            self.passed_over,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.resize(RECORD_BYTES - 8, 0);
        seal(&mut out, 0, 0);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let damaged = || Unusable::Format("its content is damaged".to_owned());
        if !bytes.starts_with(&MAGIC) {
            return Err(Unusable::Format("it does not begin like one of ours".to_owned()));
        }
        let covered = bytes.get(..RECORD_BYTES).and_then(|bytes| checked(bytes, 0)).ok_or_else(damaged)?;
        let mut input = Input(covered.get(8..).unwrap_or_default());
        let version = input.u32().ok_or_else(damaged)?;
        if version != VERSION {
            return Err(Unusable::Version { found: version, known: VERSION });
        }
        let mut fields = || {
            let clean = input.u32()? == 1;
            let storage = StorageId(input.array()?);
            let epoch = Epoch { storage, counter: input.number()?, nonce: input.u64()? };
            let known =
                Known { lsn: Lsn(input.number()?), entry: EntryNumber(input.number()?), hash: input.u64()? };
            let secret = input.u64()?;
            let cut = OpenCut::decode(input.u64()?, input.u64()?);
            Some(Self { epoch, secret, clean, known, cut, passed_over: input.u64()? })
        };
        fields().ok_or_else(damaged)
    }

    /// Reads the file; nothing if there is none.
    ///
    /// # Errors
    /// When neither copy is whole, or the version is not known.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Option<Self>, LogError> {
        let file = match storage.open(IDENT) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("open", IDENT, error)),
        };
        let copy = |position| {
            let mut bytes = [0; RECORD_BYTES];
            file.read_at(&mut bytes, position).map_err(|error| Unusable::Format(error.to_string()))?;
            Self::decode(&bytes)
        };
        match copy(0).or_else(|first| copy(SECTOR_BYTES as u64).map_err(|_| first)) {
            Ok(ident) => Ok(Some(ident)),
            Err(unusable) => Err(unusable.of(IDENT)),
        }
    }

    /// Makes this the durable content of the file.
    ///
    /// # Errors
    /// When the storage refuses; the content before stays.
    pub(crate) fn write(&self, storage: &dyn Storage) -> Result<(), LogError> {
        match self.replace(storage) {
            Err(error) if error.is_full() => self.overwrite(storage).map_err(|_| error),
            done => done,
        }
    }

    /// Writes over both copies, one after the other: a full disk has room for that.
    fn overwrite(&self, storage: &dyn Storage) -> Result<(), LogError> {
        remove_if_there(storage, IDENT_TEMPORARY)?;
        let file = storage.open(IDENT).map_err(|e| file_error("open", IDENT, e))?;
        for position in [0, SECTOR_BYTES as u64] {
            let written = file.write_at(&[IoSlice::new(&self.encode())], position);
            written.and_then(|()| file.sync()).map_err(|e| file_error("write", IDENT, e))?;
        }
        Ok(())
    }

    fn replace(&self, storage: &dyn Storage) -> Result<(), LogError> {
        remove_if_there(storage, IDENT_TEMPORARY)?;
        let file = storage.create(IDENT_TEMPORARY).map_err(|e| file_error("create", IDENT_TEMPORARY, e))?;
        let record = self.encode();
        let mut bytes = record.clone();
        bytes.resize(SECTOR_BYTES, 0);
        bytes.extend_from_slice(&record);
        let written = file.write_at(&[IoSlice::new(&bytes)], 0).and_then(|()| file.sync());
        written.map_err(|e| file_error("write", IDENT_TEMPORARY, e))?;
        storage.rename(IDENT_TEMPORARY, IDENT).map_err(|e| file_error("rename", IDENT_TEMPORARY, e))?;
        storage.sync_dir().map_err(|e| file_error("sync the directory of", IDENT, e))
    }
}

/// Removes a file that an interrupted run may have left behind.
pub(crate) fn remove_if_there(storage: &dyn Storage, name: &str) -> Result<(), LogError> {
    match storage.remove(name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("remove", name, error)),
    }
}
