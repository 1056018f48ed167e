//! How far the files lead when nothing later than some transaction is used: asked before a log is
//! cut, so that nothing is removed that the rest needs.

use oxikeeper_proto::replay::{ReplayFault, ReplayTarget, SnapshotSink};
use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::{Acl, SessionId, Txn, TxnDigest, TxnHeader, Zxid};

use super::{Obstacle, RecoverOptions, Replay, list, no_way};
use crate::dirs::Dirs;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::file_name;
use crate::snapshot_reader::{self, Discard};

/// Whether the files lead to a state at `to`, or at the last transaction before it, if no snapshot
/// newer than `to` and no later record is used. Returns the transaction where it ends.
///
/// A snapshot that was written while transactions were applied holds some of them: it is used only
/// if all of them are wanted.
pub(crate) fn reach<D: Disk>(
    disk: &D,
    dirs: &Dirs,
    options: &RecoverOptions,
    to: Zxid,
) -> Result<Zxid, StorageError> {
    let snapshots = list(disk, dirs.data(), |name| Some(file_name::parse_snapshot(name)?.0))?;
    let logs = list(disk, dirs.log(), file_name::parse_log)?;
    let mut why = "there is no snapshot of that zxid or an earlier one".to_owned();
    if snapshots.is_empty() && (logs.is_empty() || options.trust_empty) {
        let mut replay = Replay::new(disk, dirs, options, Zxid::ZERO);
        replay.until = Some(to);
        return match replay.run(&logs, &mut Nobody, &mut Vec::new()) {
            Ok(()) => Ok(replay.replayed.last),
            Err(Obstacle::Candidate(problem)) => Err(no_way(problem)),
            Err(Obstacle::Final(error)) => Err(error),
        };
    }
    for (zxid, path) in snapshots.iter().rev().filter(|(zxid, _)| *zxid <= to) {
        let trailer = match snapshot_reader::read(disk, path, &mut Discard) {
            Ok(trailer) => trailer,
            Err(fault) => {
                why = format!("{} {fault}", path.display());
                continue;
            }
        };
        let digest_zxid = trailer.digest.map(|(zxid, _)| zxid);
        let written_until = trailer.last_zxid.max(digest_zxid).unwrap_or(*zxid);
        if written_until > to {
            why = format!("{} holds transactions up to {written_until}", path.display());
            continue;
        }
        let first = logs.partition_point(|(first, _)| first <= zxid).saturating_sub(1);
        let mut replay = Replay::new(disk, dirs, options, *zxid);
        replay.until = Some(to);
        match replay.run(&logs[first..], &mut Nobody, &mut Vec::new()) {
            Ok(()) => return Ok(replay.replayed.last),
            Err(Obstacle::Candidate(obstacle)) => why = obstacle,
            Err(Obstacle::Final(error)) => return Err(error),
        }
    }
    Err(no_way(format!("the files in {} do not lead to {to}: {why}", dirs.data().display())))
}

/// Takes everything and keeps nothing.
struct Nobody;

impl SnapshotSink for Nobody {
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), ReplayFault> {
        Ok(())
    }
    fn acl(&mut self, _: i64, _: Vec<Acl>) -> Result<(), ReplayFault> {
        Ok(())
    }
    fn node(
        &mut self,
        _: &str,
        _: Option<&[u8]>,
        _: i64,
        _: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        Ok(())
    }
}

impl ReplayTarget for Nobody {
    fn begin_snapshot(&mut self, _: Zxid) {}
    fn begin_empty(&mut self) {}
    fn end_snapshot(&mut self, _: Zxid, _: Option<(Zxid, u64)>) -> Result<(), ReplayFault> {
        Ok(())
    }
    fn apply(
        &mut self,
        _: &TxnHeader,
        _: &Txn<'_>,
        _: Option<TxnDigest>,
    ) -> Result<(), ReplayFault> {
        Ok(())
    }
    fn finish(&mut self) -> Result<(), ReplayFault> {
        Ok(())
    }
}
