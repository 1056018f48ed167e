//! Damage in the logs of a server of an ensemble: everything from there on is set aside, nothing is deleted,
//! and the directory says that it is not whole until a snapshot of a leader is in place; also if that is
//! interrupted at any call.

mod support;

use std::path::PathBuf;

use oxikeeper_proto::Zxid;
use oxikeeper_storage::disk::{Disk, DiskFile};
use oxikeeper_storage::incomplete::{drop_damage, is_incomplete, is_whole_again};
use oxikeeper_storage::log_reader::LogReader;
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::{Dirs, RecoverOptions, StorageError};
use oxikeeper_tree::{Restore, TreeOptions};
use support::crash::crash_states;
use support::past::{Past, load, one_dir, two_dirs, write};
use support::{Random, effort};

/// A directory with several logs, and a bit of one of them changed, before that log's last record.
fn damaged(seed: u64, random: &mut Random) -> Option<(SimDisk, Dirs, Past)> {
    let dirs = if seed.is_multiple_of(2) { one_dir() } else { two_dirs() };
    let (disk, mut past) = (SimDisk::new(), Past::default());
    past.grow(1, 6 + random.below(10), random);
    past.grow(2, random.below(6), random);
    write(&disk, &dirs, &past, random);
    let logs = logs(&disk, &dirs);
    let path = &logs[random.below(logs.len() as u64) as usize];
    let mut reader = LogReader::open(&disk, path, 1 << 20).unwrap();
    let mut places = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        places.push(record.position);
    }
    let (last, earlier) = places.split_last()?;
    let at = earlier.first()? + random.below(last - earlier.first()?);
    let file = disk.open_to_write(path).unwrap();
    let mut byte = [0];
    file.read_at(at, &mut byte).unwrap();
    file.write_at(at, &[byte[0] ^ 1 << random.below(8)]).unwrap();
    file.sync().unwrap();
    Some((disk, dirs, past))
}

fn logs(disk: &SimDisk, dirs: &Dirs) -> Vec<PathBuf> {
    let names = disk.list(dirs.log()).unwrap();
    names.iter().filter(|name| name.starts_with("log.")).map(|name| dirs.log().join(name)).collect()
}

/// What a server does at its start. True if there was damage to drop.
fn start(disk: &SimDisk, dirs: &Dirs) -> Result<(bool, Zxid, u64), StorageError> {
    let mut has_dropped = false;
    loop {
        match load(disk, dirs) {
            Err(StorageError::Refused { cut_at: Some(_), .. }) => {
                let mut restore = Restore::new(TreeOptions::default());
                drop_damage(disk, dirs, &RecoverOptions::default(), &mut restore)?;
                has_dropped = true;
            }
            other => return other.map(|(r, tree)| (has_dropped, r.last_zxid, tree.digest())),
        }
    }
}

fn bytes(disk: &SimDisk, dirs: &Dirs) -> u64 {
    let names = disk.list(dirs.log()).unwrap();
    let is_log = |name: &&String| name.starts_with("log.") || name.starts_with("damaged.log.");
    let len = |name: &String| disk.open(&dirs.log().join(name)).unwrap().len().unwrap();
    names.iter().filter(is_log).map(len).sum()
}

#[test]
fn what_stands_behind_damage_is_set_aside_and_the_server_says_so() {
    let mut random = Random::new(11);
    let (mut dropped, mut passed_over) = (0, 0);
    for seed in 0..300 * effort() {
        let Some((disk, dirs, past)) = damaged(seed, &mut random) else { continue };
        let before = bytes(&disk, &dirs);
        let (has_dropped, last, digest) =
            start(&disk, &dirs).unwrap_or_else(|e| panic!("{seed}: {e}"));
        assert_eq!(past.digests.get(&last), Some(&digest), "{seed}: a prefix of the history");
        assert_eq!(is_incomplete(&disk, &dirs).unwrap(), has_dropped, "{seed}");
        assert!(bytes(&disk, &dirs) >= before, "{seed}: nothing is deleted");
        if !has_dropped {
            passed_over += 1;
            assert_eq!(last, past.last(), "{seed}: damage that no recovery looks at");
            continue;
        }
        dropped += 1;
        assert_eq!(start(&disk, &dirs).unwrap(), (false, last, digest), "{seed}: and again");
        assert!(is_incomplete(&disk, &dirs).unwrap(), "{seed}: it still says so");
        is_whole_again(&disk, &dirs).unwrap();
        assert!(!is_incomplete(&disk.crash(|_| 0), &dirs).unwrap(), "{seed}: for good");
    }
    assert!(dropped >= 20 && passed_over >= 5, "{dropped} {passed_over}");
}

#[test]
fn a_start_that_is_interrupted_never_forgets_that_something_is_missing() {
    let mut random = Random::new(12);
    let mut states = 0u64;
    for seed in 0..25 * effort() {
        let Some((sound, dirs, past)) = damaged(seed, &mut random) else { continue };
        let whole = past.last();
        for call in 1.. {
            let disk = sound.kill();
            let first = disk.calls();
            disk.plan(first + call, Fate::Crash);
            let ended = start(&disk, &dirs).is_ok();
            crash_states(&disk, 40, &mut random, |left, _| {
                states += 1;
                let (_, last, digest) =
                    start(&left, &dirs).unwrap_or_else(|e| panic!("{seed} {call}: {e}"));
                assert_eq!(past.digests.get(&last), Some(&digest), "{seed} {call}");
                let knows = is_incomplete(&left, &dirs).unwrap();
                assert!(
                    knows || last == whole,
                    "{seed} {call}: ends at {last} and claims to be whole"
                );
            });
            if ended {
                break;
            }
        }
    }
    assert!(states > 500, "{states}");
}
