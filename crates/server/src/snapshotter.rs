//! The thread that writes snapshots and purges old files, while everybody else goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use oxikeeper_node::core::Input;
use oxikeeper_storage::{
    Compression, Dirs, Disk, SnapshotFile, SnapshotWriter, StorageError, purge,
};
use oxikeeper_tree::SnapshotWalk;
use tracing::{info, warn};

use crate::bursts::Bursts;
use crate::clock::{self, Clock};
use crate::engine::Runner;
use crate::shared::{LastSnapshot, Shared};

/// Nodes written in one hold of the tree's lock.
const NODES_PER_HOLD: usize = 1024;

/// When to purge, and how much to keep: `autopurge.*`.
#[derive(Clone, Copy, Debug)]
pub struct PurgePlan {
    /// `autopurge.purgeInterval`; zero is never.
    pub interval: Duration,
    /// `autopurge.snapRetainCount`.
    pub retain: usize,
}

/// See the module's head.
pub struct Snapshotter<D: Disk> {
    /// Where to.
    pub disk: Arc<D>,
    /// Where to.
    pub dirs: Dirs,
    /// In what form.
    pub compression: Compression,
    /// Whether the tree keeps a digest.
    pub digest_enabled: bool,
    /// The tree, and where the end is reported.
    pub shared: Arc<Shared>,
    /// How long it takes.
    pub clock: Clock,
    /// When to remove files that no recovery needs.
    pub purge: PurgePlan,
}

impl<D: Disk> Snapshotter<D> {
    /// Writes the snapshots of the walks it is sent, until the sender is gone. One that fails is
    /// reported and given up: the logs hold everything.
    pub fn run(self, walks: &Receiver<SnapshotWalk>) {
        let mut next_purge = self.clock.now();
        loop {
            let received = if self.purge.interval.is_zero() {
                walks.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                walks.recv_timeout(self.clock.until(next_purge))
            };
            match received {
                Ok(walk) => self.snapshot(walk),
                Err(RecvTimeoutError::Timeout) => {
                    self.purge();
                    next_purge = self.clock.now().after(self.purge.interval);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn snapshot(&self, mut walk: SnapshotWalk) {
        let began = self.clock.now();
        let zxid = walk.zxid();
        // Checks of logs search for these words, as Apache spells them.
        info!("Snapshotting: {zxid} to {}", self.dirs.data().display());
        let written = self.write(&mut walk);
        let mut tree = self.shared.tree.write();
        if tree.has_walk() {
            tree.end_snapshot(walk);
        }
        drop(tree);
        let took_ms = self.clock.now().since(began).as_millis() as u64;
        let counters = &self.shared.counters;
        counters.disk.lock().snapshot_us.count(self.clock.now().since(began).as_micros() as u64);
        match written {
            Ok(None) => info!(%zxid, "no snapshot: the state was replaced"),
            Ok(Some(file)) => {
                let (path, at) = (file.path.clone(), clock::wall());
                let mut last = counters.last_snapshot.lock();
                let number = last.as_ref().map_or(0, |last| last.number) + 1;
                *last = Some(LastSnapshot { zxid, path, at, number });
                drop(last);
                info!(%zxid, bytes = file.bytes, took_ms, path = %file.path.display(), "snapshot");
            }
            Err(error) => {
                counters.snapshot_errors.fetch_add(1, Ordering::Relaxed);
                warn!(%zxid, %error, "no snapshot; the log grows until one succeeds");
            }
        }
        self.shared.run_core([Input::SnapshotFinished { took_ms }], Runner::Other);
    }

    /// None if the tree that was walked is not the server's any more.
    fn write(&self, walk: &mut SnapshotWalk) -> Result<Option<SnapshotFile>, StorageError> {
        let disk = &*self.disk;
        let mut writer = SnapshotWriter::begin(disk, &self.dirs, walk.zxid(), self.compression)?;
        let mut bytes = Vec::new();
        let mut bursts = Bursts::to_disk();
        loop {
            bytes.clear();
            let tree = self.shared.tree.read();
            if !tree.has_walk() {
                writer.abandon();
                return Ok(None);
            }
            let done = tree.walk_snapshot(walk, &mut bytes, NODES_PER_HOLD);
            drop(tree);
            if let Err(error) = writer.write(&bytes) {
                writer.abandon();
                return Err(error);
            }
            if done {
                return writer.finish(self.digest_enabled.then_some(walk.digest())).map(Some);
            }
            bursts.wrote(bytes.len());
        }
    }

    fn purge(&self) {
        info!("Purge task started.");
        match purge(&*self.disk, &self.dirs, self.purge.retain) {
            Ok(purged) => {
                for path in purged.removed {
                    info!(path = %path.display(), "purged");
                }
            }
            Err(error) => warn!(%error, "purge failed; it is tried again at its next time"),
        }
        info!("Purge task completed.");
    }
}
