//! Time as the machines see it: an input, never a question.

use std::time::Duration;

/// A moment on the monotonic clock, in microseconds since an arbitrary start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(u64);

impl Now {
    /// From microseconds.
    pub const fn from_micros(micros: u64) -> Now {
        Now(micros)
    }

    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Now {
        Now(millis * 1000)
    }

    /// In microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// In whole milliseconds.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Now) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    pub const fn after(self, duration: Duration) -> Now {
        Now(self.0.saturating_add(duration.as_micros() as u64))
    }
}

/// The wall clock in milliseconds since 1970: for `ctime`, `mtime` and TTLs, never for timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WallTime(pub i64);
