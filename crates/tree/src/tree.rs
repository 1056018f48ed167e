//! The tree as a whole: nodes, sessions, and the indexes over both.

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::{Acl, Id, SessionId, Zxid, acl, path};

use crate::acl_table::{self, AclTable};
use crate::digest::Content;
use crate::node::Node;
use crate::nodes::{NodeId, Nodes, ROOT};
use crate::quota::{Quota, QuotaRoots};
use crate::record::Record;
use crate::snapshot::ActiveWalk;

/// How a tree behaves. Does not change while it lives.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    /// `zookeeper.digest.enabled`: whether the digest is kept.
    pub digest_enabled: bool,
    /// `zookeeper.emulate353TTLNodes`: read TTLs in the layout of 3.5.3.
    pub emulate_353: bool,
    /// Seed of the hash of paths. Paths are chosen by clients, so in production it is random.
    pub hash_seed: u64,
}

impl Default for TreeOptions {
    fn default() -> TreeOptions {
        TreeOptions { digest_enabled: true, emulate_353: false, hash_seed: 0 }
    }
}

/// The replicated state. See the crate's head.
#[derive(Debug)]
pub struct Tree {
    pub(crate) options: TreeOptions,
    pub(crate) nodes: Nodes,
    pub(crate) acls: AclTable,
    pub(crate) last_zxid: Zxid,
    pub(crate) digest: u64,
    /// Letters of all paths and bytes of all data.
    pub(crate) data_size: u64,
    pub(crate) sessions: BTreeMap<SessionId, i32>,
    pub(crate) ephemerals: BTreeMap<SessionId, BTreeSet<NodeId>>,
    pub(crate) ephemeral_count: usize,
    /// Containers and TTL nodes.
    pub(crate) reapables: BTreeSet<NodeId>,
    pub(crate) quotas: QuotaRoots,
    pub(crate) walk: Option<ActiveWalk>,
    /// Nodes whose ACL the snapshot did not hold; nobody may touch them.
    pub(crate) unresolved_acls: BTreeSet<NodeId>,
    /// How many of those were deleted before any transaction gave them an ACL: they are older than
    /// the snapshot, so it should have held theirs.
    pub(crate) lost_acls: usize,
}

impl Tree {
    /// The tree that every server begins with: the root and the three system nodes.
    pub fn new(options: TreeOptions) -> Tree {
        let mut tree = Tree::bare(options);
        tree.add_system_nodes();
        tree
    }

    /// The root alone.
    pub(crate) fn bare(options: TreeOptions) -> Tree {
        let root = system_record("", acl_table::OPEN);
        let nodes = Nodes::new(options.hash_seed, &root);
        let mut tree = Tree {
            options,
            nodes,
            acls: AclTable::new(options.hash_seed),
            last_zxid: Zxid::ZERO,
            digest: 0,
            data_size: 0,
            sessions: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            ephemeral_count: 0,
            reapables: BTreeSet::new(),
            quotas: QuotaRoots::default(),
            walk: None,
            unresolved_acls: BTreeSet::new(),
            lost_acls: 0,
        };
        tree.acls.acquire(&[Acl::open()]);
        tree.count_in(path::ROOT, ROOT);
        tree
    }

    /// Adds those of the system nodes that are missing.
    pub(crate) fn add_system_nodes(&mut self) {
        let config_acl = Acl { perms: acl::perms::READ, id: Id::anyone() };
        let nodes = [
            (path::ZOOKEEPER, "zookeeper", Acl::open(), 0),
            (path::QUOTA, "quota", Acl::open(), 0),
            (path::CONFIG, "config", config_acl, -1),
        ];
        for (path, name, acl, aversion) in nodes {
            if self.nodes.find(path).is_none() {
                let parent = self.nodes.find(path::parent(path)).expect("parents come first");
                let acl = self.acls.acquire(&[acl]);
                let record = Record { aversion, ..system_record(name, acl) };
                let id = self.nodes.insert(parent, self.nodes.hash(path), &record);
                self.count_in(path, id);
            }
        }
    }

