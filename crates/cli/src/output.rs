//! Where answers go: standard output and error as text, or one JSON object a command.
//!
//! As JSON everything is on standard output, one line each: `{"command":...,"result":...}` for a command,
//! with `error` in the place of `result` (or behind it, where it came in the middle), and `notes` for
//! what text has on standard error; `{"event":...}` for what a watch has seen. Nothing is written
//! between the parts of one object.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::fault::Fault;

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, and scripts that know Apache's shell.
    Text,
    /// For scripts.
    Json,
}

/// Prints while a line is being edited without disturbing it.
pub type Printer = Box<dyn FnMut(String) + Send>;

/// The one place that writes. Clones write to the same.
#[derive(Clone)]
pub struct Output {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    format: Format,
    out: BufWriter<Box<dyn Write + Send>>,
    err: Box<dyn Write + Send>,
    /// Whether errors are red.
    err_colour: bool,
    /// Whether standard output is read by a person now.
    is_terminal: bool,
    /// The first write that failed.
    failed: Option<io::ErrorKind>,
    printer: Option<Printer>,
    command: Option<Running>,
}

/// The answer that is being given.
struct Running {
    name: String,
    result: Option<Value>,
    notes: Vec<String>,
    is_list: bool,
    /// Events that came while a list was open.
    events: Vec<Value>,
}

impl Output {
    /// To the standard streams. `colour` where they are terminals.
    pub fn standard(format: Format, colour: bool) -> Output {
        let is_terminal = io::stdout().is_terminal();
        let err_colour = colour && io::stderr().is_terminal();
        let mut output = Output::to(format, Box::new(io::stdout()), Box::new(io::stderr()));
        if let Some(inner) = Arc::get_mut(&mut output.inner) {
            let inner = inner.get_mut().unwrap_or_else(PoisonError::into_inner);
            inner.err_colour = err_colour;
            inner.is_terminal = is_terminal;
        }
        output
    }

