//! The binary as a process: sockets, signals, exit codes, directories, peers that misbehave.
//!
//! Every test starts servers of its own, on free ports of the loopback and in directories that go
//! when the test ends. Tests wait for what they need to see, with a generous deadline.

mod admin;
mod admin_port;
mod awake;
mod check;
mod crowds;
mod end;
mod ensemble;
mod ensemble_settings;
mod failing_disk;
mod frames;
mod frozen_disk;
mod full_disk;
mod health;
mod limits;
mod peers;
mod refusals;
mod scripts;
mod sessions;
mod slow;
mod start;
mod step_down;
mod support;
