//! `recipes [--seconds 600] [--seed 1]`: every recipe of the client library under chaos, judged. The same binary is its own
//! worker. With `OXIKEEPER_RECIPE_DEFECT=lock|barrier|queue` a recipe is broken, and the run fails unless that is noticed.

use std::process::ExitCode;
use std::time::Duration;

use oxikeeper_interop::recipes::{run, worker};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, life, connect, resource, members] = arguments.as_slice()
        && role == "worker"
    {
        let resource = resource.parse().expect("a port");
        let members = members.parse().expect("a number");
        let ended = worker::run(name, life, connect, resource, members).await;
        return if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        let text = at.and_then(|at| arguments.get(at + 1));
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (seconds, seed) = (number("--seconds", 600), number("--seed", 1));
    let dir = std::env::temp_dir().join(format!("oxikeeper-recipes-{}", std::process::id()));
    let outcome = match run(&dir, Duration::from_secs(seconds), seed).await {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for line in &outcome.lines {
        println!("{line}");
    }
    println!(
        "{seconds} s, seed {seed}: {} rounds of reconciliation, faults {:?}, {} violations",
        outcome.reconciled,
        outcome.faults,
        outcome.violations.len()
    );
    for violation in outcome.violations.iter().take(10) {
        println!("  {violation}");
    }
    if let Ok(defect) = std::env::var(worker::DEFECT_VARIABLE) {
        assert!(worker::Defect::named(&defect).is_some(), "there is no defect {defect:?}");
        let _ = std::fs::remove_dir_all(&dir);
        let is_noticed = !outcome.violations.is_empty();
        println!("  the defect {defect:?} was {}noticed", if is_noticed { "" } else { "not " });
        return if is_noticed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if !outcome.violations.is_empty() {
        println!("  the servers' files are in {}", dir.display());
        return ExitCode::FAILURE;
    }
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
    ExitCode::SUCCESS
}
