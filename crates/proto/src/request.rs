//! What clients send: the handshake and one record per operation.
//!
//! Every record borrows from the frame it was read from. Paths and ACL vectors may be null on the
//! wire; what that means is decided where the request is prepared, so they are `Option` here.

use std::borrow::Cow;

use crate::acl::AclEntry;
use crate::id::{SessionId, Zxid};
use crate::jute::{Decode, DecodeError, Encode, Reader};
use crate::record;

/// A path as it arrived: null is possible.
pub type PathField<'a> = Option<Cow<'a, str>>;

/// First frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// Clients send 0; ignored.
    pub protocol_version: i32,
    /// Highest zxid the client has seen in a reply; a server behind it must refuse.
    pub last_zxid_seen: Zxid,
    /// Session timeout asked for, milliseconds; the server clamps it.
    pub timeout_ms: i32,
    /// The session to resume, or 0 for a new one.
    pub session: SessionId,
    /// The session's password; anything for a new session.
    pub password: Option<&'a [u8]>,
    /// Whether a read-only server would do. Absent from clients up to 3.3, whose answer must then
    /// lack the byte as well.
    pub read_only: Option<bool>,
}

impl<'a> Decode<'a> for ConnectRequest<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(ConnectRequest {
            protocol_version: reader.get()?,
            last_zxid_seen: reader.get()?,
            timeout_ms: reader.get()?,
            session: reader.get()?,
            password: reader.get()?,
            read_only: if reader.remaining() > 0 { Some(reader.get()?) } else { None },
        })
    }
}

impl Encode for ConnectRequest<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.protocol_version.encode(out);
        self.last_zxid_seen.encode(out);
        self.timeout_ms.encode(out);
        self.session.encode(out);
        self.password.encode(out);
        if let Some(read_only) = self.read_only {
            read_only.encode(out);
        }
    }
}

record! {
    /// Before every request but the first frame.
    #[derive(Copy)]
    pub struct RequestHeader {
        /// The client's number for it.
        pub xid: i32,
        /// An operation code.
        pub op: i32,
    }
}

record! {
    /// create, create2 and createContainer.
    pub struct CreateRequest<'a> {
        /// Where, without the suffix of sequential nodes.
        pub path: PathField<'a>,
        /// Data; null is kept as null.
        pub data: Option<&'a [u8]>,
        /// Who may do what.
        pub acl: Option<Vec<AclEntry<'a>>>,
        /// Create mode, see [`CreateMode`].
        pub flags: i32,
    }
}

record! {
    /// createTTL.
    pub struct CreateTtlRequest<'a> {
        /// Where.
        pub path: PathField<'a>,
        /// Data.
        pub data: Option<&'a [u8]>,
        /// Who may do what.
        pub acl: Option<Vec<AclEntry<'a>>>,
        /// Create mode, see [`CreateMode`].
        pub flags: i32,
        /// Milliseconds without a set after which a childless node is reaped.
        pub ttl: i64,
    }
}

/// How a node is to be created: the flags of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays.
    Persistent = 0,
    /// Goes with the session.
    Ephemeral = 1,
    /// Stays; a number is appended to the path.
    PersistentSequential = 2,
    /// Goes with the session; a number is appended to the path.
    EphemeralSequential = 3,
    /// Reaped when empty again.
    Container = 4,
    /// Reaped when idle.
    PersistentWithTtl = 5,
    /// Reaped when idle; a number is appended to the path.
    PersistentSequentialWithTtl = 6,
}

impl CreateMode {
    /// The mode of these flags, if there is one.
    pub const fn from_wire(flags: i32) -> Option<CreateMode> {
        Some(match flags {
            0 => CreateMode::Persistent,
            1 => CreateMode::Ephemeral,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::PersistentWithTtl,
            6 => CreateMode::PersistentSequentialWithTtl,
            _ => return None,
        })
    }

    /// Whether a number is appended to the path.
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential
                | CreateMode::EphemeralSequential
                | CreateMode::PersistentSequentialWithTtl
        )
    }

    /// Whether the node goes with its session.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }

    /// Whether the node has a TTL.
    pub const fn is_ttl(self) -> bool {
        matches!(self, CreateMode::PersistentWithTtl | CreateMode::PersistentSequentialWithTtl)
    }
}

