//! Who watches what, on this Front.
//!
//! Apache keeps a table for data and one for children, each with modes. Here each path has one
//! entry, with a few bits per watcher that say the same:
//!
//! | bit | left by | listens to | after an event |
//! |---|---|---|---|
//! | `DATA` | getData, exists | the node | gone |
//! | `CHILD` | getChildren | its list of children, and its end | gone |
//! | `PERSISTENT` | addWatch mode 0 | both | stays |
//! | `RECURSIVE` | addWatch mode 1 | the node and everything below | stays |
//!
//! Source: client-protocol reference, 7.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet, HashTable};
use oxikeeper_proto::watch::{EventType, WatcherType};
use oxikeeper_tree::ChangeKind;

/// A connection's place in the Front.
pub type Slot = u32;

/// A one-shot watch on a node.
pub const DATA: u8 = 1;
/// A one-shot watch on a node's children.
pub const CHILD: u8 = 2;
/// A persistent watch on a node and its children.
pub const PERSISTENT: u8 = 4;
/// A persistent watch on a node and everything below.
pub const RECURSIVE: u8 = 8;

#[derive(Clone, Copy, Debug)]
struct Watcher {
    slot: Slot,
    modes: u8,
}

/// A path and who watches it.
#[derive(Debug)]
struct Watched {
    path: Box<str>,
    watchers: Vec<Watcher>,
}

/// See the module's head.
#[derive(Debug)]
pub struct WatchTable {
    watched: Vec<Watched>,
    free: Vec<u32>,
    by_path: HashTable<u32>,
    by_slot: HashMap<Slot, HashSet<u32, FixedState>, FixedState>,
    /// Recursive watches there are: if none, nobody looks at ancestors.
    recursive_count: usize,
    hasher: FixedState,
}

impl WatchTable {
    /// Empty.
    pub fn new(seed: u64) -> WatchTable {
        let hasher = FixedState::with_seed(seed);
        WatchTable {
            watched: Vec::new(),
            free: Vec::new(),
            by_path: HashTable::new(),
            by_slot: HashMap::with_hasher(hasher.clone()),
            recursive_count: 0,
            hasher,
        }
    }

    /// Registers a watch. Doing so again changes nothing.
    pub fn add(&mut self, slot: Slot, path: &str, mode: u8) {
        let id = self.find(path).unwrap_or_else(|| self.insert(path));
        let watchers = &mut self.watched[id as usize].watchers;
        let before = match watchers.iter_mut().find(|watcher| watcher.slot == slot) {
            Some(watcher) => {
                let before = watcher.modes;
                watcher.modes |= mode;
                before
            }
            None => {
                watchers.push(Watcher { slot, modes: mode });
                0
            }
        };
        self.recursive_count += usize::from(mode & !before & RECURSIVE != 0);
        if before == 0 {
            let hasher = &self.hasher;
            let ids = self.by_slot.entry(slot);
            ids.or_insert_with(|| HashSet::with_hasher(hasher.clone())).insert(id);
        }
    }

    /// The modes in which a connection watches exactly this path.
    pub fn modes(&self, slot: Slot, path: &str) -> u8 {
        let Some(id) = self.find(path) else { return 0 };
        let watchers = &self.watched[id as usize].watchers;
        watchers.iter().find(|watcher| watcher.slot == slot).map_or(0, |watcher| watcher.modes)
    }

    /// Takes modes away from a connection's watch on a path. False if it had none of them.
    pub fn remove(&mut self, slot: Slot, path: &str, modes: u8) -> bool {
        let Some(id) = self.find(path) else { return false };
        if self.modes(slot, path) & modes == 0 {
            return false;
        }
        self.clear_modes(id, slot, modes);
        true
    }

    /// Forgets a connection.
    pub fn remove_slot(&mut self, slot: Slot) {
        let Some(ids) = self.by_slot.remove(&slot) else { return };
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        for id in ids {
            self.clear_modes(id, slot, u8::MAX);
        }
    }

    /// Watches of all connections: paths times watchers.
    pub fn len(&self) -> usize {
        self.by_slot.values().map(HashSet::len).sum()
    }

