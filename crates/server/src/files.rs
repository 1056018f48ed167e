//! From the files of a data directory to the state they stand for, and back to a snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oxikeeper_node::time::Now;
use oxikeeper_proto::replay::{ReplayFault, ReplayTarget, SnapshotSink};
use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::{Acl, SessionId, Txn, TxnDigest, TxnHeader, Zxid};
use oxikeeper_storage::incomplete::{drop_damage, is_incomplete, is_whole_again};
use oxikeeper_storage::{
    Compression, Dirs, Disk, RecoverOptions, SnapshotFile, SnapshotWriter, StorageError, clean_up,
    recent_transactions, recover, truncate_log,
};
use oxikeeper_tree::{ChangeList, Restore, Tree, TreeOptions};
use oxikeeper_zab::history::Proposal;
use tracing::{error, warn};

use crate::bursts::Bursts;
use crate::clock::Clock;

/// Nodes walked for a snapshot between two looks whether others want the processor.
const NODES_PER_PIECE: usize = 512;

/// The files, and how they are read.
pub struct Files<D: Disk> {
    /// Where they are.
    pub disk: Arc<D>,
    /// Where they are.
    pub dirs: Dirs,
    /// What is to be made of damage.
    pub recover: RecoverOptions,
    /// How the tree behaves.
    pub tree: TreeOptions,
    /// How snapshots are written.
    pub compression: Compression,
    /// How long it takes to read them.
    pub clock: Clock,
}

impl<D: Disk> Clone for Files<D> {
    fn clone(&self) -> Files<D> {
        Files { disk: Arc::clone(&self.disk), dirs: self.dirs.clone(), ..*self }
    }
}

/// A state read from files.
pub struct Restored {
    /// The state.
    pub tree: Tree,
    /// How many transactions were replayed.
    pub replayed: u64,
    /// The snapshot they begin with; none if there is nothing, and nothing may begin.
    pub snapshot: Option<PathBuf>,
    /// There were no files at all.
    pub is_new: bool,
    /// Something that was acknowledged may be missing.
    pub is_incomplete: bool,
    /// How long it took until the snapshot was read.
    pub snapshot_took: Duration,
    /// How long the logs took then.
    pub logs_took: Duration,
}

/// A target that notes when the snapshot had been read.
struct Timed {
    restore: Restore,
    clock: Clock,
    snapshot_read: Now,
}

impl SnapshotSink for Timed {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), ReplayFault> {
        self.restore.session(id, timeout_ms)
    }

    fn acl(&mut self, id: i64, acl: Vec<Acl>) -> Result<(), ReplayFault> {
        self.restore.acl(id, acl)
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        self.restore.node(path, data, acl_id, stat)
    }

    fn came_so_far(&mut self, share: f64) {
        self.restore.came_so_far(share);
    }
}

impl ReplayTarget for Timed {
    fn begin_snapshot(&mut self, zxid: Zxid) {
        self.restore.begin_snapshot(zxid);
    }

    fn begin_empty(&mut self) {
        self.restore.begin_empty();
    }

    fn end_snapshot(&mut self, zxid: Zxid, digest: Option<(Zxid, u64)>) -> Result<(), ReplayFault> {
        let ended = self.restore.end_snapshot(zxid, digest);
        self.snapshot_read = self.clock.now();
        ended
    }

    fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
    ) -> Result<(), ReplayFault> {
        self.restore.apply(header, txn, digest)
    }

    fn finish(&mut self) -> Result<(), ReplayFault> {
        self.restore.finish()
    }
}

