//! `acceptedEpoch` and `currentEpoch`: one decimal number each, replaced atomically.
//! Source: storage-format reference, 1.

use std::path::Path;

use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};

/// Reads a number; `None` if there is no such file.
///
/// # Errors
/// A file that cannot be read, or whose first line is not a decimal number.
pub fn read<D: Disk>(disk: &D, dir: &Path, name: &str) -> Result<Option<i64>, StorageError> {
    let path = dir.join(name);
    let file = match disk.open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", &path)?,
    };
    let mut bytes = [0; 64];
    let count = file.read_at(0, &mut bytes).at("read", &path)?;
    let text = String::from_utf8_lossy(&bytes[..count]);
    let line = text.lines().next().unwrap_or_default();
    line.parse().map(Some).map_err(|_| StorageError::Refused {
        problem: format!("{} holds {line:?}, not a decimal number", path.display()),
        advice: "Restore the file from a backup of this server, never from another server.".into(),
        cut_at: None,
    })
}

/// Writes a number: to a temporary file, synced, renamed, and the directory synced.
///
/// # Errors
/// What the disk says. The old number stays then.
pub fn write<D: Disk>(disk: &D, dir: &Path, name: &str, value: i64) -> Result<(), StorageError> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let file = disk.create(&temporary).at("create", &temporary)?;
    file.write_at(0, value.to_string().as_bytes()).at("write", &temporary)?;
    file.sync().at("sync", &temporary)?;
    disk.rename(&temporary, &path).at("rename", &temporary)?;
    disk.sync_dir(dir).at("sync", dir)
}
