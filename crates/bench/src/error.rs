//! What can go wrong while measuring.

use std::io;
use std::net::SocketAddr;

use oxikeeper_proto::DecodeError;
use thiserror::Error;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The server cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// No address in what was given.
    #[error("{server} is no address")]
    Address {
        /// As it was given.
        server: String,
    },
    /// The server refused the handshake.
    #[error("the server refused the session (is it still starting, or is it read-only?)")]
    Refused,
    /// The server closed a connection under load.
    #[error("the server closed connection {index} with {in_flight} requests in flight")]
    Closed {
        /// Of this worker.
        index: usize,
        /// Requests that have no answer.
        in_flight: usize,
    },
    /// Bytes that are no reply.
    #[error("the server sent what is no reply")]
    Decode(#[from] DecodeError),
    /// A reply to something else than the oldest request.
    #[error("a reply has xid {got}, the oldest request {expected}")]
    Order {
        /// Xid of the oldest request in flight.
        expected: i32,
        /// Xid of the reply.
        got: i32,
    },
    /// The server does not answer.
    #[error("{in_flight} requests have no answer after {seconds} s")]
    Silence {
        /// How many.
        in_flight: usize,
        /// After the last one was sent.
        seconds: u64,
    },
    /// An answer to a request that prepares the measurement.
    #[error("preparing {path}: error code {code}")]
    Prepare {
        /// Which node.
        path: String,
        /// Error code of the reply.
        code: i32,
    },
    /// Options that make no sense together.
    #[error("{0}")]
    Options(&'static str),
    /// The operating system fails.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
}

impl BenchError {
    /// For `map_err`.
    pub fn system(what: &'static str) -> impl Fn(io::Error) -> BenchError {
        move |source| BenchError::System { what, source }
    }
}
