//! What passes between a Front and the Core. Both directions are ordered queues that lose nothing.
//!
//! The order inside a mailbox is the guarantee: Core puts the changes of a transaction before the
//! reply to it, and both before anything of a later transaction. A Front that drains its mailbox
//! up to zxid Z before it reads at Z therefore shows no state before the watch event that
//! announces it.

use std::ops::Range;
use std::sync::Arc;

use oxikeeper_proto::limits::PASSWORD_BYTES;
use oxikeeper_proto::{Id, OpCode, SessionId, Xid, Zxid};
use oxikeeper_tree::ChangeList;

use crate::time::Now;

/// A Front; counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontId(pub u16);

/// A connection of a Front. Never used again once closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A connection, told apart from those of other Fronts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnRef {
    /// Whose.
    pub front: FrontId,
    /// Which.
    pub conn: ConnId,
}

/// From a Front to the Core, in order.
#[derive(Debug)]
pub enum ToCore {
    /// A handshake: make or resume a session. Answered by [`Mail::Connected`] or [`Mail::Expired`],
    /// or by [`Mail::Close`].
    Connect {
        /// The connection.
        conn: ConnRef,
        /// The session to resume; none for a new one.
        session: SessionId,
        /// The password offered.
        password: Box<[u8]>,
        /// The timeout, already clamped, in milliseconds.
        timeout_ms: i32,
    },
    /// A request that has to be ordered with the writes: every write, sync, closeSession.
    /// Answered by exactly one [`Mail::Reply`] per request, in the order sent, unless the
    /// connection is closed first.
    Request(Request),
    /// The connection is gone. The session lives on.
    Disconnected {
        /// The connection.
        conn: ConnRef,
        /// Its session.
        session: SessionId,
    },
    /// All that this Front has heard from its sessions up to `until`, since its last report: each
    /// session once, with the moment of its last request or ping. The Core expires nobody whose
    /// deadline lies after what every Front has reported.
    Touched {
        /// Whose report.
        front: FrontId,
        /// Complete up to here.
        until: Now,
        /// Sessions heard from, and when last.
        sessions: Vec<(SessionId, Now)>,
    },
}

/// A request as a Front forwards it: not decoded beyond its header.
#[derive(Debug)]
pub struct Request {
    /// Where the reply goes.
    pub conn: ConnRef,
    /// Who asks.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: Xid,
    /// What it asks for.
    pub op: OpCode,
    /// The frame behind the header.
    pub body: Box<[u8]>,
    /// The connection's identities when the request arrived.
    pub ids: Arc<[Id]>,
}

/// One item of a Front's mailbox.
#[derive(Debug)]
pub enum Mail {
    /// A change of the tree, by its index in the batch's list.
    Change(u32),
    /// The answer to the oldest forwarded request of this connection that has none yet.
    Reply {
        /// The connection; it may be gone by now.
        conn: ConnId,
        /// A whole frame, length included, as a range of the batch's bytes.
        frame: Range<u32>,
        /// Close once it is sent: the answer to closeSession.
        then_close: bool,
    },
    /// The handshake succeeded: the session is made, or resumed.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Its session from now on.
        session: SessionId,
        /// The timeout granted, milliseconds.
        timeout_ms: i32,
        /// The session's password.
        password: [u8; PASSWORD_BYTES],
    },
    /// The session to resume is not valid: answer that it expired, then close.
    Expired {
        /// The connection.
        conn: ConnId,
    },
    /// The session begins to close: take no more of its requests. Its ephemerals vanish later.
    Stop {
        /// The connection.
        conn: ConnId,
    },
    /// Who is served from here on. Whoever is not any more is disconnected.
    Serving(Serving),
    /// Close without a word.
    Close {
        /// The connection.
        conn: ConnId,
        /// For the log.
        reason: CloseReason,
    },
}

/// Whom a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// No client: this server is of an ensemble and has no leader.
    Nobody,
    /// Who has said that it can do without a leader.
    Readers,
    /// Every client.
    Everybody,
}

/// Why the Core has a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its session expired.
    SessionExpired,
    /// Its session was resumed on another connection.
    SessionResumedElsewhere,
    /// It sent a request on a session that is closing or gone.
    SessionClosed,
    /// It sent a request on a session that another connection has taken over.
    SessionMoved,
    /// It asked for a new session while the log's disk is full.
    LogFull,
    /// It met `connection_throttle_tokens`.
    Throttled,
    /// This server has no leader.
    NotServing,
}

/// What the Core did in one hold of the tree's write lock, for one Front.
#[derive(Debug)]
pub struct MailBatch {
    /// The tree stands at this transaction after the batch.
    pub applied: Zxid,
    /// In order.
    pub items: Vec<Mail>,
    /// What the ranges of replies refer to.
    pub bytes: Vec<u8>,
    /// What the changes refer to; shared by all Fronts.
    pub changes: Arc<ChangeList>,
}
