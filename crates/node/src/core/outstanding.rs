//! The future: what the tree will be once everything prepared so far has been applied.
//!
//! Prep checks each request against the tree as all earlier requests leave it, applied or not.
//! This overlay keeps the nodes that differ, until the transaction that last touched each of them
//! has been applied. Apache calls the same thing `outstandingChanges`.
//!
//! It also runs the digest of that future tree along, since every log record carries the digest of
//! the tree after it.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::{Entry as HashEntry, EntryRef};
use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::{Acl, SessionId, Zxid};
use oxikeeper_tree::{Content, Tree};

use crate::mutation::{Mutation, mutated};

/// A node as it will be.
#[derive(Clone, Debug)]
pub(super) struct FutureNode {
    /// Its statistics; `cversion` counts creates.
    pub stat: StatPersisted,
    /// How many children it will have.
    pub child_count: u32,
    /// Its ACL.
    pub acl: Arc<[Acl]>,
    /// Bytes of data.
    pub data_len: usize,
    /// What kind of node it is: what its owner stands for in the layout that the tree is read in.
    pub kind: NodeKind,
    /// What the digest covers besides the stat.
    content: Content,
}

impl FutureNode {
    fn digest(&self) -> u64 {
        self.content.digest(&self.stat)
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// `None`: deleted.
    node: Option<FutureNode>,
    /// The transaction that touched it last.
    zxid: Zxid,
}

/// How things stood before a multi, to take it back if it fails.
#[derive(Debug)]
struct Undo {
    digest: u64,
    touched_count: usize,
    /// Each change of an entry, with what was there before.
    entries: Vec<(Arc<str>, Option<Entry>)>,
    /// Each change of a session's count, with the count before.
    ephemeral_bytes: Vec<(SessionId, usize)>,
}

/// Nodes whose future differs from the tree, and the digest of that future.
#[derive(Debug)]
pub(super) struct Outstanding {
    entries: HashMap<Arc<str>, Entry, FixedState>,
    /// Which transaction touched which path, in zxid order.
    touched: VecDeque<(Zxid, Arc<str>)>,
    digest: u64,
    /// Bytes that the closeSession record of each session with ephemerals will take for its paths.
    ephemeral_bytes: HashMap<SessionId, usize, FixedState>,
    /// Set while a multi is prepared.
    undo: Option<Undo>,
    /// How often something came to `touched`, and went.
    counted: (u64, u64),
}

impl Outstanding {
    /// Nothing outstanding over `tree`.
    pub fn new(tree: &Tree, seed: u64) -> Outstanding {
        let mut ephemeral_bytes = HashMap::with_hasher(FixedState::with_seed(seed));
        for session in tree.ephemeral_sessions() {
            let bytes = tree.ephemerals(session).iter().map(|path| encoded_len(path)).sum();
            ephemeral_bytes.insert(session, bytes);
        }
        Outstanding {
            entries: HashMap::with_hasher(FixedState::with_seed(seed)),
            touched: VecDeque::new(),
            digest: tree.digest(),
            ephemeral_bytes,
            undo: None,
            counted: (0, 0),
        }
    }

    /// How often a node came to be outstanding, and how often it ceased to be.
    pub fn counted(&self) -> (u64, u64) {
        self.counted
    }

    /// Counts anew.
    pub fn reset_counted(&mut self) {
        self.counted = (0, 0);
    }

    /// Digest of the tree after everything outstanding.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Bytes that this session's ephemerals take in a closeSession record.
    pub fn ephemeral_bytes(&self, session: SessionId) -> usize {
        self.ephemeral_bytes.get(&session).copied().unwrap_or(0)
    }

    /// A node as it will be; `None` if it will not exist. `""` is the root.
    pub fn node(&self, tree: &Tree, path: &str) -> Option<FutureNode> {
        let path = if path.is_empty() { "/" } else { path };
        match self.entries.get(path) {
            Some(entry) => entry.node.clone(),
            None => tree.node(path).map(|node| FutureNode {
                stat: node.persisted(),
                child_count: node.num_children(),
                acl: Arc::clone(node.acl()),
                data_len: node.data().map_or(0, <[u8]>::len),
                kind: tree.kind(node.persisted().ephemeral_owner),
                content: Content::of(path, node.data()),
            }),
        }
    }

