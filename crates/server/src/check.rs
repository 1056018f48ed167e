//! `oxikeeper check`: what a data directory holds, and what a server would make of it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use oxikeeper_storage::check::{LogSummary, cut, summarize_logs};
use oxikeeper_storage::log_reader::LogEnd;
use oxikeeper_storage::{Dirs, RealDisk, RecoverOptions, StorageError, recover};
use oxikeeper_tree::{Restore, TreeOptions};

use crate::dir_lock;

/// Exit code of a directory that a server would refuse.
const REFUSED: u8 = 1;

/// Prints the verdict. Exit code 0: sound; 1: a server would refuse it; 3: a server runs on it, and
/// so it cannot be cut.
pub fn run(data_dir: &Path, log_dir: &Path, cut_damage: bool) -> ExitCode {
    let mut report = String::new();
    let code = match examine(data_dir, log_dir, cut_damage, &mut report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => ExitCode::from(code),
    };
    // Whoever reads only the first lines of it, as `| head` does, changes nothing about the verdict.
    let _ = io::stdout().write_all(report.as_bytes());
    code
}

/// Adds a line to the report.
macro_rules! say {
    ($report:expr, $($words:tt)*) => {
        writeln!($report, $($words)*).expect("a string takes everything")
    };
}

fn examine(
    data_dir: &Path,
    log_dir: &Path,
    cut_damage: bool,
    report: &mut String,
) -> Result<(), u8> {
    let dirs = Dirs::new(data_dir, log_dir);
    let mut options = RecoverOptions::default();
    let logs = match summaries(&dirs, &mut options) {
        Ok(logs) => logs,
        Err(error) => {
            say!(report, "{error}");
            if data_dir.ends_with("version-2") || log_dir.ends_with("version-2") {
                say!(report, "give the directory above, as dataDir in zoo.cfg has it");
            }
            return Err(REFUSED);
        }
    };
    for log in &logs {
        say!(report, "{}: {}", log.path.display(), description(log));
    }
    if options.payload_bytes_max > RecoverOptions::default().payload_bytes_max {
        let needed = options.payload_bytes_max.div_ceil(2);
        say!(report, "found: a server needs a jute.maxbuffer of {needed} at least");
    }
    if cut_damage {
        // Nobody cuts under a running server.
        let _lock = dir_lock::take(data_dir).map_err(|error| {
            say!(report, "{error}");
            error.exit_code()
        })?;
        let mut restore = Restore::new(TreeOptions::default());
        match cut(&RealDisk, &dirs, &options, &mut restore) {
            Ok(None) => say!(report, "nothing to cut"),
            Ok(Some(done)) => {
                say!(report, "cut {} behind byte {}", done.file.display(), done.kept_bytes);
                for path in done.set_aside {
                    say!(report, "set aside: {}", path.display());
                }
            }
            Err(error) => {
                say!(report, "{error}");
                return Err(REFUSED);
            }
        }
    }
    recovery(&dirs, &options, report).map_err(|error| {
        say!(report, "a server would refuse this directory: {error}");
        REFUSED
    })
}

/// All logs. The limit on the length of records is raised as far as sound ones need: the server
/// that wrote them had a higher one, which is not known here.
fn summaries(dirs: &Dirs, options: &mut RecoverOptions) -> Result<Vec<LogSummary>, StorageError> {
    loop {
        let logs = summarize_logs(&RealDisk, dirs, options.payload_bytes_max)?;
        let too_long = logs.iter().find_map(|log| match log.end {
            LogEnd::TooLong { payload_bytes, .. } => Some(payload_bytes),
            _ => None,
        });
        match too_long {
            Some(payload_bytes) => options.payload_bytes_max = payload_bytes,
            None => return Ok(logs),
        }
    }
}

fn description(log: &LogSummary) -> String {
    let range = match log.range {
        Some((first, last)) => format!("{first} to {last}, {} records", log.records),
        None => "no records".to_owned(),
    };
    let end = match (&log.regress, &log.end) {
        (Some(at), _) => format!("out of order at byte {at}"),
        (None, LogEnd::Clean) => "clean end".to_owned(),
        (None, LogEnd::Torn(damage)) => format!("torn end: {damage}"),
        (None, LogEnd::Hole { damage, next }) => format!("HOLE: {damage}; {next} follows it"),
        (None, LogEnd::Corrupt(damage)) => format!("CORRUPT: {damage}"),
        (None, LogEnd::TooLong { position, .. }) => format!("a long record at byte {position}"),
        (None, LogEnd::NoHeader) => "no header: holds nothing".to_owned(),
    };
    format!("{range}; {end}")
}

fn recovery(
    dirs: &Dirs,
    options: &RecoverOptions,
    report: &mut String,
) -> Result<(), StorageError> {
    let mut restore = Restore::new(TreeOptions::default());
    let recovered = recover(&RealDisk, dirs, options, &mut restore)?;
    for finding in &recovered.findings {
        say!(report, "found: {finding}");
    }
    if let Some((count, first)) = restore.digest_mismatches() {
        say!(report, "found: the tree's digest differs {count} times, first at {first}");
    }
    let tree = restore.into_tree();
    let snapshot =
        recovered.snapshot.map_or("no snapshot".to_owned(), |path| path.display().to_string());
    say!(
        report,
        "sound: last zxid {}, {} nodes, {} sessions, digest {}; from {snapshot} and {} logged \
         transactions",
        recovered.last_zxid,
        tree.node_count(),
        tree.sessions().len(),
        tree.digest(),
        recovered.replayed
    );
    Ok(())
}
