//! Large writes go past the kernel's page cache (`O_DIRECT`).
//!
//! A write through the cache costs a copy into pages that must be found or made one by one, and
//! which somebody writes to the disk later: half of what a relay does with large messages. So the
//! whole pages of a large write are copied into one aligned buffer, a part at a time, and given to
//! the disk from there. What was just written is then not in the cache: whoever wants it is served
//! from memory ([`super::tail`]), and who is farther behind reads it from the disk.
//!
//! It is only a shorter way to the same place. Small writes, what is left of a page at the end, and
//! everything on a file system that does not take such writes go the ordinary way; the file's sync
//! makes both durable, and a read sees both, as the kernel drops cached pages that are written past.
//!
//! One file is written in large parts at a time, so there is one buffer and one descriptor. Costs
//! per MiB: one copy within the processor's cache, one `pwrite`; no allocation.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, TryLockError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::block::PAGE_BYTES;
use super::disk::retry;
use crate::limits;

/// A page, in memory.
const PAGE: usize = PAGE_BYTES as usize;

/// What writes of one directory go through.
#[derive(Debug, Default)]
pub(super) struct Direct {
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
struct Stage {
    /// Room for a part and for its alignment; nothing before it is needed.
    buffer: Vec<u8>,
    /// The file that was written last, opened once more.
    file: Option<(u64, OwnedFd)>,
    /// The file system takes no such writes.
    is_refused: bool,
}

impl Direct {
    /// Writes what is worth it of `parts`, from their beginning, to the file with this number.
    /// Says how many bytes that were; the others are to be written the ordinary way.
    ///
    /// # Errors
    /// When the disk refuses the write, as an ordinary one would be.
    pub(super) fn write(
        &self,
        (number, file): (u64, &OwnedFd),
        parts: &[io::IoSlice<'_>],
        position: u64,
    ) -> io::Result<usize> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes < limits::DIRECT_BYTES_MIN || !position.is_multiple_of(PAGE_BYTES) {
            return Ok(0);
        }
        // Whoever comes while another file is written does not wait for that.
        let mut stage = match self.stage.try_lock() {
            Ok(stage) => stage,
            Err(TryLockError::Poisoned(stage)) => stage.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(0),
        };
        if stage.is_refused || !stage.open(number, file) {
            return Ok(0);
        }
        let Stage { buffer, file, .. } = &mut *stage;
        let Some((_, file)) = file else { return Ok(0) };
        let pwrite = |pages: &[u8], position: u64| rustix::io::pwrite(&*file, pages, position);
        let written = write_pages(buffer, parts, position, pwrite);
        stage.settle(written)
    }
}

impl Stage {
    /// Opens a file once more, for such writes; false: that cannot be had here.
    fn open(&mut self, number: u64, file: &OwnedFd) -> bool {
        if self.file.as_ref().is_some_and(|(open, _)| *open == number) {
            return true;
        }
        match open_again(file) {
            Some(again) => self.file = Some((number, again)),
            None => self.is_refused = true,
        }
        !self.is_refused
    }

