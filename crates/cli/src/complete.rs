//! Completion: commands, their flags, and paths of the server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oxikeeper_client::Client;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::syntax;
use crate::walk::join;
use crate::words;

/// How long a server may take to list the children that are offered.
const PATIENCE: Duration = Duration::from_secs(2);

/// What may follow.
pub struct Completion {
    /// The session that is asked for children.
    pub client: Arc<Mutex<Option<Client>>>,
    /// Where requests run.
    pub runtime: Handle,
    /// Whether the prompt has colours.
    pub colour: bool,
}

impl Completion {
    /// Children of a node; none if there is no session or no answer.
    fn children(&self, path: &str) -> Vec<String> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(client) = client else { return Vec::new() };
        let listed =
            self.runtime.block_on(async { timeout(PATIENCE, client.get_children(path)).await });
        let mut names = listed.ok().and_then(Result::ok).unwrap_or_default();
        names.sort_unstable();
        names
    }
}

/// The parts of a path that is being typed: the node whose children are offered, and how they begin.
fn typed_path(word: &str) -> Option<(&str, &str)> {
    let (parent, begin) = word.rsplit_once('/')?;
    word.starts_with('/').then_some((if parent.is_empty() { "/" } else { parent }, begin))
}

/// Names that begin so, each as it is offered.
fn beginning(names: impl IntoIterator<Item = String>, begin: &str) -> Vec<String> {
    names.into_iter().filter(|name| name.starts_with(begin)).collect()
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = &line[..position];
        let start = words::last_word(line);
        let word = &line[start..];
        let command = words::split(&line[..start]).into_iter().next();
        let found: Vec<(String, String)> = match &command {
            None => {
                let names = syntax::COMMANDS.iter().map(|syntax| syntax.name.to_owned());
                let found = beginning(names, word).into_iter();
                found.map(|name| (name.clone(), format!("{name} "))).collect()
            }
            Some(command) if word.starts_with('-') => {
                let flags = syntax::find(command).map_or(&[][..], |syntax| syntax.flags.flags);
                let flags = flags.iter().map(|flag| format!("-{}", flag.name));
                let found = beginning(flags, word).into_iter();
                found.map(|flag| (flag.clone(), format!("{flag} "))).collect()
            }
            Some(command) if matches!(command.as_str(), "help") => {
                let names = syntax::COMMANDS.iter().map(|syntax| syntax.name.to_owned());
                beginning(names, word).into_iter().map(|name| (name.clone(), name)).collect()
            }
            Some(_) => match typed_path(word) {
                Some((parent, begin)) => {
                    let found = beginning(self.children(parent), begin).into_iter();
                    found
                        .map(|name| {
                            let path = join(parent, &name);
                            (name, path)
                        })
                        .collect()
                }
                None => Vec::new(),
            },
        };
        let pair = |(display, replacement)| Pair { display, replacement };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Highlighter for Completion {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _: bool,
    ) -> std::borrow::Cow<'b, str> {
        if self.colour {
            let colour = if prompt.contains("(CONNECTED)") { 32 } else { 33 };
            format!("\x1b[{colour}m{prompt}\x1b[0m").into()
        } else {
            prompt.into()
        }
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_typed() {
        assert_eq!(typed_path("/"), Some(("/", "")));
        assert_eq!(typed_path("/zoo"), Some(("/", "zoo")));
        assert_eq!(typed_path("/a/b/"), Some(("/a/b", "")));
        assert_eq!(typed_path("a/b"), None);
        assert_eq!(typed_path(""), None);
    }
}
