//! `oxikeeper check`, and servers that refuse what it would find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::process::{Home, Server, run};

/// A home with a copy of a data directory from the fixtures.
fn home_with(fixture: &str) -> Home {
    let home = Home::new("");
    let fixtures =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/datadir/apache-3.9.5");
    copy(&fixtures.join(fixture).join("version-2"), &home.data_dir().join("version-2"));
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("a fixture");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Every file below a directory, with what is in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

/// `oxikeeper check` with these arguments: its exit code and its words.
fn check(arguments: &[&str]) -> (i32, String) {
    let mut all = vec!["check"];
    all.extend(arguments);
    let ended = run(&all, Path::new("/"));
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    (ended.code.expect("it exits"), ended.stdout + &ended.stderr)
}

/// As `check`, and nothing may be written.
fn check_only(dir: &Path) -> (i32, String) {
    let before = contents(dir);
    let verdict = check(&[&dir.display().to_string()]);
    assert_eq!(contents(dir), before, "a check writes nothing");
    verdict
}

#[test]
fn sound_directories_are_code_0_and_described() {
    for (fixture, words) in [
        ("mini", &["last zxid 0x11", "11 nodes", "clean end", "snapshot.b"][..]),
        ("gz", &["snapshot.61.gz"]),
        ("torn-tail/torn-in-checksum", &["torn tail", "sound: "]),
        ("corrupt-log/torn-hole-last", &["torn tail", "sound: last zxid 0x10"]),
        ("corrupt-snapshot/snap-flip", &["snapshot.b", "using an older one", "sound: "]),
        ("corrupt-log/zeros-last-log", &["log.12", "no header", "sound: "]),
    ] {
        let home = home_with(fixture);
        let (code, words_said) = check_only(&home.data_dir());
        assert_eq!(code, 0, "{fixture}: {words_said}");
        for word in words {
            assert!(words_said.contains(word), "{fixture}: no {word:?} in {words_said}");
        }
        // What it says is sound, a server takes; and a cut finds nothing to do.
        let dir = home.data_dir().display().to_string();
        let version_2 = home.data_dir().join("version-2");
        let before = contents(&version_2);
        let (code, words_said) = check(&["--cut", &dir]);
        assert!(code == 0 && words_said.contains("nothing to cut"), "{fixture}: {words_said}");
        assert_eq!(contents(&version_2), before, "{fixture}: nothing is written for nothing");
        let server = home.start();
        Client::connect(server.address(), 4000).close();
    }
}

/// Every directory there is: what `check` calls sound a server serves, and the rest it refuses.
#[test]
fn check_and_server_agree_about_every_directory() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/datadir");
    let dirs = data_dirs(&fixtures);
    assert!(dirs.len() > 40, "{dirs:?}");
    let mut sound_count = 0;
    for dir in &dirs {
        let name = dir.display().to_string();
        let home = Home::new("");
        copy(&dir.join("version-2"), &home.data_dir().join("version-2"));
        let (code, verdict) = check_only(&home.data_dir());
        if code == 0 {
            sound_count += 1;
            let zxid = verdict.split("sound: last zxid ").nth(1).expect("a zxid");
            let zxid = zxid.split(',').next().expect("a zxid");
            let server = home.start();
            let summary = server.word("srvr");
            assert!(summary.contains(&format!("\nZxid: {zxid}\n")), "{name}: {verdict}{summary}");
        } else {
            let refused = home.run_to_end();
            assert_eq!(refused.code, Some(1), "{name}: {verdict}{}", refused.stderr);
            let reason = verdict.split("would refuse this directory: ").nth(1).expect("a reason");
            let first_line = reason.lines().next().expect("a reason");
            assert!(refused.stderr.contains(first_line), "{name}: {verdict}{}", refused.stderr);
        }
    }
    assert!(sound_count > 30, "{sound_count} of {}", dirs.len());
}

