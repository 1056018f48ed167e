//! A whole server in one thread: the real Core, Fronts and tree, with a log that becomes durable
//! when the test says so, and clients that are byte streams.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use oxikeeper_node::command::Asked;
use oxikeeper_node::config::NodeConfig;
use oxikeeper_node::core::{Core, Input};
use oxikeeper_node::front::{CloseHow, Front, Outputs, View};
use oxikeeper_node::mail::{ConnId, FrontId};
use oxikeeper_node::time::{Now, WallTime};
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::reply::{ConnectResponse, ReplyHeader};
use oxikeeper_proto::request::{
    ConnectRequest, CreateRequest, PathVersionRequest, SetDataRequest, WatchableRequest,
};
use oxikeeper_proto::watch::WatcherEvent;
use oxikeeper_proto::{Acl, AclEntry, Encode, OpCode, Reader, SessionId, Stat, Zxid};
use oxikeeper_tree::{Tree, TreeOptions};

/// What a client sees of one connection.
#[derive(Default)]
pub struct Wire {
    pub front: usize,
    /// Bytes that came and were not looked at yet.
    pub inbox: Vec<u8>,
    pub closed: Option<&'static str>,
    /// The server asked not to be sent more.
    pub paused: bool,
    /// A reader that does not drain.
    pub deaf: bool,
    closing: Option<&'static str>,
}

/// One server. Nothing happens by itself: see [`Server::settle`].
pub struct Server {
    pub tree: Tree,
    pub core: Core,
    pub fronts: Vec<Front>,
    pub now_ms: u64,
    pub wires: BTreeMap<ConnId, Wire>,
    pub commands: Vec<(ConnId, Asked)>,
    /// While set, nothing that is written becomes durable.
    pub log_stalls: bool,
    /// Bytes of requests that the Fronts have handed to the Core.
    pub forwarded_bytes: usize,
    next_conn: u64,
}

/// A frame from the server, behind its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl Reply {
    /// The event, if it is a notification: kind and path.
    pub fn event(&self) -> Option<(i32, String)> {
        (self.xid == -1).then(|| {
            let event: WatcherEvent<'_> = Reader::new(&self.body).get().expect("an event");
            assert_eq!(event.state, 3, "only SyncConnected is sent");
            (event.kind, event.path.into_owned())
        })
    }

    /// The stat at the end of the body.
    pub fn stat(&self) -> Stat {
        let tail = &self.body[self.body.len() - 68..];
        Reader::new(tail).get().expect("a stat")
    }
}

impl Server {
    pub fn new(fronts: u16) -> Server {
        Server::with(NodeConfig::default(), fronts)
    }

    pub fn with(config: NodeConfig, fronts: u16) -> Server {
        let tree = Tree::new(TreeOptions::default());
        let config = Arc::new(config);
        let core = Core::new(Arc::clone(&config), &tree, fronts, Now::default());
        let front = |id| Front::new(FrontId(id), Arc::clone(&config));
        Server {
            tree,
            core,
            fronts: (0..fronts).map(front).collect(),
            now_ms: 0,
            wires: BTreeMap::new(),
            commands: Vec::new(),
            log_stalls: false,
            forwarded_bytes: 0,
            next_conn: 1,
        }
    }

