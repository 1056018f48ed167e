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

/// A time as Java's `Date` prints it in UTC: `Sun Nov 22 13:16:41 UTC 2026`.
pub fn java_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms.div_euclid(1000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, of_month) = civil(day);
    format!(
        "{} {} {of_month:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[day.rem_euclid(7) as usize],
        MONTHS[month as usize - 1],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

include!("civil.rs");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_java_prints_them() {
        assert_eq!(java_date(1_795_353_401_999), "Sun Nov 22 13:16:41 UTC 2026");
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
    }
}
