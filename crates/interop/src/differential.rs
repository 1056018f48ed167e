//! The same requests to two servers.
//!
//! Requests of one connection go out in bursts; between bursts every connection is brought to rest
//! by a ping, so that both servers see one total order. Zxids must then be equal as well.

use std::io;
use std::path::Path;

use oxikeeper_proto::reply::ConnectResponse;
use oxikeeper_proto::request::{PathRequest, WatchableRequest};
use oxikeeper_proto::{Encode, OpCode, SessionId, Zxid};

use crate::client::{RawClient, request};
use crate::generate::{Generator, Random, Sent};
use crate::normalise::{self, Sessions};
use crate::server::{Kind, Server};

/// What both servers run with.
const SETTINGS: &str = "extendedTypesEnabled=true\nenforceQuota=true\nmaxSessionTimeout=600000\n\
                        DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=\n\
                        snapCount=5000\npreAllocSize=1024";
const TIMEOUT_MS: i32 = 600_000;
const CONNECTIONS: usize = 3;
/// What follows a difference is mostly its consequence.
const DIFFERENCES_MAX: usize = 4;

/// Operations whose first bytes Apache answers and closes, where we answer and stay.
const STAYS_HERE: &str = "an unknown operation does not end the connection here";

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests sent to each server.
    pub requests: usize,
    /// Notifications that came.
    pub events: usize,
    /// Connections that the servers closed.
    pub closes: usize,
    /// What was not equal, with its context.
    pub differences: Vec<String>,
}

/// One connection to each server.
struct Pair {
    clients: [Option<RawClient>; 2],
}

struct Run {
    servers: [Server; 2],
    sessions: [Sessions; 2],
    pairs: Vec<Pair>,
    generator: Generator,
    random: Random,
    outcome: Outcome,
    /// The last requests end a session: their events have no order.
    closes_session: bool,
}

/// Runs until so many requests were sent, or too much differs.
pub fn run(dir: &Path, against: Kind, seed: u64, requests: usize) -> Outcome {
    let servers = [
        Server::start(Kind::APACHE, &dir.join("left"), SETTINGS),
        Server::start(against, &dir.join("right"), SETTINGS),
    ];
    let mut run = Run {
        servers,
        sessions: Default::default(),
        pairs: Vec::new(),
        generator: Generator::new(seed),
        random: Random::new(seed ^ 0x5eed),
        outcome: Outcome::default(),
        closes_session: false,
    };
    for _ in 0..CONNECTIONS {
        let pair = run.connect(None);
        run.pairs.push(pair);
    }
    while run.outcome.requests < requests && run.outcome.differences.len() < DIFFERENCES_MAX {
        run.burst();
    }
    if run.outcome.differences.is_empty() {
        run.compare_trees();
    }
    run.outcome
}

impl Run {
    /// One connection sends some requests; then everybody comes to rest.
    fn burst(&mut self) {
        self.closes_session = false;
        let at = self.random.below(self.pairs.len());
        let count = 1 + self.random.below(12);
        let mut burst: Vec<Sent> = Vec::new();
        for _ in 0..count {
            let sent = self.generator.next_request();
            if !sent.alone {
                burst.push(sent);
                continue;
            }
            self.exchange(at, &burst);
            burst.clear();
            let ends = sent.ends;
            self.exchange(at, &[sent]);
            if ends {
                let pair = self.connect(None);
                self.pairs[at] = pair;
            }
        }
        self.exchange(at, &burst);
        for other in 0..self.pairs.len() {
            self.rest(other);
        }
        if self.random.one_in(40) {
            self.reconnect(at);
        }
    }

