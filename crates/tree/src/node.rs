//! A node as readers see it.

use std::sync::Arc;

use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::{Acl, Stat};

use crate::nodes::NodeId;
use crate::record::Record;
use crate::tree::Tree;

/// A node of a tree that does not change meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t> {
    tree: &'t Tree,
    id: NodeId,
    record: Record<'t>,
}

impl<'t> Node<'t> {
    pub(crate) fn new(tree: &'t Tree, id: NodeId) -> Node<'t> {
        Node { tree, id, record: tree.nodes.record(id) }
    }

    /// Its data; null is not the same as empty.
    pub fn data(&self) -> Option<&'t [u8]> {
        self.record.data
    }

    /// What clients see of its statistics.
    pub fn stat(&self) -> Stat {
        let data_len = self.record.data.map_or(0, <[u8]>::len);
        visible_stat(&self.persisted(), self.kind(), data_len, self.num_children())
    }

    /// What files keep of its statistics.
    pub fn persisted(&self) -> StatPersisted {
        self.tree.nodes.persisted_of(self.id, &self.record)
    }

    /// Children ever created under it: the source of sequence numbers.
    pub fn stored_cversion(&self) -> i32 {
        self.tree.nodes.family(self.id, &self.record).cversion
    }

    /// What it is.
    pub fn kind(&self) -> NodeKind {
        self.tree.kind(self.record.owner)
    }

    /// Its ACL.
    pub fn acl(&self) -> &'t Arc<[Acl]> {
        self.tree.acls.get(self.record.acl)
    }

    /// Names of its children, in no particular order.
    pub fn children(&self) -> impl Iterator<Item = &'t str> {
        let tree = self.tree;
        tree.nodes.children(self.id).map(|id| tree.nodes.record(id).name_text())
    }

    /// How many children it has.
    pub fn num_children(&self) -> u32 {
        self.tree.nodes.family(self.id, &self.record).child_count
    }

    /// How many nodes are below it, at any depth.
    pub fn descendants(&self) -> u32 {
        let mut count = 0;
        let mut open = vec![self.id];
        while let Some(id) = open.pop() {
            for child in self.tree.nodes.children(id) {
                count += 1;
                open.push(child);
            }
        }
        count
    }

    /// Its whole path.
    pub fn path(&self) -> String {
        self.tree.nodes.path(self.id)
    }

    /// Its share of the tree's digest.
    pub fn digest(&self) -> u64 {
        self.tree.share_of(&self.path(), self.id).digest
    }
}

/// Statistics as clients see them.
pub(crate) fn visible_stat(
    stat: &StatPersisted,
    kind: NodeKind,
    data_len: usize,
    children: u32,
) -> Stat {
    let ephemeral_owner = match kind {
        NodeKind::Ephemeral(session) => session.0,
        NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => 0,
    };
    let children = children as i32;
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion.wrapping_mul(2).wrapping_sub(children),
        aversion: stat.aversion,
        ephemeral_owner,
        data_length: data_len as i32,
        num_children: children,
        pzxid: stat.pzxid,
    }
}
