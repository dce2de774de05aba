//! Snapshots: the relay's own state as of an entry, so that a restart replays
//! only what came later.
//!
//! A snapshot is written to a temporary file, synced, renamed to
//! `snapshot-<number>.tcs`, and the directory synced; it waits until every
//! entry that it includes is durable. Two are kept: if the newer one turns out
//! damaged, the older one is used, and for that no segment is recycled whose
//! entries the older one does not include. What is released is in snapshots only: none is recycled either of which
//! the newer one does not know that it is released (see [`super::released`]). While room is short only the newer
//! one is kept, once it was read back.
//!
//! Which two these are is not taken from names: a file with a higher number may
//! be damaged, or another storage's. Only what was read or written since the
//! start counts. Files with higher numbers, and those of other storages, are
//! left alone.
//!
//! File, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TCSN` |
//! | 4 | 4 | version, 1 |
//! | 8 | 16 | storage id |
//! | 24 | 4 | count of parts |
//! | 28 | 4 | reserved, 0 |
//! | 32 | 24 × n | per part: number of the last entry in it 8, length 8, XXH3-64 8 |
//! | … | 8 | XXH3-64 of everything before |
//! | … | … | the parts |

use std::io::IoSlice;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{Input, Unusable, checked, seal};
use super::ident::remove_if_there;
use super::shared::Shared;
use super::storage::{Storage, StorageFile};
use super::{EntryNumber, LogError, LogEvent, Snapshot, SnapshotBegun, file_error};
use crate::id::StorageId;

const MAGIC: [u8; 4] = *b"TCSN";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 32;
const PART_BYTES: usize = 24;
pub(crate) const TEMPORARY: &str = "snapshot.tmp";
/// Snapshots kept: the one in force and the one before.
const KEPT: usize = 2;

/// The number up to which a snapshot includes everything.
pub(crate) fn covers(snapshot: &Snapshot) -> EntryNumber {
    snapshot.shards.iter().map(|(number, _)| *number).min().unwrap_or_default()
}

/// The last entry of which a snapshot includes anything.
pub(crate) fn reaches(snapshot: &Snapshot) -> EntryNumber {
    snapshot.shards.iter().map(|(number, _)| *number).max().unwrap_or_default()
}

fn name(covers: EntryNumber) -> String {
    format!("snapshot-{:016x}.tcs", covers.0)
}

fn number(name: &str) -> Option<u64> {
    let hex = name.strip_prefix("snapshot-")?.strip_suffix(".tcs")?;
    (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok()).flatten()
}

/// The names of all snapshots, the newest first.
fn list(storage: &dyn Storage) -> Result<Vec<String>, LogError> {
    let names = storage.list().map_err(|error| file_error("list", "the data directory", error))?;
    let mut found: Vec<_> = names.into_iter().filter(|name| number(name).is_some()).collect();
    found.sort_unstable_by_key(|name| std::cmp::Reverse(number(name)));
    Ok(found)
}

fn encode_head(id: StorageId, snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED_BYTES + snapshot.shards.len() * PART_BYTES + 8);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&id.0);
    let count = u32::try_from(snapshot.shards.len()).expect("a state is cut into few parts");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for (entry, bytes) in &snapshot.shards {
        for field in [entry.0, bytes.len() as u64, xxh3_64(bytes)] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    seal(&mut out, 0, 0);
    out
}

/// Makes `snapshot` durable; see [`super::Log::snapshot`].
///
/// # Errors
/// When it cannot be written; the one before stays in force then.
pub(crate) fn write(shared: &Shared, begun: SnapshotBegun, snapshot: &Snapshot) -> Result<(), LogError> {
    let needed = reaches(snapshot);
    if shared.durable.get() < needed {
        shared.queue.hurry();
        if !shared.wait_durable(needed) {
            return Err(shared.stopped());
        }
    }
    if shared.is_poisoned() {
        return Err(shared.stopped());
    }
    let mut kept = shared.snapshotting();
    let storage = &*shared.storage;
    let head = encode_head(shared.epoch.storage, snapshot);
    let newest = covers(snapshot);
    let name = name(newest);
    let write = || {
        write_file(storage, &head, snapshot)?;
        storage.rename(TEMPORARY, &name).map_err(|error| file_error("rename", TEMPORARY, error))?;
        storage.sync_dir().map_err(|error| file_error("sync the directory of", &name, error))
    };
    let mut written = write();
    if written.as_ref().is_err_and(LogError::is_full) && shared.keeper.give_up_spare(storage) {
        written = write();
    }
    if let Err(error) = written {
        let _ = remove_if_there(storage, TEMPORARY);
        return Err(error);
    }
    shared.released.end(begun, true);
    // What only the older one needs would never be freed: a full disk does not
    // get another snapshot without a change.
    let only_newest = !shared.keeper.has_room() && is_readable(shared, &name);
    kept.retain(|number| *number < newest);
    kept.push(newest);
    let excess = kept.len().saturating_sub(if only_newest { 1 } else { KEPT });
    kept.drain(..excess);
    remove_old(storage, shared.epoch.storage, &kept)?;
    shared.covered.set(kept.first().copied().unwrap_or(newest));
    shared.keeper.wake();
    Ok(())
}

