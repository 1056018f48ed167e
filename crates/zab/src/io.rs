//! What goes into a [`Peer`](crate::peer::Peer) and what comes out.
//!
//! The driver, a real server's threads or the simulator, carries out outputs in the order given and
//! answers with inputs. A ticket is given out once and comes back once. The driver stops the process
//! on a failure of the disk; so a completion always means success.
//!
//! ```text
//!  election port --> ElectionInput --+                  +--> Election(..)
//!  quorum port ----> Packet ---------+                  +--> Send, Connect, Listen, ...
//!  disk -----------> LogDurable, ... +--> Peer::step ---+--> WriteEpoch, Append, Truncate, ...
//!  Core -----------> Propose, ... ---+                  +--> Commit, Role, FromLearner, ...
//! ```

use bytes::Bytes;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{ForwardedRequest, QuorumPacket};
use oxikeeper_proto::{SessionId, Zxid};

use crate::arbiter::{ElectionInput, ElectionOutput};
use crate::history::Proposal;

/// A connection on the quorum port, ours to a leader or a learner's to us. Named by the driver, never
/// used again: what comes late from a link that was given up is known by its name and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names a request to the disk, and its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Which of the two epoch files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochKind {
    /// `acceptedEpoch`: the newest epoch promised to a leader.
    Accepted,
    /// `currentEpoch`: the newest epoch whose initial history is on this disk.
    Current,
}

/// What a learner's Core says to the leader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLearner {
    /// A request to be put in order.
    Request(ForwardedRequest),
    /// Sessions heard from since the last report, with their timeouts in milliseconds.
    Touches(Vec<(SessionId, i32)>),
    /// A client came with this session: does it live? Makes the learner its owner.
    Revalidate {
        /// The session.
        session: SessionId,
        /// The timeout asked for, milliseconds.
        timeout_ms: i32,
    },
}

/// What the leader's Core answers a learner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLearner {
    /// Whether the session may go on there.
    Revalidated {
        /// The session.
        session: SessionId,
        /// It lives.
        valid: bool,
    },
    /// The oldest unanswered sync: everything committed before it has been sent.
    Synced,
}

/// What happens to a peer. Time comes with every step.
#[derive(Debug)]
pub enum Input {
    /// Time has passed, nothing else.
    Tick,
    /// Something on the election port.
    Election(ElectionInput),

    /// The connection asked for by [`Output::Connect`] stands.
    Connected {
        /// Its name from now on.
        link: LinkId,
        /// To whom: perhaps to one that is not wanted any more.
        to: ServerId,
    },
    /// It could not be made; nothing is known of the other side.
    ConnectFailed {
        /// Whom it was to reach.
        to: ServerId,
        /// Nobody listens there, as opposed to no answer.
        refused: bool,
    },
    /// A learner has connected, while [`Output::Listen`] is on.
    Accepted(LinkId),
    /// A whole packet has arrived.
    Packet(LinkId, QuorumPacket),
    /// A link is closed, by the other side, by an error, or because it sent what cannot be decoded.
    Closed(LinkId),

    /// Everything appended up to this zxid is on disk.
    LogDurable(Zxid),
    /// The epoch file is on disk.
    EpochWritten(Ticket),
    /// The log ends where [`Output::Truncate`] said or before, newer snapshots are gone, and the state
    /// has been read anew from the disk.
    Truncated {
        /// Of the request.
        ticket: Ticket,
        /// The last transaction of the log now.
        last: Zxid,
        /// The last transactions up to it, contiguous, oldest first.
        tail: Vec<Proposal>,
    },
    /// The files do not lead to where [`Output::Truncate`] said, because the oldest snapshot already
    /// holds more: nothing was changed.
    TruncateRefused {
        /// Of the request.
        ticket: Ticket,
    },
    /// Bytes of a snapshot have arrived: the leader is alive.
    SnapshotProgress(LinkId),
    /// The snapshot that [`Output::ReceiveSnapshot`] asked for has arrived whole.
    SnapshotReceived(LinkId),
    /// The received state, with what was committed behind it, is a snapshot on disk, and what the log
    /// had beyond is gone. This is the state of the server now.
    SnapshotInstalled {
        /// Of the request.
        ticket: Ticket,
        /// The state stands at this transaction.
        zxid: Zxid,
    },
    /// The snapshot for a learner has been sent whole.
    SnapshotSent {
        /// To whom.
        link: LinkId,
        /// The state it has.
        zxid: Zxid,
    },
    /// The log on disk was read for a learner.
    LogRead {
        /// Of the request.
        ticket: Ticket,
        /// Transactions in order, the first at or before the zxid asked for; none if the log does not
        /// reach back that far or is too long to be sent.
        records: Option<Vec<Proposal>>,
    },

