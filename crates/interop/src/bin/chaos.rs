//! `chaos [--minutes 30] [--servers 3] [--seed 1]`: an ensemble of ours under everything that goes
//! wrong. Needs root, for network namespaces and disks in memory.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use oxikeeper_interop::chaos::{Outcome, machines, round};

/// How long clients work in one round.
const BUSY: Duration = Duration::from_secs(55);

fn main() -> ExitCode {
    match machines::enter() {
        Ok(None) => {}
        Ok(Some(true)) => return ExitCode::SUCCESS,
        Ok(Some(false)) => return ExitCode::FAILURE,
        Err(text) => {
            eprintln!("chaos needs network namespaces, and so root: {text}");
            return ExitCode::FAILURE;
        }
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        let text = at.and_then(|at| arguments.get(at + 1));
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (servers, seed) = (number("--servers", 3) as usize, number("--seed", 1));
    let end = Instant::now() + Duration::from_secs(60 * number("--minutes", 30));
    let dir = std::env::temp_dir().join(format!("oxikeeper-chaos-{}", std::process::id()));
    let mut outcome = Outcome::default();
    while Instant::now() < end && outcome.violations.is_empty() {
        let seed = seed + outcome.rounds as u64;
        if let Err(text) = round(&dir, servers, BUSY, seed, &mut outcome) {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
        eprintln!("round {}: {} committed so far", outcome.rounds, outcome.committed);
    }
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
    println!(
        "{} rounds with {servers} servers: {} requests, {} replies, {} transactions in {} epochs, \
         {} replies and events compared, {} writes of kazoo's and {} sessions that it lost, faults {:?}, \
         {} violations",
        outcome.rounds,
        outcome.requests,
        outcome.replies,
        outcome.committed,
        outcome.epochs,
        outcome.compared,
        outcome.foreign.0,
        outcome.foreign.1,
        outcome.faults,
        outcome.violations.len()
    );
    for violation in &outcome.violations {
        println!("  {violation}");
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