/// Every directory below this one that holds a `version-2`.
fn data_dirs(dir: &Path) -> Vec<PathBuf> {
    if dir.join("version-2").is_dir() {
        return vec![dir.to_owned()];
    }
    let entries = fs::read_dir(dir).expect("a directory");
    let inner = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    inner.flat_map(|path| data_dirs(&path)).collect()
}

/// The server refuses with the reason and a command; the command mends it; the server starts.
#[test]
fn damage_is_refused_with_the_command_that_mends_it() {
    for (fixture, reason, last) in [
        ("corrupt-log/torn-hole-mid", "wrong checksum at byte 193", "0xd"),
        ("corrupt-log/len-garbage", "impossible length 2147483647", "0x10"),
        ("corrupt-log/len-negative", "impossible length -1", "0x10"),
        ("corrupt-log/unknown-type", "undefined transaction type 77", "0x10"),
        ("corrupt-log/zxid-regress", "out of order", "0x11"),
        ("torn-tail/eor-zero-mid", "without its end mark", "0xd"),
    ] {
        let home = home_with(fixture);
        let version_2 = home.data_dir().join("version-2");
        let files = contents(&version_2);
        let refused = home.run_to_end();
        assert_eq!(refused.code, Some(1), "{fixture}: {}", refused.stderr);
        assert!(refused.stderr.contains(reason), "{fixture}: {}", refused.stderr);
        assert!(refused.stderr.contains("Restore the file from a backup"), "{}", refused.stderr);
        assert_eq!(contents(&version_2), files, "{fixture}: a refused start writes nothing");

        let (code, verdict) = check_only(&home.data_dir());
        assert_eq!(code, 1, "{fixture}: {verdict}");
        assert!(verdict.contains(reason), "{fixture}: {verdict}");

        mend(&refused.stderr);
        let kept = contents(&version_2);
        let is_kept = |bytes: &Vec<u8>| kept.values().any(|other| other == bytes);
        assert!(files.values().all(is_kept), "{fixture}: every original is still there");
        let (code, verdict) = check_only(&home.data_dir());
        assert_eq!(code, 0, "{fixture}: {verdict}");
        assert!(verdict.contains(&format!("last zxid {last},")), "{fixture}: {verdict}");
        serves(home);
    }
}

/// Runs the command that a refusal ends with, as a shell would.
fn mend(refusal: &str) {
    let words = refusal.split('`').find(|words| words.starts_with("oxikeeper check --cut "));
    let words = words.unwrap_or_else(|| panic!("no command in {refusal}"));
    let command = words.replacen("oxikeeper", "\"$0\"", 1);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &command, crate::support::process::OXIKEEPER]);
    let ended = crate::support::process::run_command(&mut shell, PATIENCE);
    assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
    assert!(ended.stdout.contains("cut "), "{words}: {}", ended.stdout);
    assert!(ended.stdout.contains("set aside: "), "{words}: {}", ended.stdout);
}

fn serves(home: Home) {
    let server = home.start();
    let mut client = Client::connect(server.address(), 4000);
    client.create("/mended", b"", 0).expect("a new node");
    client.close();
    // And once more, over what it has written itself.
    let server = server.kill().start();
    assert!(Client::connect(server.address(), 4000).exists("/mended", false));
}

/// Logs elsewhere, and names that a shell takes apart: the command still is the right one.
#[test]
fn the_command_fits_two_directories_and_strange_names() {
    let home = home_with("mini");
    let data_dir = home.path("it's data");
    let log_dir = home.path("logs & more");
    copy(&home.data_dir().join("version-2"), &data_dir.join("version-2"));
    copy(&home.data_dir().join("version-2"), &log_dir.join("version-2"));
    for (dir, kind) in [(&data_dir, "log."), (&log_dir, "snapshot.")] {
        for path in contents(dir).into_keys() {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)) {
                fs::remove_file(path).expect("it is there");
            }
        }
    }
    let log = log_dir.join("version-2/log.c");
    let mut bytes = fs::read(&log).expect("a log");
    bytes[60] ^= 1;
    fs::write(&log, bytes).expect("a log");
    let settings = format!("dataDir={}\ndataLogDir={}", data_dir.display(), log_dir.display());
    let home = home.with_settings(&settings);
    let refused = home.run_to_end();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    mend(&refused.stderr);
    serves(home);
}

