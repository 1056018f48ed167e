//! The shell: Apache's `zkCli.sh` with its commands, words and exit codes, JSON for scripts, and
//! commands on whole subtrees.
//!
//! | for | look at |
//! |---|---|
//! | a command's words and flags | `syntax.rs`, then `command.rs` |
//! | what it does | `run.rs` and the files below it |
//! | what it says | `text.rs`; errors in `fault.rs`; JSON in `output.rs` |
//! | many requests at a time | `walk.rs` |
//! | lines: from a terminal, from a pipe | `interactive.rs`, `lines.rs` |

mod acl;
mod command;
mod complete;
mod connection;
mod fault;
mod interactive;
mod invocation;
mod lines;
mod options;
mod output;
mod progress;
mod run;
mod shell;
mod syntax;
mod text;
mod walk;
mod watches;
mod words;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::invocation::{HELP, Invocation};
use crate::output::{Format, Output};
use crate::shell::Shell;

/// Runs the shell with its arguments, and gives its exit code. `version` is what `version` tells.
pub fn main(arguments: &[String], version: &'static str) -> ExitCode {
    let invocation = match invocation::parse(arguments) {
        Ok(invocation) => invocation,
        Err(error) => {
            // If nobody takes the words, the exit code still says it.
            let _ = writeln!(io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
    };
    if invocation.help {
        let _ = io::stdout().write_all(HELP.as_bytes());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "no event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(invocation, version));
    // A thread may still wait for a line, or for a name's address.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(invocation: Invocation, version: &'static str) -> u8 {
    let is_single = !invocation.command.is_empty();
    let is_interactive = !is_single
        && invocation.format == Format::Text
        && io::stdin().is_terminal()
        && io::stdout().is_terminal();
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let output = Output::standard(invocation.format, colour);
    let tells = is_interactive || invocation.banner;
    if tells && output.is_text() {
        output.line(&format!("Connecting to {}", invocation.server));
    }
    let command = invocation.command.clone();
    let mut shell = match Shell::start(invocation, output.clone(), tells, version) {
        Ok(shell) => shell,
        Err(fault) => {
            output.begin(command.first().map_or("connect", String::as_str));
            // The exit code says it too.
            let _ = output.finish(Some(&fault));
            return fault.exit_code();
        }
    };
    if is_single {
        shell.run_single(command).await;
    } else {
        if tells && output.is_text() {
            output.line("Welcome to ZooKeeper!");
        }
        if is_interactive {
            interactive::run(&mut shell, colour).await;
        } else {
            lines::run(&mut shell).await;
        }
    }
    let code = shell.exit_code();
    shell.end().await;
    code
}
