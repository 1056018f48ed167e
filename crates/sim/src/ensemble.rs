//! Ensembles of servers: the shipped Peers, tree, log, snapshots and recovery, with the real bytes
//! of the election and quorum ports between them, under simulated clocks, links and disks.
//!
//! A ghost knows all histories at once and judges every step; when nothing goes wrong any more, a
//! leader has to be found and everybody has to arrive at the same state.

pub mod agenda;
mod crowd;
pub mod fabric;
mod faults;
pub mod ghost;
pub mod knobs;
pub mod people;
pub mod report;
pub mod server;
pub mod world;
