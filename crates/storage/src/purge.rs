//! Removing snapshots and logs that no recovery needs.
//! Source: storage-format reference, 6.

use std::path::PathBuf;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::recovery::list;
use crate::snapshot_reader::{self, Discard};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// In the order of removal.
    pub removed: Vec<PathBuf>,
}

/// Keeps the newest `retain` snapshots that read back, every log from the last one that begins at
/// or before the oldest of them, and removes older files. With no sound snapshot nothing goes.
///
/// # Errors
/// What the disk says. What was removed before stays removed; what is left is still complete,
/// because logs go oldest first.
pub fn purge<D: Disk>(disk: &D, dirs: &Dirs, retain: usize) -> Result<Purged, StorageError> {
    purge_mutated(disk, dirs, retain, None)
}

/// Defects that tests inject, to prove that they would be caught.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeMutation {
    /// Count snapshots that do not read back.
    SkipVerify,
}

/// [`purge`] with a defect.
#[doc(hidden)]
pub fn purge_mutated<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    retain: usize,
    mutation: Option<PurgeMutation>,
) -> Result<Purged, StorageError> {
    let snapshots = list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))?;
    let mut oldest_kept = None;
    let mut sound = 0;
    for (zxid, path) in snapshots.iter().rev() {
        let is_counted = mutation == Some(PurgeMutation::SkipVerify);
        if is_counted || snapshot_reader::read(disk, path, &mut Discard).is_ok() {
            sound += 1;
            oldest_kept = Some(*zxid);
            // It may be Apache's, which does not sync what it writes.
            disk.open(path).at("open", path)?.sync().at("sync", path)?;
            if sound == retain.max(1) {
                break;
            }
        }
    }
    let mut purged = Purged::default();
    let Some(oldest_kept) = oldest_kept else { return Ok(purged) };
    for dir in [dirs.data(), dirs.log()] {
        disk.sync_dir(dir).at("sync", dir)?;
    }
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let first_kept = logs.partition_point(|(first, _)| *first <= oldest_kept).saturating_sub(1);
    let logs = logs.into_iter().take(first_kept);
    let old_snapshots = snapshots.into_iter().filter(|(zxid, _)| *zxid < oldest_kept);
    // Snapshots first: one without its logs would be a trap.
    for (_, path) in old_snapshots.chain(logs) {
        disk.remove(&path).at("remove", &path)?;
        purged.removed.push(path);
    }
    for dir in [dirs.data(), dirs.log()] {
        disk.sync_dir(dir).at("sync", dir)?;
    }
    Ok(purged)
}
