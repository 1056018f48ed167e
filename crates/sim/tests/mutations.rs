//! Each defect that can be injected has to be noticed: a checker that never fails proves nothing.

use oxikeeper_node::mutation::Mutation;
use oxikeeper_sim::ensemble::report::{Defect, run_seed as run_ensemble};
use oxikeeper_sim::options::Injected;
use oxikeeper_sim::reactor::ShellMutation;
use oxikeeper_sim::report::run_seed;
use oxikeeper_storage::txn_log::LogMutation;
use oxikeeper_zab::mutation as zab;

/// Seeds within which every defect must be found.
const SEEDS_MAX: u64 = 2000;

#[test]
fn every_injected_defect_is_noticed() {
    // The defects break assertions too, and those are not news here.
    std::panic::set_hook(Box::new(|_| {}));
    let node = Mutation::ALL.iter().map(|mutation| Injected::Node(*mutation));
    let log = [LogMutation::SkipSync, LogMutation::SkipDirectorySync, LogMutation::IgnoreSyncError];
    let shell = [ShellMutation::ReadBeforeMail, ShellMutation::MailAfterLock];
    let all = node
        .chain(log.into_iter().map(Injected::Log))
        .chain(shell.into_iter().map(Injected::Shell));
    let mut missed = Vec::new();
    for mutation in all {
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let violations = run_seed(seed, Some(mutation)).violations;
            violations.into_iter().next().map(|first| (seed + 1, first))
        });
        match found {
            Some((seeds, first)) => {
                let first: String = first.chars().take(110).collect();
                println!("{mutation:?}: noticed in {seeds} seeds: {first}");
            }
            None => missed.push(mutation),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not noticed within {SEEDS_MAX} seeds: {missed:?}");
}

/// What takes more luck than a random search has: scenarios in `crates/zab/tests` bring it about.
const BY_SCENARIO: [zab::Mutation; 3] =
    [zab::Mutation::CounterWraps, zab::Mutation::DoubleEpochAnswer, zab::Mutation::StaleConnection];

/// The same for ensembles, by the random search alone: of bare peers for agreement, of whole servers with
/// clients for what stands on it.
#[test]
fn every_defect_of_ensembles_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let agreement = zab::Mutation::ALL
        .iter()
        .filter(|mutation| !BY_SCENARIO.contains(mutation))
        .map(|mutation| Defect::Agreement(*mutation));
    let node = Mutation::OF_ENSEMBLES
        .iter()
        // `crates/node/tests/cut.rs` brings it about.
        .filter(|mutation| **mutation != Mutation::WriteBehindCut)
        .map(|mutation| Defect::Node(*mutation));
    let mut missed = Vec::new();
    for defect in agreement.chain(node) {
        let is_whole = matches!(defect, Defect::Node(_));
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let outcome = run_ensemble(seed, Some(defect), false, |knobs| {
                if is_whole {
                    knobs.draw_crowd(seed);
                }
            });
            outcome.violations.into_iter().next().map(|first| (seed + 1, first))
        });
        match found {
            Some((seeds, first)) => {
                let first: String = first.chars().take(110).collect();
                println!("{defect:?}: noticed in {seeds} seeds: {first}");
            }
            None => missed.push(defect),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not noticed within {SEEDS_MAX} seeds: {missed:?}");
}
