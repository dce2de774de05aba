//! A directory in memory: it knows what a power cut may leave behind, and does
//! wrong what it is told to do wrong.
//!
//! The model is the contract of [`super::storage`] and no more: every sector
//! of 512 bytes that was written and not synced is there after a power cut or
//! not, each by itself; so is every name that was made, renamed or removed and
//! whose directory was not synced. A sync that failed leaves pages that look
//! written and never will be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::{SECTOR_BYTES, Storage, StorageFile};

/// A small generator of numbers, the same ones for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }
}

#[derive(Clone, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Node {
    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
    }

    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.now.len()).min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.now[start..end]);
        }
    }
}

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next sync fails; what was written stays visible and is lost at a power cut.
    Sync,
    /// The next write fails.
    Write,
    /// The next write is acknowledged and dropped.
    LoseWrite,
    /// The next write goes this many bytes further.
    Misdirect(u64),
}

#[derive(Clone, Default)]
struct Inner {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    names_durable: BTreeMap<String, usize>,
    ops: u64,
    cut_at: Option<u64>,
    fault: Option<Fault>,
    /// Positions whose reading fails.
    unreadable: Option<(usize, std::ops::Range<u64>)>,
    room: Option<u64>,
    /// Space can be taken for a file without writing it.
    allocates: bool,
    locked: bool,
}

impl Inner {
    /// Counts an operation that changes something; an error once the power is cut.
    fn op(&mut self) -> io::Result<bool> {
        self.ops += 1;
        match self.cut_at {
            Some(cut) if self.ops > cut => Err(io::Error::other("the power is cut")),
            cut => Ok(cut == Some(self.ops)),
        }
    }

    fn node(&mut self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|node| self.nodes[*node].now.len() as u64).sum()
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A position or length in memory.
fn narrow(number: u64) -> usize {
    usize::try_from(number).expect("files in memory are small")
}

fn cut() -> io::Error {
    io::Error::other("the power is cut")
}

/// The directory. Clones are handles of the same one.
#[derive(Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<Inner>>);

struct MemoryFile(Arc<Mutex<Inner>>, usize);

struct MemoryLock(Arc<Mutex<Inner>>);

impl Drop for MemoryLock {
    fn drop(&mut self) {
        lock(&self.0).locked = false;
    }
}

impl MemoryStorage {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.0)
    }

    /// The directory as a log takes it.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// Operations so far that changed something.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.inner().ops
    }

    /// From the operation after the next `ops` on, everything fails.
    pub fn cut_after(&self, ops: u64) {
        let mut inner = self.inner();
        inner.cut_at = Some(inner.ops + ops);
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let inner = self.inner();
        inner.cut_at.is_some_and(|cut| inner.ops >= cut)
    }

    /// Has something go wrong with the next operation of its kind.
    pub fn fault(&self, fault: Fault) {
        self.inner().fault = Some(fault);
    }

    /// Bytes that all files together may have; `None` for no bound.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.inner().room = bytes;
    }

    /// Whether space can be taken for a file without writing it, as some file systems can.
    pub fn set_allocates(&self, allocates: bool) {
        self.inner().allocates = allocates;
    }

    /// Has every read of a part of a file fail.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn set_unreadable(&self, name: &str, range: std::ops::Range<u64>) -> io::Result<()> {
        let mut inner = self.inner();
        let node = inner.node(name)?;
        inner.unreadable = Some((node, range));
        Ok(())
    }

    /// A copy that shares nothing, as the processes see it now.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut inner = self.inner().clone();
        (inner.locked, inner.cut_at, inner.fault) = (false, None, None);
        Self(Arc::new(Mutex::new(inner)))
    }

    /// What may be left after a power cut now: every sector that was not
    /// synced is there or not, and so is every name.
    #[must_use]
    pub fn crash(&self, random: &mut Random) -> Self {
        let mode = random.below(4);
        self.left(&mut |_| match mode {
            0 => false,
            1 => true,
            _ => random.below(2) == 0,
        })
    }

    /// The sectors that were written and not synced, by file and number, in order.
    #[must_use]
    pub fn unsynced(&self) -> Vec<(String, usize)> {
        let inner = self.inner();
        let of_file = |(name, node): (&String, &usize)| {
            let sectors = inner.nodes[*node].dirty.iter();
            sectors.map(|sector| (name.clone(), *sector)).collect::<Vec<_>>()
        };
        inner.names.iter().flat_map(of_file).collect()
    }

    /// What is left after a power cut now when of all that was not synced just
    /// these sectors are there.
    #[must_use]
    pub fn crash_with(&self, sectors: &[(String, usize)]) -> Self {
        let nodes = self.inner().names.clone();
        let places: Vec<_> =
            sectors.iter().filter_map(|(name, sector)| Some((*nodes.get(name)?, *sector))).collect();
        self.left(&mut |place| place.is_some_and(|place| places.contains(&place)))
    }

    /// What is left after a power cut now: `is_there` is asked for every sector
    /// that was not synced, by the number of its file and its own, and without
    /// one for every length and every name.
    fn left(&self, is_there: &mut dyn FnMut(Option<(usize, usize)>) -> bool) -> Self {
        let mut inner = self.inner().clone();
        for (number, node) in inner.nodes.iter_mut().enumerate() {
            if node.durable.len() != node.now.len() && is_there(None) {
                node.durable.resize(node.now.len(), 0);
            }
            for sector in std::mem::take(&mut node.dirty) {
                if is_there(Some((number, sector))) {
                    node.persist(sector);
                }
            }
            node.now = node.durable.clone();
        }
        let changed: BTreeSet<_> = inner.names.keys().chain(inner.names_durable.keys()).cloned().collect();
        for name in changed {
            let to = if is_there(None) { inner.names.get(&name) } else { inner.names_durable.get(&name) };
            match to.copied() {
                Some(node) => inner.names_durable.insert(name, node),
                None => inner.names_durable.remove(&name),
            };
        }
        inner.names = inner.names_durable.clone();
        (inner.locked, inner.cut_at, inner.fault, inner.ops) = (false, None, None, 0);
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The names of all files, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    /// What a file holds.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn content(&self, name: &str) -> Vec<u8> {
        let mut inner = self.inner();
        let node = inner.node(name).expect("the file is there");
        inner.nodes[node].now.clone()
    }

    /// Puts a file there, durably.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        let mut inner = self.inner();
        let node = inner.nodes.len();
        inner.nodes.push(Node { now: content.clone(), durable: content, dirty: BTreeSet::new() });
        inner.names.insert(name.to_owned(), node);
        inner.names_durable.insert(name.to_owned(), node);
    }

    /// Removes a file, durably.
    pub fn delete(&self, name: &str) {
        let mut inner = self.inner();
        inner.names.remove(name);
        inner.names_durable.remove(name);
    }

    /// Turns one bit of a file over.
    ///
    /// # Panics
    /// When there is no such file or bit.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut content = self.content(name);
        content[bit / 8] ^= 1 << (bit % 8);
        self.put(name, content);
    }
}

