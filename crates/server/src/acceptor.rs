//! The client port: who connects is dealt out to the reactors. A reconfiguration may move the port while
//! the server runs; connections that stand stay.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::quorum::server_line::ClientPart;
use parking_lot::{Condvar, Mutex};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::{error, info, warn};

use crate::config::{Config, resolve_client_host};
use crate::error::RunError;
use crate::limits::{ConnectionLimits, Exceeded};
use crate::reactor::{Accepted, Desk};
use crate::shared::Shared;

/// `clientPortListenBacklog` when it is not set.
const LISTEN_BACKLOG: i32 = 128;

/// Where clients are listened for, as everybody may see and change it.
#[derive(Debug, Default)]
pub struct ClientPort {
    state: Mutex<State>,
    moves: Condvar,
}

#[derive(Debug, Default)]
struct State {
    address: Option<SocketAddr>,
    /// The socket, to end the wait for a connection with.
    listening: Option<TcpListener>,
    /// Where to listen instead.
    moves_to: Option<ClientPart>,
}

impl ClientPort {
    /// The port in use.
    pub fn number(&self) -> Option<u16> {
        self.state.lock().address.map(|address| address.port())
    }

    /// Has the acceptor listen elsewhere.
    pub fn move_to(&self, place: ClientPart) {
        let mut state = self.state.lock();
        state.moves_to = Some(place);
        if let Some(listening) = state.listening.take() {
            // It may be broken already: then the acceptor looks at once.
            let _ = SockRef::from(&listening).shutdown(std::net::Shutdown::Both);
        }
        self.moves.notify_all();
    }

    /// This socket listens now, or none.
    fn listens(&self, listener: Option<&TcpListener>) {
        let mut state = self.state.lock();
        state.address = listener.and_then(|listener| listener.local_addr().ok());
        state.listening = listener.and_then(|listener| listener.try_clone().ok());
        if let (Some(listening), true) = (&state.listening, state.moves_to.is_some()) {
            let _ = SockRef::from(listening).shutdown(std::net::Shutdown::Both);
        }
    }

    fn take_move(&self) -> Option<ClientPart> {
        self.state.lock().moves_to.take()
    }

    fn wait_for_move(&self) {
        let mut state = self.state.lock();
        while state.moves_to.is_none() {
            self.moves.wait(&mut state);
        }
    }
}

/// Takes connections and deals them out to the reactors.
pub struct Acceptor {
    /// The socket; none while nobody can connect.
    pub listener: Option<TcpListener>,
    /// The reactors.
    pub desks: Vec<Arc<Desk>>,
    /// The port, and whether the server ends.
    pub shared: Arc<Shared>,
    /// How many may be there.
    pub limits: Arc<ConnectionLimits>,
    /// `clientTcpKeepAlive`.
    pub keep_alive: bool,
    /// `clientPortListenBacklog`.
    pub backlog: i32,
}

impl Acceptor {
    /// Runs until the server ends.
    pub fn run(mut self) {
        let mut next_conn = 0u64;
        self.shared.client_port.listens(self.listener.as_ref());
        while !self.shared.is_stopping() {
            let Some(listener) = &self.listener else {
                self.shared.client_port.wait_for_move();
                self.follow_move();
                continue;
            };
            let (stream, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if self.follow_move() => continue,
                Err(error) => {
                    // Most likely no file descriptor is left: others have to close first.
                    warn!(%error, "cannot accept a connection");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
            if let Err(exceeded) = self.limits.opened(remote.ip()) {
                self.note_refusal(remote, &exceeded);
                continue;
            }
            let options = SockRef::from(&stream);
            let prepared = stream
                .set_nonblocking(true)
                .and_then(|()| stream.set_nodelay(true))
                .and_then(|()| options.set_keepalive(self.keep_alive));
            if let Err(error) = prepared {
                warn!(%remote, %error, "cannot prepare a connection; closed");
                self.limits.closed(remote.ip());
                continue;
            }
            let conn = ConnId(next_conn);
            let reactor = next_conn as usize % self.desks.len();
            next_conn += 1;
            self.desks[reactor].accepted.lock().push(Accepted { conn, stream, remote });
            self.shared.mailboxes[reactor].poke();
        }
    }

    /// Listens elsewhere, if that is wanted. The old port is closed first: the new place may overlap it.
    fn follow_move(&mut self) -> bool {
        let Some(place) = self.shared.client_port.take_move() else { return false };
        self.listener = None;
        self.shared.client_port.listens(None);
        match resolve_client_host(place.host.as_deref(), place.port)
            .and_then(|address| listen_at(address, self.backlog))
        {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => {
                let host = place.host.as_deref().unwrap_or("0.0.0.0");
                error!(%error, "cannot listen at {host}:{}, where the configuration has moved the \
                    client port: no new client can connect", place.port);
            }
        }
        self.shared.client_port.listens(self.listener.as_ref());
        true
    }

    fn note_refusal(&self, remote: SocketAddr, exceeded: &Exceeded) {
        let refused = self.limits.refused();
        // The first of a run is worth a line, ten thousand are not.
        if !refused.is_power_of_two() {
            return;
        }
        let ip = remote.ip();
        match exceeded {
            Exceeded::PerAddress(max) => {
                warn!(refused, "Too many connections from /{ip} - max is {max}");
            }
            Exceeded::OpenFiles(max) => warn!(
                refused,
                "Too many connections, the last from /{ip} - max is {max} with this limit of open \
                 files (ulimit -n)"
            ),
            Exceeded::Total(max) => {
                warn!(refused, "Too many connections, the last from /{ip} - max is {max}");
            }
        }
    }
}

/// Opens the client port of the configuration.
///
/// # Errors
/// The address, and what the operating system says.
pub fn listen(config: &Config) -> Result<Option<TcpListener>, RunError> {
    let Some(address) = config.client_address else {
        warn!("no clientPort: nobody can connect");
        return Ok(None);
    };
    let listener = listen_at(address, config.listen_backlog);
    listener.map(Some).map_err(|source| RunError::Listen { address, source })
}

fn listen_at(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let listen = |address: SocketAddr| -> io::Result<TcpListener> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(if backlog > 0 { backlog } else { LISTEN_BACKLOG })?;
        Ok(TcpListener::from(socket))
    };
    let listener = match listen(address) {
        // No IPv6 on this machine: the wildcard is IPv4's.
        Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        other => other,
    }?;
    // Frameworks for tests wait for these words.
    info!("binding to port {address}");
    Ok(listener)
}
