//! The command line.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::error::BenchError;

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// getData on random nodes.
    Get,
    /// setData on random nodes.
    Set,
    /// getData and setData, see --writes.
    Mixed,
    /// create, a thousand children under each parent.
    Create,
    /// delete of nodes that were created before; --count says how many.
    Delete,
    /// getChildren2 of one node with --children children.
    #[value(alias = "getChildren")]
    GetChildren,
    /// multi of --batch setData.
    Multi,
    /// --count znodes: a thousand children under each parent, names of ten characters.
    Fill,
    /// getData that leaves a one-shot watch, on --count nodes per connection.
    Watches,
    /// Sessions that do nothing but ping: --connections of them.
    Idle,
}

/// Options of `oxikeeper bench`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What is asked of the server.
    pub workload: Workload,
    /// The server; of several, separated by commas, each has its share of the connections.
    #[arg(short, long, default_value = "127.0.0.1:2181")]
    pub server: String,
    /// Connections, each with a session of its own.
    #[arg(short, long, default_value_t = 50)]
    pub connections: usize,
    /// Requests in flight per connection, at most.
    #[arg(short, long, default_value_t = 1)]
    pub pipeline: usize,
    /// Threads of the generator; connections are shared out among them.
    #[arg(short, long, default_value_t = 1)]
    pub threads: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Nodes that get, set, mixed and multi choose from.
    #[arg(long, default_value_t = 1000)]
    pub keys: u32,
    /// Writes in a mixed load, percent.
    #[arg(long, default_value_t = 10)]
    pub writes: u32,
    /// Operations in a multi. For fill: creates in a multi, 1 for single creates.
    #[arg(long)]
    pub batch: Option<u32>,
    /// Children of the node whose children are listed.
    #[arg(long, default_value_t = 100)]
    pub children: u32,
    /// Watches: every connection watches the same nodes, instead of nodes of its own.
    #[arg(long)]
    pub shared: bool,
    /// Open loop: requests per second, all connections together. Latency counts from the time at
    /// which a request was due. Without it: closed loop.
    #[arg(short, long)]
    pub rate: Option<f64>,
    /// Seconds of load before anything counts.
    #[arg(short, long)]
    pub warm_up: Option<f64>,
    /// Seconds that count.
    #[arg(short, long, default_value_t = 10.0)]
    pub duration: f64,
    /// Requests that count, instead of a time; for fill, znodes.
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// The node below which everything happens.
    #[arg(long, default_value = "/bench")]
    pub root: String,
    /// The nodes are there already: prepare nothing.
    #[arg(long)]
    pub no_setup: bool,
    /// Delete everything below --root at the end.
    #[arg(long)]
    pub clean: bool,
    /// Process id of the server, if it runs here: its processor time and memory are reported.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Seconds between the last reply and the look at the server's memory, in which it may give back
    /// what it needed for the load: 2 for watches, else 0.
    #[arg(long)]
    pub settle: Option<f64>,
    /// Session timeout to ask for, milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub session_timeout: i32,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// What the command line gives without any option, for callers that are no command line.
    pub fn new(workload: Workload, server: impl Into<String>) -> Options {
        Options {
            workload,
            server: server.into(),
            connections: 50,
            pipeline: 1,
            threads: 1,
            size: 100,
            keys: 1000,
            writes: 10,
            batch: None,
            children: 100,
            shared: false,
            rate: None,
            warm_up: None,
            duration: 10.0,
            count: None,
            root: "/bench".to_owned(),
            no_setup: false,
            clean: false,
            pid: None,
            settle: None,
            session_timeout: 30_000,
            json: false,
        }
    }

    /// How many requests end the run, where it is not a time that does.
    pub fn count(&self) -> Option<u64> {
        match (self.count, self.workload) {
            (Some(count), _) => Some(count),
            (None, Workload::Fill) => Some(1_000_000),
            (None, Workload::Delete) => Some(100_000),
            (None, Workload::Watches) => Some(1000),
            (None, _) => None,
        }
    }

    /// Operations in one request.
    pub fn batch(&self) -> u32 {
        match self.workload {
            Workload::Multi => self.batch.unwrap_or(10),
            Workload::Fill => self.batch.unwrap_or(1),
            _ => 1,
        }
    }

    /// Time before anything counts: two seconds, unless requests are counted or none are made.
    pub fn warm_up(&self) -> Duration {
        let counts = self.count().is_some() || self.workload == Workload::Idle;
        let default = if counts { 0.0 } else { 2.0 };
        Duration::from_secs_f64(self.warm_up.unwrap_or(default))
    }

    /// Time between the last reply and the look at the server's memory.
    pub fn settle(&self) -> Duration {
        let default = if self.workload == Workload::Watches { 2.0 } else { 0.0 };
        Duration::from_secs_f64(self.settle.unwrap_or(default))
    }

    /// What makes no sense is refused before anything happens.
    ///
    /// # Errors
    /// [`BenchError::Options`] with the reason.
    pub fn check(&self) -> Result<(), BenchError> {
        let finite = |value: f64| value.is_finite() && value >= 0.0;
        let complaint = if self.connections == 0 || self.pipeline == 0 || self.threads == 0 {
            "--connections, --pipeline and --threads are at least 1"
        } else if self.threads > self.connections {
            "more threads than connections"
        } else if self.keys == 0 {
            "--keys is at least 1"
        } else if self.writes > 100 {
            "--writes is a percentage"
        } else if self.batch == Some(0) || self.batch.is_some_and(|batch| batch > 1000) {
            "--batch is between 1 and 1000"
        } else if self.rate.is_some_and(|rate| !finite(rate) || rate <= 0.0) {
            "--rate is above 0"
        } else if ![Some(self.duration), self.warm_up, self.settle]
            .into_iter()
            .flatten()
            .all(finite)
        {
            "--duration, --warm-up and --settle are seconds"
        } else if !self.root.starts_with('/') || (self.root.len() > 1 && self.root.ends_with('/')) {
            "--root is the path of a node"
        } else if self.clean && self.root == "/" {
            "--clean with --root / would delete everything"
        } else {
            return Ok(());
        };
        Err(BenchError::Options(complaint))
    }

    /// The root as a prefix of other paths.
    pub fn prefix(&self) -> &str {
        self.root.trim_end_matches('/')
    }
}
