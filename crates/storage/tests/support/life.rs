//! One life: recover, append and sync batches, roll, prepare, snapshot, purge; until it ends or the
//! disk does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use oxikeeper_proto::txn::{CreateTxn, SetDataTxn, TxnDigest, encode_payload};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_storage::disk::{Disk, DiskFile};
use oxikeeper_storage::purge::{PurgeMutation, purge_mutated};
use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::snapshot_writer::SnapshotMutation;
use oxikeeper_storage::txn_log::LogMutation;
use oxikeeper_storage::{
    Compression, Dirs, LogOptions, LogPreparer, Progress, RecoverOptions, SnapshotWriter,
    StorageError, TxnLog, clean_up, recover,
};
use oxikeeper_tree::{ChangeList, Restore, Tree, TreeOptions};

use super::Random;

/// What a life may get wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    Log(LogMutation),
    Snapshot(SnapshotMutation),
    Purge(PurgeMutation),
    /// Build on what was replayed without making it durable.
    SkipCleanUp,
}

/// How a life is led.
#[derive(Clone, Debug)]
pub struct Plan {
    pub dirs: Dirs,
    pub compression: Compression,
    pub batches: u64,
    pub mutation: Option<Mutation>,
}

impl Plan {
    /// Seeds differ in where files are and how snapshots are compressed, too.
    pub fn new(seed: u64, batches: u64, mutation: Option<Mutation>) -> Plan {
        let log = if seed.is_multiple_of(3) { "/log" } else { "/srv/data" };
        let compressions = [Compression::None, Compression::Gzip, Compression::Snappy];
        let compression = compressions[(seed % 3) as usize];
        Plan {
            dirs: Dirs::new(Path::new("/srv/data"), Path::new(log)),
            compression,
            batches,
            mutation,
        }
    }
}

/// What the outside world knows of a life.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last transaction that was acknowledged.
    pub acknowledged: Zxid,
    /// The tree's digest after each transaction that was appended.
    pub digests: BTreeMap<Zxid, u64>,
    /// Calls to the disk that are allowed to fail without ending the life: they prepare ahead.
    pub may_fail: Vec<(u64, u64)>,
}

pub fn log_options() -> LogOptions {
    LogOptions { prepare_bytes: 16 << 10, ..LogOptions::default() }
}

/// What prepares log files.
pub fn preparer(disk: &SimDisk, plan: &Plan) -> LogPreparer<SimDisk> {
    LogPreparer::new(Arc::new(disk.clone()), plan.dirs.clone(), log_options())
}

/// One step towards the next log file, if one is wanted. False if there is nothing more to do.
pub fn prepare(log: &mut TxnLog<SimDisk>, preparer: &mut LogPreparer<SimDisk>) -> bool {
    if !log.wants_prepared() {
        return false;
    }
    match preparer.step() {
        Progress::More => true,
        Progress::Failed => false,
        Progress::Ready(prepared) => {
            log.accept(prepared);
            false
        }
    }
}

