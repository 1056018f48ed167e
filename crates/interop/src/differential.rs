//! The same requests to two servers.
//!
//! Requests of one connection go out in bursts; between bursts every connection is brought to rest
//! by a ping, so that both servers see one total order. Zxids must then be equal as well. What may
//! differ all the same stands in `exceptions.rs`.
//!
//! A difference ends in a short script: steps are left out as long as fresh servers still differ.

mod tree_walk;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use oxikeeper_proto::reply::ConnectResponse;
use oxikeeper_proto::request::PathVersionRequest;
use oxikeeper_proto::{Encode, OpCode, SessionId, Zxid};

use crate::client::{RawClient, Reply, request};
use crate::exceptions::{Exception, Used};
use crate::generate::{Generator, Sent};
use crate::normalise::{self, Sessions};
use crate::random::Random;
use crate::script::Step;
use crate::server::{Kind, Server};
use crate::shrink::minimise;

/// What both servers run with.
const SETTINGS: &str = "extendedTypesEnabled=true\nenforceQuota=true\nmaxSessionTimeout=600000\n\
                        DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=\n\
                        snapCount=5000\npreAllocSize=1024\n\
                        -Dznode.container.checkIntervalMs=2000000000";
const TIMEOUT_MS: i32 = 600_000;
const CONNECTIONS: usize = 3;
const UNIMPLEMENTED: i32 = -6;
/// What follows a difference is mostly its consequence.
const DIFFERENCES_MAX: usize = 4;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests sent to each server.
    pub requests: usize,
    /// Requests by operation, defined or not.
    pub by_operation: BTreeMap<i32, u64>,
    /// Notifications that came.
    pub events: usize,
    /// Connections that the servers closed.
    pub closes: usize,
    /// Where less than equality was demanded.
    pub used: Used,
    /// What was not equal, with its context.
    pub differences: Vec<String>,
    /// All that was done up to the first difference, or to the end.
    pub script: Vec<Step>,
}

impl Outcome {
    /// Operations of the protocol that were never sent: a run that has any has not looked at all.
    pub fn never_sent(&self) -> Vec<OpCode> {
        let is_missing = |op: &&OpCode| !self.by_operation.contains_key(&op.to_wire());
        OpCode::ALL.iter().filter(is_missing).copied().collect()
    }
}

/// One connection to each server.
struct Pair {
    clients: [Option<RawClient>; 2],
}

struct Run {
    kinds: [Kind; 2],
    servers: [Server; 2],
    sessions: [Sessions; 2],
    pairs: Vec<Pair>,
    /// The largest zxid of a reply: setWatches refers to such.
    last_zxid: i64,
    outcome: Outcome,
    /// The last requests end a session: their events have no order.
    closes_session: bool,
}

/// Runs until so many requests were sent, or too much differs.
pub fn run(dir: &Path, against: Kind, seed: u64, requests: usize) -> Outcome {
    let mut run = Run::start(dir, against);
    let mut generator = Generator::new(seed);
    let mut random = Random::new(seed ^ 0x5eed);
    while run.outcome.requests < requests && run.outcome.differences.len() < DIFFERENCES_MAX {
        run.round(&mut generator, &mut random);
    }
    run.finish();
    run.outcome.used.add(&generator.used);
    run.outcome
}

/// Carries a script out on fresh servers, up to the first difference.
pub fn replay(dir: &Path, against: Kind, script: &[Step]) -> Outcome {
    let mut run = Run::start(dir, against);
    for step in script {
        run.step(step.clone());
        if !run.outcome.differences.is_empty() {
            break;
        }
    }
    run.finish();
    run.outcome
}

/// Makes the script of a run that found a difference short, in at most `trials` replays.
pub fn shrink(dir: &Path, against: Kind, script: &[Step], trials: usize) -> Vec<Step> {
    let mut trial = 0;
    minimise(script, trials, |shorter| {
        trial += 1;
        let dir = dir.join(format!("trial-{trial}"));
        let fails = !replay(&dir, against, shorter).differences.is_empty();
        // What is left over is not worth a failure.
        let _ = std::fs::remove_dir_all(&dir);
        fails
    })
}

