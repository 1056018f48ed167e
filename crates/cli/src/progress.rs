//! Progress of long work, on standard error and only where that is a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that counts. It is gone when it is dropped.
pub struct Progress {
    bar: ProgressBar,
}

/// How often it moves while nothing is counted.
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    /// Counts up to what is not known yet.
    pub fn new(what: &'static str) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_message(what);
        bar.set_style(style("{spinner} {msg}: {pos} nodes, {elapsed}"));
        bar.enable_steady_tick(TICK);
        Progress { bar }
    }

    /// The next part of the work, which is known to have so many steps.
    pub fn next(&self, what: &'static str, steps: usize) {
        self.bar.set_position(0);
        self.bar.set_length(steps as u64);
        self.bar.set_message(what);
        self.bar.set_style(style("{msg} {wide_bar} {pos}/{len} nodes, {eta} left"));
    }

    /// One more.
    pub fn step(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well formed")
}
