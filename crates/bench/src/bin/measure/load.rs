//! Throughput, processor time and latency of a server with a thousand nodes.

use std::time::Duration;

use oxikeeper_bench::{BenchError, Options, Report, Workload};

use crate::compare::Comparison;
use crate::disk;
use crate::server::{Server, Side};
use crate::syscalls;

/// Requests that an open loop has in flight at most, per connection. With 50 connections this stays
/// below the thousand at which Apache stops to read.
const OPEN_DEPTH: usize = 16;

/// One round: Apache, then ours.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    let loaded = ["reads", "writes", "mixed", "cpu", "latency", "open", "syscalls"];
    let is_loaded = loaded.iter().any(|name| comparison.wants(name));
    if !is_loaded && !comparison.wants("memory-idle") && !comparison.wants("start-empty") {
        return Ok(());
    }
    for &side in comparison.sides {
        let name = comparison.fresh("load");
        let server = Server::start(&comparison.place, side, &name, "")?;
        comparison.figures.add(side, "start-empty", server.start.as_secs_f64() * 1e3);
        // What a start leaves behind is given back, or not, within a second.
        std::thread::sleep(Duration::from_secs(1));
        comparison.figures.add(side, "memory-idle", server.rss()? as f64 / 1e6);
        if is_loaded {
            loads(comparison, side, &server)?;
        }
        drop(server);
        comparison.remove(side, &name);
    }
    Ok(())
}

fn loads(comparison: &mut Comparison, side: Side, server: &Server) -> Result<(), BenchError> {
    comparison.warm_up(server)?;
    let figures = |comparison: &mut Comparison, rows: &[(&'static str, f64)]| {
        for (name, value) in rows {
            comparison.figures.add(side, name, *value);
        }
    };
    if comparison.wants("reads-50x16") || comparison.wants("open") || comparison.wants("cpu") {
        let report = run(comparison, Workload::Get, server, 50, 16)?;
        let cpu = report.server_cpu_us().unwrap_or(f64::NAN);
        let rate = report.per_second();
        figures(comparison, &[("reads-50x16", rate), ("cpu-reads-50x16", cpu)]);
        comparison.note_maximum(side, Workload::Get, rate);
    }
    if comparison.wants("reads-50x1") || comparison.wants("cpu") {
        let report = run(comparison, Workload::Get, server, 50, 1)?;
        let cpu = report.server_cpu_us().unwrap_or(f64::NAN);
        figures(comparison, &[("reads-50x1", report.per_second()), ("cpu-reads-50x1", cpu)]);
    }
    if comparison.wants("writes-50x16") || comparison.wants("open") || comparison.wants("cpu") {
        let report = run(comparison, Workload::Set, server, 50, 16)?;
        let cpu = report.server_cpu_us().unwrap_or(f64::NAN);
        let rate = report.per_second();
        figures(comparison, &[("writes-50x16", rate), ("cpu-writes-50x16", cpu)]);
        comparison.note_maximum(side, Workload::Set, rate);
    }
    if comparison.wants("mixed") {
        let report = run(comparison, Workload::Mixed, server, 50, 16)?;
        figures(comparison, &[("mixed-50x16", report.per_second())]);
    }
    if comparison.wants("writes-50x1") {
        let report = run(comparison, Workload::Set, server, 50, 1)?;
        figures(comparison, &[("writes-50x1", report.per_second())]);
    }
    if comparison.wants("latency") {
        let report = run(comparison, Workload::Set, server, 1, 1)?;
        let at = |report: &Report, q| report.latency().value_at_quantile(q) as f64 / 1e3;
        let (p50, p99) = (at(&report, 0.5), at(&report, 0.99));
        figures(comparison, &[("latency-write-p50", p50), ("latency-write-p99", p99)]);
        let failed = BenchError::system("the disk probe");
        let disk = disk::durable_write_us(&server.version_dir()).map_err(failed)?;
        let read = at(&run(comparison, Workload::Get, server, 1, 1)?, 0.5);
        figures(comparison, &[("latency-disk-p50", disk), ("latency-read-p50", read)]);
    }
    if comparison.wants("open") {
        for (workload, p99, worst) in [
            (Workload::Get, "open-reads-p99", "open-reads-worst"),
            (Workload::Set, "open-writes-p99", "open-writes-worst"),
        ] {
            let mut options = comparison.options(workload, server);
            options.pipeline = OPEN_DEPTH;
            options.rate = Some(comparison.half_maximum(workload));
            options.duration = comparison.duration_s * 2.0;
            let report = checked(oxikeeper_bench::run(&options)?);
            let at = report.latency().value_at_quantile(0.99) as f64 / 1e3;
            figures(comparison, &[(p99, at), (worst, worst_p99_us(&report))]);
        }
    }
    if comparison.wants("syscalls") {
        let calls = syscalls::per_read(server, &comparison.place.dir)?;
        figures(comparison, &[("syscalls-read", calls)]);
    }
    Ok(())
}

fn run(
    comparison: &Comparison,
    workload: Workload,
    server: &Server,
    connections: usize,
    pipeline: usize,
) -> Result<Report, BenchError> {
    let mut options: Options = comparison.options(workload, server);
    (options.connections, options.pipeline) = (connections, pipeline);
    Ok(checked(oxikeeper_bench::run(&options)?))
}

/// A load that the server answered with errors measures something else.
pub fn checked(report: Report) -> Report {
    if report.errors() > 0 {
        eprintln!("  NOTE: {} replies with an error code", report.errors());
    }
    report
}

/// The largest p99 of a complete second, microseconds.
fn worst_p99_us(report: &Report) -> f64 {
    let seconds = report.recorder.whole_seconds().iter();
    let p99 = seconds.map(|second| second.latency.value_at_quantile(0.99));
    p99.max().unwrap_or(0) as f64 / 1e3
}
