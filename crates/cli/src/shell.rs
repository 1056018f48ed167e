//! The shell: what it remembers between commands, and which commands concern itself.

use oxikeeper_client::{Client, LostReason, State};
use serde_json::{Value, json};

use crate::command::{self, Command};
use crate::connection::Connection;
use crate::fault::Fault;
use crate::invocation::Invocation;
use crate::output::Output;
use crate::run;
use crate::syntax::{self, Syntax};
use crate::text;
use crate::watches::{Teller, Watches};
use crate::words;

/// How many commands `history` shows behind the present one.
const HISTORY_SHOWN: usize = 10;

/// Whether the shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    GoOn,
    /// It was told to quit.
    Quit,
}

/// A shell.
pub struct Shell {
    /// How it was started.
    pub invocation: Invocation,
    /// Where answers go.
    pub output: Output,
    /// The watches that wait.
    pub watches: Watches,
    version: &'static str,
    connection: Option<Connection>,
    /// What the prompt shows and `connect` without a word takes.
    server: String,
    /// Whether events of the session are told.
    tells_states: bool,
    history: Vec<String>,
    exit_code: u8,
    /// Whether an ephemeral node was created.
    pub has_ephemerals: bool,
}

impl Shell {
    /// A shell that begins to connect.
    pub fn start(
        invocation: Invocation,
        output: Output,
        tells_states: bool,
        version: &'static str,
    ) -> Result<Shell, Fault> {
        let watches = Watches::new(Teller::new(output.clone()));
        let server = invocation.server.clone();
        let mut shell = Shell {
            invocation,
            output,
            watches,
            version,
            connection: None,
            server: server.clone(),
            tells_states,
            history: Vec::new(),
            exit_code: 0,
            has_ephemerals: false,
        };
        shell.begin_session(&server)?;
        Ok(shell)
    }

    fn begin_session(&mut self, server: &str) -> Result<(), Fault> {
        let tells = self.tells_states.then(|| self.watches.teller.clone());
        self.connection = Some(Connection::start(server, &self.invocation, tells)?);
        server.clone_into(&mut self.server);
        Ok(())
    }

