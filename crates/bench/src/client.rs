//! A blocking client for what comes before and after the measurement.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use oxikeeper_proto::reply::{ConnectResponse, GetChildrenReply, ReplyHeader, end_frame};
use oxikeeper_proto::request::{
    ConnectRequest, CreateRequest, PathVersionRequest, RequestHeader, SetDataRequest,
    WatchableRequest,
};
use oxikeeper_proto::{AclEntry, Encode, ErrorCode, OpCode, Reader, SessionId, Zxid};

use crate::error::BenchError;

/// No server takes longer for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests sent before their answers are awaited.
const WINDOW: usize = 256;
/// Handshakes in flight at once: fewer than servers keep waiting to be accepted (Apache 50), beyond
/// which the kernel tries again only after a second.
const HANDSHAKES: usize = 32;

/// The address of `host:port`.
///
/// # Errors
/// [`BenchError::Address`].
pub fn resolve(server: &str) -> Result<SocketAddr, BenchError> {
    let mut addresses = server.to_socket_addrs().ok().into_iter().flatten();
    addresses.next().ok_or_else(|| BenchError::Address { server: server.to_owned() })
}

/// The addresses of `host:port,host:port`.
///
/// # Errors
/// [`BenchError::Address`].
pub fn resolve_all(servers: &str) -> Result<Vec<SocketAddr>, BenchError> {
    servers.split(',').map(|server| resolve(server.trim())).collect()
}

/// The ACL that allows everything to everybody.
pub fn open_acl() -> Option<Vec<AclEntry<'static>>> {
    Some(vec![AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }])
}

/// Opens connections with new sessions, many handshakes at a time, at one server after the other.
///
/// # Errors
/// What the first of them fails with.
pub fn connect_all(
    addresses: &[SocketAddr],
    count: usize,
    timeout_ms: i32,
) -> Result<Vec<TcpStream>, BenchError> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let begun = streams.len();
        for place in begun..count.min(begun + HANDSHAKES) {
            let address = addresses[place % addresses.len()];
            streams.push(begin_handshake(address, timeout_ms, PATIENCE)?);
        }
        for stream in &mut streams[begun..] {
            end_handshake(stream)?;
        }
    }
    Ok(streams)
}

fn begin_handshake(
    address: SocketAddr,
    timeout_ms: i32,
    patience: Duration,
) -> Result<TcpStream, BenchError> {
    let failed = |source| BenchError::Connect { address, source };
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session: SessionId::NONE,
        password: Some(&[0; 16]),
        read_only: Some(false),
    };
    let mut frame = vec![0; 4];
    request.encode(&mut frame);
    end_frame(&mut frame, 0);
    stream.write_all(&frame).map_err(failed)?;
    Ok(stream)
}

fn end_handshake(stream: &mut TcpStream) -> Result<(), BenchError> {
    let frame = read_frame(stream)?;
    let response: ConnectResponse = Reader::new(&frame).get()?;
    if response.session == SessionId::NONE {
        return Err(BenchError::Refused);
    }
    Ok(())
}

fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>, BenchError> {
    let failed = BenchError::system("the server does not answer");
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).map_err(&failed)?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).map_err(&failed)?;
    Ok(frame)
}

/// Whether the server makes a session within `patience`; nothing stays of the attempt but the session.
pub fn makes_sessions(address: SocketAddr, patience: Duration) -> bool {
    begin_handshake(address, 4000, patience)
        .is_ok_and(|mut stream| end_handshake(&mut stream).is_ok())
}

