//! What ends a command: Apache's words and exit codes for it, and its shape in JSON.

use oxikeeper_client::{Error, ErrorCode};
use oxikeeper_proto::path::{self, PathError};
use serde_json::{Value, json};

/// Why a command did not do what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such command.
    UnknownCommand(String),
    /// The words behind the command are not what it takes. The text is what is shown.
    Usage(String),
    /// Something else that the shell found wrong by itself; the text is what is shown.
    Refused(String),
    /// No valid path; nothing was sent.
    Path {
        /// As given.
        path: String,
        /// What is wrong with it.
        reason: PathError,
    },
    /// The server's answer, or none.
    Client {
        /// What the client library says.
        error: Error,
        /// The node that was asked about.
        path: Option<String>,
    },
    /// There is no connection, and no command was sent.
    Unreachable(String),
    /// Somebody closed what we write to: no words are left to say.
    OutputClosed,
}

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of a command that does not exist.
const COMMAND_NOT_FOUND: u8 = 127;
/// As if ended by SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

impl Fault {
    /// What a request on `path` ended with.
    pub fn client(error: Error, path: &str) -> Fault {
        Fault::Client { error, path: Some(path.to_owned()) }
    }

    /// Whether a server refused this one request: another may well succeed.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Fault::Client { error: Error::Refused(_), .. })
    }

    /// The exit code of a shell that ends with it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Fault::UnknownCommand(_) => COMMAND_NOT_FOUND,
            Fault::OutputClosed => BROKEN_PIPE,
            _ => FAILED,
        }
    }

    /// The words for people.
    pub fn text(&self) -> String {
        match self {
            Fault::UnknownCommand(name) => format!("Command not found: Command not found {name}"),
            Fault::Usage(text) | Fault::Refused(text) => text.clone(),
            Fault::Path { path, reason } => path_text(path, *reason),
            Fault::Client { error, path } => client_text(error, path.as_deref()),
            Fault::Unreachable(why) => format!("KeeperErrorCode = ConnectionLoss: {why}"),
            Fault::OutputClosed => String::new(),
        }
    }

    /// `kind` for programs, the words for people, and what belongs to it.
    pub fn json(&self) -> Value {
        let kind = match self {
            Fault::UnknownCommand(_) => "UnknownCommand".to_owned(),
            Fault::Usage(_) => "Usage".to_owned(),
            Fault::Refused(_) => "Refused".to_owned(),
            Fault::Path { .. } => "InvalidPath".to_owned(),
            Fault::Client { error, .. } => client_kind(error),
            Fault::Unreachable(_) => "ConnectionLoss".to_owned(),
            Fault::OutputClosed => "OutputClosed".to_owned(),
        };
        let mut value = json!({
            "kind": kind,
            "message": self.text(),
            "exitCode": self.exit_code(),
        });
        match self {
            Fault::Path { path, .. } => value["path"] = path.as_str().into(),
            Fault::Client { error, path } => {
                if let Some(path) = path.as_ref().filter(|path| !path.is_empty()) {
                    value["path"] = path.as_str().into();
                }
                if let Some(code) = error.code() {
                    value["code"] = code.to_wire().into();
                }
                if error.code().is_none() && error.may_have_happened() {
                    value["mayHaveHappened"] = true.into();
                }
            }
            _ => {}
        }
        value
    }
}

/// Checks a path before anything is sent.
pub fn check_path(path: &str) -> Result<(), Fault> {
    path::validate(path).map_err(|reason| Fault::Path { path: path.to_owned(), reason })
}

/// Apache's words for what is wrong with a path; places are counted in characters, as Java does.
fn path_text(path: &str, reason: PathError) -> String {
    let place = |at: usize| path[..at].encode_utf16().count();
    let invalid = |why: String| format!("Invalid path string \"{path}\" caused by {why}");
    match reason {
        PathError::Empty => "Path length must be > 0".to_owned(),
        PathError::NotAbsolute => "Path must start with / character".to_owned(),
        PathError::TrailingSlash => "Path must not end with / character".to_owned(),
        PathError::EmptyName { at } => invalid(format!("empty node name specified @{}", place(at))),
        PathError::Relative { at } => {
            // The last dot of the name.
            let dots = if path[at..].starts_with("..") { 1 } else { 0 };
            invalid(format!("relative paths not allowed @{}", place(at) + dots))
        }
        PathError::Character { code: 0, at } => {
            invalid(format!("null character not allowed @{}", place(at)))
        }
        PathError::Character { at, .. } => invalid(format!("invalid character @{}", place(at))),
    }
}

fn client_text(error: &Error, path: Option<&str>) -> String {
    let on = path.unwrap_or("null");
    match error {
        Error::InvalidPath { path, reason } => path_text(path, *reason),
        Error::Closed => "Not connected".to_owned(),
        Error::ConnectionLoss { .. } => keeper_code("ConnectionLoss", path),
        Error::RefusedUnknown(code) => keeper_code(&format!("Unknown error {code}"), path),
        Error::Refused(code) => match code {
            ErrorCode::NoNode => format!("Node does not exist: {on}"),
            ErrorCode::NoChildrenForEphemerals => {
                format!("Ephemerals cannot have children: {on}")
            }
            ErrorCode::NodeExists => format!("Node already exists: {on}"),
            ErrorCode::NotEmpty => format!("Node not empty: {on}"),
            ErrorCode::NotReadOnly => format!("Not a read-only call: {on}"),
            ErrorCode::InvalidAcl => format!("Acl is not valid : {on}"),
            ErrorCode::NoAuth => format!("Insufficient permission : {on}"),
            ErrorCode::BadArguments => format!("Arguments are not valid : {on}"),
            ErrorCode::BadVersion => format!("version No is not valid : {on}"),
            ErrorCode::QuotaExceeded => format!("Quota has exceeded : {on}"),
            ErrorCode::ReconfigInProgress => {
                "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"
                    .to_owned()
            }
            ErrorCode::NewConfigNoQuorum => {
                "No quorum of new config is connected and up-to-date with the leader of last \
                 commmitted config - try invoking reconfiguration after new servers are connected \
                 and synced"
                    .to_owned()
            }
            code => keeper_code(code_name(*code), path),
        },
        Error::SessionExpired => keeper_code("Session expired", path),
        Error::AuthFailed => keeper_code("AuthFailed", path),
        Error::Timeout(within) => {
            keeper_code("ConnectionLoss", path)
                + &format!(": no session within {} ms", within.as_millis())
        }
        other => match path {
            Some(path) if !path.is_empty() => format!("{other}: {path}"),
            _ => other.to_string(),
        },
    }
}

