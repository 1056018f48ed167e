//! Ten thousand sessions that do nothing but ping.

use std::time::Duration;

use oxikeeper_bench::{BenchError, Workload};

use crate::compare::Comparison;
use crate::server::Server;

const SESSIONS: usize = 10_000;

/// One round: Apache, then ours.
pub fn round(comparison: &mut Comparison) -> Result<(), BenchError> {
    if !comparison.wants("memory-session") {
        return Ok(());
    }
    for &side in comparison.sides {
        let name = comparison.fresh("sessions");
        let server = Server::start(&comparison.place, side, &name, "")?;
        std::thread::sleep(Duration::from_secs(1));
        let mut options = comparison.options(Workload::Idle, &server);
        options.connections = SESSIONS;
        options.warm_up = None;
        let report = oxikeeper_bench::run(&options)?;
        let (before, after) = report.server.expect("the process id was given");
        let each = (after.rss as f64 - before.rss as f64) / SESSIONS as f64;
        comparison.figures.add(side, "memory-session", each);
        drop(server);
        comparison.remove(side, &name);
    }
    Ok(())
}
