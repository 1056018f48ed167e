//! A clock that ticks through the poll, finer than the milliseconds of epoll's own timeout.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::error::BenchError;

/// A timer that makes a token ready again and again.
pub struct Timer {
    descriptor: OwnedFd,
}

impl Timer {
    /// Starts to tick now.
    pub fn start(registry: &Registry, token: Token, tick: Duration) -> Result<Timer, BenchError> {
        let failed =
            |error: rustix::io::Errno| BenchError::system("cannot start a timer")(error.into());
        let descriptor = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(failed)?;
        let each =
            Timespec { tv_sec: tick.as_secs() as i64, tv_nsec: i64::from(tick.subsec_nanos()) };
        let times = Itimerspec { it_interval: each, it_value: each };
        registry
            .register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)
            .map_err(BenchError::system("cannot watch a timer"))?;
        timerfd_settime(&descriptor, TimerfdTimerFlags::empty(), &times).map_err(failed)?;
        Ok(Timer { descriptor })
    }

    /// Takes note of the ticks, so that the next one is told.
    pub fn take(&self) {
        let mut ticks = [0; 8];
        // Nothing to read is as good as having read it.
        let _ = rustix::io::read(&self.descriptor, &mut ticks);
    }
}
