//! Three servers each: throughput, latency, and how long a killed leader is missed.

use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_bench::client::{four_letter_word, resolve};
use oxikeeper_bench::{BenchError, Options, Report, Workload};

use crate::compare::Comparison;
use crate::failover::failovers;
use crate::load::checked;
use crate::server::{Place, Server, Side, free_address};

/// How long a word, a handshake or a write may take before another server is tried.
pub const ATTEMPT: Duration = Duration::from_secs(5);
/// How long an ensemble may take to come in step.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// One round: Apache, then ours.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    if !LOADS.iter().chain(&["ensemble-failover"]).any(|name| comparison.wants(name)) {
        return Ok(());
    }
    for &side in comparison.sides {
        let name = comparison.fresh("ensemble");
        let mut ensemble = Ensemble::start(&comparison.place, side, &name, "")?;
        loads(comparison, side, &ensemble)?;
        failovers(comparison, &mut ensemble, ["ensemble-failover-p50", "ensemble-failover-worst"])?;
        drop(ensemble);
        comparison.remove(side, &name);
    }
    Ok(())
}

/// Three servers.
pub struct Ensemble {
    /// Whose.
    pub side: Side,
    name: String,
    settings: String,
    /// By their ids.
    pub servers: Vec<Server>,
}

impl Ensemble {
    /// Starts them, and waits until all serve.
    ///
    /// # Errors
    /// If they do not.
    pub fn start(
        place: &Place,
        side: Side,
        name: &str,
        more: &str,
    ) -> Result<Ensemble, BenchError> {
        let mut settings = format!("initLimit=10\nsyncLimit=5\n{more}");
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
    pub fn addresses(&self) -> String {
        let all: Vec<String> = self.servers.iter().map(Server::address).collect();
        all.join(",")
    }

    /// The place in the list of a server in this mode.
    pub fn find(&self, mode: &str) -> Option<usize> {
        let mode = format!("Mode: {mode}\n");
        self.servers.iter().position(|server| {
            let address = resolve(&server.address()).ok();
            let text = address.and_then(|address| four_letter_word(address, "srvr", ATTEMPT));
            text.is_some_and(|text| text.contains(&mode))
        })
    }

    /// The same, as soon as there is one.
    ///
    /// # Errors
    /// If there is none for long.
    pub fn wait_for(&self, mode: &str) -> Result<usize, BenchError> {
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

const LOADS: [&str; 4] = ["ensemble-writes", "ensemble-write-", "ensemble-reads", "ensemble-mixed"];

fn loads(comparison: &mut Comparison, side: Side, ensemble: &Ensemble) -> Result<(), BenchError> {
    if !LOADS.iter().any(|name| comparison.wants(name)) {
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
    comparison.note_ensemble_maximum(side, writes.per_second());
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
