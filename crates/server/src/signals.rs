//! Signals, as a JVM takes them.
//!
//! SIGTERM, SIGINT and SIGHUP end the server, unless they were ignored when it was started: that is
//! what `nohup` does, with which the scripts start servers, and a shell to its background jobs.
//! SIGQUIT has a JVM print its threads and go on: whoever sends it does not want an end.

use std::fs;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

/// What this process waits for in its main thread.
pub struct EndSignals(Signals);

impl EndSignals {
    /// From now on the signals are taken.
    ///
    /// # Errors
    /// What the system says.
    pub fn take() -> io::Result<EndSignals> {
        let ignored = fs::read_to_string("/proc/self/status").map_or(0, |text| ignored(&text));
        let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
        let ending = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
        Ok(EndSignals(Signals::new(ending.chain([SIGQUIT]))?))
    }

    /// Waits for one that ends the server, and gives its number.
    pub fn wait(&mut self) -> i32 {
        for signal in self.0.forever() {
            if signal != SIGQUIT {
                info!(signal, "ending");
                return signal;
            }
            warn!("SIGQUIT: there are no Java threads to print; the server goes on");
        }
        SIGTERM
    }
}

/// The mask of ignored signals, from the text of `/proc/self/status`: bit 0 is signal 1.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_found() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), 1 << (SIGHUP - 1) | 1 << 12);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
