//! Agreement as Apache ZooKeeper does it: who leads, what the history is, and in which order
//! transactions are committed. One [`Peer`](peer::Peer) per server.
//!
//! Pure: no clock, socket, file, thread or randomness. Time, messages and the completions of the
//! disk are inputs ([`io::Input`]); what is to be sent, written and applied are outputs
//! ([`io::Output`]). What a transaction means is not known here: a payload is a header and opaque
//! bytes. Source: quorum-protocol reference.

pub mod arbiter;
pub mod config;
pub mod context;
pub mod election;
pub mod history;
pub mod io;
pub mod leader;
pub mod learner;
pub mod membership;
pub mod mutation;
pub mod peer;
pub mod verifier;
