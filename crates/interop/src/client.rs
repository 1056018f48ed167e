//! A client that sends what it is told and hides nothing of what comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use oxikeeper_proto::reply::{ConnectResponse, ReplyHeader};
use oxikeeper_proto::request::{ConnectRequest, RequestHeader};
use oxikeeper_proto::{Encode, OpCode, Reader, SessionId, Zxid};

/// A connection.
pub struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The session, once the handshake is through.
    pub session: SessionId,
    /// Its password.
    pub password: [u8; 16],
    next_xid: i32,
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its header.
    pub header: ReplyHeader,
    /// What stands behind it.
    pub body: Vec<u8>,
}

/// No server takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

impl RawClient {
    /// Opens a connection without a word.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(address: SocketAddr) -> io::Result<RawClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (session, password) = (SessionId::NONE, [0; 16]);
        Ok(RawClient { stream, buffer: Vec::new(), session, password, next_xid: 1 })
    }

    /// Opens a connection with a new session.
    ///
    /// # Errors
    /// What the operating system says, or a refused handshake.
    pub fn connect(address: SocketAddr, timeout_ms: i32) -> io::Result<RawClient> {
        let mut client = RawClient::open(address)?;
        client.handshake(SessionId::NONE, &[0; 16], timeout_ms, Zxid::ZERO)?;
        Ok(client)
    }

    /// Shakes hands; a session of 0 in the answer means that the one asked for is gone.
    ///
    /// # Errors
    /// What the operating system says, or a close.
    pub fn handshake(
        &mut self,
        session: SessionId,
        password: &[u8],
        timeout_ms: i32,
        last_zxid_seen: Zxid,
    ) -> io::Result<ConnectResponse> {
        self.greet(session, password, timeout_ms, last_zxid_seen)?;
        let bytes = self.frame()?;
        let response: ConnectResponse = Reader::new(&bytes).get().map_err(io::Error::other)?;
        self.session = response.session;
        self.password = response.password;
        Ok(response)
    }

    /// The first half of a handshake: nobody waits for the answer.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn greet(
        &mut self,
        session: SessionId,
        password: &[u8],
        timeout_ms: i32,
        last_zxid_seen: Zxid,
    ) -> io::Result<()> {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen,
            timeout_ms,
            session,
            password: Some(password),
            read_only: Some(false),
        };
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| request.encode(out));
        self.send(&frame)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame, without its length.
    ///
    /// # Errors
    /// What the operating system says; `UnexpectedEof` if the server closed.
    pub fn frame(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(prefix) = self.buffer.first_chunk::<4>() {
                let length = u32::from_be_bytes(*prefix) as usize;
                if self.buffer.len() >= 4 + length {
                    let frame = self.buffer[4..4 + length].to_vec();
                    self.buffer.drain(..4 + length);
                    return Ok(frame);
                }
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// The next reply or notification.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn reply(&mut self) -> io::Result<Reply> {
        let frame = self.frame()?;
        let mut reader = Reader::new(&frame);
        let header = reader.get().map_err(io::Error::other)?;
        Ok(Reply { header, body: reader.rest().to_vec() })
    }

    /// A number for the next request.
    pub fn xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        xid
    }

    /// Sends a request and waits for its reply, passing notifications over.
    ///
    /// # Errors
    /// What the operating system says, or a close.
    pub fn call(&mut self, op: OpCode, body: &impl Encode) -> io::Result<Reply> {
        let xid = self.xid();
        self.send(&request(xid, op, body))?;
        loop {
            let reply = self.reply()?;
            if reply.header.xid != -1 {
                return Ok(reply);
            }
        }
    }

    /// Ends the connection, not the session.
    pub fn cut(self) {
        drop(self);
    }
}

/// A whole frame of a request.
pub fn request(xid: i32, op: OpCode, body: &impl Encode) -> Vec<u8> {
    let mut frame = Vec::new();
    put_frame(&mut frame, |out| {
        RequestHeader { xid, op: op.to_wire() }.encode(out);
        body.encode(out);
    });
    frame
}

/// Appends a frame of what `write` writes.
pub fn put_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    oxikeeper_proto::reply::end_frame(out, start);
}
