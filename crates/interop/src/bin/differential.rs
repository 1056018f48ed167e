//! Sends the same generated requests to Apache 3.9.5 and to another server, and compares every
//! reply, every event and its place, every close, and the trees at the end. What differs is made
//! short and printed as a script that `--replay` repeats.
//!
//! `differential --requests 100000 --seed 1 [--against apache|oxikeeper] [--trials 60]
//! [--replay FILE] [--expect-difference]`
//!
//! With `--expect-difference` a server with a defect is to be told apart: the run succeeds if there
//! is a difference, and if its short script shows it again.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use oxikeeper_interop::differential::{Outcome, replay, run, shrink};
use oxikeeper_interop::script;
use oxikeeper_interop::server::Kind;
use oxikeeper_proto::OpCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number =
        |name: &str, default| value(name).map_or(default, |text| text.parse().expect("a number"));
    let against = match value("--against").as_deref() {
        None | Some("oxikeeper") => Kind::Oxikeeper,
        Some("apache") => Kind::APACHE,
        Some(other) => panic!("--against {other}: it is apache or oxikeeper"),
    };
    let (requests, seed) = (number("--requests", 100_000), number("--seed", 1));
    let dir = std::env::temp_dir().join(format!("oxikeeper-differential-{}", std::process::id()));
    let began = Instant::now();
    let file = value("--replay");
    let outcome = match &file {
        None => run(&dir, against, seed, requests as usize),
        Some(file) => {
            let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: {e}"));
            let script = script::parse(&text).unwrap_or_else(|line| panic!("no step: {line}"));
            replay(&dir, against, &script)
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let is_whole = report(&outcome, against, seed, seconds, file.is_some());
    let mut is_shown = false;
    if !outcome.differences.is_empty() && file.is_none() {
        is_shown = shorten(&dir, against, &outcome, number("--trials", 60) as usize);
    }
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
    if arguments.iter().any(|argument| argument == "--expect-difference") {
        println!("a difference was expected, and {}", if is_shown { "shown" } else { "NOT shown" });
        return if is_shown { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if outcome.differences.is_empty() && is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what a run came to; false if it did not send every operation.
fn report(outcome: &Outcome, against: Kind, seed: u64, seconds: f64, is_replay: bool) -> bool {
    println!(
        "apache 3.9.5 and {}: seed {seed}, {} requests, {} events, {} connections closed, {} \
         differences, {seconds:.1} s",
        against.name(),
        outcome.requests,
        outcome.events,
        outcome.closes,
        outcome.differences.len(),
    );
    for difference in &outcome.differences {
        println!("{difference}");
    }
    if is_replay {
        return true;
    }
    println!("requests by operation:");
    for (code, count) in &outcome.by_operation {
        match OpCode::from_wire(*code) {
            Some(op) => println!("{count:>9}  {op:?} ({code})"),
            None => println!("{count:>9}  none ({code})"),
        }
    }
    println!("where less than equality is demanded, and how often that was used:");
    print!("{}", outcome.used);
    let never_sent = outcome.never_sent();
    if !never_sent.is_empty() {
        println!("NEVER SENT: {never_sent:?}");
    }
    never_sent.is_empty()
}

/// Prints a short script with its difference; false if that does not come again.
fn shorten(dir: &Path, against: Kind, outcome: &Outcome, trials: usize) -> bool {
    let short = shrink(dir, against, &outcome.script, trials);
    let last = replay(&dir.join("short"), against, &short);
    let text = script::to_text(&short);
    println!("\nthe first difference again, after {} requests:", last.requests);
    println!("{}", last.differences.first().map_or("it did not come again", String::as_str));
    println!("--- script, for --replay FILE\n{text}---");
    !last.differences.is_empty()
}
