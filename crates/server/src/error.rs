//! Why a server ends without having been told to: what is wrong, where, and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use oxikeeper_storage::StorageError;
use thiserror::Error;

/// See the module's head.
#[derive(Debug, Error)]
pub enum RunError {
    /// The files do not add up, or cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The directories cannot be used.
    #[error("{source}{advice}")]
    Directories {
        /// What was tried, and where.
        source: StorageError,
        /// What to do, if the error does not say so itself.
        advice: String,
    },
    /// The client port cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_advice(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The AdminServer's port cannot be listened on.
    #[error(
        "Unable to start AdminServer: cannot listen on {host}:{port}: {source}; end the process that \
         listens there, set another admin.serverPort or admin.serverAddress, or switch it off with \
         admin.enableServer=false"
    )]
    Admin {
        /// `admin.serverAddress`.
        host: String,
        /// `admin.serverPort`.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The port of the metrics cannot be listened on.
    #[error(
        "cannot listen on {host}:{port} for metrics: {source}; correct metricsProvider.httpHost and \
         metricsProvider.httpPort"
    )]
    Metrics {
        /// `metricsProvider.httpHost`.
        host: String,
        /// `metricsProvider.httpPort`.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// Another server uses the data directory.
    #[error(
        "{} is in use by another process, and two servers must not share a data directory: end the \
         other one, or set another dataDir",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file that keeps others away cannot be had.
    #[error(
        "cannot lock {}: {source}; the server's user must be able to write to it",
        path.display()
    )]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ensemble cannot be what the configuration says.
    #[error("{0}")]
    Ensemble(String),
    /// The operating system refused something else.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

impl RunError {
    /// The directories cannot be used.
    pub fn directories(source: StorageError, data_dir: &Path, data_log_dir: &Path) -> RunError {
        let advice = match source {
            StorageError::Io { .. } => format!(
                "\n  dataDir is {}, dataLogDir is {}: both have to be directories in which the \
                 server's user may create files. Correct the configuration or the rights",
                data_dir.display(),
                data_log_dir.display()
            ),
            _ => String::new(),
        };
        RunError::Directories { source, advice }
    }

    /// The process's exit code, as Apache has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Storage(StorageError::Directory(_) | StorageError::Io { .. }) => 3,
            RunError::Directories { .. } | RunError::InUse(_) | RunError::Lock { .. } => 3,
            RunError::Admin { .. } => 4,
            RunError::Ensemble(_) => 2,
            RunError::Metrics { .. } => 1,
            RunError::Storage(_) | RunError::Listen { .. } | RunError::System(..) => 1,
        }
    }
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: end it, or set another clientPort"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: correct clientPortAddress"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 take a privilege: set a higher clientPort"
        }
        _ => "correct clientPort or clientPortAddress",
    }
}
