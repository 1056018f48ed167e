//! The nodes themselves: entries, records, the lists of children, and the index of paths.
//!
//! This is structure only. What a transaction means stands in `apply`.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::{Zxid, path};

use crate::arena::{Arena, Handle};
use crate::chunked::Chunked;
use crate::index::Index;
use crate::record::Record;

/// Number of a node. Given to another node once this one is deleted.
pub(crate) type NodeId = u32;
/// No node.
pub(crate) const NO_NODE: NodeId = u32::MAX;
/// The root's number.
pub(crate) const ROOT: NodeId = 0;

/// 24 bytes per node.
#[derive(Clone, Debug)]
struct Entry {
    record: Handle,
    parent: NodeId,
    next: NodeId,
    previous: NodeId,
    /// Number of its [`Family`], if it ever had a child.
    family: u32,
    hash: u32,
}

const NO_FAMILY: u32 = u32::MAX;

/// What only nodes that ever had a child need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    first_child: NodeId,
    /// Children it has.
    pub child_count: u32,
    /// Children it ever had.
    pub cversion: i32,
    /// Last transaction that created or deleted one.
    pub pzxid: Zxid,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Nodes {
    entries: Chunked<Entry>,
    free: Vec<NodeId>,
    families: Chunked<Family>,
    free_families: Vec<u32>,
    arena: Arena,
    index: Index,
    hasher: FixedState,
    scratch: Vec<u8>,
    /// The number that [`Nodes::pack_some`] goes on with.
    pack_next: NodeId,
}

/// Nodes whose records are looked at with each record freed, while memory is wasted.
const PACK_COUNT: usize = 8;

impl Nodes {
    /// The root alone.
    pub fn new(seed: u64, root: &Record<'_>) -> Nodes {
        let mut nodes = Nodes {
            entries: Chunked::new(),
            free: Vec::new(),
            families: Chunked::new(),
            free_families: Vec::new(),
            arena: Arena::new(),
            index: Index::new(),
            hasher: FixedState::with_seed(seed),
            scratch: Vec::new(),
            pack_next: ROOT,
        };
        let record = nodes.store(root);
        let hash = nodes.hash("");
        let links = (NO_NODE, NO_NODE, NO_NODE);
        let (parent, next, previous) = links;
        nodes.entries.push(Entry { record, parent, next, previous, family: NO_FAMILY, hash });
        nodes.family_mut(ROOT, Zxid::ZERO);
        nodes
    }

    /// How many there are, the root included.
    pub fn len(&self) -> usize {
        self.index.len() + 1
    }

    /// Numbers below this one may be in use.
    pub fn id_end(&self) -> NodeId {
        u32::try_from(self.entries.len()).expect("node numbers are 32 bits")
    }

    /// True if the number is in use.
    pub fn is_used(&self, id: NodeId) -> bool {
        self.entries.get(id).record != Handle::NONE
    }

