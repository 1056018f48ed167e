//! Tests against the real thing: servers as processes, requests as bytes.
//!
//! Nothing here uses our server's internals: only the records of `oxikeeper-proto`, and for the judgement
//! of chaos the simulator's clients and checker, and readers of files.

pub mod chaos;
pub mod client;
pub mod crash;
pub mod differential;
pub mod ensemble;
pub mod exceptions;
pub mod exchange;
pub mod generate;
pub mod normalise;
pub mod nudge;
pub mod port;
pub mod random;
pub mod recipes;
pub mod record;
pub mod script;
pub mod server;
pub mod shells;
pub mod shrink;
