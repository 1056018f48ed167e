//! TRUNC: whatever interrupts it, what was cut never comes back, what was not is there, and doing it
//! again ends it.

mod support;

use oxikeeper_proto::Zxid;
use oxikeeper_storage::disk::{Disk, DiskFile};
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::{
    Dirs, RecoverOptions, SnapshotWriter, TruncateMutation, truncate_log, truncate_log_mutated,
};
use support::crash::crash_states;
use support::past::{Past, load, one_dir, snapshot, two_dirs, write};
use support::{Random, effort};

/// What is wrong with a disk on which a truncation to `to` was interrupted, or has ended.
fn judge(disk: &SimDisk, dirs: &Dirs, past: &Past, to: Zxid, ended: bool) -> Result<(), String> {
    let (recovered, tree) = load(disk, dirs).map_err(|error| format!("refused: {error}"))?;
    let last = recovered.last_zxid;
    if last < to || (ended && last > to) {
        return Err(format!("recovered {last}, cut at {to}, ended {ended}"));
    }
    match past.digests.get(&last) {
        Some(&digest) if digest == tree.digest() => Ok(()),
        _ => Err(format!("the tree at {last} is none of the history's")),
    }
}

/// Cuts one history at one place, interrupted at every call.
fn explore(seed: u64, mutation: Option<TruncateMutation>) -> (u64, Vec<String>) {
    let mut random = Random::new(seed);
    let dirs = if seed.is_multiple_of(2) { one_dir() } else { two_dirs() };
    let mut past = Past::default();
    for epoch in 1..=1 + random.below(2) as u32 {
        past.grow(epoch, 4 + random.below(14), &mut random);
    }
    let whole = SimDisk::new();
    write(&whole, &dirs, &past, &mut random);
    let to = past.records[random.below(past.records.len() as u64) as usize].zxid;
    let options = RecoverOptions::default();
    let run = |disk: &SimDisk| truncate_log_mutated(disk, &dirs, &options, to, mutation);
    let (mut states, mut wrong) = (0, Vec::new());
    let mut call = 1;
    loop {
        let disk = whole.kill();
        disk.plan(call, Fate::Crash);
        let ended = run(&disk).is_ok();
        let place = format!("seed {seed}, to {to}, call {call} of {:?}", disk.trace().last());
        crash_states(&disk, 6, &mut random, |after, choices| {
            states += 1;
            let again = || {
                judge(&after, &dirs, &past, to, ended)?;
                // The next attempt ends it, and the log goes on from there in a new epoch.
                run(&after).map_err(|error| format!("not repeatable: {error}"))?;
                let after = after.crash(|_| 0);
                judge(&after, &dirs, &past, to, true)?;
                let mut later = past.until(to);
                later.grow(to.epoch() + 3, 3, &mut Random::new(seed));
                write(&after, &dirs, &later, &mut Random::new(seed));
                judge(&after.crash(|_| 0), &dirs, &later, later.last(), true)
            };
            if let Err(what) = again() {
                wrong.push(format!("{place}, choices {choices:?}: {what}"));
            }
        });
        if ended {
            return (states, wrong);
        }
        call += 1;
    }
}

#[test]
fn every_crash_state_is_a_prefix_and_ends_at_the_place() {
    let (mut states, mut wrong) = (0, Vec::new());
    for seed in 1..=40 * effort() {
        let (count, violations) = explore(seed, None);
        states += count;
        wrong.extend(violations);
    }
    println!("{states} states, {} violations", wrong.len());
    assert_eq!(wrong, Vec::<String>::new());
    assert!(states > 1000, "{states}");
}

#[test]
fn every_mutation_is_caught() {
    for mutation in [
        TruncateMutation::LeaveNewerSnapshot,
        TruncateMutation::SkipDirectorySync,
        TruncateMutation::RemoveOldestFirst,
    ] {
        let caught = (1..60).find_map(|seed| explore(seed, Some(mutation)).1.into_iter().next());
        println!("{mutation:?}: {}", caught.expect("caught within 60 histories"));
    }
}

