//! What a run of the differential test sends, as a list that can be kept, shortened and repeated.
//!
//! As a file: `rest` and `reconnect CONNECTION good|wrong` stand alone; `burst CONNECTION` is
//! followed by one line per request, `OPERATION FLAGS FRAME # for people`, where FLAGS has an `e`
//! if the connection ends with the request, else `-`, and FRAME is in hex.

use std::fmt::Write;

use crate::generate::Sent;

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Requests of one connection, in one piece.
    Burst {
        /// Which connection.
        at: usize,
        /// The requests.
        requests: Vec<Sent>,
    },
    /// All connections come to rest.
    Rest,
    /// A connection is cut and its session resumed.
    Reconnect {
        /// Which connection.
        at: usize,
        /// Whether with a wrong password.
        wrong: bool,
    },
}

/// The text of a script.
pub fn to_text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let result = match step {
            Step::Rest => writeln!(text, "rest"),
            Step::Reconnect { at, wrong } => {
                writeln!(text, "reconnect {at} {}", if *wrong { "wrong" } else { "good" })
            }
            Step::Burst { at, requests } => {
                requests.iter().fold(writeln!(text, "burst {at}"), |_, sent| {
                    let hex: String = sent.frame.iter().map(|b| format!("{b:02x}")).collect();
                    let flags = if sent.ends { "e" } else { "-" };
                    writeln!(
                        text,
                        "{} {flags} {hex} # {}",
                        sent.op,
                        sent.text.replace(['\n', '\r'], " ")
                    )
                })
            }
        };
        result.expect("a string takes all");
    }
    text
}

/// Reads a script.
///
/// # Errors
/// The line that is none of a script.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (words, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let words: Vec<&str> = words.split_whitespace().collect();
        let number = |word: &str| word.parse().map_err(|_| line.to_owned());
        match (&words[..], steps.last_mut()) {
            (["rest"], _) => steps.push(Step::Rest),
            (["reconnect", at, how @ ("good" | "wrong")], _) => {
                steps.push(Step::Reconnect { at: number(at)?, wrong: *how == "wrong" });
            }
            (["burst", at], _) => {
                steps.push(Step::Burst { at: number(at)?, requests: Vec::new() });
            }
            ([op, flags @ ("e" | "-"), hex], Some(Step::Burst { requests, .. })) => {
                requests.push(Sent {
                    op: op.parse().map_err(|_| line.to_owned())?,
                    frame: bytes(hex).ok_or(line)?,
                    text: comment.to_owned(),
                    alone: false,
                    ends: *flags == "e",
                });
            }
            _ => return Err(line.to_owned()),
        }
    }
    Ok(steps)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let pair = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_was_written() {
        let text = "burst 2\n1 - 00ff10 # Create \"/x\"\n-11 e 01 # closeSession\nrest\n\
                    reconnect 0 wrong\nreconnect 1 good\n";
        assert_eq!(to_text(&parse(text).expect("a script")), text);
        for bad in ["1 - 00", "burst", "burst x", "burst 0\n1 - 0", "rest now", "reconnect 1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