fn keeper_code(name: &str, path: Option<&str>) -> String {
    match path {
        Some(path) if !path.is_empty() => format!("KeeperErrorCode = {name} for {path}"),
        _ => format!("KeeperErrorCode = {name}"),
    }
}

/// Apache's words for codes that have no sentence of their own.
fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Ok => "ok",
        ErrorCode::RuntimeInconsistency => "RuntimeInconsistency",
        ErrorCode::MarshallingError => "MarshallingError",
        ErrorCode::Unimplemented => "Unimplemented",
        ErrorCode::OperationTimeout => "OperationTimeout",
        ErrorCode::BadArguments => "BadArguments",
        ErrorCode::NewConfigNoQuorum => "NewConfigNoQuorum",
        ErrorCode::ReconfigInProgress => "ReconfigInProgress",
        ErrorCode::NoNode => "NoNode",
        ErrorCode::NoAuth => "NoAuth",
        ErrorCode::BadVersion => "BadVersion",
        ErrorCode::NoChildrenForEphemerals => "NoChildrenForEphemerals",
        ErrorCode::NodeExists => "NodeExists",
        ErrorCode::NotEmpty => "Directory not empty",
        ErrorCode::SessionExpired => "Session expired",
        ErrorCode::InvalidAcl => "InvalidACL",
        ErrorCode::AuthFailed => "AuthFailed",
        ErrorCode::SessionMoved => "Session moved",
        ErrorCode::NotReadOnly => "Not a read-only call",
        ErrorCode::EphemeralOnLocalSession => "Ephemeral node on local session",
        ErrorCode::NoWatcher => "No such watcher",
        ErrorCode::ReconfigDisabled => "Reconfig is disabled",
        ErrorCode::SessionClosedRequireSaslAuth => {
            "Session closed because client failed to authenticate"
        }
        ErrorCode::QuotaExceeded => "Quota has exceeded",
        ErrorCode::ThrottledOp => "Op throttled due to high load",
    }
}

/// A word for programs: the code's name where there is one.
fn client_kind(error: &Error) -> String {
    match error {
        Error::Transaction { error, .. } => client_kind(error),
        error => match error.code() {
            Some(code) => format!("{code:?}"),
            None => match error {
                Error::ConnectionLoss { .. } => "ConnectionLoss".to_owned(),
                Error::Timeout(_) => "Timeout".to_owned(),
                Error::Closed => "Closed".to_owned(),
                Error::TooLarge { .. } => "TooLarge".to_owned(),
                _ => "Client".to_owned(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use oxikeeper_client::Outcome;

    use super::*;

    /// Each as Apache's shell said it.
    #[test]
    fn paths_that_are_none() {
        let cases = [
            ("", "Path length must be > 0"),
            ("noslash", "Path must start with / character"),
            ("/t/", "Path must not end with / character"),
            ("//t", "Invalid path string \"//t\" caused by empty node name specified @1"),
            ("/t/../x", "Invalid path string \"/t/../x\" caused by relative paths not allowed @4"),
            ("/t/./x", "Invalid path string \"/t/./x\" caused by relative paths not allowed @3"),
        ];
        for (path, text) in cases {
            assert_eq!(check_path(path).expect_err(path).text(), text);
        }
    }

    #[test]
    fn answers_in_apaches_words() {
        let text = |code, path| Fault::client(Error::Refused(code), path).text();
        assert_eq!(text(ErrorCode::NoNode, "/none"), "Node does not exist: /none");
        assert_eq!(text(ErrorCode::BadVersion, "/t"), "version No is not valid : /t");
        assert_eq!(text(ErrorCode::NoWatcher, "/t"), "KeeperErrorCode = No such watcher for /t");
        let disabled =
            Fault::Client { error: Error::Refused(ErrorCode::ReconfigDisabled), path: None };
        assert_eq!(disabled.text(), "KeeperErrorCode = Reconfig is disabled");
    }

    #[test]
    fn exit_codes_and_json() {
        let unknown = Fault::UnknownCommand("dance".to_owned());
        assert_eq!((unknown.exit_code(), unknown.json()["exitCode"].as_u64()), (127, Some(127)));
        let missing = Fault::client(Error::Refused(ErrorCode::NoNode), "/none");
        let expected = json!({
            "kind": "NoNode", "code": -101, "path": "/none", "exitCode": 1,
            "message": "Node does not exist: /none",
        });
        assert_eq!(missing.json(), expected);
        let lost = Error::ConnectionLoss { outcome: Outcome::Unknown };
        assert_eq!(Fault::client(lost, "/a").json()["mayHaveHappened"], true);
    }
}
