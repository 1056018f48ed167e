//! One run: a server, its clients, and everything that goes wrong between them, in one thread and
//! no time.

pub mod restart;

use std::collections::VecDeque;
use std::fmt;

use oxikeeper_node::time::Now;
use oxikeeper_proto::OpCode;

use self::restart::same_state;
use crate::checker::Checker;
use crate::client::{Client, Env, Phase};
use crate::disk::CrashDisk;
use crate::ghost::Ghost;
use crate::history::History;
use crate::marks::{Mark, Marks};
use crate::net::Net;
use crate::options::{Injected, Knobs};
use crate::reactor::Around;
use crate::rng::Rng;
use crate::schedule::{CLIENT, CORE, FAULTS, LOG, REACTOR, SNAPSHOT, Schedule};
use crate::server::{Host, Server, Stop};

/// Turns after which a run is given up as stuck.
const TURNS_MAX: u64 = 3_000_000;
/// Simulated time after which clients come to an end whatever they have done, microseconds.
const BUSY_US_MAX: u64 = 60_000_000;
/// Simulated time in which clients must get their answers once nothing goes wrong any more.
const SETTLE_US_MAX: u64 = 40_000_000;
/// Simulated time in which silent sessions must end, and what is due must be reaped.
const GONE_US_MAX: u64 = 16_000_000;
/// Events shown when a run fails.
const TAIL_LEN: usize = 50;

/// One turn, for the end of a failed run's story.
#[derive(Clone, Debug)]
struct Turn {
    at: u64,
    actor: usize,
    zxid: u64,
    log_len: usize,
    replies: u64,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.actor {
            CORE => "core".to_owned(),
            LOG => "log".to_owned(),
            SNAPSHOT => "snapshot".to_owned(),
            FAULTS => "fault".to_owned(),
            actor if actor < FAULTS => format!("reactor {}", actor - REACTOR),
            actor => format!("client {}", actor - CLIENT),
        };
        let Turn { at, zxid, log_len, replies, .. } = self;
        write!(
            f,
            "{at:>12} us  {who:<10} applied {zxid:#x}, logged {log_len:#x}, {replies} replies"
        )
    }
}

/// What a run has counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests sent.
    pub requests: u64,
    /// Replies received.
    pub replies: u64,
    /// Watch events received.
    pub events: u64,
    /// Transactions in the log at the end.
    pub txns: u64,
    /// Crashes.
    pub crashes: u64,
    /// Connections made.
    pub connections: u64,
    /// Frames compared with the model.
    pub compared: u64,
    /// Turns of all actors.
    pub turns: u64,
}

/// One run.
pub struct World {
    rng: Rng,
    now: u64,
    wall_offset_ms: i64,
    knobs: Knobs,
    schedule: Schedule,
    server: Option<Server>,
    incarnation: u32,
    restart_at: u64,
    stalled_until: u64,
    crash_when_busy: bool,
    slow_disk_until: u64,
    disk: CrashDisk,
    net: Net,
    clients: Vec<Client>,
    history: History,
    ghost: Ghost,
    marks: Marks,
    phase: Phase,
    mutation: Option<Injected>,
    tail: VecDeque<Turn>,
    trace_hash: u64,
    /// What was counted.
    pub counts: Counts,
}

impl World {
    /// The run of this seed.
    pub fn new(seed: u64, mutation: Option<Injected>) -> World {
        let mut rng = Rng::new(seed);
        let knobs = Knobs::draw(&mut rng);
        let mut schedule = Schedule::new(CLIENT + knobs.styles.len());
        let mut clients = Vec::new();
        for (number, style) in knobs.styles.iter().enumerate() {
            let at = rng.below(50_000);
            clients.push(Client::new(number, *style, at));
            schedule.wake(CLIENT + number, at, &mut rng);
        }
        schedule.wake(FAULTS, 0, &mut rng);
        World {
            now: 0,
            wall_offset_ms: 1_700_000_000_000,
            schedule,
            server: None,
            incarnation: 0,
            restart_at: 0,
            stalled_until: 0,
            crash_when_busy: false,
            slow_disk_until: 0,
            disk: CrashDisk::default(),
            net: Net {
                links: Vec::new(),
                delay_us: knobs.net_delay_us,
                window_bytes: knobs.window_bytes,
            },
            clients,
            history: History::default(),
            ghost: Ghost::default(),
            marks: Marks::default(),
            phase: Phase::Busy,
            mutation,
            tail: VecDeque::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            counts: Counts::default(),
            knobs,
            rng,
        }
    }

