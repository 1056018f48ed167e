//! A slice of the simulator for every test run, and the corpus of seeds that once failed.

use std::time::{Duration, Instant};

use oxikeeper_sim::marks::Mark;
use oxikeeper_sim::report::{Report, run_seed};

/// How long the slice may take.
const SLICE: Duration = Duration::from_secs(20);
/// Seeds of the slice, if the machine is fast.
const SEEDS_MAX: u64 = 3000;

/// Seeds that found something, each with what it was. A change of the workload makes other runs of
/// them; what they found has tests of its own where it was put right.
const CORPUS: &[(u64, &str)] =
    &[(1_001_463, "a torn record with its end mark, and another of the same number later")];

#[test]
fn seeds_that_once_failed() {
    for (seed, what) in CORPUS {
        let outcome = run_seed(*seed, None);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}: {what}");
    }
}

/// Seeds of ensembles that found something, each with what it was.
const ENSEMBLES: &[(u64, &str)] = &[
    (110, "a half-open election connection kept an observer out for good"),
    (144, "a follower cut back what was committed since, as it may"),
    (540, "a DIFF from the log on disk left out the beginning of an epoch"),
    (816, "a leader established after the next one, by words that came late"),
];

/// The same of whole servers with clients.
const WHOLE: &[(u64, &str)] = &[
    (498, "a transaction made by the tick that ended the lead was in the log only"),
    (524, "a client that waited for its closeSession survived the loss of the leader"),
    (9_163, "who came back without its data led, by votes for what it was"),
    (47_154, "votes were not repeated while one without a vote kept talking"),
    (18_740, "who could not be cut back had no vote until it had a snapshot"),
    (202_735, "a DIFF passed over what had rotted at the end of an older file"),
];

#[test]
fn seeds_of_whole_servers_that_once_failed() {
    for (seed, what) in WHOLE {
        let outcome =
            oxikeeper_sim::ensemble::report::run_seed(*seed, None, false, |k| k.draw_crowd(*seed));
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}: {what}");
    }
}

#[test]
fn seeds_of_ensembles_that_once_failed() {
    for (seed, what) in ENSEMBLES {
        let outcome = oxikeeper_sim::ensemble::report::run_seed(*seed, None, false, |_| {});
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}: {what}");
    }
}

#[test]
fn a_slice_of_seeds() {
    let began = Instant::now();
    let mut report = Report::default();
    for seed in 1_000_000..1_000_000 + SEEDS_MAX {
        report.run(seed, None);
        if began.elapsed() > SLICE {
            break;
        }
    }
    let failed: Vec<_> =
        report.failed.iter().map(|outcome| (outcome.seed, &outcome.violations)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    println!(
        "{} seeds, {} requests, {} events, {} crashes; not reached: {:?}",
        report.seeds,
        report.counts.requests,
        report.counts.events,
        report.counts.crashes,
        report.marks.missing(Mark::ALL)
    );
    assert!(report.seeds >= 20, "this machine is too slow to say anything");
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 7..12 {
        assert_eq!(run_seed(seed, None).trace_hash, run_seed(seed, None).trace_hash);
    }
    assert_ne!(run_seed(7, None).trace_hash, run_seed(8, None).trace_hash);
}
