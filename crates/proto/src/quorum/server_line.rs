//! What stands behind `server.N=`: `host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`, with
//! further addresses between `|`.
//!
//! Source: quorum-protocol reference, 8.2; operations reference, 1.3; Apache's `QuorumServer`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

/// What a server does in an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Participant,
    /// It follows without a vote.
    Observer,
}

/// One server of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// Where other servers reach it: one, or several with `multiAddress.enabled`. Never empty.
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

/// What Apache refuses too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ServerLineError {
    /// It has not the form above.
    #[error("it is not of the form server_config or server_config;client_config")]
    Form,
    /// Quorum port and election port are one.
    #[error("quorum port and election port must differ")]
    SamePort,
    /// A role that there is not.
    #[error("the role is neither participant nor observer")]
    UnknownRole,
    /// Addresses with different roles.
    #[error("its addresses have different roles")]
    TwoRoles,
}

impl ServerLine {
    /// Reads what stands behind `server.N=`.
    ///
    /// # Errors
    /// What Apache refuses too. That it refuses several addresses unless `multiAddress.enabled` is a
    /// matter of the file they stand in.
    pub fn parse(value: &str) -> Result<ServerLine, ServerLineError> {
        let (addresses, client) = match value.split_once(';') {
            Some((addresses, client)) => (addresses, Some(client)),
            None => (value, None),
        };
        let parsed = addresses.split('|').map(address).collect::<Result<Vec<_>, _>>()?;
        let (addresses, roles): (Vec<_>, Vec<_>) = parsed.into_iter().unzip();
        let role = roles[0];
        if roles.iter().any(|other| *other != role) {
            return Err(ServerLineError::TwoRoles);
        }
        let client = client.map(|text| client_part(text).ok_or(ServerLineError::Form));
        Ok(ServerLine { addresses, role, client: client.transpose()? })
    }

    /// Whether this is the same server to those who connect to it: the same role and the same sets of
    /// addresses. Names are compared as they are written, addresses by what they mean.
    pub fn is_same(&self, other: &ServerLine) -> bool {
        let quorum = |line: &ServerLine| line.places(|address| address.quorum_port);
        let election = |line: &ServerLine| line.places(|address| address.election_port);
        let client = |line: &ServerLine| {
            line.client.as_ref().map(|part| (Host::of(part.host.as_deref()), part.port))
        };
        self.role == other.role
            && quorum(self) == quorum(other)
            && election(self) == election(other)
            && client(self) == client(other)
    }

    /// Whether learners reach both at the same places.
    pub fn has_same_quorum_addresses(&self, other: &ServerLine) -> bool {
        self.places(|address| address.quorum_port) == other.places(|address| address.quorum_port)
    }

    /// Whether both elect at the same places.
    pub fn has_same_election_addresses(&self, other: &ServerLine) -> bool {
        self.places(|address| address.election_port)
            == other.places(|address| address.election_port)
    }

    fn places(&self, port: fn(&ServerAddress) -> u16) -> BTreeSet<(Host, u16)> {
        self.addresses.iter().map(|a| (Host::of(Some(&a.host)), port(a))).collect()
    }
}

/// A host, to be compared.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    fn of(text: Option<&str>) -> Host {
        let text = text.unwrap_or("0.0.0.0");
        text.parse().map_or_else(|_| Host::Name(text.to_ascii_lowercase()), Host::Address)
    }
}

/// As Apache prints it: sorted by host, the role always, a client's host always.
impl fmt::Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<&ServerAddress> = self.addresses.iter().collect();
        addresses.sort_by(|a, b| a.host.cmp(&b.host));
        for (index, address) in addresses.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { "|" };
            let ServerAddress { host, quorum_port, election_port } = address;
            write!(f, "{separator}{}:{quorum_port}:{election_port}", InBrackets(host))?;
        }
        f.write_str(match self.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        })?;
        match &self.client {
            Some(ClientPart { host, port }) => {
                write!(f, ";{}:{port}", InBrackets(host.as_deref().unwrap_or("0.0.0.0")))
            }
            None => Ok(()),
        }
    }
}

