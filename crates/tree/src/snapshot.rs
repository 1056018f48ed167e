//! A consistent picture of the tree at one zxid, taken while the tree goes on changing.
//!
//! `begin_snapshot` marks the moment. From then on, a node that is about to change and has not
//! been written yet leaves a pre-image behind: its snapshot bytes as of that moment. The walk
//! goes through the nodes by number and writes, for each, the pre-image if there is one, else the
//! node itself. A node's ancestors go before it, whatever their numbers.
//!
//! Source of the bytes: storage-format reference, 3.1.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use oxikeeper_proto::{Encode, Zxid};

use crate::acl_table;
use crate::nodes::{NO_NODE, NodeId, ROOT};
use crate::tree::Tree;

const MAGIC: i32 = 0x5A4B_534E;
const VERSION: i32 = 2;
const DBID: i64 = -1;

/// A call of [`Tree::walk_snapshot`] appends about so many bytes at most, plus one node and the
/// ancestors that must go before it: it is made under a lock that writers wait for.
pub const WALK_BYTES: usize = 1 << 20;

/// A node as it was when the walk began.
#[derive(Debug)]
enum PreImage {
    /// Not in use: whatever has the number now is younger than the snapshot.
    Absent,
    /// In use, with this parent and these snapshot bytes.
    Present { parent: NodeId, bytes: Box<[u8]> },
}

/// What the tree keeps while a walk is under way.
#[derive(Debug)]
pub(crate) struct ActiveWalk {
    /// Numbers from here on are younger than the snapshot.
    end: NodeId,
    /// Numbers below have been written. Stored by the walker under a shared lock.
    cursor: AtomicU32,
    pre_images: BTreeMap<NodeId, PreImage>,
}

impl ActiveWalk {
    /// Lets go of what the walk has passed. Costs as much as was kept.
    fn forget_written(&mut self) {
        let cursor = self.cursor.load(Ordering::Relaxed);
        while let Some(first) = self.pre_images.first_entry()
            && *first.key() < cursor
        {
            first.remove();
        }
    }
}

/// A walk under way. Belongs to whoever writes the snapshot.
#[derive(Debug)]
pub struct SnapshotWalk {
    zxid: Zxid,
    digest: u64,
    head: Vec<u8>,
    cursor: NodeId,
    end: NodeId,
    /// One bit per node already written.
    written: Vec<u64>,
}

impl SnapshotWalk {
    /// The transaction that the snapshot stands at.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Digest of the tree there.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn is_written(&self, id: NodeId) -> bool {
        self.written[id as usize / 64] & (1 << (id % 64)) != 0
    }

    fn mark_written(&mut self, id: NodeId) {
        self.written[id as usize / 64] |= 1 << (id % 64);
    }
}

impl Tree {
    /// Begins a snapshot of the tree as it is now. Costs time for sessions and ACLs, not for nodes.
    ///
    /// # Panics
    /// If another walk is under way.
    pub fn begin_snapshot(&mut self) -> SnapshotWalk {
        assert!(self.walk.is_none(), "one walk at a time");
        let end = self.nodes.id_end();
        let cursor = AtomicU32::new(0);
        self.walk = Some(ActiveWalk { end, cursor, pre_images: BTreeMap::new() });
        SnapshotWalk {
            zxid: self.last_zxid,
            digest: self.digest,
            head: self.snapshot_head(),
            cursor: 0,
            end,
            written: vec![0; (end as usize).div_ceil(64)],
        }
    }

    /// Whether a walk is under way. Whoever walks and finds none has another tree before it than the one
    /// it began with.
    pub fn has_walk(&self) -> bool {
        self.walk.is_some()
    }

