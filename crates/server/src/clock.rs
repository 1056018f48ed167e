//! The only place that asks what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oxikeeper_node::time::{Now, WallTime};

/// The process's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins to count.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Monotonic time since the start.
    pub fn now(&self) -> Now {
        Now::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// Time until a moment; zero if it is past.
    pub fn until(&self, moment: Now) -> Duration {
        moment.since(self.now())
    }
}

/// Wall time.
pub fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(since.as_millis() as i64)
}
