//! Cutting the end of the history off: what TRUNC asks of a learner.
//!
//! ```text
//!  1 prove that the rest leads to the place   nothing is changed
//!  2 remove later logs, the last one first    state: the old history, up to some transaction
//!  3 put the cut file in place of the whole   the same
//!  4 remove newer snapshots                   state: cut
//! ```
//!
//! Each step is durable before the next one begins. Whenever it is interrupted, what recovery finds
//! is a prefix of the old history that reaches to the place at least, and doing it again ends it.
//! A newer snapshot goes last: while one is there the state is its, and nothing joins on behind it.
//! Source: quorum-protocol reference, 11.2 rules 7 and 11, ZOOKEEPER-1549.

use std::path::PathBuf;

use oxikeeper_proto::Zxid;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::framing;
use crate::log_reader::{LogEnd, LogReader};
use crate::recovery::{RecoverOptions, list, reach};

/// What was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The last transaction that the files lead to now.
    pub last: Zxid,
    /// Logs and snapshots that are gone, and the log that was cut.
    pub changed: Vec<PathBuf>,
}

/// Cuts the history behind `to`: afterwards it ends at the last transaction at or before it, durably.
/// That is `to` itself, unless it stands for the beginning of an epoch, or the leader and this server
/// disagree about the past: who calls looks at [`Truncated::last`].
///
/// Who calls has dropped the [`TxnLog`](crate::TxnLog) and its prepared file, and no snapshot is
/// being written. What is in memory is worth nothing afterwards: recover anew.
///
/// # Errors
/// The files do not lead there without what would go: nothing was changed then. Or what the disk says: the process has to stop, and may do it again.
pub fn truncate_log<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    to: Zxid,
) -> Result<Truncated, StorageError> {
    truncate_log_mutated(disk, dirs, options, to, None)
}

/// Defects that tests inject, to prove that they would be caught.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncateMutation {
    /// Leave snapshots that hold what was cut (ZOOKEEPER-1549).
    LeaveNewerSnapshot,
    /// Rely on names before the directories are synced.
    SkipDirectorySync,
    /// Remove the first of the later logs first.
    RemoveOldestFirst,
}

/// [`truncate_log`] with a defect.
#[doc(hidden)]
pub fn truncate_log_mutated<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    to: Zxid,
    mutation: Option<TruncateMutation>,
) -> Result<Truncated, StorageError> {
    let last = reach(disk, dirs, options, to)?;
    let mut changed = cut_logs(disk, dirs, options, to, mutation)?;
    if mutation != Some(TruncateMutation::LeaveNewerSnapshot) {
        let snapshots = list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))?;
        for (_, path) in snapshots.into_iter().rev().filter(|(zxid, _)| *zxid > to) {
            disk.remove(&path).at("remove", &path)?;
            changed.push(path);
        }
        if mutation != Some(TruncateMutation::SkipDirectorySync) {
            disk.sync_dir(dirs.data()).at("sync", dirs.data())?;
        }
    }
    Ok(Truncated { last, changed })
}

/// Removes every record later than `to` from the logs, durably, the last ones first: what is left at
/// any moment has no gap.
pub(crate) fn cut_logs<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    to: Zxid,
    mutation: Option<TruncateMutation>,
) -> Result<Vec<PathBuf>, StorageError> {
    let sync = || match mutation {
        Some(TruncateMutation::SkipDirectorySync) => Ok(()),
        _ => disk.sync_dir(dirs.log()).at("sync", dirs.log()),
    };
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let later = logs.partition_point(|(first, _)| *first <= to);
    let mut changed = Vec::new();
    let mut doomed: Vec<PathBuf> = logs[later..].iter().rev().map(|(_, p)| p.clone()).collect();
    if mutation == Some(TruncateMutation::RemoveOldestFirst) {
        doomed.reverse();
    }
    for path in doomed {
        disk.remove(&path).at("remove", &path)?;
        sync()?;
        changed.push(path);
    }
    let Some((_, path)) = logs[..later].last() else { return Ok(changed) };
    let mut reader = LogReader::open(disk, path, options.payload_bytes_max)?;
    let mut end = reader.position();
    let mut goes_on = false;
    while let Some(record) = reader.next_record()? {
        if record.header.zxid > to {
            goes_on = true;
            break;
        }
        end = reader.position();
    }
    // Behind damage there may be anything; only zeros are certain to hold no record.
    let is_clean = matches!(reader.end(), Some(LogEnd::Clean | LogEnd::NoHeader));
    if is_clean && !goes_on {
        return Ok(changed);
    }
    if end <= framing::HEADER.len() as u64 {
        disk.remove(path).at("remove", path)?;
    } else {
        // A file may be cut in place, but not in one step with the rest of its last sector.
        let sound = dirs.log().join(format!("{}cut", file_name::TEMPORARY));
        let file = disk.open(path).at("open", path)?;
        copy(disk, &file, end, path, &sound)?;
        disk.rename(&sound, path).at("rename", &sound)?;
    }
    sync()?;
    changed.push(path.clone());
    Ok(changed)
}

/// Copies the first `bytes` of a file to a new one, and makes them durable.
pub(crate) fn copy<D: Disk>(
    disk: &D,
    file: &D::File,
    bytes: u64,
    from: &std::path::Path,
    to: &std::path::Path,
) -> Result<(), StorageError> {
    const PIECE_BYTES: u64 = 1 << 20;
    let copy = disk.create(to).at("create", to)?;
    let mut buffer = vec![0; PIECE_BYTES as usize];
    let mut done = 0;
    while done < bytes {
        let piece = &mut buffer[..(bytes - done).min(PIECE_BYTES) as usize];
        let count = file.read_at(done, piece).at("read", from)?;
        if count == 0 {
            break;
        }
        copy.write_at(done, &piece[..count]).at("write", to)?;
        done += count as u64;
    }
    copy.sync().at("sync", to)
}
