//! A real directory as [`Storage`].
//!
//! Every operation is relative to the directory's descriptor, so a renamed or
//! replaced path does not lead elsewhere. Files are readable by their owner only.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Advice, AtFlags, Dir, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::direct::Direct;
use super::storage::{Storage, StorageFile};

/// The file whose lock is the directory's lock, and which says who holds it.
const LOCK_FILE: &str = "LOCK";

/// More than any disk has, and far from the end of the numbers.
const UNKNOWN_BYTES: u64 = 1 << 60;

/// Parts of one vectored write: Linux takes at most 1,024.
const PARTS_MAX: usize = 1024;

/// A directory on disk.
#[derive(Debug)]
pub struct DiskStorage {
    directory: OwnedFd,
    writable: bool,
    direct: Arc<Direct>,
    /// Files opened so far: each has a number of its own.
    files: AtomicU64,
}

impl DiskStorage {
    /// Opens a directory; it is made, with its parents, when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            make_directory(path)?;
        }
        Ok(Self::new(open_directory(path)?, true))
    }

    /// Opens an existing directory for looking only: everything that would change it is refused.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Ok(Self::new(open_directory(path)?, false))
    }

    fn new(directory: OwnedFd, writable: bool) -> Self {
        Self { directory, writable, direct: Arc::default(), files: AtomicU64::new(0) }
    }

    fn file(&self, file: OwnedFd, writable: bool) -> DiskFile {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        DiskFile { file, writable, number, direct: Arc::clone(&self.direct) }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the directory was opened for looking only"))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || rustix::fs::openat(&self.directory, name, flags | OFlags::CLOEXEC, mode);
        Ok(retry(open)?)
    }
}

