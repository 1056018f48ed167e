//! How long a leader that was killed is missed.

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use oxikeeper_bench::BenchError;
use oxikeeper_bench::client::{Client, resolve};

use crate::compare::Comparison;
use crate::ensemble::{ATTEMPT, Ensemble, PATIENCE};

/// Clients that write all the while.
const WRITERS: usize = 4;

/// Kills leaders under load, and notes the median and the longest time in milliseconds to the next
/// acknowledged write in these rows, if they are wanted.
///
/// # Errors
/// If an ensemble does not come back.
pub fn failovers(
    comparison: &mut Comparison,
    ensemble: &mut Ensemble,
    rows: [&'static str; 2],
) -> Result<(), BenchError> {
    if !rows.iter().any(|row| comparison.wants(row)) {
        return Ok(());
    }
    let mut gaps = gaps(comparison, ensemble)?;
    gaps.sort_by(f64::total_cmp);
    eprintln!("  {:<10}{:.0?} ms", ensemble.side.name(), gaps);
    let figures = [gaps[gaps.len() / 2], gaps[gaps.len() - 1]];
    for (row, figure) in rows.into_iter().zip(figures) {
        comparison.figures.add(ensemble.side, row, figure);
    }
    Ok(())
}

fn gaps(comparison: &Comparison, ensemble: &mut Ensemble) -> Result<Vec<f64>, BenchError> {
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
                    while !over.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        if client.ensure(iter::once(path.clone()), b"x").is_err() {
                            break;
                        }
                        // Nobody listens any more once it is over.
                        let _ = sender.send((began, Instant::now()));
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
    acknowledged: &mpsc::Receiver<(Instant, Instant)>,
) -> Result<Vec<f64>, BenchError> {
    let failed = BenchError::system("a server does not come back");
    let mut gaps = Vec::new();
    for _ in 0..comparison.failovers {
        let leader = ensemble.wait_for("leader")?;
        // Some writes first, so that the load runs.
        for _ in 0..50 {
            acknowledged.recv_timeout(PATIENCE).map_err(|_| BenchError::Refused)?;
        }
        ensemble.servers[leader].kill();
        let killed = Instant::now();
        loop {
            let (began, at) =
                acknowledged.recv_timeout(PATIENCE).map_err(|_| BenchError::Refused)?;
            // The answer to one that began before may have been on its way already.
            if began > killed {
                gaps.push(at.duration_since(killed).as_secs_f64() * 1e3);
                break;
            }
        }
        ensemble.servers[leader].restart(&comparison.place, ensemble.side).map_err(&failed)?;
        ensemble.servers[leader].wait(ensemble.side)?;
    }
    Ok(gaps)
}
