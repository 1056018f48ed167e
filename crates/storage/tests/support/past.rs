//! A history on a disk: made of a list of steps, with the digest of the tree at each transaction.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use oxikeeper_proto::txn::{CreateTxn, SetDataTxn, TxnDigest, encode_payload};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::{
    Compression, Dirs, LogRecord, RecoverOptions, SnapshotWriter, StorageError, TxnLog, clean_up,
    recover,
};
use oxikeeper_tree::{ChangeList, Restore, Tree, TreeOptions};

use super::Random;
use super::life::log_options;

/// A history: its transactions, and what the tree is after each.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub records: Vec<LogRecord>,
    pub digests: BTreeMap<Zxid, u64>,
}

impl Past {
    pub fn last(&self) -> Zxid {
        self.records.last().map_or(Zxid::ZERO, |record| record.zxid)
    }

    /// The same up to this transaction.
    pub fn until(&self, last: Zxid) -> Past {
        let mut past = self.clone();
        past.records.retain(|record| record.zxid <= last);
        past.digests.retain(|zxid, _| *zxid <= last);
        past
    }

    /// The tree at its end.
    pub fn tree(&self) -> Tree {
        let mut tree = Restore::new(TreeOptions::default()).into_tree();
        for record in &self.records {
            let (header, txn, _) = oxikeeper_proto::txn::decode_payload(&record.payload).unwrap();
            tree.apply(&header, &txn, &mut ChangeList::default());
        }
        tree
    }

    /// So many transactions more, of this epoch.
    pub fn grow(&mut self, epoch: u32, count: u64, random: &mut Random) {
        let mut tree = self.tree();
        self.digests.entry(tree.last_zxid()).or_insert(tree.digest());
        for _ in 0..count {
            let last = self.last();
            let counter = if last.epoch() == epoch { last.counter() + 1 } else { 1 };
            let zxid = Zxid::from_parts(epoch, counter);
            let path = format!("/n{}", random.below(12));
            let data = vec![random.below(250) as u8; random.below(4) as usize * 400 + 1];
            let txn = if let Some(node) = tree.node(&path) {
                let version = node.stat().version + 1;
                Txn::SetData(SetDataTxn { path: path.into(), data: Some(&data), version })
            } else {
                let acl = vec![Acl::open()];
                let (data, ephemeral, parent_cversion) = (Some(&data[..]), false, -1);
                Txn::Create(CreateTxn { path: path.into(), data, acl, ephemeral, parent_cversion })
            };
            let time_ms = 5 + i64::from(epoch);
            let header =
                TxnHeader { session: SessionId(1), cxid: 0, zxid, time_ms, kind: txn.kind() };
            let applied = tree.apply(&header, &txn, &mut ChangeList::default());
            self.digests.insert(zxid, applied.digest);
            let digest = TxnDigest { version: 2, tree_digest: applied.digest as i64 };
            let mut payload = Vec::new();
            encode_payload(&header, &txn, Some(digest), &mut payload);
            self.records.push(LogRecord { zxid, payload });
        }
    }
}

pub fn one_dir() -> Dirs {
    Dirs::new(Path::new("/srv/data"), Path::new("/srv/data"))
}

pub fn two_dirs() -> Dirs {
    Dirs::new(Path::new("/srv/data"), Path::new("/log"))
}

/// Writes what is not there yet of a history, with new files and snapshots here and there; everything
/// is durable in the end. With `tail`, the last file is as a server leaves it that was killed.
pub fn write(disk: &SimDisk, dirs: &Dirs, past: &Past, random: &mut Random) {
    dirs.prepare(disk, true).unwrap();
    let (recovered, mut tree) = load(disk, dirs).unwrap();
    if recovered.snapshot.is_none() {
        snapshot(disk, dirs, &mut tree).finish(Some(tree.digest())).unwrap();
    }
    let from = tree.last_zxid();
    let disk_again = Arc::new(disk.clone());
    let mut log = TxnLog::new(disk_again, dirs.clone(), log_options(), from);
    for record in past.records.iter().filter(|record| record.zxid > from) {
        log.append(record.zxid, &record.payload).unwrap();
        let (header, txn, _) = oxikeeper_proto::txn::decode_payload(&record.payload).unwrap();
        tree.apply(&header, &txn, &mut ChangeList::default());
        if random.below(3) > 0 {
            continue;
        }
        log.sync().unwrap();
        match random.below(4) {
            0 => log.roll().unwrap(),
            1 => {
                snapshot(disk, dirs, &mut tree).finish(Some(tree.digest())).unwrap();
            }
            _ => {}
        }
    }
    log.sync().unwrap();
}

/// A snapshot of this tree, written but not finished.
pub fn snapshot<'d>(
    disk: &'d SimDisk,
    dirs: &Dirs,
    tree: &mut Tree,
) -> SnapshotWriter<'d, SimDisk> {
    let mut walk = tree.begin_snapshot();
    let mut bytes = Vec::new();
    while !tree.walk_snapshot(&mut walk, &mut bytes, 8) {}
    let zxid = walk.zxid();
    tree.end_snapshot(walk);
    let mut writer = SnapshotWriter::begin(disk, dirs, zxid, Compression::None).unwrap();
    writer.write(&bytes).unwrap();
    writer
}

/// A start: recovers and puts in order.
pub fn load(
    disk: &SimDisk,
    dirs: &Dirs,
) -> Result<(oxikeeper_storage::Recovered, Tree), StorageError> {
    dirs.prepare(disk, true)?;
    let mut restore = Restore::new(TreeOptions::default());
    let recovered = recover(disk, dirs, &RecoverOptions::default(), &mut restore)?;
    clean_up(disk, dirs, &recovered)?;
    if let Some((count, first)) = restore.digest_mismatches() {
        return Err(StorageError::Unreadable(format!("{count} digests differ, first at {first}")));
    }
    Ok((recovered, restore.into_tree()))
}