fn write_file(storage: &dyn Storage, head: &[u8], snapshot: &Snapshot) -> Result<(), LogError> {
    remove_if_there(storage, TEMPORARY)?;
    let file = storage.create(TEMPORARY).map_err(|error| file_error("create", TEMPORARY, error))?;
    let parts = snapshot.shards.iter().map(|(_, bytes)| IoSlice::new(bytes));
    let pieces: Vec<_> = std::iter::once(IoSlice::new(head)).chain(parts).collect();
    let written = file.write_at(&pieces, 0).and_then(|()| file.sync());
    written.map_err(|error| file_error("write", TEMPORARY, error))
}

/// Reads all snapshots and tells of those that cannot be used any more.
/// `pace` is told how many bytes each has.
pub(crate) fn check_all(shared: &Shared, pace: &mut dyn FnMut(u64)) {
    for name in list(&*shared.storage).unwrap_or_default() {
        let file = match shared.storage.open(&name) {
            Ok(file) => file,
            // A newer one has taken its place in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                shared.tell(LogEvent::SnapshotDamaged(file_error("open", &name, error)));
                continue;
            }
        };
        if let Err(unusable) = read_file(&*file, shared.epoch.storage) {
            shared.snapshotting().retain(|kept| Some(kept.0) != number(&name));
            shared.tell(LogEvent::SnapshotDamaged(unusable.of(&name)));
        }
        pace(file.len().unwrap_or(0));
    }
}

fn is_readable(shared: &Shared, name: &str) -> bool {
    shared.storage.open(name).is_ok_and(|file| read_file(&*file, shared.epoch.storage).is_ok())
}

/// Removes the snapshots that were overtaken by `kept`, the newest last.
fn remove_old(storage: &dyn Storage, id: StorageId, kept: &[EntryNumber]) -> Result<(), LogError> {
    let newest = kept.last().copied().unwrap_or_default().0;
    let is_kept = |number: u64| number > newest || kept.contains(&EntryNumber(number));
    for old in list(storage)?.iter().filter(|name| !number(name).is_none_or(is_kept)) {
        if !is_of_another(storage, id, old) {
            storage.remove(old).map_err(|error| file_error("remove", old, error))?;
        }
    }
    Ok(())
}

/// Whether a file begins like a snapshot of another storage.
pub(crate) fn is_of_another(storage: &dyn Storage, id: StorageId, name: &str) -> bool {
    let mut fixed = [0; FIXED_BYTES];
    let is_read = storage.open(name).and_then(|file| file.read_at(&mut fixed, 0)).is_ok();
    is_read && fixed.starts_with(&MAGIC) && fixed.get(8..24) != Some(id.0.as_slice())
}

/// A snapshot as found on disk.
pub(crate) struct FoundSnapshot {
    pub(crate) snapshot: Snapshot,
    /// What every snapshot that is kept includes.
    pub(crate) covered: EntryNumber,
    /// The number in the name of this one; nothing if there is none.
    pub(crate) number: Option<EntryNumber>,
    /// Names of snapshots that are not usable, with the reason.
    pub(crate) unusable: Vec<(String, String)>,
}

