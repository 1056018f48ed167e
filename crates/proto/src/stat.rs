//! A znode's statistics, as clients see them and as files keep them.

use crate::id::{SessionId, Zxid};
use crate::limits::TTL_MS_MAX;
use crate::record;

record! {
    /// What a reply says of a znode: 68 bytes.
    #[derive(Copy)]
    pub struct Stat {
        /// Transaction that created it.
        pub czxid: Zxid,
        /// Transaction that last set its data.
        pub mzxid: Zxid,
        /// When it was created: wall clock of the leader, milliseconds since 1970.
        pub ctime: i64,
        /// When its data was last set.
        pub mtime: i64,
        /// Number of changes of its data; wraps.
        pub version: i32,
        /// Number of creates and deletes of its children: twice the creates, less the children.
        pub cversion: i32,
        /// Number of changes of its ACL.
        pub aversion: i32,
        /// The session that owns it, if it is ephemeral; else 0, for containers and TTL nodes too.
        pub ephemeral_owner: i64,
        /// Bytes of data.
        pub data_length: i32,
        /// Children it has.
        pub num_children: i32,
        /// Transaction that last created or deleted a child.
        pub pzxid: Zxid,
    }
}

record! {
    /// What a snapshot keeps of a znode's statistics: 60 bytes. `cversion` counts creates only.
    #[derive(Copy, Default)]
    pub struct StatPersisted {
        /// Transaction that created it.
        pub czxid: Zxid,
        /// Transaction that last set its data.
        pub mzxid: Zxid,
        /// When it was created, milliseconds since 1970.
        pub ctime: i64,
        /// When its data was last set.
        pub mtime: i64,
        /// Number of changes of its data.
        pub version: i32,
        /// Number of children ever created under it; the source of sequence numbers.
        pub cversion: i32,
        /// Number of changes of its ACL.
        pub aversion: i32,
        /// The packed kind, see [`NodeKind`].
        pub ephemeral_owner: i64,
        /// Transaction that last created or deleted a child.
        pub pzxid: Zxid,
    }
}

/// What a znode is. Files pack this into `ephemeralOwner`; only this type knows the packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Stays until deleted.
    Persistent,
    /// Goes with its session.
    Ephemeral(SessionId),
    /// Reaped when its last child is gone.
    Container,
    /// Reaped when childless and not set for this many milliseconds, 1 to 2^40 - 1.
    Ttl(i64),
}

const CONTAINER_OWNER: i64 = i64::MIN;
const TTL_MARK: i64 = 0xff << 56;
const EXTENDED_FEATURE_MASK: i64 = 0xffff << 40;

impl NodeKind {
    /// Unpacks an `ephemeralOwner`. TTL owners are told by their bits whatever the configuration:
    /// a session id never begins with 0xff. `emulate_353` reads the layout of 3.5.3, where every
    /// other negative owner is a TTL node.
    pub const fn from_owner(owner: i64, emulate_353: bool) -> NodeKind {
        if owner == 0 {
            NodeKind::Persistent
        } else if owner == CONTAINER_OWNER {
            NodeKind::Container
        } else if owner & TTL_MARK == TTL_MARK && (owner & !TTL_MARK) & EXTENDED_FEATURE_MASK == 0 {
            NodeKind::Ttl(owner & TTL_MS_MAX)
        } else if emulate_353 && owner < 0 {
            NodeKind::Ttl(owner & i64::MAX)
        } else {
            NodeKind::Ephemeral(SessionId(owner))
        }
    }

    /// Packs the kind as files and digests hold it.
    pub const fn to_owner(self) -> i64 {
        match self {
            NodeKind::Persistent => 0,
            NodeKind::Ephemeral(session) => session.0,
            NodeKind::Container => CONTAINER_OWNER,
            NodeKind::Ttl(ttl_ms) => TTL_MARK | ttl_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_packing() {
        let kinds = [
            NodeKind::Persistent,
            NodeKind::Container,
            NodeKind::Ttl(1),
            NodeKind::Ttl(TTL_MS_MAX),
            NodeKind::Ephemeral(SessionId(0x0100_0011_30ac_0000)),
            NodeKind::Ephemeral(SessionId(0xfe00_0011_30ac_0000_u64 as i64)),
        ];
        for kind in kinds {
            assert_eq!(NodeKind::from_owner(kind.to_owner(), false), kind);
        }
        assert_eq!(NodeKind::Ttl(5).to_owner(), 0xff00_0000_0000_0005_u64 as i64);
    }

    #[test]
    fn the_layout_of_3_5_3_is_read_on_request_only() {
        let owner = i64::MIN | 7;
        assert_eq!(NodeKind::from_owner(owner, true), NodeKind::Ttl(7));
        assert_eq!(NodeKind::from_owner(owner, false), NodeKind::Ephemeral(SessionId(owner)));
    }
}
