//! A model client: speaks the real protocol over a link, keeps its session and its watches over
//! reconnects as the Java client does, and behaves badly now and then.

mod replies;

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::request::{AuthPacket, ConnectRequest, RequestHeader, SetWatches2Request};
use oxikeeper_proto::{Encode, OpCode, SessionId, Zxid};

use crate::checker::XID_AUTH;
use crate::history::History;
use crate::marks::{Mark, Marks};
use crate::net::Net;
use crate::rng::Rng;
use crate::workload;

const XID_PING: i32 = -2;
const XID_SET_WATCHES: i32 = -8;
/// Requests that may wait for their replies.
const IN_FLIGHT_MAX: usize = 16;
/// How long a handshake may take before another connection is tried, in microseconds.
const HANDSHAKE_PATIENCE_US: u64 = 1_500_000;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Whatever comes to its mind.
    Busy,
    /// Comes to an end: gets its answers, asks nothing new.
    Settling,
    /// Nothing.
    Gone,
}

/// What a client needs to act.
pub struct Env<'e> {
    /// Microseconds.
    pub now: u64,
    /// Its links.
    pub net: &'e mut Net,
    /// Where it notes what it sees.
    pub history: &'e mut History,
    /// Chance.
    pub rng: &'e mut Rng,
    /// Where it has been.
    pub marks: &'e mut Marks,
    /// What it is to do.
    pub phase: Phase,
    /// All Fronts there are: how often the server of each has restarted, `None` while it is down.
    pub fronts: &'e [Option<u32>],
    /// Links whose Front has something to read, and when.
    pub arrivals: &'e mut Vec<(usize, u64)>,
}

#[derive(Clone, Debug)]
struct Session {
    id: SessionId,
    password: [u8; 16],
    timeout_us: u64,
    last_zxid: i64,
    front: usize,
    incarnation: u32,
}

/// What a handshake is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    Honest,
    WrongPassword,
    FromFuture,
}

#[derive(Clone, Debug, Default)]
struct Registered {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

/// One connection of a client.
#[derive(Debug)]
struct Conn {
    link: usize,
    stream: usize,
    handshake: Handshake,
    is_open: bool,
    inbox: Vec<u8>,
    /// Requests without a reply, by their place in the stream.
    pending: VecDeque<usize>,
    pending_auth: VecDeque<usize>,
    authed: bool,
    opened: u64,
    last_heard: u64,
    last_sent: u64,
    /// It has sent something that ends the connection, or closeSession: nothing may follow.
    is_ending: bool,
}

/// How a client is.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Microseconds between two things it does, about.
    pub think_us: u64,
    /// Sends an auth packet on every connection.
    pub authenticates: bool,
    /// Bytes it reads at once.
    pub read_max: usize,
    /// In a thousand acts: leaves its connection in some way.
    pub leaves: u64,
    /// In a thousand acts: says nothing for a while, perhaps for too long.
    pub goes_silent: u64,
    /// In a thousand acts: closes its session.
    pub closes: u64,
    /// In a thousand acts: sends what ends its connection.
    pub garbles: u64,
    /// The timeout it asks for, milliseconds.
    pub timeout_ms: i32,
}

/// See the module's head.
#[derive(Debug)]
pub struct Client {
    number: usize,
    style: Style,
    session: Option<Session>,
    conn: Option<Conn>,
    watches: Registered,
    next_act: u64,
    connect_at: u64,
    silent_until: u64,
    settled: bool,
}

impl Client {
    /// A client that will connect at this time.
    pub fn new(number: usize, style: Style, connect_at: u64) -> Client {
        Client {
            number,
            style,
            session: None,
            conn: None,
            watches: Registered::default(),
            next_act: connect_at,
            connect_at,
            silent_until: 0,
            settled: false,
        }
    }

