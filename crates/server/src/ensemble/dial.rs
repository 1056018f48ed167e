//! Connecting to other servers. Names are resolved anew on each attempt, by a thread of its own,
//! since a resolver may take its time.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxikeeper_proto::id::ServerId;
use tracing::debug;

use super::net::{NetHandle, Order};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Notifications.
    Election,
    /// To learn from a leader.
    Learn,
}

/// The outcome of an attempt.
pub struct Dialed {
    /// What for.
    pub purpose: Purpose,
    /// To whom.
    pub to: ServerId,
    /// The connection.
    pub stream: io::Result<TcpStream>,
}

/// Tries the addresses one after the other, and reports to the thread of the ports.
pub fn dial(
    purpose: Purpose,
    to: ServerId,
    addresses: Vec<(String, u16)>,
    timeout: Duration,
    net: Arc<NetHandle>,
) {
    let attempt = {
        let net = Arc::clone(&net);
        move || {
            let stream = connect(&addresses, timeout);
            if let Err(error) = &stream {
                debug!(server = %to, ?purpose, %error, "cannot connect");
            }
            net.order([Order::Dialed(Dialed { purpose, to, stream })]);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("dial".into()).spawn(attempt) {
        net.order([Order::Dialed(Dialed { purpose, to, stream: Err(error) })]);
    }
}

fn connect(addresses: &[(String, u16)], timeout: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + timeout;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (host, port) in addresses {
        let found: Vec<SocketAddr> = match (host.as_str(), *port).to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(error) => {
                failure = error;
                continue;
            }
        };
        for address in found {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}
