//! The file operations that the log is made of, as a trait: the log runs the
//! same code over a real directory and over a simulated one that enumerates
//! what a crash can leave behind.
//!
//! All names are plain file names inside one flat data directory. The contract
//! is that of POSIX, no more: what was written may be lost until [`StorageFile::sync`]
//! has returned, in any subset of 512-byte sectors; a file that was made,
//! renamed or removed may be there or not until [`Storage::sync_dir`] has returned.

use std::io;
use std::sync::Arc;

/// Bytes that a disk writes as one: the unit of tearing.
pub const SECTOR_BYTES: usize = 512;

/// A flat directory of files.
pub trait Storage: Send + Sync + 'static {
    /// Makes an empty file for reading and writing; it must not exist yet.
    ///
    /// # Errors
    /// When it exists, or the operating system refuses.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// When it does not exist, or the operating system refuses.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file, over another one if there is one, atomically.
    ///
    /// # Errors
    /// When `from` does not exist, or the operating system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When it does not exist, or the operating system refuses.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the lock of the directory for as long as the returned guard lives,
    /// and writes `holder` where [`Storage::holder`] finds it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process holds it.
    fn lock(&self, holder: &str) -> io::Result<Box<dyn Send + Sync>>;

    /// Who holds the lock now, as they wrote it.
    fn holder(&self) -> Option<String>;

    /// Bytes that the file system still has for us.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One open file.
#[expect(clippy::len_without_is_empty, reason = "a file, not a collection")]
pub trait StorageFile: Send + Sync {
    /// Reads exactly `buf.len()` bytes at `position`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] at the end of the file, or what the disk says.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<()>;

    /// Writes all `parts`, one behind the other, at `position`. Partial writes
    /// and interruptions are continued; an error leaves an unknown part written.
    ///
    /// # Errors
    /// What the disk says.
    fn write_at(&self, parts: &[io::IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Makes the content durable (and the length, when it changed): fdatasync.
    /// After an error nothing written since the last success may be trusted.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends the file to `length`; what is added reads as zeros.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Takes the space for the first `length` bytes of a new file, which then
    /// read as zeros, without writing them. False when this storage cannot:
    /// then zeros must be written.
    ///
    /// # Errors
    /// What the disk says, above all that it is full.
    fn allocate(&self, length: u64) -> io::Result<bool> {
        let _ = length;
        Ok(false)
    }

    /// Tells that `position..position + length` will not be read again soon, so
    /// that the system need not keep it in memory. A hint, without effect on content.
    fn forget(&self, position: u64, length: u64) {
        let _ = (position, length);
    }
}
