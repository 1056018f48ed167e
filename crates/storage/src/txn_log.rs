//! The transaction log as its writer sees it.
//!
//! `append` collects records in memory; `sync` writes them with one call and makes them durable
//! with one more. Only when `sync` has returned may anybody be told of them.
//!
//! A file is never appended to after a restart: the first batch begins a new one. It is filled
//! with zeros some way ahead of its end, so that a sync need not also write the file's new length
//! and extents; the next file is prepared the same way before it is needed.

use std::path::PathBuf;
use std::sync::Arc;

use oxikeeper_proto::Zxid;
use tracing::error;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::framing;
use crate::recovery::list;

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// `zookeeper.preAllocSize` in bytes: how large a file is prepared ahead.
    pub prepare_bytes: u64,
    /// Zeros are written so many bytes at a time, at most 1 MiB; the current file is kept zeroed
    /// twice as far ahead of its end.
    pub fill_bytes: u64,
    /// `zookeeper.forceSync`: false leaves durability to the operating system.
    pub force_sync: bool,
    /// `zookeeper.txnLogSizeLimitInKb` in bytes: a new file is begun beyond.
    pub roll_bytes: Option<u64>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            prepare_bytes: 64 << 20,
            fill_bytes: FILL_BYTES_MAX,
            force_sync: true,
            roll_bytes: None,
        }
    }
}

/// What one sync did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncStats {
    /// Bytes written.
    pub bytes: usize,
    /// The last transaction that is durable now.
    pub last: Zxid,
}

/// No more than this is ever written without a sync: what a recovery has to write again.
pub(crate) const UNSYNCED_BYTES_MAX: u64 = 16 << 20;
/// The most zeros written at a time.
const FILL_BYTES_MAX: u64 = 1 << 20;
/// Left free on the disk: room for two more batches.
const RESERVE_BYTES: u64 = 2 << 20;
/// A buffer that has grown beyond this is given back.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// A file being written.
struct Segment<F> {
    file: F,
    path: PathBuf,
    /// Where the next record goes.
    end: u64,
    /// Up to here it is zeros already.
    zeroed: u64,
}

/// See the module's head.
pub struct TxnLog<D: Disk> {
    disk: Arc<D>,
    dirs: Dirs,
    options: LogOptions,
    current: Option<Segment<D::File>>,
    /// The next file, under a temporary name.
    prepared: Option<Segment<D::File>>,
    /// Preparing failed, most likely for want of room; tried again with the next file.
    prepare_failed: bool,
    buffer: Vec<u8>,
    first_buffered: Option<Zxid>,
    last: Zxid,
    /// A write or a sync has failed: what is on disk is not known any more.
    has_failed: bool,
    mutation: Option<LogMutation>,
}

/// Defects that tests inject, to prove that they would be caught.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMutation {
    /// Acknowledge before the sync.
    SkipSync,
    /// Rely on a new file's name before the directory is synced.
    SkipDirectorySync,
    /// Go on behind a failed sync.
    IgnoreSyncError,
    /// Go on in the newest file there is, behind whatever a crash has left at its end.
    AppendToOldFile,
}

impl<D: Disk> TxnLog<D> {
    /// A log whose last transaction is `last`. Nothing is written yet.
    pub fn new(disk: Arc<D>, dirs: Dirs, options: LogOptions, last: Zxid) -> TxnLog<D> {
        TxnLog {
            disk,
            dirs,
            options,
            current: None,
            prepared: None,
            prepare_failed: false,
            buffer: Vec::new(),
            first_buffered: None,
            last,
            has_failed: false,
            mutation: None,
        }
    }

    /// Injects a defect. For tests alone.
    #[doc(hidden)]
    pub fn mutate(&mut self, mutation: LogMutation) {
        self.mutation = Some(mutation);
    }

