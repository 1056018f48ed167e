//! The process as the system sees it.

use std::fs;

/// Clock ticks per second in `/proc`, on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// How many there may be.
pub fn open_files_max() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Processor time taken, in seconds.
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold blanks, field 3 comes first; 14 and 15 are the times.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|word| word.parse::<f64>().ok());
    (field(14).unwrap_or(0.0) + field(15).unwrap_or(0.0)) / TICKS_PER_SECOND
}

/// Memory in RAM and in all, in bytes.
pub fn memory_bytes() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (bytes("VmRSS:"), bytes("VmSize:"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_files_and_memory() {
        assert!((1..=super::open_files_max()).contains(&crate::metrics::open_files()));
        let (resident, size) = super::memory_bytes();
        assert!(resident > 0);
        assert!(resident <= size);
        assert!(super::cpu_seconds() >= 0.0);
    }
}