#[test]
fn what_a_cut_cannot_mend_is_left_alone() {
    for (fixture, reason) in [
        ("corrupt-log/missing-middle-log", "transactions are missing: 0xc"),
        ("corrupt-log/gap-in-epoch", "transactions are missing"),
        ("corrupt-snapshot/no-snapshot", "there is no snapshot"),
        ("corrupt-snapshot/snap-all-bad", "none of the 3 snapshots"),
    ] {
        let home = home_with(fixture);
        let dir = home.data_dir();
        let before = contents(&dir.join("version-2"));
        for arguments in [&["--cut", &dir.display().to_string()][..], &[&dir.display().to_string()]]
        {
            let (code, verdict) = check(arguments);
            assert_eq!(code, 1, "{fixture}: {verdict}");
            assert!(verdict.contains(reason), "{fixture}: {verdict}");
            let after = contents(&dir.join("version-2"));
            assert_eq!(after, before, "{fixture}: nothing is written");
        }
        let refused = home.run_to_end();
        assert_eq!(refused.code, Some(1), "{fixture}: {}", refused.stderr);
        assert!(refused.stderr.contains(reason), "{fixture}: {}", refused.stderr);
        assert!(!refused.stderr.contains("--cut"), "{fixture}: {}", refused.stderr);
    }
}

#[test]
fn a_directory_that_is_none_is_said_to_be_none() {
    let (code, words) = check(&["/no/such/directory"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("/no/such/directory"), "{words}");
    let (code, words) = check(&[]);
    assert_eq!(code, 2, "{words}");
    // One level too deep.
    let home = home_with("mini");
    let (code, words) = check(&[&home.data_dir().join("version-2").display().to_string()]);
    assert!(code == 1 && words.contains("give the directory above"), "{words}");
}

/// Nobody cuts under a running server; looking is harmless.
#[test]
fn a_running_server_is_not_cut() {
    let server = Server::start("");
    let mut client = Client::connect(server.address(), 4000);
    client.create("/a", b"", 0).expect("a new node");
    let dir = server.home.data_dir().display().to_string();
    let (code, words) = check(&["--cut", &dir]);
    assert_eq!(code, 3, "{words}");
    assert!(words.contains("in use by another process"), "{words}");
    let (code, words) = check(&[&dir]);
    assert!(code == 0 && words.contains("sound: last zxid 0x2"), "{words}");
    client.create("/b", b"", 0).expect("a new node");
}

/// A record that was written under a higher limit is no damage: nobody may be told to cut it.
#[test]
fn a_record_beyond_the_limit_is_not_damage() {
    let home = Home::new("-Djute.maxbuffer=4000000");
    let value = vec![b'v'; 3_000_000];
    let server = home.start();
    let mut client = Client::connect(server.address(), 4000);
    client.create("/long", &value, 0).expect("within the limit");
    client.create("/later", b"", 0).expect("a new node");
    let home = server.kill().with_settings("");
    let refused = home.run_to_end();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("set jute.maxbuffer to 15000"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("--cut"), "{}", refused.stderr);

    let version_2 = home.data_dir().join("version-2");
    let before = contents(&version_2);
    let dir = home.data_dir().display().to_string();
    for arguments in [&["--cut", &dir][..], &[&dir]] {
        let (code, words) = check(arguments);
        assert_eq!(code, 0, "{words}");
        assert!(words.contains("needs a jute.maxbuffer of 15000"), "{words}");
        assert!(words.contains("sound: last zxid 0x3"), "{words}");
        assert!(contents(&version_2) == before, "nothing is cut");
    }

    let server = home.with_settings("-Djute.maxbuffer=4000000").start();
    let mut client = Client::connect(server.address(), 4000);
    assert_eq!(client.get("/long").expect("what was acknowledged"), value);
    assert!(client.exists("/later", false));
}
