//! Reads the recordings of `fixtures/quorum`; shared with the tests of other crates. Their form is
//! described in `fixtures/quorum/PROVENANCE.md`.

use std::fs;
use std::path::Path;

/// Which of a server's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Quorum,
    Election,
}

/// A line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// What follows is about this.
    Step(String),
    /// Server `from` has opened a connection to server `to`.
    Opened { connection: usize, port: Port, from: i64, to: i64 },
    /// What was said, `forth` by who opened the connection.
    Said { connection: usize, forth: bool, name: String, bytes: Vec<u8> },
    /// The connection has ended.
    Closed { connection: usize },
}

/// One direction or both of one connection.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The step during which it began.
    pub step: String,
    pub connection: usize,
    pub port: Port,
    /// Who opened it.
    pub from: i64,
    /// Who listens there.
    pub to: i64,
    /// What was said: by who opened it, or not; the name; the bytes.
    pub said: Vec<(bool, String, Vec<u8>)>,
}

/// All lines of a recording, for example of `joins`.
pub fn lines(name: &str) -> Vec<Line> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quorum");
    let path = folder.join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

/// The connections of a recording, in the order in which they were opened.
pub fn conversations(name: &str) -> Vec<Conversation> {
    let mut step = String::new();
    let mut all: Vec<Conversation> = Vec::new();
    for line in lines(name) {
        match line {
            Line::Step(what) => step = what,
            Line::Opened { connection, port, from, to } => {
                let step = step.clone();
                all.push(Conversation { step, connection, port, from, to, said: Vec::new() });
            }
            Line::Said { connection, forth, name, bytes } => {
                let conversation = all.iter_mut().find(|one| one.connection == connection).unwrap();
                conversation.said.push((forth, name, bytes));
            }
            Line::Closed { .. } => {}
        }
    }
    all
}

fn line(line: &str) -> Line {
    if let Some(what) = line.strip_prefix("== ") {
        return Line::Step(what.to_owned());
    }
    let words: Vec<&str> = line.split(' ').collect();
    let connection = words[0].parse().unwrap();
    match words[1..] {
        ["=", port, servers] => {
            let port = if port == "quorum" { Port::Quorum } else { Port::Election };
            let (from, to) = servers.split_once('>').unwrap();
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            Line::Opened { connection, port, from, to }
        }
        ["x"] => Line::Closed { connection },
        [arrow, name, hex] => {
            let (forth, name) = (arrow == ">", name.to_owned());
            Line::Said { connection, forth, name, bytes: unhex(hex) }
        }
        _ => panic!("{line}"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
