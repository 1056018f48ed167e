//! `cargo run -p oxikeeper-sim -- --seeds 1000`: many runs, and what came of them.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use oxikeeper_sim::marks::Mark;
use oxikeeper_sim::report::{Outcome, Report};

/// The simulator.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed; with `--seeds 1`, the one to look at.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Do not fail for rare paths that were not reached.
    #[arg(long)]
    allow_missing_marks: bool,
    /// Go on after this many failed runs.
    #[arg(long, default_value_t = 5)]
    failures: usize,
}

/// Fewer runs than this cannot be expected to go everywhere.
const SEEDS_FOR_ALL_MARKS: u64 = 1000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let mut report = Report::default();
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let failed = report.failed.len();
        report.run(seed, None);
        if let Some(outcome) = report.failed.get(failed) {
            show(outcome);
        }
        if report.failed.len() > arguments.failures {
            break;
        }
    }
    let took = began.elapsed();
    let counts = &report.counts;
    println!(
        "seeds {}, of them repeated {}; requests {}, replies {}, watch events {}, transactions {}",
        report.seeds, report.repeated, counts.requests, counts.replies, counts.events, counts.txns
    );
    println!(
        "crashes {}, connections {}, frames compared {}, turns {}",
        counts.crashes, counts.connections, counts.compared, counts.turns
    );
    let per_minute = report.seeds as f64 * 60.0 / took.as_secs_f64().max(0.001);
    println!(
        "{:.1} s, {per_minute:.0} runs per core-minute; failed runs {}",
        took.as_secs_f64(),
        report.failed.len()
    );
    for mark in Mark::ALL {
        println!("  {:>8}  {mark:?}", report.marks.count(*mark));
    }
    let missing = report.marks.missing();
    let must_be_complete = report.seeds >= SEEDS_FOR_ALL_MARKS && !arguments.allow_missing_marks;
    if !missing.is_empty() {
        println!("never reached: {missing:?}");
    }
    if report.failed.is_empty() && (missing.is_empty() || !must_be_complete) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show(outcome: &Outcome) {
    println!("seed {} fails", outcome.seed);
    println!("  {}", outcome.knobs);
    for line in &outcome.tail {
        println!("  {line}");
    }
    for violation in outcome.violations.iter().take(5) {
        println!("  VIOLATION {violation}");
    }
}