    async fn end_session(&mut self) {
        self.watches.clear();
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    /// The exit code of the last command.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// `[zk: host:port(CONNECTED) 0] `
    pub fn prompt(&self) -> String {
        let state = self.state();
        format!("[zk: {}({}) {}] ", self.server, text::state_name(state), self.history.len())
    }

    /// How the session stands.
    pub fn state(&self) -> State {
        let over = State::Lost(LostReason::Closed);
        self.connection.as_ref().map_or(over, Connection::state)
    }

    /// The client, if there is a session: for completion.
    pub fn client(&self) -> Option<Client> {
        self.connection.as_ref().map(|connection| connection.client.clone())
    }

    /// Carries out a line. One without a word is passed over.
    pub async fn run_line(&mut self, line: &str) -> Flow {
        let words = words::split(line);
        if words.is_empty() {
            return Flow::GoOn;
        }
        self.history.push(line.to_owned());
        self.run_words(words).await
    }

    /// Carries out the one command of the command line.
    pub async fn run_single(&mut self, words: Vec<String>) -> Flow {
        self.history.push(words.join(" "));
        self.run_words(words).await
    }

    /// Nobody reads the answers any more.
    pub fn is_output_closed(&self) -> bool {
        self.output.check() == Err(Fault::OutputClosed)
    }

    /// Something went wrong that belongs to no command.
    pub fn refuse(&mut self, fault: &Fault) {
        if !self.output.is_in_command() {
            self.output.begin("shell");
        }
        // A failure to write it shows with the next command.
        let _ = self.output.finish(Some(fault));
        self.exit_code = fault.exit_code();
    }

    async fn run_words(&mut self, words: Vec<String>) -> Flow {
        self.output.begin(words.first().map_or("", String::as_str));
        let mut flow = Flow::GoOn;
        let outcome = self.run(&words, &mut flow).await;
        if matches!(outcome, Err(Fault::UnknownCommand(_))) && self.output.is_text() {
            self.output.note(&syntax::usage());
        }
        let written = self.output.finish(outcome.as_ref().err());
        // `quit` ends with the outcome of the command before it.
        if flow == Flow::GoOn {
            let fault = outcome.and(written).err();
            self.exit_code = fault.map_or(0, |fault| fault.exit_code());
        }
        flow
    }

    async fn run(&mut self, words: &[String], flow: &mut Flow) -> Result<(), Fault> {
        let parsed = command::parse(words)?;
        if let Some(note) = &parsed.note {
            self.output.note(note);
        }
        match parsed.command {
            Command::Quit => {
                *flow = Flow::Quit;
                self.end_session().await;
                Ok(())
            }
            Command::Redo { number } => Box::pin(self.redo(number, flow)).await,
            Command::History => self.show_history(),
            Command::PrintWatches { on } => {
                if let Some(on) = on {
                    self.watches.teller.switch(on);
                } else {
                    let on = if self.watches.teller.is_on() { "on" } else { "off" };
                    self.output.line(&format!("printwatches is {on}"));
                }
                self.output.result(self.watches.teller.is_on().into());
                Ok(())
            }
            Command::Connect { server } => {
                let server = server.unwrap_or_else(|| self.server.clone());
                self.end_session().await;
                self.begin_session(&server)
            }
            Command::Close => {
                self.end_session().await;
                Ok(())
            }
            Command::Version => {
                self.output.line(&format!("ZooKeeper CLI version: {}", self.version));
                self.output.result(self.version.into());
                Ok(())
            }
            Command::Help { command } => self.help(command.as_deref()),
            command => {
                let client = self.ready().await?;
                run::run(self, &client, command).await
            }
        }
    }

    /// A client with a session.
    async fn ready(&self) -> Result<Client, Fault> {
        let not_connected = || Fault::Refused("Not connected".to_owned());
        let connection = self.connection.as_ref().ok_or_else(not_connected)?;
        connection.ready(&self.invocation).await?;
        Ok(connection.client.clone())
    }

    async fn redo(&mut self, number: usize, flow: &mut Flow) -> Result<(), Fault> {
        let refused = |text: &str| Err(Fault::Refused(text.to_owned()));
        let present = self.history.len().saturating_sub(1);
        if number >= present {
            return refused("Command index out of range");
        }
        let line = self.history[number].clone();
        let words = words::split(&line);
        if words.first().is_some_and(|word| word == "redo") {
            return refused("No redoing redos");
        }
        self.history[present] = line;
        self.run(&words, flow).await
    }

    fn show_history(&self) -> Result<(), Fault> {
        let first = self.history.len().saturating_sub(HISTORY_SHOWN + 1);
        for (number, line) in self.history.iter().enumerate().skip(first) {
            let element = || json!({ "number": number, "line": line });
            self.output.item(&format!("{number} - {line}"), element)?;
        }
        Ok(())
    }

    fn help(&self, name: Option<&str>) -> Result<(), Fault> {
        let one = |syntax: &Syntax| {
            let flags: Vec<Value> = syntax
                .flags
                .flags
                .iter()
                .map(|flag| json!({ "name": format!("-{}", flag.name), "about": flag.help }))
                .collect();
            json!({
                "name": syntax.name, "usage": syntax.line(), "about": syntax.about, "flags": flags,
            })
        };
        match name {
            Some(name) => {
                let unknown = || Fault::UnknownCommand(name.to_owned());
                let syntax = syntax::find(name).ok_or_else(unknown)?;
                let flags = syntax.flag_lines();
                let text = format!("{}\n  {}\n{flags}", syntax.line(), syntax.about);
                self.output.line(text.trim_end());
                self.output.result(one(syntax));
            }
            None => {
                for syntax in syntax::COMMANDS {
                    self.output
                        .item(&format!("{:21} {}", syntax.name, syntax.about), || one(syntax))?;
                }
                self.output.line("\n`help COMMAND` shows its words and flags.");
            }
        }
        Ok(())
    }

    /// The end. The session ends too; but one that has only just created an ephemeral node for a single
    /// command is left to its timeout, as Apache's shell leaves it, or that command were for nothing.
    pub async fn end(mut self) {
        // The last line is the answer's.
        self.watches.teller.switch(false);
        if self.invocation.command.is_empty() || !self.has_ephemerals {
            self.end_session().await;
        }
    }
}
