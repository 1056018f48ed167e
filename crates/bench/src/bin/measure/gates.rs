//! Bounds that hold on any machine: instructions, system calls, memory.

use std::process::ExitCode;

use clap::Args;
use oxikeeper_bench::BenchError;

use crate::compare::Comparison;
use crate::figures::{number, wanted};
use crate::instructions;
use crate::server::{Place, Side};

/// What is measured unless something else is asked for: the rows that hold today. One that does not
/// yet is added when it does.
const ROWS: &str = "instructions,syscalls,memory-idle,memory-znode,memory-session,memory-watch,memory-shared-watch";

/// Options of the gates.
#[derive(Args)]
pub struct Arguments {
    /// Rows to measure, by the beginnings of their names, comma separated.
    #[arg(long, default_value = ROWS)]
    rows: String,
    #[command(flatten)]
    place: Place,
}

/// Measures, and fails if a bound is exceeded.
pub fn main(arguments: Arguments) -> ExitCode {
    let mut comparison = Comparison::new(arguments.place, &[Side::Ours], &arguments.rows);
    if let Err(error) = measure(&mut comparison) {
        crate::complain(&error);
        return ExitCode::FAILURE;
    }
    let mut failed = 0;
    for (row, value, holds) in comparison.figures.verdicts(Side::Ours) {
        let Some(holds) = holds.filter(|_| comparison.chose(row.name)) else { continue };
        let verdict = if holds { "ok" } else { "FAILED" };
        failed += u32::from(!holds);
        println!("{verdict:<8}{}: {}, {}", row.title, number(value, row.unit), wanted(row));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(comparison: &mut Comparison) -> Result<(), BenchError> {
    instructions::measure(comparison)?;
    comparison.round()
}
