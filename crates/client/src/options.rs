//! What callers choose and what they are told: kinds of nodes, versions, states, events.

use std::time::Duration;

use oxikeeper_proto::request::CreateMode;
use oxikeeper_proto::watch::EventType;
use oxikeeper_proto::{Acl, SessionId, Zxid};

/// How a node is created. By default everybody may do everything with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    pub(crate) mode: CreateMode,
    pub(crate) acl: Vec<Acl>,
    pub(crate) ttl: Option<Duration>,
}

impl CreateOptions {
    const fn of(mode: CreateMode, acl: Vec<Acl>, ttl: Option<Duration>) -> CreateOptions {
        CreateOptions { mode, acl, ttl }
    }

    /// Stays until it is deleted.
    pub fn persistent() -> CreateOptions {
        CreateOptions::of(CreateMode::Persistent, vec![Acl::open()], None)
    }

    /// Goes with the session.
    pub fn ephemeral() -> CreateOptions {
        CreateOptions::of(CreateMode::Ephemeral, vec![Acl::open()], None)
    }

    /// Stays; the server appends ten digits that grow from sibling to sibling.
    pub fn persistent_sequential() -> CreateOptions {
        CreateOptions::of(CreateMode::PersistentSequential, vec![Acl::open()], None)
    }

    /// Goes with the session; the server appends ten digits.
    pub fn ephemeral_sequential() -> CreateOptions {
        CreateOptions::of(CreateMode::EphemeralSequential, vec![Acl::open()], None)
    }

    /// Removed by the server when its last child is gone, within a minute or so.
    pub fn container() -> CreateOptions {
        CreateOptions::of(CreateMode::Container, vec![Acl::open()], None)
    }

    /// Removed by the server when it has no children and was not set for this long: whole
    /// milliseconds, 1 to 2^40 - 1. Servers of Apache's have this switched off by default
    /// (`extendedTypesEnabled`) and refuse it as unimplemented.
    pub fn ttl(ttl: Duration) -> CreateOptions {
        CreateOptions::of(CreateMode::PersistentWithTtl, vec![Acl::open()], Some(ttl))
    }

    /// As [`ttl`](Self::ttl); the server appends ten digits.
    pub fn sequential_ttl(ttl: Duration) -> CreateOptions {
        CreateOptions::of(CreateMode::PersistentSequentialWithTtl, vec![Acl::open()], Some(ttl))
    }

    /// Who may do what with the node, instead of everybody everything.
    pub fn acl(mut self, acl: Vec<Acl>) -> CreateOptions {
        self.acl = acl;
        self
    }
}

/// The version that a node must have for a write to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedVersion {
    /// Whatever it is.
    Any,
    /// This one.
    Exactly(i32),
}

impl ExpectedVersion {
    pub(crate) const fn to_wire(self) -> i32 {
        match self {
            ExpectedVersion::Any => -1,
            ExpectedVersion::Exactly(version) => version,
        }
    }
}

/// -1 is any version, as everywhere in ZooKeeper.
impl From<i32> for ExpectedVersion {
    fn from(version: i32) -> ExpectedVersion {
        if version == -1 { ExpectedVersion::Any } else { ExpectedVersion::Exactly(version) }
    }
}

/// What is done with requests when a connection breaks.
///
/// Reads (and `sync`, `add_watch`, `close`), which may be asked twice, keep their place in the order of
/// calls and are sent again on the next connection. A write that was sent is never sent again: it ends
/// as [`ConnectionLoss`](crate::Error::ConnectionLoss) with an unknown outcome, and every write called
/// behind it ends too, as not done: it may have been meant for what the first one would make. Only
/// when no write was on its way do the writes that waited go out on the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(crate) retries: u32,
    pub(crate) patience: Option<Duration>,
}

impl RetryPolicy {
    /// A read is sent again up to `retries` times.
    pub const fn new(retries: u32) -> RetryPolicy {
        RetryPolicy { retries, patience: None }
    }

    /// Nothing outlives the connection it was called on.
    pub const fn never() -> RetryPolicy {
        RetryPolicy::new(0)
    }

    /// How long a request waits for a connection before it ends as not done; by default for the
    /// session's timeout.
    pub const fn patience(mut self, patience: Duration) -> RetryPolicy {
        self.patience = Some(patience);
        self
    }
}

/// Ten times, each for as long as the session's timeout.
impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy::new(10)
    }
}

/// What a client keeps at most. Beyond it a call ends at once with
/// [`QueueFull`](crate::Error::QueueFull).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests sent and not answered; more wait in the client.
    pub in_flight_max: usize,
    /// Requests without a reply, sent or not.
    pub requests_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Largest request frame: a server's `jute.maxbuffer`.
    pub request_bytes_max: usize,
    /// Largest reply frame.
    pub reply_bytes_max: usize,
    /// Events that wait for a slow reader of one stream of watched events.
    pub events_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            in_flight_max: 1000,
            requests_max: 100_000,
            bytes_max: 64 << 20,
            request_bytes_max: oxikeeper_proto::limits::FRAME_BYTES_MAX_DEFAULT,
            // A node that was just small enough to be written has a reply that is larger.
            reply_bytes_max: 4 << 20,
            events_max: 100_000,
        }
    }
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// A server said so. It is never concluded from silence: while no server answers, nobody knows
    /// whether the session lives, and the state is [`Suspended`](State::Suspended).
    Expired,
    /// A server did not believe the client's authentication.
    AuthFailed,
    /// The client was closed, or its last handle dropped.
    Closed,
}

/// How a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No session yet.
    Connecting,
    /// A server serves the session.
    Connected,
    /// A server that has lost its ensemble serves reads; one that takes writes is looked for.
    ReadOnly,
    /// The connection is lost, the session may live: what depends on it (a lock, a lead) is in doubt
    /// from now on.
    Suspended,
    /// The session is over, for good.
    Lost(LostReason),
}

/// Who a session is, for [`resume`](crate::Builder::resume).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id; 0 before the first connection.
    pub id: SessionId,
    /// What proves that it is ours.
    pub password: [u8; 16],
    /// What the server granted; what was asked for before the first connection.
    pub timeout: Duration,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The node was created.
    Created,
    /// The node was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
    /// A child was created or deleted. Recursive watches tell the child instead.
    ChildrenChanged,
    /// Nothing happened to a node: the connection was lost (state [`State::Suspended`]) or is
    /// there again. What happened in between is not told: read anew after it.
    Session,
    /// The reader was so slow that events were thrown away here: read anew.
    Overflow,
}

impl From<EventType> for EventKind {
    fn from(kind: EventType) -> EventKind {
        match kind {
            EventType::NodeCreated => EventKind::Created,
            EventType::NodeDeleted => EventKind::Deleted,
            EventType::NodeDataChanged => EventKind::DataChanged,
            EventType::NodeChildrenChanged => EventKind::ChildrenChanged,
        }
    }
}

/// Something that a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which node; the watched one for events of the session.
    pub path: String,
    /// The transaction that did it, if the server said so: Apache's do from 3.9 on, and none does for
    /// what happened while the client was away.
    pub zxid: Option<Zxid>,
    /// How the client stood.
    pub state: State,
}

/// How a watch of [`add_watch`](crate::Client::add_watch) looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchMode {
    /// At one node and its list of children.
    Persistent,
    /// At a node and everything below it.
    PersistentRecursive,
}

/// A node that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its path, with the digits that a server appends to sequential ones.
    pub path: String,
    /// Its statistics.
    pub stat: oxikeeper_proto::Stat,
}
