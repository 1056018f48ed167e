//! Preparing the next log file while the current one is written.
//!
//! A file full of zeros is as long as it will be, and its blocks are allocated: a sync of records
//! written into it has nothing but the records to write. See decision 0002.

use std::path::Path;
use std::sync::Arc;

use tracing::error;

use crate::dirs::Dirs;
use crate::disk::Disk;
use crate::error::{At, StorageError};
use crate::file_name;
use crate::log_segment::Segment;
use crate::txn_log::LogOptions;

/// Left free on the disk: room for two more batches.
pub(crate) const RESERVE_BYTES: u64 = 2 << 20;
/// Zeros written at a time: the log's own writes wait for them, and should not for long.
const FILL_BYTES: u64 = 64 << 10;

/// A log file that waits to be needed, under a temporary name.
pub struct PreparedLog<D: Disk>(pub(crate) Segment<D::File>);

/// What one step of preparing came to.
pub enum Progress<D: Disk> {
    /// There is more to do.
    More,
    /// The file is ready.
    Ready(PreparedLog<D>),
    /// It failed, most likely for want of room, and nothing is left of it. It may be tried again.
    Failed,
}

/// Prepares one log file at a time.
pub struct LogPreparer<D: Disk> {
    disk: Arc<D>,
    dirs: Dirs,
    options: LogOptions,
    segment: Option<Segment<D::File>>,
    /// How long the next file is to be.
    bytes: u64,
    /// It has been said that preparing fails.
    has_complained: bool,
}

impl<D: Disk> LogPreparer<D> {
    /// With nothing prepared.
    pub fn new(disk: Arc<D>, dirs: Dirs, options: LogOptions) -> LogPreparer<D> {
        let bytes = options.prepare_bytes;
        LogPreparer { disk, dirs, options, segment: None, bytes, has_complained: false }
    }

    /// How long files are to be, from the next one on: what the log
    /// [expects](crate::TxnLog::expected_bytes) to fill.
    pub fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Does one small piece of the work. To be begun only while the log
    /// [wants](crate::TxnLog::wants_prepared) a file: there is one temporary name.
    ///
    /// A failure is said once and is no error: the log goes on without, and running out of room is
    /// met when the room is really needed.
    pub fn step(&mut self) -> Progress<D> {
        match self.try_step() {
            Ok(Some(segment)) => {
                self.has_complained = false;
                Progress::Ready(PreparedLog(segment))
            }
            Ok(None) => Progress::More,
            Err(error) => {
                if !self.has_complained {
                    self.has_complained = true;
                    error!(%error, "cannot prepare the next log file; going on without");
                }
                if let Some(segment) = self.segment.take() {
                    segment.discard(&*self.disk);
                }
                Progress::Failed
            }
        }
    }

    fn try_step(&mut self) -> Result<Option<Segment<D::File>>, StorageError> {
        let (bytes, force_sync) = (self.bytes, self.options.force_sync);
        let Some(segment) = &mut self.segment else {
            let dir = self.dirs.log();
            require_free(&*self.disk, dir, bytes + RESERVE_BYTES)?;
            let path = dir.join(file_name::PREPARED_LOG);
            self.segment = Some(Segment::create(&*self.disk, path, force_sync)?);
            return Ok(None);
        };
        let zeroed = segment.fill(FILL_BYTES.min(bytes), force_sync)?;
        Ok(if zeroed >= bytes { self.segment.take() } else { None })
    }
}

/// Refuses what would leave less than `needed` bytes free.
pub(crate) fn require_free<D: Disk>(disk: &D, dir: &Path, needed: u64) -> Result<(), StorageError> {
    let free = disk.free_bytes(dir).at("ask for room in", dir)?;
    if free >= needed {
        return Ok(());
    }
    Err(StorageError::Full { dir: dir.to_owned(), free, needed })
}
