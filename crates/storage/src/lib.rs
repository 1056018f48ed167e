//! Transaction log, snapshots and epoch files in Apache ZooKeeper's formats, in place.
//!
//! Everything goes through [`Disk`], a synchronous trait with two implementations: the real one
//! and [`sim_disk::SimDisk`], which can crash. What a transaction means is not known here: a
//! [`ReplayTarget`](oxikeeper_proto::replay::ReplayTarget) takes what [`recover`] reads.

pub mod check;
pub mod dirs;
pub mod disk;
pub mod epoch_file;
pub mod epochs;
pub mod error;
mod file_name;
mod framing;
pub mod incomplete;
mod install;
mod log_ahead;
pub mod log_range;
pub mod log_reader;
mod log_segment;
pub mod purge;
mod real_disk;
mod recovery;
pub mod sim_disk;
pub mod snapshot_reader;
mod snapshot_stream;
pub mod snapshot_writer;
mod truncate;
pub mod txn_log;

pub use dirs::Dirs;
pub use disk::{Disk, DiskFile};
pub use epochs::Epochs;
pub use error::StorageError;
pub use install::InstallMutation;
pub use log_ahead::{LogPreparer, PreparedLog, Progress};
pub use log_range::{LogRange, LogRecord, recent_transactions, sync_limit};
pub use purge::{Purged, purge};
pub use real_disk::{RealDisk, RealFile};
pub use recovery::{Finding, RecoverOptions, Recovered, clean_up, recover};
pub use snapshot_writer::{Compression, SnapshotFile, SnapshotWriter};
pub use truncate::{TruncateMutation, Truncated, truncate_log, truncate_log_mutated};
pub use txn_log::{LogOptions, SyncStats, TxnLog};
