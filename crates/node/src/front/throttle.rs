//! What is throttled when the whole server has more to do than its limits say, and how that is
//! told: the operator finds a counter, and a line in the log when one has grown.
//!
//! A connection is throttled by not reading from it. Only one that waits for an answer is: it goes
//! on with that answer, so nobody who is throttled is forgotten.

use tracing::warn;

use crate::config::Limits;
use crate::time::Now;

/// Milliseconds between two lines about throttling.
const LINE_INTERVAL_MS: u128 = 10_000;

/// What the requests of some Fronts amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests taken and not answered.
    pub requests: usize,
    /// Bytes of those among them that are large, see `largeRequestThreshold`.
    pub large_bytes: usize,
}

/// How often limits were met since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleStats {
    /// Times that a connection was not read from, because the server had more requests to answer
    /// than `globalOutstandingLimit`.
    pub outstanding: u64,
    /// Connections closed over a request beyond `largeRequestMaxBytes`.
    pub large_requests: u64,
    /// Connections closed over a frame longer than `jute.maxbuffer`, or of negative length.
    pub frame_length: u64,
    /// Connections closed because no handshake came within `nio.sessionlessCnxnTimeout`.
    pub no_handshake: u64,
}

impl ThrottleStats {
    /// Adds another Front's counters.
    pub fn merge(&mut self, other: &ThrottleStats) {
        self.outstanding += other.outstanding;
        self.large_requests += other.large_requests;
        self.frame_length += other.frame_length;
        self.no_handshake += other.no_handshake;
    }
}

/// One Front's view of the limits.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// Of this Front.
    pub own: Load,
    /// Of all other Fronts, as the shell has last told.
    pub others: Load,
    pub stats: ThrottleStats,
    /// The counters when the last line was written, and when that was.
    told: ThrottleStats,
    told_at: Option<Now>,
}

impl Throttle {
    /// A request is taken, and not answered at once.
    pub fn taken(&mut self, bytes: usize, limits: &Limits) {
        self.own.requests += 1;
        if is_large(bytes, limits) {
            self.own.large_bytes += bytes;
        }
    }

    /// A request is answered, or goes with its connection.
    pub fn gone(&mut self, bytes: usize, limits: &Limits) {
        self.own.requests -= 1;
        if is_large(bytes, limits) {
            self.own.large_bytes -= bytes;
        }
    }

    /// Begins to count anew how often limits were met.
    pub fn reset_stats(&mut self) {
        self.stats = ThrottleStats::default();
        self.told = ThrottleStats::default();
    }

    /// Whether the server has so much to answer that it takes no second request of a connection.
    pub fn is_loaded(&self, limits: &Limits) -> bool {
        self.own.requests + self.others.requests > limits.outstanding_max
    }

    /// Whether a request of this length may be taken.
    pub fn admits(&self, bytes: usize, limits: &Limits) -> bool {
        !is_large(bytes, limits)
            || self.own.large_bytes + self.others.large_bytes + bytes
                <= limits.large_request_bytes_max
    }

    /// Writes a line if something was throttled since the last one, and that one is old enough.
    pub fn tell(&mut self, now: Now, limits: &Limits) {
        let is_due = self.told_at.is_none_or(|at| now.since(at).as_millis() >= LINE_INTERVAL_MS);
        if self.stats == self.told || !is_due {
            return;
        }
        let (new, old) = (self.stats, self.told);
        let line = |count: u64, reason: &str, limit: u64| {
            if count > 0 {
                warn!(count, limit, "throttled: {reason}");
            }
        };
        line(
            new.outstanding - old.outstanding,
            "connections were not read from, with more requests to answer than \
             globalOutstandingLimit or request_throttle_max_requests",
            limits.outstanding_max as u64,
        );
        line(
            new.large_requests - old.large_requests,
            "connections were closed over large requests beyond largeRequestMaxBytes",
            limits.large_request_bytes_max as u64,
        );
        line(
            new.no_handshake - old.no_handshake,
            "connections were closed without a handshake within nio.sessionlessCnxnTimeout ms",
            limits.handshake_ms_max,
        );
        let bad_frames = new.frame_length - old.frame_length;
        if bad_frames > 0 {
            warn!(
                count = bad_frames,
                "connections were closed over a frame longer than jute.maxbuffer, or of no sense"
            );
        }
        self.told = new;
        self.told_at = Some(now);
    }
}

fn is_large(bytes: usize, limits: &Limits) -> bool {
    limits.large_request_threshold.is_some_and(|threshold| bytes > threshold)
}
