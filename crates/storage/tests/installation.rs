//! A snapshot from the leader takes the place of the own history: whatever interrupts that, the
//! server has the old history, up to some transaction, or the new state; never a mixture.

mod support;

use oxikeeper_proto::Zxid;
use oxikeeper_storage::disk::Disk;
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::{Dirs, InstallMutation, RecoverOptions, StorageError, recent_transactions};
use support::crash::crash_states;
use support::past::{Past, load, one_dir, snapshot, two_dirs, write};
use support::{Random, effort};

/// An own history and the leader's: the same up to some transaction, then different ones. The
/// leader's state is sent as of some transaction.
struct Case {
    dirs: Dirs,
    own: Past,
    leaders: Past,
    sent: Zxid,
    disk: SimDisk,
}

impl Case {
    fn new(seed: u64, random: &mut Random) -> Case {
        let dirs = if seed.is_multiple_of(2) { one_dir() } else { two_dirs() };
        let mut common = Past::default();
        common.grow(1, 3 + random.below(6), random);
        let (mut own, mut leaders) = (common.clone(), common);
        own.grow(1, random.below(6), random);
        own.grow(2, random.below(6), random);
        // Sometimes the leader's history is the own one and more.
        if random.below(3) == 0 {
            leaders = own.clone();
        }
        let epoch = if random.below(2) == 0 { leaders.last().epoch() } else { 3 };
        leaders.grow(epoch, random.below(4), random);
        let mut numbers: Vec<Zxid> = leaders.records.iter().map(|record| record.zxid).collect();
        numbers.reverse();
        let sent = numbers[random.below(4) as usize % numbers.len()];
        let disk = SimDisk::new();
        write(&disk, &dirs, &own, random);
        Case { dirs, own, leaders, sent, disk }
    }

    fn install(&self, disk: &SimDisk, mutation: Option<InstallMutation>) -> Result<(), String> {
        let mut tree = self.leaders.until(self.sent).tree();
        let mut walk = tree.begin_snapshot();
        let mut bytes = Vec::new();
        while !tree.walk_snapshot(&mut walk, &mut bytes, 8) {}
        tree.end_snapshot(walk);
        let none = oxikeeper_storage::Compression::None;
        let run = || {
            let mut writer =
                oxikeeper_storage::SnapshotWriter::begin(disk, &self.dirs, self.sent, none)?;
            writer.write(&bytes)?;
            writer.install_mutated(Some(tree.digest()), &RecoverOptions::default(), mutation)
        };
        run().map(|_| ()).map_err(|error| error.to_string())
    }

    /// What is wrong with a disk on which an installation was interrupted, or has ended.
    fn judge(&self, disk: &SimDisk, ended: bool) -> Result<(), String> {
        let (recovered, tree) =
            load(disk, &self.dirs).map_err(|error| format!("refused: {error}"))?;
        let (last, digest) = (recovered.last_zxid, tree.digest());
        let is_new = last == self.sent && self.leaders.digests.get(&last) == Some(&digest);
        let is_old = self.own.digests.get(&last) == Some(&digest);
        // What the own history has up to the place is never given up before the new state is there.
        let kept = self.own.until(self.sent).last();
        if is_new || (is_old && last >= kept && !ended) {
            return Ok(());
        }
        Err(format!("recovered {last}, sent {}, ended {ended}, old {is_old}", self.sent))
    }

