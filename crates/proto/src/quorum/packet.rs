//! The record of the quorum port.
//!
//! Source: quorum-protocol reference, 3.2 and 5.1; Apache's `QuorumPacket` and `Leader`.

use bytes::Bytes;

use crate::acl::Id;
use crate::id::Zxid;
use crate::jute::{Decode, DecodeError, Encode, Reader};

macro_rules! packet_kinds {
    ($($(#[$meta:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// What a packet says. Values are those of Apache's `Leader`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PacketKind {
            $($(#[$meta])* $name,)*
            /// A type that is not defined: to be logged and passed over. Never one of the others.
            Unknown(i32),
        }

        impl PacketKind {
            /// Every defined type, in the order of their numbers.
            pub const ALL: &'static [PacketKind] = &[$(PacketKind::$name),*];

            /// The type of this number.
            pub const fn from_wire(code: i32) -> PacketKind {
                match code {
                    $($code => PacketKind::$name,)*
                    other => PacketKind::Unknown(other),
                }
            }

            /// Its number.
            pub const fn to_wire(self) -> i32 {
                match self {
                    $(PacketKind::$name => $code,)*
                    PacketKind::Unknown(code) => code,
                }
            }
        }
    };
}

packet_kinds! {
    /// REQUEST, learner to leader: a client's write, or sync.
    Request = 1,
    /// PROPOSAL, leader to follower: a transaction to be logged and acknowledged.
    Proposal = 2,
    /// ACK, learner to leader: logged and durable up to this zxid; or NEWLEADER and UPTODATE done.
    Ack = 3,
    /// COMMIT, leader to follower.
    Commit = 4,
    /// PING, and the answer to it.
    Ping = 5,
    /// REVALIDATE: whether a session that moved is alive, and the answer to it.
    Revalidate = 6,
    /// SYNC, leader to learner: the oldest sync of this learner is done.
    Sync = 7,
    /// INFORM, leader to observer: a committed transaction.
    Inform = 8,
    /// COMMITANDACTIVATE, leader to follower: commit of a reconfig.
    CommitAndActivate = 9,
    /// NEWLEADER, leader to learner: the end of what has to be durable before the leader leads.
    NewLeader = 10,
    /// FOLLOWERINFO: the first packet of a follower.
    FollowerInfo = 11,
    /// UPTODATE, leader to learner: clients may be served.
    UpToDate = 12,
    /// DIFF, leader to learner: transactions follow.
    Diff = 13,
    /// TRUNC, leader to learner: cut the log behind this zxid.
    Trunc = 14,
    /// SNAP, leader to learner: a snapshot follows, outside of any packet.
    Snap = 15,
    /// OBSERVERINFO: the first packet of an observer.
    ObserverInfo = 16,
    /// LEADERINFO, leader to learner: the new epoch.
    LeaderInfo = 17,
    /// ACKEPOCH, learner to leader: the epoch is promised.
    AckEpoch = 18,
    /// INFORMANDACTIVATE, leader to observer: a committed reconfig.
    InformAndActivate = 19,
}

/// One record of the quorum port, whichever its direction.
///
/// What `data` holds, and what `zxid` means, depends on the kind: the constructors and accessors of
/// `payload.rs` know. Cloning one without `authinfo`, which only requests have, copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumPacket {
    /// What it says.
    pub kind: PacketKind,
    /// A zxid, or [`QuorumPacket::NO_ZXID`].
    pub zxid: Zxid,
    /// The payload. Null and empty are distinct on the wire.
    pub data: Option<Bytes>,
    /// Who the client is. Null except in requests.
    pub authinfo: Option<Vec<Id>>,
}

/// Bytes of a packet without payload and authinfo, both null.
pub const BARE_PACKET_BYTES: usize = 20;

impl QuorumPacket {
    /// -1 on the wire, in packets whose zxid means nothing: REQUEST, REVALIDATE, UPTODATE. Larger
    /// than every other zxid, so not to be compared.
    pub const NO_ZXID: Zxid = Zxid::from_wire(-1);

    /// A packet without payload.
    pub const fn bare(kind: PacketKind, zxid: Zxid) -> QuorumPacket {
        QuorumPacket { kind, zxid, data: None, authinfo: None }
    }

    /// A packet with a payload.
    pub const fn with_data(kind: PacketKind, zxid: Zxid, data: Bytes) -> QuorumPacket {
        QuorumPacket { kind, zxid, data: Some(data), authinfo: None }
    }

    /// Bytes that [`encode`](Encode::encode) appends.
    pub fn encoded_len(&self) -> usize {
        let ids = self.authinfo.iter().flatten();
        BARE_PACKET_BYTES
            + self.data.as_ref().map_or(0, Bytes::len)
            + ids.map(|id| 8 + id.scheme.len() + id.id.len()).sum::<usize>()
    }

    /// The whole packet as bytes of its own.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode(&mut out);
        out.into()
    }

    /// Reads the packet that `bytes` are, all of them. The payload shares their memory.
    ///
    /// # Errors
    /// If they are not one packet, or more.
    pub fn from_bytes(bytes: &Bytes) -> Result<QuorumPacket, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = PacketKind::from_wire(reader.get()?);
        let zxid = reader.get()?;
        let data = reader.buffer()?.map(|data| bytes.slice_ref(data));
        let authinfo = reader.get()?;
        match reader.remaining() {
            0 => Ok(QuorumPacket { kind, zxid, data, authinfo }),
            extra => Err(DecodeError::Undefined {
                what: "number of bytes behind a quorum packet",
                value: extra as i64,
            }),
        }
    }
}

impl Encode for QuorumPacket {
    fn encode(&self, out: &mut Vec<u8>) {
        self.kind.to_wire().encode(out);
        self.zxid.encode(out);
        self.data.as_deref().encode(out);
        self.authinfo.encode(out);
    }
}

/// Copies the payload; [`QuorumPacket::from_bytes`] does not.
impl<'a> Decode<'a> for QuorumPacket {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(QuorumPacket {
            kind: PacketKind::from_wire(reader.get()?),
            zxid: reader.get()?,
            data: reader.buffer()?.map(Bytes::copy_from_slice),
            authinfo: reader.get()?,
        })
    }
}
