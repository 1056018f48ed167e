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
//! Paths have numbers. A watch on a path of its own costs the path, twelve bytes of its entry, some ten
//! of the index and two to four of its connection's list; one more watcher on a path costs four bytes
//! and its connection's two to four.
//!
//! Source: client-protocol reference, 7.

mod ids;
mod paths;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use oxikeeper_proto::watch::{EventType, WatcherType};
use oxikeeper_tree::ChangeKind;

use self::ids::Ids;
use self::paths::{PathRef, Paths};
use crate::mutation::{Mutation, mutated};

/// A connection's place in the Front. Below 2^27.
pub type Slot = u32;

/// A one-shot watch on a node.
pub const DATA: u8 = 1;
/// A one-shot watch on a node's children.
pub const CHILD: u8 = 2;
/// A persistent watch on a node and its children.
pub const PERSISTENT: u8 = 4;
/// A persistent watch on a node and everything below.
pub const RECURSIVE: u8 = 8;

const MODE_BITS: u32 = 4;
const SLOT_BITS: u32 = 27;

/// A connection and the modes in which it watches, in four bytes: a node may have a hundred
/// thousand of them.
#[derive(Clone, Copy, Debug)]
struct Watcher(u32);

impl Watcher {
    fn new(slot: Slot, modes: u8) -> Watcher {
        assert!(slot < 1 << SLOT_BITS, "fewer than 2^27 connections on one Front");
        Watcher(slot << MODE_BITS | u32::from(modes))
    }

    fn slot(self) -> Slot {
        self.0 >> MODE_BITS
    }

    fn modes(self) -> u8 {
        (self.0 & ((1 << MODE_BITS) - 1)) as u8
    }
}

/// Marks the number of a list.
const IS_LIST: u32 = 1 << 31;

/// Who watches one path, in four bytes. Most have one watcher, which then needs no memory of its own.
#[derive(Clone, Copy, Debug)]
enum Watchers {
    One(Watcher),
    /// The number of a list.
    Many(u32),
}

/// A path and who watches it.
#[derive(Debug)]
struct Watched {
    path: PathRef,
    /// Packed [`Watchers`].
    watchers: u32,
}

impl Watched {
    fn watchers(&self) -> Watchers {
        if self.watchers & IS_LIST == 0 {
            Watchers::One(Watcher(self.watchers))
        } else {
            Watchers::Many(self.watchers & !IS_LIST)
        }
    }
}

/// Lists of watchers, by number; each sorted by slot.
#[derive(Debug, Default)]
struct Lists {
    lists: Vec<Vec<Watcher>>,
    free: Vec<u32>,
}

