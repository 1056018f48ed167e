//! One connection of the election port or the quorum port, as the thread of the ports has it.

use std::io::{self, Read};
use std::sync::Arc;

use mio::net::TcpStream;
use oxikeeper_proto::quorum::stream::{ElectionStream, QuorumStream};

use super::outlet::Outlet;

/// What comes on a connection.
pub enum Stream {
    /// Notifications.
    Election(ElectionStream),
    /// Packets.
    Quorum(QuorumStream),
}

/// See the module's head.
pub struct Connection {
    pub socket: TcpStream,
    pub stream: Stream,
    pub outlet: Arc<Outlet>,
    /// Close as soon as the output is with the kernel.
    pub closes_after_output: bool,
    /// The peer waits to hear that the output is with the kernel.
    pub wants_drained: bool,
}

impl Connection {
    /// With nothing on its way.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(socket: TcpStream, stream: Stream) -> io::Result<Connection> {
        let outlet = Outlet::of(&socket)?;
        Ok(Connection { socket, stream, outlet, closes_after_output: false, wants_drained: false })
    }

    /// Reads into `buffer`. `None` if there is nothing now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.socket.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
