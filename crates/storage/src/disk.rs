//! What storage asks of a disk.
//!
//! Synchronous and small, so that a simulated disk can stand in: one that records every call,
//! fails the n-th, and loses whatever was not synced.

use std::io;
use std::path::Path;

/// Files and directories.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Creates a file for reading and writing, empty if it was there.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Creates a file as [`create`](Self::create) does, for [`DiskFile::write_durable`].
    fn create_log(&self, path: &Path) -> io::Result<Self::File> {
        self.create(path)
    }
    /// Opens a file for reading and writing, as it is.
    fn open_to_write(&self, path: &Path) -> io::Result<Self::File> {
        self.open(path)
    }
    /// Names a file anew, in place of any that has the name. Durable once the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable once the directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory and those above it.
    fn create_dirs(&self, dir: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether there is a directory of this name.
    fn is_dir(&self, dir: &Path) -> bool;
    /// Bytes that may still be written below this directory.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Positions are bytes from its start.
pub trait DiskFile: Send + 'static {
    /// Reads up to `buffer.len()` bytes; 0 at the end of the file.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`, growing the file where needed.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was written durable, and the length with it.
    fn sync(&self) -> io::Result<()>;
    /// Writes all of `bytes` and makes them durable. Quickest when position and length are multiples
    /// of 4,096, in a file of [`Disk::create_log`].
    fn write_durable(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(position, bytes)?;
        self.sync()
    }
    /// Cuts or grows the file; what is new reads as zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// True if it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}
