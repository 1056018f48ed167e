//! What is fuzzed, written once: `fuzz/` hands these functions to `cargo fuzz`, and the test of this
//! crate runs them on stable over the committed corpus and a time-boxed mutator.
//!
//! Each takes any bytes, asserts what must hold whatever they are, and says how they were taken.

pub mod client_frame;
pub mod client_reply;
pub mod config;
mod files;
pub mod mutator;
pub mod quorum_stream;
pub mod snapshot;
pub mod txn_log;

/// Shared with the tests of the node: a whole server in one thread.
#[path = "../../node/tests/support/mod.rs"]
mod support;

/// How an input was taken. A mutator that meets one kind alone looks at nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As something sound.
    Accepted,
    /// As something that has to be refused, with a reason.
    Refused,
}

/// A function with its corpus in `fuzz/corpus/<name>`.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The function. It panics if something does not hold.
    pub run: fn(&[u8]) -> Verdict,
    /// Pieces that the mutator throws in.
    pub pieces: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    client_frame::TARGET,
    client_reply::TARGET,
    txn_log::TARGET,
    snapshot::TARGET,
    config::TARGET,
    quorum_stream::TARGET,
];
