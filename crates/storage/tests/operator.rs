//! What an operator meets: directories that were mixed up or cannot be used, cuts, purges, and
//! damage whose verdict depends on what else is there. On copies of real directories.

use std::fs;
use std::path::{Path, PathBuf};

use oxikeeper_storage::check::{cut, summarize_logs};
use oxikeeper_storage::{
    Dirs, RealDisk, RecoverOptions, Recovered, StorageError, clean_up, purge, recover,
};
use oxikeeper_tree::{Restore, Tree, TreeOptions};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/datadir/apache-3.9.5").join(name)
}

/// A copy of a directory, without some files.
fn copy(name: &str, without: &[&str]) -> (TempDir, Dirs) {
    let copy = tempfile::tempdir().expect("a temporary directory");
    let target = copy.path().join("version-2");
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(fixture(name).join("version-2")).unwrap() {
        let entry = entry.unwrap();
        let file = entry.file_name();
        if !without.contains(&file.to_str().unwrap()) {
            fs::copy(entry.path(), target.join(&file)).unwrap();
        }
    }
    let dirs = Dirs::new(copy.path(), copy.path());
    (copy, dirs)
}

fn open(dirs: &Dirs) -> Result<(Recovered, Tree), StorageError> {
    let mut restore = Restore::new(TreeOptions::default());
    let recovered = recover(&RealDisk, dirs, &RecoverOptions::default(), &mut restore)?;
    Ok((recovered, restore.into_tree()))
}

fn cut_now(dirs: &Dirs) -> Option<oxikeeper_storage::check::Cut> {
    let mut restore = Restore::new(TreeOptions::default());
    cut(&RealDisk, dirs, &RecoverOptions::default(), &mut restore).expect("the disk is fine")
}

