//! Three servers with a million znodes: what a follower that comes back costs the leader's clients, and
//! how long a killed leader is missed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_bench::recorder::histogram;
use oxikeeper_bench::{BenchError, Options, Report, Workload};

use crate::compare::Comparison;
use crate::ensemble::{Ensemble, PATIENCE};
use crate::failover::failovers;
use crate::load::checked;
use crate::server::Side;

/// Writes that a follower misses: more than a leader keeps in memory, and less than a third of a snapshot
/// of the tree.
const MISSED: u64 = 100_000;
/// Creates in one multi of the fill: the snapshots that `snapCount` asks for come at its end.
const FILL_BATCH: u32 = 10;
/// Writes per second while a follower comes back, where Apache's maximum was not measured.
const RATE: f64 = 2_000.0;
/// Between the beginning of a load and the follower's return.
const AHEAD: Duration = Duration::from_secs(2);
/// Between two looks whether it is in step.
const LOOK: Duration = Duration::from_millis(5);

/// One round: Apache, then ours.
///
/// # Errors
/// Whatever keeps it from being measured.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    if !comparison.wants("rejoin") {
        return Ok(());
    }
    for &side in comparison.sides {
        let name = comparison.fresh("rejoin");
        let mut ensemble = Ensemble::start(&comparison.place, side, &name, "")?;
        fill(comparison, &ensemble, "/", comparison.znodes, FILL_BATCH)?;
        if ["rejoin-quiet", "rejoin-diff", "rejoin-snap"].iter().any(|row| comparison.wants(row)) {
            let quiet = quiet(comparison, &ensemble)?;
            let diff = ["rejoin-diff-ms", "rejoin-diff-p99", "rejoin-diff-ratio"];
            come_back(comparison, &mut ensemble, false, quiet, diff)?;
            let snap = ["rejoin-snap-ms", "rejoin-snap-p99", "rejoin-snap-ratio"];
            come_back(comparison, &mut ensemble, true, quiet, snap)?;
        }
        failovers(comparison, &mut ensemble, ["rejoin-failover-p50", "rejoin-failover-worst"])?;
        drop(ensemble);
        comparison.remove(side, &name);
    }
    Ok(())
}

/// Makes znodes through the leader.
fn fill(
    comparison: &Comparison,
    ensemble: &Ensemble,
    root: &str,
    count: u64,
    batch: u32,
) -> Result<(), BenchError> {
    let leader = &ensemble.servers[ensemble.wait_for("leader")?];
    let mut options = comparison.options(Workload::Fill, leader);
    options.root = root.to_owned();
    options.pipeline = 16;
    options.warm_up = None;
    (options.count, options.batch) = (Some(count), Some(batch));
    checked(oxikeeper_bench::run(&options)?);
    Ok(())
}

fn p99_us(latency: &hdrhistogram::Histogram<u64>) -> f64 {
    latency.value_at_quantile(0.99) as f64 / 1e3
}

fn quiet(comparison: &mut Comparison, ensemble: &Ensemble) -> Result<f64, BenchError> {
    let options = open_loop(comparison, ensemble)?;
    let report = checked(oxikeeper_bench::run(&options)?);
    let p99 = p99_us(&report.latency());
    comparison.figures.add(ensemble.side, "rejoin-quiet-p99", p99);
    Ok(p99)
}

/// Writes at the leader, at the same rate for both sides.
fn open_loop(comparison: &Comparison, ensemble: &Ensemble) -> Result<Options, BenchError> {
    let leader = &ensemble.servers[ensemble.wait_for("leader")?];
    let mut options = comparison.options(Workload::Set, leader);
    options.pipeline = 16;
    options.rate = Some(comparison.half_ensemble_maximum().unwrap_or(RATE));
    options.duration = comparison.duration_s * 2.0;
    Ok(options)
}

/// A follower is killed, misses writes or loses its data, and comes back beside a load on the leader.
fn come_back(
    comparison: &mut Comparison,
    ensemble: &mut Ensemble,
    loses_data: bool,
    quiet_p99: f64,
    [ms, p99, ratio]: [&'static str; 3],
) -> Result<(), BenchError> {
    let failed = BenchError::system("a server does not come back");
    let side = ensemble.side;
    let follower = ensemble.wait_for("follower")?;
    ensemble.servers[follower].kill();
    if loses_data {
        ensemble.servers[follower].wipe().map_err(&failed)?;
    } else {
        let root = "/missed".to_owned();
        fill(comparison, ensemble, &root, MISSED.min(comparison.znodes), 1)?;
    }
    let leader = ensemble.wait_for("leader")?;
    let logged = ensemble.servers[leader].log().len();
    let mut options = open_loop(comparison, ensemble)?;
    // Longer than it takes: what comes behind it is not counted.
    options.duration = comparison.duration_s * 6.0;
    let is_over = AtomicBool::new(false);
    let (report, came) = thread::scope(|scope| {
        let returning = scope.spawn(|| {
            thread::sleep(AHEAD);
            let server = &mut ensemble.servers[follower];
            let from = Instant::now();
            server.restart(&comparison.place, side).map_err(&failed)?;
            while !server.word().is_some_and(|text| text.contains("Mode: follower")) {
                if from.elapsed() > PATIENCE || is_over.load(Ordering::Relaxed) {
                    return Err(BenchError::Refused);
                }
                thread::sleep(LOOK);
            }
            Ok((from, Instant::now()))
        });
        let report = oxikeeper_bench::run(&options);
        is_over.store(true, Ordering::Relaxed);
        let came = returning.join().expect("it panics for nobody");
        Ok::<_, BenchError>((checked(report?), came?))
    })?;
    let (from, until) = came;
    comparison.figures.add(side, ms, until.duration_since(from).as_secs_f64() * 1e3);
    let during = p99_between(&report, from, until);
    comparison.figures.add(side, p99, during);
    comparison.figures.add(side, ratio, during / quiet_p99);
    if side == Side::Ours {
        let log = ensemble.servers[leader].log().split_off(logged);
        if log.contains("sending a snapshot to a learner") != loses_data {
            eprintln!(
                "  NOTE: it came back the other way; a DIFF needs a tree of a million znodes"
            );
        }
    }
    Ok(())
}

/// Over the seconds that have part in this time.
fn p99_between(report: &Report, from: Instant, until: Instant) -> f64 {
    let mut latency = histogram();
    for (index, second) in report.recorder.whole_seconds().iter().enumerate() {
        let begins = report.began + Duration::from_secs(index as u64);
        if begins < until && begins + Duration::from_secs(1) > from {
            latency.add(&second.latency).expect("it holds as much");
        }
    }
    p99_us(&latency)
}