    fn on_front(&mut self, front: usize, act: impl FnOnce(&mut Front, View<'_>, &mut Outputs)) {
        let now = Now::from_millis(self.now_ms);
        let mut out = Outputs::default();
        let view = View { tree: &self.tree, applied: self.tree.last_zxid(), now };
        act(&mut self.fronts[front], view, &mut out);
        self.carry_out(front, out);
    }

    fn carry_out(&mut self, front: usize, out: Outputs) {
        for to_core in out.to_core {
            if let oxikeeper_node::mail::ToCore::Request(request) = &to_core {
                self.forwarded_bytes += request.body.len();
            }
            self.core.step(Input::FromFront(to_core), &self.tree);
        }
        self.commands.extend(out.commands);
        for conn in out.pause {
            self.wires.get_mut(&conn).expect("a live connection").paused = true;
        }
        for conn in out.resume {
            self.wires.get_mut(&conn).expect("a live connection").paused = false;
        }
        for (conn, how, why) in out.close {
            let wire = self.wires.get_mut(&conn).expect("a live connection");
            assert!(wire.closed.is_none(), "closed twice: {:?}, {why}", wire.closed);
            wire.closing.get_or_insert(why);
            if how == CloseHow::Now {
                self.finish_close(front, conn);
            }
        }
        for conn in out.flush {
            self.flush(conn);
        }
    }

    /// Moves a connection's output to its client, as a socket would.
    pub fn flush(&mut self, conn: ConnId) {
        let Some(wire) = self.wires.get_mut(&conn) else {
            return;
        };
        if wire.deaf || wire.closed.is_some() {
            return;
        }
        let front = wire.front;
        let bytes = self.fronts[front].output(conn).to_vec();
        wire.inbox.extend_from_slice(&bytes);
        if !bytes.is_empty() {
            self.on_front(front, |front, at, out| front.sent(conn, bytes.len(), at, out));
        }
        if self.wires[&conn].closing.is_some() && self.wires[&conn].closed.is_none() {
            self.finish_close(front, conn);
        }
    }

    fn finish_close(&mut self, front: usize, conn: ConnId) {
        let wire = self.wires.get_mut(&conn).expect("a connection");
        if wire.closed.is_none() {
            wire.closed = Some(wire.closing.unwrap_or("the client closed it"));
            self.on_front(front, |front, _, out| front.closed(conn, out));
        }
    }

    /// A bare connection.
    pub fn open(&mut self, front: usize) -> ConnId {
        let conn = ConnId(self.next_conn);
        let remote: SocketAddr = ([10, 0, 0, 7], 40_000 + self.next_conn as u16).into();
        self.next_conn += 1;
        self.wires.insert(conn, Wire { front, ..Wire::default() });
        self.fronts[front].accept(conn, remote, Now::from_millis(self.now_ms));
        conn
    }

    /// Bytes from a client. Nothing is delivered while the connection is closed.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let wire = &self.wires[&conn];
        if wire.closed.is_none() {
            let front = wire.front;
            self.on_front(front, |front, at, out| front.received(conn, bytes, at, out));
        }
    }

    /// The client hangs up.
    pub fn hang_up(&mut self, conn: ConnId) {
        let front = self.wires[&conn].front;
        self.finish_close(front, conn);
    }

    /// Lets the log and the mail run until nothing more happens.
    pub fn settle(&mut self) {
        loop {
            if !self.log_stalls {
                while let Some(batch) = self.core.take_log_batch() {
                    let last = batch.last_zxid().expect("batches are not empty");
                    self.core.step(Input::Durable(last), &self.tree);
                }
            }
            if !self.core.has_work_to_apply() {
                break;
            }
            let mut mail = Vec::new();
            self.core.apply(&mut self.tree, &mut mail);
            for (front, batch) in mail.into_iter().enumerate() {
                self.on_front(front, |front, at, out| front.deliver(&[batch], at, out));
            }
            self.core.check_invariants(&self.tree);
        }
    }

