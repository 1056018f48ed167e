//! A client that is driven by the session core of `oxikeeper-client`, without tokio: what it says and
//! hears is written down for the checker as the model client's is, and what it tells its callers
//! is held against the wire.

mod asks;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oxikeeper_client::session::{Answer, Config, Output, Session, Step, WatchId};
use oxikeeper_client::{Chroot, Error, Limits, LostReason, Outcome, RetryPolicy, State};
use oxikeeper_proto::time::Now;

use crate::client::{Env, Phase, Style};
use asks::Ask;
use wire::Wire;

/// Each session of each client numbers its requests in a range of its own.
const XIDS: i32 = 10_000;
/// Sessions of one client.
const SESSIONS: i32 = 1_000;
const IN_FLIGHT_MAX: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// See the module.
pub struct CoreClient {
    number: usize,
    style: Style,
    hosts: usize,
    seed: u64,
    sessions: i32,
    /// A call is known by its xid, and so is the watch that it leaves.
    session: Session<i32, i32>,
    wire: Option<Wire>,
    /// Calls without an answer, and whether each is a write.
    open: BTreeMap<i32, bool>,
    /// What went over any wire.
    sent: BTreeSet<i32>,
    /// What came back: the error codes.
    answered: BTreeMap<i32, i32>,
    /// Writes below this number wait behind one whose fate is unknown: they must not be sent.
    barrier: i32,
    watches: Vec<WatchId>,
    next_act: u64,
    silent_until: u64,
    last_sync: Option<i32>,
    settled: bool,
}

impl CoreClient {
    /// A client that will connect at this time.
    pub fn new(
        number: usize,
        style: Style,
        connect_at: u64,
        hosts: usize,
        seed: u64,
    ) -> CoreClient {
        CoreClient {
            number,
            style,
            hosts,
            seed,
            sessions: 0,
            session: session(number, style, hosts, seed, 0),
            wire: None,
            open: BTreeMap::new(),
            sent: BTreeSet::new(),
            answered: BTreeMap::new(),
            barrier: 0,
            watches: Vec::new(),
            next_act: connect_at,
            silent_until: connect_at,
            last_sync: None,
            settled: false,
        }
    }

    /// Whether it has got all its answers.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Its turn. Returns when it wants the next one.
    pub fn wake(&mut self, env: &mut Env<'_>) -> u64 {
        if env.phase == Phase::Gone {
            self.hang_up(env);
            return u64::MAX;
        }
        if env.now < self.silent_until && env.phase == Phase::Busy {
            return self.silent_until;
        }
        let now = Now::from_micros(env.now);
        self.read(env, now);
        self.hear(env);
        match env.phase {
            Phase::Busy if env.now >= self.next_act => self.act(env, now),
            Phase::Settling => self.settle(env, now),
            _ => {}
        }
        self.hear(env);
        self.go_on(env, now);
        self.next_turn(env)
    }

    fn next_turn(&self, env: &Env<'_>) -> u64 {
        let mut next = env.now + 200_000;
        if env.phase == Phase::Busy {
            next = next.min(if env.now < self.silent_until {
                self.silent_until
            } else {
                self.next_act
            });
        }
        if let Some(at) = self.session.deadline() {
            next = next.min(at.micros());
        }
        if let Some(wire) = &self.wire
            && let Some(at) = env.net.links[wire.link].down.next_arrival()
        {
            let pace = if self.style.read_max < 1024 { 3000 } else { 1 };
            next = next.min(at.max(env.now + pace));
        }
        next.max(env.now + 1)
    }

    /// Does what the session wants until it wants nothing more.
    fn go_on(&mut self, env: &mut Env<'_>, now: Now) {
        loop {
            match self.session.step(now) {
                Step::Dial(front) => {
                    self.wire = None;
                    match env.fronts[front] {
                        Some(incarnation) => {
                            self.wire = Some(Wire::open(self.number, front, incarnation, env));
                            self.session.connected();
                        }
                        None => self.session.failed(now),
                    }
                }
                Step::HangUp => self.hang_up(env),
                Step::Probe(_) => env.history.violation("no server here is read-only"),
                Step::End => {
                    self.hear(env);
                    self.begin_anew();
                }
                Step::Idle => break,
            }
            self.hear(env);
        }
        while let Some(bytes) = self.session.output(now) {
            let Some(wire) = &mut self.wire else { break };
            for xid in wire.send(&bytes, self.style.authenticates, env) {
                self.check_sent(xid, env);
            }
        }
    }

    fn begin_anew(&mut self) {
        self.sessions += 1;
        assert!(self.sessions < SESSIONS, "a run has fewer sessions");
        self.session = session(self.number, self.style, self.hosts, self.seed, self.sessions);
        self.wire = None;
        self.watches.clear();
        self.last_sync = None;
    }

    fn hang_up(&mut self, env: &mut Env<'_>) {
        if let Some(wire) = self.wire.take() {
            wire.leave(env);
        }
    }

    fn read(&mut self, env: &mut Env<'_>, now: Now) {
        let Some(wire) = &mut self.wire else { return };
        let link = wire.link;
        let bytes = env.net.links[link].down.read(env.now, self.style.read_max);
        if !bytes.is_empty() {
            env.arrivals.push((link, env.now + 1));
            match wire.receive(&bytes, env) {
                Ok(errors) => self.answered.extend(errors),
                Err(text) => env.history.violation(format!("client {}: {text}", self.number)),
            }
            self.session.received(&bytes, now);
        } else if env.net.links[link].down.is_over(env.now) {
            self.wire = None;
            self.session.lost(now);
        }
    }

