//! One connection of the election port or the quorum port.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use oxikeeper_proto::quorum::stream::{ElectionStream, QuorumStream};

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
    output: Vec<u8>,
    sent: usize,
    /// Close as soon as the output is with the kernel.
    pub closes_after_output: bool,
    /// The peer waits to hear that the output is with the kernel.
    pub wants_drained: bool,
    /// The feeder writes to it, or is about to: nothing else may.
    pub is_lent: bool,
}

/// What one read or write came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing more to do now.
    Done,
    /// It is over.
    Over,
}

/// A connection with more than this waiting is of no use any more: its reader has stopped long ago.
const OUTPUT_BYTES_MAX: usize = 1 << 30;
/// An output buffer that has grown beyond this is given back once it is empty.
const OUTPUT_BYTES_KEPT: usize = 1 << 20;

impl Connection {
    /// With nothing on its way.
    pub fn new(socket: TcpStream, stream: Stream) -> Connection {
        Connection {
            socket,
            stream,
            output: Vec::new(),
            sent: 0,
            closes_after_output: false,
            wants_drained: false,
            is_lent: false,
        }
    }

    /// Where to put what is to be sent.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// What is not with the kernel yet, for somebody else to send.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.output.drain(..self.sent);
        self.sent = 0;
        std::mem::take(&mut self.output)
    }

    /// Whether everything is with the kernel.
    pub fn is_drained(&self) -> bool {
        self.output.is_empty()
    }

    /// Sends as much as the kernel takes.
    pub fn flush(&mut self) -> Progress {
        if self.output.len() - self.sent > OUTPUT_BYTES_MAX {
            return Progress::Over;
        }
        while self.sent < self.output.len() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(0) => return Progress::Over,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Progress::Over,
            }
        }
        self.sent = 0;
        self.output.clear();
        if self.output.capacity() > OUTPUT_BYTES_KEPT {
            self.output = Vec::new();
        }
        Progress::Done
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
