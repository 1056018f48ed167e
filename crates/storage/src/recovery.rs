//! From files to a state: the newest snapshot that is sound, and every logged transaction behind
//! it, without a gap.
//!
//! Never skips anything silently. What a crash leaves behind is put in order with a line in the
//! log; what a crash cannot explain is refused, with the place and the way out.
//! Source: storage-format reference, 2.5, 3 and 4.

mod reach;

use std::fmt;
use std::path::{Path, PathBuf};

use oxikeeper_proto::Zxid;
use oxikeeper_proto::replay::{ReplayFault, ReplayTarget};

pub(crate) use self::reach::reach;
use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::install;
use crate::log_reader::{Damage, LogEnd, LogReader};
use crate::snapshot_reader::{self, SnapshotFault};
use crate::txn_log::UNSYNCED_BYTES_MAX;

/// How to recover.
#[derive(Clone, Copy, Debug)]
pub struct RecoverOptions {
    /// `zookeeper.snapshot.trust.empty`: replay logs onto the empty tree if there is no snapshot.
    pub trust_empty: bool,
    /// Longest transaction payload to accept: `jute.maxbuffer` plus `jute.maxbuffer.extrasize`.
    pub payload_bytes_max: usize,
}

impl Default for RecoverOptions {
    fn default() -> RecoverOptions {
        let payload_bytes_max = 2 * oxikeeper_proto::limits::FRAME_BYTES_MAX_DEFAULT;
        RecoverOptions { trust_empty: false, payload_bytes_max }
    }
}

/// Something found on the way that the operator may want to know, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A snapshot that cannot be used; an older one was.
    BadSnapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A torn tail was dropped.
    TornTail(Damage),
    /// A file without records that was never acknowledged; it is set aside.
    EmptyLog(PathBuf),
    /// A snapshot stands, but no log: the state is the snapshot's.
    NoLogs,
    /// No snapshot; the logs were replayed onto the empty tree because the operator said so.
    TrustedEmpty,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::BadSnapshot { path, why } => {
                write!(f, "snapshot {} {why}; using an older one", path.display())
            }
            Finding::TornTail(damage) => {
                write!(f, "torn tail, dropped: {damage}; nothing sound follows it")
            }
            Finding::EmptyLog(path) => {
                write!(f, "{} has no intact header and holds nothing; set aside", path.display())
            }
            Finding::NoLogs => f.write_str("there is a snapshot but no transaction log"),
            Finding::TrustedEmpty => f.write_str(
                "no snapshot; the logs were replayed onto an empty tree because \
                 zookeeper.snapshot.trust.empty is true",
            ),
        }
    }
}

/// What recovery arrived at.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The last transaction.
    pub last_zxid: Zxid,
    /// The snapshot it began with.
    pub snapshot: Option<PathBuf>,
    /// Transactions replayed from logs.
    pub replayed: u64,
    /// The logs they were in, each with the end of its last record: read, but perhaps not yet
    /// durable. See [`clean_up`].
    pub logs: Vec<(PathBuf, u64)>,
    /// True if there were no files at all.
    pub fresh: bool,
    /// What was found on the way.
    pub findings: Vec<Finding>,
}

/// Apache looks at no more candidates either.
const SNAPSHOTS_TRIED_MAX: usize = 100;

/// Why one candidate does not lead to a state.
enum Obstacle {
    /// An older snapshot may do better.
    Candidate(String),
    /// No other snapshot can help.
    Final(StorageError),
}

impl From<StorageError> for Obstacle {
    fn from(error: StorageError) -> Obstacle {
        Obstacle::Final(error)
    }
}

