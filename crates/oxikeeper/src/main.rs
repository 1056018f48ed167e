//! The `oxikeeper` binary: the command line, and nothing of how things work.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use oxikeeper_server::config::{Config, ConfigError, Flags, Place};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a configuration that is refused, as Apache's.
const INVALID_CONFIG: u8 = 2;

/// Oxikeeper: ZooKeeper, in Rust. Without a command: a standalone server on 127.0.0.1:2181 with its
/// data in ./oxikeeper-data.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server as configured by a zoo.cfg.
    Serve {
        /// A zoo.cfg; or a port, a data directory, and at most a tick time and a number of
        /// connections per address. -Dname=value sets a system property, as with a JVM.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Tell whether a data directory is sound, and what a server would do with it. Never writes,
    /// unless told to cut.
    Check {
        /// Set damaged and later logs aside and keep what is sound before the damage.
        #[arg(long)]
        cut: bool,
        /// dataDir.
        data_dir: PathBuf,
        /// dataLogDir, if it is another.
        log_dir: Option<PathBuf>,
    },
    /// Put load on a server, ours or another, and say how it bears it.
    Bench(oxikeeper_bench::Options),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        None => serve(&[]),
        Some(Command::Serve { words }) => serve(&words),
        Some(Command::Check { cut, data_dir, log_dir }) => {
            let log_dir = log_dir.unwrap_or_else(|| data_dir.clone());
            oxikeeper_server::check::run(&data_dir, &log_dir, cut)
        }
        Some(Command::Bench(options)) => oxikeeper_bench::report::main(&options),
    }
}

fn serve(words: &[String]) -> ExitCode {
    let mut flags = Flags::default();
    for variable in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
        flags.take_variable(&std::env::var(variable).unwrap_or_default());
    }
    let words: Vec<String> = words.iter().filter(|word| !flags.take(word)).cloned().collect();
    let config = match words.as_slice() {
        [] => Config::standalone(&flags),
        [file] => Config::load(Path::new(file), &flags),
        [_, _] | [_, _, _] | [_, _, _, _] => Config::positional(&words, &flags),
        _ => Err(ConfigError::invalid(
            Place::Whole,
            "too many arguments",
            "usage: serve ZOO_CFG, or serve PORT DATA_DIR [TICK_TIME [MAX_CONNECTIONS]]",
        )),
    };
    match config {
        Ok(config) => oxikeeper_server::run::main(config),
        Err(error) => {
            let place = match words.as_slice() {
                [file] => format!("  in {file}\n"),
                _ => String::new(),
            };
            let text = format!("oxikeeper: {error}\n{place}Invalid config, exiting abnormally\n");
            // If nobody takes the words, the exit code still says it.
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(INVALID_CONFIG)
        }
    }
}