    /// Time passes: everybody reports and the Core ticks, in steps of a quarter second.
    pub fn pass_ms(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms = end.min(self.now_ms + 250);
            for front in 0..self.fronts.len() {
                self.on_front(front, |front, at, out| front.tick(at, out));
            }
            let (now, wall) = (Now::from_millis(self.now_ms), WallTime(self.now_ms as i64));
            self.core.step(Input::Tick { now, wall }, &self.tree);
            self.settle();
        }
    }

    /// Answers four-letter words with the word itself in capitals.
    pub fn answer_commands(&mut self) {
        for (conn, asked) in std::mem::take(&mut self.commands) {
            let front = self.wires[&conn].front;
            let text = asked.word.0.to_uppercase();
            self.on_front(front, |front, _, out| front.finish_command(conn, &text, out));
        }
    }

    /// The next frame that has come to a client.
    pub fn frame(&mut self, conn: ConnId) -> Option<Vec<u8>> {
        let inbox = &mut self.wires.get_mut(&conn)?.inbox;
        let length = i32::from_be_bytes(*inbox.first_chunk()?) as usize;
        assert!(inbox.len() >= 4 + length, "frames are flushed whole");
        let frame = inbox[4..4 + length].to_vec();
        inbox.drain(..4 + length);
        Some(frame)
    }

    /// All replies and events that have come.
    pub fn replies(&mut self, conn: ConnId) -> Vec<Reply> {
        std::iter::from_fn(|| self.frame(conn)).map(|frame| parse(&frame)).collect()
    }

    /// The one reply or event that has come.
    #[track_caller]
    pub fn reply(&mut self, conn: ConnId) -> Reply {
        let mut replies = self.replies(conn);
        assert_eq!(replies.len(), 1, "one reply: {replies:?}, closed: {:?}", self.closed(conn));
        replies.remove(0)
    }

    pub fn closed(&self, conn: ConnId) -> Option<&'static str> {
        self.wires[&conn].closed
    }

    /// Connects with a new session.
    pub fn client(&mut self, front: usize) -> ConnId {
        let conn = self.open(front);
        self.send(conn, &connect(SessionId::NONE, &[0; 16], 10_000));
        self.settle();
        let response = self.connected(conn).expect("a response");
        assert!(response.timeout_ms > 0);
        conn
    }

    /// The handshake's answer.
    pub fn connected(&mut self, conn: ConnId) -> Option<ConnectResponse> {
        let frame = self.frame(conn)?;
        Some(Reader::new(&frame).get().expect("a connect response"))
    }

    /// Sends one request and returns its reply, with everything that came before it.
    #[track_caller]
    pub fn ask_all(&mut self, conn: ConnId, op: OpCode, body: &[u8]) -> Vec<Reply> {
        self.send(conn, &request(77, op.to_wire(), body));
        self.settle();
        self.replies(conn)
    }

    /// Sends one request whose reply is all that comes.
    #[track_caller]
    pub fn ask(&mut self, conn: ConnId, op: OpCode, body: &[u8]) -> Reply {
        self.send(conn, &request(77, op.to_wire(), body));
        self.settle();
        self.reply(conn)
    }
}

pub fn parse(frame: &[u8]) -> Reply {
    let mut reader = Reader::new(frame);
    let ReplyHeader { xid, zxid, err } = reader.get().expect("a reply header");
    Reply { xid, zxid: zxid.to_wire(), err, body: reader.rest().to_vec() }
}

/// Length, then bytes.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as i32).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

pub fn request(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = xid.to_be_bytes().to_vec();
    bytes.extend_from_slice(&op.to_be_bytes());
    bytes.extend_from_slice(body);
    framed(&bytes)
}

pub fn connect(session: SessionId, password: &[u8], timeout_ms: i32) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session,
        password: Some(password),
        read_only: Some(false),
    };
    framed(&to_bytes(&request))
}

pub fn open_acl() -> Vec<Acl> {
    vec![Acl::open()]
}

/// A create's body.
pub fn create_with(path: &str, data: &[u8], flags: i32, acl: &[Acl]) -> Vec<u8> {
    let entry = |acl: &Acl| AclEntry {
        perms: acl.perms,
        scheme: Some(acl.id.scheme.clone().into()),
        id: Some(acl.id.id.clone().into()),
    };
    to_bytes(&CreateRequest {
        path: Some(path.into()),
        data: Some(data),
        acl: Some(acl.iter().map(entry).collect()),
        flags,
    })
}

pub fn create(path: &str, flags: i32) -> Vec<u8> {
    create_with(path, b"", flags, &open_acl())
}

pub fn delete(path: &str) -> Vec<u8> {
    to_bytes(&PathVersionRequest { path: Some(path.into()), version: -1 })
}

pub fn set_data(path: &str, data: &[u8]) -> Vec<u8> {
    to_bytes(&SetDataRequest { path: Some(path.into()), data: Some(data), version: -1 })
}

pub fn read(path: &str, watch: bool) -> Vec<u8> {
    to_bytes(&WatchableRequest { path: Some(path.into()), watch })
}

/// A path, then a number: addWatch, checkWatches, removeWatches.
pub fn path_and(path: &str, number: i32) -> Vec<u8> {
    let mut out = Vec::new();
    path.encode(&mut out);
    number.encode(&mut out);
    out
}

/// A sequence of numbers from a seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn of<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        &items[self.below(items.len())]
    }
}