record! {
    /// delete, and check inside a multi.
    pub struct PathVersionRequest<'a> {
        /// Which node.
        pub path: PathField<'a>,
        /// The version it must have; -1 matches any.
        pub version: i32,
    }
}

record! {
    /// setData.
    pub struct SetDataRequest<'a> {
        /// Which node.
        pub path: PathField<'a>,
        /// The new data.
        pub data: Option<&'a [u8]>,
        /// The version it must have; -1 matches any.
        pub version: i32,
    }
}

record! {
    /// setACL.
    pub struct SetAclRequest<'a> {
        /// Which node.
        pub path: PathField<'a>,
        /// The new list.
        pub acl: Option<Vec<AclEntry<'a>>>,
        /// The ACL version it must have; -1 matches any.
        pub version: i32,
    }
}

record! {
    /// exists, getData, getChildren, getChildren2.
    pub struct WatchableRequest<'a> {
        /// Which node.
        pub path: PathField<'a>,
        /// Whether to leave a one-shot watch.
        pub watch: bool,
    }
}

record! {
    /// getACL, sync, getAllChildrenNumber, getEphemerals, deleteContainer.
    pub struct PathRequest<'a> {
        /// Which node, or which prefix.
        pub path: PathField<'a>,
    }
}

record! {
    /// reconfig.
    pub struct ReconfigRequest<'a> {
        /// Servers to add, comma separated.
        pub joining_servers: PathField<'a>,
        /// Ids to remove, comma separated.
        pub leaving_servers: PathField<'a>,
        /// A whole new membership instead.
        pub new_members: PathField<'a>,
        /// The configuration this is based on; -1 for any.
        pub current_config_id: i64,
    }
}

record! {
    /// checkWatches and removeWatches.
    pub struct WatchesRequest<'a> {
        /// Which node.
        pub path: PathField<'a>,
        /// A [`WatcherType`](crate::watch::WatcherType).
        pub watcher_type: i32,
    }
}

record! {
    /// addWatch.
    pub struct AddWatchRequest<'a> {
        /// Which node.
        pub path: PathField<'a>,
        /// An [`AddWatchMode`](crate::watch::AddWatchMode).
        pub mode: i32,
    }
}

record! {
    /// setWatches, after a reconnect.
    pub struct SetWatchesRequest<'a> {
        /// Highest zxid the client had seen before.
        pub relative_zxid: Zxid,
        /// Watches left by getData, and by exists on nodes that existed.
        pub data_watches: Option<Vec<Cow<'a, str>>>,
        /// Watches left by exists on missing nodes.
        pub exist_watches: Option<Vec<Cow<'a, str>>>,
        /// Watches left by getChildren.
        pub child_watches: Option<Vec<Cow<'a, str>>>,
    }
}

record! {
    /// setWatches2: setWatches with persistent watches.
    pub struct SetWatches2Request<'a> {
        /// Highest zxid the client had seen before.
        pub relative_zxid: Zxid,
        /// Watches left by getData, and by exists on nodes that existed.
        pub data_watches: Option<Vec<Cow<'a, str>>>,
        /// Watches left by exists on missing nodes.
        pub exist_watches: Option<Vec<Cow<'a, str>>>,
        /// Watches left by getChildren.
        pub child_watches: Option<Vec<Cow<'a, str>>>,
        /// Persistent watches.
        pub persistent_watches: Option<Vec<Cow<'a, str>>>,
        /// Persistent recursive watches.
        pub persistent_recursive_watches: Option<Vec<Cow<'a, str>>>,
    }
}

record! {
    /// auth.
    pub struct AuthPacket<'a> {
        /// Ignored.
        pub kind: i32,
        /// `digest`, `ip`, ...
        pub scheme: Option<Cow<'a, str>>,
        /// What proves it.
        pub auth: Option<&'a [u8]>,
    }
}

record! {
    /// sasl.
    pub struct SaslRequest<'a> {
        /// The mechanism's token.
        pub token: Option<&'a [u8]>,
    }
}
