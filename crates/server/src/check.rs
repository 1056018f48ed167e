//! `oxikeeper check`: what a data directory holds, and what a server would make of it.

use std::path::Path;
use std::process::ExitCode;

use oxikeeper_storage::check::{cut, summarize_logs};
use oxikeeper_storage::log_reader::LogEnd;
use oxikeeper_storage::{Dirs, RealDisk, RecoverOptions, recover};
use oxikeeper_tree::{Restore, TreeOptions};

use crate::dir_lock;

/// Exit code of a directory that a server would refuse.
const REFUSED: u8 = 1;

/// Prints the verdict. Exit code 0: sound; 1: a server would refuse it; 3: a server runs on it, and
/// so it cannot be cut.
pub fn run(data_dir: &Path, log_dir: &Path, cut_damage: bool) -> ExitCode {
    let dirs = Dirs::new(data_dir, log_dir);
    let options = RecoverOptions::default();
    match summarize_logs(&RealDisk, &dirs, options.payload_bytes_max) {
        Ok(logs) => {
            for log in logs {
                let range = match log.range {
                    Some((first, last)) => format!("{first} to {last}, {} records", log.records),
                    None => "no records".to_owned(),
                };
                let end = match (&log.regress, &log.end) {
                    (Some(at), _) => format!("out of order at byte {at}"),
                    (None, LogEnd::Clean) => "clean end".to_owned(),
                    (None, LogEnd::Torn(damage)) => format!("torn end: {damage}"),
                    (None, LogEnd::Hole { damage, next }) => {
                        format!("HOLE: {damage}; {next} follows it")
                    }
                    (None, LogEnd::Corrupt(damage)) => format!("CORRUPT: {damage}"),
                    (None, LogEnd::NoHeader) => "no header: holds nothing".to_owned(),
                };
                println!("{}: {range}; {end}", log.path.display());
            }
        }
        Err(error) => {
            println!("{error}");
            return ExitCode::from(REFUSED);
        }
    }
    if cut_damage {
        // Nobody cuts under a running server.
        let _lock = match dir_lock::take(data_dir) {
            Ok(lock) => lock,
            Err(error) => {
                println!("{error}");
                return ExitCode::from(error.exit_code());
            }
        };
        let mut restore = Restore::new(TreeOptions::default());
        match cut(&RealDisk, &dirs, &options, &mut restore) {
            Ok(None) => println!("nothing to cut"),
            Ok(Some(done)) => {
                println!("cut {} behind byte {}", done.file.display(), done.kept_bytes);
                for path in done.set_aside {
                    println!("set aside: {}", path.display());
                }
            }
            Err(error) => {
                println!("{error}");
                return ExitCode::from(REFUSED);
            }
        }
    }
    let mut restore = Restore::new(TreeOptions::default());
    match recover(&RealDisk, &dirs, &options, &mut restore) {
        Ok(recovered) => {
            for finding in &recovered.findings {
                println!("found: {finding}");
            }
            if let Some((count, first)) = restore.digest_mismatches() {
                println!("found: the tree's digest differs {count} times, first at {first}");
            }
            let tree = restore.into_tree();
            let snapshot = recovered
                .snapshot
                .map_or_else(|| "no snapshot".to_owned(), |path| path.display().to_string());
            println!(
                "sound: last zxid {}, {} nodes, {} sessions, digest {}; from {snapshot} and {} \
                 logged transactions",
                recovered.last_zxid,
                tree.node_count(),
                tree.sessions().len(),
                tree.digest(),
                recovered.replayed
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("a server would refuse this directory: {error}");
            ExitCode::from(REFUSED)
        }
    }
}
