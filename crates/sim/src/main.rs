//! `cargo run -p oxikeeper-sim -- --seeds 1000`: many runs, and what came of them.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use oxikeeper_sim::ensemble::knobs::Knobs;
use oxikeeper_sim::ensemble::report as peers;
use oxikeeper_sim::marks::{Mark, Marks};
use oxikeeper_sim::report::{Outcome, Report};
use rustix::time::{ClockId, clock_gettime};

/// The simulator.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed; given without `--seeds`, the only one, and its story is told.
    #[arg(long)]
    seed: Option<u64>,
    /// One server with its clients, as before there were ensembles.
    #[arg(long)]
    standalone: bool,
    /// Ensembles of whole servers, with clients.
    #[arg(long)]
    whole: bool,
    /// With `--seed`: faults that do not happen, by their numbers.
    #[arg(long, value_delimiter = ',')]
    spare: Vec<u64>,
    /// End after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Do not fail for rare paths that were not reached.
    #[arg(long)]
    allow_missing_marks: bool,
    /// Go on after this many failed runs.
    #[arg(long, default_value_t = 5)]
    failures: usize,
}

/// Fewer runs than this cannot be expected to go everywhere.
const SEEDS_FOR_ALL_MARKS: u64 = 1000;

impl Arguments {
    fn seeds(&self) -> std::ops::Range<u64> {
        let first = self.seed.unwrap_or(0);
        let is_one = self.seed.is_some() && self.seeds == 1000;
        first..first + if is_one { 1 } else { self.seeds }
    }

    fn is_over(&self, began: Instant, failed: usize) -> bool {
        let limit = self.seconds.map(Duration::from_secs);
        failed > self.failures || limit.is_some_and(|limit| began.elapsed() > limit)
    }

    fn judge(&self, seeds: u64, failed: usize, marks: &Marks, wanted: &[Mark]) -> ExitCode {
        for mark in wanted {
            println!("  {:>8}  {mark:?}", marks.count(*mark));
        }
        let missing = marks.missing(wanted);
        let must_be_complete = seeds >= SEEDS_FOR_ALL_MARKS && !self.allow_missing_marks;
        if !missing.is_empty() {
            println!("never reached: {missing:?}");
        }
        if failed == 0 && (missing.is_empty() || !must_be_complete) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.standalone { standalone(&arguments) } else { ensembles(&arguments) }
}

/// Runs per minute of this process's processor time: what else the machine does is not ours.
fn rate(seeds: u64, began: Instant, failed: usize) {
    let took = began.elapsed().as_secs_f64();
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    let per_minute = seeds as f64 * 60.0 / used.max(0.001);
    println!(
        "{took:.1} s, {used:.1} s of a core, {per_minute:.0} runs per core-minute; failed runs {failed}"
    );
}

fn ensembles(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let mut report = peers::Report::default();
    let adjust: fn(u64, &mut Knobs) = match arguments.whole {
        true => |seed, knobs| knobs.draw_crowd(seed),
        false => |_, _| {},
    };
    if arguments.seeds().count() == 1 {
        let outcome = peers::run_seed(arguments.seeds().start, None, true, |knobs| {
            knobs.spared.clone_from(&arguments.spare);
            adjust(arguments.seeds().start, knobs);
        });
        outcome.story.iter().for_each(|line| println!("{line}"));
        println!("{:?}", outcome.knobs);
        outcome.violations.iter().for_each(|text| println!("VIOLATION {text}"));
        return if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    for seed in arguments.seeds() {
        let failed = report.failed.len();
        report.run(seed, None, adjust);
        if let Some(outcome) = report.failed.get(failed) {
            show_ensemble(&peers::shrink(outcome, None));
        }
        if arguments.is_over(began, report.failed.len()) {
            break;
        }
    }
    let counts = &report.counts;
    println!(
        "seeds {}, of them repeated {}; requests {}, committed {}, leaders {}, crashes {}, faults {}",
        report.seeds,
        report.repeated,
        counts.requests,
        counts.committed,
        counts.leaders,
        counts.crashes,
        counts.faults
    );
    println!(
        "connections {}, events {}, frames compared {}",
        counts.connections, counts.events, counts.compared
    );
    rate(report.seeds, began, report.failed.len());
    let wanted = match arguments.whole {
        true => [Mark::OF_PEERS, Mark::OF_CLIENTS].concat(),
        false => Mark::OF_PEERS.to_vec(),
    };
    arguments.judge(report.seeds, report.failed.len(), &report.marks, &wanted)
}

fn show_ensemble(outcome: &peers::Outcome) {
    let spared: Vec<String> = outcome.knobs.spared.iter().map(u64::to_string).collect();
    let spare = match spared.is_empty() {
        true => String::new(),
        false => format!(" --spare {}", spared.join(",")),
    };
    let seed = outcome.seed;
    let whole = if outcome.knobs.crowd.is_some() { " --whole" } else { "" };
    println!("seed {seed} fails: `cargo run -p oxikeeper-sim -- --seed {seed}{whole}{spare}`");
    println!("  {:?}", outcome.knobs);
    for violation in outcome.violations.iter().take(5) {
        println!("  VIOLATION {violation}");
    }
}

fn standalone(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let mut report = Report::default();
    for seed in arguments.seeds() {
        let failed = report.failed.len();
        report.run(seed, None);
        if let Some(outcome) = report.failed.get(failed) {
            show(outcome);
        }
        if arguments.is_over(began, report.failed.len()) {
            break;
        }
    }
    let counts = &report.counts;
    println!(
        "seeds {}, of them repeated {}; requests {}, replies {}, watch events {}, transactions {}",
        report.seeds, report.repeated, counts.requests, counts.replies, counts.events, counts.txns
    );
    println!(
        "crashes {}, connections {}, frames compared {}, turns {}",
        counts.crashes, counts.connections, counts.compared, counts.turns
    );
    rate(report.seeds, began, report.failed.len());
    arguments.judge(report.seeds, report.failed.len(), &report.marks, Mark::ALL)
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
