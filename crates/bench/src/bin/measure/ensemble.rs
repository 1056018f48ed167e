//! Three servers each: throughput, latency, and how long a killed leader is missed.

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_bench::client::{Client, four_letter_word, resolve};
use oxikeeper_bench::{BenchError, Options, Report, Workload};

use crate::compare::Comparison;
use crate::load::checked;
use crate::server::{Place, Server, Side, free_address};

/// How many leaders are killed in one round.
const FAILOVERS: usize = 10;
/// Clients that write all the while.
const WRITERS: usize = 4;
/// How long a word, a handshake or a write may take before another server is tried.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long an ensemble may take to come in step.
const PATIENCE: Duration = Duration::from_secs(90);

/// One round: Apache, then ours.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    if !comparison.wants("ensemble") {
        return Ok(());
    }
    for &side in comparison.sides {
        let name = comparison.fresh("ensemble");
        let mut ensemble = Ensemble::start(&comparison.place, side, &name)?;
        loads(comparison, side, &ensemble)?;
        if comparison.wants("ensemble-failover") {
            let mut gaps = failovers(comparison, &mut ensemble)?;
            gaps.sort_by(f64::total_cmp);
            let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            comparison.figures.add(side, "ensemble-failover-p50", median);
            comparison.figures.add(side, "ensemble-failover-worst", worst);
        }
        drop(ensemble);
        comparison.remove(side, &name);
    }
    Ok(())
}

struct Ensemble {
    side: Side,
    name: String,
    settings: String,
    servers: Vec<Server>,
}

impl Ensemble {
    fn start(place: &Place, side: Side, name: &str) -> Result<Ensemble, BenchError> {
        let mut settings = "initLimit=10\nsyncLimit=5".to_owned();
        for id in 1..=3 {
            let free = || free_address().map_err(BenchError::system("no free port"));
            let (quorum, election) = (free()?.port(), free()?.port());
            settings += &format!("\nserver.{id}=127.0.0.1:{quorum}:{election}");
        }
        let mut ensemble = Ensemble { side, name: name.to_owned(), settings, servers: Vec::new() };
        for id in 1..=3 {
            let server = ensemble.launch(place, id)?;
            ensemble.servers.push(server);
        }
        for server in &mut ensemble.servers {
            server.wait(side)?;
        }
        Ok(ensemble)
    }

    fn launch(&self, place: &Place, id: usize) -> Result<Server, BenchError> {
        let name = format!("{}/{id}", self.name);
        let failed = BenchError::system("no directory for a server");
        let data = place.dir.join(self.side.name()).join(&name).join("data");
        std::fs::create_dir_all(&data).map_err(&failed)?;
        std::fs::write(data.join("myid"), format!("{id}\n")).map_err(&failed)?;
        Server::launch(place, self.side, &name, &self.settings, "1g")
    }

    /// All of them, for a client that is to choose.
    fn addresses(&self) -> String {
        let all: Vec<String> = self.servers.iter().map(Server::address).collect();
        all.join(",")
    }

    /// The place in the list of a server in this mode.
    fn find(&self, mode: &str) -> Option<usize> {
        let mode = format!("Mode: {mode}\n");
        self.servers.iter().position(|server| {
            let address = resolve(&server.address()).ok();
            let text = address.and_then(|address| four_letter_word(address, "srvr", ATTEMPT));
            text.is_some_and(|text| text.contains(&mode))
        })
    }

