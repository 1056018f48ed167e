//! A node as readers see it.

use std::sync::Arc;

use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::{Acl, Stat};

use crate::digest::content_crc;
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
        let persisted = self.persisted();
        let children = self.num_children() as i32;
        let ephemeral_owner = match self.kind() {
            NodeKind::Ephemeral(session) => session.0,
            NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => 0,
        };
        Stat {
            czxid: persisted.czxid,
            mzxid: persisted.mzxid,
            ctime: persisted.ctime,
            mtime: persisted.mtime,
            version: persisted.version,
            cversion: persisted.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: persisted.aversion,
            ephemeral_owner,
            data_length: self.record.data.map_or(0, <[u8]>::len) as i32,
            num_children: children,
            pzxid: persisted.pzxid,
        }
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

    /// CRC-32 of path and data, from which its digest with another stat can be derived.
    pub fn content_crc(&self) -> u32 {
        content_crc(&self.path(), self.record.data)
    }

    /// Its share of the tree's digest.
    pub fn digest(&self) -> u64 {
        self.tree.digest_of(&self.path(), self.id)
    }
}
