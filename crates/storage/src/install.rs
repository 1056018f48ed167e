//! Putting a snapshot that came from another server in place of the own history.
//!
//! ```text
//!  1 the snapshot is written, synced and read back under a temporary name
//!  2 a marker: an installation has begun
//!  3 records behind its zxid are cut off the logs   state: a prefix of the old history
//!  4 the snapshot gets its name                     state: its, unless an own one is newer
//!  5 newer snapshots are removed                    state: its
//!  6 older snapshots and all logs are removed
//!  7 the marker is removed
//! ```
//!
//! Each step is durable before the next one begins. Were the old tail still there at 4, it would be
//! replayed onto a state that it does not belong to. Were old logs left at the end, a recovery that
//! has to fall back on an older snapshot, or a list of the last transactions, could join them to what
//! is logged from now on, though what the snapshot alone holds is missing between. That is why the
//! next start ends what was interrupted behind 4: the marker says so.

use std::path::{Path, PathBuf};

use oxikeeper_proto::Zxid;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::recovery::{RecoverOptions, Recovered, list};
use crate::truncate::cut_logs;

/// Defects that tests inject, to prove that they would be caught.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallMutation {
    /// Name the snapshot before the old tail is cut.
    NameFirst,
    /// Leave the old tail where it is.
    KeepTail,
    /// Rely on names before the directories are synced.
    SkipDirectorySync,
    /// Leave older logs and snapshots where they are.
    KeepOld,
}

/// The steps from 2 on; `name` is step 4, without the sync of the directory.
pub(crate) fn install<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    zxid: Zxid,
    name: impl FnOnce() -> Result<PathBuf, StorageError>,
    mutation: Option<InstallMutation>,
) -> Result<PathBuf, StorageError> {
    let sync = |dir: &Path| match mutation {
        Some(InstallMutation::SkipDirectorySync) => Ok(()),
        _ => disk.sync_dir(dir).at("sync", dir),
    };
    let marker = dirs.data().join(file_name::install_marker(zxid));
    disk.create(&marker).at("create", &marker)?.sync().at("sync", &marker)?;
    sync(dirs.data())?;
    let cut = || match mutation {
        Some(InstallMutation::KeepTail) => Ok(Vec::new()),
        _ => cut_logs(disk, dirs, options, zxid, None),
    };
    let path = if mutation == Some(InstallMutation::NameFirst) {
        let path = name()?;
        sync(dirs.data())?;
        cut()?;
        path
    } else {
        cut()?;
        let path = name()?;
        sync(dirs.data())?;
        path
    };
    for (newer, other) in snapshots(disk, dirs)?.into_iter().rev() {
        if newer > zxid {
            disk.remove(&other).at("remove", &other)?;
        }
    }
    sync(dirs.data())?;
    if mutation != Some(InstallMutation::KeepOld) {
        remove_old(disk, dirs, zxid, &path, &[])?;
    }
    disk.remove(&marker).at("remove", &marker)?;
    sync(dirs.data())?;
    Ok(path)
}

/// Ends what a crash has interrupted: to be called after a recovery, before anything is built on it.
pub(crate) fn finish_interrupted<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    recovered: &Recovered,
) -> Result<(), StorageError> {
    let parse = |name: &str| file_name::parse_install_marker(name);
    for (zxid, marker) in list(disk, dirs.data(), parse)? {
        let used = recovered.snapshot.as_deref();
        let used_zxid = used.and_then(Path::file_name).and_then(|name| name.to_str());
        let used_zxid = used_zxid.and_then(file_name::parse_snapshot).map(|(zxid, _)| zxid);
        // If it is not this state that was recovered, it is the old one: all is as it was.
        if let Some(path) = used
            && used_zxid == Some(zxid)
        {
            tracing::info!(%zxid, "finishing the installation of a snapshot that was interrupted");
            // Its name may not be durable yet, and the rest leans on it.
            disk.sync_dir(dirs.data()).at("sync", dirs.data())?;
            let kept: Vec<&Path> = recovered.logs.iter().map(|(path, _)| path.as_path()).collect();
            remove_old(disk, dirs, zxid, path, &kept)?;
        }
        disk.remove(&marker).at("remove", &marker)?;
    }
    Ok(())
}

/// Removes older snapshots, and logs that begin at or before the snapshot, durably.
fn remove_old<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    zxid: Zxid,
    snapshot: &Path,
    kept: &[&Path],
) -> Result<(), StorageError> {
    for (older, path) in snapshots(disk, dirs)? {
        if older <= zxid && path != snapshot {
            disk.remove(&path).at("remove", &path)?;
        }
    }
    disk.sync_dir(dirs.data()).at("sync", dirs.data())?;
    for (first, path) in list(disk, dirs.log(), file_name::parse_log)? {
        if first <= zxid && !kept.contains(&path.as_path()) {
            disk.remove(&path).at("remove", &path)?;
        }
    }
    disk.sync_dir(dirs.log()).at("sync", dirs.log())
}

fn snapshots<D: Disk>(disk: &D, dirs: &Dirs) -> Result<Vec<(Zxid, PathBuf)>, StorageError> {
    list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))
}