/// Recovers the state of a data directory into `target`. Reads only; what is to be put in order on
/// disk afterwards, [`clean_up`] does.
///
/// # Errors
/// Files that cannot be read, or do not add up to a state that can be trusted.
pub fn recover<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Recovered, StorageError> {
    let mut snapshots = list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))?;
    snapshots.reverse();
    snapshots.truncate(SNAPSHOTS_TRIED_MAX);
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let mut findings = Vec::new();
    if snapshots.is_empty() {
        return recover_empty(disk, options, &logs, target, dirs);
    }
    let mut first_obstacle: Option<String> = None;
    // The newest snapshot that cannot be used: proof that there was a state up to its zxid.
    let mut existed = None;
    for (zxid, path) in &snapshots {
        let mut notes = Vec::new();
        match recover_from(disk, dirs, options, *zxid, path, &logs, target, &mut notes) {
            Ok(replayed) => {
                if let Some((newer, bad)) = existed.filter(|(newer, _)| replayed.last < *newer) {
                    let why = first_obstacle.unwrap_or_default();
                    return Err(state_is_missing(newer, bad, &why, path, replayed.last));
                }
                findings.append(&mut notes);
                if logs.is_empty() {
                    findings.push(Finding::NoLogs);
                }
                return Ok(replayed.into_recovered(Some(path.clone()), findings));
            }
            Err(Obstacle::Candidate(why)) => {
                first_obstacle.get_or_insert_with(|| format!("{} {why}", path.display()));
                // A new leader names a snapshot after its epoch: no transaction has that zxid.
                if zxid.counter() > 0 {
                    existed.get_or_insert((*zxid, path));
                }
                findings.push(Finding::BadSnapshot { path: path.clone(), why });
            }
            Err(Obstacle::Final(error)) => return Err(error),
        }
    }
    Err(StorageError::Refused {
        problem: format!(
            "none of the {} snapshots in {} leads to a complete state; the newest: {}",
            snapshots.len(),
            dirs.data().display(),
            first_obstacle.unwrap_or_default()
        ),
        advice: "Restore the missing files from a backup. If the logs reach back to the first \
                 transaction, move the snapshots away and start once with \
                 zookeeper.snapshot.trust.empty=true."
            .into(),
        cut_at: None,
    })
}

/// Without a snapshot: nothing at all, or logs that the operator vouches for.
fn recover_empty<D: Disk>(
    disk: &D,
    options: &RecoverOptions,
    logs: &[(Zxid, PathBuf)],
    target: &mut dyn ReplayTarget,
    dirs: &Dirs,
) -> Result<Recovered, StorageError> {
    let mut findings = Vec::new();
    if !logs.is_empty() && !options.trust_empty {
        return Err(StorageError::Refused {
            problem: format!(
                "{} holds transaction logs, but there is no snapshot in {}",
                dirs.log().display(),
                dirs.data().display()
            ),
            advice: "Restore the snapshots, or correct dataDir. Only if this directory never had \
                     one and the logs begin with the first transaction, start once with \
                     zookeeper.snapshot.trust.empty=true."
                .into(),
            cut_at: None,
        });
    }
    target.begin_empty();
    if !logs.is_empty() {
        findings.push(Finding::TrustedEmpty);
    }
    let mut replay = Replay::new(disk, dirs, options, Zxid::ZERO);
    match replay.run(logs, target, &mut findings) {
        Ok(()) => Ok(replay.replayed.into_recovered(None, findings)),
        Err(Obstacle::Candidate(problem)) => Err(no_way(problem)),
        Err(Obstacle::Final(error)) => Err(error),
    }
}

fn recover_from<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    zxid: Zxid,
    path: &Path,
    logs: &[(Zxid, PathBuf)],
    target: &mut dyn ReplayTarget,
    findings: &mut Vec<Finding>,
) -> Result<Replayed, Obstacle> {
    target.begin_snapshot(zxid);
    let trailer = match snapshot_reader::read(disk, path, target) {
        Ok(trailer) => trailer,
        Err(SnapshotFault::Io(source)) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            let path = path.to_owned();
            return Err(StorageError::Io { action: "read", path, source }.into());
        }
        Err(fault) => return Err(Obstacle::Candidate(fault.to_string())),
    };
    let faulty = |fault: ReplayFault| Obstacle::Candidate(fault.to_string());
    target.end_snapshot(zxid, trailer.digest).map_err(faulty)?;
    // The last log that begins at or before the snapshot may go on behind it.
    let first = logs.partition_point(|(first, _)| *first <= zxid).saturating_sub(1);
    let mut replay = Replay::new(disk, dirs, options, zxid);
    replay.run(&logs[first..], target, findings)?;
    Ok(replay.replayed)
}