impl Lists {
    fn add(&mut self, list: Vec<Watcher>) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.lists[number as usize] = list;
                number
            }
            None => {
                self.lists.push(list);
                let number = u32::try_from(self.lists.len() - 1).expect("fewer lists than paths");
                assert!(number < IS_LIST, "fewer lists than 2^31");
                number
            }
        }
    }

    fn remove(&mut self, number: u32) {
        self.lists[number as usize] = Vec::new();
        self.free.push(number);
    }

    /// Sets a connection's modes; none takes it out.
    fn set(&mut self, number: u32, slot: Slot, modes: u8) {
        let list = &mut self.lists[number as usize];
        match list.binary_search_by_key(&slot, |watcher| watcher.slot()) {
            Ok(at) if modes == 0 => drop(list.remove(at)),
            Ok(at) => list[at] = Watcher::new(slot, modes),
            Err(_) if modes == 0 => {}
            Err(at) => list.insert(at, Watcher::new(slot, modes)),
        }
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct WatchTable {
    watched: Vec<Watched>,
    free: Vec<u32>,
    paths: Paths,
    lists: Lists,
    by_path: HashTable<u32>,
    by_slot: HashMap<Slot, Ids, FixedState>,
    /// Pairs of a path and a connection that watches it.
    count: usize,
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
            paths: Paths::new(),
            lists: Lists::default(),
            by_path: HashTable::new(),
            by_slot: HashMap::with_hasher(hasher.clone()),
            count: 0,
            recursive_count: 0,
            hasher,
        }
    }

    /// Registers a watch. Doing so again changes nothing.
    pub fn add(&mut self, slot: Slot, path: &str, mode: u8) {
        let (id, before) = match self.find(path) {
            Some(id) => {
                let before = self.modes_at(id, slot);
                if before | mode != before {
                    self.set_modes(id, slot, before | mode);
                }
                (id, before)
            }
            None => (self.insert(path, Watcher::new(slot, mode)), 0),
        };
        self.recursive_count += usize::from(mode & !before & RECURSIVE != 0);
        if before == 0 {
            self.count += 1;
            self.by_slot.entry(slot).or_insert_with(Ids::new).insert(id);
        }
    }

    /// The modes in which a connection watches exactly this path.
    pub fn modes(&self, slot: Slot, path: &str) -> u8 {
        self.find(path).map_or(0, |id| self.modes_at(id, slot))
    }

    /// Takes modes away from a connection's watch on a path. False if it had none of them.
    pub fn remove(&mut self, slot: Slot, path: &str, modes: u8) -> bool {
        let Some(id) = self.find(path) else {
            return false;
        };
        if self.modes_at(id, slot) & modes == 0 {
            return false;
        }
        self.clear_modes(id, slot, modes);
        true
    }

    /// Forgets a connection.
    pub fn remove_slot(&mut self, slot: Slot) {
        let Some(ids) = self.by_slot.remove(&slot) else {
            return;
        };
        for id in ids.to_sorted() {
            self.clear_modes(id, slot, u8::MAX);
        }
    }

    /// The paths whose nodes a connection watches, and not their children alone; in the order in
    /// which they were first watched by anybody.
    pub fn watched_by(&self, slot: Slot) -> Vec<String> {
        let ids = self.by_slot.get(&slot).map_or_else(Vec::new, Ids::to_sorted);
        ids.into_iter()
            .filter(|id| self.modes_at(*id, slot) != CHILD)
            .map(|id| self.paths.get(self.watched[id as usize].path))
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect()
    }

    /// Watches of all connections: paths times watchers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.count == 0
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
        if self.is_empty() {
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
    /// persistently; by slot. One pass over the watchers, however many.
    fn take(&mut self, path: &str, one_shot: u8) -> Vec<Slot> {
        let Some(id) = self.find(path) else {
            return Vec::new();
        };
        let told_modes = one_shot | PERSISTENT;
        let concerned = |watcher: &Watcher| watcher.modes() & told_modes != 0;
        let spends_all = mutated(Mutation::SpendPersistentWatch);
        let one_shot = if spends_all { one_shot | PERSISTENT } else { one_shot };
        match self.watched[id as usize].watchers() {
            Watchers::One(watcher) => {
                if !concerned(&watcher) {
                    return Vec::new();
                }
                if watcher.modes() & one_shot != 0 {
                    self.clear_modes(id, watcher.slot(), one_shot);
                }
                vec![watcher.slot()]
            }
            Watchers::Many(number) => {
                let list = &mut self.lists.lists[number as usize];
                let told =
                    list.iter().filter(|watcher| concerned(watcher)).map(|w| w.slot()).collect();
                let by_slot = &mut self.by_slot;
                let before = list.len();
                list.retain_mut(|watcher| {
                    let (slot, left) = (watcher.slot(), watcher.modes() & !one_shot);
                    if left == 0 {
                        unlist(by_slot, slot, id);
                        return false;
                    }
                    *watcher = Watcher::new(slot, left);
                    true
                });
                self.count -= before - list.len();
                if list.is_empty() {
                    self.free_path(id);
                }
                told
            }
        }
    }

    /// Adds who watches this path or one above it recursively.
    fn add_recursive(&self, path: &str, told: &mut Vec<Slot>) {
        if self.recursive_count == 0 {
            return;
        }
        let mut at = path;
        loop {
            if let Some(id) = self.find(at) {
                let recursive = |watcher: &&Watcher| watcher.modes() & RECURSIVE != 0;
                match self.watched[id as usize].watchers() {
                    Watchers::One(one) => {
                        told.extend([one].iter().filter(recursive).map(|watcher| watcher.slot()));
                    }
                    Watchers::Many(number) => {
                        let list = self.lists.lists[number as usize].iter();
                        told.extend(list.filter(recursive).map(|watcher| watcher.slot()));
                    }
                }
            }
            if at == oxikeeper_proto::path::ROOT {
                break;
            }
            at = oxikeeper_proto::path::parent(at);
        }
        told.sort_unstable();
        told.dedup();
    }

    fn modes_at(&self, id: u32, slot: Slot) -> u8 {
        match self.watched[id as usize].watchers() {
            Watchers::One(watcher) if watcher.slot() == slot => watcher.modes(),
            Watchers::One(_) => 0,
            Watchers::Many(number) => {
                let list = &self.lists.lists[number as usize];
                let found = list.binary_search_by_key(&slot, |watcher| watcher.slot());
                found.map_or(0, |at| list[at].modes())
            }
        }
    }

    /// Sets a connection's modes; none takes it out, unless it is the only one: then its path is to
    /// be given up.
    fn set_modes(&mut self, id: u32, slot: Slot, modes: u8) {
        let watched = &mut self.watched[id as usize];
        match watched.watchers() {
            Watchers::One(watcher) if watcher.slot() == slot => {
                watched.watchers = Watcher::new(slot, modes).0;
            }
            Watchers::One(_) if modes == 0 => {}
            Watchers::One(watcher) => {
                let number = self.lists.add(vec![watcher]);
                watched.watchers = number | IS_LIST;
                self.lists.set(number, slot, modes);
            }
            Watchers::Many(number) => self.lists.set(number, slot, modes),
        }
    }

    /// Nobody watches it any more.
    fn is_unwatched(&self, id: u32) -> bool {
        match self.watched[id as usize].watchers() {
            Watchers::One(watcher) => watcher.modes() == 0,
            Watchers::Many(number) => self.lists.lists[number as usize].is_empty(),
        }
    }

    fn clear_modes(&mut self, id: u32, slot: Slot, modes: u8) {
        let before = self.modes_at(id, slot);
        self.recursive_count -= usize::from(before & modes & RECURSIVE != 0);
        let left = before & !modes;
        if before == 0 {
            return;
        }
        self.set_modes(id, slot, left);
        if left != 0 {
            return;
        }
        self.count -= 1;
        unlist(&mut self.by_slot, slot, id);
        if self.is_unwatched(id) {
            self.free_path(id);
        }
    }

    /// Gives up a path that nobody watches any more.
    fn free_path(&mut self, id: u32) {
        let watched = &mut self.watched[id as usize];
        if let Watchers::Many(number) = watched.watchers() {
            self.lists.remove(number);
        }
        watched.watchers = 0;
        let path = watched.path;
        let hash = self.hasher.hash_one(self.paths.get(path));
        match self.by_path.find_entry(hash, |&other| other == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("a watched path is in the index"),
        }
        self.paths.remove(path);
        self.free.push(id);
        self.shrink();
    }

    /// A herd that was told leaves nothing behind.
    fn shrink(&mut self) {
        if self.free.len() == self.watched.len() {
            self.watched = Vec::new();
            self.free = Vec::new();
            self.lists = Lists::default();
            self.by_path = HashTable::new();
        }
    }

    fn find(&self, path: &str) -> Option<u32> {
        let path = path.as_bytes();
        let is_it = |&id: &u32| self.paths.get(self.watched[id as usize].path) == path;
        self.by_path.find(self.hasher.hash_one(path), is_it).copied()
    }

    fn insert(&mut self, path: &str, watcher: Watcher) -> u32 {
        let hash = self.hasher.hash_one(path.as_bytes());
        let watched = Watched { path: self.paths.add(path), watchers: watcher.0 };
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
        let (hasher, all, paths) = (&self.hasher, &self.watched, &self.paths);
        let rehash = |&id: &u32| hasher.hash_one(paths.get(all[id as usize].path));
        self.by_path.insert_unique(hash, id, rehash);
        id
    }

    /// What always holds. Costly.
    #[cfg(test)]
    fn check(&self) {
        let mut pairs = 0;
        let mut recursive = 0;
        for &id in &self.by_path {
            let watchers = match self.watched[id as usize].watchers() {
                Watchers::One(watcher) => vec![watcher],
                Watchers::Many(number) => self.lists.lists[number as usize].clone(),
            };
            assert!(!watchers.is_empty(), "a path in the index is watched");
            assert!(watchers.is_sorted_by(|a, b| a.slot() < b.slot()), "watchers are by slot");
            for watcher in &watchers {
                assert_ne!(watcher.modes(), 0);
                assert!(
                    self.by_slot[&watcher.slot()].to_sorted().contains(&id),
                    "both directions agree"
                );
                pairs += 1;
                recursive += usize::from(watcher.modes() & RECURSIVE != 0);
            }
        }
        assert_eq!(pairs, self.count);
        assert_eq!(recursive, self.recursive_count);
        let listed: usize =
            self.by_slot.keys().map(|slot| self.by_slot[slot].to_sorted().len()).sum();
        assert_eq!(listed, self.count);
        assert_eq!(self.by_path.len() + self.free.len(), self.watched.len());
    }
}

/// Takes a path out of a connection's list.
fn unlist(by_slot: &mut HashMap<Slot, Ids, FixedState>, slot: Slot, id: u32) {
    if let Some(ids) = by_slot.get_mut(&slot) {
        ids.remove(id);
        if ids.is_empty() {
            by_slot.remove(&slot);
        }
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
mod tests;
