//! Reading a part of the history from the logs: for a learner that missed more than a leader has in
//! memory, and for that memory itself when a server starts.
//!
//! Both are worthless with a gap: who gets them would commit what follows the gap and never know.
//! So reading ends before the first transaction that cannot be proven to follow.
//! Source: quorum-protocol reference, 4.1 and 4.3, ZOOKEEPER-4925.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use oxikeeper_proto::Zxid;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::log_reader::{LogEnd, LogReader};
use crate::recovery::list;

/// A transaction of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place.
    pub zxid: Zxid,
    /// Header, transaction and digest, as a PROPOSAL carries them.
    pub payload: Vec<u8>,
}

/// How many bytes of logs may be sent instead of a snapshot: the size of the newest one times
/// `zookeeper.snapshotSizeFactor`. `None` says that logs are not to be used: the factor is negative.
/// 0 is no limit, as with Apache: it comes of a factor of 0, or no snapshot.
///
/// # Errors
/// What the disk says.
pub fn sync_limit<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    snapshot_size_factor: f64,
) -> Result<Option<u64>, StorageError> {
    if snapshot_size_factor < 0.0 {
        return Ok(None);
    }
    let snapshots = list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))?;
    let Some((_, newest)) = snapshots.last() else { return Ok(Some(0)) };
    let bytes = disk.open(newest).at("open", newest)?.len().at("read", newest)?;
    Ok(Some((bytes as f64 * snapshot_size_factor) as u64))
}

/// The log from some transaction on, read piece by piece. The log may be written meanwhile.
pub struct LogRange<D: Disk> {
    disk: Arc<D>,
    files: VecDeque<PathBuf>,
    reader: Option<LogReader<D::File>>,
    snapshots: Vec<Zxid>,
    from: Zxid,
    until: Zxid,
    /// The last transaction read, given out or not.
    last: Option<Zxid>,
    /// The one before `from`, until it is given out.
    before: Option<LogRecord>,
    /// Bytes of what was given out, and how many there may be; 0 is no limit.
    bytes: u64,
    limit_bytes: u64,
    payload_bytes_max: usize,
    /// A file behind `last` ended in bytes that are no record: something may have stood there.
    is_torn: bool,
    is_over: bool,
}

impl<D: Disk> LogRange<D> {
    /// From the last transaction at or before `from` to `until`, which is durable. `None` if the logs
    /// do not reach back that far, or it is seen from the files already that [`is_too_long`](Self::is_too_long);
    /// 0 is no limit.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(
        disk: &Arc<D>,
        dirs: &Dirs,
        from: Zxid,
        until: Zxid,
        limit_bytes: u64,
        payload_bytes_max: usize,
    ) -> Result<Option<LogRange<D>>, StorageError> {
        let logs = list(&**disk, dirs.log(), file_name::parse_log)?;
        let first = logs.partition_point(|(first, _)| *first <= from);
        if first == 0 {
            return Ok(None);
        }
        // Of the first file only a part may be wanted, and the last one may end in what is prepared of it.
        let whole = logs.get(first..logs.len() - 1).unwrap_or_default();
        let mut bytes = 0;
        for (_, path) in whole.iter().filter(|(first, _)| *first <= until) {
            bytes += disk.open(path).at("open", path)?.len().at("read", path)?;
        }
        if limit_bytes > 0 && bytes > limit_bytes {
            return Ok(None);
        }
        let files = logs[first - 1..].iter().filter(|(first, _)| *first <= until);
        Ok(Some(LogRange {
            disk: Arc::clone(disk),
            files: files.map(|(_, path)| path.clone()).collect(),
            reader: None,
            snapshots: snapshot_zxids(&**disk, dirs)?,
            from,
            until,
            last: None,
            before: None,
            bytes: 0,
            limit_bytes,
            payload_bytes_max,
            is_torn: false,
            is_over: false,
        }))
    }

    /// The next transactions in order, of about so many bytes; none at the end. The first one of all
    /// is the last one at or before `from`, so that it can be seen whether `from` is known here.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&mut self, bytes_max: usize) -> Result<Vec<LogRecord>, StorageError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(record) = self.next()? else {
                records.extend(self.before.take());
                break;
            };
            let is_before = record.zxid < self.from;
            if is_before {
                self.before = Some(record);
                continue;
            }
            if let Some(before) = self.before.take()
                && record.zxid > self.from
            {
                records.push(before);
            }
            bytes += record.payload.len();
            records.push(record);
        }
        self.bytes += bytes as u64;
        Ok(records)
    }

    /// Whether more bytes of transactions were given out than there may be. Apache counts whole files, with
    /// the 64 MiB that are prepared of each: a learner that missed little gets a snapshot.
    pub fn is_too_long(&self) -> bool {
        self.limit_bytes > 0 && self.bytes > self.limit_bytes
    }

    fn next(&mut self) -> Result<Option<LogRecord>, StorageError> {
        while !self.is_over {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => {
                    let Some(path) = self.files.pop_front() else { break };
                    let reader = LogReader::open(&*self.disk, &path, self.payload_bytes_max)?;
                    self.reader.insert(reader)
                }
            };
            let Some(record) = reader.next_record()? else {
                self.is_torn |= is_torn(reader.end());
                self.reader = None;
                continue;
            };
            let zxid = record.header.zxid;
            let is_torn = std::mem::take(&mut self.is_torn);
            let is_next = self.last.is_none_or(|last| joins(last, zxid, is_torn, &self.snapshots));
            if zxid > self.until || !is_next {
                break;
            }
            self.last = Some(zxid);
            return Ok(Some(LogRecord { zxid, payload: record.payload.to_vec() }));
        }
        self.is_over = true;
        Ok(None)
    }
}

