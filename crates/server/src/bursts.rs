//! Rests in long work, so that it leaves processors, the tree and the disk to who is waited for.

use std::thread;
use std::time::Duration;

/// Counts what was written, and rests when it is time.
#[derive(Debug)]
pub struct Bursts {
    /// Bytes between two rests.
    burst_bytes: usize,
    rest: Duration,
    since_rest: usize,
}

impl Bursts {
    /// For files: the rest after a step of the sync keeps the disk free for logs, also those of other
    /// servers.
    pub fn to_disk() -> Bursts {
        Bursts { burst_bytes: 1 << 20, rest: Duration::from_millis(2), since_rest: 0 }
    }

    /// For what another server has to read and to build up as fast as it is sent: short ones, since whoever
    /// serves clients waits for a processor as long as one lasts. 256 MB a second at most.
    pub fn to_network() -> Bursts {
        Bursts { burst_bytes: 256 << 10, rest: Duration::from_millis(1), since_rest: 0 }
    }

    /// So many bytes were written. Rests if that fills a burst; else whoever waits for the processor has it
    /// first, without the end of a time slice.
    pub fn wrote(&mut self, bytes: usize) {
        if self.is_rest_due(bytes) {
            thread::sleep(self.rest);
        } else {
            thread::yield_now();
        }
    }

    fn is_rest_due(&mut self, bytes: usize) -> bool {
        self.since_rest += bytes;
        let is_due = self.since_rest >= self.burst_bytes;
        if is_due {
            self.since_rest = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_follows_each_burst_and_nothing_else() {
        let mut bursts = Bursts::to_network();
        let piece = bursts.burst_bytes / 4;
        let due: Vec<bool> = (0..8).map(|_| bursts.is_rest_due(piece)).collect();
        assert_eq!(due, [false, false, false, true].repeat(2));
        assert!(bursts.is_rest_due(36 * piece), "one that is longer has one rest as well");
        assert!(!bursts.is_rest_due(piece));
    }
}