/// Makes a directory and its parents, and makes their names durable.
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let absolute = path.canonicalize()?;
    for parent in absolute.ancestors().skip(1).take(2) {
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Tries again when a signal came in between.
pub(super) fn retry<T>(mut operation: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match operation() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

impl Storage for DiskStorage {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.check_writable()?;
        let file = self.open_file(name, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)?;
        Ok(Arc::new(self.file(file, true)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let flags = if self.writable { OFlags::RDWR } else { OFlags::RDONLY };
        let file = self.open_file(name, flags)?;
        Ok(Arc::new(self.file(file, self.writable)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            if !entry.file_type().is_dir()
                && let Ok(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        Ok(retry(|| rustix::fs::renameat(&self.directory, from, &self.directory, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        Ok(retry(|| rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()))?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(retry(|| rustix::fs::fsync(&self.directory))?)
    }

    fn lock(&self, holder: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.check_writable()?;
        let file = self.open_file(LOCK_FILE, OFlags::CREATE | OFlags::RDWR)?;
        lock_exclusive(&file)?;
        let file = self.file(file, true);
        // Written over, and cut behind it: a full disk has room for that.
        file.write_at(&[io::IoSlice::new(holder.as_bytes())], 0)?;
        file.set_len(holder.len() as u64)?;
        Ok(Box::new(file))
    }

    fn holder(&self) -> Option<String> {
        let file = self.file(self.open_file(LOCK_FILE, OFlags::RDONLY).ok()?, false);
        let shared = FlockOperation::NonBlockingLockShared;
        if retry(|| rustix::fs::flock(&file.file, shared)).is_ok() {
            // Whoever wrote into the file is gone. Closing it gives the lock up.
            return None;
        }
        let length = usize::try_from(file.len().ok()?).ok()?.min(1024);
        let mut text = vec![0; length];
        file.read_at(&mut text, 0).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = retry(|| rustix::fs::fstatvfs(&self.directory))?;
        if stat.f_blocks == 0 {
            // Some file systems in user space do not tell: then a write that fails will.
            return Ok(UNKNOWN_BYTES);
        }
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Somebody who only looks who holds the lock has it for a moment: that is waited for.
fn lock_exclusive(file: &OwnedFd) -> io::Result<()> {
    const ATTEMPTS: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(10);
    let attempt = || retry(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive));
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            result => return Ok(result?),
        }
    }
    Ok(attempt()?)
}

/// Reads until the buffer is full, by calls that may read less and may be interrupted.
fn read_whole(
    mut buf: &mut [u8],
    mut position: u64,
    mut pread: impl FnMut(&mut [u8], u64) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    while !buf.is_empty() {
        let read = retry(|| pread(buf, position))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf = buf.get_mut(read..).unwrap_or_default();
        position += read as u64;
    }
    Ok(())
}

/// Writes all parts behind their first `done` bytes, by calls that may write less and may be
/// interrupted.
fn write_whole(
    parts: &[io::IoSlice<'_>],
    done: usize,
    position: u64,
    mut pwritev: impl FnMut(&[io::IoSlice<'_>], u64) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    let mut parts: Vec<io::IoSlice<'_>> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
    let mut rest = &mut parts[..];
    io::IoSlice::advance_slices(&mut rest, done);
    let mut position = position + done as u64;
    while !rest.is_empty() {
        let some = rest.get(..PARTS_MAX).unwrap_or(rest);
        let written = retry(|| pwritev(some, position))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        io::IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

/// One open file. Closing it gives up the lock that it may hold.
#[derive(Debug)]
struct DiskFile {
    file: OwnedFd,
    writable: bool,
    number: u64,
    direct: Arc<Direct>,
}

impl StorageFile for DiskFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        read_whole(buf, position, |rest, position| rustix::io::pread(&self.file, rest, position))
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let done = self.direct.write((self.number, &self.file), parts, position)?;
        write_whole(parts, done, position, |rest, position| rustix::io::pwritev(&self.file, rest, position))
    }

    fn sync(&self) -> io::Result<()> {
        // Only a signal before anything was tried gives EINTR here, and is safe to try again.
        Ok(retry(|| rustix::fs::fdatasync(&self.file))?)
    }

    fn len(&self) -> io::Result<u64> {
        let stat = retry(|| rustix::fs::fstat(&self.file))?;
        u64::try_from(stat.st_size).map_err(io::Error::other)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(retry(|| rustix::fs::ftruncate(&self.file, length))?)
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        if !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match retry(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn forget(&self, position: u64, length: u64) {
        let length = std::num::NonZeroU64::new(length);
        let _hint = rustix::fs::fadvise(&self.file, position, length, Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn allocated_space_reads_as_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        let file = storage.create("x").unwrap();
        if file.allocate(10_000).unwrap() {
            assert_eq!(file.len().unwrap(), 10_000);
            let mut back = vec![1; 10_000];
            file.read_at(&mut back, 0).unwrap();
            assert!(back.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(&directory.path().join("a/b")).unwrap();
        let file = storage.create("x").unwrap();
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|i| i.to_le_bytes().to_vec()).collect();
        let slices: Vec<io::IoSlice<'_>> = parts.iter().map(|p| io::IoSlice::new(p)).collect();
        file.write_at(&slices, 5).unwrap();
        file.sync().unwrap();
        let mut back = vec![0; 12_000];
        file.read_at(&mut back, 5).unwrap();
        assert_eq!(back, parts.concat());
        assert_eq!(file.len().unwrap(), 12_005);
        assert_eq!(file.read_at(&mut back, 6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        storage.rename("x", "y").unwrap();
        assert_eq!(storage.list().unwrap(), ["y"]);
        assert!(storage.create("y").is_err());
        storage.remove("y").unwrap();
        storage.sync_dir().unwrap();
        assert!(storage.free_bytes().unwrap() > 0);
    }

    /// What a call does before the next one: it is interrupted, or moves at most so many bytes.
    fn steps() -> impl Strategy<Value = Vec<Option<usize>>> {
        proptest::collection::vec(proptest::option::of(1usize..40), 1..20)
    }

    proptest! {
        #[test]
        fn f17_short_and_interrupted_calls_go_on_where_they_stopped(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..20),
            steps in steps(),
            from in 0u64..100,
        ) {
            let file = RefCell::new(vec![0; 100]);
            let mut steps = steps.into_iter().chain(std::iter::repeat(Some(7)));
            let slices: Vec<io::IoSlice<'_>> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
            write_whole(&slices, 0, from, |parts, position| {
                let most = steps.next().flatten().ok_or(Errno::INTR)?;
                let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(most).collect();
                let mut file = file.borrow_mut();
                let end = position as usize + bytes.len();
                let length = file.len().max(end);
                file.resize(length, 0);
                file[position as usize..end].copy_from_slice(&bytes);
                Ok(bytes.len())
            }).unwrap();
            let whole = parts.concat();
            let mut back = vec![0; whole.len()];
            read_whole(&mut back, from, |buf, position| {
                let most = steps.next().flatten().ok_or(Errno::INTR)?;
                let file = file.borrow();
                let rest = file.get(position as usize..).unwrap_or_default();
                let count = most.min(buf.len()).min(rest.len());
                buf[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }).unwrap();
            prop_assert_eq!(back, whole);
        }
    }

    #[test]
    fn f17_a_write_that_gets_nowhere_is_an_error_and_so_is_one_that_fails_half_way() {
        let parts = [io::IoSlice::new(b"abcdef")];
        let stuck = write_whole(&parts, 0, 0, |_, _| Ok(0));
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::WriteZero);
        let mut answers = [Ok(2), Err(Errno::NOSPC)].into_iter();
        let failed = write_whole(&parts, 0, 0, |_, _| answers.next().unwrap());
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn f31_a_second_holder_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let one = DiskStorage::open(directory.path()).unwrap();
        let two = DiskStorage::open(directory.path()).unwrap();
        let held = one.lock("relay 42").unwrap();
        assert_eq!(two.lock("relay 43").err().unwrap().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(two.holder().as_deref(), Some("relay 42"));
        drop(held);
        assert_eq!(two.holder(), None, "nobody holds it, whatever is written there");
        two.lock("relay 43").unwrap();
    }

    #[test]
    fn looking_only_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(directory.path()).unwrap();
        storage.create("x").unwrap();
        let looking = DiskStorage::open_read_only(directory.path()).unwrap();
        assert!(looking.open("x").unwrap().set_len(1).is_err());
        assert!(looking.create("z").is_err() && looking.remove("x").is_err());
    }
}
