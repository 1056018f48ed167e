//! The shell around the machines: sockets, files, threads, clocks and configuration.
//!
//! Threads: one reactor per Front, one that writes the log, one that writes
//! snapshots, one that accepts connections; the main thread waits for signals.

mod acceptor;
mod admin;
mod awake;
mod bursts;
pub mod check;
mod clock;
mod commands;
pub mod config;
mod dir_lock;
mod engine;
mod ensemble;
mod environment;
mod error;
mod files;
mod limits;
mod log_writer;
mod metrics;
mod open_files;
pub mod purge;
mod reactor;
pub mod run;
mod shared;
mod signals;
mod snapshotter;
mod words;

/// `3.9.5-oxikeeper-<version>, built on YYYY-MM-DD HH:MM UTC`: begins with the release of Apache
/// ZooKeeper that this server stands in for, because monitors parse and compare it.
pub fn version() -> &'static str {
    concat!(
        "3.9.5-oxikeeper-",
        env!("CARGO_PKG_VERSION"),
        ", built on ",
        env!("OXIKEEPER_BUILT_ON"),
        " UTC"
    )
}

/// What `oxikeeper --version` tells: the own version, then a line for scripts that read what
/// Apache's print.
pub fn long_version() -> &'static str {
    concat!(
        env!("CARGO_PKG_VERSION"),
        "\nOxikeeper in place of Apache ZooKeeper, version 3.9.5-oxikeeper-",
        env!("CARGO_PKG_VERSION"),
        " ",
        env!("OXIKEEPER_BUILT_ON"),
        " UTC"
    )
}
