//! Disks that fill up, that cannot be read, and that fail under the operator's hands.

mod support;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use oxikeeper_proto::Zxid;
use oxikeeper_storage::check::cut;
use oxikeeper_storage::disk::{Disk, DiskFile};
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::{Progress, RecoverOptions, StorageError, TxnLog, epoch_file};
use oxikeeper_tree::{Restore, Tree, TreeOptions};
use support::Random;
use support::crash::{Verdict, crash_states, judge, judge_once};
use support::life::{Known, Plan, append, live, log_options, prepare, preparer, snapshot};

/// A directory with a snapshot of the empty tree, and a log to begin.
fn begin(disk: &SimDisk, plan: &Plan) -> (Tree, TxnLog<SimDisk>) {
    plan.dirs.prepare(disk, true).unwrap();
    let mut tree = Tree::new(TreeOptions::default());
    snapshot(disk, plan, &mut tree).unwrap();
    let log = TxnLog::new(Arc::new(disk.clone()), plan.dirs.clone(), log_options(), Zxid::ZERO);
    (tree, log)
}

/// A full disk refuses a batch before anything of it is written, and takes it when there is room.
#[test]
fn a_full_disk_keeps_the_batch() {
    let (disk, plan, mut known) = (SimDisk::new(), Plan::new(1, 0, None), Known::default());
    let (mut tree, mut log) = begin(&disk, &plan);
    let mut random = Random::new(5);
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
    assert!(matches!(judge(&disk.crash(|_| 0), &plan, &known), Verdict::Sound));
}

/// What was prepared ahead is used up to its end; only then are batches refused, and the reserve is
/// still there.
#[test]
fn prepared_room_is_used_before_batches_are_refused() {
    let (disk, plan, mut known) = (SimDisk::new(), Plan::new(1, 0, None), Known::default());
    let (mut tree, mut log) = begin(&disk, &plan);
    let mut preparer = preparer(&disk, &plan);
    let mut random = Random::new(5);
    append(&mut log, &mut tree, &mut known, &mut random).unwrap();
    log.sync().unwrap();
    while prepare(&mut log, &mut preparer) {}
    assert!(!log.wants_prepared(), "the next file is ready");
    disk.set_room(100);
    let mut batches = 0;
    let error = loop {
        append(&mut log, &mut tree, &mut known, &mut random).unwrap();
        match log.sync() {
            Ok(stats) => known.acknowledged = stats.last,
            Err(error) => break error,
        }
        batches += 1;
    };
    assert!(error.is_full(), "{error}");
    assert!(batches > 8, "{batches} fit into what was prepared");
    assert!(disk.free_bytes(plan.dirs.log()).unwrap() >= 100, "the reserve is untouched");
    assert!(log.wants_prepared());
    assert!(matches!(preparer.step(), Progress::Failed), "there is no room for a further file");
    disk.set_room(1 << 30);
    while prepare(&mut log, &mut preparer) {}
    assert!(!log.wants_prepared(), "with room again it is prepared after all");
    known.acknowledged = log.sync().expect("the batch that waited").last;
    assert!(matches!(judge(&disk.crash(|_| 0), &plan, &known), Verdict::Sound));
}

/// After a failure nobody knows what is on disk: the log must not be gone on with.
#[test]
fn a_log_that_failed_stays_failed() {
    for call in ["write", "sync"] {
        let (disk, plan, mut known) = (SimDisk::new(), Plan::new(1, 0, None), Known::default());
        let (mut tree, mut log) = begin(&disk, &plan);
        let mut random = Random::new(5);
        append(&mut log, &mut tree, &mut known, &mut random).unwrap();
        log.sync().unwrap();
        append(&mut log, &mut tree, &mut known, &mut random).unwrap();
        disk.plan(disk.calls() + if call == "write" { 1 } else { 2 }, Fate::Fail(ErrorKind::Other));
        let error = log.sync().expect_err("the disk fails");
        assert!(matches!(error, StorageError::Io { .. }), "{error}");
        let calls = disk.calls();
        assert!(matches!(log.sync(), Err(StorageError::LogFailed { .. })));
        assert!(!log.wants_prepared());
        assert_eq!(disk.calls(), calls, "nothing is tried again");
    }
}

