//! Tests of the engine as a whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::conformance::{conformance, test_run};
use super::storage::{Storage, StorageFile};
use super::*;

/// A directory that forgets nothing.
#[derive(Default)]
struct Simple {
    files: Mutex<BTreeMap<String, Arc<Mutex<Vec<u8>>>>>,
}

struct SimpleFile(Arc<Mutex<Vec<u8>>>);

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Storage for Simple {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let content = Arc::new(Mutex::new(Vec::new()));
        self.files.lock().unwrap().insert(name.to_owned(), Arc::clone(&content));
        Ok(Arc::new(SimpleFile(content)))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let files = self.files.lock().unwrap();
        Ok(Arc::new(SimpleFile(Arc::clone(files.get(name).ok_or_else(not_found)?))))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let content = files.remove(from).ok_or_else(not_found)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().unwrap().remove(name).map(|_| ()).ok_or_else(not_found)
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _holder: &str) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
    fn holder(&self) -> Option<String> {
        None
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

impl StorageFile for SimpleFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        let content = self.0.lock().unwrap();
        let start = usize::try_from(position).unwrap();
        let end = start + buf.len();
        buf.copy_from_slice(content.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let mut start = usize::try_from(position).unwrap();
        for part in parts {
            let end = start + part.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(part);
            start = end;
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 * 1024, reserve_bytes: 0, tail_bytes: 1024 }
}

fn open(storage: &Arc<Simple>) -> (DiskLog, Opened, Vec<(EntryNumber, Replayed)>) {
    let mut replayed = Vec::new();
    let storage = Arc::clone(storage) as Arc<dyn Storage>;
    let (log, opened) =
        DiskLog::open(storage, options(), Box::new(|_| ()), &mut |n, entry| replayed.push((n, entry)))
            .unwrap();
    (log, opened, replayed)
}

fn read_all(log: &dyn Log, group: u32, from: u64) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut at = Index(from);
    loop {
        let pieces = log.read(GroupNumber(group), at, 5000).unwrap();
        let Some(last) = pieces.last() else { return all };
        at = match last {
            Piece::Run(run) => run.end_index(),
            Piece::Missing { to, .. } => *to,
        };
        all.extend(pieces);
    }
}

#[test]
fn what_was_appended_is_read_back_after_a_restart_and_after_a_crash() {
    let storage = Arc::new(Simple::default());
    let (mut log, _, _) = open(&storage);
    let mut expected = Vec::new();
    let mut number = 0;
    let mut next = BTreeMap::new();
    for round in 0..6 {
        for at in 0..50_u32 {
            let group = 1 + at % 3;
            let first = next.entry(group).or_insert(1);
            let entry = test_run(group, *first, 2, 300);
            *first += 2;
            expected.push(entry.clone());
            let state = Entry::State(Bytes::from(format!("state {number}")));
            let last = log.append(vec![Entry::Run(entry), state], Urgency::Sync).unwrap();
            number += 2;
            assert_eq!(last, EntryNumber(number));
        }
        assert!(log.wait_durable(EntryNumber(number)));
        for group in 1..4 {
            let wanted: Vec<_> =
                expected.iter().filter(|e| e.group.0 == group).map(|e| Piece::Run(e.stored())).collect();
            assert!(read_all(&log, group, 1) == wanted, "round {round} group {group}");
        }
        if round % 2 == 0 {
            log.stop().unwrap();
        }
        drop(log);
        let (again, opened, replayed) = open(&storage);
        assert_eq!(opened.last, EntryNumber(number));
        assert_eq!(opened.clean, round % 2 == 0);
        assert_eq!(opened.torn_bytes, 0);
        assert!(opened.damaged.is_empty() && opened.lost.is_empty() && opened.notes.is_empty(), "{opened:?}");
        let numbers: Vec<_> = replayed.iter().map(|(n, _)| n.0).collect();
        assert_eq!(numbers, (1..=number).collect::<Vec<_>>());
        log = again;
    }
}

#[test]
fn the_log_in_memory_conforms() {
    conformance(&mut |on_event| Box::new(MemoryLog::new(on_event)));
}

#[test]
fn the_engine_conforms() {
    conformance(&mut |on_event| {
        let (log, _) =
            DiskLog::open(Arc::new(Simple::default()), options(), on_event, &mut |_, _| ()).unwrap();
        Box::new(log)
    });
}
