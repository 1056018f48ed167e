//! A tree from a snapshot's sections.

use std::collections::BTreeMap;

use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::{Acl, SessionId, Zxid, path};
use thiserror::Error;

use crate::acl_table;
use crate::apply::split;
use crate::nodes::{NodeId, ROOT};
use crate::record::Record;
use crate::tree::{Tree, TreeOptions};

/// Why a snapshot does not make a tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A node stands before its parent.
    #[error("node {path} comes before its parent")]
    Orphan {
        /// The node.
        path: String,
    },
    /// A path stands twice.
    #[error("node {path} is there twice")]
    Twice {
        /// The node.
        path: String,
    },
    /// A path that cannot be one.
    #[error("{path:?} is not a path")]
    NotAPath {
        /// What stands there.
        path: String,
    },
}

/// Room is made at once for no more nodes than this, whatever a file promises.
const RESERVED_MAX: usize = 1 << 26;

/// Takes a snapshot's sections in their order.
#[derive(Debug)]
pub struct TreeLoader {
    tree: Tree,
    /// The snapshot's numbers of ACLs, and ours. Each counts as one node until the end.
    acls: BTreeMap<i64, u32>,
    /// The parent of the last node: its path as the node's path begins, and its number.
    parent_path: String,
    parent: NodeId,
}

impl TreeLoader {
    /// Begins with nothing.
    pub fn new(options: TreeOptions) -> TreeLoader {
        TreeLoader {
            tree: Tree::bare(options),
            acls: BTreeMap::new(),
            parent_path: String::new(),
            parent: ROOT,
        }
    }

    /// A session and its timeout in milliseconds.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.sessions.insert(session, timeout_ms);
    }

    /// An ACL and the number by which nodes name it.
    pub fn acl(&mut self, id: i64, acl: Vec<Acl>) {
        let number = self.tree.acls.acquire(&acl);
        if let Some(earlier) = self.acls.insert(id, number) {
            self.tree.acls.release(earlier);
        }
    }

    /// A node; the root's path is empty.
    ///
    /// # Errors
    /// A node before its parent, one that is there already, or a path that cannot be one.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), LoadError> {
        let tree = &mut self.tree;
        // -1 is the open list without an entry of its own. A list that is not in the table grants
        // nothing to anybody until a later transaction sets one.
        let (acl, resolved) = match (acl_id, self.acls.get(&acl_id)) {
            (-1, _) => (tree.acls.acquire_again(acl_table::OPEN), true),
            (_, Some(&number)) => (tree.acls.acquire_again(number), true),
            (_, None) => (tree.acls.acquire(&deny_all()), false),
        };
        let record = Record {
            name: split(path).map_or("", |(_, name)| name).as_bytes(),
            data,
            acl,
            owner: stat.ephemeral_owner,
            czxid: stat.czxid.raw(),
            mzxid: stat.mzxid.raw(),
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            aversion: stat.aversion,
        };
        let id = if path.is_empty() {
            tree.take_out(path::ROOT, ROOT);
            tree.acls.release(tree.nodes.record(ROOT).acl);
            tree.unresolved_acls.remove(&ROOT);
            tree.unindex_kind(ROOT, tree.nodes.record(ROOT).owner);
            tree.nodes.replace_with(ROOT, data, |root| {
                *root = Record { name: root.name, data: root.data, ..record };
            });
            ROOT
        } else {
            let not_a_path = || LoadError::NotAPath { path: path.to_owned() };
            let (parent, _) = split(path).ok_or_else(not_a_path)?;
            let orphan = || LoadError::Orphan { path: path.to_owned() };
            // Brothers and sisters mostly come together.
            let parent = if parent == self.parent_path {
                self.parent
            } else {
                let id = tree.nodes.find(parent).ok_or_else(orphan)?;
                self.parent_path.clear();
                self.parent_path.push_str(parent);
                self.parent = id;
                id
            };
            let hash = tree.nodes.hash(path);
            if tree.nodes.find_hashed(path, hash).is_some() {
                return Err(LoadError::Twice { path: path.to_owned() });
            }
            tree.nodes.insert(parent, hash, &record)
        };
        if stat.cversion != 0 || stat.pzxid != stat.czxid {
            let family = tree.nodes.family_mut(id, stat.pzxid);
            family.cversion = stat.cversion;
            family.pzxid = stat.pzxid;
        }
        if !resolved {
            tree.unresolved_acls.insert(id);
        }
        tree.add(tree.share(if id == ROOT { path::ROOT } else { path }, id, data, stat));
        tree.index_kind(id, stat.ephemeral_owner);
        Ok(())
    }

    /// What has come so far was about this share of all: makes room for the rest. A little less than that, since
    /// too little room costs a moment and too much costs memory.
    pub fn reserve(&mut self, share: f64) {
        let nodes = self.tree.nodes.len() as f64 / share * 0.9;
        self.tree.nodes.reserve((nodes as usize).min(RESERVED_MAX));
    }

    /// The tree, standing at this transaction.
    ///
    /// # Errors
    /// None at present; kept for checks over the whole.
    pub fn finish(self, zxid: Zxid) -> Result<Tree, LoadError> {
        let mut tree = self.tree;
        for number in self.acls.into_values() {
            tree.acls.release(number);
        }
        tree.add_system_nodes();
        tree.load_quotas();
        tree.last_zxid = zxid;
        Ok(tree)
    }
}

/// A list that permits nothing: empty lists permit everything.
fn deny_all() -> [Acl; 1] {
    [Acl { perms: 0, id: oxikeeper_proto::Id::anyone() }]
}
