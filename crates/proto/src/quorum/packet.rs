//! The record of the quorum port. Source: quorum-protocol reference, 3.2 and 5.1.

use bytes::Bytes;

use crate::acl::Id;
use crate::id::Zxid;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// Learner: a client's write, sync, createSession or closeSession.
    Request,
    /// Leader to followers: a transaction to log.
    Proposal,
    /// Learner: logged.
    Ack,
    /// Leader to followers: apply.
    Commit,
    /// Both ways: alive; the learner's carries the sessions it heard from.
    Ping,
    /// Both ways: whether a session may be resumed.
    Revalidate,
    /// Leader to learner: everything before the sync has been sent.
    Sync,
    /// Leader to observers: a committed transaction.
    Inform,
    /// Commit of a reconfiguration.
    CommitAndActivate,
    /// Leader: the end of what a learner has to log before it may vote for this history.
    NewLeader,
    /// Follower's greeting.
    FollowerInfo,
    /// Leader: serve clients.
    UpToDate,
    /// Leader: the missing transactions follow.
    Diff,
    /// Leader: cut the log there.
    Trunc,
    /// Leader: a snapshot follows.
    Snap,
    /// Observer's greeting.
    ObserverInfo,
    /// Leader: the new epoch.
    LeaderInfo,
    /// Learner: the epoch is promised.
    AckEpoch,
    /// Inform of a reconfiguration.
    InformAndActivate,
    /// Something this version does not know; logged and ignored where order permits.
    Unknown(i32),
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumPacket {
    /// What it is.
    pub kind: PacketKind,
    /// Meaning by kind; -1 where there is none.
    pub zxid: Zxid,
    /// Meaning by kind.
    pub data: Option<Bytes>,
    /// Identities of the client, only in REQUEST.
    pub authinfo: Option<Vec<Id>>,
}
