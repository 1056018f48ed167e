//! What a run is told, and what it draws for itself: each seed has its own mix of faults.

use oxikeeper_node::mutation::Mutation;
use oxikeeper_storage::txn_log::LogMutation;

use crate::client::Style;
use crate::reactor::ShellMutation;
use crate::rng::Rng;

/// A defect to inject, to prove that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// Into Core and Fronts.
    Node(Mutation),
    /// Into the log.
    Log(LogMutation),
    /// Into what the shell does with them.
    Shell(ShellMutation),
}

/// What was drawn for a run.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// How many Fronts.
    pub fronts: u16,
    /// The clients.
    pub styles: Vec<Style>,
    /// Mean delay of the network, microseconds.
    pub net_delay_us: u64,
    /// Mean time of a sync, microseconds.
    pub disk_delay_us: u64,
    /// Mean time between two pieces of a snapshot, microseconds.
    pub walk_delay_us: u64,
    /// Requests after which the clients come to an end.
    pub requests: u64,
    /// Bytes that wait for a reader that does not read.
    pub window_bytes: usize,
    /// `snapCount`.
    pub snap_count: u32,
    /// `tickTime`.
    pub tick_ms: u32,
    /// Whether TTL nodes may be created.
    pub extended_types: bool,
    /// Whether log files are prepared ahead.
    pub prepares_logs: bool,
    /// Seed of the machines under test.
    pub node_seed: u64,
    /// Mean time between two faults, microseconds; `None` for none at all.
    pub fault_gap_us: Option<u64>,
    /// How often each kind of fault is chosen, out of their sum.
    pub fault_weights: [u64; 7],
}

impl Knobs {
    /// Draws them.
    pub fn draw(rng: &mut Rng) -> Knobs {
        let think_us = *rng.pick(&[3_000, 20_000, 60_000, 150_000]);
        let clients = rng.between(3, 8) as usize;
        let styles = (0..clients).map(|_| style(rng, think_us)).collect();
        let mut fault_weights = [1, 2, 1, 1, 3, 1, 1];
        for weight in &mut fault_weights {
            // A random subset of the faults.
            *weight *= rng.below(3);
        }
        Knobs {
            fronts: rng.between(2, 3) as u16,
            styles,
            net_delay_us: *rng.pick(&[50, 500, 5_000, 30_000]),
            disk_delay_us: *rng.pick(&[100, 2_000, 10_000, 60_000]),
            walk_delay_us: *rng.pick(&[100, 3_000, 20_000]),
            requests: rng.between(100, 300),
            window_bytes: *rng.pick(&[60, 400, 4000, 4000]),
            snap_count: *rng.pick(&[8, 20, 60, 1000]),
            tick_ms: *rng.pick(&[250, 500, 1000]),
            extended_types: rng.chance(800),
            prepares_logs: rng.chance(400),
            node_seed: rng.draw(),
            fault_gap_us: rng.chance(900).then(|| *rng.pick(&[1_000_000, 3_000_000, 8_000_000])),
            fault_weights,
        }
    }
}

/// Draws how a client is.
pub fn style(rng: &mut Rng, think_us: u64) -> Style {
    let mut permille = |usual: u64| if rng.chance(500) { usual } else { 0 };
    let (leaves, goes_silent, closes, garbles) =
        (permille(40), permille(15), permille(12), permille(12));
    Style {
        think_us: think_us * rng.between(1, 3) / 2 + 1,
        authenticates: rng.chance(300),
        read_max: if rng.chance(120) { rng.index(60) + 4 } else { 64 * 1024 },
        leaves,
        goes_silent,
        closes,
        garbles,
        timeout_ms: rng.between(1500, 4000) as i32,
    }
}
