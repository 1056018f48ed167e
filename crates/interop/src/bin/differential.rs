//! Sends the same generated requests to Apache 3.9.5 and to another server, and compares every
//! reply, every event and its place, every close, and the trees at the end.
//!
//! `differential --requests 100000 --seed 1 [--against apache|oxikeeper]`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use oxikeeper_interop::differential::{Outcome, run};
use oxikeeper_interop::server::Kind;

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
    let outcome = run(Path::new(&dir), against, seed, requests as usize);
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
    let Outcome { requests, events, closes, differences } = outcome;
    println!(
        "apache 3.9.5 and {}: seed {seed}, {requests} requests, {events} events, {closes} \
         connections closed, {} differences, {:.1} s",
        against.name(),
        differences.len(),
        began.elapsed().as_secs_f64()
    );
    for difference in &differences {
        println!("{difference}");
    }
    if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