    /// Whether it has got all its answers.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Its turn. Returns when it wants the next one.
    pub fn wake(&mut self, env: &mut Env<'_>) -> u64 {
        let is_silent = env.now < self.silent_until && env.phase == Phase::Busy;
        if env.phase == Phase::Gone {
            self.leave(env, 0);
            return u64::MAX;
        }
        if !is_silent {
            self.read(env);
            self.check_patience(env);
            if self.conn.is_none() && env.now >= self.connect_at {
                self.connect(env);
            }
            match env.phase {
                Phase::Busy if env.now >= self.next_act => self.act(env),
                Phase::Settling => self.settle(env),
                _ => {}
            }
            self.ping(env);
        }
        self.next_turn(env, is_silent)
    }

    fn next_turn(&self, env: &Env<'_>, is_silent: bool) -> u64 {
        if is_silent {
            return self.silent_until;
        }
        let Some(conn) = &self.conn else { return self.connect_at.max(env.now + 1) };
        let mut next = env.now + 200_000;
        if env.phase == Phase::Busy && conn.is_open {
            next = next.min(self.next_act);
        }
        let down = &env.net.links[conn.link].down;
        if let Some(at) = down.next_arrival() {
            // A slow reader takes its time for what has come.
            let pace = if self.style.read_max < 1024 { 3000 } else { 1 };
            next = next.min(at.max(env.now + pace));
        }
        next.max(env.now + 1)
    }

    fn connect(&mut self, env: &mut Env<'_>) {
        let front = env.rng.index(env.fronts.len());
        let Some(incarnation) = env.fronts[front] else {
            self.connect_at = env.now + env.rng.around(300_000);
            return;
        };
        let link = env.net.connect(self.number, front, incarnation);
        let stream = env.history.open(self.number);
        assert_eq!(link, stream, "one stream per link");
        let handshake = match &self.session {
            Some(_) if env.phase == Phase::Busy && env.rng.chance(30) => Handshake::WrongPassword,
            Some(_) if env.phase == Phase::Busy && env.rng.chance(15) => Handshake::FromFuture,
            _ => Handshake::Honest,
        };
        let (id, password, last_zxid) = match &self.session {
            Some(session) => (session.id, session.password, session.last_zxid),
            None => (SessionId::NONE, [0; 16], 0),
        };
        let (password, last_zxid) = match handshake {
            Handshake::Honest => (password, last_zxid),
            Handshake::WrongPassword => ([0x55; 16], last_zxid),
            // In a later epoch than any run comes to.
            Handshake::FromFuture => (password, last_zxid + (1 << 48)),
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::from_wire(last_zxid),
            timeout_ms: self.style.timeout_ms,
            session: id,
            password: Some(&password),
            read_only: Some(false),
        };
        self.conn = Some(Conn {
            link,
            stream,
            handshake,
            is_open: false,
            inbox: Vec::new(),
            pending: VecDeque::new(),
            pending_auth: VecDeque::new(),
            authed: false,
            opened: env.now,
            last_heard: env.now,
            last_sent: env.now,
            is_ending: false,
        });
        self.transmit(env, &framed(&to_bytes(&request)));
        if handshake == Handshake::Honest && env.rng.chance(300) {
            env.marks.hit(Mark::PipelinedHandshake);
            self.introduce(env);
            for _ in 0..env.rng.index(4) {
                self.ask(env);
            }
        }
    }