    /// The node of a path; `""` and `/` are the root.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() || path == path::ROOT {
            return Some(ROOT);
        }
        self.find_hashed(path, self.hash(path))
    }

    /// As [`find`](Self::find) for a path other than the root's, with its [`hash`](Self::hash).
    pub fn find_hashed(&self, path: &str, hash: u32) -> Option<NodeId> {
        self.index.find(hash, |id| self.entries.get(id).hash == hash && self.is_at(id, path))
    }

    /// Whether the node's path is this one, compared from its end.
    fn is_at(&self, mut id: NodeId, path: &str) -> bool {
        let mut rest = path.as_bytes();
        while id != ROOT {
            let entry = self.entries.get(id);
            let name = Record::name_bytes(self.arena.block(entry.record));
            match rest.strip_suffix(name).and_then(|rest| rest.strip_suffix(b"/")) {
                Some(shorter) => rest = shorter,
                None => return false,
            }
            id = entry.parent;
        }
        rest.is_empty()
    }

    pub fn record(&self, id: NodeId) -> Record<'_> {
        Record::decode(self.arena.block(self.entries.get(id).record))
    }

    pub fn parent(&self, id: NodeId) -> NodeId {
        self.entries.get(id).parent
    }

    /// What it knows of its children; a node that never had any was last changed at its creation.
    pub fn family(&self, id: NodeId, record: &Record<'_>) -> Family {
        match self.entries.get(id).family {
            NO_FAMILY => Family {
                first_child: NO_NODE,
                child_count: 0,
                cversion: 0,
                pzxid: Zxid::new(record.czxid),
            },
            family => *self.families.get(family),
        }
    }

    /// The family to change; `pzxid` is what it starts with.
    pub fn family_mut(&mut self, id: NodeId, pzxid: Zxid) -> &mut Family {
        let entry = self.entries.get_mut(id);
        if entry.family == NO_FAMILY {
            let fresh = Family { first_child: NO_NODE, child_count: 0, cversion: 0, pzxid };
            entry.family = match self.free_families.pop() {
                Some(number) => {
                    *self.families.get_mut(number) = fresh;
                    number
                }
                None => {
                    self.families.push(fresh);
                    u32::try_from(self.families.len() - 1).expect("fewer families than nodes")
                }
            };
        }
        self.families.get_mut(entry.family)
    }

    /// Stat as files keep it, of a node with this record.
    pub fn persisted_of(&self, id: NodeId, record: &Record<'_>) -> StatPersisted {
        let family = self.family(id, record);
        StatPersisted {
            czxid: Zxid::new(record.czxid),
            mzxid: Zxid::new(record.mzxid),
            ctime: record.ctime,
            mtime: record.mtime,
            version: record.version,
            cversion: family.cversion,
            aversion: record.aversion,
            ephemeral_owner: record.owner,
            pzxid: family.pzxid,
        }
    }

    /// Makes room in the index for so many nodes.
    pub fn reserve(&mut self, nodes: usize) {
        let entries = &self.entries;
        self.index.reserve(nodes, |id| entries.get(id).hash);
    }

    /// Adds a node under `parent`, with the hash of its path; its number comes back. Nothing of the
    /// parent changes but its list of children.
    pub fn insert(&mut self, parent: NodeId, hash: u32, record: &Record<'_>) -> NodeId {
        let record = self.store(record);
        let parent_czxid = Zxid::new(self.record(parent).czxid);
        let family = self.family_mut(parent, parent_czxid);
        let next = family.first_child;
        family.child_count += 1;
        let entry = Entry { record, parent, next, previous: NO_NODE, family: NO_FAMILY, hash };
        let id = match self.free.pop() {
            Some(id) => {
                *self.entries.get_mut(id) = entry;
                id
            }
            None => {
                self.entries.push(entry);
                self.id_end() - 1
            }
        };
        self.family_mut(parent, parent_czxid).first_child = id;
        if next != NO_NODE {
            self.entries.get_mut(next).previous = id;
        }
        let entries = &self.entries;
        self.index.insert(hash, id, |id| entries.get(id).hash);
        id
    }

    /// Removes a node without children.
    pub fn remove(&mut self, id: NodeId) {
        let entry = self.entries.get(id).clone();
        assert_ne!(id, ROOT, "the root stays");
        let entries = &self.entries;
        self.index.remove(entry.hash, id, |id| entries.get(id).hash);
        if entry.next != NO_NODE {
            self.entries.get_mut(entry.next).previous = entry.previous;
        }
        let siblings = self.families.get_mut(self.entries.get(entry.parent).family);
        siblings.child_count -= 1;
        if entry.previous == NO_NODE {
            siblings.first_child = entry.next;
        } else {
            self.entries.get_mut(entry.previous).next = entry.next;
        }
        if entry.family != NO_FAMILY {
            let family = self.families.get(entry.family);
            assert_eq!(family.child_count, 0, "a node goes after its children");
            self.free_families.push(entry.family);
        }
        self.arena.free(entry.record);
        self.entries.get_mut(id).record = Handle::NONE;
        self.free.push(id);
        self.pack_some();
    }

    /// Moves a few records together if many blocks are free: nodes that went, or whose records
    /// grew into longer blocks, leave gaps that no others fit.
    fn pack_some(&mut self) {
        if !self.arena.is_wasteful() {
            return;
        }
        for _ in 0..PACK_COUNT {
            let id = if self.pack_next < self.id_end() { self.pack_next } else { ROOT };
            self.pack_next = id + 1;
            let entry = self.entries.get_mut(id);
            if entry.record != Handle::NONE
                && let Some(moved) = self.arena.relocate(entry.record)
            {
                entry.record = moved;
            }
        }
    }

    /// Gives a node another record.
    pub fn replace(&mut self, id: NodeId, change: impl FnOnce(&mut Record<'_>)) {
        let old = self.entries.get(id).record;
        let mut bytes = std::mem::take(&mut self.scratch);
        let mut record = Record::decode(self.arena.block(old));
        change(&mut record);
        bytes.clear();
        record.encode(&mut bytes);
        self.arena.free(old);
        self.entries.get_mut(id).record = self.arena.store(&bytes);
        self.keep_scratch(bytes);
        self.pack_some();
    }

    /// As [`replace`](Self::replace), with data that lives elsewhere.
    pub fn replace_with(
        &mut self,
        id: NodeId,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut Record<'_>),
    ) {
        let old = self.entries.get(id).record;
        let mut bytes = std::mem::take(&mut self.scratch);
        let mut record = Record { data, ..Record::decode(self.arena.block(old)) };
        change(&mut record);
        bytes.clear();
        record.encode(&mut bytes);
        self.arena.free(old);
        self.entries.get_mut(id).record = self.arena.store(&bytes);
        self.keep_scratch(bytes);
        self.pack_some();
    }

    /// Children by number.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let first = match self.entries.get(id).family {
            NO_FAMILY => NO_NODE,
            family => self.families.get(family).first_child,
        };
        let some = |id: NodeId| (id != NO_NODE).then_some(id);
        std::iter::successors(some(first), move |&id| some(self.entries.get(id).next))
    }

    /// The node's whole path; `/` for the root.
    pub fn path(&self, id: NodeId) -> String {
        if id == ROOT {
            return path::ROOT.to_owned();
        }
        let up = |&id: &NodeId| Some(self.parent(id)).filter(|&id| id != ROOT);
        let chain: Vec<NodeId> = std::iter::successors(Some(id), up).collect();
        let mut path = String::new();
        for &id in chain.iter().rev() {
            path.push('/');
            path.push_str(self.record(id).name_text());
        }
        path
    }

    /// Checks lists, numbers and blocks against each other.
    ///
    /// # Panics
    /// If anything does not agree.
    pub fn check(&self) {
        let used = (0..self.id_end()).filter(|&id| self.is_used(id)).count();
        assert_eq!(used, self.len(), "the index holds every node but the root");
        assert_eq!(used + self.free.len(), self.entries.len(), "the other numbers are free");
        assert_eq!(self.arena.used(), used, "each node has one record");
        let mut families = BTreeSet::new();
        for id in (0..self.id_end()).filter(|&id| self.is_used(id)) {
            let entry = self.entries.get(id);
            if entry.family != NO_FAMILY {
                assert!(families.insert(entry.family), "a family of two nodes");
            }
            let mut previous = NO_NODE;
            for child in self.children(id) {
                assert!(self.is_used(child), "a child is a node");
                assert_eq!(self.entries.get(child).previous, previous, "children link both ways");
                previous = child;
            }
        }
        let in_use = families.len() + self.free_families.len();
        assert_eq!(in_use, self.families.len(), "the other families are free");
        assert!(self.free_families.iter().all(|free| !families.contains(free)));
    }

    fn store(&mut self, record: &Record<'_>) -> Handle {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        record.encode(&mut bytes);
        let handle = self.arena.store(&bytes);
        self.keep_scratch(bytes);
        handle
    }

    /// One large value must not leave its memory behind for good.
    fn keep_scratch(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() <= 64 * 1024 {
            self.scratch = bytes;
        }
    }

    /// The hash that the index goes by.
    pub fn hash(&self, path: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(path.as_bytes());
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }
}
