//! Apache ZooKeeper 3.9.5 and ours, alternately, and a table of medians and ratios: `bench/compare`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use oxikeeper_bench::{BenchError, Options, Workload};

use crate::figures::{Figures, ROWS};
use crate::server::{Place, Server, Side};
use crate::{ensemble, filled, load, rejoin, scrape, sessions};

/// Options of the comparison.
#[derive(Args)]
pub struct Arguments {
    /// Rows to measure, by the beginnings of their names, comma separated; `list` lists them.
    #[arg(long, default_value = "")]
    rows: String,
    /// Rounds; each runs Apache, then ours.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One round, short and small, to see that everything works. Its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// Seconds of warming up, for the just-in-time compiler.
    #[arg(long, default_value_t = 20.0)]
    warm_up: f64,
    /// Leaders killed in one round.
    #[arg(long, default_value_t = 50)]
    failovers: usize,
    /// Znodes of a filled tree.
    #[arg(long, default_value_t = 1_000_000)]
    znodes: u64,
    /// One side alone, to see what a change does to it.
    #[arg(long)]
    side: Option<Side>,
    #[command(flatten)]
    place: Place,
}

/// What is measured, and what came out so far.
pub struct Comparison {
    /// Programs and data.
    pub place: Place,
    /// Results.
    pub figures: Figures,
    /// Seconds of one measurement.
    pub duration_s: f64,
    /// Seconds of warming up.
    pub warm_up_s: f64,
    /// Nodes of a filled tree.
    pub znodes: u64,
    /// Leaders killed in one round.
    pub failovers: usize,
    /// Whose servers, in this order.
    pub sides: &'static [Side],
    rows: Vec<String>,
    servers: usize,
    /// Apache's latest maximum: reads, writes.
    maxima: BTreeMap<&'static str, f64>,
}

impl Comparison {
    /// Nothing measured yet. Rows are chosen by the beginnings of their names; none means all.
    pub fn new(place: Place, sides: &'static [Side], rows: &str) -> Comparison {
        Comparison {
            place,
            figures: Figures::default(),
            duration_s: 5.0,
            warm_up_s: 0.0,
            znodes: 1_000_000,
            failovers: 50,
            sides,
            rows: rows.split(',').filter(|row| !row.is_empty()).map(str::to_owned).collect(),
            servers: 0,
            maxima: BTreeMap::new(),
        }
    }

    /// Whether a row, or one of those whose names begin so, was chosen.
    pub fn wants(&self, name: &str) -> bool {
        self.rows.is_empty()
            || self.rows.iter().any(|row| row.starts_with(name) || name.starts_with(row.as_str()))
    }

    /// Whether this very row was chosen.
    pub fn chose(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| name.starts_with(row.as_str()))
    }

    /// A name for the data of another server.
    pub fn fresh(&mut self, what: &str) -> String {
        self.servers += 1;
        format!("{what}-{}", self.servers)
    }

    /// Removes the data of a server that has ended.
    pub fn remove(&self, side: Side, name: &str) {
        // What is left over is removed with the whole directory.
        let _ = std::fs::remove_dir_all(self.place.dir.join(side.name()).join(name));
    }

    /// A load on a server.
    pub fn options(&self, workload: Workload, server: &Server) -> Options {
        let mut options = Options::new(workload, server.address());
        options.pid = Some(server.pid());
        options.duration = self.duration_s;
        options
    }

    /// Reads and writes for a while, so that a just-in-time compiler has done its work.
    ///
    /// # Errors
    /// As [`oxikeeper_bench::run()`].
    pub fn warm_up(&self, server: &Server) -> Result<(), BenchError> {
        if self.warm_up_s == 0.0 {
            return Ok(());
        }
        let mut options = self.options(Workload::Mixed, server);
        (options.pipeline, options.writes) = (16, 30);
        (options.warm_up, options.duration) = (Some(0.0), self.warm_up_s);
        oxikeeper_bench::run(&options).map(|_| ())
    }

    /// Everything once.
    ///
    /// # Errors
    /// Whatever keeps it from being measured.
    pub fn round(&mut self) -> Result<(), BenchError> {
        load::round(self)?;
        sessions::round(self)?;
        scrape::round(self)?;
        ensemble::round(self)?;
        filled::round(self)?;
        rejoin::round(self)
    }

    /// Remembers what Apache can do.
    pub fn note_maximum(&mut self, side: Side, workload: Workload, per_second: f64) {
        if side == Side::Apache {
            self.maxima.insert(maximum_name(workload), per_second);
        }
    }

    /// Remembers what three of Apache's can do.
    pub fn note_ensemble_maximum(&mut self, side: Side, per_second: f64) {
        if side == Side::Apache {
            self.maxima.insert("ensemble writes", per_second);
        }
    }

    /// Half of what three of Apache's can do, if that is known.
    pub fn half_ensemble_maximum(&self) -> Option<f64> {
        self.maxima.get("ensemble writes").map(|maximum| maximum / 2.0)
    }

    /// Whether Apache has been measured.
    pub fn has_maximum(&self, workload: Workload) -> bool {
        self.maxima.contains_key(maximum_name(workload))
    }

    /// Half of what Apache can do, or as much as that is about where it was not measured.
    pub fn half_maximum(&self, workload: Workload) -> f64 {
        self.maxima.get(maximum_name(workload)).map_or(RATE, |maximum| maximum / 2.0)
    }
}

/// Requests per second of an open loop, where Apache's maximum was not measured.
const RATE: f64 = 40_000.0;

fn maximum_name(workload: Workload) -> &'static str {
    if workload == Workload::Get { "reads" } else { "writes" }
}

/// Measures and prints.
pub fn main(arguments: Arguments) -> ExitCode {
    if arguments.rows == "list" {
        for row in ROWS {
            println!("{:<22}{}", row.name, row.title);
        }
        return ExitCode::SUCCESS;
    }
    let sides = match arguments.side {
        None => &Side::BOTH[..],
        Some(Side::Apache) => &Side::BOTH[..1],
        Some(Side::Ours) => &Side::BOTH[1..],
    };
    let mut comparison = Comparison::new(arguments.place, sides, &arguments.rows);
    (comparison.znodes, comparison.failovers) = (arguments.znodes, arguments.failovers);
    comparison.duration_s = arguments.duration;
    comparison.warm_up_s = arguments.warm_up;
    let mut rounds = arguments.rounds;
    if arguments.quick {
        (comparison.duration_s, comparison.warm_up_s, comparison.znodes) = (2.0, 3.0, 50_000);
        comparison.failovers = 3;
        rounds = 1;
    }
    let mut code = ExitCode::SUCCESS;
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        if let Err(error) = comparison.round() {
            crate::complain(&error);
            code = ExitCode::FAILURE;
            break;
        }
    }
    print!("{}", comparison.figures.markdown());
    code
}
