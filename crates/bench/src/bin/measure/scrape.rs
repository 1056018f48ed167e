//! What a Prometheus that scrapes every second costs under full load.
//!
//! Processor time per read differs from one measurement to the next by more than a scrape costs: what it
//! costs is therefore taken from many scrapes, less what the idle server takes in the same time, and set
//! against what a second of full load takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_bench::process::usage;
use oxikeeper_bench::{BenchError, Workload};

use crate::compare::Comparison;
use crate::server::{Server, Side, free_address};

const PATIENCE: Duration = Duration::from_secs(10);
/// Scrapes per second while they are measured: what they cost stands out, and one costs what it costs.
const SCRAPES_PER_SECOND: u32 = 50;

/// One round, on our server.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    if !comparison.wants("metrics-cost") {
        return Ok(());
    }
    let failed = BenchError::system("the metrics");
    let metrics = free_address().map_err(&failed)?;
    let name = comparison.fresh("scrape");
    let settings = format!(
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpHost={}\nmetricsProvider.httpPort={}",
        metrics.ip(),
        metrics.port()
    );
    let server = Server::start(&comparison.place, Side::Ours, &name, &settings)?;
    // What a second of full load takes.
    let mut options = comparison.options(Workload::Get, &server);
    options.pipeline = 16;
    let report = oxikeeper_bench::run(&options)?;
    let loaded_us = report.server_cpu_us().unwrap_or(f64::NAN) * report.per_second();
    // What a scrape takes of a server with sessions and a tree.
    let seconds = comparison.duration_s.max(1.0) as u32;
    let before = cpu_us(&server)?;
    let scrapes = scrape_for(metrics, seconds).map_err(&failed)?;
    let during = cpu_us(&server)? - before;
    let before = cpu_us(&server)?;
    thread::sleep(Duration::from_secs(seconds.into()));
    let idle = cpu_us(&server)? - before;
    let scrape_us = (during - idle) / f64::from(scrapes);
    comparison.figures.add(Side::Ours, "metrics-cost", scrape_us / loaded_us * 100.0);
    drop(server);
    comparison.remove(Side::Ours, &name);
    Ok(())
}

/// Processor time of the server so far, microseconds.
fn cpu_us(server: &Server) -> Result<f64, BenchError> {
    Ok(usage(server.pid())?.cpu_s * 1e6)
}

/// Scrapes evenly for so many seconds; how often.
fn scrape_for(address: SocketAddr, seconds: u32) -> std::io::Result<u32> {
    let (began, count) = (Instant::now(), seconds * SCRAPES_PER_SECOND);
    for number in 0..count {
        let due = Duration::from_secs(1) / SCRAPES_PER_SECOND * number;
        thread::sleep(due.saturating_sub(began.elapsed()));
        scrape(address)?;
    }
    Ok(count)
}

fn scrape(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let is_good = text.starts_with(b"HTTP/1.1 200") && text.len() > 1000;
    is_good.then_some(()).ok_or_else(|| std::io::Error::other("no metrics in the answer"))
}
