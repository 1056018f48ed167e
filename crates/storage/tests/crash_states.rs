//! The crash-state explorer: a life of the log, with snapshots, rolls and purges, is cut off at
//! every single call to the disk; of each cut, states that a crash can leave behind are drawn and
//! recovered.
//!
//! What must hold of each: everything acknowledged is there; what is there is a prefix of what was
//! appended, with the very tree that belongs to it; nobody has to help, except where the rules say
//! that damage with sound transactions behind it is refused; and a crash of the recovery changes
//! nothing of this.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use oxikeeper_proto::txn::{CreateTxn, SetDataTxn, TxnDigest, encode_payload};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_storage::check::cut;
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::snapshot_writer::SnapshotMutation;
use oxikeeper_storage::txn_log::LogMutation;
use oxikeeper_storage::{
    Compression, Dirs, LogOptions, RecoverOptions, SnapshotWriter, StorageError, TxnLog, clean_up,
    purge, recover,
};
use oxikeeper_tree::{ChangeList, Restore, Tree, TreeOptions};

/// What a life may get wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    Log(LogMutation),
    Snapshot(SnapshotMutation),
}

/// A sequence that depends on its seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end.max(1)
    }
}

/// What the outside world knows of a life.
#[derive(Default)]
struct Known {
    /// The last transaction that was acknowledged.
    acknowledged: Zxid,
    /// The tree's digest after each transaction that was appended.
    digests: BTreeMap<Zxid, u64>,
}

fn dirs() -> Dirs {
    Dirs::new(Path::new("/data"), Path::new("/data"))
}

fn options() -> LogOptions {
    LogOptions { prepare_bytes: 8 << 10, fill_bytes: 2 << 10, ..LogOptions::default() }
}

/// Recovers what is on the disk, puts it in order and lives on until `batches` more batches are
/// acknowledged or the disk fails.
fn live(
    disk: &SimDisk,
    known: &mut Known,
    batches: u64,
    random: &mut Random,
    mutation: Option<Mutation>,
) -> Result<(), StorageError> {
    let dirs = dirs();
    dirs.prepare(disk, true)?;
    let mut restore = Restore::new(TreeOptions::default());
    let recovered = recover(disk, &dirs, &RecoverOptions::default(), &mut restore)?;
    clean_up(disk, &dirs, &recovered)?;
    let mut tree = restore.into_tree();
    if recovered.snapshot.is_none() {
        snapshot(disk, &dirs, &mut tree, mutation)?;
    }
    known.digests.split_off(&Zxid::new(tree.last_zxid().raw() + 1));
    known.digests.insert(tree.last_zxid(), tree.digest());
    let mut log = TxnLog::new(Arc::new(disk.clone()), dirs.clone(), options(), tree.last_zxid());
    if let Some(Mutation::Log(mutation)) = mutation {
        log.mutate(mutation);
    }
    for batch in 0..batches {
        for _ in 0..1 + random.below(4) {
            append(&mut log, &mut tree, known, random)?;
        }
        log.sync()?;
        known.acknowledged = known.acknowledged.max(tree.last_zxid());
        match random.below(8) {
            0 => {
                log.roll()?;
                snapshot(disk, &dirs, &mut tree, mutation)?;
            }
            1 => log.roll()?,
            2 if batch > 4 => {
                purge(disk, &dirs, 2)?;
            }
            _ => {
                log.prepare();
            }
        }
    }
    Ok(())
}

fn append(
    log: &mut TxnLog<SimDisk>,
    tree: &mut Tree,
    known: &mut Known,
    random: &mut Random,
) -> Result<(), StorageError> {
    let zxid = Zxid::new(tree.last_zxid().raw() + 1);
    let path = format!("/n{}", random.below(20));
    // Some records span sectors, most do not.
    let data = vec![zxid.raw() as u8; random.below(4) as usize * 400];
    let txn = if tree.node(&path).is_some() {
        let version = tree.node(&path).map_or(0, |node| node.stat().version) + 1;
        Txn::SetData(SetDataTxn { path: path.into(), data: Some(&data), version })
    } else {
        let acl = vec![Acl::open()];
        let (data, ephemeral, parent_cversion) = (Some(&data[..]), false, -1);
        Txn::Create(CreateTxn { path: path.into(), data, acl, ephemeral, parent_cversion })
    };
    let session = SessionId(1);
    let header = TxnHeader { session, cxid: 0, zxid, time_ms: 5, kind: txn.kind() };
    let applied = tree.apply(&header, &txn, &mut ChangeList::default());
    known.digests.insert(zxid, applied.digest);
    let digest = TxnDigest { version: 2, tree_digest: applied.digest as i64 };
    let mut payload = Vec::new();
    encode_payload(&header, &txn, Some(digest), &mut payload);
    log.append(zxid, &payload)
}