    fn act(&mut self, env: &mut Env<'_>, now: Now) {
        self.next_act = env.now + env.rng.around(self.style.think_us);
        let style = self.style;
        if env.rng.chance(style.leaves) {
            self.hang_up(env);
            self.session.lost(now);
        } else if env.rng.chance(style.goes_silent) {
            let timeout_us = style.timeout_ms as u64 * 1000;
            self.silent_until = env.now + env.rng.between(timeout_us / 2, timeout_us * 3);
        } else if env.rng.chance(style.closes) {
            self.call(&Ask::Close, env, now);
        } else {
            let burst = if env.rng.chance(150) { env.rng.index(IN_FLIGHT_MAX) } else { 1 };
            for _ in 0..burst {
                if self.session.requests() >= IN_FLIGHT_MAX {
                    break;
                }
                if !self.watches.is_empty() && env.rng.chance(20) {
                    let watch = self.watches.swap_remove(env.rng.index(self.watches.len()));
                    self.session.drop_watch(watch, now);
                }
                let ask = asks::draw(env.rng);
                self.call(&ask, env, now);
            }
        }
    }

    fn call(&mut self, ask: &Ask, env: &mut Env<'_>, now: Now) -> i32 {
        let xid = self.session.next_xid();
        self.open.insert(xid, ask.is_write());
        let watch = ask.leaves_watch().then_some(xid);
        let id = ask.with(|request| self.session.call(request, xid, watch, now));
        self.watches.extend(id);
        // One that was refused at once has not used its number.
        self.hear(env);
        xid
    }

    /// Asks a last time, and is content when everything was answered.
    fn settle(&mut self, env: &mut Env<'_>, now: Now) {
        if self.settled || self.session.requests() > 0 || self.session.state() != State::Connected {
            return;
        }
        self.last_sync = Some(self.call(&Ask::Sync("/".to_owned()), env, now));
    }

    /// A request has left: the first and only time, if it is a write.
    fn check_sent(&mut self, xid: i32, env: &mut Env<'_>) {
        let is_again = !self.sent.insert(xid);
        let is_write = self.open.get(&xid).copied().unwrap_or(false);
        if is_write && is_again {
            env.history.violation(format!("the write {xid} is sent twice"));
        }
        if is_write && xid < self.barrier {
            env.history.violation(format!("the write {xid} is sent behind one that was lost"));
        }
    }

    /// Holds what the session says against the wire.
    fn hear(&mut self, env: &mut Env<'_>) {
        let mut said = Vec::new();
        self.session.drain(&mut said);
        for output in said {
            let Output::Answered(xid, result) = output else { continue };
            let Some(is_write) = self.open.remove(&xid) else {
                env.history.violation(format!("request {xid} is answered twice"));
                continue;
            };
            if let Err(text) = self.check_answer(xid, is_write, &result) {
                env.history.violation(format!("client {}: request {xid}: {text}", self.number));
            }
            if self.last_sync == Some(xid) {
                self.settled = result.is_ok() && self.open.is_empty();
            }
        }
    }

    fn check_answer(
        &mut self,
        xid: i32,
        is_write: bool,
        result: &Result<Answer, Error>,
    ) -> Result<(), String> {
        let (was_sent, code) = (self.sent.contains(&xid), self.answered.get(&xid));
        let is_right = match result {
            Ok(Answer::Exists(None)) => code == Some(&-101),
            // The session may have ended before it could be asked to.
            Ok(Answer::Done) if !is_write && code.is_none() => {
                self.session.state() == State::Lost(LostReason::Expired)
            }
            Ok(_) | Err(Error::Transaction { .. }) => code == Some(&0),
            Err(Error::Refused(refused)) => code == Some(&refused.to_wire()),
            Err(Error::ConnectionLoss { outcome: Outcome::Unknown }) => {
                if is_write {
                    self.barrier = self.session.next_xid();
                }
                was_sent && code.is_none()
            }
            Err(Error::ConnectionLoss { outcome: Outcome::NotDone }) => !was_sent,
            Err(Error::SessionExpired | Error::Closed) => code.is_none() || code == Some(&-112),
            Err(Error::InvalidPath { .. } | Error::InvalidArgument(_)) => !was_sent,
            Err(_) => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("{result:?}, sent: {was_sent}, answered on the wire with {code:?}"))
    }
}

fn session(
    number: usize,
    style: Style,
    hosts: usize,
    seed: u64,
    sessions: i32,
) -> Session<i32, i32> {
    let auths = style.authenticates.then(|| ("digest".to_owned(), b"u:p".to_vec()));
    let config = Config {
        hosts,
        chroot: Chroot::default(),
        session_timeout: Duration::from_millis(style.timeout_ms.unsigned_abs().into()),
        connect_timeout: CONNECT_TIMEOUT,
        allow_read_only: false,
        auths: auths.into_iter().collect(),
        resume: None,
        retry: RetryPolicy::default(),
        limits: Limits::default(),
    };
    let client = i32::try_from(number).expect("a few clients") + 1;
    let mut session = Session::new(config, seed.wrapping_add(sessions as u64));
    // The model clients number theirs from 1.
    session.number_from((client * SESSIONS + sessions) * XIDS);
    session
}
