//! Watch events and the ways to register for them.

use std::borrow::Cow;

use crate::record;

/// What happened to a znode, as a notification says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum EventType {
    /// The node was created.
    NodeCreated = 1,
    /// The node was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

impl EventType {
    /// The event of this number, if there is one.
    pub const fn from_wire(kind: i32) -> Option<EventType> {
        match kind {
            1 => Some(EventType::NodeCreated),
            2 => Some(EventType::NodeDeleted),
            3 => Some(EventType::NodeDataChanged),
            4 => Some(EventType::NodeChildrenChanged),
            _ => None,
        }
    }
}

/// The only connection state that a server writes into a notification: SyncConnected.
pub const STATE_SYNC_CONNECTED: i32 = 3;

record! {
    /// Body of a notification.
    pub struct WatcherEvent<'a> {
        /// An [`EventType`].
        pub kind: i32,
        /// [`STATE_SYNC_CONNECTED`].
        pub state: i32,
        /// The node.
        pub path: Cow<'a, str>,
    }
}

/// Mode of addWatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum AddWatchMode {
    /// Stays until removed; data and children of this node.
    Persistent = 0,
    /// Stays until removed; the whole subtree.
    PersistentRecursive = 1,
}

impl AddWatchMode {
    /// The mode of this number, if there is one.
    pub const fn from_wire(mode: i32) -> Option<AddWatchMode> {
        match mode {
            0 => Some(AddWatchMode::Persistent),
            1 => Some(AddWatchMode::PersistentRecursive),
            _ => None,
        }
    }
}

/// Which watches checkWatches and removeWatches mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum WatcherType {
    /// One-shot child watches.
    Children = 1,
    /// One-shot data and exists watches.
    Data = 2,
    /// All of them.
    Any = 3,
    /// Persistent watches.
    Persistent = 4,
    /// Persistent recursive watches.
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The type of this number, if there is one.
    pub const fn from_wire(kind: i32) -> Option<WatcherType> {
        match kind {
            1 => Some(WatcherType::Children),
            2 => Some(WatcherType::Data),
            3 => Some(WatcherType::Any),
            4 => Some(WatcherType::Persistent),
            5 => Some(WatcherType::PersistentRecursive),
            _ => None,
        }
    }
}
