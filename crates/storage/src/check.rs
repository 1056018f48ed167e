//! Looking into a data directory without a server, and cutting where an operator says so.

use std::path::{Path, PathBuf};

use oxikeeper_proto::Zxid;
use oxikeeper_proto::replay::ReplayTarget;

use crate::dirs::Dirs;
use crate::disk::Disk;
use crate::error::{At, StorageError};
use crate::file_name;
use crate::log_reader::{LogEnd, LogReader};
use crate::recovery::{RecoverOptions, free_name, list, recover};
use crate::truncate::copy;

/// One log file, read to its end.
#[derive(Clone, Debug)]
pub struct LogSummary {
    /// The file.
    pub path: PathBuf,
    /// Its first and last transaction.
    pub range: Option<(Zxid, Zxid)>,
    /// How many it has.
    pub records: u64,
    /// Where the last one ends.
    pub end_position: u64,
    /// Why they end.
    pub end: LogEnd,
    /// Where a record stands that is not later than the one before it.
    pub regress: Option<u64>,
}

/// Reads every log of a directory.
///
/// # Errors
/// What the disk says.
pub fn summarize_logs<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    payload_bytes_max: usize,
) -> Result<Vec<LogSummary>, StorageError> {
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let mut last_seen = None;
    let mut summaries = Vec::with_capacity(logs.len());
    for (_, path) in logs {
        let mut reader = LogReader::open(disk, &path, payload_bytes_max)?;
        let mut range: Option<(Zxid, Zxid)> = None;
        let (mut records, mut regress, mut end_position) = (0, None, 0);
        while let Some(record) = reader.next_record()? {
            let (zxid, position) = (record.header.zxid, record.position);
            if last_seen.is_some_and(|seen| zxid <= seen) {
                regress = Some(position);
                break;
            }
            last_seen = Some(zxid);
            range = Some((range.map_or(zxid, |(first, _)| first), zxid));
            records += 1;
            end_position = reader.position();
        }
        let end = reader.end().cloned().unwrap_or(LogEnd::Clean);
        summaries.push(LogSummary { path, range, records, end_position, end, regress });
    }
    Ok(summaries)
}

/// What a cut did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file that was cut: the sound part stands under its name again.
    pub file: PathBuf,
    /// How many bytes of it were kept.
    pub kept_bytes: u64,
    /// Copies and files set aside, the original of the cut one among them.
    pub set_aside: Vec<PathBuf>,
}

/// Gives up everything from that damage on which makes [`recover`] refuse the directory: the
/// damaged file is copied aside and cut to its sound part, and all later ones are set aside.
/// `None` if recovery refuses nothing, or nothing that a cut would mend; damage that no recovery
/// looks at stays where it is.
///
/// # Errors
/// What the disk says. Nothing is lost then, and the call may be made again.
pub fn cut<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Option<Cut>, StorageError> {
    let (damaged, position) = match recover(disk, dirs, options, target) {
        Ok(_) | Err(StorageError::Refused { cut_at: None, .. }) => return Ok(None),
        Err(StorageError::Refused { cut_at: Some(place), .. }) => place,
        Err(error) => return Err(error),
    };
    let mut set_aside = Vec::new();
    let file = disk.open(&damaged).at("open", &damaged)?;
    let aside = free_name(disk, dirs.log(), name_of(&damaged))?;
    copy(disk, &file, u64::MAX, &damaged, &aside)?;
    set_aside.push(aside);
    let sound = dirs.log().join(format!("{}cut", file_name::TEMPORARY));
    copy(disk, &file, position, &damaged, &sound)?;
    disk.sync_dir(dirs.log()).at("sync", dirs.log())?;
    // The last file first, and the damaged one only when the others are gone for good: whenever
    // this is interrupted, the damage is still found, and a cut still mends it.
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let later = logs.iter().position(|(_, path)| *path == damaged).map_or(0, |at| at + 1);
    for (_, path) in logs[later..].iter().rev() {
        let aside = free_name(disk, dirs.log(), name_of(path))?;
        disk.rename(path, &aside).at("rename", path)?;
        disk.sync_dir(dirs.log()).at("sync", dirs.log())?;
        set_aside.push(aside);
    }
    disk.rename(&sound, &damaged).at("rename", &sound)?;
    disk.sync_dir(dirs.log()).at("sync", dirs.log())?;
    Ok(Some(Cut { file: damaged, kept_bytes: position, set_aside }))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
