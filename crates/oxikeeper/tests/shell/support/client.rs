//! A client that hides nothing, with a codec of its own: what is tested must not judge itself.
//!
//! Source: client-protocol reference. Integers are big-endian; strings and buffers have a length of
//! four bytes before them; every frame has one as well.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// Operations, as they are numbered on the wire.
pub mod op {
    pub const CREATE: i32 = 1;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const CLOSE: i32 = -11;
}

/// Errors, as they are numbered on the wire.
pub mod code {
    pub const MARSHALLING: i32 = -5;
    pub const UNIMPLEMENTED: i32 = -6;
    pub const OPERATION_TIMEOUT: i32 = -7;
    pub const NO_NODE: i32 = -101;
    pub const NODE_EXISTS: i32 = -110;
}

/// Flag of a create.
pub const EPHEMERAL: i32 = 1;

/// What a watch event tells: that a node is gone.
pub const NODE_DELETED: i32 = 2;

/// A reply or a watch event.
#[derive(Clone, Debug)]
pub struct Reply {
    pub xid: i32,
    pub err: i32,
    pub body: Vec<u8>,
}

/// A connection, with or without a session.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub session: i64,
    pub password: Vec<u8>,
    /// The timeout that the server granted, milliseconds.
    pub timeout_ms: i32,
    next_xid: i32,
    /// The zxid of the last reply.
    zxid_seen: i64,
    /// Watch events that came while a reply was waited for.
    pub events: Vec<Reply>,
}

