//! Each defect that can be injected has to be noticed: a checker that never fails proves nothing.

use oxikeeper_node::mutation::Mutation;
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
const BY_SCENARIO: [zab::Mutation; 4] = [
    zab::Mutation::CounterWraps,
    zab::Mutation::DoubleEpochAnswer,
    zab::Mutation::EmptyDiskVotes,
    zab::Mutation::StaleConnection,
];

/// The same for agreement, by the random search alone.
#[test]
fn every_defect_of_agreement_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let all = zab::Mutation::ALL.iter().copied();
    for mutation in all.filter(|mutation| !BY_SCENARIO.contains(mutation)) {
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let outcome =
                oxikeeper_sim::ensemble::report::run_seed(seed, Some(mutation), false, |_| {});
            outcome.violations.into_iter().next().map(|first| (seed + 1, first))
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