#[test]
fn a_zxid_that_cannot_follow_is_refused() {
    let (disk, plan) = (SimDisk::new(), Plan::new(1, 0, None));
    let (_, mut log) = begin(&disk, &plan);
    log.append(Zxid::new(1), &[0; 32]).unwrap();
    for zxid in [0, 1, 3] {
        let error = log.append(Zxid::new(zxid), &[0; 32]).expect_err("out of order");
        assert!(matches!(error, StorageError::OutOfOrder { .. }), "{error}");
    }
    log.append(Zxid::new(0x1_0000_0001), &[0; 32]).expect("a later epoch");
}

/// A file that cannot be read is an error or leads to the same state by another way; it is never
/// taken for the end of what there is.
#[test]
fn failing_reads_never_lose_anything() {
    let (mut states, mut errors) = (0, 0);
    for seed in 1..=6 {
        let (disk, plan, mut known) = (SimDisk::new(), Plan::new(seed, 14, None), Known::default());
        live(&disk, &plan, &mut known, &mut Random::new(seed)).unwrap();
        let whole = disk.kill();
        judge_once(&whole, &plan, &known).unwrap();
        for read in 1..=whole.reads() {
            let state = disk.kill();
            state.plan_read(read, ErrorKind::Other);
            states += 1;
            match judge_once(&state, &plan, &known) {
                Ok(None) => {}
                Ok(Some(violation)) => panic!("seed {seed}, read {read}: {violation}"),
                Err(_) => errors += 1,
            }
        }
    }
    println!("{states} failing reads, {errors} of them end the recovery");
    assert!(errors > states / 4, "{errors} of {states}");
}

/// A cut may be interrupted anywhere, and then be made again.
#[test]
fn a_cut_can_be_interrupted_anywhere() {
    let plan = Plan::new(1, 0, None);
    let options = RecoverOptions::default();
    let damaged = || {
        let disk = SimDisk::new();
        let mut known = Known::default();
        let (mut tree, mut log) = begin(&disk, &plan);
        let mut random = Random::new(9);
        for _ in 0..3 {
            for _ in 0..4 {
                append(&mut log, &mut tree, &mut known, &mut random).unwrap();
                log.sync().unwrap();
            }
            log.roll().unwrap();
        }
        // The end mark of the second record of the second file.
        let path = plan.dirs.log().join("log.5");
        let file = disk.open(&path).unwrap();
        let mut prefix = [0; 12];
        file.read_at(16, &mut prefix).unwrap();
        let first = 13 + u64::from(u32::from_be_bytes(prefix[8..].try_into().unwrap()));
        file.write_at(16 + first + 20, &[0xff]).unwrap();
        file.sync().unwrap();
        known.acknowledged = Zxid::new(5);
        (disk, known)
    };
    let cut_now = |disk: &SimDisk| {
        let mut restore = Restore::new(TreeOptions::default());
        cut(disk, &plan.dirs, &options, &mut restore)
    };
    let (whole, known) = damaged();
    let before = whole.calls();
    let done = cut_now(&whole).unwrap().expect("there is something to cut");
    let calls = whole.calls() - before;
    assert_eq!(done.file, plan.dirs.log().join("log.5"));
    let mut names: Vec<&str> =
        done.set_aside.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["damaged.log.5", "damaged.log.9"]);
    assert_eq!(judge_once(&whole, &plan, &known).unwrap(), None);
    assert!(cut_now(&whole).unwrap().is_none(), "once is enough");
    let mut states = 0;
    for call in 1..=calls {
        let (disk, known) = damaged();
        disk.plan(disk.calls() + call, Fate::Crash);
        cut_now(&disk).expect_err("the power goes");
        let mut random = Random::new(call);
        let mut look = |state: SimDisk, choices: &[u64]| {
            states += 1;
            cut_now(&state).unwrap_or_else(|e| panic!("call {call}, {choices:?}: {e}"));
            let verdict = judge_once(&state, &plan, &known);
            match verdict {
                Ok(None) => {}
                other => panic!("call {call}, {choices:?}: {other:?}"),
            }
            let names = state.list(plan.dirs.log()).unwrap();
            assert!(names.iter().any(|name| name.starts_with("damaged.log.5")), "{names:?}");
        };
        look(disk.kill(), &[]);
        crash_states(&disk, 40, &mut random, look);
    }
    println!("{states} states of interrupted cuts");
}