fn names(dirs: &Dirs) -> Vec<String> {
    let entries = fs::read_dir(dirs.log()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn change(dirs: &Dirs, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dirs.log().join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

/// Every refusal that names the cut is mended by it, and keeps what stands before the damage.
#[test]
fn a_cut_does_what_the_refusal_promises() {
    for (dir, last) in [
        ("corrupt-log/len-garbage", 0x10),
        ("corrupt-log/len-negative", 0x10),
        ("corrupt-log/torn-hole-mid", 0xd),
        ("corrupt-log/unknown-type", 0x10),
        ("corrupt-log/zxid-regress", 0x11),
        ("torn-tail/eor-zero-mid", 0xd),
    ] {
        let (_copy, dirs) = copy(dir, &[]);
        let refusal = open(&dirs).expect_err(dir).to_string();
        assert!(refusal.contains("check --cut"), "{dir}: {refusal}");
        let original = fs::read(dirs.log().join("log.c")).unwrap();
        let done = cut_now(&dirs).unwrap_or_else(|| panic!("{dir}: nothing was cut"));
        assert_eq!(fs::read(&done.set_aside[0]).unwrap(), original, "{dir}: the original is kept");
        let (recovered, tree) = open(&dirs).unwrap_or_else(|e| panic!("{dir}: {e}"));
        assert_eq!(recovered.last_zxid.raw(), last, "{dir}");
        tree.check_invariants();
        assert_eq!(cut_now(&dirs), None, "{dir}");
    }
}

/// What no cut can mend says nothing of cuts, and a cut then changes nothing.
#[test]
fn a_cut_leaves_alone_what_it_cannot_mend() {
    for dir in ["corrupt-log/gap-in-epoch", "corrupt-log/missing-middle-log", "mini", "plain"] {
        let (_copy, dirs) = copy(dir, &[]);
        if let Err(refusal) = open(&dirs) {
            assert!(!refusal.to_string().contains("--cut"), "{dir}: {refusal}");
        }
        let before = names(&dirs);
        assert_eq!(cut_now(&dirs), None, "{dir}");
        assert_eq!(names(&dirs), before, "{dir}");
    }
}

/// Rot in a log that lies wholly before the snapshot in use concerns nobody, least of all a cut.
#[test]
fn old_damage_is_not_cut() {
    let (_copy, dirs) = copy("mini", &[]);
    change(&dirs, "log.1", |bytes| bytes[60] ^= 1);
    let summaries = summarize_logs(&RealDisk, &dirs, 1 << 20).unwrap();
    assert!(format!("{summaries:?}").contains("Hole"), "the damage is shown: {summaries:?}");
    assert_eq!(cut_now(&dirs), None);
    assert_eq!(open(&dirs).expect("sound").0.last_zxid.raw(), 0x11);
    // And when something is cut, only from there on.
    change(&dirs, "log.c", |bytes| bytes[120] ^= 1);
    assert!(open(&dirs).is_err());
    cut_now(&dirs).expect("log.c is cut");
    assert!(names(&dirs).contains(&"log.7".to_owned()));
    assert!(open(&dirs).expect("mended").0.last_zxid.raw() >= 0xb);
}

/// A snapshot that cannot be used still proves that there was a state up to its zxid.
#[test]
fn a_bad_snapshot_does_not_hide_what_is_missing() {
    let (_copy, dirs) = copy("corrupt-snapshot/snap-trunc", &["log.7", "log.c"]);
    let refusal = open(&dirs).expect_err("0x7 to 0xb are gone").to_string();
    assert!(refusal.contains("snapshot.b is damaged") || refusal.contains("snapshot.b cannot"));
    assert!(refusal.contains("lead to 0x6 only"), "{refusal}");
    assert!(refusal.contains("up to 0xb would be lost"), "{refusal}");
    // The way out that it names.
    fs::rename(dirs.data().join("snapshot.b"), dirs.data().join("moved")).unwrap();
    assert_eq!(open(&dirs).expect("given up").0.last_zxid.raw(), 6);
}

/// A new leader's snapshot is named after its epoch. No transaction stands behind that name.
#[test]
fn a_bad_snapshot_of_a_new_leader_is_passed_over() {
    let (_copy, dirs) = copy("mini", &[]);
    fs::write(dirs.data().join("snapshot.100000000"), b"ZKSN").unwrap();
    assert_eq!(open(&dirs).expect("an older one leads there").0.last_zxid.raw(), 0x11);
}

/// A first sector of zeros is what a crash leaves of a file whose first batch was not synced.
#[test]
fn a_lost_first_sector_holds_nothing_unless_something_sound_follows() {
    let (_copy, dirs) = copy("mini", &[]);
    let mut lost = vec![0; 512];
    lost.extend_from_slice(&[0x5a; 700]);
    fs::write(dirs.log().join("log.12"), &lost).unwrap();
    let (recovered, _) = open(&dirs).expect("nothing sound in log.12");
    assert_eq!(recovered.last_zxid.raw(), 0x11);
    clean_up(&RealDisk, &dirs, &recovered).unwrap();
    assert!(names(&dirs).contains(&"damaged.log.12".to_owned()), "{:?}", names(&dirs));
    assert!(!names(&dirs).contains(&"log.12".to_owned()));
    // The same with a record behind the lost sector: it may have been acknowledged.
    let record = &fs::read(dirs.log().join("log.c")).unwrap()[16..];
    lost.truncate(512);
    lost.extend_from_slice(record);
    fs::rename(dirs.log().join("log.c"), dirs.log().join("kept")).unwrap();
    fs::write(dirs.log().join("log.c"), &lost).unwrap();
    let refusal = open(&dirs).expect_err("sound records follow").to_string();
    assert!(refusal.contains("at byte 0 of") && refusal.contains("sound"), "{refusal}");
}

/// Setting files aside never overwrites one that was set aside before.
#[test]
fn files_set_aside_are_kept() {
    let (_copy, dirs) = copy("corrupt-log/short-header-last-log", &[]);
    fs::write(dirs.log().join("damaged.log.12"), b"earlier").unwrap();
    let (recovered, _) = open(&dirs).unwrap();
    clean_up(&RealDisk, &dirs, &recovered).unwrap();
    assert_eq!(fs::read(dirs.log().join("damaged.log.12")).unwrap(), b"earlier");
    assert_eq!(fs::read(dirs.log().join("damaged.log.12.1")).unwrap().len(), 6);
}

#[test]
fn temporary_files_of_a_crash_are_removed_and_others_are_not() {
    let (_copy, dirs) = copy("mini", &[]);
    for name in ["tmp.snapshot.12", "tmp.log.next", "notes.txt", "currentEpoch.tmp"] {
        fs::write(dirs.log().join(name), b"1").unwrap();
    }
    let before = fs::read(dirs.log().join("log.c")).unwrap();
    let (recovered, _) = open(&dirs).unwrap();
    clean_up(&RealDisk, &dirs, &recovered).unwrap();
    let left = names(&dirs);
    assert!(!left.iter().any(|name| name.starts_with("tmp.")), "{left:?}");
    assert!(
        left.contains(&"notes.txt".to_owned()) && left.contains(&"currentEpoch.tmp".to_owned())
    );
    assert_eq!(fs::read(dirs.log().join("log.c")).unwrap(), before, "written again as it was");
}

#[test]
fn purge_keeps_what_the_kept_snapshots_need() {
    for (retain, left) in [
        (1, vec!["log.7", "log.c", "snapshot.b"]),
        (2, vec!["log.1", "log.7", "log.c", "snapshot.6", "snapshot.b"]),
        (3, vec!["log.1", "log.7", "log.c", "snapshot.0", "snapshot.6", "snapshot.b"]),
        (9, vec!["log.1", "log.7", "log.c", "snapshot.0", "snapshot.6", "snapshot.b"]),
    ] {
        let (_copy, dirs) = copy("mini", &[]);
        purge(&RealDisk, &dirs, retain).unwrap();
        let files: Vec<String> =
            names(&dirs).into_iter().filter(|name| !name.ends_with("Epoch")).collect();
        assert_eq!(files, left, "retain {retain}");
        let (_, tree) = open(&dirs).unwrap_or_else(|e| panic!("retain {retain}: {e}"));
        assert_eq!(tree.digest(), 14_664_528_158, "retain {retain}");
    }
}

/// Only snapshots that read back count; with none, everything stays.
#[test]
fn purge_counts_sound_snapshots_alone() {
    let (_copy, dirs) = copy("corrupt-snapshot/snap-seal3-bad", &[]);
    purge(&RealDisk, &dirs, 1).unwrap();
    let left = names(&dirs);
    for kept in ["snapshot.6", "snapshot.b", "log.1", "log.7", "log.c"] {
        assert!(left.contains(&kept.to_owned()), "{kept} of {left:?}");
    }
    assert_eq!(open(&dirs).unwrap().0.last_zxid.raw(), 0x11);
    let (_copy, dirs) = copy("corrupt-snapshot/snap-all-bad", &[]);
    let before = names(&dirs);
    assert!(purge(&RealDisk, &dirs, 1).unwrap().removed.is_empty());
    assert_eq!(names(&dirs), before);
}

#[test]
fn mixed_up_directories_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let (data, log) = (place.path().join("data"), place.path().join("log"));
    let dirs = Dirs::new(&data, &log);
    dirs.prepare(&RealDisk, true).unwrap();
    for (dir, name, what) in
        [(dirs.data(), "log.5", "transaction log"), (dirs.log(), "snapshot.5", "snapshot")]
    {
        fs::write(dir.join(name), b"").unwrap();
        let error = dirs.prepare(&RealDisk, true).expect_err("mixed").to_string();
        assert!(error.contains(what) && error.contains("Move every"), "{error}");
        fs::remove_file(dir.join(name)).unwrap();
    }
    dirs.prepare(&RealDisk, false).expect("in order again");
    assert!(Dirs::new(&data, &data).prepare(&RealDisk, false).is_ok());
}

#[test]
fn a_missing_directory_is_created_only_if_that_is_wanted() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("a/b/c");
    let dirs = Dirs::new(&data, &data);
    let error = dirs.prepare(&RealDisk, false).expect_err("missing").to_string();
    assert!(error.contains("zookeeper.datadir.autocreate"), "{error}");
    dirs.prepare(&RealDisk, true).unwrap();
    assert!(data.join("version-2").is_dir());
    let (recovered, _) = open(&dirs).unwrap();
    assert!(recovered.fresh);
    // A file stands where the directory should be.
    fs::write(place.path().join("file"), b"").unwrap();
    let dirs = Dirs::new(&place.path().join("file"), &data);
    let error = dirs.prepare(&RealDisk, true).expect_err("no directory").to_string();
    assert!(error.contains("cannot create"), "{error}");
}