/// Reads the newest snapshot that is whole and accepted by `fits`.
///
/// # Errors
/// When the storage refuses, there are snapshots and none is usable, or one is
/// of another version: what it says was newer, so an older one is no substitute.
pub(crate) fn read_newest(
    storage: &dyn Storage,
    id: StorageId,
    fits: &dyn Fn(&Snapshot) -> Result<(), String>,
) -> Result<FoundSnapshot, LogError> {
    let names = list(storage)?;
    let oldest = names.last().and_then(|name| number(name)).unwrap_or(0);
    let mut found = FoundSnapshot {
        snapshot: Snapshot::default(),
        covered: EntryNumber(oldest),
        number: None,
        unusable: Vec::new(),
    };
    for name in names {
        let file = storage.open(&name).map_err(|error| file_error("open", &name, error))?;
        let read = read_file(&*file, id)
            .and_then(|snapshot| fits(&snapshot).map(|()| snapshot).map_err(Unusable::Format));
        match read {
            Ok(snapshot) => {
                (found.snapshot, found.number) = (snapshot, number(&name).map(EntryNumber));
                return Ok(found);
            }
            Err(Unusable::Format(reason)) => found.unusable.push((name, reason)),
            Err(version @ Unusable::Version { .. }) => return Err(version.of(&name)),
        }
    }
    let without = fits(&Snapshot::default());
    match (found.unusable.first().cloned(), without) {
        (None, Ok(())) => Ok(found),
        (None, Err(reason)) => Err(LogError::Format { file: "the newest snapshot".to_owned(), reason }),
        (Some((file, reason)), _) => Err(LogError::Format { file, reason }),
    }
}

fn read_file(file: &dyn StorageFile, id: StorageId) -> Result<Snapshot, Unusable> {
    let text = |error: std::io::Error| Unusable::Format(error.to_string());
    let length = file.len().map_err(text)?;
    let mut fixed = [0; FIXED_BYTES];
    file.read_at(&mut fixed, 0).map_err(text)?;
    let (version, count) = check_fixed(&fixed, id)?;
    let covered = read_head(file, length, count)?;
    // The hash says that the version is no damage.
    if version != VERSION {
        return Err(Unusable::Version { found: version, known: VERSION });
    }
    read_parts(file, length, &covered).map_err(Unusable::Format)
}

/// The head of a snapshot, hash-checked, without the hash.
fn read_head(file: &dyn StorageFile, length: u64, count: u32) -> Result<Vec<u8>, Unusable> {
    let head_bytes = FIXED_BYTES as u64 + u64::from(count) * PART_BYTES as u64 + 8;
    if head_bytes > length {
        let reason = format!("it has {length} bytes; its head alone needs {head_bytes}");
        return Err(Unusable::Format(reason));
    }
    let mut head = vec![0; usize::try_from(head_bytes).unwrap_or(usize::MAX)];
    file.read_at(&mut head, 0).map_err(|error| Unusable::Format(error.to_string()))?;
    let damaged = || Unusable::Format("its head is damaged".to_owned());
    checked(&head, 0).map(<[u8]>::to_vec).ok_or_else(damaged)
}

fn read_parts(file: &dyn StorageFile, length: u64, covered: &[u8]) -> Result<Snapshot, String> {
    let text = |error: std::io::Error| error.to_string();
    let (parts, _) = covered.get(FIXED_BYTES..).unwrap_or_default().as_chunks::<PART_BYTES>();
    let mut position = covered.len() as u64 + 8;
    let mut snapshot = Snapshot::default();
    for part in parts {
        let mut input = Input(part);
        let (entry, bytes, hash) =
            part_fields(&mut input).ok_or("a part ends with an entry that no log has")?;
        if position.checked_add(bytes).is_none_or(|end| end > length) {
            return Err(format!("it ends after {length} bytes, inside a part"));
        }
        let mut body = vec![0; usize::try_from(bytes).map_err(|error| error.to_string())?];
        file.read_at(&mut body, position).map_err(text)?;
        if xxh3_64(&body) != hash {
            return Err("a part is damaged".to_owned());
        }
        position += bytes;
        snapshot.shards.push((EntryNumber(entry), Bytes::from(body)));
    }
    Ok(snapshot)
}

fn part_fields(input: &mut Input<'_>) -> Option<(u64, u64, u64)> {
    Some((input.number()?, input.u64()?, input.u64()?))
}

/// The version and the count of parts; not known to be undamaged yet.
fn check_fixed(fixed: &[u8], id: StorageId) -> Result<(u32, u32), Unusable> {
    let mut input = Input(fixed);
    if input.array::<4>() != Some(MAGIC) {
        return Err(Unusable::Format("it does not begin like a snapshot".to_owned()));
    }
    let too_short = || Unusable::Format("it is too short".to_owned());
    let version = input.u32().ok_or_else(too_short)?;
    let found = input.array().map(StorageId).ok_or_else(too_short)?;
    if found != id {
        return Err(Unusable::Format(format!("it belongs to storage {found}, not {id}")));
    }
    Ok((version, input.u32().ok_or_else(too_short)?))
}
