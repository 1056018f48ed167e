//! What applying a transaction did: changes for the watches, an outcome for the reply.

use std::ops::Range;
use std::sync::Arc;

use oxikeeper_proto::{Acl, Stat, Zxid};

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created; its parent has a new child.
    Created,
    /// It was deleted; its parent has lost a child.
    Deleted,
    /// Its data was set.
    DataChanged,
}

/// One change that watches may tell of.
#[derive(Clone, Debug)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// By which transaction.
    pub zxid: Zxid,
    /// The node's ACL; of a deleted node, as it was.
    pub acl: Arc<[Acl]>,
    /// Its parent's ACL.
    pub parent_acl: Arc<[Acl]>,
    path: Range<u32>,
}

/// Changes in the order they were applied, with their paths in one string.
#[derive(Clone, Debug, Default)]
pub struct ChangeList {
    changes: Vec<Change>,
    paths: String,
    is_deaf: bool,
}

impl ChangeList {
    /// A list that stays empty: nobody wants to know.
    pub fn deaf() -> ChangeList {
        ChangeList { is_deaf: true, ..ChangeList::default() }
    }

    /// Whether it stays empty.
    pub fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// One change and its path.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn get(&self, index: usize) -> (&Change, &str) {
        let change = &self.changes[index];
        (change, &self.paths[change.path.start as usize..change.path.end as usize])
    }

    /// All of them, with their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&Change, &str)> {
        (0..self.changes.len()).map(|index| self.get(index))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.paths.clear();
    }

    pub(crate) fn push(
        &mut self,
        kind: ChangeKind,
        zxid: Zxid,
        path: &str,
        acl: &Arc<[Acl]>,
        parent_acl: &Arc<[Acl]>,
    ) {
        let end = |paths: &String| u32::try_from(paths.len()).expect("one hold's paths are few");
        let start = end(&self.paths);
        self.paths.push_str(path);
        let path = start..end(&self.paths);
        let (acl, parent_acl) = (Arc::clone(acl), Arc::clone(parent_acl));
        self.changes.push(Change { kind, zxid, acl, parent_acl, path });
    }
}

/// Result of applying one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What a reply needs.
    pub outcome: Outcome,
    /// Digest of the tree afterwards.
    pub digest: u64,
}

/// What a transaction did, as a reply tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell: a session, an error, a failed multi.
    None,
    /// A node was created.
    Created {
        /// Its stat.
        stat: Stat,
    },
    /// A node was deleted.
    Deleted,
    /// A node's data was set.
    DataSet {
        /// Its stat.
        stat: Stat,
    },
    /// A node's ACL was set.
    AclSet {
        /// Its stat.
        stat: Stat,
    },
    /// A session is closed.
    SessionClosed,
    /// A version was checked.
    Checked,
    /// One outcome per member.
    Multi(Vec<Outcome>),
    /// The node or its parent was not as the transaction needs it: happens only while a log is
    /// replayed over a snapshot that already holds later changes.
    Missing,
}
