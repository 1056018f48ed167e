//! Lines from a pipe or a file.

use std::io::{self, BufRead};
use std::thread;

use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::shell::{Flow, Shell};

/// Carries out line after line until the end of standard input, `quit`, or until nobody reads the
/// answers.
pub async fn run(shell: &mut Shell) {
    // A thread of its own: while it waits for a line, events are told.
    let (sender, mut lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            if sender.blocking_send(line.and_then(|line| line)).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        match line {
            Ok(line) => {
                let line = line.strip_suffix('\r').unwrap_or(&line);
                if shell.run_line(line).await == Flow::Quit || shell.is_output_closed() {
                    return;
                }
            }
            Err(error) => shell.refuse(&Fault::Refused(format!("standard input: {error}"))),
        }
    }
}
