//! The transaction log as its writer sees it.
//!
//! `append` collects records in memory; `sync` writes them and makes them durable. Only when `sync`
//! has returned may anybody be told of them.
//!
//! A file is never appended to after a restart: the first batch begins a new one. The next file is
//! prepared while this one is written ([`LogPreparer`](crate::LogPreparer)): full of zeros, so that a sync need
//! not also write the file's new length and extents. As soon as it is ready, a file that was not
//! prepared gives way to it, and so does one that is used up and long enough.

use std::path::PathBuf;
use std::sync::Arc;

use oxikeeper_proto::Zxid;

use crate::dirs::Dirs;
use crate::disk::Disk;
use crate::error::{At, StorageError};
use crate::file_name;
use crate::framing;
use crate::log_ahead::{PreparedLog, RESERVE_BYTES, require_free};
use crate::log_segment::{BLOCK_BYTES, Segment};
use crate::recovery::list;

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// `zookeeper.preAllocSize` in bytes: how large a file is prepared ahead at most; 0 for not at all.
    pub prepare_bytes: u64,
    /// `zookeeper.forceSync`: false leaves durability to the operating system.
    pub force_sync: bool,
    /// `zookeeper.txnLogSizeLimitInKb` in bytes: a new file is begun beyond.
    pub roll_bytes: Option<u64>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { prepare_bytes: 64 << 20, force_sync: true, roll_bytes: None }
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
/// A file that was prepared is not left for the next one before it is so long, however little is
/// prepared ahead: else there would be a great many.
const ROLL_BYTES_MIN: u64 = 16 << 20;
/// A buffer that has grown beyond this is given back.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// See the module's head.
pub struct TxnLog<D: Disk> {
    disk: Arc<D>,
    dirs: Dirs,
    options: LogOptions,
    current: Option<Segment<D::File>>,
    /// The next file, under a temporary name.
    prepared: Option<Segment<D::File>>,
    /// How long the file before this one has become.
    former_bytes: u64,
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
            former_bytes: 0,
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
        let bytes = self.buffer.len();
        if self.gives_way() {
            self.roll()?;
        }
        let is_new_file = self.current.is_none();
        if is_new_file {
            self.current = Some(self.begin_file(first)?);
        }
        let segment = self.current.as_mut().expect("a file was begun");
        for piece in self.buffer.chunks(UNSYNCED_BYTES_MAX as usize) {
            match self.mutation {
                Some(LogMutation::SkipSync) => segment.append(piece, false)?,
                Some(LogMutation::IgnoreSyncError) => {
                    segment.append(piece, false)?;
                    let _ = segment.sync();
                }
                _ => segment.append(piece, self.options.force_sync)?,
            }
        }
        let sync_dir = self.options.force_sync
            && is_new_file
            && self.mutation != Some(LogMutation::SkipDirectorySync);
        if sync_dir {
            self.disk.sync_dir(self.dirs.log()).at("sync", self.dirs.log())?;
        }
        self.first_buffered = None;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        if self.options.roll_bytes.is_some_and(|limit| segment.end() > limit) {
            self.roll()?;
        }
        Ok(SyncStats { bytes, last: self.last })
    }

    /// Ends the current file; the next batch begins a new one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn roll(&mut self) -> Result<(), StorageError> {
        match self.current.take() {
            // The zeros behind the last record are not needed any more.
            Some(segment) => {
                self.former_bytes = segment.end();
                segment.cut()
            }
            None => Ok(()),
        }
    }

    /// How long the next file should be: a quarter longer than the one before. Most files end with a
    /// snapshot, much alike, and zeros that are cut off again cost the disk as much as records do.
    pub fn expected_bytes(&self) -> u64 {
        let expected = (self.former_bytes + self.former_bytes / 4).max(ROLL_BYTES_MIN);
        expected.min(self.options.prepare_bytes)
    }

    /// Whether the next file should be prepared now: one is being written, and none is there.
    pub fn wants_prepared(&self) -> bool {
        // A length of 0 is the setting's way to switch it off.
        self.options.prepare_bytes > 0
            && !self.has_failed
            && self.current.is_some()
            && self.prepared.is_none()
    }

    /// Takes the next file.
    pub fn accept(&mut self, prepared: PreparedLog<D>) {
        debug_assert!(self.prepared.is_none(), "one file is prepared at a time");
        self.prepared = Some(prepared.0);
    }

    /// The file for a batch that begins with `first`, under its final name.
    fn begin_file(&mut self, first: Zxid) -> Result<Segment<D::File>, StorageError> {
        let path = self.dirs.log().join(file_name::log(first));
        match self.prepared.take() {
            Some(mut segment) => {
                segment.rename(&*self.disk, path)?;
                Ok(segment)
            }
            None if self.mutation == Some(LogMutation::AppendToOldFile) => self.reopen(path),
            None => Segment::create(&*self.disk, path, self.options.force_sync),
        }
    }

    /// The newest file there is, from its end on: a defect for tests to find.
    fn reopen(&self, path: PathBuf) -> Result<Segment<D::File>, StorageError> {
        let logs = list(&*self.disk, self.dirs.log(), file_name::parse_log)?;
        match logs.into_iter().next_back() {
            Some((_, path)) => Segment::open_at_end(&*self.disk, path),
            None => Segment::create(&*self.disk, path, self.options.force_sync),
        }
    }

    /// Whether the batch is to go into the next file, which is ready, instead of the current one.
    fn gives_way(&self) -> bool {
        let is_used_up = |segment: &Segment<D::File>| {
            segment.zeroed_after(self.buffer.len()).is_none()
                && (!segment.was_prepared() || segment.end() >= ROLL_BYTES_MIN)
        };
        self.prepared.is_some() && self.current.as_ref().is_some_and(is_used_up)
    }

    /// A batch that fits into zeroed space needs no more room than there is.
    fn require_room(&self) -> Result<(), StorageError> {
        let bytes = self.buffer.len();
        let current = self.current.as_ref().filter(|_| !self.gives_way());
        let next = current.or(self.prepared.as_ref());
        if next.is_some_and(|segment| segment.zeroed_after(bytes).is_some()) {
            return Ok(());
        }
        let needed = (bytes + 2 * BLOCK_BYTES) as u64 + RESERVE_BYTES;
        require_free(&*self.disk, self.dirs.log(), needed)
    }
}
