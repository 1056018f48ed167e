//! What is measured of servers as processes: `bench/compare` and `bench/gates` run this.

mod compare;
mod disk;
mod ensemble;
mod failover;
mod figures;
mod filled;
mod gates;
mod instructions;
mod load;
mod rejoin;
mod scrape;
mod server;
mod sessions;
mod syscalls;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use oxikeeper_bench::BenchError;

/// Measures servers as processes.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apache ZooKeeper 3.9.5 (JDK 17, G1, -Xmx3g, default settings) and Oxikeeper, alternately.
    Compare(compare::Arguments),
    /// Oxikeeper alone, by what does not depend on how busy the machine is; fails if a bound is
    /// exceeded.
    Gates(gates::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Compare(arguments) => compare::main(arguments),
        Command::Gates(arguments) => gates::main(arguments),
    }
}

/// Tells why there are no figures.
fn complain(error: &BenchError) {
    let cause = error.source().map_or(String::new(), |source| format!(": {source}"));
    eprintln!("{error}{cause}");
}
