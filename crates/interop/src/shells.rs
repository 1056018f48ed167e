//! Shells as processes, Apache's and ours: lines in, what each line says on both streams out.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::server::{oxikeeper_bin, repository};

/// Whose shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Java's, of Apache 3.9.5.
    Apache,
    /// Ours, as `zkCli.sh` runs it.
    Ours,
}

impl Whose {
    /// The program, connecting to a server.
    pub fn command(self, server: &str) -> Command {
        let mut command = match self {
            Whose::Apache => Command::new(repository().join("interop/zkcli/apache")),
            Whose::Ours => {
                let mut command = Command::new(repository().join("bin/zkCli.sh"));
                command.env("OXIKEEPER", oxikeeper_bin());
                command
            }
        };
        command.args(["-server", server]);
        command
    }

    /// One command as arguments.
    pub fn single(self, server: &str, words: &[&str]) -> Said {
        let ended: Output =
            self.command(server).args(words).stdin(Stdio::null()).output().expect("the shell runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, events) = without_events(&text(&ended.stdout));
        Said { stdout, stderr: text(&ended.stderr), events, code: ended.status.code() }
    }
}

/// What a command said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Standard output, without events.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Events: they come when they come.
    pub events: Vec<String>,
    /// Exit code of a shell that has ended.
    pub code: Option<i32>,
}

/// How long a shell may take to answer; JVMs on a busy machine are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell that reads lines.
pub struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    marks: usize,
}

impl Shell {
    /// Starts one.
    pub fn start(whose: Whose, server: &str) -> Shell {
        let mut command = whose.command(server);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the shell runs");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = lines(child.stdout.take().expect("it is piped"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        Shell { child, stdin, stdout, stderr, marks: 0 }
    }

    /// What a line says. Behind it go two that mark the end of its answer on either stream: a command
    /// that nobody knows, and a question that every state can answer.
    pub fn ask(&mut self, line: &str) -> Said {
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        writeln!(self.stdin, "{line}\n{mark}\nprintwatches").expect("the shell reads");
        let end = format!("Command not found: Command not found {mark}");
        let stderr = until(&self.stderr, line, |said| said == end);
        // Before the complaint stands the list of all commands.
        let usage = stderr.iter().rposition(|said| said.starts_with("ZooKeeper -server host:port"));
        let stderr = &stderr[..usage.expect("a complaint begins with the usage")];
        let is_mark = |said: &str| said.starts_with("printwatches is ");
        let mut stdout = until(&self.stdout, line, is_mark);
        if line == "printwatches" {
            stdout.push("printwatches is ".to_owned());
            stdout.extend(until(&self.stdout, line, is_mark));
        }
        // Apache's prints an event in two, from another thread: the mark may stand between.
        if stdout.last().is_some_and(|said| said == "WATCHER::") {
            while !stdout.last().is_some_and(|said| said.starts_with("WatchedEvent ")) {
                let next = self.stdout.recv_timeout(PATIENCE);
                stdout.push(next.expect("the event behind its head"));
            }
        }
        let (stdout, events) = without_events(&joined(&stdout));
        Said { stdout, stderr: joined(stderr), events, code: None }
    }

    /// The end of input: the exit code, and what was still said on standard output.
    pub fn end(self) -> Said {
        let Shell { mut child, stdin, stdout, stderr, .. } = self;
        drop(stdin);
        let (stdout, events) = without_events(&joined(&stdout.iter().collect::<Vec<_>>()));
        let stderr = joined(&stderr.iter().collect::<Vec<_>>());
        let code = child.wait().expect("it ends").code();
        Said { stdout, stderr, events, code }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The lines of a stream; the channel closes with it.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn until(stream: &Receiver<String>, line: &str, is_end: impl Fn(&str) -> bool) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        match stream.recv_timeout(PATIENCE) {
            Ok(text) if is_end(&text) => return said,
            Ok(text) => said.push(text),
            Err(RecvTimeoutError::Timeout) => panic!("{line}: no end of the answer after {said:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("{line}: the shell ended: {said:?}"),
        }
    }
}

/// Takes the events out of a text: each is an empty line, `WATCHER::`, an empty line, and the event.
fn without_events(text: &str) -> (String, Vec<String>) {
    const HEAD: &str = "\nWATCHER::\n\nWatchedEvent ";
    let mut rest = text;
    let (mut kept, mut events) = (String::new(), Vec::new());
    while let Some((before, behind)) = rest.split_once(HEAD) {
        kept.push_str(before);
        let (event, after) = behind.split_once('\n').unwrap_or((behind, ""));
        events.push(event.to_owned());
        rest = after;
    }
    kept.push_str(rest);
    (kept, events)
}