impl Run {
    fn start(dir: &Path, against: Kind) -> Run {
        let kinds = [Kind::APACHE, against];
        let servers = [
            Server::start(kinds[0], &dir.join("left"), SETTINGS),
            Server::start(kinds[1], &dir.join("right"), SETTINGS),
        ];
        let mut run = Run {
            kinds,
            servers,
            sessions: Default::default(),
            pairs: Vec::new(),
            last_zxid: 0,
            outcome: Outcome::default(),
            closes_session: false,
        };
        run.outcome.used.note(Exception::Reaping);
        for _ in 0..CONNECTIONS {
            let pair = run.connect(None);
            run.pairs.push(pair);
        }
        run
    }

    fn finish(&mut self) {
        if self.outcome.differences.is_empty() {
            self.compare_trees();
        }
    }

    /// One connection sends some requests; then everybody comes to rest.
    fn round(&mut self, generator: &mut Generator, random: &mut Random) {
        let at = random.below(self.pairs.len());
        let count = 1 + random.below(12);
        let mut requests: Vec<Sent> = Vec::new();
        for _ in 0..count {
            generator.saw(self.last_zxid);
            let sent = generator.next_request();
            if !sent.alone {
                requests.push(sent);
                continue;
            }
            self.step(Step::Burst { at, requests: std::mem::take(&mut requests) });
            self.step(Step::Burst { at, requests: vec![sent] });
        }
        self.step(Step::Burst { at, requests });
        self.step(Step::Rest);
        if random.one_in(40) {
            self.step(Step::Reconnect { at, wrong: random.one_in(4) });
        }
    }

    /// Does a step, and notes it as long as nothing was found: what follows is not needed again.
    fn step(&mut self, step: Step) {
        if self.outcome.differences.is_empty() {
            self.outcome.script.push(step.clone());
        }
        match step {
            Step::Burst { at, requests } => {
                match &requests[..] {
                    [sent] if sent.op == OpCode::CreateSession.to_wire() => {
                        self.create_session(at, sent);
                    }
                    _ => self.exchange(at, &requests),
                }
                let is_gone = self.pairs[at].clients.iter().all(Option::is_none);
                if is_gone || requests.last().is_some_and(|sent| sent.ends) {
                    let pair = self.connect(None);
                    self.pairs[at] = pair;
                }
            }
            Step::Rest => {
                (0..self.pairs.len()).for_each(|at| self.rest(at));
                self.closes_session = false;
            }
            Step::Reconnect { at, wrong } => self.reconnect(at, wrong),
        }
    }