/// The last `count` transactions up to `last`, the end of a recovered history, oldest first: as many
/// as can be proven to follow one another.
///
/// # Errors
/// What the disk says.
pub fn recent_transactions<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    last: Zxid,
    count: usize,
    payload_bytes_max: usize,
) -> Result<Vec<LogRecord>, StorageError> {
    let snapshots = snapshot_zxids(disk, dirs)?;
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let mut recent: VecDeque<LogRecord> = VecDeque::new();
    let mut has_torn = false;
    if count == 0 {
        return Ok(Vec::new());
    }
    for (_, path) in logs.iter().rev().filter(|(first, _)| *first <= last) {
        let mut here: VecDeque<LogRecord> = VecDeque::new();
        let mut reader = LogReader::open(disk, path, payload_bytes_max)?;
        let wanted = count.saturating_sub(recent.len());
        while let Some(record) = reader.next_record()? {
            let zxid = record.header.zxid;
            if zxid > last {
                break;
            }
            if here.back().is_some_and(|before| !joins(before.zxid, zxid, false, &snapshots)) {
                here.clear();
            }
            if here.len() == wanted {
                here.pop_front();
            }
            here.push_back(LogRecord { zxid, payload: record.payload.to_vec() });
        }
        has_torn |= is_torn(reader.end());
        let Some(end) = here.back().map(|record| record.zxid) else { continue };
        let is_joined = match recent.front() {
            Some(next) => joins(end, next.zxid, has_torn, &snapshots),
            None => end == last,
        };
        has_torn = false;
        if !is_joined {
            break;
        }
        while let Some(record) = here.pop_back() {
            recent.push_front(record);
        }
        if recent.len() >= count {
            break;
        }
    }
    Ok(recent.into())
}

/// Whether a file has ended in bytes that are no record. A crash leaves such, and so does damage of the last
/// transactions in it, which a snapshot hides from recovery.
fn is_torn(end: Option<&LogEnd>) -> bool {
    !matches!(end, None | Some(LogEnd::Clean | LogEnd::NoHeader))
}

/// Whether nothing can be missing between two transactions of a log. A new epoch begins with 1: how many
/// transactions the one before it had, nobody knows if a file ended in what is no record, or if a snapshot
/// lies between the two.
fn joins(before: Zxid, next: Zxid, is_torn: bool, snapshots: &[Zxid]) -> bool {
    if before.epoch() == next.epoch() {
        return next.follows(before);
    }
    if is_torn {
        return false;
    }
    let between = snapshots.iter().any(|&snapshot| before < snapshot && snapshot < next);
    next.follows(before) && next.counter() == 1 && !between
}

fn snapshot_zxids<D: Disk>(disk: &D, dirs: &Dirs) -> Result<Vec<Zxid>, StorageError> {
    let snapshots = list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))?;
    Ok(snapshots.into_iter().map(|(zxid, _)| zxid).collect())
}
