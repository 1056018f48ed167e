//! What is drawn for a run of an ensemble: each seed has its own mix of faults.

use super::people::Crowd;
use crate::rng::Rng;

/// A class of faults. A run has three at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process dies; its machine goes on.
    Kill,
    /// The power of a machine goes: what was not synced is lost in any mixture.
    Power,
    /// The same in the middle of a write to the disk.
    PowerInWrite,
    /// A sync fails, and the process ends itself.
    SyncError,
    /// The ensemble falls into two parts, or one server is cut off.
    Partition,
    /// One server does not get what another sends; the way back is open.
    OneWay,
    /// A connection is reset, at any byte.
    Reset,
    /// One end of a connection sends into the void, and nobody is told.
    HalfOpen,
    /// A server's links are slow.
    SlowLinks,
    /// Syncs take up to seconds.
    SlowDisk,
    /// A process stands still.
    Pause,
    /// The counter of the epoch is full.
    EpochFull,
    /// All processes die at once.
    KillAll,
    /// A process dies, and bits of a log of its have changed when it comes back: of a minority's at a time.
    BitRot,
}

impl Fault {
    /// All of them.
    pub const ALL: &'static [Fault] = &[
        Fault::Kill,
        Fault::Power,
        Fault::PowerInWrite,
        Fault::SyncError,
        Fault::Partition,
        Fault::OneWay,
        Fault::Reset,
        Fault::HalfOpen,
        Fault::SlowLinks,
        Fault::SlowDisk,
        Fault::Pause,
        Fault::EpochFull,
        Fault::KillAll,
        Fault::BitRot,
    ];
}

/// What was drawn for a run.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Servers with a vote: 3 to 7 of them, rarely fewer.
    pub voters: usize,
    /// Servers without.
    pub observers: usize,
    /// `tickTime`.
    pub tick_ms: u32,
    /// `initLimit`.
    pub init_limit: u32,
    /// `syncLimit`.
    pub sync_limit: u32,
    /// Mean delay of the network, microseconds.
    pub net_delay_us: u64,
    /// Mean time of a sync, microseconds.
    pub disk_delay_us: u64,
    /// Mean time between two requests, microseconds.
    pub think_us: u64,
    /// Requests after which the run comes to its end.
    pub requests: u64,
    /// `snapCount`, about.
    pub snap_count: u64,
    /// Transactions that a leader keeps in memory.
    pub commit_log_count: usize,
    /// `snapshotSizeFactor`.
    pub snapshot_size_factor: f64,
    /// How much faster or slower than true each server's clock goes, in a thousand.
    pub skews: Vec<i64>,
    /// Mean time between two faults, microseconds.
    pub fault_gap_us: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The first so many faults happen and no others: for finding out which ones matter.
    pub faults_max: u64,
    /// Clients of real servers; without them, bare peers make transactions of their own.
    pub crowd: Option<Crowd>,
    /// Faults that do not happen, by their number: for finding out which ones matter.
    pub spared: Vec<u64>,
}

impl Knobs {
    /// Draws them.
    pub fn draw(rng: &mut Rng) -> Knobs {
        let voters = *rng.pick(&[3, 3, 3, 3, 5, 5, 5, 4, 7]);
        let observers = *rng.pick(&[0, 0, 0, 1, 1, 2]);
        let mut faults = Fault::ALL.to_vec();
        rng.shuffle(&mut faults);
        faults.truncate(3 + rng.index(4));
        faults.sort_unstable();
        let tick_ms = *rng.pick(&[100, 200, 500]);
        Knobs {
            voters,
            observers,
            tick_ms,
            init_limit: *rng.pick(&[5, 10, 20]),
            sync_limit: *rng.pick(&[3, 5, 10]),
            net_delay_us: *rng.pick(&[100, 500, 2_000, 8_000]),
            disk_delay_us: *rng.pick(&[100, 1_000, 5_000, 20_000]),
            think_us: *rng.pick(&[2_000, 8_000, 20_000]),
            requests: rng.between(200, 300),
            snap_count: *rng.pick(&[10, 30, 80, 1000]),
            commit_log_count: *rng.pick(&[1, 5, 20, 500]),
            snapshot_size_factor: *rng.pick(&[-1.0, 0.0, 0.33, 1.0]),
            skews: (0..voters + observers).map(|_| rng.between(0, 400) as i64 - 200).collect(),
            fault_gap_us: *rng.pick(&[100_000, 300_000, 1_000_000]),
            faults,
            faults_max: u64::MAX,
            crowd: None,
            spared: Vec::new(),
        }
    }

    /// With clients, drawn for this seed.
    pub fn draw_crowd(&mut self, seed: u64) {
        self.crowd = Some(Crowd::draw(&mut Rng::new(seed ^ 0x000C_703D)));
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.voters + self.observers
    }
}
