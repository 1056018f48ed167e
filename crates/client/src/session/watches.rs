//! The watches of a session: who waits for what, on which server's path.
//!
//! A server knows one watch per path and kind, however many wait here. So what comes is handed to
//! all of them, and after a reconnect each path is named once.

use std::collections::BTreeMap;

use oxikeeper_proto::watch::{EventType, WatcherType};

/// Names one watch of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(u64);

/// What a watch looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One-shot, on the data of a node that is there.
    Data,
    /// One-shot, on a node that is not there.
    Exist,
    /// One-shot, on the list of children.
    Child,
    Persistent,
    Recursive,
}

impl Kind {
    pub fn is_one_shot(self) -> bool {
        matches!(self, Kind::Data | Kind::Exist | Kind::Child)
    }

    /// Whether removeWatches of this type means it.
    pub fn is_meant_by(self, watcher: WatcherType) -> bool {
        match watcher {
            WatcherType::Any => true,
            WatcherType::Children => self == Kind::Child,
            WatcherType::Data => matches!(self, Kind::Data | Kind::Exist),
            WatcherType::Persistent => self == Kind::Persistent,
            WatcherType::PersistentRecursive => self == Kind::Recursive,
        }
    }

    fn hears(self, event: EventType) -> bool {
        match self {
            Kind::Data | Kind::Exist => event != EventType::NodeChildrenChanged,
            Kind::Child => {
                matches!(event, EventType::NodeChildrenChanged | EventType::NodeDeleted)
            }
            Kind::Persistent => true,
            Kind::Recursive => event != EventType::NodeChildrenChanged,
        }
    }
}

struct Entry<W> {
    path: String,
    kind: Kind,
    /// The server has it. Before, its request is on its way.
    is_set: bool,
    /// None: nobody waits any more, but the request is on its way.
    watch: Option<W>,
}

/// What the server has to be told after a watch was dropped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub path: String,
    pub kind: WatcherType,
}

/// See the module.
pub(crate) struct Watches<W> {
    entries: BTreeMap<WatchId, Entry<W>>,
    /// The set ones.
    by_path: BTreeMap<String, Vec<WatchId>>,
    recursive_count: usize,
    next: u64,
}

impl<W: Clone> Watches<W> {
    pub fn new() -> Watches<W> {
        Watches { entries: BTreeMap::new(), by_path: BTreeMap::new(), recursive_count: 0, next: 0 }
    }

    /// A watch whose request is on its way.
    pub fn reserve(&mut self, path: String, kind: Kind, watch: W) -> WatchId {
        let id = WatchId(self.next);
        self.next += 1;
        self.entries.insert(id, Entry { path, kind, is_set: false, watch: Some(watch) });
        id
    }

    /// The server has set it, as a watch on a missing node if so. Returns what the server has to
    /// forget again, if nobody wants it any more.
    pub fn set(&mut self, id: WatchId, is_missing: bool) -> Option<Removal> {
        let entry = self.entries.get_mut(&id)?;
        if is_missing {
            entry.kind = Kind::Exist;
        }
        entry.is_set = true;
        let (kind, is_wanted) = (entry.kind, entry.watch.is_some());
        self.recursive_count += usize::from(kind == Kind::Recursive);
        self.by_path.entry(entry.path.clone()).or_default().push(id);
        if is_wanted { None } else { self.drop_watch(id) }
    }

    /// Forgets a watch. Returns what the server has to be told.
    pub fn drop_watch(&mut self, id: WatchId) -> Option<Removal> {
        let entry = self.entries.get_mut(&id)?;
        if !entry.is_set {
            entry.watch = None;
            return None;
        }
        let entry = self.remove(id)?;
        let watcher = match entry.kind {
            // It stays with the server until it fires, once, into the void.
            Kind::Data | Kind::Exist | Kind::Child => return None,
            Kind::Persistent => WatcherType::Persistent,
            Kind::Recursive => WatcherType::PersistentRecursive,
        };
        let Some(others) = self.by_path.get(&entry.path) else {
            // Servers before 3.9 remove persistent watches by this type alone.
            return Some(Removal { path: entry.path, kind: WatcherType::Any });
        };
        let is_shared = others.iter().any(|other| self.entries[other].kind == entry.kind);
        (!is_shared).then_some(Removal { path: entry.path, kind: watcher })
    }

    /// The request failed: there is no such watch.
    pub fn unset(&mut self, id: WatchId) {
        self.entries.remove(&id);
    }