impl Client {
    /// Opens a connection without a word.
    pub fn open(address: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect(address)?)
    }

    /// Opens a connection from another address of the loopback.
    pub fn open_from(local: Ipv4Addr, address: SocketAddr) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((local, 0)).into())?;
        socket.connect(&address.into())?;
        Client::over(socket.into())
    }

    /// Opens a connection whose kernel takes little of what the server sends.
    pub fn open_narrow(address: SocketAddr, receive_bytes: usize) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(receive_bytes)?;
        socket.connect(&address.into())?;
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            buffer: Vec::new(),
            session: 0,
            password: vec![0; 16],
            timeout_ms: 0,
            next_xid: 1,
            zxid_seen: 0,
            events: Vec::new(),
        })
    }

    /// A new session.
    ///
    /// # Panics
    /// If the server does not grant one.
    pub fn connect(address: SocketAddr, timeout_ms: i32) -> Client {
        let mut client = Client::open(address).expect("the server takes connections");
        client.handshake(timeout_ms).expect("the server grants a session");
        client
    }

    /// Takes up a session over a new connection. False if the server says that it is gone.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn resume(address: SocketAddr, session: i64, password: &[u8], timeout_ms: i32) -> Client {
        let mut client = Client::open(address).expect("the server takes connections");
        client.session = session;
        client.password = password.to_vec();
        client.handshake(timeout_ms).expect("the server answers");
        client
    }

    /// Shakes hands. A session of 0 afterwards means that the one asked for is gone.
    pub fn handshake(&mut self, timeout_ms: i32) -> io::Result<()> {
        self.send(&handshake(self.session, &self.password, timeout_ms))?;
        let answer = self.frame()?;
        self.timeout_ms = i32_at(&answer, 4);
        self.session = i64_at(&answer, 8);
        self.password = answer[20..36].to_vec();
        Ok(())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame, without its length. An error of kind `UnexpectedEof` says that the server
    /// closed the connection.
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

    /// The next reply or event.
    pub fn next(&mut self) -> io::Result<Reply> {
        let frame = self.frame()?;
        assert!(frame.len() >= 16, "a reply has a header: {frame:?}");
        let (xid, zxid) = (i32_at(&frame, 0), i64_at(&frame, 4));
        // Events have the zxid of their change, and a request that cannot be read has none.
        if xid != -1 && zxid != -1 {
            assert!(zxid >= self.zxid_seen, "{zxid:#x} behind {:#x}: zxids fall", self.zxid_seen);
            self.zxid_seen = zxid;
        }
        Ok(Reply { xid, err: i32_at(&frame, 12), body: frame[16..].to_vec() })
    }

    /// Sends a request; gives its number.
    pub fn ask(&mut self, op: i32, body: &[u8]) -> io::Result<i32> {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.send(&request(xid, op, body))?;
        Ok(xid)
    }

    /// Sends a request and waits for its reply. Events on the way are kept.
    pub fn call(&mut self, op: i32, body: &[u8]) -> io::Result<Reply> {
        let asked = self.ask(op, body)?;
        loop {
            let reply = self.next()?;
            if reply.xid == -1 {
                self.events.push(reply);
                continue;
            }
            assert_eq!(reply.xid, asked, "replies come in the order of requests");
            return Ok(reply);
        }
    }

    /// Pings and waits for the answer.
    pub fn ping(&mut self) -> io::Result<()> {
        self.send(&request(-2, op::PING, &[]))?;
        loop {
            let reply = self.next()?;
            match reply.xid {
                -1 => self.events.push(reply),
                -2 => return Ok(()),
                other => panic!("the answer to a ping has xid -2, not {other}"),
            }
        }
    }

    /// Creates a node; the error is ZooKeeper's code.
    ///
    /// # Panics
    /// If the connection breaks; so do the following.
    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<(), i32> {
        self.answered(op::CREATE, &create_body(path, data, flags)).map(drop)
    }

    /// Data of a node.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>, i32> {
        let body = self.answered(op::GET_DATA, &watchable_body(path, false))?;
        let length = usize::try_from(i32_at(&body, 0)).unwrap_or(0);
        Ok(body[4..4 + length].to_vec())
    }

    /// Sets a node's data.
    pub fn set(&mut self, path: &str, data: &[u8]) -> Result<(), i32> {
        self.answered(op::SET_DATA, &set_body(path, data)).map(drop)
    }

    /// Sets a node's data; whether that was acknowledged.
    pub fn try_set(&mut self, path: &str, data: &[u8]) -> bool {
        self.call(op::SET_DATA, &set_body(path, data)).is_ok_and(|reply| reply.err == 0)
    }

    /// Has the server come as far as its leader is now.
    pub fn sync(&mut self, path: &str) {
        let mut body = Vec::new();
        put_bytes(&mut body, path.as_bytes());
        self.answered(op::SYNC, &body).expect("a sync");
    }

    /// Whether there is a node; a watch is left where asked for.
    pub fn exists(&mut self, path: &str, watch: bool) -> bool {
        match self.answered(op::EXISTS, &watchable_body(path, watch)) {
            Ok(_) => true,
            Err(code::NO_NODE) => false,
            Err(other) => panic!("exists {path}: error {other}"),
        }
    }

    fn answered(&mut self, op: i32, body: &[u8]) -> Result<Vec<u8>, i32> {
        let reply = self.call(op, body).expect("the server answers");
        if reply.err == 0 { Ok(reply.body) } else { Err(reply.err) }
    }

    /// Waits for a watch event; gives its kind and path. The session is kept alive meanwhile.
    pub fn wait_event(&mut self) -> (i32, String) {
        let event = super::wait_for("a watch event", || {
            self.ping().expect("the server answers pings");
            (!self.events.is_empty()).then(|| self.events.remove(0))
        });
        let length = usize::try_from(i32_at(&event.body, 8)).expect("a path");
        let path = String::from_utf8(event.body[12..12 + length].to_vec()).expect("UTF-8");
        (i32_at(&event.body, 0), path)
    }

    /// Ends the session.
    pub fn close(mut self) {
        let reply = self.call(op::CLOSE, &[]).expect("the end of a session is answered");
        assert_eq!(reply.err, 0);
    }

    /// Ends what this side sends.
    pub fn end_writing(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends the connection with a reset, as a crashed peer's kernel does.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option of every socket");
    }

    /// True if the server has closed the connection and nothing else came before; waits for it.
    pub fn is_closed_by_peer(&mut self) -> bool {
        match self.frame() {
            Ok(frame) => panic!("a close was expected, not {frame:?}"),
            Err(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => true,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => false,
                _ => panic!("a close was expected, not {error}"),
            },
        }
    }

    /// How long a read or a write may take from now on.
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout");
        self.stream.set_write_timeout(Some(patience)).expect("a timeout");
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// A handshake, as a frame; session 0 asks for a new one.
pub fn handshake(session: i64, password: &[u8], timeout_ms: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&0i32.to_be_bytes());
    body.extend_from_slice(&0i64.to_be_bytes());
    body.extend_from_slice(&timeout_ms.to_be_bytes());
    body.extend_from_slice(&session.to_be_bytes());
    put_bytes(&mut body, password);
    body.push(0);
    frame(&body)
}

/// A frame of these bytes.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + body.len());
    put_bytes(&mut out, body);
    out
}

/// A request, as a frame.
pub fn request(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + body.len());
    out.extend_from_slice(&xid.to_be_bytes());
    out.extend_from_slice(&op.to_be_bytes());
    out.extend_from_slice(body);
    frame(&out)
}

/// Body of a create, open to the world.
pub fn create_body(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, path.as_bytes());
    put_bytes(&mut body, data);
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(&31i32.to_be_bytes());
    put_bytes(&mut body, b"world");
    put_bytes(&mut body, b"anyone");
    body.extend_from_slice(&flags.to_be_bytes());
    body
}

/// Body of exists, getData and getChildren.
pub fn watchable_body(path: &str, watch: bool) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, path.as_bytes());
    body.push(u8::from(watch));
    body
}

/// Body of a setData of any version.
pub fn set_body(path: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, path.as_bytes());
    put_bytes(&mut body, data);
    body.extend_from_slice(&(-1i32).to_be_bytes());
    body
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("test data is small");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