impl Storage for MemoryStorage {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut inner = self.inner();
        if inner.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        inner.op()?;
        let node = inner.nodes.len();
        inner.nodes.push(Node::default());
        inner.names.insert(name.to_owned(), node);
        Ok(Arc::new(MemoryFile(Arc::clone(&self.0), node)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let node = self.inner().node(name)?;
        Ok(Arc::new(MemoryFile(Arc::clone(&self.0), node)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let node = inner.node(from)?;
        inner.op()?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.node(name)?;
        inner.op()?;
        inner.names.remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.op()? {
            return Err(cut());
        }
        inner.names_durable = inner.names.clone();
        Ok(())
    }

    fn lock(&self, _holder: &str) -> io::Result<Box<dyn Send + Sync>> {
        if std::mem::replace(&mut self.inner().locked, true) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock(Arc::clone(&self.0))))
    }

    fn holder(&self) -> Option<String> {
        Some("4711".to_owned())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner();
        Ok(inner.room.map_or(1 << 40, |room| room.saturating_sub(inner.used())))
    }
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        let inner = lock(&self.0);
        let end = position + buf.len() as u64;
        if let Some((node, range)) = &inner.unreadable
            && *node == self.1
            && position < range.end
            && end > range.start
        {
            return Err(io::Error::other("bad sector"));
        }
        let content = &inner.nodes[self.1].now;
        let range = narrow(position)..narrow(end);
        buf.copy_from_slice(content.get(range).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut inner = lock(&self.0);
        let is_last = inner.op()?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut start = narrow(position);
        match inner.fault {
            Some(Fault::Write) => {
                inner.fault = None;
                return Err(io::Error::other("write fault"));
            }
            Some(Fault::LoseWrite) => {
                inner.fault = None;
                return Ok(());
            }
            Some(Fault::Misdirect(by)) => {
                inner.fault = None;
                start += narrow(by);
            }
            Some(Fault::Sync) | None => {}
        }
        let end = start + bytes.len();
        let grown = end.saturating_sub(inner.nodes[self.1].now.len()) as u64;
        if inner.room.is_some_and(|room| inner.used() + grown > room) && grown > 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let node = &mut inner.nodes[self.1];
        if node.now.len() < end {
            node.now.resize(end, 0);
        }
        node.now[start..end].copy_from_slice(&bytes);
        node.dirty.extend(start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
        if is_last { Err(cut()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = lock(&self.0);
        if inner.op()? {
            return Err(cut());
        }
        if inner.fault == Some(Fault::Sync) {
            inner.fault = None;
            // The system takes the pages for clean: a later sync does not write them.
            inner.nodes[self.1].dirty.clear();
            return Err(io::Error::other("sync fault"));
        }
        inner.nodes[self.1].sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).nodes[self.1].now.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = lock(&self.0);
        inner.op()?;
        inner.nodes[self.1].now.resize(narrow(length), 0);
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        let mut inner = lock(&self.0);
        if !inner.allocates {
            return Ok(false);
        }
        let is_last = inner.op()?;
        let grown = length.saturating_sub(inner.nodes[self.1].now.len() as u64);
        if inner.room.is_some_and(|room| inner.used() + grown > room) {
            return Err(ErrorKind::StorageFull.into());
        }
        inner.nodes[self.1].now.resize(narrow(length), 0);
        if is_last { Err(cut()) } else { Ok(true) }
    }
}
