//! Keeps two processes of ours from working in one data directory. Apache's do not look at it.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::RunError;

/// Held as long as the file lives. The system lets it go with the process, however that ends.
///
/// # Errors
/// Another process holds it, or there can be no such file.
pub fn take(data_dir: &Path) -> Result<File, RunError> {
    let path = data_dir.join("oxikeeper.lock");
    let file = match File::options().create(true).append(true).open(&path) {
        Ok(file) => file,
        Err(source) => return Err(RunError::Lock { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(RunError::Lock { path, source }),
    }
}
