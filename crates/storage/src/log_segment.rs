//! A log file being written, in whole blocks.
//!
//! The last block of a write is padded with zeros, and written again with the same bytes before
//! and more behind. So a write may bypass the page cache, and what is torn is never what was
//! durable already: a sector holds either its old bytes or the same bytes and more.

use std::path::PathBuf;

use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::framing;

/// Files are written in multiples of this.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// A buffer that has grown beyond this is given back.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// What is behind the last record; aligned, so that a direct write needs no copy.
static ZEROS: Zeros = Zeros([0; 256 << 10]);

#[repr(align(4096))]
struct Zeros([u8; 256 << 10]);

/// A file being written.
pub(crate) struct Segment<F> {
    file: F,
    path: PathBuf,
    /// Where the next record goes.
    end: u64,
    /// Up to here it is zeros already.
    zeroed: u64,
    /// It was filled with zeros before it was used.
    was_prepared: bool,
    /// The bytes of the block that `end` lies in, and behind them, while it is written, a batch.
    blocks: Vec<u8>,
}

impl<F: DiskFile> Segment<F> {
    /// A new file whose header is durable. It is synced by itself: of a first batch that is torn,
    /// any sector may be lost, and a file without a header could not be told from a damaged one.
    pub fn create<D>(disk: &D, path: PathBuf, durable: bool) -> Result<Segment<F>, StorageError>
    where
        D: Disk<File = F>,
    {
        let file = disk.create_log(&path).at("create", &path)?;
        let mut segment =
            Segment { file, path, end: 0, zeroed: 0, was_prepared: false, blocks: Vec::new() };
        segment.append(&framing::HEADER, durable)?;
        Ok(segment)
    }

    /// A file that is there, from its end on.
    pub fn open_at_end<D: Disk<File = F>>(
        disk: &D,
        path: PathBuf,
    ) -> Result<Segment<F>, StorageError> {
        let file = disk.open_to_write(&path).at("open", &path)?;
        let end = file.len().at("read", &path)?;
        let mut blocks = vec![0; end as usize % BLOCK_BYTES];
        file.read_at(end - blocks.len() as u64, &mut blocks).at("read", &path)?;
        Ok(Segment { file, path, end, zeroed: end, was_prepared: false, blocks })
    }

    /// Where the next record goes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether it was filled with zeros before it was used.
    pub fn was_prepared(&self) -> bool {
        self.was_prepared
    }

    /// How many zeros are left when so many bytes more are written; `None` if they do not fit.
    pub fn zeroed_after(&self, bytes: usize) -> Option<u64> {
        self.zeroed.checked_sub((self.end + bytes as u64).next_multiple_of(BLOCK_BYTES as u64))
    }

    /// Writes behind the last record, and makes it durable if that is asked for.
    pub fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), StorageError> {
        let start = self.end - self.blocks.len() as u64;
        self.blocks.extend_from_slice(bytes);
        let used = self.blocks.len();
        self.blocks.resize(used.next_multiple_of(BLOCK_BYTES), 0);
        let written = if durable {
            self.file.write_durable(start, &self.blocks).at("write and sync", &self.path)
        } else {
            self.file.write_at(start, &self.blocks).at("write", &self.path)
        };
        self.end += bytes.len() as u64;
        self.zeroed = self.zeroed.max(start + self.blocks.len() as u64);
        self.blocks.truncate(used);
        self.blocks.drain(..used - used % BLOCK_BYTES);
        self.blocks.shrink_to(BUFFER_BYTES_KEPT);
        written
    }

    /// Makes all that was written durable.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().at("sync", &self.path)
    }

    /// Writes the next stretch of zeros, at most so many bytes. Returns how far the zeros reach.
    pub fn fill(&mut self, bytes: u64, durable: bool) -> Result<u64, StorageError> {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64).min(ZEROS.0.len() as u64);
        let zeros = &ZEROS.0[..bytes as usize];
        if durable {
            self.file.write_durable(self.zeroed, zeros).at("write and sync", &self.path)?;
        } else {
            self.file.write_at(self.zeroed, zeros).at("write", &self.path)?;
        }
        self.zeroed += bytes;
        self.was_prepared = true;
        Ok(self.zeroed)
    }

    /// Gives the file its final name. Durable once the directory is synced.
    pub fn rename<D: Disk>(&mut self, disk: &D, path: PathBuf) -> Result<(), StorageError> {
        disk.rename(&self.path, &path).at("rename", &self.path)?;
        self.path = path;
        Ok(())
    }

    /// Removes the file. That this may fail changes nothing: the next start tries again.
    pub fn discard<D: Disk>(self, disk: &D) {
        let _ = disk.remove(&self.path);
    }

    /// Cuts the zeros behind the last record.
    pub fn cut(self) -> Result<(), StorageError> {
        if self.zeroed == self.end {
            return Ok(());
        }
        self.file.set_len(self.end).at("cut", &self.path)
    }
}