    /// Paths of the session's ephemerals as they will be, sorted.
    pub fn ephemerals(&self, tree: &Tree, session: SessionId) -> Vec<String> {
        let mut paths = tree.ephemerals(session);
        if !self.touched.is_empty() {
            paths.retain(|path| self.entries.get(path.as_str()).is_none_or(|e| owned(e, session)));
            let created = self
                .touched
                .iter()
                .filter(|(_, path)| self.entries.get(path).is_some_and(|e| owned(e, session)))
                .map(|(_, path)| path.to_string());
            paths.extend(created);
            paths.sort_unstable();
            paths.dedup();
        }
        paths
    }

    /// A node comes to be under `parent`, which will then have had `parent_cversion` creates.
    pub fn create(
        &mut self,
        (parent_path, mut parent): (&str, FutureNode),
        path: &str,
        data: Option<&[u8]>,
        acl: Arc<[Acl]>,
        (stat, kind): (StatPersisted, NodeKind),
        zxid: Zxid,
    ) {
        self.take_out(&parent);
        parent.stat.cversion = parent.stat.cversion.wrapping_add(1);
        parent.stat.pzxid = zxid;
        parent.child_count += 1;
        self.put(parent_path, parent, zxid);
        let node = FutureNode {
            stat,
            child_count: 0,
            acl,
            data_len: data.map_or(0, <[u8]>::len),
            kind,
            content: Content::of(path, data),
        };
        if let NodeKind::Ephemeral(session) = node.kind {
            self.count_ephemeral(session, |bytes| bytes + encoded_len(path));
        }
        self.put(path, node, zxid);
    }

    /// A node goes.
    pub fn delete(
        &mut self,
        (parent_path, mut parent): (&str, FutureNode),
        path: &str,
        node: &FutureNode,
        zxid: Zxid,
    ) {
        self.take_out(node);
        if let NodeKind::Ephemeral(session) = node.kind {
            self.count_ephemeral(session, |bytes| bytes.saturating_sub(encoded_len(path)));
        }
        self.insert(path, None, zxid);
        self.take_out(&parent);
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        parent.child_count = parent.child_count.saturating_sub(1);
        self.put(parent_path, parent, zxid);
    }

    /// A node's data is set. `stat` is what it will have.
    pub fn set_data(
        &mut self,
        path: &str,
        mut node: FutureNode,
        data: Option<&[u8]>,
        stat: StatPersisted,
        zxid: Zxid,
    ) {
        self.take_out(&node);
        node.stat = stat;
        node.data_len = data.map_or(0, <[u8]>::len);
        node.content = Content::of(path, data);
        self.put(path, node, zxid);
    }

    /// A node's ACL is set.
    pub fn set_acl(&mut self, path: &str, mut node: FutureNode, acl: Arc<[Acl]>, zxid: Zxid) {
        self.take_out(&node);
        node.stat.aversion = node.stat.aversion.wrapping_add(1);
        node.acl = acl;
        self.put(path, node, zxid);
    }

    /// Everything from here may be taken back with [`roll_back`](Self::roll_back).
    pub fn begin_multi(&mut self) {
        self.undo = Some(Undo {
            digest: self.digest,
            touched_count: self.touched.len(),
            entries: Vec::new(),
            ephemeral_bytes: Vec::new(),
        });
    }

    /// The multi stands.
    pub fn end_multi(&mut self) {
        self.undo = None;
    }

