//! What a Prometheus that scrapes every second costs under full load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use oxikeeper_bench::{BenchError, Workload};

use crate::compare::Comparison;
use crate::server::{Server, Side, free_address};

const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// Measurements with and without, in turn.
const PAIRS: usize = 5;

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
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        without.push(cpu_per_read(comparison, &server)?);
        let scraper = Scraper::start(metrics);
        let cpu = cpu_per_read(comparison, &server);
        let scrapes = scraper.stop().map_err(&failed)?;
        assert!(scrapes > 0, "it scrapes at once");
        with.push(cpu?);
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[PAIRS / 2]
    };
    let cost = (median(with) / median(without) - 1.0) * 100.0;
    comparison.figures.add(Side::Ours, "metrics-cost", cost);
    drop(server);
    comparison.remove(Side::Ours, &name);
    Ok(())
}

/// Processor time of the server, scrapes included, for one read.
fn cpu_per_read(comparison: &Comparison, server: &Server) -> Result<f64, BenchError> {
    let mut options = comparison.options(Workload::Get, server);
    options.pipeline = 16;
    Ok(oxikeeper_bench::run(&options)?.server_cpu_us().unwrap_or(f64::NAN))
}

/// Scrapes until it is stopped.
struct Scraper {
    stop: Sender<()>,
    thread: JoinHandle<std::io::Result<usize>>,
}

impl Scraper {
    fn start(address: SocketAddr) -> Scraper {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut scrapes = 0;
            loop {
                scrape(address)?;
                scrapes += 1;
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return Ok(scrapes);
                }
            }
        });
        Scraper { stop, thread }
    }

    fn stop(self) -> std::io::Result<usize> {
        // It has ended already if a scrape failed.
        let _ = self.stop.send(());
        self.thread.join().expect("it does not panic")
    }
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