    fn wait_for(&self, mode: &str) -> Result<usize, BenchError> {
        let began = Instant::now();
        loop {
            match self.find(mode) {
                Some(index) => return Ok(index),
                None if began.elapsed() > PATIENCE => return Err(BenchError::Refused),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn loads(comparison: &mut Comparison, side: Side, ensemble: &Ensemble) -> Result<(), BenchError> {
    let loads = ["ensemble-writes", "ensemble-write-", "ensemble-reads", "ensemble-mixed"];
    if !loads.iter().any(|name| comparison.wants(name)) {
        return Ok(());
    }
    let (all, seconds) = (ensemble.addresses(), comparison.duration_s);
    let run = |workload, servers: &str, connections, pipeline, duration| {
        let mut options = Options::new(workload, servers);
        (options.connections, options.pipeline) = (connections, pipeline);
        options.duration = duration;
        Ok::<Report, BenchError>(checked(oxikeeper_bench::run(&options)?))
    };
    if comparison.warm_up_s > 0.0 {
        run(Workload::Mixed, &all, 50, 16, comparison.warm_up_s)?;
    }
    let at = |report: &Report, q| report.latency().value_at_quantile(q) as f64 / 1e3;
    let writes = run(Workload::Set, &all, 50, 16, seconds)?;
    comparison.figures.add(side, "ensemble-writes-50x16", writes.per_second());
    comparison.figures.add(side, "ensemble-writes-p99", at(&writes, 0.99));
    let writes = run(Workload::Set, &all, 50, 1, seconds)?;
    comparison.figures.add(side, "ensemble-writes-50x1", writes.per_second());
    for (mode, name) in
        [("leader", "ensemble-write-p50-leader"), ("follower", "ensemble-write-p50-follower")]
    {
        let server = ensemble.servers[ensemble.wait_for(mode)?].address();
        comparison.figures.add(side, name, at(&run(Workload::Set, &server, 1, 1, seconds)?, 0.5));
    }
    let reads = run(Workload::Get, &all, 48, 16, seconds)?;
    comparison.figures.add(side, "ensemble-reads-48x16", reads.per_second());
    let mixed = run(Workload::Mixed, &all, 50, 16, seconds)?;
    comparison.figures.add(side, "ensemble-mixed-50x16", mixed.per_second());
    Ok(())
}

/// Kills leaders under load; for each the milliseconds to the next acknowledged write.
fn failovers(comparison: &Comparison, ensemble: &mut Ensemble) -> Result<Vec<f64>, BenchError> {
    let addresses: Vec<_> = ensemble
        .servers
        .iter()
        .map(|server| resolve(&server.address()))
        .collect::<Result<_, _>>()?;
    let over = AtomicBool::new(false);
    let (sender, acknowledged) = mpsc::channel();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (sender, over, addresses) = (sender.clone(), &over, &addresses);
            scope.spawn(move || {
                let path = format!("/failover{writer}");
                let mut servers = addresses.iter().cycle().skip(writer);
                while !over.load(Ordering::Relaxed) {
                    let Some(address) = servers.next() else { return };
                    let Ok(mut client) = Client::connect_within(*address, ATTEMPT) else {
                        continue;
                    };
                    while !over.load(Ordering::Relaxed)
                        && client.ensure(iter::once(path.clone()), b"x").is_ok()
                    {
                        // Nobody listens any more once it is over.
                        let _ = sender.send(Instant::now());
                    }
                }
            });
        }
        let gaps = kill_leaders(comparison, ensemble, &acknowledged);
        over.store(true, Ordering::Relaxed);
        gaps
    })
}

fn kill_leaders(
    comparison: &Comparison,
    ensemble: &mut Ensemble,
    acknowledged: &mpsc::Receiver<Instant>,
) -> Result<Vec<f64>, BenchError> {
    let failed = BenchError::system("a server does not come back");
    let mut gaps = Vec::new();
    for _ in 0..FAILOVERS {
        let leader = ensemble.wait_for("leader")?;
        // Some writes first, so that the load runs.
        for _ in 0..50 {
            acknowledged.recv_timeout(PATIENCE).map_err(|_| BenchError::Refused)?;
        }
        ensemble.servers[leader].kill();
        let killed = Instant::now();
        loop {
            let at = acknowledged.recv_timeout(PATIENCE).map_err(|_| BenchError::Refused)?;
            if at > killed {
                gaps.push(at.duration_since(killed).as_secs_f64() * 1e3);
                break;
            }
        }
        ensemble.servers[leader].restart(&comparison.place, ensemble.side).map_err(&failed)?;
        ensemble.servers[leader].wait(ensemble.side)?;
    }
    Ok(gaps)
}