    /// Sends requests to both servers and compares what comes back.
    fn exchange(&mut self, at: usize, burst: &[Sent]) {
        if burst.is_empty() {
            return;
        }
        self.outcome.requests += burst.len();
        let bytes: Vec<u8> = burst.iter().flat_map(|sent| sent.frame.clone()).collect();
        let mut seen: [Vec<String>; 2] = Default::default();
        for client in self.pairs[at].clients.iter_mut().flatten() {
            // A connection that is closed says so when its replies are read.
            let _ = client.send(&bytes);
        }
        for (side, seen) in seen.iter_mut().enumerate() {
            *seen = self.collect(at, side, burst);
        }
        self.closes_session |= burst.iter().any(|sent| sent.op == OpCode::CloseSession.to_wire());
        let context: Vec<&str> = burst.iter().map(|sent| sent.text.as_str()).collect();
        self.compare(&seen, &context.join("\n    "));
    }

    /// Reads the replies to a burst, with the events between them.
    fn collect(&mut self, at: usize, side: usize, burst: &[Sent]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut answered = 0;
        let ends = burst.last().is_some_and(|sent| sent.ends);
        while answered < burst.len() || ends {
            let Some(client) = &mut self.pairs[at].clients[side] else { break };
            match client.reply() {
                Ok(reply) => {
                    let op = burst.get(answered).map_or(0, |sent| sent.op);
                    if reply.header.xid == -1 {
                        self.outcome.events += usize::from(side == 0);
                    } else {
                        self.generator.saw(reply.header.zxid.to_wire());
                    }
                    let asked = match reply.header.xid {
                        -1 => "",
                        _ => burst.get(answered).map_or("", |sent| sent.text.as_str()),
                    };
                    answered += usize::from(reply.header.xid != -1);
                    let text = normalise::reply(op, &reply, &self.sessions[side]);
                    seen.push(if asked.is_empty() {
                        text
                    } else {
                        format!("{text}\n    to {asked}")
                    });
                    if answered == burst.len() && ends && stays_open(burst, &reply.header.err) {
                        // Apache closes behind this, we stay: both are given up here.
                        seen.push(STAYS_HERE.to_owned());
                        break;
                    }
                }
                Err(error) if is_close(&error) => {
                    self.outcome.closes += usize::from(side == 0);
                    seen.push("closed".into());
                    self.pairs[at].clients[side] = None;
                    break;
                }
                Err(error) => panic!("{}: {error}", self.servers[side].log()),
            }
        }
        seen
    }

    /// Brings a connection to rest: every event up to now has come when the ping is answered.
    fn rest(&mut self, at: usize) {
        let mut seen: [Vec<String>; 2] = Default::default();
        for (side, seen) in seen.iter_mut().enumerate() {
            let Some(client) = &mut self.pairs[at].clients[side] else { continue };
            let ping = request(-2, OpCode::Ping, &Nothing);
            let mut open = client.send(&ping).is_ok();
            while open {
                match client.reply() {
                    Ok(reply) => {
                        open = reply.header.xid == -1;
                        self.outcome.events += usize::from(open && side == 0);
                        seen.push(normalise::reply(11, &reply, &self.sessions[side]));
                    }
                    Err(_) => {
                        seen.push("closed".into());
                        open = false;
                    }
                }
            }
        }
        self.compare(&seen, &format!("ping of connection {at}"));
    }

    fn compare(&mut self, seen: &[Vec<String>; 2], context: &str) {
        let mut seen = seen.clone();
        if self.closes_session {
            // The ephemerals of a session go in the order of a hash table.
            seen.iter_mut().for_each(|seen| seen.sort());
        }
        if seen[0] == seen[1] {
            return;
        }
        let first = (0..).find(|&i| seen[0].get(i) != seen[1].get(i)).unwrap_or(0);
        let none = "nothing".to_owned();
        self.outcome.differences.push(format!(
            "after {} requests: at reply {first}\n  left:  {}\n  right: {}\n  sent\n    {context}",
            self.outcome.requests,
            seen[0].get(first).unwrap_or(&none),
            seen[1].get(first).unwrap_or(&none),
        ));
    }

