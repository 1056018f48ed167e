//! When snapshots are due.

use crate::config::NodeConfig;
use crate::time::Now;

/// When the next snapshot is due. Source: Apache's `SyncRequestProcessor.shouldSnapshot`.
#[derive(Debug)]
pub(super) struct SnapshotTrigger {
    txns: u64,
    bytes: u64,
    txns_due: u64,
    bytes_due: u64,
    random: u64,
    pub wanted: bool,
    pub running: bool,
    pub not_before: Now,
    /// An operator asked: without a rest after the one before.
    pub at_once: bool,
}

impl SnapshotTrigger {
    pub fn new(seed: u64) -> SnapshotTrigger {
        SnapshotTrigger {
            txns: 0,
            bytes: 0,
            txns_due: u64::MAX,
            bytes_due: u64::MAX,
            random: seed,
            wanted: false,
            running: false,
            not_before: Now::default(),
            at_once: false,
        }
    }

    /// Counts one transaction; true if a snapshot is due.
    pub fn count(&mut self, bytes: usize) -> bool {
        self.txns += 1;
        self.bytes += bytes as u64;
        let due = self.txns > self.txns_due || self.bytes > self.bytes_due;
        self.wanted |= due;
        due
    }

    /// Draws the next goals from the upper half, so that servers do not snapshot together.
    pub fn restart(&mut self, config: &NodeConfig) {
        let half = u64::from(config.snap_count.max(2)) / 2;
        self.txns = 0;
        self.bytes = 0;
        self.txns_due = half + self.draw() % half.max(1);
        self.bytes_due = match config.snap_log_bytes {
            Some(limit) => limit / 2 + self.draw() % (limit / 2).max(1),
            None => u64::MAX,
        };
    }

    /// The next number of a SplitMix64 sequence.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