    /// The server goes on behind what it has got.
    fn go_on(&self, disk: &SimDisk) -> Result<(), String> {
        let mut later = self.leaders.until(self.sent);
        later.grow(self.sent.epoch() + 3, 3, &mut Random::new(7));
        write(disk, &self.dirs, &later, &mut Random::new(8));
        let after = disk.crash(|_| 0);
        let (recovered, tree) = load(&after, &self.dirs).map_err(|error| error.to_string())?;
        if recovered.last_zxid != later.last() || later.digests[&later.last()] != tree.digest() {
            return Err(format!("later, recovered {}", recovered.last_zxid));
        }
        // Nothing of before can be taken for what led here.
        let recent = recent_transactions(&after, &self.dirs, later.last(), 500, 1 << 20);
        let recent = recent.map_err(|error| error.to_string())?;
        let tail = &later.records[later.records.len() - recent.len().min(later.records.len())..];
        if recent != tail {
            return Err(format!("a list of {} that is not the history's end", recent.len()));
        }
        // If the snapshot is lost, nobody may think that the rest is everything.
        for name in after.list(self.dirs.data()).map_err(|error| error.to_string())? {
            if name.starts_with("snapshot.") {
                after.remove(&self.dirs.data().join(&name)).map_err(|error| error.to_string())?;
                match load(&after, &self.dirs) {
                    Ok((recovered, tree)) => {
                        let digest = tree.digest();
                        let is_right = later.digests.get(&recovered.last_zxid) == Some(&digest);
                        if !is_right && recovered.last_zxid != Zxid::ZERO {
                            return Err(format!("without {name}: {}", recovered.last_zxid));
                        }
                    }
                    // It was taken for complete, and only the digests tell.
                    Err(StorageError::Unreadable(what)) => {
                        return Err(format!("without {name}: {what}"));
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

fn explore(seed: u64, mutation: Option<InstallMutation>) -> (u64, Vec<String>) {
    let mut random = Random::new(seed);
    let case = Case::new(seed, &mut random);
    let (mut states, mut wrong) = (0, Vec::new());
    let mut call = 1;
    loop {
        let disk = case.disk.kill();
        disk.plan(call, Fate::Crash);
        let ended = case.install(&disk, mutation).is_ok();
        let place = format!("seed {seed}, call {call} of {:?}", disk.trace().last());
        crash_states(&disk, 6, &mut random, |after, choices| {
            states += 1;
            let again = || {
                case.judge(&after, ended)?;
                if !ended {
                    case.install(&after, mutation)?;
                    let again = after.crash(|_| 0);
                    case.judge(&again, true)?;
                    return case.go_on(&again);
                }
                case.go_on(&after)
            };
            if let Err(what) = again() {
                wrong.push(format!("{place}, choices {choices:?}: {what}"));
            }
            // The start after an interruption may be all that ends it.
            let after = disk.crash(|size| random_choice(seed, size));
            if load(&after, &case.dirs).is_ok_and(|(r, _)| r.last_zxid == case.sent)
                && case.judge(&after, true).is_ok()
                && let Err(what) = case.go_on(&after)
            {
                wrong.push(format!("{place}, after a start: {what}"));
            }
        });
        if ended {
            return (states, wrong);
        }
        call += 1;
    }
}

fn random_choice(seed: u64, size: u64) -> u64 {
    Random::new(seed ^ size).below(size)
}

#[test]
fn every_crash_state_is_the_old_history_or_the_new_state() {
    let (mut states, mut wrong) = (0, Vec::new());
    for seed in 1..=40 * effort() {
        let (count, violations) = explore(seed, None);
        states += count;
        wrong.extend(violations);
    }
    println!("{states} states, {} violations", wrong.len());
    wrong.truncate(5);
    assert_eq!(wrong, Vec::<String>::new());
    assert!(states > 1000, "{states}");
}

#[test]
fn every_mutation_is_caught() {
    for mutation in [
        InstallMutation::NameFirst,
        InstallMutation::KeepTail,
        InstallMutation::SkipDirectorySync,
        InstallMutation::KeepOld,
    ] {
        let caught = (1..80).find_map(|seed| explore(seed, Some(mutation)).1.into_iter().next());
        println!("{mutation:?}: {}", caught.expect("caught within 80 histories"));
    }
}

#[test]
fn a_server_without_a_past_gets_one() {
    let (disk, dirs) = (SimDisk::new(), one_dir());
    dirs.prepare(&disk, true).unwrap();
    let mut past = Past::default();
    past.grow(2, 5, &mut Random::new(4));
    let mut tree = past.tree();
    let writer = snapshot(&disk, &dirs, &mut tree);
    writer.install(Some(tree.digest()), &RecoverOptions::default()).unwrap();
    let names = disk.list(dirs.data()).unwrap();
    assert_eq!(names, ["snapshot.200000005"]);
    assert_eq!(load(&disk.crash(|_| 0), &dirs).unwrap().0.last_zxid, past.last());
}