fn snapshot(
    disk: &SimDisk,
    dirs: &Dirs,
    tree: &mut Tree,
    mutation: Option<Mutation>,
) -> Result<(), StorageError> {
    let mut walk = tree.begin_snapshot();
    let mut bytes = Vec::new();
    while !tree.walk_snapshot(&mut walk, &mut bytes, 8) {}
    let digest = walk.digest();
    let zxid = walk.zxid();
    tree.end_snapshot(walk);
    let mut writer = SnapshotWriter::begin(disk, dirs, zxid, Compression::None)?;
    if let Some(Mutation::Snapshot(mutation)) = mutation {
        writer.mutate(mutation);
    }
    writer.write(&bytes)?;
    writer.finish(Some(digest))?;
    Ok(())
}

/// What became of one crash state.
enum Verdict {
    Sound,
    /// Refused by the rule about holes; a cut on request led to a sound state.
    SoundAfterCut,
    Violation(String),
}

fn judge(disk: &SimDisk, known: &Known) -> Verdict {
    match judge_once(disk, known) {
        Err(StorageError::Refused { problem, .. }) if problem.contains("sound transaction") => {
            if let Err(error) = cut(disk, &dirs(), RecoverOptions::default().payload_bytes_max) {
                return Verdict::Violation(format!("cannot be cut: {error}"));
            }
            match judge_once(disk, known) {
                Ok(None) => Verdict::SoundAfterCut,
                Ok(Some(violation)) => Verdict::Violation(format!("after the cut: {violation}")),
                Err(error) => Verdict::Violation(format!("refused after the cut: {error}")),
            }
        }
        Err(error) => Verdict::Violation(format!("refused: {error}")),
        Ok(None) => Verdict::Sound,
        Ok(Some(violation)) => Verdict::Violation(violation),
    }
}

fn judge_once(disk: &SimDisk, known: &Known) -> Result<Option<String>, StorageError> {
    dirs().prepare(disk, true)?;
    let mut restore = Restore::new(TreeOptions::default());
    recover(disk, &dirs(), &RecoverOptions::default(), &mut restore)?;
    if let Some((count, first)) = restore.digest_mismatches() {
        return Ok(Some(format!("{count} digests differ, first at {first}")));
    }
    let tree = restore.into_tree();
    let last = tree.last_zxid();
    if last < known.acknowledged {
        return Ok(Some(format!("recovered {last}, acknowledged {}", known.acknowledged)));
    }
    match known.digests.get(&last) {
        _ if last == Zxid::ZERO => Ok(None),
        Some(&digest) if digest == tree.digest() => Ok(None),
        Some(_) => Ok(Some(format!("the tree at {last} is another one"))),
        None => Ok(Some(format!("{last} was never appended"))),
    }
}

#[derive(Debug, Default)]
struct Explored {
    lives: u64,
    states: u64,
    cut: u64,
    violations: Vec<String>,
}

