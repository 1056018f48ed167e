//! What Linux says of a process: processor time and resident memory.

use std::fs;
use std::io;

use crate::error::BenchError;

/// Ticks of processor time in a second, in `/proc`: the same on every Linux that has it.
const TICKS_PER_SECOND: f64 = 100.0;

/// A reading of `/proc/PID`.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time of all threads since the start, user and system, seconds, in steps of 10 ms.
    pub cpu_s: f64,
    /// Resident memory, bytes.
    pub rss: u64,
}

/// Reads the figures of a process.
///
/// # Errors
/// If there is no such process, or it is somebody else's.
pub fn usage(pid: u32) -> Result<Usage, BenchError> {
    let failed = BenchError::system("cannot read /proc of that process id");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(&failed)?;
    let cpu_s = cpu_seconds(&stat).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    // The roll-up counts pages; VmRSS may lag behind by some pages per thread.
    let rss = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| kilobytes(&text, "Rss:"))
        .or_else(|| kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:"))
        .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    Ok(Usage { cpu_s, rss: rss * 1024 })
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let usage = usage(std::process::id()).expect("it runs");
        assert!(usage.rss > 1 << 20);
        assert!(usage.cpu_s < 3600.0);
    }

    #[test]
    fn a_name_with_parentheses() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(kilobytes("VmRSS:\t   123 kB\nX: 1 kB", "VmRSS:"), Some(123));
    }
}
