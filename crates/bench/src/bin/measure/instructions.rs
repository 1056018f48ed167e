//! Instructions of the server per request, counted by callgrind: two runs with different numbers of
//! requests, so that starting and ending cancel out. The kernel's are not among them.

use std::io;

use oxikeeper_bench::{BenchError, Workload};

use crate::compare::Comparison;
use crate::server::{Server, Side};

/// Requests of the two runs.
const REQUESTS: [u64; 2] = [2_000, 42_000];
const KEYS: u32 = 100;
/// How far the log is prepared ahead: little, in KiB. Preparing copies zeros in the background, as far as
/// it gets in the time, and callgrind counts every byte of a long copy. Nor does it count waiting: without
/// helpers that keep processors awake.
const SETTINGS: &str = "preAllocSize=1024\noxikeeper.awakeThreads=0";

/// Adds the rows that are wanted.
pub fn measure(comparison: &mut Comparison) -> Result<(), BenchError> {
    for (row, workload) in
        [("instructions-read", Workload::Get), ("instructions-write", Workload::Set)]
    {
        if comparison.wants(row) {
            let few = total(comparison, workload, REQUESTS[0])?;
            let many = total(comparison, workload, REQUESTS[1])?;
            let each = (many as f64 - few as f64) / (REQUESTS[1] - REQUESTS[0]) as f64;
            comparison.figures.add(Side::Ours, row, each);
        }
    }
    Ok(())
}

/// Instructions of a whole life of a server that answers so many requests. One connection whose
/// requests come sixteen at a time: so what comes together does not depend on the machine.
fn total(comparison: &mut Comparison, workload: Workload, count: u64) -> Result<u64, BenchError> {
    let name = comparison.fresh("instructions");
    comparison.place.under = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        .map(str::to_owned)
        .to_vec();
    let server = Server::start(&comparison.place, Side::Ours, &name, SETTINGS);
    comparison.place.under.clear();
    let server = server?;
    let mut options = comparison.options(workload, &server);
    (options.connections, options.pipeline, options.keys) = (1, 16, KEYS);
    (options.warm_up, options.count) = (Some(0.0), Some(count));
    oxikeeper_bench::run(&options)?;
    let log = server.end()?;
    comparison.remove(Side::Ours, &name);
    collected(&log)
        .ok_or_else(|| BenchError::system("callgrind says nothing")(io::Error::other(log)))
}

/// The count in what callgrind writes at the end.
fn collected(log: &str) -> Option<u64> {
    let (_, count) = log.lines().find(|line| line.contains("Collected :"))?.split_once(" : ")?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_says() {
        let log = "==1== \n==1== Events    : Ir\n==1== Collected : 85410365\n";
        assert_eq!(collected(log), Some(85_410_365));
    }
}
