//! Looking into a data directory without a server, and cutting where an operator says so.

use std::path::{Path, PathBuf};

use oxikeeper_proto::Zxid;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::log_reader::{LogEnd, LogReader};
use crate::recovery::list;

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
    /// The last transaction kept.
    pub last_kept: Option<Zxid>,
    /// Files set aside whole, the original of the cut one among them.
    pub set_aside: Vec<PathBuf>,
}

/// Gives up everything from the first damage on: the damaged file and all later ones are set aside
/// under other names, and the sound part of the damaged one is written anew. `None` if there is no
/// damage that calls for it.
///
/// # Errors
/// What the disk says. Nothing is lost then: originals are only renamed.
pub fn cut<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    payload_bytes_max: usize,
) -> Result<Option<Cut>, StorageError> {
    let logs = summarize_logs(disk, dirs, payload_bytes_max)?;
    let damaged = logs.iter().position(|log| {
        log.regress.is_some() || matches!(log.end, LogEnd::Hole { .. } | LogEnd::Corrupt(_))
    });
    let Some(damaged) = damaged else { return Ok(None) };
    let cut = &logs[damaged];
    let sound = read_sound_part(disk, cut)?;
    let mut set_aside = Vec::new();
    // From the last file down, so that a crash leaves no hole.
    for log in logs[damaged..].iter().rev() {
        let name = log.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let aside = free_name(disk, dirs.log(), name)?;
        disk.rename(&log.path, &aside).at("rename", &log.path)?;
        set_aside.push(aside);
    }
    if cut.records > 0 {
        let temporary = dirs.log().join(format!("{}cut", file_name::TEMPORARY));
        let file = disk.create(&temporary).at("create", &temporary)?;
        file.write_at(0, &sound).at("write", &temporary)?;
        file.sync().at("sync", &temporary)?;
        disk.rename(&temporary, &cut.path).at("rename", &temporary)?;
    }
    disk.sync_dir(dirs.log()).at("sync", dirs.log())?;
    let last_kept = logs[..=damaged].iter().filter_map(|log| log.range).map(|(_, last)| last).max();
    Ok(Some(Cut { file: cut.path.clone(), last_kept, set_aside }))
}

fn read_sound_part<D: Disk>(disk: &D, log: &LogSummary) -> Result<Vec<u8>, StorageError> {
    let file = disk.open(&log.path).at("open", &log.path)?;
    let mut bytes = vec![0; usize::try_from(log.end_position).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(filled as u64, &mut bytes[filled..]).at("read", &log.path)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// A name for a file set aside that nobody has yet.
fn free_name<D: Disk>(disk: &D, dir: &Path, name: &str) -> Result<PathBuf, StorageError> {
    let taken = disk.list(dir).at("list", dir)?;
    let names = (0..).map(|n| match n {
        0 => format!("{}{name}", file_name::SET_ASIDE),
        n => format!("{}{name}.{n}", file_name::SET_ASIDE),
    });
    let mut free = names.filter(|name| !taken.contains(name));
    Ok(dir.join(free.next().expect("there is always a next number")))
}
