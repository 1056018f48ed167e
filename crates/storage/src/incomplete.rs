//! A server of an ensemble whose log is damaged: it drops what is behind the damage, and has no say until
//! a leader has given it the whole state.
//!
//! Something that it acknowledged may be missing, so that it must not vote with what is left: a file says
//! so, from before the first change until after a snapshot of a leader is in place. Whatever is interrupted
//! in between is done again at the next start. Nothing is deleted: what is dropped is set aside.

use std::path::PathBuf;

use oxikeeper_proto::replay::ReplayTarget;

use crate::check::{Cut, cut};
use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::recovery::RecoverOptions;

/// The file that says that transactions may be missing here.
pub const INCOMPLETE: &str = "oxikeeper.incomplete";

/// What stands in it, for people.
const TEXT: &[u8] = b"The transaction log was damaged. What stood behind the damage is set aside in files \
damaged.*, and this server has no vote until a leader has sent it the whole state.\n\
If a quorum of the ensemble is in this position there will be no leader: restore backups, or remove this \
file on the servers that have the newest logs, which gives up what only the damaged parts held.\n";

/// Drops everything from that damage on which makes recovery refuse the directory, after noting that this
/// server is not whole any more. `None`, and nothing changed, if a cut mends nothing.
///
/// # Errors
/// What the disk says. The next start goes on.
pub fn drop_damage<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Option<Cut>, StorageError> {
    mark(disk, dirs)?;
    cut(disk, dirs, options, target)
}

/// Whether transactions may be missing here.
///
/// # Errors
/// What the disk says.
pub fn is_incomplete<D: Disk>(disk: &D, dirs: &Dirs) -> Result<bool, StorageError> {
    let names = disk.list(dirs.data()).at("list", dirs.data())?;
    Ok(names.iter().any(|name| name == INCOMPLETE))
}

/// A leader's state is in place: nothing is missing.
///
/// # Errors
/// What the disk says.
pub fn is_whole_again<D: Disk>(disk: &D, dirs: &Dirs) -> Result<(), StorageError> {
    if !is_incomplete(disk, dirs)? {
        return Ok(());
    }
    let path = file(dirs);
    disk.remove(&path).at("remove", &path)?;
    disk.sync_dir(dirs.data()).at("sync", dirs.data())
}

fn mark<D: Disk>(disk: &D, dirs: &Dirs) -> Result<(), StorageError> {
    // That it is there is what counts; what stands in it is for people.
    let path = file(dirs);
    let file = disk.create(&path).at("create", &path)?;
    file.write_at(0, TEXT).at("write", &path)?;
    file.sync().at("sync", &path)?;
    disk.sync_dir(dirs.data()).at("sync", dirs.data())
}

fn file(dirs: &Dirs) -> PathBuf {
    dirs.data().join(INCOMPLETE)
}