    /// Appends the next part of the snapshot's bytes: header, sessions and ACLs first, the end mark
    /// of the nodes last. True when that is written. Goes through at most `max_nodes` nodes, and
    /// ends early once it has appended [`WALK_BYTES`].
    pub fn walk_snapshot(
        &self,
        walk: &mut SnapshotWalk,
        out: &mut Vec<u8>,
        max_nodes: usize,
    ) -> bool {
        let active = self.walk.as_ref().expect("the walk has begun and not ended");
        out.append(&mut walk.head);
        let stop = walk.cursor.saturating_add(u32::try_from(max_nodes).unwrap_or(u32::MAX));
        let full = out.len().saturating_add(WALK_BYTES);
        while walk.cursor < walk.end.min(stop) && out.len() < full {
            self.write_with_ancestors(active, walk, out);
            walk.cursor += 1;
        }
        active.cursor.store(walk.cursor, Ordering::Relaxed);
        let done = walk.cursor == walk.end;
        if done {
            "/".encode(out);
        }
        done
    }

    /// Ends a walk, finished or not, and lets go of what it kept.
    pub fn end_snapshot(&mut self, _walk: SnapshotWalk) {
        self.walk = None;
    }

    /// To be called before anything of a node changes that a snapshot holds, or it goes.
    pub(crate) fn before_change(&mut self, id: NodeId) {
        if let Some(walk) = &self.walk
            && id < walk.end
            && id >= walk.cursor.load(Ordering::Relaxed)
            && !walk.pre_images.contains_key(&id)
        {
            let mut bytes = Vec::new();
            self.encode_node(id, &mut bytes);
            let parent = self.nodes.parent(id);
            let image = PreImage::Present { parent, bytes: bytes.into_boxed_slice() };
            if let Some(walk) = &mut self.walk {
                walk.pre_images.insert(id, image);
                walk.forget_written();
            }
        }
    }

    /// To be called when a number is given to a new node.
    pub(crate) fn after_insert(&mut self, id: NodeId) {
        if let Some(walk) = &mut self.walk
            && id < walk.end
            && id >= walk.cursor.load(Ordering::Relaxed)
        {
            walk.pre_images.entry(id).or_insert(PreImage::Absent);
        }
    }

    fn snapshot_head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = |n: usize| i32::try_from(n).expect("fewer than 2^31 sessions and ACLs");
        MAGIC.encode(&mut out);
        VERSION.encode(&mut out);
        DBID.encode(&mut out);
        count(self.sessions.len()).encode(&mut out);
        for (session, timeout_ms) in &self.sessions {
            session.encode(&mut out);
            timeout_ms.encode(&mut out);
        }
        count(self.acls.iter().count()).encode(&mut out);
        for (number, acl) in self.acls.iter() {
            i64::from(number).encode(&mut out);
            acl.encode(&mut out);
        }
        out
    }

    /// Writes the node at the cursor, and before it those of its ancestors that are not yet.
    fn write_with_ancestors(
        &self,
        active: &ActiveWalk,
        walk: &mut SnapshotWalk,
        out: &mut Vec<u8>,
    ) {
        let mut chain = Vec::new();
        let mut id = walk.cursor;
        while id != NO_NODE && !walk.is_written(id) {
            chain.push(id);
            id = match active.pre_images.get(&id) {
                Some(PreImage::Absent) => return,
                Some(PreImage::Present { parent, .. }) => *parent,
                None if self.nodes.is_used(id) => self.nodes.parent(id),
                None => return,
            };
        }
        for id in chain.into_iter().rev() {
            match active.pre_images.get(&id) {
                Some(PreImage::Present { bytes, .. }) => out.extend_from_slice(bytes),
                Some(PreImage::Absent) => {}
                None => self.encode_node(id, out),
            }
            walk.mark_written(id);
        }
    }

    fn encode_node(&self, id: NodeId, out: &mut Vec<u8>) {
        let record = self.nodes.record(id);
        if id == ROOT {
            "".encode(out);
        } else {
            self.nodes.path(id).encode(out);
        }
        record.data.encode(out);
        match record.acl {
            acl_table::OPEN => (-1i64).encode(out),
            number => i64::from(number).encode(out),
        }
        self.nodes.persisted_of(id, &record).encode(out);
    }
}
