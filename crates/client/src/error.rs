//! What can go wrong, and whether the request may have been carried out all the same.

use std::time::Duration;

use oxikeeper_proto::ErrorCode;
use oxikeeper_proto::path::PathError;
use thiserror::Error as ThisError;

/// What is known of a request whose reply will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It never left this process: no server has seen it.
    NotDone,
    /// It was on its way: it may have been carried out, may be carried out still, or never.
    Unknown,
}

/// Why an operation did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with this error: nothing was changed.
    #[error("the server refused: {0:?}")]
    Refused(ErrorCode),
    /// The server answered with an error code that this version has no name for.
    #[error("the server refused with the unknown code {0}")]
    RefusedUnknown(i32),
    /// The connection broke before the reply came. The session may well live on.
    #[error("connection lost, request {}", outcome_text(*.outcome))]
    ConnectionLoss {
        /// Whether the request left this process.
        outcome: Outcome,
    },
    /// A server has said that the session is gone, and its ephemeral nodes and watches with it.
    #[error("session expired")]
    SessionExpired,
    /// A server did not believe what [`auth`](crate::Builder::auth) said; the client is at its end.
    #[error("authentication failed")]
    AuthFailed,
    /// The client was closed, or its last handle dropped.
    #[error("client is closed")]
    Closed,
    /// An operation of a transaction failed, so that none was carried out.
    #[error("operation {index} of the transaction failed: {error}")]
    Transaction {
        /// Which operation, from 0.
        index: usize,
        /// Why.
        error: Box<Error>,
        /// The server's code for each operation: `Ok` before the one that failed,
        /// `RuntimeInconsistency` behind it.
        results: Vec<ErrorCode>,
    },
    /// No valid path; nothing was sent.
    #[error("invalid path {path:?}: {reason}")]
    InvalidPath {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: PathError,
    },
    /// An argument that no server would take; nothing was sent.
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// No connect string.
    #[error("invalid connect string: {0}")]
    InvalidConnectString(String),
    /// A request or a reply above [`frame_bytes_max`](crate::Builder::frame_bytes_max). A request was not
    /// sent; the server has carried out what it sent a reply for.
    #[error("{what} of {bytes} bytes, at most {max} are taken")]
    TooLarge {
        /// `request` or `reply`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More is waiting in this client than its limits allow; nothing was sent.
    #[error("{requests} requests of {bytes} bytes wait already")]
    QueueFull {
        /// Requests without a reply.
        requests: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The server answered with something that is no reply to this request.
    #[error("bad reply: {0}")]
    BadReply(&'static str),
    /// The watch was removed by [`remove_watches`](crate::Client::remove_watches).
    #[error("watch removed")]
    WatchRemoved,
    /// No server was there in time.
    #[error("no session within {0:?}")]
    Timeout(Duration),
}

const fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotDone => "not done",
        Outcome::Unknown => "possibly done",
    }
}

impl Error {
    /// The error for a server's code; `None` for success.
    pub(crate) fn from_code(code: i32) -> Option<Error> {
        match ErrorCode::from_wire(code) {
            Some(ErrorCode::Ok) => None,
            Some(ErrorCode::SessionExpired) => Some(Error::SessionExpired),
            Some(ErrorCode::AuthFailed) => Some(Error::AuthFailed),
            Some(code) => Some(Error::Refused(code)),
            None => Some(Error::RefusedUnknown(code)),
        }
    }

    /// Whether the request may have changed something although it gave an error.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Error::ConnectionLoss { outcome } => *outcome == Outcome::Unknown,
            Error::BadReply(_) | Error::Timeout(_) => true,
            Error::TooLarge { what, .. } => *what == "reply",
            // The session can end while requests are on their way.
            Error::SessionExpired | Error::AuthFailed | Error::Closed => true,
            _ => false,
        }
    }

    /// The server's code, if the server answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused(code) => Some(*code),
            Error::SessionExpired => Some(ErrorCode::SessionExpired),
            Error::AuthFailed => Some(ErrorCode::AuthFailed),
            Error::Transaction { error, .. } => error.code(),
            _ => None,
        }
    }

    /// Whether the same request may succeed later on the same client. It says nothing of whether the
    /// first try was carried out: ask [`may_have_happened`](Self::may_have_happened).
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::ConnectionLoss { .. } | Error::QueueFull { .. } | Error::Timeout(_) => true,
            Error::Refused(code) => matches!(
                code,
                ErrorCode::OperationTimeout
                    | ErrorCode::ThrottledOp
                    | ErrorCode::SessionMoved
                    | ErrorCode::NotReadOnly
                    | ErrorCode::NewConfigNoQuorum
                    | ErrorCode::ReconfigInProgress
            ),
            _ => false,
        }
    }

    /// The node is not there.
    pub fn is_no_node(&self) -> bool {
        self.code() == Some(ErrorCode::NoNode)
    }

    /// The node is there already.
    pub fn is_node_exists(&self) -> bool {
        self.code() == Some(ErrorCode::NodeExists)
    }

    /// The node has another version.
    pub fn is_bad_version(&self) -> bool {
        self.code() == Some(ErrorCode::BadVersion)
    }

    /// The node has children.
    pub fn is_not_empty(&self) -> bool {
        self.code() == Some(ErrorCode::NotEmpty)
    }

    /// The server is read-only and the request was a write.
    pub fn is_not_read_only(&self) -> bool {
        self.code() == Some(ErrorCode::NotReadOnly)
    }

    /// The server does not know the operation: it is too old, or has it switched off.
    pub fn is_unimplemented(&self) -> bool {
        self.code() == Some(ErrorCode::Unimplemented)
    }
}
