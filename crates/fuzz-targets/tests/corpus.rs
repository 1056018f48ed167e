//! Every target over its committed corpus, then over bent inputs for some seconds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oxikeeper_fuzz_targets::mutator::Mutator;
use oxikeeper_fuzz_targets::{
    Target, Verdict, client_frame, client_reply, config, quorum_stream, snapshot, txn_log,
};

/// How long each mutator goes on, in seconds, unless the variable says otherwise.
const TIME_BOX: u64 = 5;
const TIME_VARIABLE: &str = "OXIKEEPER_FUZZ_SECONDS";
/// Slower machines, or ones with others on them, still look at so many.
const RUNS_MIN: usize = 50;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let entries = std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a name").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("the corpus is readable");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Runs one input; if something does not hold, leaves the input behind and says where.
fn run(target: &Target, bytes: &[u8], origin: &str) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).unwrap_or_else(|panic| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.input", target.name));
        std::fs::write(&path, bytes).expect("the build's own directory is writable");
        eprintln!(
            "{}, {origin}: the input is in {}; in fuzz/corpus/{} this test repeats it",
            target.name,
            path.display(),
            target.name
        );
        resume_unwind(panic)
    })
}

fn fuzz(target: &Target) {
    let corpus = corpus(target);
    let (mut accepted, mut refused) = (0, 0);
    let mut count = |verdict| match verdict {
        Verdict::Accepted => accepted += 1,
        Verdict::Refused => refused += 1,
    };
    for (path, bytes) in &corpus {
        count(run(target, bytes, &path.display().to_string()));
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let asked = std::env::var(TIME_VARIABLE).ok().map(|text| text.parse().expect("seconds"));
    let time_box = Duration::from_secs(asked.unwrap_or(TIME_BOX));
    // Longer runs look elsewhere than the short ones.
    let seed = 20_261_123 + asked.unwrap_or(0);
    let mut mutator = Mutator::new(seed, target.pieces);
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < time_box || runs < RUNS_MIN {
        let bytes = mutator.input(&inputs);
        count(run(target, &bytes, &format!("bent input {runs}")));
        runs += 1;
    }
    println!(
        "{}: {} in the corpus, {runs} bent inputs, {accepted} accepted, {refused} refused",
        target.name,
        inputs.len()
    );
    assert!(accepted > 10, "{}: almost nothing was sound: {accepted}", target.name);
    assert!(refused > 10, "{}: almost nothing was refused: {refused}", target.name);
}

#[test]
fn client_frames() {
    fuzz(&client_frame::TARGET);
}

#[test]
fn client_replies() {
    fuzz(&client_reply::TARGET);
}

#[test]
fn txn_logs() {
    fuzz(&txn_log::TARGET);
}

#[test]
fn snapshots() {
    fuzz(&snapshot::TARGET);
}

#[test]
fn configurations() {
    fuzz(&config::TARGET);
}

#[test]
fn quorum_streams() {
    fuzz(&quorum_stream::TARGET);
}