impl<D: Disk> Files<D> {
    /// Reads the state, and puts the files in order. Where there are none, a first snapshot begins a history
    /// if this server `may_begin` one; else the directory stays empty, so that the next start sees it too.
    ///
    /// # Errors
    /// Files that do not add up, and what the disk says.
    pub fn restore(&self, may_begin: bool) -> Result<Restored, StorageError> {
        let began = self.clock.now();
        let restore = Restore::new(self.tree);
        let mut timed = Timed { restore, clock: self.clock, snapshot_read: began };
        let recovered = recover(&*self.disk, &self.dirs, &self.recover, &mut timed)?;
        let Timed { restore, snapshot_read, .. } = timed;
        let (snapshot_took, logs_took) =
            (snapshot_read.since(began), self.clock.now().since(snapshot_read));
        for finding in &recovered.findings {
            warn!("{finding}");
        }
        if let Some((count, first)) = restore.digest_mismatches() {
            warn!(count, %first, "the tree's digest differs from the log's while replaying");
        }
        clean_up(&*self.disk, &self.dirs, &recovered)?;
        let mut tree = restore.into_tree();
        let dead = tree.remove_dead_ephemerals(&mut ChangeList::default());
        if dead > 0 {
            warn!(dead, "removed ephemerals whose sessions are not known");
        }
        // A log must never stand without a snapshot before it; and what has no transaction needs one.
        let snapshot = match recovered.snapshot {
            Some(snapshot) if dead == 0 => Some(snapshot),
            None if recovered.fresh && !may_begin => None,
            // Nobody is served yet.
            _ => Some(
                self.write_snapshot(&mut tree, |_| (), |writer, digest| writer.finish(digest))?
                    .path,
            ),
        };
        Ok(Restored {
            tree,
            replayed: recovered.replayed,
            snapshot,
            is_new: recovered.fresh,
            is_incomplete: is_incomplete(&*self.disk, &self.dirs)?,
            snapshot_took,
            logs_took,
        })
    }

    /// As [`restore`](Self::restore), for a server that others can give what is missing: what stands behind
    /// damage of the log is set aside.
    ///
    /// # Errors
    /// As there, but for damage that a cut mends.
    pub fn restore_in_ensemble(&self, may_begin: bool) -> Result<Restored, StorageError> {
        loop {
            let problem = match self.restore(may_begin) {
                Err(StorageError::Refused { problem, cut_at: Some(_), .. }) => problem,
                other => return other,
            };
            error!(
                "{problem}: what stands behind it is set aside, and this server has no vote until a \
                 leader has sent it the whole state"
            );
            let mut restore = Restore::new(self.tree);
            let cut = drop_damage(&*self.disk, &self.dirs, &self.recover, &mut restore)?;
            for path in cut.iter().flat_map(|cut| &cut.set_aside) {
                warn!("set aside: {}", path.display());
            }
        }
    }

    /// The last `count` transactions up to `last`, for learners that rejoin.
    ///
    /// # Errors
    /// What the disk says.
    pub fn recent(&self, last: Zxid, count: usize) -> Result<Vec<Proposal>, StorageError> {
        let max = self.recover.payload_bytes_max;
        let records = recent_transactions(&*self.disk, &self.dirs, last, count, max)?;
        let proposal = |record: oxikeeper_storage::LogRecord| Proposal {
            zxid: record.zxid,
            payload: record.payload.into(),
        };
        Ok(records.into_iter().map(proposal).collect())
    }

    /// Cuts the history behind `to`, and reads what is left. `None` if the files do not lead there, with
    /// nothing changed.
    ///
    /// # Errors
    /// What the disk says: the process has to stop.
    pub fn truncate(&self, to: Zxid) -> Result<Option<Restored>, StorageError> {
        match truncate_log(&*self.disk, &self.dirs, &self.recover, to) {
            Err(refused @ StorageError::Refused { .. }) => {
                warn!("{refused}");
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(_) => self.restore(true).map(Some),
        }
    }

    /// Makes a state that came from elsewhere the one on disk.
    ///
    /// # Errors
    /// What the disk says: the process has to stop.
    pub fn install(&self, tree: &mut Tree) -> Result<SnapshotFile, StorageError> {
        let mut bursts = Bursts::to_disk();
        let file = self.write_snapshot(
            tree,
            |bytes| bursts.wrote(bytes),
            |writer, digest| writer.install(digest, &self.recover),
        )?;
        is_whole_again(&*self.disk, &self.dirs)?;
        Ok(file)
    }

    fn write_snapshot(
        &self,
        tree: &mut Tree,
        mut wrote: impl FnMut(usize),
        finish: impl FnOnce(SnapshotWriter<'_, D>, Option<u64>) -> Result<SnapshotFile, StorageError>,
    ) -> Result<SnapshotFile, StorageError> {
        let mut walk = tree.begin_snapshot();
        let mut writer =
            SnapshotWriter::begin(&*self.disk, &self.dirs, walk.zxid(), self.compression)?;
        let mut bytes = Vec::new();
        while !tree.walk_snapshot(&mut walk, &mut bytes, NODES_PER_PIECE) {
            writer.write(&bytes)?;
            wrote(bytes.len());
            bytes.clear();
        }
        writer.write(&bytes)?;
        let digest = walk.digest();
        tree.end_snapshot(walk);
        finish(writer, self.tree.digest_enabled.then_some(digest))
    }
}