    /// Takes back everything since [`begin_multi`](Self::begin_multi).
    pub fn roll_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        if mutated(Mutation::KeepFailedMulti) {
            return;
        }
        for (path, entry) in undo.entries.into_iter().rev() {
            match entry {
                Some(entry) => self.entries.insert(path, entry),
                None => self.entries.remove(&path),
            };
        }
        for (session, bytes) in undo.ephemeral_bytes.into_iter().rev() {
            self.count_ephemeral(session, |_| bytes);
        }
        self.digest = undo.digest;
        self.counted.1 += self.touched.len().saturating_sub(undo.touched_count) as u64;
        self.touched.truncate(undo.touched_count);
    }

    /// The tree now stands at `zxid`: what was last touched by then is no longer outstanding.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some((touched, _)) = self.touched.front() {
            if *touched > zxid {
                break;
            }
            self.counted.1 += 1;
            if let Some((_, path)) = self.touched.pop_front()
                && let HashEntry::Occupied(place) = self.entries.entry(path)
                && place.get().zxid <= zxid
            {
                place.remove();
            }
        }
    }

    /// True if the future is the present.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    fn take_out(&mut self, node: &FutureNode) {
        self.digest = self.digest.wrapping_sub(node.digest());
    }

    fn put(&mut self, path: &str, node: FutureNode, zxid: Zxid) {
        self.digest = self.digest.wrapping_add(node.digest());
        self.insert(path, Some(node), zxid);
    }

    fn insert(&mut self, path: &str, node: Option<FutureNode>, zxid: Zxid) {
        let entry = Entry { node, zxid };
        let (path, old) = match self.entries.entry_ref(path) {
            EntryRef::Occupied(mut place) => (Arc::clone(place.key()), Some(place.insert(entry))),
            EntryRef::Vacant(place) => {
                let place = place.insert_entry(entry);
                (Arc::clone(place.key()), None)
            }
        };
        if old.as_ref().is_none_or(|old| old.zxid != zxid) {
            self.touched.push_back((zxid, Arc::clone(&path)));
            self.counted.0 += 1;
        }
        if let Some(undo) = &mut self.undo {
            undo.entries.push((path, old));
        }
    }

    fn count_ephemeral(&mut self, session: SessionId, change: impl FnOnce(usize) -> usize) {
        let before = self.ephemeral_bytes(session);
        match change(before) {
            0 => self.ephemeral_bytes.remove(&session),
            after => self.ephemeral_bytes.insert(session, after),
        };
        if let Some(undo) = &mut self.undo {
            undo.ephemeral_bytes.push((session, before));
        }
    }
}

/// Bytes of a path in a jute vector of strings.
pub(super) fn encoded_len(path: &str) -> usize {
    4 + path.len()
}

fn owned(entry: &Entry, session: SessionId) -> bool {
    ephemeral_owner(entry) == Some(session)
}

fn ephemeral_owner(entry: &Entry) -> Option<SessionId> {
    match entry.node.as_ref()?.kind {
        NodeKind::Ephemeral(session) => Some(session),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use oxikeeper_tree::TreeOptions;

    use super::*;

    #[test]
    fn kinds_are_read_in_the_layout_of_the_tree() {
        // A TTL of 3.5.3: the highest bit and milliseconds.
        let owner = i64::MIN | 5000;
        for (emulate_353, expected) in
            [(false, NodeKind::Ephemeral(SessionId(owner))), (true, NodeKind::Ttl(5000))]
        {
            let tree = Tree::new(TreeOptions { emulate_353, ..TreeOptions::default() });
            let mut outstanding = Outstanding::new(&tree, 0);
            let root = outstanding.node(&tree, "/").expect("the root");
            assert_eq!(root.kind, NodeKind::Persistent);
            let stat = StatPersisted { ephemeral_owner: owner, ..StatPersisted::default() };
            let kind = tree.kind(owner);
            let acl: Arc<[Acl]> = Arc::new([]);
            outstanding.create(("/", root), "/t", None, acl, (stat, kind), Zxid::new(1));
            let node = outstanding.node(&tree, "/t").expect("it was made");
            assert_eq!(node.kind, expected);
            let bytes = outstanding.ephemeral_bytes(SessionId(owner));
            assert_eq!(bytes > 0, !emulate_353, "only an ephemeral is of a session");
        }
    }
}
