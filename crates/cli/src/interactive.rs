//! Lines from a person at a terminal: history, completion, and events that do not disturb what is typed.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use oxikeeper_client::Client;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::runtime::Handle;
use tokio::sync::mpsc as tasks;

use crate::complete::Completion;
use crate::fault::Fault;
use crate::shell::{Flow, Shell};
use crate::words;

/// How many lines the file of the history keeps.
const HISTORY_MAX: usize = 1000;

/// What came from the terminal.
enum Typed {
    Line(String),
    /// Ctrl-C: the line is given up.
    Interrupted,
    /// Ctrl-D, or no terminal any more.
    End,
}

/// Reads and carries out lines until Ctrl-D or `quit`.
pub async fn run(shell: &mut Shell, colour: bool) {
    let client = Arc::new(Mutex::new(shell.client()));
    let completion = Completion { client: client.clone(), runtime: Handle::current(), colour };
    let mut editor = match editor(completion) {
        Ok(editor) => editor,
        Err(error) => {
            shell.refuse(&Fault::Refused(format!("terminal: {error}")));
            return;
        }
    };
    if let Ok(mut printer) = editor.create_external_printer() {
        // What cannot be printed is lost, as on a terminal that is gone.
        shell.output.set_printer(Box::new(move |text| drop(printer.print(text))));
    }
    // The editor waits for keys in a thread of its own; it is told when the next line may begin.
    let (prompts, prompted) = mpsc::channel::<String>();
    let (typed, mut lines) = tasks::channel(1);
    thread::spawn(move || read_lines(editor, &prompted, &typed));
    loop {
        remember(&client, shell.client());
        if prompts.send(shell.prompt()).is_err() {
            return;
        }
        match lines.recv().await {
            Some(Typed::Line(line)) => {
                let flow = tokio::select! {
                    flow = shell.run_line(&line) => Some(flow),
                    _ = tokio::signal::ctrl_c() => None,
                };
                match flow {
                    Some(Flow::Quit) => return,
                    Some(Flow::GoOn) => {}
                    // The command is given up; what it has sent may still be carried out.
                    None => shell.refuse(&Fault::Refused("interrupted".to_owned())),
                }
                if shell.is_output_closed() {
                    return;
                }
            }
            Some(Typed::Interrupted) => {}
            Some(Typed::End) | None => return,
        }
    }
}

fn remember(slot: &Mutex<Option<Client>>, client: Option<Client>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = client;
}

fn editor(completion: Completion) -> rustyline::Result<Editor<Completion, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .completion_type(rustyline::CompletionType::List)
        .auto_add_history(false)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(completion));
    if let Some(file) = history_file() {
        // There is none before the first shell has ended.
        let _ = editor.load_history(&file);
    }
    Ok(editor)
}

/// `OXIKEEPER_HISTORY`, or `.oxikeeper_history` at home; none if that is empty or there is no home.
fn history_file() -> Option<PathBuf> {
    let given = std::env::var_os("OXIKEEPER_HISTORY").map(PathBuf::from);
    let file = given.or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".oxikeeper_history"))
    })?;
    (!file.as_os_str().is_empty()).then_some(file)
}

fn read_lines(
    mut editor: Editor<Completion, FileHistory>,
    prompted: &mpsc::Receiver<String>,
    typed: &tasks::Sender<Typed>,
) {
    let file = history_file();
    while let Ok(prompt) = prompted.recv() {
        let read = match editor.readline(&prompt) {
            Ok(line) => {
                let is_new = is_kept(&line) && editor.add_history_entry(&line).unwrap_or(false);
                if let Some(file) = file.as_ref().filter(|_| is_new) {
                    // A history that cannot be kept is no reason to stop.
                    let _ = editor.append_history(file);
                }
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupted,
            Err(_) => Typed::End,
        };
        let is_end = matches!(read, Typed::End);
        if typed.blocking_send(read).is_err() || is_end {
            return;
        }
    }
}

/// Passwords are not written down.
fn is_kept(line: &str) -> bool {
    words::split(line).first().is_some_and(|command| command != "addauth")
}
