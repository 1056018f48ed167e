//! The load generator: `oxikeeper bench`.
//!
//! It speaks the client protocol to any server over raw sockets and shares the machine with the server
//! it measures, so it must cost little itself: one thread with one epoll unless told otherwise, one
//! receive and one send per connection and round, requests copied from templates, no allocation per
//! request. Requests come in a closed loop (so many in flight per connection) or in an open one (so
//! many per second, latency counted from the time at which a request was due).

pub mod client;
pub mod connection;
pub mod error;
pub mod options;
pub mod plan;
pub mod process;
pub mod recorder;
pub mod report;
pub mod run;
pub mod template;
mod timer;
mod worker;

pub use error::BenchError;
pub use options::{Options, Workload};
pub use report::Report;
pub use run::run;