    /// To any two writers.
    pub fn to(format: Format, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Output {
        let inner = Inner {
            format,
            out: BufWriter::with_capacity(64 << 10, out),
            err,
            err_colour: false,
            is_terminal: false,
            failed: None,
            printer: None,
            command: None,
        };
        Output { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether answers are text.
    pub fn is_text(&self) -> bool {
        self.lock().format == Format::Text
    }

    /// Whether a person reads standard output on a terminal.
    pub fn is_terminal(&self) -> bool {
        self.lock().is_terminal
    }

    /// From now on events go through `printer`.
    pub fn set_printer(&self, printer: Printer) {
        self.lock().printer = Some(printer);
    }

    /// A command begins.
    pub fn begin(&self, name: &str) {
        self.lock().command = Some(Running {
            name: name.to_owned(),
            result: None,
            notes: Vec::new(),
            is_list: false,
            events: Vec::new(),
        });
    }

    /// Whether an answer is being given.
    pub fn is_in_command(&self) -> bool {
        self.lock().command.is_some()
    }

    /// A line of the answer as text; nothing as JSON.
    pub fn line(&self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A line of any bytes as text; nothing as JSON.
    pub fn bytes(&self, line: &[u8]) {
        let mut inner = self.lock();
        if inner.format == Format::Text {
            inner.write(|out| out.write_all(line).and_then(|()| out.write_all(b"\n")));
        }
    }

    /// Something that is no part of the answer: standard error, or `notes`.
    pub fn note(&self, text: &str) {
        let mut inner = self.lock();
        match inner.format {
            Format::Text => inner.complain(text, false),
            Format::Json => match &mut inner.command {
                Some(running) => running.notes.push(text.to_owned()),
                None => {
                    let line = json!({ "notes": [text] });
                    inner.write(|out| writeln!(out, "{line}"));
                }
            },
        }
    }

    /// The answer as JSON; nothing as text.
    pub fn result(&self, value: Value) {
        if let Some(running) = &mut self.lock().command {
            running.result = Some(value);
        }
    }

    /// One more entry of an answer that is a list: a line, or an element. Fails when nobody reads any
    /// more, so that long work ends.
    pub fn item(&self, line: &str, element: impl FnOnce() -> Value) -> Result<(), Fault> {
        let mut inner = self.lock();
        match inner.format {
            Format::Text => inner.write(|out| writeln!(out, "{line}")),
            Format::Json => {
                let begin = inner.open_list();
                let element = element();
                inner.write(|out| write!(out, "{begin}{element}"));
            }
        }
        inner.check()
    }

    /// As JSON the answer is a list even if nothing is in it.
    pub fn empty_list(&self) {
        if let Some(running) = self.lock().command.as_mut().filter(|running| !running.is_list) {
            running.result = Some(Value::Array(Vec::new()));
        }
    }

    /// The command has ended, with what went wrong. Fails when its answer could not be written.
    pub fn finish(&self, fault: Option<&Fault>) -> Result<(), Fault> {
        let mut inner = self.lock();
        let Some(running) = inner.command.take() else { return inner.check() };
        match (inner.format, fault) {
            (Format::Text, Some(fault)) if *fault != Fault::OutputClosed => {
                inner.complain(&fault.text(), true);
            }
            (Format::Text, _) => {}
            (Format::Json, fault) => inner.finish_json(running, fault),
        }
        inner.flush();
        inner.check()
    }

    /// What a watch or the session has to tell. Text goes between other lines.
    pub fn event(&self, text: &str, value: impl FnOnce() -> Value) {
        let mut inner = self.lock();
        match inner.format {
            Format::Text => {
                inner.flush();
                let text = format!("{text}\n");
                match inner.printer.take() {
                    Some(mut printer) => {
                        printer(text);
                        inner.printer = Some(printer);
                    }
                    None => inner.write(|out| out.write_all(text.as_bytes())),
                }
            }
            Format::Json => {
                let event = json!({ "event": value() });
                match inner.command.as_mut().filter(|running| running.is_list) {
                    Some(running) => running.events.push(event),
                    None => inner.write(|out| writeln!(out, "{event}")),
                }
            }
        }
        inner.flush();
    }

    /// Fails when something could not be written.
    pub fn check(&self) -> Result<(), Fault> {
        self.lock().check()
    }
}

impl Inner {
    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<Box<dyn Write + Send>>) -> io::Result<()>,
    ) {
        if self.failed.is_none() {
            self.failed = write(&mut self.out).err().map(|error| error.kind());
        }
    }

    fn flush(&mut self) {
        self.write(BufWriter::flush);
    }

    /// To standard error, behind all that went to standard output before.
    fn complain(&mut self, text: &str, is_error: bool) {
        self.flush();
        let (on, off) =
            if self.err_colour && is_error { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        // If nobody takes the words, the exit code still says it.
        let _ = writeln!(self.err, "{on}{text}{off}");
    }

    /// What stands before the next element of the list.
    fn open_list(&mut self) -> String {
        let Some(running) = &mut self.command else { return String::new() };
        if std::mem::replace(&mut running.is_list, true) {
            return ",".to_owned();
        }
        format!("{{\"command\":{},\"result\":[", Value::from(running.name.as_str()))
    }

    fn finish_json(&mut self, running: Running, fault: Option<&Fault>) {
        let mut rest = serde_json::Map::new();
        if !running.notes.is_empty() {
            rest.insert("notes".to_owned(), running.notes.into());
        }
        if let Some(fault) = fault {
            rest.insert("error".to_owned(), fault.json());
        }
        if running.is_list {
            let rest: String =
                rest.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
            self.write(|out| writeln!(out, "]{rest}}}"));
            for event in running.events {
                self.write(|out| writeln!(out, "{event}"));
            }
        } else {
            rest.insert("command".to_owned(), running.name.into());
            match running.result {
                Some(result) => {
                    rest.insert("result".to_owned(), result);
                }
                None if fault.is_none() => {
                    rest.insert("result".to_owned(), Value::Null);
                }
                None => {}
            }
            let object = Value::Object(rest);
            self.write(|out| writeln!(out, "{object}"));
        }
    }

    fn check(&self) -> Result<(), Fault> {
        match self.failed {
            None => Ok(()),
            Some(io::ErrorKind::BrokenPipe) => Err(Fault::OutputClosed),
            Some(kind) => Err(Fault::Refused(format!("standard output: {kind}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written, shared with the writer.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn output(format: Format) -> (Output, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        (Output::to(format, Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    #[test]
    fn text_goes_to_two_streams() {
        let (output, out, err) = output(Format::Text);
        output.begin("ls");
        output.line("[a, b]");
        output.note("deprecated");
        output.result(json!(["a", "b"]));
        output.finish(Some(&Fault::Refused("no".to_owned()))).unwrap();
        assert_eq!((out.take().as_str(), err.take().as_str()), ("[a, b]\n", "deprecated\nno\n"));
    }

    #[test]
    fn json_is_one_line_a_command() {
        let (output, out, err) = output(Format::Json);
        output.begin("ls");
        output.line("[a]");
        output.note("deprecated");
        output.result(json!(["a"]));
        output.finish(None).unwrap();
        let line = "{\"command\":\"ls\",\"notes\":[\"deprecated\"],\"result\":[\"a\"]}\n";
        assert_eq!(out.take(), line);
        output.begin("sync");
        output.finish(None).unwrap();
        assert_eq!(out.take(), "{\"command\":\"sync\",\"result\":null}\n");
        output.begin("get");
        output.finish(Some(&Fault::UnknownCommand("x".to_owned()))).unwrap();
        let object: Value = serde_json::from_str(&out.take()).unwrap();
        assert_eq!(object["error"]["exitCode"], 127);
        assert!(object.get("result").is_none());
        assert_eq!(err.take(), "");
    }

    #[test]
    fn an_error_in_the_middle_of_a_list_stands_behind_it() {
        let (output, out, _) = output(Format::Json);
        output.begin("ls");
        output.item("/a", || json!("/a")).unwrap();
        output.event("", || json!("while the list is open"));
        output.item("/b", || json!("/b")).unwrap();
        output.finish(Some(&Fault::Refused("no".to_owned()))).unwrap();
        let text = out.take();
        let (list, event) = text.split_once('\n').unwrap();
        let list: Value = serde_json::from_str(list).unwrap();
        assert_eq!(list["result"], json!(["/a", "/b"]));
        assert_eq!(list["error"]["message"], "no");
        assert_eq!(event, "{\"event\":\"while the list is open\"}\n");
        output.begin("ls");
        output.empty_list();
        output.finish(None).unwrap();
        assert_eq!(out.take(), "{\"command\":\"ls\",\"result\":[]}\n");
    }

    /// Whoever reads may go away.
    #[test]
    fn a_broken_pipe_ends_long_work() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let err = Written::default();
        let output = Output::to(Format::Text, Box::new(Closed), Box::new(err.clone()));
        output.begin("ls");
        let mut items = 0;
        while output.item("/some/path", || json!(null)).is_ok() {
            items += 1;
            assert!(items < 100_000, "nobody noticed");
        }
        assert_eq!(output.finish(Some(&Fault::OutputClosed)), Err(Fault::OutputClosed));
        assert_eq!(Fault::OutputClosed.exit_code(), 141);
        assert_eq!(err.take(), "");
    }
}