/// Leads a life.
pub fn live(
    disk: &SimDisk,
    plan: &Plan,
    known: &mut Known,
    random: &mut Random,
) -> Result<(), StorageError> {
    let dirs = &plan.dirs;
    dirs.prepare(disk, true)?;
    let mut restore = Restore::new(TreeOptions::default());
    let recovered = recover(disk, dirs, &RecoverOptions::default(), &mut restore)?;
    if plan.mutation != Some(Mutation::SkipCleanUp) {
        clean_up(disk, dirs, &recovered)?;
    }
    let mut tree = restore.into_tree();
    if recovered.snapshot.is_none() {
        snapshot(disk, plan, &mut tree)?;
    }
    known.digests.split_off(&Zxid::new(tree.last_zxid().raw() + 1));
    known.digests.insert(tree.last_zxid(), tree.digest());
    let mut log =
        TxnLog::new(Arc::new(disk.clone()), dirs.clone(), log_options(), tree.last_zxid());
    let mut preparer = preparer(disk, plan);
    if let Some(Mutation::Log(mutation)) = plan.mutation {
        log.mutate(mutation);
    }
    for batch in 0..plan.batches {
        for _ in 0..1 + random.below(4) {
            append(&mut log, &mut tree, known, random)?;
        }
        log.sync()?;
        known.acknowledged = known.acknowledged.max(tree.last_zxid());
        match random.below(9) {
            0 => {
                log.roll()?;
                snapshot(disk, plan, &mut tree)?;
            }
            1 => log.roll()?,
            2 if batch > 4 => {
                let mutation = match plan.mutation {
                    Some(Mutation::Purge(mutation)) => Some(mutation),
                    _ => None,
                };
                purge_mutated(disk, dirs, 2, mutation)?;
            }
            3 => half_a_snapshot(disk, dirs, &tree)?,
            _ => {
                let from = disk.calls() + 1;
                prepare(&mut log, &mut preparer);
                known.may_fail.push((from, disk.calls()));
            }
        }
    }
    Ok(())
}

/// Appends one transaction and applies it.
pub fn append(
    log: &mut TxnLog<SimDisk>,
    tree: &mut Tree,
    known: &mut Known,
    random: &mut Random,
) -> Result<(), StorageError> {
    let zxid = Zxid::new(tree.last_zxid().raw() + 1);
    let path = format!("/n{}", random.below(20));
    // Some records span sectors, most do not.
    let data = vec![zxid.raw() as u8; random.below(4) as usize * 400];
    let txn = if let Some(node) = tree.node(&path) {
        let version = node.stat().version + 1;
        Txn::SetData(SetDataTxn { path: path.into(), data: Some(&data), version })
    } else {
        let acl = vec![Acl::open()];
        let (data, ephemeral, parent_cversion) = (Some(&data[..]), false, -1);
        Txn::Create(CreateTxn { path: path.into(), data, acl, ephemeral, parent_cversion })
    };
    let session = SessionId(1);
    let header = TxnHeader { session, cxid: 0, zxid, time_ms: 5, kind: txn.kind() };
    let applied = tree.apply(&header, &txn, &mut ChangeList::default());
    known.digests.insert(zxid, applied.digest);
    let digest = TxnDigest { version: 2, tree_digest: applied.digest as i64 };
    let mut payload = Vec::new();
    encode_payload(&header, &txn, Some(digest), &mut payload);
    log.append(zxid, &payload)
}

/// Writes a snapshot of the tree as it is.
pub fn snapshot(disk: &SimDisk, plan: &Plan, tree: &mut Tree) -> Result<(), StorageError> {
    let mut walk = tree.begin_snapshot();
    let mut bytes = Vec::new();
    while !tree.walk_snapshot(&mut walk, &mut bytes, 8) {}
    let (digest, zxid) = (walk.digest(), walk.zxid());
    tree.end_snapshot(walk);
    let mut writer = SnapshotWriter::begin(disk, &plan.dirs, zxid, plan.compression)?;
    if let Some(Mutation::Snapshot(mutation)) = plan.mutation {
        writer.mutate(mutation);
    }
    writer.write(&bytes)?;
    writer.finish(Some(digest))?;
    Ok(())
}

/// What another server leaves that writes snapshots under their final names and dies over it.
fn half_a_snapshot(disk: &SimDisk, dirs: &Dirs, tree: &Tree) -> Result<(), StorageError> {
    let path = dirs.data().join(format!("snapshot.{:x}", tree.last_zxid().raw()));
    if disk.open(&path).is_ok() {
        return Ok(());
    }
    let io = |source| StorageError::Io { action: "write", path: path.clone(), source };
    let file = disk.create(&path).map_err(io)?;
    file.write_at(0, b"ZKSN\0\0\0\x02").map_err(io)
}