    /// The last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Digest of the whole tree, 0 if it is not kept.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The node of a path; `""` and `/` are the root. Costs one hash and allocates nothing.
    pub fn node(&self, path: &str) -> Option<Node<'_>> {
        self.nodes.find(path).map(|id| Node::new(self, id))
    }

    /// Nodes, the root included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Letters of all paths and bytes of all data: Apache's `approximate_data_size`.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// A session's timeout in milliseconds, as its createSession says.
    pub fn session_timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// All sessions with their timeouts, by id.
    pub fn sessions(&self) -> Vec<(SessionId, i32)> {
        self.sessions.iter().map(|(&session, &timeout_ms)| (session, timeout_ms)).collect()
    }

    /// Paths of a session's ephemerals, sorted.
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let ids = self.ephemerals.get(&session).into_iter().flatten();
        let mut paths: Vec<String> = ids.map(|&id| self.nodes.path(id)).collect();
        paths.sort_unstable();
        paths
    }

    /// Ephemerals of all sessions.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// Sessions that own ephemerals, by id.
    pub fn ephemeral_sessions(&self) -> Vec<SessionId> {
        self.ephemerals.keys().copied().collect()
    }

    /// Containers and TTL nodes that are due at this wall time: childless, and a container had a
    /// child once, or was not used for `never_used_ms` (0: for ever); a TTL node was not set for
    /// its TTL. Cost grows with the number of containers and TTL nodes alone.
    pub fn reapable(&self, now_ms: i64, never_used_ms: i64) -> Vec<String> {
        let due = |&&id: &&NodeId| {
            let node = Node::new(self, id);
            let stat = node.persisted();
            let idle_ms = now_ms.saturating_sub(stat.mtime);
            node.num_children() == 0
                && match node.kind() {
                    NodeKind::Container if stat.cversion > 0 => true,
                    NodeKind::Container => never_used_ms != 0 && idle_ms > never_used_ms,
                    NodeKind::Ttl(ttl_ms) => ttl_ms != 0 && idle_ms > ttl_ms,
                    NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
                }
        };
        self.reapables.iter().filter(due).map(|&id| self.nodes.path(id)).collect()
    }

    /// The quota that governs a path: the deepest at or above it that has both its nodes.
    pub fn quota(&self, path: &str) -> Option<Quota> {
        Quota::of(self, path)
    }

    /// Nodes whose ACL is not known, because a snapshot lacked it and no later transaction set it.
    pub fn unresolved_acls(&self) -> usize {
        self.unresolved_acls.len() + self.lost_acls
    }

    /// Forgets the ACL of a node, created by `czxid`, that the transaction `zxid` removes.
    ///
    /// The ACL may still be one of the unknown ones. A node younger than the transaction stands in
    /// a snapshot that holds later changes, and the log will create it again, with its ACL. For an
    /// older one nothing can come any more.
    pub(crate) fn forget_acl(&mut self, id: NodeId, acl: u32, czxid: Zxid, zxid: Zxid) {
        let unresolved = self.unresolved_acls.remove(&id);
        self.lost_acls += usize::from(unresolved && czxid < zxid);
        self.acls.release(acl);
    }

    /// Writes the ensemble's configuration into `/zookeeper/config`, locally and without a
    /// transaction, as Apache does at start. The digest does not cover it.
    pub fn set_config(&mut self, text: &[u8], version: Zxid) {
        self.add_system_nodes();
        let config = self.nodes.find(path::CONFIG).expect("the system nodes are there");
        self.before_change(config);
        self.data_size -= self.nodes.record(config).data.map_or(0, <[u8]>::len) as u64;
        self.data_size += text.len() as u64;
        self.nodes.replace_with(config, Some(text), |record| {
            record.version = -1;
            record.mzxid = version.raw();
        });
    }

    /// Adds a node's share to digest and size, once it is as it will be.
    pub(crate) fn count_in(&mut self, path: &str, id: NodeId) {
        self.add(self.share_of(path, id));
    }

    /// Takes a node's share out of digest and size, before it changes or goes.
    pub(crate) fn take_out(&mut self, path: &str, id: NodeId) {
        self.subtract(self.share_of(path, id));
    }

    pub(crate) fn share_of(&self, path: &str, id: NodeId) -> Share {
        let record = self.nodes.record(id);
        self.share(path, id, record.data, &self.nodes.persisted_of(id, &record))
    }

    /// What a node with this data and stat counts for.
    pub(crate) fn share(
        &self,
        path: &str,
        id: NodeId,
        data: Option<&[u8]>,
        stat: &StatPersisted,
    ) -> Share {
        let digest =
            if self.options.digest_enabled { Content::of(path, data).digest(stat) } else { 0 };
        let size = (data.map_or(0, <[u8]>::len) + path_letters(path, id)) as u64;
        Share { digest, size }
    }

    pub(crate) fn add(&mut self, share: Share) {
        self.digest = self.digest.wrapping_add(share.digest);
        self.data_size += share.size;
    }

    pub(crate) fn subtract(&mut self, share: Share) {
        self.digest = self.digest.wrapping_sub(share.digest);
        self.data_size -= share.size;
    }

    /// The kind that a stored owner stands for.
    pub fn kind(&self, owner: i64) -> NodeKind {
        NodeKind::from_owner(owner, self.options.emulate_353)
    }

    /// Notes a node in the index of its kind.
    pub(crate) fn index_kind(&mut self, id: NodeId, owner: i64) {
        match self.kind(owner) {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => {
                self.ephemeral_count += 1;
                self.ephemerals.entry(session).or_default().insert(id);
            }
            NodeKind::Container | NodeKind::Ttl(_) => {
                self.reapables.insert(id);
            }
        }
    }

    /// Takes a node out of the index of its kind.
    pub(crate) fn unindex_kind(&mut self, id: NodeId, owner: i64) {
        match self.kind(owner) {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => {
                self.ephemeral_count -= 1;
                if let Some(ids) = self.ephemerals.get_mut(&session) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            NodeKind::Container | NodeKind::Ttl(_) => {
                self.reapables.remove(&id);
            }
        }
    }
}

/// What a node counts for in the sums over the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// In its digest.
    pub digest: u64,
    /// In Apache's `approximateDataSize`, bytes.
    size: u64,
}

/// Length of a path as Apache counts it: in UTF-16 units, of which each character that a path may
/// have takes one, and with 1 for the root.
pub(crate) fn path_letters(path: &str, id: NodeId) -> usize {
    if id == ROOT {
        1
    } else if path.is_ascii() {
        path.len()
    } else {
        path.chars().count()
    }
}

/// A node as it stands before any transaction.
fn system_record(name: &str, acl: u32) -> Record<'_> {
    let StatPersisted { ctime, mtime, version, aversion, .. } = StatPersisted::default();
    let data = Some(&b""[..]);
    let name = name.as_bytes();
    Record { name, data, acl, owner: 0, czxid: 0, mzxid: 0, ctime, mtime, version, aversion }
}