/// Where a replay arrived.
struct Replayed {
    /// The last transaction of the state.
    last: Zxid,
    /// How many transactions came from logs.
    count: u64,
    /// The logs they came from, and where the last record of each ends.
    logs: Vec<(PathBuf, u64)>,
}

impl Replayed {
    fn into_recovered(self, snapshot: Option<PathBuf>, findings: Vec<Finding>) -> Recovered {
        let Replayed { last: last_zxid, count: replayed, logs } = self;
        let fresh = snapshot.is_none() && logs.is_empty() && findings.is_empty();
        Recovered { last_zxid, snapshot, replayed, logs, fresh, findings }
    }
}

/// Replays logs behind a snapshot.
struct Replay<'r, D: Disk> {
    disk: &'r D,
    dirs: &'r Dirs,
    options: &'r RecoverOptions,
    /// The snapshot's zxid: records up to it are passed over.
    base: Zxid,
    /// Nothing later is replayed.
    until: Option<Zxid>,
    replayed: Replayed,
    /// The last record seen in the files, passed over or not.
    seen: Option<Zxid>,
    /// Damage that ended an earlier file: only a gap makes it matter.
    torn: Option<Damage>,
}

impl<'r, D: Disk> Replay<'r, D> {
    fn new(disk: &'r D, dirs: &'r Dirs, options: &'r RecoverOptions, base: Zxid) -> Replay<'r, D> {
        let replayed = Replayed { last: base, count: 0, logs: Vec::new() };
        Replay { disk, dirs, options, base, until: None, replayed, seen: None, torn: None }
    }

    fn run(
        &mut self,
        logs: &[(Zxid, PathBuf)],
        target: &mut dyn ReplayTarget,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Obstacle> {
        let is_wanted = |first: Zxid| self.until.is_none_or(|until| first <= until);
        let count = logs.iter().filter(|(first, _)| is_wanted(*first)).count();
        for (index, (_, path)) in logs[..count].iter().enumerate() {
            self.file(path, index + 1 == logs.len(), target, findings)?;
        }
        if let Some(damage) = self.torn.take() {
            findings.push(Finding::TornTail(damage));
        }
        target.finish().map_err(|fault| Obstacle::Candidate(fault.to_string()))
    }

    fn file(
        &mut self,
        path: &Path,
        is_last: bool,
        target: &mut dyn ReplayTarget,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Obstacle> {
        let before = self.replayed.count;
        let mut reader = LogReader::open(self.disk, path, self.options.payload_bytes_max)?;
        while let Some(record) = reader.next_record()? {
            let zxid = record.header.zxid;
            if let Some(seen) = self.seen
                && zxid <= seen
            {
                return Err(regress(self.dirs, path, record.position, zxid, seen).into());
            }
            if self.until.is_some_and(|until| zxid > until) {
                return Ok(());
            }
            if zxid > self.base {
                self.require_next(zxid, path, record.position)?;
                target.apply(&record.header, &record.txn, record.digest).map_err(|fault| {
                    no_way(format!("{zxid} in {} cannot be applied: {fault}", path.display()))
                })?;
                self.replayed.last = zxid;
                self.replayed.count += 1;
            }
            self.seen = Some(zxid);
        }
        if self.replayed.count > before {
            self.replayed.logs.push((path.to_owned(), reader.position()));
        }
        match reader.end() {
            None | Some(LogEnd::Clean) => {}
            Some(LogEnd::Torn(damage)) => self.torn = Some(damage.clone()),
            Some(LogEnd::Hole { damage, next }) => {
                return Err(hole(self.dirs, damage, *next, is_last).into());
            }
            Some(LogEnd::Corrupt(damage)) => return Err(corrupt(self.dirs, damage).into()),
            Some(&LogEnd::TooLong { position, payload_bytes }) => {
                return Err(too_long(path, position, payload_bytes, self.options).into());
            }
            // A file in the middle is missed by nobody if what follows joins on.
            Some(LogEnd::NoHeader) => findings.push(Finding::EmptyLog(path.to_owned())),
        }
        Ok(())
    }

    /// The next transaction has to join on to the state without a gap.
    fn require_next(&mut self, zxid: Zxid, path: &Path, position: u64) -> Result<(), Obstacle> {
        let begins_epoch = zxid.epoch() > self.replayed.last.epoch() && zxid.counter() == 1;
        let joins = if self.replayed.count == 0 {
            zxid.follows(self.replayed.last)
                && (zxid.epoch() == self.replayed.last.epoch() || begins_epoch)
        } else {
            zxid.follows(self.replayed.last)
        };
        if joins {
            if let Some(damage) = self.torn.take() {
                tracing::warn!(%damage, "torn end of an earlier log; the next one joins on");
            }
            return Ok(());
        }
        let torn = self.torn.take();
        let damaged = torn.as_ref().map(|damage| format!(" There is {damage}."));
        let problem = format!(
            "transactions are missing: {zxid} at byte {position} of {} cannot follow {}.{}",
            path.display(),
            self.replayed.last,
            damaged.unwrap_or_default()
        );
        if self.replayed.count == 0 {
            // Perhaps an older snapshot has the logs that lead here.
            return Err(Obstacle::Candidate(format!("does not join the logs: {problem}")));
        }
        let Some(damage) = torn else { return Err(no_way(problem).into()) };
        let cut_at = Some((damage.path, damage.position));
        Err(StorageError::Refused { problem, advice: cut_advice(self.dirs), cut_at }.into())
    }
}

/// Puts the directories in order after a recovery, before anything is built on it: makes durable
/// what was replayed, sets empty logs aside and removes temporary files that a crash left behind.
///
/// # Errors
/// What the disk says.
pub fn clean_up<D: Disk>(disk: &D, dirs: &Dirs, recovered: &Recovered) -> Result<(), StorageError> {
    if let Some(((last, end), earlier)) = recovered.logs.split_last() {
        for (path, _) in earlier {
            disk.open(path).at("open", path)?.sync().at("sync", path)?;
        }
        make_durable(disk, last, *end)?;
    }
    for finding in &recovered.findings {
        if let Finding::EmptyLog(path) = finding {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let aside = free_name(disk, dirs.log(), name)?;
            disk.rename(path, &aside).at("rename", path)?;
        }
    }
    install::finish_interrupted(disk, dirs, recovered)?;
    for dir in [dirs.data(), dirs.log()] {
        for name in disk.list(dir).at("list", dir)? {
            if name.starts_with(file_name::TEMPORARY) {
                let path = dir.join(&name);
                disk.remove(&path).at("remove", &path)?;
            }
        }
        disk.sync_dir(dir).at("sync", dir)?;
    }
    Ok(())
}

/// Writes the last batch of a log again, as it is, and syncs it.
///
/// A process that died may have written records that it never synced, or that a sync failed on.
/// They are replayed, so what comes next follows them: a power cut must not take them away from
/// under it. After a sync that failed the system takes the pages for clean, though they are not on
/// disk; a further sync alone would do nothing for them.
fn make_durable<D: Disk>(disk: &D, path: &Path, end: u64) -> Result<(), StorageError> {
    let file = match disk.open_to_write(path) {
        // Nobody could have written there without a sync, then.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            disk.open(path).at("open", path)?
        }
        other => {
            let file = other.at("open", path)?;
            let mut piece = vec![0; 1 << 20];
            let mut at = end.saturating_sub(UNSYNCED_BYTES_MAX);
            while at < end {
                let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
                let count = file.read_at(at, &mut piece[..wanted]).at("read", path)?;
                if count == 0 {
                    break;
                }
                file.write_at(at, &piece[..count]).at("write", path)?;
                at += count as u64;
            }
            file
        }
    };
    file.sync().at("sync", path)
}

/// A name for a file set aside that no other file has.
pub(crate) fn free_name<D: Disk>(
    disk: &D,
    dir: &Path,
    name: &str,
) -> Result<PathBuf, StorageError> {
    let taken = disk.list(dir).at("list", dir)?;
    let names = (0..).map(|n| match n {
        0 => format!("{}{name}", file_name::SET_ASIDE),
        n => format!("{}{name}.{n}", file_name::SET_ASIDE),
    });
    let mut free = names.filter(|name| !taken.contains(name));
    Ok(dir.join(free.next().expect("there is always a next number")))
}

/// Files of a directory whose names carry a zxid, in its order.
pub(crate) fn list<D: Disk>(
    disk: &D,
    dir: &Path,
    parse: impl Fn(&str) -> Option<Zxid>,
) -> Result<Vec<(Zxid, PathBuf)>, StorageError> {
    let names = disk.list(dir).at("list", dir)?;
    let mut files: Vec<(Zxid, PathBuf)> =
        names.iter().filter_map(|name| Some((parse(name)?, dir.join(name)))).collect();
    files.sort();
    Ok(files)
}

fn regress(dirs: &Dirs, path: &Path, position: u64, zxid: Zxid, seen: Zxid) -> StorageError {
    StorageError::Refused {
        problem: format!(
            "{zxid} at byte {position} of {} stands behind {seen}: the logs are out of order",
            path.display()
        ),
        advice: cut_advice(dirs),
        cut_at: Some((path.to_owned(), position)),
    }
}

fn hole(dirs: &Dirs, damage: &Damage, next: Zxid, is_last: bool) -> StorageError {
    let place = if is_last { "the last log" } else { "a log that others follow" };
    StorageError::Refused {
        problem: format!(
            "{damage}, and a sound transaction {next} behind it, in {place}: something that may \
             have been acknowledged is missing"
        ),
        advice: cut_advice(dirs),
        cut_at: Some((damage.path.clone(), damage.position)),
    }
}

fn corrupt(dirs: &Dirs, damage: &Damage) -> StorageError {
    StorageError::Refused {
        problem: damage.to_string(),
        advice: cut_advice(dirs),
        cut_at: Some((damage.path.clone(), damage.position)),
    }
}

/// Nothing is damaged: the limit has been lowered since, most likely with a flag that got lost.
fn too_long(
    path: &Path,
    position: u64,
    payload_bytes: usize,
    options: &RecoverOptions,
) -> StorageError {
    StorageError::Refused {
        problem: format!(
            "the record at byte {position} of {} is sound, but its {payload_bytes} bytes are more \
             than the {} that jute.maxbuffer and jute.maxbuffer.extrasize allow together",
            path.display(),
            options.payload_bytes_max
        ),
        advice: format!(
            "It was written with a higher limit: set jute.maxbuffer to {} at least.",
            payload_bytes.div_ceil(2)
        ),
        cut_at: None,
    }
}

/// An older snapshot and its logs lead to a state, but not to where a newer one proves there was.
fn state_is_missing(
    newer: Zxid,
    bad: &Path,
    why: &str,
    used: &Path,
    reached: Zxid,
) -> StorageError {
    StorageError::Refused {
        problem: format!(
            "{why}; {} and the logs behind it lead to {reached} only, so the transactions up to \
             {newer} would be lost",
            used.display()
        ),
        advice: format!(
            "Restore the file or the missing logs from a backup. To give those transactions up, \
             move {} away and start again.",
            bad.display()
        ),
        cut_at: None,
    }
}

fn no_way(problem: String) -> StorageError {
    StorageError::Refused {
        problem,
        advice: "Restore the missing files from a backup, or start from an older complete set."
            .into(),
        cut_at: None,
    }
}

/// The commands are meant to be copied into a shell as they stand.
fn cut_advice(dirs: &Dirs) -> String {
    let above = |dir: &Path| quoted(&dir.parent().unwrap_or(dir).display().to_string());
    let mut words = above(dirs.data());
    if dirs.log() != dirs.data() {
        words = format!("{words} {}", above(dirs.log()));
    }
    format!(
        "Restore the file from a backup. To give up everything from there on instead, look at \
         what would go with `oxikeeper check {words}`, then run `oxikeeper check --cut {words}`."
    )
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_refusal_can_be_copied_into_a_shell() {
        let one = Dirs::new(Path::new("/var/lib/zookeeper"), Path::new("/var/lib/zookeeper"));
        assert!(cut_advice(&one).ends_with("`oxikeeper check --cut /var/lib/zookeeper`."));
        let two = Dirs::new(Path::new("/it's data"), Path::new("/logs"));
        assert!(cut_advice(&two).ends_with(r"`oxikeeper check --cut '/it'\''s data' /logs`."));
    }
}