    /// A new pair of connections: with new sessions, or resuming those given.
    fn connect(&mut self, resume: Option<[(SessionId, [u8; 16]); 2]>) -> Pair {
        let mut clients = [None, None];
        let mut answers: Vec<String> = Vec::new();
        for side in 0..2 {
            let mut client = RawClient::open(self.servers[side].address()).expect("it listens");
            let (session, password) = resume.map_or((SessionId::NONE, [0; 16]), |r| r[side]);
            match client.handshake(session, &password, TIMEOUT_MS, Zxid::ZERO) {
                Ok(ConnectResponse { timeout_ms, session: granted, .. }) => {
                    self.sessions[side].note(granted.0);
                    let same = session == SessionId::NONE || granted == session;
                    answers.push(format!("timeout {timeout_ms}, the session asked for: {same}"));
                    clients[side] = Some(client);
                }
                Err(error) if is_close(&error) => answers.push("closed".into()),
                Err(error) => panic!("{}: {error}", self.servers[side].log()),
            }
        }
        let (left, right) = (vec![answers[0].clone()], vec![answers[1].clone()]);
        self.compare(&[left, right], "a handshake");
        Pair { clients }
    }

    /// Cuts a connection and resumes its session; sometimes with a wrong password.
    fn reconnect(&mut self, at: usize) {
        let both = |pair: &Pair| {
            let of = |side: usize| pair.clients[side].as_ref().map(|c| (c.session, c.password));
            Some([of(0)?, of(1)?])
        };
        let Some(mut resume) = both(&self.pairs[at]) else { return };
        let wrong = self.random.one_in(4);
        if wrong {
            resume.iter_mut().for_each(|(_, password)| password[0] ^= 1);
        }
        let pair = self.connect(Some(resume));
        self.pairs[at] = pair;
        if wrong {
            let pair = self.connect(None);
            self.pairs[at] = pair;
        }
    }

    /// Walks both trees with an administrator's rights and compares node by node.
    fn compare_trees(&mut self) {
        let pair = self.connect(None);
        let at = self.pairs.len();
        self.pairs.push(pair);
        let root = oxikeeper_proto::request::AuthPacket {
            kind: 0,
            scheme: Some("digest".into()),
            auth: Some(b"super:admin"),
        };
        self.walk_step(at, OpCode::Auth, &root, "auth as super");
        let mut open = vec!["/".to_owned()];
        let mut nodes = 0;
        while let Some(path) = open.pop() {
            nodes += 1;
            let watch = WatchableRequest { path: Some(path.as_str().into()), watch: false };
            let plain = PathRequest { path: Some(path.as_str().into()) };
            self.walk_step(at, OpCode::GetData, &watch, &path);
            self.walk_step(at, OpCode::GetAcl, &plain, &path);
            if let Some(children) = self.walk_step(at, OpCode::GetChildren2, &watch, &path) {
                let parent = if path == "/" { "" } else { path.as_str() };
                open.extend(children.into_iter().map(|child| format!("{parent}/{child}")));
            }
        }
        assert!(nodes >= 4, "the walk saw the system nodes at least");
    }

    fn walk_step(
        &mut self,
        at: usize,
        op: OpCode,
        body: &impl Encode,
        path: &str,
    ) -> Option<Vec<String>> {
        let mut seen: [Vec<String>; 2] = Default::default();
        let mut children = None;
        for (side, seen) in seen.iter_mut().enumerate() {
            let client = self.pairs[at].clients[side].as_mut()?;
            let reply = client.call(op, body).expect("the walk is answered");
            if side == 0 && op == OpCode::GetChildren2 && reply.header.err == 0 {
                children = oxikeeper_proto::Reader::new(&reply.body).get::<Vec<String>>().ok();
            }
            seen.push(normalise::reply(op.to_wire(), &reply, &self.sessions[side]));
        }
        self.compare(&seen, &format!("final tree: {op:?} {path}"));
        children
    }
}

/// No body.
struct Nothing;

impl Encode for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}
}

/// Whether this is the listed difference: Apache answers `Unimplemented` and closes, we stay.
fn stays_open(burst: &[Sent], err: &i32) -> bool {
    const UNIMPLEMENTED: i32 = -6;
    let last = burst.last().map_or(0, |sent| sent.op);
    *err == UNIMPLEMENTED && last != OpCode::CloseSession.to_wire()
}

fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
