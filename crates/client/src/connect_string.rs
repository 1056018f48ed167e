//! Connect strings: `host[:port][,host[:port]...][/chroot]`.

use std::fmt;

use crate::{Chroot, Error};

/// The port of a host without one.
pub const PORT_DEFAULT: u16 = 2181;

/// A server as the connect string names it. The name is resolved at each attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an address, without brackets.
    pub name: String,
    /// Its client port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// A parsed connect string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectString {
    /// At least one.
    pub hosts: Vec<Host>,
    /// What stands behind the first slash.
    pub chroot: Chroot,
}

impl ConnectString {
    /// Takes a connect string apart, by the rules of Apache's Java client: blanks around hosts are
    /// dropped, and empty hosts; IPv6 addresses stand in brackets, and without them the last colon
    /// splits.
    pub fn parse(text: &str) -> Result<ConnectString, Error> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => (&text[..at], text[at..].trim_end()),
            None => (text, ""),
        };
        let chroot = Chroot::new(chroot)
            .map_err(|error| Error::InvalidConnectString(format!("{text:?}: {error}")))?;
        let hosts: Vec<Host> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(parse_host)
            .collect::<Result<_, _>>()?;
        if hosts.is_empty() {
            return Err(Error::InvalidConnectString(format!("{text:?} names no host")));
        }
        Ok(ConnectString { hosts, chroot })
    }
}

fn parse_host(text: &str) -> Result<Host, Error> {
    let invalid = |what: &str| Error::InvalidConnectString(format!("{text:?}: {what}"));
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, behind) = rest.split_once(']').ok_or_else(|| invalid("no closing bracket"))?;
        match behind.strip_prefix(':') {
            Some(port) => (name, port),
            None if behind.is_empty() => (name, ""),
            None => return Err(invalid("nothing but a port may follow the bracket")),
        }
    } else {
        text.rsplit_once(':').unwrap_or((text, ""))
    };
    if name.is_empty() {
        return Err(invalid("no name"));
    }
    let port = match port {
        "" => PORT_DEFAULT,
        port => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(invalid("no port between 1 and 65535")),
        },
    };
    Ok(Host { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, String) {
        let string = ConnectString::parse(text).unwrap();
        let hosts = string.hosts.iter().map(Host::to_string).collect();
        (hosts, string.chroot.as_str().to_owned())
    }

    #[test]
    fn hosts_ports_and_chroot() {
        assert_eq!(parsed("h"), (vec!["h:2181".to_owned()], String::new()));
        assert_eq!(
            parsed(" h1:1 , ,h2:, [::1]:3,[fe80::2] ,::1:4/app/x"),
            (
                ["h1:1", "h2:2181", "[::1]:3", "[fe80::2]:2181", "[::1]:4"]
                    .map(str::to_owned)
                    .to_vec(),
                "/app/x".to_owned()
            )
        );
        assert_eq!(parsed("h/").1, "");
    }

    #[test]
    fn what_is_none() {
        for text in
            ["", ",", "/app", "h:0", "h:65536", "h:x", ":1", "[::1", "[::1]x", "h/a/", "h//a"]
        {
            let error = ConnectString::parse(text).unwrap_err();
            assert!(matches!(error, Error::InvalidConnectString(_)), "{text}: {error:?}");
        }
    }
}
