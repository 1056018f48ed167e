//! Files with bytes changed, cut and inserted at random: reading them ends in a verdict, never in a
//! panic, and never in a state that was not logged.

use std::path::Path;
use std::time::{Duration, Instant};

use oxikeeper_storage::{Dirs, RealDisk, RecoverOptions, recover};
use oxikeeper_tree::{Restore, TreeOptions};

/// How long each test goes on.
const TIME_BOX: Duration = Duration::from_secs(4);

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn bend(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = 0xff,
            3 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                bytes[at.min(end)..end].fill(0);
            }
            4 => {
                let end = (at + random.below(200)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + 4).min(bytes.len());
                bytes[at.min(end)..end]
                    .copy_from_slice(&[0x7f, 0xff, 0xff, 0xff][..end - at.min(end)]);
            }
        }
    }
}

/// Bends files of a good directory whose name begins with `prefix`.
fn bend_and_recover(fixture: &str, prefix: &str, seed: u64) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/datadir");
    let source = fixtures.join(fixture).join("version-2");
    let names: Vec<_> = std::fs::read_dir(&source)
        .expect("the fixture is there")
        .map(|entry| entry.expect("a name").file_name().into_string().expect("UTF-8"))
        .collect();
    let mut random = Random(seed);
    let began = Instant::now();
    let (mut accepted, mut refused) = (0u32, 0u32);
    while began.elapsed() < TIME_BOX {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let target = copy.path().join("version-2");
        std::fs::create_dir(&target).expect("a directory");
        for name in &names {
            let mut bytes = std::fs::read(source.join(name)).expect("the fixture is readable");
            if name.starts_with(prefix) && random.below(2) == 0 {
                bend(&mut bytes, &mut random);
            }
            std::fs::write(target.join(name), bytes).expect("a copy");
        }
        let mut restore = Restore::new(TreeOptions::default());
        let dirs = Dirs::new(copy.path(), copy.path());
        match recover(&RealDisk, &dirs, &RecoverOptions::default(), &mut restore) {
            Ok(recovered) => {
                accepted += 1;
                let tree = restore.into_tree();
                assert_eq!(tree.last_zxid(), recovered.last_zxid);
                tree.check_invariants();
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    println!("{fixture}, {prefix}*: {accepted} accepted, {refused} refused");
    assert!(accepted > 0 && refused > 0, "both happen: {accepted}, {refused}");
}

#[test]
fn bent_logs_get_a_verdict() {
    bend_and_recover("apache-3.9.5/plain", "log.", 1);
}

#[test]
fn bent_snapshots_get_a_verdict() {
    bend_and_recover("apache-3.9.5/plain", "snapshot.", 2);
}

#[test]
fn bent_compressed_snapshots_get_a_verdict() {
    bend_and_recover("apache-3.9.5/gz", "snapshot.", 3);
    bend_and_recover("apache-3.9.5/snappy", "snapshot.", 4);
}
