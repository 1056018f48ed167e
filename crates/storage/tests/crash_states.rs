//! The crash-state explorer: a life of the log, with snapshots, rolls and purges, is cut off at
//! every single call to the disk, or that call fails. Of each cut, states that it can leave behind
//! are recovered and judged, lived on in, cut off again and judged again. Half of these second
//! lives begin where only the process died and the machine went on.

mod support;

use std::io::ErrorKind;

use oxikeeper_storage::purge::PurgeMutation;
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::snapshot_writer::SnapshotMutation;
use oxikeeper_storage::txn_log::LogMutation;
use support::crash::{Verdict, crash_states, judge};
use support::life::{Known, Mutation, Plan, live};
use support::{Random, effort};

#[derive(Debug, Default)]
struct Explored {
    lives: u64,
    states: u64,
    cut: u64,
    violations: Vec<String>,
}

impl Explored {
    fn take(&mut self, verdict: Verdict, place: impl FnOnce() -> String) -> bool {
        self.states += 1;
        match verdict {
            Verdict::Sound => true,
            Verdict::SoundAfterCut => {
                self.cut += 1;
                true
            }
            Verdict::Violation(what) => {
                if self.violations.len() < 5 {
                    self.violations.push(format!("{}: {what}", place()));
                }
                false
            }
        }
    }
}

/// Lets `fate` come over every `stride`-th call of one life, and looks at up to `states` states of
/// each.
fn explore(
    seed: u64,
    fate: Fate,
    stride: u64,
    states: u64,
    mutation: Option<Mutation>,
) -> Explored {
    let plan = Plan::new(seed, 14, mutation);
    let mut explored = Explored::default();
    let whole = SimDisk::new();
    let led = live(&whole, &plan, &mut Known::default(), &mut Random::new(seed));
    if let Err(error) = led {
        explored.violations.push(format!("seed {seed}: {error}"));
        return explored;
    }
    let mut call = 1 + seed % stride;
    while call <= whole.calls() {
        let disk = SimDisk::new();
        disk.plan(call, fate);
        let mut known = Known::default();
        let ended = live(&disk, &plan, &mut known, &mut Random::new(seed));
        explored.lives += 1;
        let place = |what: &str| {
            let trace = disk.trace();
            let at = trace.get(call as usize - 1).map_or("", String::as_str);
            format!("seed {seed}, {fate:?} at call {call} ({at}), {what}")
        };
        let may_go_on = known.may_fail.iter().any(|&(from, to)| (from..=to).contains(&call));
        if ended.is_ok() && !may_go_on {
            explored.violations.push(place("nobody noticed"));
        }
        let mut random = Random::new(seed ^ (call << 20));
        explored.take(judge(&disk.kill(), &plan, &known), || place("process killed"));
        let mut second = random.clone();
        crash_states(&disk, states, &mut random, |after, choices| {
            let name = || place(&format!("choices {choices:?}"));
            if !explored.take(judge(&after, &plan, &known), name) {
                return;
            }
            // Live on, crash soon again, and judge that too.
            let after = if second.below(2) == 0 { disk.kill() } else { after };
            let mut known = known.clone();
            let again = Plan { batches: 3, ..plan.clone() };
            after.plan(1 + second.below(20), Fate::Crash);
            let ended = live(&after, &again, &mut known, &mut second);
            // What a hole makes refuse was judged above; anything else must not end a life.
            if ended.is_err() && !after.has_crashed() && explored.cut == 0 {
                explored.violations.push(format!("{}: a second life failed: {ended:?}", name()));
            }
            let last = after.crash(|size| second.below(size));
            explored.take(judge(&last, &plan, &known), || format!("{}, again", name()));
        });
        call += stride;
    }
    explored
}

fn explore_all(seeds: std::ops::RangeInclusive<u64>, fate: Fate, states: u64) -> Explored {
    let mut all = Explored::default();
    for seed in seeds {
        let explored = explore(seed, fate, 1, states, None);
        all.lives += explored.lives;
        all.states += explored.states;
        all.cut += explored.cut;
        all.violations.extend(explored.violations);
    }
    all
}

#[test]
fn every_crash_state_recovers() {
    let all = explore_all(1..=12 * effort(), Fate::Crash, 10);
    println!(
        "{} lives cut off, {} states, {} of them with a hole that was cut on request, {} violations",
        all.lives,
        all.states,
        all.cut,
        all.violations.len()
    );
    assert_eq!(all.violations, Vec::<String>::new());
    assert!(all.states > 10_000, "{all:?}");
}

#[test]
fn every_failing_call_loses_nothing() {
    for fate in [
        Fate::Fail(ErrorKind::Other),
        Fate::Fail(ErrorKind::StorageFull),
        Fate::FailFrom(ErrorKind::Other),
    ] {
        let all = explore_all(1..=4 * effort(), fate, 3);
        println!(
            "{fate:?}: {} lives, {} states, {} violations",
            all.lives,
            all.states,
            all.violations.len()
        );
        assert_eq!(all.violations, Vec::<String>::new());
    }
}

/// The explorer is worth something only if it finds what is wrong.
#[test]
fn every_mutation_is_caught() {
    let mutations = [
        (Mutation::Log(LogMutation::SkipSync), Fate::Crash),
        (Mutation::Log(LogMutation::SkipDirectorySync), Fate::Crash),
        (Mutation::Log(LogMutation::IgnoreSyncError), Fate::Fail(ErrorKind::Other)),
        (Mutation::Log(LogMutation::AppendToOldFile), Fate::Crash),
        (Mutation::Snapshot(SnapshotMutation::RenameBeforeSync), Fate::Crash),
        (Mutation::Snapshot(SnapshotMutation::SkipDirectorySync), Fate::Crash),
        (Mutation::Purge(PurgeMutation::SkipVerify), Fate::Crash),
        (Mutation::SkipCleanUp, Fate::Crash),
    ];
    for (mutation, fate) in mutations {
        let (mut states, mut caught) = (0, None);
        for seed in 1..=60 {
            let explored = explore(seed, fate, 3, 6, Some(mutation));
            states += explored.states;
            caught = explored.violations.into_iter().next();
            if caught.is_some() {
                break;
            }
        }
        let caught = caught.unwrap_or_else(|| panic!("{mutation:?} not caught in {states} states"));
        println!("{mutation:?} caught after {states} states: {caught}");
    }
}
