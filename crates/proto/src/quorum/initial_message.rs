//! What a server says first on a connection to another's election port: who it is, and where it can
//! be called back.
//!
//! Source: quorum-protocol reference, 1.2; Apache's `QuorumCnxManager.InitialMessage`.

use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::limits::ADDRESS_BYTES_MAX;
use crate::id::ServerId;
use crate::jute::{DecodeError, Encode, Reader};

/// A name or an address, without brackets, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The first bytes of who opened the connection. No answer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialMessage {
    /// The server alone, as 3.4 sends it.
    Bare(ServerId),
    /// With an address, the form of 3.5 and of every server that has one address.
    V1 {
        /// Who opened the connection.
        server: ServerId,
        /// The addresses of its election port: one, if it is well-behaved.
        addresses: Vec<HostPort>,
    },
    /// With any number of addresses, sent with `multiAddress.enabled` alone: 3.5 refuses it.
    V2 {
        /// Who opened the connection.
        server: ServerId,
        /// The addresses of its election port.
        addresses: Vec<HostPort>,
    },
}

const V1: i64 = -65_536;
const V2: i64 = -65_535;
const FIXED_BYTES: usize = 20;

impl InitialMessage {
    /// Who opened the connection.
    pub fn server(&self) -> ServerId {
        match self {
            InitialMessage::Bare(server)
            | InitialMessage::V1 { server, .. }
            | InitialMessage::V2 { server, .. } => *server,
        }
    }

    /// The addresses that can be called back: without those that mean "all of my own". If none is
    /// left, the configured ones hold.
    pub fn usable_addresses(&self) -> impl Iterator<Item = &HostPort> {
        let all: &[HostPort] = match self {
            InitialMessage::Bare(_) => &[],
            InitialMessage::V1 { addresses, .. } | InitialMessage::V2 { addresses, .. } => {
                addresses
            }
        };
        all.iter().filter(|address| !is_wildcard(&address.host))
    }

    /// Bytes that the message has, as far as its first bytes tell: so many are needed at least before
    /// [`decode`](Self::decode) makes sense, and exactly so many once that many are there.
    ///
    /// # Errors
    /// A version that is not defined, or an impossible length of the addresses.
    pub fn bytes_needed(start: &[u8]) -> Result<usize, DecodeError> {
        let mut reader = Reader::new(start);
        let Ok(first) = reader.get::<i64>() else { return Ok(8) };
        match first {
            0.. => return Ok(8),
            V1 | V2 => {}
            other => {
                return Err(DecodeError::Undefined {
                    what: "version of an initial message",
                    value: other,
                });
            }
        }
        if start.len() < FIXED_BYTES {
            return Ok(FIXED_BYTES);
        }
        let _: ServerId = reader.get()?;
        let length: i32 = reader.get()?;
        match usize::try_from(length) {
            Ok(length @ 1..=ADDRESS_BYTES_MAX) => Ok(FIXED_BYTES + length),
            _ => Err(DecodeError::TooLong {
                what: "list of addresses",
                length: i64::from(length),
                max: ADDRESS_BYTES_MAX,
            }),
        }
    }

    /// Reads a message that is these bytes, all of them.
    ///
    /// # Errors
    /// If they are not one message.
    pub fn decode(bytes: &[u8]) -> Result<InitialMessage, DecodeError> {
        let needed = InitialMessage::bytes_needed(bytes)?;
        if bytes.len() < needed {
            return Err(DecodeError::Truncated { missing: needed - bytes.len() });
        }
        if bytes.len() > needed {
            let value = (bytes.len() - needed) as i64;
            return Err(DecodeError::Undefined { what: "bytes behind an initial message", value });
        }
        let mut reader = Reader::new(bytes);
        let first: i64 = reader.get()?;
        if first >= 0 {
            return Ok(InitialMessage::Bare(ServerId(first)));
        }
        let server = reader.get()?;
        let text = String::from_utf8_lossy(reader.buffer()?.ok_or(DecodeError::Null)?);
        let addresses = addresses(&text)?;
        Ok(match first {
            V1 => InitialMessage::V1 { server, addresses },
            _ => InitialMessage::V2 { server, addresses },
        })
    }
}

impl Encode for InitialMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        let (version, server, addresses) = match self {
            InitialMessage::Bare(server) => return server.encode(out),
            InitialMessage::V1 { server, addresses } => (V1, server, addresses),
            InitialMessage::V2 { server, addresses } => (V2, server, addresses),
        };
        version.encode(out);
        server.encode(out);
        let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        text.join("|").encode(out);
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn addresses(text: &str) -> Result<Vec<HostPort>, DecodeError> {
    let undefined = |number| DecodeError::Undefined {
        what: "address in an initial message, number",
        value: number,
    };
    text.split('|')
        .zip(0i64..)
        .map(|(address, number)| address.parse().map_err(|_: NotHostPort| undefined(number)))
        .collect()
}

/// What does not read `host:port`, or `[address]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not host:port")]
pub struct NotHostPort(String);

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<HostPort, NotHostPort> {
        let parts = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.split_once(':'),
        };
        let parts = parts.filter(|(host, _)| !host.is_empty());
        let address = parts.and_then(|(host, port)| {
            Some(HostPort { host: host.to_owned(), port: port.parse().ok()? })
        });
        address.ok_or_else(|| NotHostPort(text.to_owned()))
    }
}

fn is_wildcard(host: &str) -> bool {
    host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
}
