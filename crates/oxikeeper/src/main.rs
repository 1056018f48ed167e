//! The `oxikeeper` binary: the command line, and nothing of how things work.

mod ensemble;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use oxikeeper_server::config::{Config, ConfigError, Place, script_files};
use oxikeeper_server::purge::RETAIN_MIN;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a configuration that is refused, as Apache's.
const INVALID_CONFIG: u8 = 2;

/// Oxikeeper: ZooKeeper, in Rust. Without a command: a standalone server on 127.0.0.1:2181 with its
/// data in ./oxikeeper-data.
#[derive(Parser)]
#[command(version, long_version = oxikeeper_server::long_version(), about)]
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
    /// Run a whole ensemble on this machine, for trying out, until Ctrl-C. Prints its connect string.
    Ensemble(ensemble::Options),
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
    /// Remove snapshots and transaction logs that no recovery needs. May run beside a server.
    Purge {
        /// dataLogDir.
        log_dir: PathBuf,
        /// dataDir, if it is another.
        snap_dir: Option<PathBuf>,
        /// How many snapshots are kept: at least 3, with every log behind them.
        #[arg(short = 'n', value_name = "COUNT")]
        retain: usize,
    },
    /// A shell for any ZooKeeper server, as Apache's zkCli.sh, with more commands and JSON.
    #[command(disable_help_flag = true)]
    Shell {
        /// `[-s|-server HOST:PORT[,..][/CHROOT]] [-timeout MS] [-r] [-waitforconnection]`
        /// [--output text|json] [COMMAND...]; `oxikeeper shell --help` tells more.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Put load on a server, ours or another, and say how it bears it.
    Bench(oxikeeper_bench::Options),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        None => serve(&[]),
        Some(Command::Serve { words }) => serve(&words),
        Some(Command::Ensemble(options)) => ensemble::run(&options),
        Some(Command::Check { cut, data_dir, log_dir }) => {
            let log_dir = log_dir.unwrap_or_else(|| data_dir.clone());
            oxikeeper_server::check::run(&data_dir, &log_dir, cut)
        }
        Some(Command::Purge { log_dir, snap_dir, retain }) => {
            if retain < RETAIN_MIN {
                let text = format!(
                    "at least {RETAIN_MIN} snapshots are kept, {retain} are too few\n\
                     Usage: oxikeeper purge dataLogDir [snapDir] -n COUNT\n"
                );
                let _ = io::stderr().write_all(text.as_bytes());
                return ExitCode::FAILURE;
            }
            let snap_dir = snap_dir.unwrap_or_else(|| log_dir.clone());
            oxikeeper_server::purge::run(&log_dir, &snap_dir, retain)
        }
        Some(Command::Shell { words }) => oxikeeper_cli::main(&words, oxikeeper_server::version()),
        Some(Command::Bench(options)) => oxikeeper_bench::report::main(&options),
    }
}

fn serve(words: &[String]) -> ExitCode {
    match configure(words) {
        Ok(config) => oxikeeper_server::run::main(config),
        Err(error) => {
            let mut others = words.iter().filter(|word| !word.starts_with('-'));
            let place = match (others.next(), others.next()) {
                (Some(file), None) => format!("  in {file}\n"),
                _ => String::new(),
            };
            let text = format!("oxikeeper: {error}\n{place}Invalid config, exiting abnormally\n");
            // If nobody takes the words, the exit code still says it.
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(INVALID_CONFIG)
        }
    }
}

/// The configuration that the command line asks for. Flags among the arguments win over those of the
/// environment, and of the files beside a zoo.cfg.
fn configure(words: &[String]) -> Result<Config, ConfigError> {
    let (given, words): (Vec<String>, Vec<String>) =
        words.iter().cloned().partition(|word| word.starts_with('-'));
    let config_dir = match words.as_slice() {
        [file] => Path::new(file).parent(),
        _ => None,
    };
    // What is no text is no flag either.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut flags = script_files::flags(config_dir, environment)?;
    if let Some(unknown) = given.iter().find(|word| !flags.take(word)) {
        return Err(ConfigError::invalid(
            Place::Whole,
            format!("{unknown} is no flag"),
            "flags are -Dname=value, and those of a JVM, which are passed over",
        ));
    }
    match words.as_slice() {
        [] => Config::standalone(&flags),
        [file] => Config::load(Path::new(file), &flags),
        [_, _] | [_, _, _] | [_, _, _, _] => Config::positional(&words, &flags),
        _ => Err(ConfigError::invalid(
            Place::Whole,
            "too many arguments",
            "usage: serve ZOO_CFG, or serve PORT DATA_DIR [TICK_TIME [MAX_CONNECTIONS]]",
        )),
    }
}
