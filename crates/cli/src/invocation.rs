//! The shell's own command line, as Apache's `zkCli.sh` takes it, and what ours has besides.

use std::time::Duration;

use thiserror::Error;

use crate::output::Format;

/// How the shell was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `host:port[,host:port...][/chroot]`.
    pub server: String,
    /// The session's timeout; also how long a connection is waited for.
    pub timeout: Duration,
    /// Whether a server without its ensemble will do.
    pub read_only: bool,
    /// Whether a connection is waited for however long hosts refuse, up to the timeout.
    pub waits: bool,
    /// How answers look.
    pub format: Format,
    /// Whether everything is told that Apache's shell tells on standard output: the connect string, a
    /// welcome, events of the session.
    pub banner: bool,
    /// Whether help was asked for.
    pub help: bool,
    /// One command, or none: then lines are read.
    pub command: Vec<String>,
}

impl Default for Invocation {
    fn default() -> Invocation {
        Invocation {
            server: "localhost:2181".to_owned(),
            timeout: Duration::from_secs(30),
            read_only: false,
            waits: false,
            format: Format::Text,
            banner: false,
            help: false,
            command: Vec::new(),
        }
    }
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvocationError {
    /// Nothing follows where a value has to.
    #[error("Error: no argument found for option {0}")]
    NoValue(String),
    /// No number of milliseconds above 0.
    #[error("Error: -timeout takes milliseconds, not {0:?}")]
    Timeout(String),
    /// No format.
    #[error("Error: --output takes text or json, not {0:?}")]
    Output(String),
    /// Settings of Java's client, of which none has a meaning here.
    #[error(
        "Error: -client-configuration holds settings of Java's client, for TLS and SASL, which \
             this shell does not speak"
    )]
    ClientConfiguration,
}

/// What `--help` shows.
pub const HELP: &str = "\
Usage: oxikeeper shell [OPTIONS] [COMMAND...]

A shell for ZooKeeper: Apache's zkCli.sh, and more. Without a command it reads lines; `help` lists what
they may say.

  -s, -server HOST:PORT[,HOST:PORT...][/CHROOT]   default localhost:2181
  -timeout MS           of the session, and for a connection; default 30000
  -r                    a server that has lost its ensemble will do, for reading
  -waitforconnection    wait for a connection while hosts refuse it
  --output text|json    one JSON object a line; default text
  --banner              tell on standard output all that zkCli.sh tells there
  -h, --help

Exit codes: 0 done, 1 not done, 127 no such command, 141 nobody reads the answer.
";

/// Reads the arguments. Options end where the command begins; like Apache's shell it passes over ones it
/// does not know.
pub fn parse(arguments: &[String]) -> Result<Invocation, InvocationError> {
    let mut invocation = Invocation::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(name) = argument.strip_prefix('-') else {
            invocation.command.push(argument.clone());
            invocation.command.extend(rest.cloned());
            break;
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        let (name, joined) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let mut value = || {
            joined
                .clone()
                .or_else(|| rest.next().cloned())
                .ok_or_else(|| InvocationError::NoValue(argument.clone()))
        };
        match name {
            "server" | "s" => invocation.server = value()?,
            "timeout" => invocation.timeout = timeout(value()?)?,
            "output" => {
                invocation.format = match value()?.as_str() {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    other => return Err(InvocationError::Output(other.to_owned())),
                }
            }
            "client-configuration" => return Err(InvocationError::ClientConfiguration),
            "r" => invocation.read_only = true,
            "waitforconnection" => invocation.waits = true,
            "banner" => invocation.banner = true,
            "h" | "help" => invocation.help = true,
            _ => {}
        }
    }
    Ok(invocation)
}

fn timeout(text: String) -> Result<Duration, InvocationError> {
    match text.parse::<u32>() {
        Ok(ms) if (1..=i32::MAX as u32).contains(&ms) => Ok(Duration::from_millis(ms.into())),
        _ => Err(InvocationError::Timeout(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, InvocationError> {
        parse(&crate::words::split(line))
    }

    #[test]
    fn options_and_the_command() {
        let expected = Invocation {
            server: "h:1,h:2/app".to_owned(),
            timeout: Duration::from_millis(5000),
            read_only: true,
            waits: true,
            command: vec!["get".to_owned(), "-s".to_owned(), "/a b".to_owned()],
            ..Invocation::default()
        };
        let line = "-server h:1,h:2/app -timeout 5000 -r -unknown -waitforconnection get -s '/a b'";
        assert_eq!(parsed(line), Ok(expected.clone()));
        let line = "--server=h:1,h:2/app --timeout 5000 -r --waitforconnection get -s '/a b'";
        assert_eq!(parsed(line), Ok(expected));
        assert_eq!(parsed(""), Ok(Invocation::default()));
        assert_eq!(parsed("--output json").map(|found| found.format), Ok(Format::Json));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(parsed("-server"), Err(InvocationError::NoValue("-server".to_owned())));
        for text in ["ls", "0", "-5", "99999999999"] {
            let error = Err(InvocationError::Timeout(text.to_owned()));
            assert_eq!(parsed(&format!("-timeout {text}")), error);
        }
        assert_eq!(parsed("--output xml"), Err(InvocationError::Output("xml".to_owned())));
        assert!(parsed("-client-configuration /x").is_err());
    }
}
