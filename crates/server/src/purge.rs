//! `oxikeeper purge`: removes snapshots and logs that no recovery needs, beside a server or without
//! one.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use oxikeeper_storage::{Dirs, RealDisk, purge};

/// Fewer snapshots than this are never left, as with Apache.
pub const RETAIN_MIN: usize = 3;

/// Keeps `retain` snapshots, at least [`RETAIN_MIN`], and prints what it removes. Exit code 0: done;
/// 1: it cannot be.
pub fn run(log_dir: &Path, snap_dir: &Path, retain: usize) -> ExitCode {
    let dirs = Dirs::new(snap_dir, log_dir);
    let ages = modified(&[dirs.data(), dirs.log()]);
    match purge(&RealDisk, &dirs, retain.max(RETAIN_MIN)) {
        Ok(purged) => {
            let mut report = String::new();
            for path in purged.removed {
                let when = ages.get(&path).copied().unwrap_or(UNIX_EPOCH);
                report += &format!("Removing file: {} {}\n", date(when), path.display());
            }
            // Who does not read the list has purged all the same.
            let _ = io::stdout().write_all(report.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let text = format!("{error}; name the directories that hold version-2\n");
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// When each file was last written. What cannot be asked is left out: it is for the eye alone.
fn modified(dirs: &[&Path]) -> BTreeMap<PathBuf, SystemTime> {
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?)))
        .collect()
}

/// `2026-11-22 13:14:31`, in UTC. Days to a date: the civil calendar in eras of 400 years that begin
/// in March.
fn date(when: SystemTime) -> String {
    let seconds = when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_of_the_civil_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_353_271, "2026-11-22 13:14:31"),
            (4_107_542_399, "2100-02-28 23:59:59"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