    /// Leader: the Core has given this transaction its place and hands it to the own log itself.
    Propose(Proposal),
    /// Leader: answer a learner. A [`ToLearner::Synced`] is sent behind everything proposed so far.
    ToLearner(LinkId, ToLearner),
    /// Leader: the Core cannot go on in this epoch, since the counter is full.
    EpochIsFull,
    /// Learner: say this to the leader. [`FromLearner::Touches`] answers [`Output::WantTouches`].
    ToLeader(FromLearner),
    /// The process is about to end: whoever waits for this server is let go. It takes part in nothing any
    /// more.
    StepDown,
}

/// What a peer is to the others, and what its Core may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No leader is known: clients are not served.
    Looking,
    /// The established leader of this epoch: its first transaction is `epoch.1`.
    Leading {
        /// The epoch.
        epoch: u32,
    },
    /// In step with an established leader: clients are served.
    Following {
        /// The epoch.
        epoch: u32,
        /// Who leads.
        leader: ServerId,
    },
    /// As following, without a vote.
    Observing {
        /// The epoch.
        epoch: u32,
        /// Who leads.
        leader: ServerId,
    },
}

/// How far a configuration has come that differs from the one of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigStep {
    /// It is proposed: its servers are reached too, and the next start has to know it.
    Proposed,
    /// It is in force. One that was proposed and is not newer is proposed no more.
    Committed {
        /// A transaction sets `/zookeeper/config` to it, as opposed to the driver.
        in_log: bool,
    },
    /// The one in force stays: another was proposed and will not follow.
    Withdrawn,
}

/// What a peer wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Something to be done on the election port.
    Election(ElectionOutput),
    /// Connect to this server's quorum port; answered by [`Input::Connected`] or
    /// [`Input::ConnectFailed`].
    Connect(ServerId),
    /// Open or close the own quorum port.
    Listen(bool),
    /// Send a packet, in order.
    Send(LinkId, QuorumPacket),
    /// Leader: as soon as the state has reached `at_least`, send SNAP and the state at one zxid, then
    /// say [`Input::SnapshotSent`]. Nothing else is sent on the link until then.
    SendSnapshot {
        /// To whom.
        link: LinkId,
        /// The state must contain this.
        at_least: Zxid,
    },
    /// Learner: what follows the SNAP packet on this link is a snapshot; take it beside the present
    /// state, then say [`Input::SnapshotReceived`].
    ReceiveSnapshot {
        /// From whom.
        link: LinkId,
        /// The zxid of the SNAP packet.
        zxid: Zxid,
    },
    /// Close a link. Nothing is said of it any more.
    CloseLink(LinkId),

    /// Write an epoch file, durably.
    WriteEpoch {
        /// Which.
        kind: EpochKind,
        /// The epoch.
        epoch: u32,
        /// Comes back with [`Input::EpochWritten`].
        ticket: Ticket,
    },
    /// Learner: give the log this transaction. [`Input::LogDurable`] tells when it is on disk.
    Append(Proposal),
    /// Apply everything up to this transaction, and answer who waits for it.
    Commit(Zxid),
    /// Cut the log behind this zxid, remove newer snapshots, read the state anew.
    Truncate {
        /// Nothing beyond this stays.
        to: Zxid,
        /// Comes back with [`Input::Truncated`].
        ticket: Ticket,
    },
    /// Apply this to the state being received: it was committed during the transfer, and a snapshot
    /// from Apache may hold its effect already.
    ReplayOnSnapshot(Proposal),
    /// Make the received state the state of this server.
    InstallSnapshot {
        /// Where it stands: the last transaction replayed on it, or the SNAP packet's zxid.
        zxid: Zxid,
        /// Comes back with [`Input::SnapshotInstalled`].
        ticket: Ticket,
    },
    /// Throw away the state being received.
    AbandonSnapshot,
    /// The membership changes. Nothing that is appended or written after this may be on disk sooner.
    Config {
        /// The configuration, as servers tell it to one another.
        text: Bytes,
        /// What becomes of it.
        step: ConfigStep,
    },
    /// Read the log from `from` on, for a learner.
    ReadLog {
        /// The learner's last zxid.
        from: Zxid,
        /// No transaction beyond this is needed.
        to: Zxid,
        /// Comes back with [`Input::LogRead`].
        ticket: Ticket,
    },

    /// What this server is from now on. Leaving Leading, Following and Observing closes all clients.
    Role(Role),
    /// Leader: what a learner's Core says.
    FromLearner(LinkId, FromLearner),
    /// Leader: a learner is in step, or gone.
    Learner {
        /// Its link.
        link: LinkId,
        /// Its id.
        server: ServerId,
        /// In step, as opposed to gone.
        present: bool,
    },
    /// Learner: what the leader's Core answers.
    ToLearner(ToLearner),
    /// Learner: a ping asks for the sessions heard from; answered by [`Input::ToLeader`].
    WantTouches,
    /// No port is listened on any more, for the process is about to end.
    Retire,
    /// The process has to end: the reason is for the operator.
    Halt(String),
}
