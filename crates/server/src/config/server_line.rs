//! The lines `server.N=host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`.
//!
//! Source: operations reference, 1.3.

use super::error::ConfigError;
use super::settings::Sourced;

/// What a server does in an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Participant,
    /// It follows without a vote.
    Observer,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// Where other servers reach it: one, or several with `multiAddress.enabled`.
    pub addresses: Vec<ServerAddress>,
    /// The role at the end of the addresses.
    pub role: Role,
    /// Where clients connect: a host, unless it is every address, and a port.
    pub client: Option<ClientPart>,
}

/// Where other servers reach a server. Names are not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it leads or learns.
    pub quorum_port: u16,
    /// Where it elects.
    pub election_port: u16,
}

/// The part behind the semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPart {
    /// `None` is every address of the machine.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// Reads the line of the server `id`.
///
/// # Errors
/// What Apache refuses too, with the place of the line.
pub(super) fn parse(
    id: &str,
    found: &Sourced,
    multi_address: bool,
) -> Result<(i64, ServerLine), ConfigError> {
    let refused = |wanted: &str, advice: &str| {
        let problem = format!("server.{id}={} is not {wanted}", found.value);
        ConfigError::invalid(found.place.clone(), problem, advice)
    };
    let form = || {
        refused(
            "of the form server_config or server_config;client_config",
            "server_config is host:port:port or host:port:port:role, client_config is port or \
             host:port",
        )
    };
    let number = id.parse().map_err(|_| {
        refused("named server.N with a number N", "N is what the server has in its file myid")
    })?;
    let (addresses, client) = match found.value.split_once(';') {
        Some((addresses, client)) => (addresses, Some(client)),
        None => (found.value.as_str(), None),
    };
    if addresses.contains('|') && !multi_address {
        return Err(refused("one address", "several take multiAddress.enabled=true"));
    }
    let mut roles = Vec::new();
    let mut parsed = Vec::new();
    for address in addresses.split('|') {
        let parts = split_address(address);
        let Some([host, quorum, election, role @ ..]) = parts.as_deref() else {
            return Err(form());
        };
        if host.is_empty() || role.len() > 1 {
            return Err(form());
        }
        let quorum_port = port(quorum).ok_or_else(form)?;
        let election_port = port(election).ok_or_else(form)?;
        if quorum_port == election_port {
            return Err(refused(
                "possible: quorum port and election port must differ",
                "2888 and 3888 are usual",
            ));
        }
        roles.push(match role.first().map(|role| role.to_ascii_lowercase()).as_deref() {
            None | Some("participant") => Role::Participant,
            Some("observer") => Role::Observer,
            Some(_) => {
                return Err(refused("of a known role", "it is participant or observer"));
            }
        });
        parsed.push(ServerAddress { host: (*host).to_owned(), quorum_port, election_port });
    }
    if roles.iter().any(|role| *role != roles[0]) {
        return Err(refused("of one role", "all addresses of a server have the same"));
    }
    let client = client.map(|text| client_part(text).ok_or_else(form)).transpose()?;
    Ok((number, ServerLine { addresses: parsed, role: roles[0], client }))
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
    use crate::config::error::Place;

    fn line(value: &str) -> Result<ServerLine, ConfigError> {
        let found = Sourced { value: value.into(), place: Place::Line(7) };
        parse("3", &found, value.contains('|')).map(|(_, line)| line)
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
            ("a:1:2|b:1:2;10.0.0.1:3", Role::Participant, client(Some("10.0.0.1"), 3)),
            ("[::1]:2888:3888;[::]:2181", Role::Participant, client(Some("::"), 2181)),
        ];
        for (text, role, client) in cases {
            let line = line(text).expect(text);
            assert_eq!((line.role, line.client), (role, client), "{text}");
        }
        let hosts = line("a:1:2|[::1]:3:4").expect("valid").addresses;
        let address = |host: &str, quorum_port, election_port| ServerAddress {
            host: host.to_owned(),
            quorum_port,
            election_port,
        };
        assert_eq!(hosts, [address("a", 1, 2), address("::1", 3, 4)]);
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
            ("a:1:2:leader", "participant or observer"),
            ("a:1:2|b:1:2:observer", "of one role"),
        ] {
            assert!(line(text).expect_err(text).to_string().contains(reason), "{text}");
        }
        let found = Sourced { value: "a:1:2|b:1:2".into(), place: Place::Line(1) };
        let refusal = parse("1", &found, false).expect_err("two addresses").to_string();
        assert!(refusal.contains("server.1=") && refusal.contains("multiAddress"), "{refusal}");
        let refusal = parse("x", &found, true).expect_err("no number").to_string();
        assert!(refusal.contains("number N"), "{refusal}");
    }
}
