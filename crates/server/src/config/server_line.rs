//! The lines `server.N=host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`.
//!
//! This version serves alone, but checks such a line as an ensemble would: whoever reads the file
//! next, Apache for one, should not be the first to find the mistake.
//!
//! Source: operations reference, 1.3.

use super::ConfigError;
use super::properties::Property;

/// What a server does in an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It votes.
    Participant,
    /// It follows without a vote.
    Observer,
}

/// One line, as far as a server that serves alone needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerLine {
    /// N.
    pub id: i64,
    /// The role at the end of the addresses.
    pub role: Role,
    /// Where clients connect: a host, unless it is every address, and a port.
    pub client: Option<ClientPart>,
}

/// The part behind the semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientPart {
    /// `None` is every address of the machine.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// Reads a line.
///
/// # Errors
/// What Apache refuses too, with the number of the line in the file.
pub(super) fn parse(property: &Property) -> Result<ServerLine, ConfigError> {
    let refused = |wanted| ConfigError::Value {
        key: property.key.clone(),
        line: property.line,
        value: property.value.clone(),
        wanted,
    };
    let form = || {
        refused(
            "of the form server_config or server_config;client_config, where server_config is \
             host:port:port or host:port:port:role and client_config is port or host:port",
        )
    };
    let id = property.key.strip_prefix("server.").and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| refused("named server.N with a number N"))?;
    let (addresses, client) = match property.value.split_once(';') {
        Some((addresses, client)) => (addresses, Some(client)),
        None => (property.value.as_str(), None),
    };
    if addresses.contains('|') {
        return Err(refused("one address; multiAddress is not part of this version"));
    }
    let role = match split_address(addresses).as_deref() {
        Some([host, quorum, election, role @ ..]) if !host.is_empty() && role.len() <= 1 => {
            let quorum = port(quorum).ok_or_else(form)?;
            if Some(quorum) == port(election) {
                return Err(refused("valid: quorum port and election port must differ"));
            }
            port(election).ok_or_else(form)?;
            match role.first().map(|role| role.to_ascii_lowercase()).as_deref() {
                None | Some("participant") => Role::Participant,
                Some("observer") => Role::Observer,
                Some(_) => return Err(refused("of a known role: participant or observer")),
            }
        }
        _ => return Err(form()),
    };
    let client = client.map(|text| client_part(text).ok_or_else(form)).transpose()?;
    Ok(ServerLine { id, role, client })
}

fn client_part(text: &str) -> Option<ClientPart> {
    match split_address(text)?.as_slice() {
        [text] => Some(ClientPart { host: None, port: port(text)? }),
        [host, text] => Some(ClientPart { host: Some((*host).to_owned()), port: port(text)? }),
        _ => None,
    }
}

fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok()
}

/// Splits at colons; an IPv6 address at the beginning stands in brackets, which are taken off.
fn split_address(text: &str) -> Option<Vec<&str>> {
    let Some(bracketed) = text.trim().strip_prefix('[') else {
        return Some(text.trim().split(':').collect());
    };
    let (host, rest) = bracketed.split_once(']')?;
    let mut parts = vec![host];
    if !rest.is_empty() {
        parts.extend(rest.strip_prefix(':')?.split(':'));
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str) -> Result<ServerLine, ConfigError> {
        parse(&Property { key: "server.3".into(), value: value.into(), line: 7 })
    }

    fn client(host: Option<&str>, port: u16) -> Option<ClientPart> {
        Some(ClientPart { host: host.map(str::to_owned), port })
    }

    #[test]
    fn forms_that_are_valid() {
        let cases = [
            ("a:2888:3888", Role::Participant, None),
            ("a:2888:3888:observer", Role::Observer, None),
            ("a:2888:3888:PARTICIPANT;2181", Role::Participant, client(None, 2181)),
            ("10.0.0.1:1:2;10.0.0.1:3", Role::Participant, client(Some("10.0.0.1"), 3)),
            ("[::1]:2888:3888;[::]:2181", Role::Participant, client(Some("::"), 2181)),
        ];
        for (text, role, client) in cases {
            assert_eq!(line(text).expect(text), ServerLine { id: 3, role, client }, "{text}");
        }
    }

    #[test]
    fn forms_that_are_not() {
        for text in [
            "",
            "a",
            "a:1",
            ":1:2",
            "a:1:x",
            "a:1:2:3:4",
            "a:1:99999",
            "a:1:2;",
            "a:1:2;b:c:3",
            "[::1:1:2",
            "[::1]1:2",
            "a:1:2;[::1]x2181",
        ] {
            let refusal = line(text).expect_err(text).to_string();
            assert!(refusal.starts_with("line 7: server.3="), "{refusal}");
            assert!(refusal.contains("server_config or server_config;client_config"), "{refusal}");
        }
        for (text, reason) in [
            ("a:1:1", "must differ"),
            ("a:1:2:leader", "known role"),
            ("a:1:2|b:1:2", "multiAddress"),
        ] {
            assert!(line(text).expect_err(text).to_string().contains(reason), "{text}");
        }
        let property = Property { key: "server.x".into(), value: "a:1:2".into(), line: 1 };
        assert!(parse(&property).expect_err("no number").to_string().contains("number N"));
    }
}