    /// What has become of a write: a file system may take the descriptor and not the write.
    fn settle(&mut self, written: rustix::io::Result<usize>) -> io::Result<usize> {
        if written == Err(Errno::INVAL) {
            self.is_refused = true;
            return Ok(0);
        }
        Ok(written?)
    }
}

/// The same file under another descriptor: its name may have changed since it was opened.
fn open_again(file: &OwnedFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let again = retry(|| rustix::fs::open(&path, flags, Mode::empty())).ok()?;
    let (one, other) = (rustix::fs::fstat(file).ok()?, rustix::fs::fstat(&again).ok()?);
    ((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)).then_some(again)
}

/// Writes the whole pages of `parts`; says how many bytes it wrote. Fewer than there are: the disk
/// took less than it was given, or what is left is less than a page.
///
/// # Errors
/// Of the first call that fails; `INVAL` only when nothing was written before.
fn write_pages(
    buffer: &mut Vec<u8>,
    parts: &[io::IoSlice<'_>],
    position: u64,
    mut pwrite: impl FnMut(&[u8], u64) -> rustix::io::Result<usize>,
) -> rustix::io::Result<usize> {
    buffer.resize(limits::DIRECT_BYTES + PAGE, 0);
    let begin = buffer.as_ptr().align_offset(PAGE);
    let Some(part) = buffer.get_mut(begin..begin + limits::DIRECT_BYTES) else { return Ok(0) };
    let (mut parts, mut first) = (parts.iter(), &[][..]);
    let mut written = 0;
    loop {
        let mut filled = 0;
        while filled < part.len() {
            if first.is_empty() {
                let Some(next) = parts.next() else { break };
                first = next;
                continue;
            }
            let count = first.len().min(part.len() - filled);
            let (now, later) = first.split_at(count);
            part[filled..filled + count].copy_from_slice(now);
            (filled, first) = (filled + count, later);
        }
        let pages = &part[..filled - filled % PAGE];
        if pages.is_empty() {
            return Ok(written);
        }
        match retry(|| pwrite(pages, position + written as u64)) {
            Ok(count) if count < pages.len() => return Ok(written + count),
            Ok(count) => written += count,
            Err(Errno::INVAL) if written > 0 => return Ok(written),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::super::disk::DiskStorage;
    use super::super::storage::Storage;
    use super::*;

    fn slices<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<io::IoSlice<'a>> {
        let mut rest = bytes;
        let mut slices = Vec::new();
        for cut in cuts {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            slices.push(io::IoSlice::new(now));
            rest = later;
        }
        slices.push(io::IoSlice::new(rest));
        slices
    }

    /// Bytes of which no two pages are the same.
    fn pattern(length: usize, seed: u64) -> Vec<u8> {
        let words = (0..length as u64 / 8 + 1).map(|i| (i ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn whole_pages_go_to_their_places_whatever_the_parts_are() {
        let length = 2 * limits::DIRECT_BYTES + 3 * PAGE + 77;
        let bytes = pattern(length, 1);
        for cuts in [&[][..], &[0, 1, 4095, 4096, 5000], &[limits::DIRECT_BYTES - 1, 2, 0, 0], &[PAGE; 40]] {
            let (mut file, mut calls) = (vec![0; length], 0);
            let written = write_pages(&mut Vec::new(), &slices(&bytes, cuts), 8192, |pages, position| {
                assert!(pages.as_ptr().align_offset(PAGE) == 0 && pages.len().is_multiple_of(PAGE));
                let at = position as usize - 8192;
                file[at..at + pages.len()].copy_from_slice(pages);
                calls += 1;
                Ok(pages.len())
            });
            assert_eq!((written, calls), (Ok(length - 77), 3));
            assert!(file[..length - 77] == bytes[..length - 77]);
        }
    }

    #[test]
    fn f17_a_disk_that_takes_less_is_told_of_and_one_that_fails_is_an_error() {
        let bytes = pattern(2 * limits::DIRECT_BYTES, 2);
        let whole = [io::IoSlice::new(&bytes)];
        let run = |answers: Vec<rustix::io::Result<usize>>| {
            let mut answers = answers.into_iter();
            write_pages(&mut Vec::new(), &whole, 0, |_, _| answers.next().unwrap())
        };
        let all = limits::DIRECT_BYTES;
        assert_eq!(run(vec![Err(Errno::INTR), Ok(all), Ok(512)]), Ok(all + 512));
        assert_eq!(run(vec![Ok(0)]), Ok(0));
        assert_eq!(run(vec![Ok(all), Err(Errno::NOSPC)]), Err(Errno::NOSPC));
        assert_eq!(run(vec![Err(Errno::INVAL)]), Err(Errno::INVAL));
        assert_eq!(run(vec![Ok(all), Err(Errno::INVAL)]), Ok(all));
    }

    /// Whether this file system takes such writes at all.
    fn is_taken(directory: &std::path::Path) -> bool {
        let file = std::fs::File::create(directory.join("probe")).unwrap();
        open_again(&OwnedFd::from(file)).is_some()
    }

    #[test]
    fn a_large_write_goes_past_the_cache_and_a_small_or_crooked_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        if !is_taken(directory.path()) {
            eprintln!("SKIPPED: this file system takes no writes past its cache");
            return;
        }
        let open = |name: &str| {
            let path = directory.path().join(name);
            let options = std::fs::File::options().read(true).write(true).create_new(true).open(path);
            OwnedFd::from(options.unwrap())
        };
        let (one, other) = (open("one"), open("other"));
        let bytes = pattern(limits::DIRECT_BYTES_MIN + 5, 3);
        let (large, small) = ([io::IoSlice::new(&bytes)], [io::IoSlice::new(&bytes[6..])]);
        let direct = Direct::default();
        let pages = limits::DIRECT_BYTES_MIN;
        assert_eq!(direct.write((1, &one), &large, PAGE_BYTES).unwrap(), pages);
        assert_eq!(direct.write((1, &one), &large, 1).unwrap(), 0);
        assert_eq!(direct.write((1, &one), &small, 0).unwrap(), 0);
        assert_eq!(direct.write((2, &other), &large, 0).unwrap(), pages);
        assert_eq!(direct.write((1, &one), &large, 3 * PAGE_BYTES).unwrap(), pages);
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        assert!(std::fs::read(one).unwrap()[3 * PAGE..] == bytes[..pages]);
        assert!(std::fs::read(other).unwrap() == bytes[..pages]);
        let busy = direct.stage.lock().unwrap();
        assert_eq!(direct.write((1, &open("third")), &large, 0).unwrap(), 0, "another file is being written");
        drop(busy);
    }

    #[test]
    fn a_file_system_that_refuses_such_writes_is_written_the_ordinary_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        // A directory can be opened by nobody to be written.
        let refusing = OwnedFd::from(std::fs::File::open(directory.path()).unwrap());
        let direct = Direct::default();
        let bytes = pattern(limits::DIRECT_BYTES_MIN, 4);
        assert_eq!(direct.write((1, &refusing), &[io::IoSlice::new(&bytes)], 0).unwrap(), 0);
        assert!(direct.stage.lock().unwrap().is_refused);
        let file = OwnedFd::from(std::fs::File::create(path).unwrap());
        assert_eq!(direct.write((2, &file), &[io::IoSlice::new(&bytes)], 0).unwrap(), 0);
        let mut stage = Stage::default();
        assert_eq!(stage.settle(Err(Errno::NOSPC)).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((stage.settle(Ok(PAGE)).unwrap(), stage.is_refused), (PAGE, false));
        assert_eq!((stage.settle(Err(Errno::INVAL)).unwrap(), stage.is_refused), (0, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Large and small writes to one file, in any order and over one another: what is read is
        /// what was written last.
        #[test]
        fn large_and_small_writes_to_one_file_are_read_as_written(
            writes in proptest::collection::vec(
                (0..1u64 << 20, any::<bool>(), prop_oneof![1..9_000usize, 900_000..2_300_000usize]), 1..8),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let storage = DiskStorage::open(directory.path()).unwrap();
            let file = storage.create("x").unwrap();
            let mut model = Vec::new();
            for (turn, (at, is_aligned, length)) in writes.into_iter().enumerate() {
                let at = if is_aligned { at - at % PAGE_BYTES } else { at } as usize;
                let bytes = pattern(length, turn as u64 + 7);
                file.write_at(&slices(&bytes, &[length / 3, 10]), at as u64).unwrap();
                model.resize(model.len().max(at + length), 0);
                model[at..at + length].copy_from_slice(&bytes);
                let mut back = vec![1; length];
                file.read_at(&mut back, at as u64).unwrap();
                prop_assert!(back == bytes);
            }
            file.sync().unwrap();
            let mut back = vec![1; model.len()];
            file.read_at(&mut back, 0).unwrap();
            prop_assert!(back == model);
        }
    }

    /// A reader close behind makes the kernel read ahead of what is being written.
    #[test]
    fn a_reader_close_behind_sees_what_was_written_and_never_what_stood_there_before() {
        const BLOCK: usize = limits::DIRECT_BYTES_MIN + PAGE;
        const BLOCKS: u64 = 12;
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        let file = storage.create("x").unwrap();
        file.write_at(&[io::IoSlice::new(&vec![0xee; BLOCK * BLOCKS as usize])], 0).unwrap();
        file.sync().unwrap();
        let (reading, done) = (Arc::clone(&file), Arc::new(AtomicBool::new(false)));
        let is_done = Arc::clone(&done);
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 3 * PAGE];
            let mut at = 0;
            while !is_done.load(Ordering::Relaxed) {
                at = (at + 2 * PAGE as u64) % (BLOCK as u64 * BLOCKS - 3 * PAGE_BYTES);
                reading.read_at(&mut buffer, at).unwrap();
            }
        });
        for round in 0..4 {
            for block in 0..BLOCKS {
                let bytes = pattern(BLOCK, round * BLOCKS + block);
                file.write_at(&[io::IoSlice::new(&bytes)], block * BLOCK as u64).unwrap();
                file.sync().unwrap();
                let mut back = vec![0; BLOCK];
                file.read_at(&mut back, block * BLOCK as u64).unwrap();
                assert!(back == bytes, "round {round}, block {block}");
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    }
}