/// A host as it stands before a port: an IPv6 address in brackets.
struct InBrackets<'a>(&'a str);

impl fmt::Display for InBrackets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

fn address(text: &str) -> Result<(ServerAddress, Role), ServerLineError> {
    let parts = split_address(text);
    let Some([host, quorum, election, role @ ..]) = parts.as_deref() else {
        return Err(ServerLineError::Form);
    };
    if host.is_empty() || role.len() > 1 {
        return Err(ServerLineError::Form);
    }
    let quorum_port = port(quorum).ok_or(ServerLineError::Form)?;
    let election_port = port(election).ok_or(ServerLineError::Form)?;
    if quorum_port == election_port {
        return Err(ServerLineError::SamePort);
    }
    let role = match role.first().map(|role| role.to_ascii_lowercase()).as_deref() {
        None | Some("participant") => Role::Participant,
        Some("observer") => Role::Observer,
        Some(_) => return Err(ServerLineError::UnknownRole),
    };
    Ok((ServerAddress { host: (*host).to_owned(), quorum_port, election_port }, role))
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
            let line = ServerLine::parse(text).expect(text);
            assert_eq!((line.role, &line.client), (role, &client), "{text}");
            assert!(ServerLine::parse(&line.to_string()).expect(text).is_same(&line), "{text}");
        }
        let hosts = ServerLine::parse("a:1:2|[::1]:3:4").expect("valid").addresses;
        let address = |host: &str, quorum_port, election_port| ServerAddress {
            host: host.to_owned(),
            quorum_port,
            election_port,
        };
        assert_eq!(hosts, [address("a", 1, 2), address("::1", 3, 4)]);
    }

    #[test]
    fn forms_that_are_not() {
        for (text, error) in [
            ("", ServerLineError::Form),
            ("a", ServerLineError::Form),
            ("a:1", ServerLineError::Form),
            (":1:2", ServerLineError::Form),
            ("a:1:x", ServerLineError::Form),
            ("a:1:2:3:4", ServerLineError::Form),
            ("a:1:99999", ServerLineError::Form),
            ("a:1:2;", ServerLineError::Form),
            ("a:1:2;b:c:3", ServerLineError::Form),
            ("a:1:2|", ServerLineError::Form),
            ("[::1:1:2", ServerLineError::Form),
            ("[::1]1:2", ServerLineError::Form),
            ("a:1:2;[::1]x2181", ServerLineError::Form),
            ("a:1:1", ServerLineError::SamePort),
            ("a:1:2:leader", ServerLineError::UnknownRole),
            ("a:1:2|b:1:2:observer", ServerLineError::TwoRoles),
        ] {
            assert_eq!(ServerLine::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn print_is_apaches() {
        for (text, printed) in [
            ("a:1:2", "a:1:2:participant"),
            ("b:1:2:observer|a:3:4:observer;5", "a:3:4|b:1:2:observer;0.0.0.0:5"),
            ("[::1]:1:2:Participant;[::1]:5", "[::1]:1:2:participant;[::1]:5"),
        ] {
            assert_eq!(ServerLine::parse(text).expect(text).to_string(), printed);
        }
    }

    #[test]
    fn servers_that_are_the_same() {
        let same = |a: &str, b: &str| {
            ServerLine::parse(a).expect(a).is_same(&ServerLine::parse(b).expect(b))
        };
        assert!(same("a:1:2|b:1:2", "b:1:2|A:1:2:participant"));
        assert!(same("[::1]:1:2", "[0:0:0:0:0:0:0:1]:1:2"));
        assert!(same("a:1:2;5", "a:1:2;0.0.0.0:5"));
        for other in ["b:1:2", "a:3:2", "a:1:3", "a:1:2:observer", "a:1:2;5", "a:1:2|b:1:2"] {
            assert!(!same("a:1:2", other), "{other}");
        }
    }
}
