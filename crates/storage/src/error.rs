//! What can go wrong with files, in words for the operator: what happened, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use oxikeeper_proto::Zxid;
use thiserror::Error;

/// Why storage could not do what it was asked.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The operating system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: `open`, `sync`, ...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The disk has no room for the next batch. Nothing of it was written; trying again once there
    /// is room continues as if nothing had been.
    #[error("{dir} has {free} bytes left, {needed} are needed")]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed, the reserve included.
        needed: u64,
    },
    /// A data directory is not as it has to be.
    #[error("{0}")]
    Directory(String),
    /// The files do not add up to a state that can be trusted.
    #[error("{problem}\n  {advice}")]
    Refused {
        /// What was found, and where.
        problem: String,
        /// What the operator can do.
        advice: String,
        /// Where a log could be cut to give up what is damaged: the file, and its last sound byte.
        cut_at: Option<(PathBuf, u64)>,
    },
    /// A transaction out of order: the caller's mistake.
    #[error("zxid {zxid} cannot follow {last} in the log")]
    OutOfOrder {
        /// What was to be appended.
        zxid: Zxid,
        /// What is the last one.
        last: Zxid,
    },
    /// An earlier write or sync of the log failed.
    #[error(
        "the log in {dir} failed before, so nobody knows what of it is durable: the process has to \
         end and recover"
    )]
    LogFailed {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The state machine did not take what the files hold.
    #[error("the tree cannot be written to a snapshot that reads back: {0}")]
    Unreadable(String),
}

impl StorageError {
    /// True if the same call may be made again later.
    pub fn is_full(&self) -> bool {
        matches!(self, StorageError::Full { .. })
    }
}

/// Puts action and path to an operating system's error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { action, path: path.to_owned(), source })
    }
}
