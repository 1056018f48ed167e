//! One connection of the load: bytes out, replies in, requests in flight.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use mio::net::TcpStream;
use oxikeeper_proto::limits::REPLY_HEADER_BYTES;

use crate::error::BenchError;
use crate::recorder::Kind;

/// Xid of a watch event.
const EVENT_XID: i32 = -1;
/// Xid of a ping and of its answer.
pub const PING_XID: i32 = -2;

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// When it was sent, or due: nanoseconds since the origin.
    pub began: u64,
    /// Its number.
    pub xid: i32,
    /// What it asks.
    pub kind: Kind,
    /// Operations in it.
    pub items: u32,
}

/// A connection with a session.
pub struct Connection {
    stream: TcpStream,
    /// Place among the connections of the worker.
    index: usize,
    /// Requests encoded and not sent yet.
    pub out: Vec<u8>,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
    in_flight: VecDeque<Pending>,
    next_xid: i32,
    /// When something was last sent.
    pub last_sent: u64,
    /// When the last ping was sent.
    pub ping_sent: u64,
    /// The plan has nothing more for it.
    pub is_finished: bool,
}

/// How a read ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// There is nothing more at the moment.
    Yes,
    /// There may be more.
    No,
}

impl Connection {
    /// Takes over a socket whose handshake is done.
    pub fn new(stream: std::net::TcpStream, index: usize, depth: usize) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream: TcpStream::from_std(stream),
            index,
            out: Vec::new(),
            partial: Vec::new(),
            in_flight: VecDeque::with_capacity(depth),
            next_xid: 1,
            last_sent: 0,
            ping_sent: 0,
            is_finished: false,
        })
    }

    /// For the poll.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Xid of the next request.
    pub fn next_xid(&self) -> i32 {
        self.next_xid
    }

    /// Notes that a request with [`Connection::next_xid`] has been put into `out`.
    pub fn sent(&mut self, began: u64, kind: Kind, items: u32) {
        self.in_flight.push_back(Pending { began, xid: self.next_xid, kind, items });
        // Negative numbers have meanings of their own.
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
    }

    /// Sends what there is, as far as the kernel takes it.
    ///
    /// # Errors
    /// [`BenchError::Closed`], or what the operating system says.
    pub fn flush(&mut self, now: u64) -> Result<(), BenchError> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        if sent > 0 {
            self.last_sent = now;
        }
        self.out.drain(..sent);
        Ok(())
    }

    /// Reads once, and hands each reply's request and error code to `answer`.
    ///
    /// # Errors
    /// [`BenchError::Closed`], a reply out of order, or what the operating system says.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut answer: impl FnMut(Pending, i32),
    ) -> Result<Drained, BenchError> {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Err(self.closed()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Drained::Yes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Drained::No),
            Err(error) => return Err(self.broken(error)),
        };
        if self.partial.is_empty() {
            let used = self.replies(&buffer[..count], &mut answer)?;
            self.partial.extend_from_slice(&buffer[used..count]);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(&buffer[..count]);
            let used = self.replies(&bytes, &mut answer)?;
            bytes.drain(..used);
            self.partial = bytes;
        }
        // After a short read the socket is empty, and the poll tells when it no longer is.
        Ok(if count < buffer.len() { Drained::Yes } else { Drained::No })
    }

    /// Takes all whole frames; returns how many bytes they were.
    fn replies(
        &mut self,
        bytes: &[u8],
        answer: &mut impl FnMut(Pending, i32),
    ) -> Result<usize, BenchError> {
        let mut at = 0;
        while let Some(prefix) = bytes[at..].first_chunk::<4>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            let Some(frame) = bytes[at + 4..].get(..length) else { break };
            at += 4 + length;
            let Some(header) = frame.first_chunk::<REPLY_HEADER_BYTES>() else {
                let missing = REPLY_HEADER_BYTES - length;
                return Err(oxikeeper_proto::DecodeError::Truncated { missing }.into());
            };
            let word = |at: usize| i32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
            let (xid, error) = (word(0), word(12));
            if xid == EVENT_XID {
                continue;
            }
            if xid == PING_XID {
                answer(Pending { began: self.ping_sent, xid, kind: Kind::Ping, items: 1 }, error);
                continue;
            }
            match self.in_flight.pop_front() {
                Some(pending) if pending.xid == xid => answer(pending, error),
                other => {
                    let expected = other.map_or(0, |pending| pending.xid);
                    return Err(BenchError::Order { expected, got: xid });
                }
            }
        }
        Ok(at)
    }

    fn closed(&self) -> BenchError {
        BenchError::Closed { index: self.index, in_flight: self.in_flight.len() }
    }

    fn broken(&self, error: io::Error) -> BenchError {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => self.closed(),
            _ => BenchError::System { what: "a connection broke", source: error },
        }
    }
}
