//! What the log writer does for the peer, between two batches: epoch files, cuts, received snapshots.

use std::sync::Arc;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::quorum::ConfigText;
use oxikeeper_storage::{Disk, LogOptions, StorageError, TxnLog, epochs};
use oxikeeper_tree::Tree;
use oxikeeper_zab::io::{ConfigStep, EpochKind, Input, Ticket};
use tracing::{error, info};

use super::config_files::ConfigFiles;
use crate::engine::Runner;
use crate::files::Files;
use crate::log_writer::LogWriter;

/// Something that the peer waits for.
pub enum DiskJob {
    /// Write an epoch file.
    Epoch {
        /// Which.
        kind: EpochKind,
        /// The epoch.
        epoch: u32,
        /// Of the request.
        ticket: Ticket,
    },
    /// Cut the log, and read the state anew.
    Truncate {
        /// Where.
        to: Zxid,
        /// Of the request.
        ticket: Ticket,
    },
    /// Write down what has become of a configuration.
    Config {
        /// The configuration.
        config: Arc<ConfigText>,
        /// What has become of it.
        step: ConfigStep,
    },
    /// Make a received state this server's.
    Install {
        /// The state.
        tree: Box<Tree>,
        /// Of the request.
        ticket: Ticket,
    },
}

/// What these jobs need to know.
pub struct EnsembleFiles<D: Disk> {
    /// The files.
    pub files: Files<D>,
    /// How the log is written.
    pub log: LogOptions,
    /// Transactions kept for learners that rejoin.
    pub commit_log_count: usize,
    /// The configuration that `/zookeeper/config` shows, with its version.
    pub config: (Vec<u8>, Zxid),
    /// Where it is written down when it changes; none unless it may.
    pub config_files: Option<ConfigFiles>,
}

impl<D: Disk> LogWriter<D> {
    /// Does one job.
    ///
    /// # Errors
    /// What the disk says: the process has to stop.
    pub fn do_for_peer(&mut self, job: DiskJob) -> Result<(), StorageError> {
        match job {
            DiskJob::Epoch { kind, epoch, ticket } => {
                let name = match kind {
                    EpochKind::Accepted => epochs::ACCEPTED,
                    EpochKind::Current => epochs::CURRENT,
                };
                let files = &self.files.files;
                epochs::write(&*files.disk, &files.dirs, name, epoch)?;
                self.shared.run_core([Input::EpochWritten(ticket)], Runner::LogWriter);
            }
            DiskJob::Truncate { to, ticket } => {
                let Some(restored) = self.files.files.truncate(to)? else {
                    self.shared.run_core([Input::TruncateRefused { ticket }], Runner::LogWriter);
                    return Ok(());
                };
                let last = restored.tree.last_zxid();
                info!(%to, %last, "the log is cut");
                let tail = self.files.files.recent(last, self.files.commit_log_count)?;
                let done = Input::Truncated { ticket, last, tail };
                self.begin_anew(restored.tree, last, done);
            }
            DiskJob::Config { config, step } => {
                if matches!(step, ConfigStep::Committed { .. }) {
                    let version = Zxid::from_wire(config.version);
                    self.files.config = (config.to_string().into_bytes(), version);
                }
                let EnsembleFiles { files, config_files, .. } = &self.files;
                let Some(config_files) = config_files else { return Ok(()) };
                if let Err(error) = config_files.keep(&*files.disk, &config, step) {
                    // As with Apache: the others know, and tell this server when it starts anew.
                    let version = format!("{:x}", config.version);
                    error!(version, %error, "a configuration cannot be written beside zoo.cfg");
                }
            }
            DiskJob::Install { mut tree, ticket } => {
                let file = self.files.files.install(&mut tree)?;
                let zxid = tree.last_zxid();
                info!(%zxid, bytes = file.bytes, path = %file.path.display(), "snapshot of the leader");
                self.begin_anew(*tree, zxid, Input::SnapshotInstalled { ticket, zxid });
            }
        }
        Ok(())
    }

    fn begin_anew(&mut self, mut tree: Tree, last: Zxid, done: Input) {
        let EnsembleFiles { files, log, config, .. } = &self.files;
        self.log = TxnLog::new(files.disk.clone(), files.dirs.clone(), *log, last);
        tree.set_config(&config.0, config.1);
        self.shared.engine.replace_tree(&self.shared, tree, done);
    }
}