    /// What a client sends first on a new connection.
    fn introduce(&mut self, env: &mut Env<'_>) {
        if self.style.authenticates {
            let packet = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"u:p") };
            self.send(env, XID_AUTH, OpCode::Auth.to_wire(), to_bytes(&packet));
            if let Some(conn) = &mut self.conn {
                conn.authed = true;
            }
        }
        let Some(session) = &self.session else { return };
        let list = |set: &BTreeSet<String>| {
            Some(set.iter().map(|path| Cow::Owned(path.clone())).collect::<Vec<_>>())
        };
        let w = &self.watches;
        let sets = [&w.data, &w.exist, &w.child, &w.persistent, &w.recursive];
        if sets.iter().all(|set| set.is_empty()) {
            return;
        }
        let request = SetWatches2Request {
            relative_zxid: Zxid::from_wire(session.last_zxid),
            data_watches: list(&w.data),
            exist_watches: list(&w.exist),
            child_watches: list(&w.child),
            persistent_watches: list(&w.persistent),
            persistent_recursive_watches: list(&w.recursive),
        };
        self.send(env, XID_SET_WATCHES, OpCode::SetWatches2.to_wire(), to_bytes(&request));
    }

    fn act(&mut self, env: &mut Env<'_>) {
        self.next_act = env.now + env.rng.around(self.style.think_us);
        let Some(conn) = &self.conn else { return };
        if !conn.is_open || conn.is_ending {
            return;
        }
        let style = self.style;
        if env.rng.chance(style.leaves) {
            let delay = if env.rng.chance(300) { 0 } else { env.rng.around(400_000) };
            return self.leave(env, delay);
        }
        if env.rng.chance(style.goes_silent) {
            let timeout_us = self.style.timeout_ms as u64 * 1000;
            self.silent_until = env.now + env.rng.between(timeout_us / 2, timeout_us * 3);
            return;
        }
        if env.rng.chance(style.garbles) {
            return self.garble(env);
        }
        if env.rng.chance(style.closes) {
            let xid = env.history.next_xid();
            self.send(env, xid, OpCode::CloseSession.to_wire(), Vec::new());
            if let Some(conn) = &mut self.conn {
                conn.is_ending = true;
            }
            return;
        }
        let burst = if env.rng.chance(150) { env.rng.index(IN_FLIGHT_MAX) } else { 1 };
        for _ in 0..burst {
            self.ask(env);
        }
    }

    fn ask(&mut self, env: &mut Env<'_>) {
        if self.conn.as_ref().is_none_or(|conn| conn.pending.len() >= IN_FLIGHT_MAX) {
            return;
        }
        let (op, body) = workload::ask(env.rng);
        let is_ping = op == OpCode::Ping.to_wire();
        let xid = if is_ping { XID_PING } else { env.history.next_xid() };
        self.send(env, xid, op, body);
    }

    /// Sends what no server can take.
    fn garble(&mut self, env: &mut Env<'_>) {
        let bytes: &[u8] = match env.rng.below(4) {
            0 => &[0xff, 0xff, 0xff, 0xf0, 1, 2],
            1 => &[0x00, 0x10, 0x00, 0x00, 1, 2],
            2 => &[0, 0, 0, 0],
            _ => &[0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7],
        };
        self.transmit(env, bytes);
        if let Some(conn) = &mut self.conn {
            conn.is_ending = true;
        }
    }

    /// Ends its connection in one way or another.
    fn leave(&mut self, env: &mut Env<'_>, wait_us: u64) {
        self.connect_at = env.now + wait_us;
        let Some(conn) = self.conn.take() else { return };
        let delay = env.net.delay(env.rng);
        let link = &mut env.net.links[conn.link];
        let arrival = match env.rng.below(10) {
            0..=3 => link.up.end(env.now, delay),
            4..=6 => link.up.reset(env.now, env.rng),
            7 => {
                link.up.die();
                None
            }
            // Left open: what it has sent still arrives.
            _ => None,
        };
        env.arrivals.extend(arrival.map(|at| (conn.link, at)));
    }

    fn ping(&mut self, env: &mut Env<'_>) {
        let (Some(conn), Some(session)) = (&self.conn, &self.session) else { return };
        let is_due = env.now - conn.last_sent > session.timeout_us / 3;
        if conn.is_open && !conn.is_ending && is_due {
            self.send(env, XID_PING, OpCode::Ping.to_wire(), Vec::new());
        }
    }

    /// Gives up a connection on which nothing comes.
    fn check_patience(&mut self, env: &mut Env<'_>) {
        let Some(conn) = &self.conn else { return };
        let is_stale = match &self.session {
            Some(session) if conn.is_open => env.now - conn.last_heard > session.timeout_us * 2 / 3,
            _ => env.now - conn.opened > HANDSHAKE_PATIENCE_US,
        };
        if is_stale {
            let delay = env.rng.around(100_000);
            self.leave(env, delay);
        }
    }

    /// Asks a last time, and is content when everything was answered.
    fn settle(&mut self, env: &mut Env<'_>) {
        let Some(conn) = &self.conn else { return };
        if conn.is_open && conn.pending.is_empty() && !conn.is_ending && !self.settled {
            let last = env.history.streams[conn.stream].sent.last();
            if last.is_some_and(|sent| sent.op == OpCode::Sync.to_wire()) {
                self.settled = true;
            } else {
                let xid = env.history.next_xid();
                self.send(env, xid, OpCode::Sync.to_wire(), to_bytes(&Some(Cow::Borrowed("/"))));
            }
        }
    }

    fn send(&mut self, env: &mut Env<'_>, xid: i32, op: i32, body: Vec<u8>) {
        let Some(conn) = &mut self.conn else { return };
        let mut frame = to_bytes(&RequestHeader { xid, op });
        frame.extend_from_slice(&body);
        let place = env.history.send(conn.stream, xid, op, body, conn.authed);
        if xid == XID_AUTH {
            conn.pending_auth.push_back(place);
        } else {
            conn.pending.push_back(place);
        }
        self.transmit(env, &framed(&frame));
    }

    /// Hands bytes to the network, in pieces.
    fn transmit(&mut self, env: &mut Env<'_>, mut bytes: &[u8]) {
        let Some(conn) = &mut self.conn else { return };
        conn.last_sent = env.now;
        while !bytes.is_empty() {
            let count =
                if env.rng.chance(200) { env.rng.index(bytes.len()) + 1 } else { bytes.len() };
            let (piece, rest) = bytes.split_at(count);
            let delay = env.net.delay(env.rng);
            let arrival = env.net.links[conn.link].up.send(env.now, delay, piece);
            env.arrivals.extend(arrival.map(|at| (conn.link, at)));
            bytes = rest;
        }
    }

    /// Reads what has come, and sees the end of the stream.
    fn read(&mut self, env: &mut Env<'_>) {
        let Some(conn) = &mut self.conn else { return };
        let down = &mut env.net.links[conn.link].down;
        let bytes = down.read(env.now, self.style.read_max);
        if !bytes.is_empty() {
            conn.last_heard = env.now;
            conn.inbox.extend_from_slice(&bytes);
            env.arrivals.push((conn.link, env.now + 1));
        }
        let is_over = bytes.is_empty() && down.is_over(env.now);
        while let Some(frame) = self.next_frame(env) {
            self.take(env, &frame);
        }
        if is_over && let Some(conn) = &self.conn {
            if conn.handshake == Handshake::FromFuture && !conn.is_open {
                env.marks.hit(Mark::ClientFromFuture);
            }
            self.conn = None;
            self.connect_at = env.now + env.rng.around(200_000);
        }
    }

    fn next_frame(&mut self, env: &mut Env<'_>) -> Option<Vec<u8>> {
        let inbox = &mut self.conn.as_mut()?.inbox;
        let length = i32::from_be_bytes(*inbox.first_chunk::<4>()?);
        let Ok(length) = usize::try_from(length) else {
            env.history.violation(format!("client {} got a frame of {length} bytes", self.number));
            inbox.clear();
            return None;
        };
        let frame = inbox.get(4..4 + length)?.to_vec();
        inbox.drain(..4 + length);
        Some(frame)
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    (body.len() as i32).encode(&mut frame);
    frame.extend_from_slice(body);
    frame
}