#[test]
fn a_place_that_is_not_in_the_history_is_the_one_before_it() {
    let mut past = Past::default();
    past.grow(1, 5, &mut Random::new(1));
    past.grow(3, 5, &mut Random::new(2));
    for (to, last) in [((1, 6), (1, 5)), ((2, 1), (1, 5)), ((3, 0), (1, 5)), ((3, 9), (3, 5))] {
        let (disk, dirs) = (SimDisk::new(), one_dir());
        write(&disk, &dirs, &past, &mut Random::new(3));
        let [to, last] = [to, last].map(|(epoch, counter)| Zxid::from_parts(epoch, counter));
        let cut = truncate_log(&disk, &dirs, &RecoverOptions::default(), to).unwrap();
        assert_eq!(cut.last, last);
        judge(&disk, &dirs, &past.until(last), last, true).unwrap();
    }
}

#[test]
fn a_place_to_which_nothing_leads_changes_nothing() {
    let (disk, dirs) = (SimDisk::new(), one_dir());
    let mut past = Past::default();
    past.grow(1, 5, &mut Random::new(1));
    dirs.prepare(&disk, true).unwrap();
    let mut tree = past.tree();
    snapshot(&disk, &dirs, &mut tree).finish(Some(tree.digest())).unwrap();
    let calls = disk.calls();
    let to = Zxid::from_parts(1, 3);
    let error = truncate_log(&disk, &dirs, &RecoverOptions::default(), to).unwrap_err();
    assert!(error.to_string().contains("do not lead to 0x100000003"), "{error}");
    assert_eq!(disk.calls(), calls, "nothing was touched");
}

/// A snapshot that Apache wrote while it applied transactions holds some beyond its name.
#[test]
fn a_snapshot_that_holds_what_is_cut_is_no_ground_to_stand_on() {
    let (disk, dirs) = (SimDisk::new(), one_dir());
    let mut past = Past::default();
    past.grow(1, 6, &mut Random::new(1));
    dirs.prepare(&disk, true).unwrap();
    // The file says 0x100000004 in its name and was written until 0x100000006.
    let mut tree = past.tree();
    let writer: SnapshotWriter<'_, SimDisk> = snapshot(&disk, &dirs, &mut tree);
    let path = writer.finish(Some(tree.digest())).unwrap().path;
    disk.rename(&path, &dirs.data().join("snapshot.100000004")).unwrap();
    let to = Zxid::from_parts(1, 5);
    let error = truncate_log(&disk, &dirs, &RecoverOptions::default(), to).unwrap_err();
    assert!(error.to_string().contains("holds transactions up to 0x100000006"), "{error}");
}

#[test]
fn the_cut_file_ends_with_its_last_record() {
    let (disk, dirs) = (SimDisk::new(), one_dir());
    let mut past = Past::default();
    past.grow(1, 8, &mut Random::new(1));
    dirs.prepare(&disk, true).unwrap();
    let mut empty = Past::default().tree();
    snapshot(&disk, &dirs, &mut empty).finish(Some(empty.digest())).unwrap();
    let mut log = oxikeeper_storage::TxnLog::new(
        std::sync::Arc::new(disk.clone()),
        dirs.clone(),
        oxikeeper_storage::LogOptions::default(),
        Zxid::ZERO,
    );
    for record in &past.records {
        log.append(record.zxid, &record.payload).unwrap();
    }
    log.sync().unwrap();
    let to = Zxid::from_parts(1, 3);
    let cut = truncate_log(&disk, &dirs, &RecoverOptions::default(), to).unwrap();
    let path = dirs.log().join("log.100000001");
    assert_eq!((cut.last, &cut.changed), (to, &vec![path.clone()]));
    let records: u64 = past.records[..3].iter().map(|r| r.payload.len() as u64 + 13).sum();
    assert_eq!(disk.open(&path).unwrap().len().unwrap(), 16 + records);
    assert_eq!(
        truncate_log(&disk, &dirs, &RecoverOptions::default(), to).unwrap().changed,
        [] as [std::path::PathBuf; 0]
    );
}
