//! System calls of a server per request, counted by strace.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_bench::{BenchError, Options, Workload};

use crate::server::Server;

const REQUESTS: u64 = 20_000;
const ATTACH_PATIENCE: Duration = Duration::from_secs(20);

/// System calls per getData with ten connections and one request in flight each.
pub fn per_read(server: &Server, dir: &Path) -> Result<f64, BenchError> {
    let mut options = Options::new(Workload::Get, server.address());
    options.connections = 10;
    options.warm_up = Some(0.0);
    options.count = Some(1000);
    // Prepares the nodes, and grows whatever grows.
    oxikeeper_bench::run(&options)?;
    options.no_setup = true;
    options.count = Some(REQUESTS);
    let failed = BenchError::system("strace");
    let output = dir.join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-o"])
        .arg(&output)
        .args(["-p", &server.pid().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(&failed)?;
    let attached = wait_for_tracer(server.pid());
    let result = if attached { oxikeeper_bench::run(&options).map(|_| ()) } else { Ok(()) };
    // strace writes its table when it is interrupted.
    let id = rustix::process::Pid::from_child(&strace);
    let told = rustix::process::kill_process(id, rustix::process::Signal::INT);
    strace.wait().map_err(&failed)?;
    result?;
    told.map_err(|error| failed(error.into()))?;
    if !attached {
        return Err(failed(io::Error::other("it may not trace that process")));
    }
    let table = std::fs::read_to_string(&output).map_err(&failed)?;
    let calls = total(&table).ok_or_else(|| failed(io::Error::other("a table without a sum")))?;
    Ok(calls as f64 / REQUESTS as f64)
}

/// Every thread must have its tracer before the count begins.
fn wait_for_tracer(pid: u32) -> bool {
    let deadline = Instant::now() + ATTACH_PATIENCE;
    let has_tracer = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        for task in tasks {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            if status.contains("TracerPid:\t0\n") {
                return None;
            }
        }
        Some(())
    };
    while has_tracer().is_none() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The sum at the end of strace's table.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_table() {
        let table = "    calls syscall\n--------- ----------\n     1234 read\n--------- ----------\n     1300 total\n";
        assert_eq!(total(table), Some(1300));
        assert_eq!(total(""), None);
    }
}