    /// True if nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// Tells of a change whom it concerns: `tell(slot, event, path, of_parent)`, in the order the
    /// events are to be sent. `of_parent`: the event is the parent's, and so is the ACL that decides
    /// who may see it.
    pub fn trigger(
        &mut self,
        kind: ChangeKind,
        path: &str,
        mut tell: impl FnMut(Slot, EventType, &str, bool),
    ) {
        if self.by_slot.is_empty() {
            return;
        }
        let event = match kind {
            ChangeKind::Created => EventType::NodeCreated,
            ChangeKind::Deleted => EventType::NodeDeleted,
            ChangeKind::DataChanged => EventType::NodeDataChanged,
        };
        // A deletion concerns whoever watches the node or its children, once.
        let of_node = match kind {
            ChangeKind::Deleted => DATA | CHILD,
            ChangeKind::Created | ChangeKind::DataChanged => DATA,
        };
        let mut told = self.take(path, of_node);
        self.add_recursive(path, &mut told);
        for slot in told {
            tell(slot, event, path, false);
        }
        if kind != ChangeKind::DataChanged {
            let parent = oxikeeper_proto::path::parent(path);
            for slot in self.take(parent, CHILD) {
                tell(slot, EventType::NodeChildrenChanged, parent, true);
            }
        }
    }

    /// Who watches exactly this path in one of these one-shot modes, which are used up, or
    /// persistently.
    fn take(&mut self, path: &str, one_shot: u8) -> Vec<Slot> {
        let Some(id) = self.find(path) else { return Vec::new() };
        let watchers = &self.watched[id as usize].watchers;
        let concerned: Vec<Watcher> = watchers
            .iter()
            .copied()
            .filter(|watcher| watcher.modes & (one_shot | PERSISTENT) != 0)
            .collect();
        for watcher in concerned.iter().filter(|watcher| watcher.modes & one_shot != 0) {
            self.clear_modes(id, watcher.slot, one_shot);
        }
        concerned.into_iter().map(|watcher| watcher.slot).collect()
    }

    /// Adds who watches this path or one above it recursively.
    fn add_recursive(&self, path: &str, told: &mut Vec<Slot>) {
        if self.recursive_count == 0 {
            return;
        }
        let mut at = path;
        loop {
            if let Some(id) = self.find(at) {
                for watcher in &self.watched[id as usize].watchers {
                    if watcher.modes & RECURSIVE != 0 && !told.contains(&watcher.slot) {
                        told.push(watcher.slot);
                    }
                }
            }
            if at == oxikeeper_proto::path::ROOT {
                return;
            }
            at = oxikeeper_proto::path::parent(at);
        }
    }

    fn clear_modes(&mut self, id: u32, slot: Slot, modes: u8) {
        let watchers = &mut self.watched[id as usize].watchers;
        let Some(at) = watchers.iter().position(|watcher| watcher.slot == slot) else { return };
        let watcher = &mut watchers[at];
        self.recursive_count -= usize::from(watcher.modes & modes & RECURSIVE != 0);
        watcher.modes &= !modes;
        if watcher.modes != 0 {
            return;
        }
        watchers.swap_remove(at);
        let is_unwatched = watchers.is_empty();
        if let Some(ids) = self.by_slot.get_mut(&slot) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
        if is_unwatched {
            let watched = &mut self.watched[id as usize];
            let path = std::mem::take(&mut watched.path);
            watched.watchers = Vec::new();
            let hash = self.hasher.hash_one(&*path);
            if let Ok(entry) = self.by_path.find_entry(hash, |&other| other == id) {
                entry.remove();
            }
            self.free.push(id);
        }
    }

    fn find(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        self.by_path.find(hash, |&id| *self.watched[id as usize].path == *path).copied()
    }