/// The answer to a four-letter word; nothing if there is none in time.
pub fn four_letter_word(address: SocketAddr, word: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A connection that waits for answers.
pub struct Client {
    stream: TcpStream,
    xid: i32,
}

impl Client {
    /// Opens a connection with a new session.
    ///
    /// # Errors
    /// As [`connect_all`].
    pub fn connect(address: SocketAddr) -> Result<Client, BenchError> {
        Client::connect_within(address, PATIENCE)
    }

    /// The same; nothing takes longer than this without being an error.
    ///
    /// # Errors
    /// As [`connect_all`].
    pub fn connect_within(address: SocketAddr, patience: Duration) -> Result<Client, BenchError> {
        let mut stream = begin_handshake(address, 30_000, patience)?;
        end_handshake(&mut stream)?;
        Ok(Client { stream, xid: 0 })
    }

    fn send(&mut self, op: OpCode, body: &impl Encode) -> Result<(), BenchError> {
        self.xid += 1;
        let mut frame = vec![0; 4];
        RequestHeader { xid: self.xid, op: op.to_wire() }.encode(&mut frame);
        body.encode(&mut frame);
        end_frame(&mut frame, 0);
        self.stream.write_all(&frame).map_err(BenchError::system("the server takes no requests"))
    }

    /// Error code and body of the next reply.
    fn reply(&mut self) -> Result<(i32, Vec<u8>), BenchError> {
        let mut frame = read_frame(&mut self.stream)?;
        let header: ReplyHeader = Reader::new(&frame).get()?;
        frame.drain(..oxikeeper_proto::limits::REPLY_HEADER_BYTES);
        Ok((header.err, frame))
    }

    /// Makes sure that these nodes exist with this data.
    ///
    /// # Errors
    /// [`BenchError::Prepare`] with the first error code that is not expected.
    pub fn ensure(
        &mut self,
        paths: impl Iterator<Item = String>,
        data: &[u8],
    ) -> Result<(), BenchError> {
        let mut waiting: VecDeque<(String, OpCode)> = VecDeque::new();
        let exists = ErrorCode::NodeExists.to_wire();
        let settle = |client: &mut Client, waiting: &mut VecDeque<(String, OpCode)>| {
            let Some((path, op)) = waiting.pop_front() else { return Ok(()) };
            match client.reply()?.0 {
                0 => Ok(()),
                code if code == exists && op == OpCode::Create => {
                    let body = SetDataRequest {
                        path: Some(path.as_str().into()),
                        data: Some(data),
                        version: -1,
                    };
                    client.send(OpCode::SetData, &body)?;
                    waiting.push_back((path, OpCode::SetData));
                    Ok(())
                }
                code => Err(BenchError::Prepare { path, code }),
            }
        };
        for path in paths {
            if waiting.len() >= WINDOW {
                settle(self, &mut waiting)?;
            }
            let body = CreateRequest {
                path: Some(path.as_str().into()),
                data: Some(data),
                acl: open_acl(),
                flags: 0,
            };
            self.send(OpCode::Create, &body)?;
            waiting.push_back((path, OpCode::Create));
        }
        while !waiting.is_empty() {
            settle(self, &mut waiting)?;
        }
        Ok(())
    }

    /// Makes sure that these nodes exist, whatever their data.
    ///
    /// # Errors
    /// As [`Client::ensure`].
    pub fn exist(&mut self, paths: impl Iterator<Item = String>) -> Result<(), BenchError> {
        for path in paths {
            let body = CreateRequest {
                path: Some(path.as_str().into()),
                data: Some(&[]),
                acl: open_acl(),
                flags: 0,
            };
            self.send(OpCode::Create, &body)?;
            match self.reply()?.0 {
                0 => {}
                code if code == ErrorCode::NodeExists.to_wire() => {}
                code => return Err(BenchError::Prepare { path, code }),
            }
        }
        Ok(())
    }

    /// The children of a node; none if it is not there.
    ///
    /// # Errors
    /// [`BenchError::Prepare`] with an error code that is not expected.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, BenchError> {
        let body = WatchableRequest { path: Some(path.into()), watch: false };
        self.send(OpCode::GetChildren, &body)?;
        let (code, body) = self.reply()?;
        if code == ErrorCode::NoNode.to_wire() {
            return Ok(Vec::new());
        }
        if code != 0 {
            return Err(BenchError::Prepare { path: path.to_owned(), code });
        }
        let reply: GetChildrenReply<'_> = Reader::new(&body).get()?;
        Ok(reply.children.into_iter().map(|name| name.into_owned()).collect())
    }

    /// Deletes a node and everything below it: leaves many at a time. Deep trees are not expected.
    ///
    /// # Errors
    /// As [`Client::children`].
    pub fn delete_all(&mut self, path: &str) -> Result<(), BenchError> {
        let children = self.children(path)?;
        for names in children.chunks(WINDOW) {
            let paths = names.iter().map(|name| format!("{path}/{name}"));
            let paths: Vec<String> = paths.collect();
            for path in &paths {
                self.send_delete(path)?;
            }
            let mut parents = Vec::new();
            for path in paths {
                if self.is_deleted(&path)? == Deleted::No {
                    parents.push(path);
                }
            }
            for parent in parents {
                self.delete_all(&parent)?;
            }
        }
        self.send_delete(path)?;
        match self.is_deleted(path)? {
            Deleted::Yes => Ok(()),
            Deleted::No => {
                let code = ErrorCode::NotEmpty.to_wire();
                Err(BenchError::Prepare { path: path.to_owned(), code })
            }
        }
    }

    fn send_delete(&mut self, path: &str) -> Result<(), BenchError> {
        let body = PathVersionRequest { path: Some(path.into()), version: -1 };
        self.send(OpCode::Delete, &body)
    }

    fn is_deleted(&mut self, path: &str) -> Result<Deleted, BenchError> {
        match self.reply()?.0 {
            0 => Ok(Deleted::Yes),
            code if code == ErrorCode::NoNode.to_wire() => Ok(Deleted::Yes),
            code if code == ErrorCode::NotEmpty.to_wire() => Ok(Deleted::No),
            code => Err(BenchError::Prepare { path: path.to_owned(), code }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deleted {
    Yes,
    /// It has children.
    No,
}
