//! A tree from files: a snapshot, then the transactions logged behind it.

use oxikeeper_proto::replay::{ReplayFault, ReplayTarget, SnapshotSink};
use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::{Acl, SessionId, Txn, TxnDigest, TxnHeader, Zxid};

use crate::change::ChangeList;
use crate::loader::{LoadError, TreeLoader};
use crate::tree::{Tree, TreeOptions};

/// Takes what recovery reads and becomes a tree.
#[derive(Debug)]
pub struct Restore {
    options: TreeOptions,
    loader: Option<TreeLoader>,
    tree: Tree,
    /// The snapshot's own digest, which holds only once the log is replayed up to this zxid: the
    /// snapshot was written while the tree changed. Until then digests say nothing.
    pending_digest: Option<(Zxid, u64)>,
    mismatches: u64,
    first_mismatch: Option<Zxid>,
    changes: ChangeList,
}

impl Restore {
    /// Begins with nothing.
    pub fn new(options: TreeOptions) -> Restore {
        Restore {
            options,
            loader: None,
            tree: Tree::new(options),
            pending_digest: None,
            mismatches: 0,
            first_mismatch: None,
            changes: ChangeList::default(),
        }
    }

    /// The tree.
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// Transactions after which the tree's digest was not the one in the log, and the first of
    /// them. Apache starts in spite of them, and so do we: directories in which another server has
    /// removed the ephemerals of a dead session have them.
    pub fn digest_mismatches(&self) -> Option<(u64, Zxid)> {
        self.first_mismatch.map(|first| (self.mismatches, first))
    }

    fn compare(&mut self, zxid: Zxid, expected: u64) {
        if self.options.digest_enabled && self.tree.digest() != expected {
            self.mismatches += 1;
            self.first_mismatch.get_or_insert(zxid);
        }
    }

    fn loader(&mut self) -> &mut TreeLoader {
        self.loader.as_mut().expect("sections come between begin_snapshot and end_snapshot")
    }
}

impl From<LoadError> for ReplayFault {
    fn from(error: LoadError) -> ReplayFault {
        ReplayFault(error.to_string())
    }
}

impl SnapshotSink for Restore {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), ReplayFault> {
        self.loader().session(id, timeout_ms);
        Ok(())
    }

    fn acl(&mut self, id: i64, acl: Vec<Acl>) -> Result<(), ReplayFault> {
        self.loader().acl(id, acl);
        Ok(())
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        Ok(self.loader().node(path, data, acl_id, stat)?)
    }

    fn came_so_far(&mut self, share: f64) {
        self.loader().reserve(share);
    }
}

impl ReplayTarget for Restore {
    fn begin_snapshot(&mut self, _zxid: Zxid) {
        *self = Restore::new(self.options);
        self.loader = Some(TreeLoader::new(self.options));
    }

    fn begin_empty(&mut self) {
        *self = Restore::new(self.options);
    }

    fn end_snapshot(&mut self, zxid: Zxid, digest: Option<(Zxid, u64)>) -> Result<(), ReplayFault> {
        let loader = self.loader.take().expect("begin_snapshot came first");
        self.tree = loader.finish(zxid)?;
        match digest {
            Some((at, expected))
                if at == zxid && self.options.digest_enabled && self.tree.digest() != expected =>
            {
                return Err(ReplayFault(format!(
                    "its tree has the digest {}, it says {expected}",
                    self.tree.digest()
                )));
            }
            Some((at, expected)) if at > zxid => self.pending_digest = Some((at, expected)),
            _ => {}
        }
        Ok(())
    }

    fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
    ) -> Result<(), ReplayFault> {
        self.changes.clear();
        self.tree.apply(header, txn, &mut self.changes);
        match self.pending_digest {
            Some((at, expected)) if header.zxid >= at => {
                self.pending_digest = None;
                if header.zxid == at {
                    self.compare(at, expected);
                }
            }
            Some(_) => {}
            None => {
                if let Some(digest) = digest
                    && digest.version == oxikeeper_proto::txn::DIGEST_VERSION
                {
                    self.compare(header.zxid, digest.tree_digest as u64);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReplayFault> {
        match self.tree.unresolved_acls() {
            0 => Ok(()),
            count => Err(ReplayFault(format!("{count} nodes have an ACL that it does not hold"))),
        }
    }
}