/// Writes as a careless program would.
type EpochWriter = fn(&SimDisk, &Path, i64);

fn epoch_states(write: EpochWriter) -> Result<u64, String> {
    let dir = Path::new("/srv/data/version-2");
    let fresh = || {
        let disk = SimDisk::new();
        disk.create_dirs(dir).unwrap();
        for above in dir.ancestors().skip(1) {
            disk.sync_dir(above).unwrap();
        }
        epoch_file::write(&disk, dir, "currentEpoch", 41).unwrap();
        disk
    };
    let whole = fresh();
    let before = whole.calls();
    write(&whole, dir, 42);
    let mut states = 0;
    let mut problem = None;
    for call in 1..=whole.calls() - before + 1 {
        let disk = fresh();
        disk.plan(disk.calls() + call, Fate::Crash);
        write(&disk, dir, 42);
        let returned = !disk.has_crashed();
        crash_states(&disk, 64, &mut Random::new(call), |state, choices| {
            states += 1;
            match epoch_file::read(&state, dir, "currentEpoch") {
                Ok(Some(42)) => {}
                Ok(Some(41)) if !returned => {}
                other => {
                    problem.get_or_insert(format!("call {call}, {choices:?}: {other:?}"));
                }
            }
        });
    }
    problem.map_or(Ok(states), Err)
}

#[test]
fn an_epoch_is_the_old_or_the_new_one_and_the_new_one_once_written() {
    let states = epoch_states(|disk, dir, epoch| {
        // A disk that crashes is no problem of the writer's.
        let _ = epoch_file::write(disk, dir, "currentEpoch", epoch);
    });
    println!("{} states of an epoch file", states.expect("no violation"));
}

#[test]
fn careless_epoch_writers_are_caught() {
    let in_place: EpochWriter = |disk, dir, epoch| {
        let path = dir.join("currentEpoch");
        if let Ok(file) = disk.create(&path) {
            let _ = file.write_at(0, epoch.to_string().as_bytes());
            let _ = file.sync();
            let _ = disk.sync_dir(dir);
        }
    };
    let without_sync: EpochWriter = |disk, dir, epoch| {
        let (path, temporary) = (dir.join("currentEpoch"), dir.join("currentEpoch.tmp"));
        if let Ok(file) = disk.create(&temporary) {
            let _ = file.write_at(0, epoch.to_string().as_bytes());
            let _ = disk.rename(&temporary, &path);
            let _ = disk.sync_dir(dir);
        }
    };
    let without_directory: EpochWriter = |disk, dir, epoch| {
        let (path, temporary) = (dir.join("currentEpoch"), dir.join("currentEpoch.tmp"));
        if let Ok(file) = disk.create(&temporary) {
            let _ = file.write_at(0, epoch.to_string().as_bytes());
            let _ = file.sync();
            let _ = disk.rename(&temporary, &path);
        }
    };
    for writer in [in_place, without_sync, without_directory] {
        let caught = epoch_states(writer).expect_err("this writer loses the epoch");
        println!("caught: {caught}");
    }
}