    fn remove(&mut self, id: WatchId) -> Option<Entry<W>> {
        let entry = self.entries.remove(&id)?;
        self.recursive_count -= usize::from(entry.kind == Kind::Recursive);
        if let Some(ids) = self.by_path.get_mut(&entry.path) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_path.remove(&entry.path);
            }
        }
        Some(entry)
    }

    /// Who hears of an event; one-shot watches are then gone.
    pub fn fire(&mut self, event: EventType, path: &str, mut hear: impl FnMut(W)) {
        let at_path = self.by_path.get(path).cloned().unwrap_or_default();
        for id in at_path {
            let kind = self.entries[&id].kind;
            if !kind.hears(event) || kind == Kind::Recursive {
                continue;
            }
            if kind.is_one_shot() {
                self.remove(id).and_then(|entry| entry.watch).into_iter().for_each(&mut hear);
            } else {
                self.entries[&id].watch.iter().cloned().for_each(&mut hear);
            }
        }
        if self.recursive_count == 0 || !Kind::Recursive.hears(event) {
            return;
        }
        for ancestor in ancestors(path) {
            for id in self.by_path.get(ancestor).into_iter().flatten() {
                let entry = &self.entries[id];
                if entry.kind == Kind::Recursive {
                    entry.watch.iter().cloned().for_each(&mut hear);
                }
            }
        }
    }

    /// The persistent ones, with their paths.
    pub fn persistent(&self) -> impl Iterator<Item = (&str, &W)> {
        let stays = |entry: &&Entry<W>| entry.is_set && !entry.kind.is_one_shot();
        let entries = self.entries.values().filter(stays);
        entries.filter_map(|entry| Some((entry.path.as_str(), entry.watch.as_ref()?)))
    }

    /// Forgets the watches of a path that a removal means.
    pub fn forget(&mut self, path: &str, watcher: WatcherType) -> Vec<W> {
        let ids = self.by_path.get(path).cloned().unwrap_or_default();
        let meant = ids.into_iter().filter(|id| self.entries[id].kind.is_meant_by(watcher));
        let meant: Vec<WatchId> = meant.collect();
        meant.into_iter().filter_map(|id| self.remove(id)?.watch).collect()
    }

    /// Whether a path has a set watch of this type.
    pub fn has(&self, path: &str, watcher: WatcherType) -> bool {
        let ids = self.by_path.get(path).into_iter().flatten();
        ids.into_iter().any(|id| self.entries[id].kind.is_meant_by(watcher))
    }

    /// Every path with what has to be set there, once each.
    pub fn to_set(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.by_path.iter().flat_map(|(path, ids)| {
            let kinds = [Kind::Data, Kind::Exist, Kind::Child, Kind::Persistent, Kind::Recursive];
            let is_there = |kind: &Kind| ids.iter().any(|id| self.entries[id].kind == *kind);
            kinds.into_iter().filter(is_there).map(move |kind| (kind, path.as_str()))
        })
    }

    /// How many there are, set or on their way.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes all of them.
    pub fn drain(&mut self) -> impl Iterator<Item = W> {
        let all = std::mem::replace(self, Watches::new());
        all.entries.into_values().filter_map(|entry| entry.watch)
    }
}

/// The path itself, and all above it up to the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match *path {
        "/" => None,
        path => Some(oxikeeper_proto::path::parent(path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(watches: &mut Watches<u32>, event: EventType, path: &str) -> Vec<u32> {
        let mut heard = Vec::new();
        watches.fire(event, path, |watch| heard.push(watch));
        heard
    }

    fn add(watches: &mut Watches<u32>, path: &str, kind: Kind, watch: u32) -> WatchId {
        let id = watches.reserve(path.to_owned(), kind, watch);
        watches.set(id, kind == Kind::Exist);
        id
    }

    #[test]
    fn events_reach_whom_they_concern() {
        use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
        let mut watches = Watches::new();
        add(&mut watches, "/a", Kind::Data, 1);
        add(&mut watches, "/a", Kind::Child, 2);
        add(&mut watches, "/a", Kind::Persistent, 3);
        add(&mut watches, "/", Kind::Recursive, 4);
        add(&mut watches, "/b", Kind::Exist, 5);
        assert_eq!(heard(&mut watches, NodeDataChanged, "/a"), [1, 3, 4]);
        assert_eq!(heard(&mut watches, NodeDataChanged, "/a"), [3, 4], "one-shot ones are gone");
        assert_eq!(heard(&mut watches, NodeChildrenChanged, "/a"), [2, 3]);
        assert_eq!(heard(&mut watches, NodeCreated, "/a/x"), [4]);
        assert_eq!(heard(&mut watches, NodeCreated, "/b"), [5, 4]);
        add(&mut watches, "/a", Kind::Data, 6);
        add(&mut watches, "/a", Kind::Child, 7);
        assert_eq!(heard(&mut watches, NodeDeleted, "/a"), [3, 6, 7, 4]);
        assert_eq!(watches.len(), 2);
    }

    #[test]
    fn the_server_is_told_when_nobody_is_left() {
        let mut watches = Watches::new();
        let first = add(&mut watches, "/a", Kind::Recursive, 1);
        let second = add(&mut watches, "/a", Kind::Recursive, 2);
        let one_shot = add(&mut watches, "/a", Kind::Data, 3);
        assert_eq!(watches.drop_watch(first), None);
        let removal = Removal { path: "/a".to_owned(), kind: WatcherType::PersistentRecursive };
        assert_eq!(watches.drop_watch(second), Some(removal));
        assert_eq!(watches.drop_watch(one_shot), None);
        let early = watches.reserve("/b".to_owned(), Kind::Persistent, 4);
        assert_eq!(watches.drop_watch(early), None, "its request is on its way");
        let removal = Removal { path: "/b".to_owned(), kind: WatcherType::Any };
        assert_eq!(watches.set(early, false), Some(removal));
        assert_eq!(watches.len(), 0);
    }
}
