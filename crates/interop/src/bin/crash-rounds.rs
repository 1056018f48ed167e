//! `crash-rounds [--rounds 300] [--seed 1]`: kill -9 under pipelined load.

use std::process::ExitCode;

use oxikeeper_interop::crash::run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        let text = at.and_then(|at| arguments.get(at + 1));
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let dir = std::env::temp_dir().join(format!("oxikeeper-crash-{}", std::process::id()));
    let outcome = run(&dir, number("--rounds", 300) as usize, number("--seed", 1));
    println!(
        "{} rounds of kill -9: {} acknowledged writes, {} ambiguous ({} of them there), {} sessions \
         resumed, {} violations",
        outcome.rounds,
        outcome.acknowledged,
        outcome.ambiguous,
        outcome.survived,
        outcome.resumed,
        outcome.violations.len()
    );
    for violation in &outcome.violations {
        println!("  {violation}");
    }
    if !outcome.violations.is_empty() {
        println!("the data is left in {}", dir.display());
        return ExitCode::FAILURE;
    }
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
    ExitCode::SUCCESS
}
