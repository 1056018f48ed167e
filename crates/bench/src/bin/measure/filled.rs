//! A million znodes: the fill, the memory, the watches, the start, the snapshots.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use oxikeeper_bench::recorder::histogram;
use oxikeeper_bench::{BenchError, Options, Report, Workload};

use crate::compare::Comparison;
use crate::load::checked;
use crate::server::{Server, Side, snapshots};

/// So long nothing has happened to the snapshots when one is taken to be finished.
const QUIET: Duration = Duration::from_secs(3);
const QUIET_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the snapshots.
const LOOK: Duration = Duration::from_millis(20);
/// A snapCount that is never reached.
const NO_SNAPSHOTS: &str = "snapCount=2000000000";

/// One round: Apache, then ours.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    let rows = ["fill", "memory-znode", "memory-watch", "memory-shared-watch", "start-million"];
    let wants_snapshot = comparison.wants("snapshot");
    if !wants_snapshot && !rows.iter().any(|row| comparison.wants(row)) {
        return Ok(());
    }
    let name = comparison.fresh("filled");
    for &side in comparison.sides {
        fill(comparison, side, &name)?;
        if comparison.wants("memory-watch") || comparison.wants("start-million") {
            watches(comparison, side, &name, false)?;
        }
        if comparison.wants("memory-shared-watch") || comparison.wants("start-million") {
            watches(comparison, side, &name, true)?;
        }
        if wants_snapshot {
            snapshot(comparison, side, &name)?;
        }
        comparison.remove(side, &name);
    }
    Ok(())
}

fn fill(comparison: &mut Comparison, side: Side, name: &str) -> Result<(), BenchError> {
    let server = Server::start(&comparison.place, side, name, "")?;
    comparison.warm_up(&server)?;
    // Above the warmed-up state, so that a JVM's garbage of warming up is not taken for znodes.
    thread::sleep(Duration::from_secs(1));
    let empty = server.rss()?;
    let mut options = comparison.options(Workload::Fill, &server);
    options.root = "/".to_owned();
    options.pipeline = 16;
    options.warm_up = None;
    options.count = Some(comparison.znodes);
    let report = checked(oxikeeper_bench::run(&options)?);
    comparison.figures.add(side, "fill", report.per_second());
    wait_for_quiet(&server);
    let grown = server.rss()? as f64 - empty as f64;
    comparison.figures.add(side, "memory-znode", grown / comparison.znodes as f64);
    Ok(())
}

/// Until no snapshot has changed for a while.
fn wait_for_quiet(server: &Server) {
    let began = Instant::now();
    let mut since = began;
    let mut last = server.snapshots();
    while since.elapsed() < QUIET && began.elapsed() < QUIET_PATIENCE {
        thread::sleep(LOOK);
        let now = server.snapshots();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

fn watches(
    comparison: &mut Comparison,
    side: Side,
    name: &str,
    shared: bool,
) -> Result<(), BenchError> {
    let server = Server::start(&comparison.place, side, name, "")?;
    comparison.figures.add(side, "start-million", server.start.as_secs_f64() * 1e3);
    // What a start leaves behind is given back, or not, by then.
    thread::sleep(Duration::from_secs(2));
    let mut options = comparison.options(Workload::Watches, &server);
    options.root = "/".to_owned();
    options.no_setup = true;
    options.warm_up = None;
    options.shared = shared;
    options.pipeline = 4;
    let (connections, nodes) = if shared { (1000, 1000) } else { (50, comparison.znodes / 50) };
    (options.connections, options.count) = (connections, Some(nodes));
    let report = checked(oxikeeper_bench::run(&options)?);
    let row = if shared { "memory-shared-watch" } else { "memory-watch" };
    comparison.figures.add(side, row, grown_each(&report, report.recorder.items()));
    Ok(())
}

fn grown_each(report: &Report, count: u64) -> f64 {
    let (before, after) = report.server.expect("the process id was given");
    (after.rss as f64 - before.rss as f64) / count as f64
}

fn snapshot(comparison: &mut Comparison, side: Side, name: &str) -> Result<(), BenchError> {
    let server = Server::start(&comparison.place, side, name, NO_SNAPSHOTS)?;
    if side == Side::Apache && !comparison.has_maximum(Workload::Set) {
        let mut options = comparison.options(Workload::Set, &server);
        options.pipeline = 16;
        let rate = oxikeeper_bench::run(&options)?.per_second();
        comparison.note_maximum(side, Workload::Set, rate);
    }
    let options = open_loop(comparison, &server);
    let quiet = checked(oxikeeper_bench::run(&options)?);
    drop(server);
    let quiet_p99 = quiet.latency().value_at_quantile(0.99) as f64 / 1e3;
    comparison.figures.add(side, "snapshot-quiet-p99", quiet_p99);

    let server = Server::start(&comparison.place, side, name, "")?;
    let options = open_loop(comparison, &server);
    let observer = Observer::start(server.version_dir());
    let report = checked(oxikeeper_bench::run(&options)?);
    let activity = observer.stop();
    let mut latency = histogram();
    for (index, second) in report.recorder.whole_seconds().iter().enumerate() {
        let from = report.began + Duration::from_secs(index as u64);
        let until = from + Duration::from_secs(1);
        if activity.iter().any(|at| (from..until).contains(at)) {
            latency.add(&second.latency).expect("it holds as much");
        }
    }
    if latency.is_empty() {
        eprintln!("  NOTE: {} wrote no snapshot in that time", side.name());
        return Ok(());
    }
    let p99 = latency.value_at_quantile(0.99) as f64 / 1e3;
    comparison.figures.add(side, "snapshot-p99", p99);
    comparison.figures.add(side, "snapshot-ratio", p99 / quiet_p99);
    let worst = report.worst_second().unwrap_or(0) as f64;
    comparison.figures.add(side, "snapshot-worst", worst / report.per_second());
    Ok(())
}

fn open_loop(comparison: &Comparison, server: &Server) -> Options {
    let mut options = comparison.options(Workload::Set, server);
    options.pipeline = 16;
    options.rate = Some(comparison.half_maximum(Workload::Set));
    options.duration = comparison.duration_s * 4.0;
    options
}

/// Notes when snapshots were being written.
struct Observer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Observer {
    fn start(dir: PathBuf) -> Observer {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut activity = Vec::new();
            let mut last = snapshots(&dir);
            while !seen.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                let now = snapshots(&dir);
                if now != last {
                    last = now;
                    activity.push(Instant::now());
                }
            }
            activity
        });
        Observer { stop, thread }
    }

    fn stop(self) -> Vec<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only looks at files")
    }
}