/// Cuts the life of one seed off at every call, or at every `stride`-th.
fn explore(
    seed: u64,
    fate: Fate,
    stride: u64,
    states: u64,
    mutation: Option<Mutation>,
    explored: &mut Explored,
) {
    const BATCHES: u64 = 14;
    let whole = SimDisk::new();
    let mut known = Known::default();
    live(&whole, &mut known, BATCHES, &mut Random(seed), mutation).expect("nothing fails");
    let mut call = 1 + seed % stride;
    while call <= whole.calls() {
        let disk = SimDisk::new();
        disk.plan(call, fate);
        let mut known = Known::default();
        let ended = live(&disk, &mut known, BATCHES, &mut Random(seed), mutation);
        assert!(ended.is_err() || fate != Fate::Crash || disk.has_crashed(), "call {call}");
        explored.lives += 1;
        for draw in 0..states {
            let mut random = Random(seed ^ (call << 20) ^ (draw << 40));
            let after = disk.crash(|choices| random.below(choices));
            explored.states += 1;
            let mut violation = |what: String| {
                if explored.violations.len() < 5 {
                    let at = format!("seed {seed}, {fate:?} at call {call}, state {draw}");
                    explored.violations.push(format!("{at}: {what}"));
                }
            };
            match judge(&after, &known) {
                Verdict::Sound => {}
                Verdict::SoundAfterCut => explored.cut += 1,
                Verdict::Violation(what) => {
                    violation(what);
                    continue;
                }
            }
            // Live on, crash soon again, and judge that too.
            let soon = after.calls() + 1 + random.below(12);
            after.plan(soon, Fate::Crash);
            let mut later = Known { acknowledged: known.acknowledged, ..Known::default() };
            later.digests = known.digests.clone();
            let _ = live(&after, &mut later, 3, &mut random, mutation);
            let again = after.crash(|choices| random.below(choices));
            explored.states += 1;
            match judge(&again, &later) {
                Verdict::Sound => {}
                Verdict::SoundAfterCut => explored.cut += 1,
                Verdict::Violation(what) => violation(format!("the second time: {what}")),
            }
        }
        call += stride;
    }
}

#[test]
fn every_crash_state_recovers() {
    let mut explored = Explored::default();
    for seed in 1..=16 {
        explore(seed, Fate::Crash, 1, 8, None, &mut explored);
    }
    println!(
        "{} lives cut off, {} crash states, {} of them with a hole that was cut on request, {} \
         violations",
        explored.lives,
        explored.states,
        explored.cut,
        explored.violations.len()
    );
    assert_eq!(explored.violations, Vec::<String>::new());
    assert!(explored.states > 20_000, "{explored:?}");
}

#[test]
fn every_failing_call_loses_nothing() {
    let mut explored = Explored::default();
    for seed in 1..=8 {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            explore(seed, Fate::Fail(kind), 1, 2, None, &mut explored);
        }
    }
    println!("{} lives with a failing call, {} states", explored.lives, explored.states);
    assert_eq!(explored.violations, Vec::<String>::new());
}

/// The explorer is worth something only if it finds what is wrong.
#[test]
fn every_mutation_is_caught() {
    let mutations = [
        (Mutation::Log(LogMutation::SkipSync), Fate::Crash),
        (Mutation::Log(LogMutation::SkipDirectorySync), Fate::Crash),
        (Mutation::Log(LogMutation::IgnoreSyncError), Fate::Fail(ErrorKind::Other)),
        (Mutation::Snapshot(SnapshotMutation::RenameBeforeSync), Fate::Crash),
        (Mutation::Snapshot(SnapshotMutation::SkipDirectorySync), Fate::Crash),
    ];
    for (mutation, fate) in mutations {
        let mut explored = Explored::default();
        for seed in 1..=40 {
            explore(seed, fate, 2, 4, Some(mutation), &mut explored);
            if !explored.violations.is_empty() {
                break;
            }
        }
        println!("{mutation:?}: caught after {} states", explored.states);
        assert!(!explored.violations.is_empty(), "{mutation:?} was not caught: {explored:?}");
    }
}

/// A full disk refuses a batch before anything of it is written, and takes it when there is room.
#[test]
fn a_full_disk_keeps_the_batch() {
    let disk = SimDisk::new();
    let mut known = Known::default();
    let dirs = dirs();
    dirs.prepare(&disk, true).unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    snapshot(&disk, &dirs, &mut tree, None).unwrap();
    let mut log = TxnLog::new(Arc::new(disk.clone()), dirs.clone(), options(), Zxid::ZERO);
    let mut random = Random(5);
    disk.set_room(1000);
    append(&mut log, &mut tree, &mut known, &mut random).unwrap();
    let calls = disk.calls();
    for _ in 0..3 {
        let error = log.sync().expect_err("there is no room");
        assert!(error.is_full(), "{error}");
        assert!(error.to_string().contains("1000 bytes left"), "{error}");
    }
    assert_eq!(disk.calls(), calls, "nothing was touched");
    disk.set_room(1 << 30);
    assert_eq!(log.sync().expect("there is room again").last, Zxid::new(1));
    known.acknowledged = Zxid::new(1);
    assert!(matches!(judge(&disk.crash(|_| 0), &known), Verdict::Sound));
}
