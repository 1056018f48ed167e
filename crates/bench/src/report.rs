//! What a measurement says, for people and for programs.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

use hdrhistogram::Histogram;
use oxikeeper_proto::ErrorCode;
use serde_json::{Value, json};

use crate::options::{Options, Workload};
use crate::process::Usage;
use crate::recorder::Recorder;

/// The result of a run.
pub struct Report {
    /// What was asked for.
    pub options: Options,
    /// When things began to count.
    pub began: Instant,
    /// Counts and latencies.
    pub recorder: Recorder,
    /// The server before and after, if its process id was given.
    pub server: Option<(Usage, Usage)>,
    /// The generator before and after.
    pub own: (Usage, Usage),
}

/// Nanoseconds as microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

impl Report {
    /// Operations per second; a multi of ten is ten.
    pub fn per_second(&self) -> f64 {
        self.recorder.items() as f64 / self.recorder.elapsed_s()
    }

    /// Operations in the worst of the complete seconds.
    pub fn worst_second(&self) -> Option<u64> {
        self.recorder.whole_seconds().iter().map(|second| second.items).min()
    }

    /// Processor time of the server for one operation, microseconds.
    pub fn server_cpu_us(&self) -> Option<f64> {
        self.server.as_ref().map(|(before, after)| self.cpu_us(before, after))
    }

    fn cpu_us(&self, before: &Usage, after: &Usage) -> f64 {
        (after.cpu_s - before.cpu_s) * 1e6 / self.recorder.items().max(1) as f64
    }

    /// Latencies of all requests, nanoseconds.
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = crate::recorder::histogram();
        for (_, _, latency) in self.recorder.kinds() {
            all.add(latency).expect("all histograms have the same bounds");
        }
        all
    }

    /// Replies with an error code.
    pub fn errors(&self) -> u64 {
        self.recorder.errors().values().sum()
    }

    /// As one JSON object; times in microseconds, memory in bytes.
    pub fn json(&self) -> Value {
        let kinds: Vec<Value> = self
            .recorder
            .kinds()
            .map(|(kind, count, latency)| {
                json!({
                    "kind": kind.name(),
                    "count": count,
                    "p50_us": us(latency.value_at_quantile(0.5)),
                    "p99_us": us(latency.value_at_quantile(0.99)),
                    "p999_us": us(latency.value_at_quantile(0.999)),
                    "max_us": us(latency.max()),
                })
            })
            .collect();
        let seconds: Vec<Value> = self
            .recorder
            .seconds()
            .iter()
            .map(|second| {
                let p99_us = us(second.latency.value_at_quantile(0.99));
                json!({ "ops": second.items, "p99_us": p99_us, "max_us": us(second.latency.max()) })
            })
            .collect();
        let process = |before: &Usage, after: &Usage| {
            json!({
                "cpu_s": after.cpu_s - before.cpu_s,
                "cpu_us_per_op": self.cpu_us(before, after),
                "rss_before": before.rss,
                "rss_after": after.rss,
            })
        };
        let errors: serde_json::Map<String, Value> = self
            .recorder
            .errors()
            .iter()
            .map(|(code, count)| (code.to_string(), json!(count)))
            .collect();
        json!({
            "workload": format!("{:?}", self.options.workload),
            "connections": self.options.connections,
            "pipeline": self.options.pipeline,
            "threads": self.options.threads,
            "size": self.options.size,
            "rate": self.options.rate,
            "seconds": self.recorder.elapsed_s(),
            "requests": self.recorder.requests(),
            "ops": self.recorder.items(),
            "ops_per_second": self.per_second(),
            "worst_second_ops": self.worst_second(),
            "kinds": kinds,
            "by_second": seconds,
            "errors": errors,
            "server": self.server.as_ref().map(|(before, after)| process(before, after)),
            "client": process(&self.own.0, &self.own.1),
        })
    }

    fn process_line(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        of: &(Usage, Usage),
    ) -> fmt::Result {
        let (before, after) = of;
        let cores = (after.cpu_s - before.cpu_s) / self.recorder.elapsed_s();
        if self.recorder.items() > 0 {
            write!(f, "{name}: {:.2} us of processor per op, ", self.cpu_us(before, after))?;
        } else {
            write!(f, "{name}: ")?;
        }
        writeln!(
            f,
            "{cores:.2} cores; RSS {:.1} MB, then {:.1} MB",
            before.rss as f64 / 1e6,
            after.rss as f64 / 1e6,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { workload, connections, pipeline, threads, rate, .. } = &self.options;
        write!(
            f,
            "{workload:?}, {connections} connections x {pipeline} in flight, {threads} thread(s)"
        )?;
        if let Some(rate) = rate {
            write!(f, ", open loop at {rate:.0}/s")?;
        }
        let (seconds, ops) = (self.recorder.elapsed_s(), self.recorder.items());
        write!(f, "\n{ops} ops in {seconds:.2} s: {:.0}/s", self.per_second())?;
        if let Some(worst) = self.worst_second() {
            write!(f, ", worst second {worst}")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{:<14}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "latency, us", "requests", "p50", "p99", "p99.9", "max"
        )?;
        for (kind, count, latency) in self.recorder.kinds() {
            let at = |quantile| us(latency.value_at_quantile(quantile));
            writeln!(
                f,
                "{:<14}{count:>12}{:>12.1}{:>12.1}{:>12.1}{:>12.1}",
                kind.name(),
                at(0.5),
                at(0.99),
                at(0.999),
                us(latency.max())
            )?;
        }
        if let Some(server) = &self.server {
            self.process_line(f, "server", server)?;
            let (before, after) = server;
            let grown = after.rss as f64 - before.rss as f64;
            let each = |count: f64| grown / count.max(1.0);
            match workload {
                Workload::Idle => {
                    writeln!(f, "{:.0} bytes per session", each(*connections as f64))?
                }
                Workload::Fill => writeln!(f, "{:.1} bytes per znode", each(ops as f64))?,
                Workload::Watches => writeln!(f, "{:.1} bytes per watch", each(ops as f64))?,
                _ => {}
            }
        }
        self.process_line(f, "generator", &self.own)?;
        for (code, count) in self.recorder.errors() {
            let name =
                ErrorCode::from_wire(*code).map_or("unknown".to_owned(), |c| format!("{c:?}"));
            writeln!(f, "ERRORS: {count} replies with {code} ({name})")?;
        }
        Ok(())
    }
}

/// `oxikeeper bench`: measures, prints, and gives the exit code: 0; 1 if there are no figures, or if
/// the server answered with errors.
pub fn main(options: &Options) -> ExitCode {
    let report = match crate::run(options) {
        Ok(report) => report,
        Err(error) => {
            let cause = error.source().map_or(String::new(), |source| format!(": {source}"));
            eprintln!("oxikeeper bench: {error}{cause}");
            return ExitCode::FAILURE;
        }
    };
    if options.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    if report.errors() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