    /// Runs to the end. Returns what was wrong; more than one line may have one cause.
    pub fn run(&mut self) -> Vec<String> {
        let mut phase_began = 0;
        while self.history.violations.is_empty() {
            let Some((at, actor)) = self.schedule.pop() else { break };
            self.now = self.now.max(at);
            self.counts.turns += 1;
            if self.counts.turns > TURNS_MAX {
                self.history.violation("the run does not come to its end");
            }
            self.turn(actor);
            self.note(actor);
            let in_phase = self.now - phase_began;
            if let Some(next) = self.next_phase(in_phase) {
                phase_began = self.now;
                match next {
                    Some(phase) => self.enter(phase),
                    None => break,
                }
            }
        }
        if self.history.violations.is_empty() {
            self.judge();
        }
        self.count();
        std::mem::take(&mut self.history.violations)
    }

    /// Where the run has been.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Differs if anything went another way.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// The last turns, one a line.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().map(Turn::to_string).collect()
    }

    /// What was drawn for it.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    fn note(&mut self, actor: usize) {
        let applied = self.server.as_ref().map_or(0, |server| server.tree.last_zxid().raw());
        let digest = self.server.as_ref().map_or(0, |server| server.tree.digest());
        let turn = Turn {
            at: self.now,
            actor,
            zxid: applied,
            log_len: self.ghost.log.len(),
            replies: self.history.replies,
        };
        let events = self.history.events;
        for word in [turn.at, actor as u64, applied, digest, turn.replies, events] {
            self.trace_hash = (self.trace_hash ^ word).wrapping_mul(0x0100_0000_01b3);
        }
        if self.tail.len() == TAIL_LEN {
            self.tail.pop_front();
        }
        self.tail.push_back(turn);
    }

    /// The phase that follows now, if one does; `Some(None)` is the end.
    fn next_phase(&mut self, in_phase: u64) -> Option<Option<Phase>> {
        match self.phase {
            Phase::Busy => {
                let done = self.history.requests > self.knobs.requests || in_phase > BUSY_US_MAX;
                done.then_some(Some(Phase::Settling))
            }
            Phase::Settling => {
                if self.clients.iter().all(Client::is_settled) {
                    return Some(Some(Phase::Gone));
                }
                if in_phase > SETTLE_US_MAX {
                    let waiting: Vec<_> = (0..self.clients.len())
                        .filter(|number| !self.clients[*number].is_settled())
                        .collect();
                    self.history.violation(format!("clients {waiting:?} get no answer any more"));
                }
                None
            }
            Phase::Gone => (in_phase > GONE_US_MAX).then_some(None),
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.disk.fail_in(None);
        self.crash_when_busy = false;
        self.slow_disk_until = 0;
        self.disk.set_free_bytes(1 << 40);
        for client in 0..self.clients.len() {
            self.schedule.wake(CLIENT + client, self.now, &mut self.rng);
        }
    }

    fn turn(&mut self, actor: usize) {
        match actor {
            FAULTS => self.fault(),
            actor if actor >= CLIENT => self.client(actor - CLIENT),
            actor => self.server_turn(actor),
        }
    }

    fn client(&mut self, number: usize) {
        let mut arrivals = Vec::new();
        let mut env = Env {
            now: self.now,
            net: &mut self.net,
            history: &mut self.history,
            rng: &mut self.rng,
            marks: &mut self.marks,
            phase: self.phase,
            fronts: &vec![
                self.server.is_some().then_some(self.incarnation);
                usize::from(self.knobs.fronts)
            ],
            arrivals: &mut arrivals,
        };
        let links = env.net.links.len();
        let next = self.clients[number].wake(&mut env);
        if next != u64::MAX {
            self.schedule.wake(CLIENT + number, next, &mut self.rng);
        }
        let Some(server) = &mut self.server else { return };
        for link in links..self.net.links.len() {
            server.reactors[self.net.links[link].front].accepted.push(link);
        }
        for (link, at) in arrivals {
            let Some(pipes) = self.net.links.get(link) else { continue };
            let is_current = pipes.incarnation == self.incarnation;
            if is_current && server.reactors[pipes.front].is_polling() {
                let at = at.max(self.now) + self.rng.between(1, 40);
                self.schedule.wake(REACTOR + pipes.front, at, &mut self.rng);
            }
        }
    }

    fn server_turn(&mut self, actor: usize) {
        let Some(server) = &mut self.server else { return };
        if self.now < self.stalled_until {
            let at = self.stalled_until + self.rng.below(1000);
            self.schedule.wake(actor, at, &mut self.rng);
            return;
        }
        let mut clients = Vec::new();
        let mut host = Host {
            around: Around {
                now: self.now,
                clock: Now::from_micros(self.now),
                net: &mut self.net,
                rng: &mut self.rng,
                marks: &mut self.marks,
                ghost: &mut self.ghost,
                clients: &mut clients,
            },
            schedule: &mut self.schedule,
            disk: &self.disk,
            wall_ms: self.wall_offset_ms + (self.now / 1000) as i64,
            slow_disk_until: self.slow_disk_until,
            knobs: &self.knobs,
        };
        let stop = server.act(actor, &mut host).err();
        for (client, at) in clients {
            self.schedule.wake(CLIENT + client, at, &mut self.rng);
        }
        // A crash where it is most likely to hurt.
        let is_busy = |server: &Server| server.is_syncing() || server.is_snapshotting();
        let hurts = self.crash_when_busy && self.server.as_ref().is_some_and(is_busy);
        match stop {
            None if hurts && self.rng.chance(200) => self.crash(),
            None => {}
            Some(Stop::LogFailed) => self.crash(),
            Some(Stop::Violation(text)) => self.history.violation(text),
        }
    }

    /// Something goes wrong, or is put right again.
    fn fault(&mut self) {
        if self.server.is_none() {
            if self.now >= self.restart_at {
                self.start();
            }
            let at = self.restart_at.max(self.now + 1);
            return self.schedule.wake(FAULTS, at, &mut self.rng);
        }
        let Some(gap) = self.knobs.fault_gap_us.filter(|_| self.phase == Phase::Busy) else {
            return self.schedule.wake(FAULTS, self.now + 1_000_000, &mut self.rng);
        };
        self.disk.set_free_bytes(1 << 40);
        let sum: u64 = self.knobs.fault_weights.iter().sum();
        let mut choice = self.rng.below(sum.max(1));
        let kind = self.knobs.fault_weights.iter().position(|weight| {
            let is_it = choice < *weight;
            choice = choice.saturating_sub(*weight);
            is_it
        });
        match kind {
            Some(0) => self.crash(),
            Some(1) if self.now >= self.stalled_until => {
                let pause = *self.rng.pick(&[30_000, 400_000, 1_000_000, 2_500_000, 9_000_000]);
                self.stalled_until = self.now + pause;
                self.ghost.stalled(self.now, self.stalled_until);
                if pause > 1_300_000 {
                    self.marks.hit(Mark::StallGranted);
                }
            }
            Some(2) => self.disk.set_free_bytes(1000),
            Some(3) => self.disk.fail_in(Some(self.rng.below(12) as u32)),
            Some(4) => self.crash_when_busy = true,
            Some(5) => {
                // The next syncs take their time.
                let until = self.now + self.rng.between(500_000, 6_000_000);
                self.slow_disk_until = until;
            }
            Some(6) => {
                let jump = *self.rng.pick(&[-5000, -300, 300, 5000]);
                self.wall_offset_ms += jump;
                if jump < 0 {
                    self.marks.hit(Mark::WallClockBack);
                }
            }
            _ => {}
        }
        let at = if self.server.is_some() { self.rng.around(gap) } else { 0 };
        let at = (self.now + at).max(if self.server.is_none() { self.restart_at } else { 0 });
        self.schedule.wake(FAULTS, at, &mut self.rng);
    }

    /// The power goes.
    fn crash(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.note_crash(&mut self.marks);
        self.crash_when_busy = false;
        self.ghost.stall_ends(self.now);
        self.stalled_until = 0;
        self.counts.crashes += 1;
        self.disk.crash(&mut self.rng);
        self.incarnation += 1;
        for actor in [CORE, LOG, SNAPSHOT, REACTOR, REACTOR + 1, REACTOR + 2] {
            self.schedule.forget(actor);
        }
        for link in &mut self.net.links {
            if let Some(at) = link.down.reset(self.now, &mut self.rng) {
                let at = at + self.rng.below(20_000);
                self.schedule.wake(CLIENT + link.client, at, &mut self.rng);
            }
        }
        self.restart_at = self.now + self.rng.around(200_000);
        self.schedule.wake(FAULTS, self.restart_at, &mut self.rng);
    }

    /// The end: all sessions are gone, and everything that was seen fits the log.
    fn judge(&mut self) {
        if self.server.is_none() {
            self.start();
        }
        let checker =
            Checker::new(&self.history, &self.ghost.handshakes, self.knobs.extended_types);
        let (violations, model, seen) = checker.judge(&self.ghost.log);
        self.counts.compared = seen.compared;
        for _ in 0..seen.ttl_reaped {
            self.marks.hit(Mark::TtlReaped);
        }
        self.history.violations.extend(violations);
        if !self.history.violations.is_empty() {
            return;
        }
        if let Some(server) = self.server.take() {
            server.check();
            if let Err(text) = same_state(&model, &server.tree) {
                self.history.violation(format!("at the end: {text}"));
            }
        }
        for session in model.sessions.keys() {
            self.history.violation(format!("session {session} never ends"));
        }
        let wall_ms = self.wall_offset_ms + (self.now / 1000) as i64;
        for (path, node) in &model.nodes {
            let overdue = match node.kind {
                oxikeeper_proto::NodeKind::Container => node.creates > 0,
                oxikeeper_proto::NodeKind::Ttl(ttl_ms) => wall_ms - node.mtime > ttl_ms + 8000,
                oxikeeper_proto::NodeKind::Ephemeral(_) => true,
                oxikeeper_proto::NodeKind::Persistent => false,
            };
            if overdue && node.children.is_empty() {
                self.history.violation(format!("{path} is still there: {node:?}"));
            }
        }
        self.note_ambiguous();
        // The power goes a last time: everything anybody was told is still there.
        self.disk.crash(&mut self.rng);
        self.start();
    }

    fn note_ambiguous(&mut self) {
        let mut done = std::collections::BTreeSet::new();
        for (_, payload) in &self.ghost.log {
            if let Ok((header, ..)) = oxikeeper_proto::txn::decode_payload(payload) {
                done.insert(header.cxid);
            }
        }
        let mut answered = std::collections::BTreeSet::new();
        for stream in &self.history.streams {
            for frame in &stream.frames {
                if let crate::history::Frame::Reply { sent, .. } = frame {
                    answered.insert(stream.sent[*sent].xid);
                }
                if let crate::history::Frame::Reply { err: -7, .. } = frame {
                    self.marks.hit(Mark::RefusedWhileFull);
                }
            }
        }
        for stream in &self.history.streams {
            for sent in &stream.sent {
                let is_write = sent.op == OpCode::SetData.to_wire();
                if sent.xid > 0 && is_write && !answered.contains(&sent.xid) {
                    let is_done = done.contains(&sent.xid);
                    let mark = if is_done { Mark::AmbiguousDone } else { Mark::AmbiguousLost };
                    self.marks.hit(mark);
                }
            }
        }
    }

    fn count(&mut self) {
        self.counts.requests = self.history.requests;
        self.counts.replies = self.history.replies;
        self.counts.events = self.history.events;
        self.counts.txns = self.ghost.log.len() as u64;
        self.counts.connections = self.net.links.len() as u64;
    }
}