    /// The last transaction appended.
    pub fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// Adds a transaction to the batch. Nothing is written before [`sync`](Self::sync).
    ///
    /// # Errors
    /// A zxid that cannot follow the last one.
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), StorageError> {
        if !zxid.follows(self.last) {
            return Err(StorageError::OutOfOrder { zxid, last: self.last });
        }
        framing::frame(payload, &mut self.buffer);
        self.first_buffered.get_or_insert(zxid);
        self.last = zxid;
        Ok(())
    }

    /// Writes the batch and makes it durable.
    ///
    /// # Errors
    /// [`StorageError::Full`] before anything was written: the batch is kept, and the call may be
    /// made again. Any other error is the end: what is on disk is not known, and the process has to
    /// stop and recover (a sync must never be repeated after it failed).
    pub fn sync(&mut self) -> Result<SyncStats, StorageError> {
        if self.has_failed {
            return Err(StorageError::LogFailed { dir: self.dirs.log().to_owned() });
        }
        let Some(first) = self.first_buffered else {
            return Ok(SyncStats { bytes: 0, last: self.last });
        };
        self.require_room()?;
        let written = self.write_batch(first);
        self.has_failed = written.is_err();
        written
    }

    fn write_batch(&mut self, first: Zxid) -> Result<SyncStats, StorageError> {
        let is_new_file = self.current.is_none();
        if is_new_file {
            self.current = Some(self.begin_file(first)?);
        }
        let segment = self.current.as_mut().expect("a file was begun");
        for piece in self.buffer.chunks(UNSYNCED_BYTES_MAX as usize) {
            segment.file.write_at(segment.end, piece).at("write", &segment.path)?;
            segment.end += piece.len() as u64;
            if self.options.force_sync && self.mutation != Some(LogMutation::SkipSync) {
                let synced = segment.file.sync().at("sync", &segment.path);
                if self.mutation != Some(LogMutation::IgnoreSyncError) {
                    synced?;
                }
            }
        }
        let sync_dir = self.options.force_sync
            && is_new_file
            && self.mutation != Some(LogMutation::SkipDirectorySync);
        if sync_dir {
            self.disk.sync_dir(self.dirs.log()).at("sync", self.dirs.log())?;
        }
        segment.zeroed = segment.zeroed.max(segment.end);
        let bytes = self.buffer.len();
        self.first_buffered = None;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        if self.options.roll_bytes.is_some_and(|limit| segment.end > limit) {
            self.roll()?;
        }
        Ok(SyncStats { bytes, last: self.last })
    }

    /// Ends the current file; the next batch begins a new one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn roll(&mut self) -> Result<(), StorageError> {
        if let Some(segment) = self.current.take()
            && segment.zeroed > segment.end
        {
            // The zeros behind the last record are not needed any more.
            segment.file.set_len(segment.end).at("cut", &segment.path)?;
        }
        self.prepare_failed = false;
        Ok(())
    }

    /// Does one small piece of the work that makes later syncs cheap: keeps the current file zeroed
    /// ahead, and prepares the next one. For the time between batches. True if there is more.
    ///
    /// Running out of room here is no error: it is met when the room is really needed.
    pub fn prepare(&mut self) -> bool {
        // A limit of 0 is the setting's way to switch it off.
        if self.has_failed || self.current.is_none() || self.options.prepare_bytes == 0 {
            return false;
        }
        let fill_bytes = self.options.fill_bytes.min(self.options.prepare_bytes);
        let force_sync = self.options.force_sync;
        if let Some(segment) = &mut self.current
            && segment.zeroed < segment.end + 2 * fill_bytes
        {
            // The disk may be nearly full: then what is there is kept for the batches themselves.
            let room = self.disk.free_bytes(self.dirs.log()).unwrap_or(0);
            if room <= fill_bytes + RESERVE_BYTES {
                return false;
            }
            return match fill(segment, fill_bytes, force_sync) {
                Ok(()) => true,
                Err(error) => {
                    error!(%error, "cannot prepare the log for what is to come");
                    // A sync that failed once may succeed next time and still have lost pages.
                    self.has_failed = matches!(error, StorageError::Io { action: "sync", .. });
                    false
                }
            };
        }
        if self.prepare_failed {
            return false;
        }
        let prepared = match &mut self.prepared {
            Some(segment) if segment.zeroed >= self.options.prepare_bytes => return false,
            Some(segment) => fill(segment, fill_bytes, force_sync),
            None => self.begin_prepared(),
        };
        if let Err(error) = prepared {
            error!(%error, "cannot prepare the next log file; going on without");
            self.prepare_failed = true;
            if let Some(segment) = self.prepared.take() {
                // What it took is given back; that this may fail changes nothing.
                let _ = self.disk.remove(&segment.path);
            }
        }
        !self.prepare_failed
    }

    /// True if the next file could not be prepared, most likely for want of room. Writes go on.
    pub fn cannot_prepare(&self) -> bool {
        self.prepare_failed
    }

    fn begin_prepared(&mut self) -> Result<(), StorageError> {
        let needed = self.options.prepare_bytes + RESERVE_BYTES;
        self.require_free(needed)?;
        let path = self.dirs.log().join(file_name::PREPARED_LOG);
        self.prepared = Some(self.create_with_header(path)?);
        Ok(())
    }

    /// The file for a batch that begins with `first`, under its final name.
    fn begin_file(&mut self, first: Zxid) -> Result<Segment<D::File>, StorageError> {
        let path = self.dirs.log().join(file_name::log(first));
        match self.prepared.take() {
            Some(segment) => {
                self.disk.rename(&segment.path, &path).at("rename", &segment.path)?;
                Ok(Segment { path, ..segment })
            }
            None if self.mutation == Some(LogMutation::AppendToOldFile) => self.reopen(path),
            None => self.create_with_header(path),
        }
    }

    /// The newest file there is, from its end on: a defect for tests to find.
    fn reopen(&self, path: PathBuf) -> Result<Segment<D::File>, StorageError> {
        let logs = list(&*self.disk, self.dirs.log(), file_name::parse_log)?;
        let Some((_, path)) = logs.into_iter().next_back() else {
            return self.create_with_header(path);
        };
        let file = self.disk.open(&path).at("open", &path)?;
        let end = file.len().at("read", &path)?;
        Ok(Segment { file, path, end, zeroed: end })
    }

    /// A new file whose header is durable. It is synced by itself: of a first batch that is torn,
    /// any sector may be lost, and a file without a header could not be told from a damaged one.
    fn create_with_header(&self, path: PathBuf) -> Result<Segment<D::File>, StorageError> {
        let file = self.disk.create(&path).at("create", &path)?;
        file.write_at(0, &framing::HEADER).at("write", &path)?;
        if self.options.force_sync {
            file.sync().at("sync", &path)?;
        }
        let end = framing::HEADER.len() as u64;
        Ok(Segment { file, path, end, zeroed: end })
    }

    /// A batch that fits into zeroed space needs no more room than there is.
    fn require_room(&self) -> Result<(), StorageError> {
        let have = match (&self.current, &self.prepared) {
            (Some(segment), _) => segment.zeroed - segment.end,
            (None, Some(segment)) => segment.zeroed - segment.end,
            (None, None) => 0,
        };
        let bytes = (self.buffer.len() + framing::HEADER.len()) as u64;
        if bytes <= have { Ok(()) } else { self.require_free(bytes + RESERVE_BYTES) }
    }

    fn require_free(&self, needed: u64) -> Result<(), StorageError> {
        let dir = self.dirs.log();
        let free = self.disk.free_bytes(dir).at("ask for room in", dir)?;
        if free >= needed {
            return Ok(());
        }
        Err(StorageError::Full { dir: dir.to_owned(), free, needed })
    }
}

/// Writes the next stretch of zeros, up to a multiple of `step`. Made durable at once, so that no
/// later batch has to wait for it.
fn fill<F: DiskFile>(
    segment: &mut Segment<F>,
    step: u64,
    force_sync: bool,
) -> Result<(), StorageError> {
    static ZEROS: [u8; FILL_BYTES_MAX as usize] = [0; FILL_BYTES_MAX as usize];
    let step = step.clamp(1, FILL_BYTES_MAX);
    let bytes = step - segment.zeroed % step;
    segment.file.write_at(segment.zeroed, &ZEROS[..bytes as usize]).at("write", &segment.path)?;
    if force_sync {
        segment.file.sync().at("sync", &segment.path)?;
    }
    segment.zeroed += bytes;
    Ok(())
}