    fn insert(&mut self, path: &str) -> u32 {
        let watched = Watched { path: path.into(), watchers: Vec::with_capacity(1) };
        let id = match self.free.pop() {
            Some(id) => {
                self.watched[id as usize] = watched;
                id
            }
            None => {
                self.watched.push(watched);
                u32::try_from(self.watched.len() - 1).expect("fewer watches than 2^32")
            }
        };
        let (hasher, all) = (&self.hasher, &self.watched);
        let rehash = |&id: &u32| hasher.hash_one(&*all[id as usize].path);
        self.by_path.insert_unique(hasher.hash_one(path), id, rehash);
        id
    }
}

/// The modes that checkWatches and removeWatches mean by a type.
pub fn modes_of(kind: WatcherType) -> u8 {
    match kind {
        WatcherType::Children => CHILD,
        WatcherType::Data => DATA,
        WatcherType::Any => DATA | CHILD | PERSISTENT | RECURSIVE,
        WatcherType::Persistent => PERSISTENT,
        WatcherType::PersistentRecursive => RECURSIVE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChangeKind::{Created, DataChanged, Deleted};
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

    fn events(table: &mut WatchTable, kind: ChangeKind, path: &str) -> Vec<(Slot, EventType, String)> {
        let mut events = Vec::new();
        table.trigger(kind, path, |slot, event, path, _| {
            events.push((slot, event, path.to_owned()));
        });
        events
    }

    #[test]
    fn one_shot_watches_fire_once() {
        let mut table = WatchTable::new(0);
        table.add(1, "/a", DATA);
        table.add(1, "/a", DATA);
        assert_eq!(events(&mut table, DataChanged, "/a"), [(1, NodeDataChanged, "/a".into())]);
        assert_eq!(events(&mut table, DataChanged, "/a"), []);
        assert!(table.is_empty());
    }

    #[test]
    fn a_deletion_is_told_once_per_connection() {
        let mut table = WatchTable::new(0);
        table.add(1, "/a", DATA);
        table.add(1, "/a", CHILD);
        table.add(1, "/a", PERSISTENT);
        table.add(2, "/a", CHILD);
        let told = events(&mut table, Deleted, "/a");
        assert_eq!(told, [(1, NodeDeleted, "/a".into()), (2, NodeDeleted, "/a".into())]);
        assert_eq!(table.modes(1, "/a"), PERSISTENT);
        assert_eq!(table.modes(2, "/a"), 0);
    }

    #[test]
    fn recursive_watches_see_descendants_but_no_lists() {
        let mut table = WatchTable::new(0);
        table.add(1, "/a", RECURSIVE);
        table.add(2, "/", RECURSIVE);
        table.add(1, "/a", CHILD);
        let told = events(&mut table, Created, "/a/b");
        assert_eq!(
            told,
            [
                (1, NodeCreated, "/a/b".into()),
                (2, NodeCreated, "/a/b".into()),
                (1, NodeChildrenChanged, "/a".into()),
            ]
        );
        assert_eq!(events(&mut table, DataChanged, "/ab"), [(2, NodeDataChanged, "/ab".into())]);
    }

    #[test]
    fn persistent_watches_stay_until_removed() {
        let mut table = WatchTable::new(0);
        table.add(1, "/a", PERSISTENT);
        for _ in 0..2 {
            assert_eq!(events(&mut table, Created, "/a"), [(1, NodeCreated, "/a".into())]);
            let told = events(&mut table, Created, "/a/b");
            assert_eq!(told, [(1, NodeChildrenChanged, "/a".into())]);
        }
        assert!(!table.remove(1, "/a", DATA));
        assert!(table.remove(1, "/a", PERSISTENT));
        assert!(table.is_empty());
    }

    #[test]
    fn a_closed_connection_leaves_nothing_behind() {
        let mut table = WatchTable::new(0);
        for path in ["/a", "/b", "/c"] {
            table.add(1, path, DATA | RECURSIVE);
            table.add(2, path, CHILD);
        }
        table.remove_slot(1);
        assert_eq!(table.len(), 3);
        assert_eq!(table.recursive_count, 0);
        assert_eq!(events(&mut table, DataChanged, "/a"), []);
        table.remove_slot(2);
        assert!(table.is_empty());
        assert_eq!(table.by_path.len(), 0);
    }
}