    /// Sends requests to both servers and compares what comes back.
    fn exchange(&mut self, at: usize, burst: &[Sent]) {
        if burst.is_empty() {
            return;
        }
        self.count(burst);
        let bytes: Vec<u8> = burst.iter().flat_map(|sent| sent.frame.clone()).collect();
        let mut seen: [Vec<String>; 2] = Default::default();
        for client in self.pairs[at].clients.iter_mut().flatten() {
            // A connection that is closed says so when its replies are read.
            let _ = client.send(&bytes);
        }
        for (side, seen) in seen.iter_mut().enumerate() {
            *seen = self.collect(at, side, burst);
        }
        if burst.iter().any(|sent| sent.op == OpCode::DeleteContainer.to_wire()) {
            self.delete_container_is_refused(at, &mut seen);
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
                        self.last_zxid = self.last_zxid.max(reply.header.zxid.to_wire());
                    }
                    let asked = match reply.header.xid {
                        -1 => "",
                        _ => burst.get(answered).map_or("", |sent| sent.text.as_str()),
                    };
                    answered += usize::from(reply.header.xid != -1);
                    let text = self.normalise(op, &reply, side);
                    seen.push(if asked.is_empty() {
                        text
                    } else {
                        format!("{text}\n    to {asked}")
                    });
                    if answered == burst.len() && ends && stays_open(burst, &reply.header.err) {
                        // Apache closes behind this, we stay: both are given up here.
                        if side == 0 {
                            self.outcome.used.note(Exception::StaysOpen);
                        }
                        self.pairs[at].clients[side] = None;
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
                let Some(client) = &mut self.pairs[at].clients[side] else { break };
                match client.reply() {
                    Ok(reply) => {
                        open = reply.header.xid == -1;
                        self.outcome.events += usize::from(open && side == 0);
                        seen.push(self.normalise(11, &reply, side));
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
            self.outcome.used.note(Exception::EventsOfAClose);
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
    fn reconnect(&mut self, at: usize, wrong: bool) {
        let both = |pair: &Pair| {
            let of = |side: usize| pair.clients[side].as_ref().map(|c| (c.session, c.password));
            Some([of(0)?, of(1)?])
        };
        let Some(mut resume) = both(&self.pairs[at]) else { return };
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

    fn normalise(&mut self, op: i32, reply: &Reply, side: usize) -> String {
        // Each pair of replies counts once.
        let mut unused = Used::default();
        let used = if side == 0 { &mut self.outcome.used } else { &mut unused };
        normalise::reply(op, reply, &self.sessions[side], used)
    }

    /// We refuse a deleteContainer, Apache tries it. Nothing has changed on either, but there it has
    /// used a zxid, which here a write that fails makes up for.
    fn delete_container_is_refused(&mut self, at: usize, seen: &mut [Vec<String>; 2]) {
        if self.kinds[1] != Kind::Oxikeeper {
            return;
        }
        self.outcome.used.note(Exception::DeleteContainerRefused);
        let [left, right] = seen;
        let is_refused = right.iter().any(|reply| reply.contains(" err -6"));
        let is_tried = left.iter().any(|reply| {
            [" err -8", " err -101", " err -111"].iter().any(|code| reply.contains(code))
        });
        if !is_refused || !is_tried {
            return;
        }
        (*left, *right) = (Vec::new(), Vec::new());
        self.use_a_zxid(at);
    }

    /// A client's createSession: Apache begins its session anew and shakes hands again, we refuse.
    fn create_session(&mut self, at: usize, sent: &Sent) {
        self.count(std::slice::from_ref(sent));
        let mut seen: [Vec<String>; 2] = Default::default();
        for (side, seen) in seen.iter_mut().enumerate() {
            let Some(client) = &mut self.pairs[at].clients[side] else { continue };
            let frame = client.send(&sent.frame).and_then(|()| client.frame());
            let refusal = UNIMPLEMENTED.to_be_bytes();
            seen.push(match frame {
                Ok(frame) if frame.len() == 37 => "shakes hands again".to_owned(),
                Ok(frame) if frame.len() == 16 && frame.ends_with(&refusal) => "refused".to_owned(),
                Ok(frame) => format!("{frame:02x?}"),
                Err(error) => error.kind().to_string(),
            });
        }
        if self.kinds[1] == Kind::Oxikeeper && seen[1] == ["refused"] {
            self.outcome.used.note(Exception::CreateSessionRefused);
            seen[1] = vec!["shakes hands again".to_owned()];
            self.use_a_zxid(at);
        }
        self.compare(&seen, &sent.text);
    }

    fn count(&mut self, burst: &[Sent]) {
        self.outcome.requests += burst.len();
        for sent in burst {
            *self.outcome.by_operation.entry(sent.op).or_default() += 1;
        }
    }

    /// A write that fails, on the right alone: it makes up for a zxid that the left has used.
    fn use_a_zxid(&mut self, at: usize) {
        let never = PathVersionRequest { path: Some("/never/child".into()), version: -1 };
        if let Some(client) = &mut self.pairs[at].clients[1] {
            let reply =
                client.call(OpCode::Delete, &never).expect("a write that fails is answered");
            assert_eq!(reply.header.err, -101, "nothing has this name");
        }
    }
}

/// No body.
struct Nothing;

impl Encode for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}
}

/// Whether this is the listed difference: Apache answers `Unimplemented` and closes, we stay.
fn stays_open(burst: &[Sent], err: &i32) -> bool {
    let last = burst.last().map_or(0, |sent| sent.op);
    *err == UNIMPLEMENTED && last != OpCode::CloseSession.to_wire()
}

fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
