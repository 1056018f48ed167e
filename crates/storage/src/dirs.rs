//! Where the files are.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{At, StorageError};
use crate::file_name;

/// `version-2` below `dataDir` and below `dataLogDir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    data: PathBuf,
    log: PathBuf,
}

impl Dirs {
    /// From `dataDir` and `dataLogDir`.
    pub fn new(data_dir: &Path, log_dir: &Path) -> Dirs {
        Dirs { data: data_dir.join("version-2"), log: log_dir.join("version-2") }
    }

    /// Where snapshots and epoch files are.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where logs are.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Creates what is missing, and checks that both may be written and hold no files of the other.
    ///
    /// # Errors
    /// A directory that is missing though `create` is false, cannot be written, or holds files that
    /// belong into the other one (ZOOKEEPER-2967).
    pub fn prepare<D: Disk>(&self, disk: &D, create: bool) -> Result<(), StorageError> {
        let is_snapshot: fn(&str) -> bool = |name| file_name::parse_snapshot(name).is_some();
        let is_log: fn(&str) -> bool = |name| file_name::parse_log(name).is_some();
        for (dir, is_ours) in [(&self.data, is_snapshot), (&self.log, is_log)] {
            if !disk.is_dir(dir) {
                if !create {
                    return Err(StorageError::Directory(format!(
                        "{} does not exist and zookeeper.datadir.autocreate is false; create it, \
                         or correct dataDir and dataLogDir",
                        dir.display()
                    )));
                }
                disk.create_dirs(dir).at("create", dir)?;
            }
            // Without files in it, it may be new, though perhaps not made by this very process.
            if !disk.list(dir).at("list", dir)?.iter().any(|name| is_ours(name)) {
                sync_up(disk, dir)?;
            }
            let probe = dir.join("tmp.probe");
            disk.create(&probe).at("write to", dir)?;
            disk.remove(&probe).at("write to", dir)?;
        }
        self.check_not_mixed(disk)
    }

    /// With two directories, logs among snapshots or snapshots among logs mean that the
    /// configuration was changed and the files were not moved: half the state would be missed.
    pub fn check_not_mixed<D: Disk>(&self, disk: &D) -> Result<(), StorageError> {
        if self.data == self.log {
            return Ok(());
        }
        let mixed = |dir: &Path, other: &Path, name: &str, what: &str| {
            StorageError::Directory(format!(
                "{} is a {what}, but lies in {}: dataDir and dataLogDir were changed without \
                 moving the files. Move every {what} to {}",
                name,
                dir.display(),
                other.display()
            ))
        };
        for name in disk.list(&self.data).at("list", &self.data)? {
            if file_name::parse_log(&name).is_some() {
                return Err(mixed(&self.data, &self.log, &name, "transaction log"));
            }
        }
        for name in disk.list(&self.log).at("list", &self.log)? {
            if file_name::parse_snapshot(&name).is_some() {
                return Err(mixed(&self.log, &self.data, &name, "snapshot"));
            }
        }
        Ok(())
    }
}

/// Makes directories durable: each one's entry stands in the one above.
fn sync_up<D: Disk>(disk: &D, dir: &Path) -> Result<(), StorageError> {
    for above in dir.ancestors().skip(1) {
        // The empty path above a relative one is the working directory.
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_dir(above) {
            // What we may not read we have not made.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            other => other.at("sync", above)?,
        }
    }
    Ok(())
}
