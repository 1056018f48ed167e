//! The simulator: the shipped Core, Fronts, tree, log, snapshots and recovery, in one thread, with
//! simulated clocks, links and disk, under model clients that speak the real protocol.
//!
//! One seed is one run. Every turn of a thread, every delivery and every completion is an event of
//! its own, in an order drawn from the seed; the checker judges what the clients saw.
//! Source: verification reference, 6.2 and 6.4.

pub mod checker;
pub mod client;
pub mod core_client;
pub mod disk;
pub mod ensemble;
pub mod ghost;
pub mod history;
pub mod marks;
pub mod model;
pub mod net;
pub mod options;
pub mod reactor;
pub mod report;
pub mod rng;
pub mod schedule;
pub mod server;
pub mod workload;
pub mod world;
