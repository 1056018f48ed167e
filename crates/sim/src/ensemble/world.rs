//! One run of an ensemble, in one thread and no time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_zab::arbiter::ElectionInput;
use oxikeeper_zab::io::Input;
use oxikeeper_zab::verifier::{Quorums, Verifier};

use super::agenda::{Agenda, Event};
use super::fabric::{End, Fabric, Port};
use super::ghost::{Entry, Ghost};
use super::knobs::Knobs;
use super::people::{People, Person};
use super::server::{Around, Server, Stop};
use crate::marks::Marks;
use crate::rng::Rng;

/// Events after which a run is given up as stuck.
const EVENTS_MAX: u64 = 2_000_000;
/// Simulated time after which clients come to an end whatever they have done, microseconds.
const BUSY_US_MAX: u64 = 120_000_000;
/// Simulated time in which everything must be well once nothing goes wrong any more.
const SETTLE_US_MAX: u64 = 180_000_000;
/// How long a connection is tried, microseconds.
const CONNECT_US_MAX: u64 = 800_000;
/// Transactions that must still be possible in the end.
const LAST_REQUESTS: u64 = 5;
/// Events shown when a run fails.
const TAIL_LEN: usize = 60;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Whatever can go wrong does.
    Busy,
    /// Nothing goes wrong any more.
    Settling,
    /// Nor is anybody there any more: sessions have to end.
    Gone,
}

/// What a run has counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Transactions proposed.
    pub requests: u64,
    /// Transactions committed.
    pub committed: u64,
    /// Leaders that were established.
    pub leaders: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Faults of all classes.
    pub faults: u64,
    /// Connections.
    pub connections: u64,
    /// Events.
    pub events: u64,
    /// Replies and notifications that were compared with the model.
    pub compared: u64,
}

/// One run.
pub struct World {
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) knobs: Knobs,
    pub(super) seed: u64,
    pub(super) agenda: Agenda,
    pub(super) fabric: Fabric,
    pub(super) ghost: Ghost,
    pub(super) servers: Vec<Server>,
    quorums: Quorums,
    in_transfer: BTreeMap<End, Vec<Entry>>,
    pub(super) people: Option<People>,
    pub(super) marks: Marks,
    pub(super) phase: Phase,
    pub(super) phase_began: u64,
    last_requests: u64,
    pub(super) violations: Vec<String>,
    tail: VecDeque<(u64, Event)>,
    trace_hash: u64,
    story: Option<Vec<String>>,
    /// What was counted.
    pub counts: Counts,
}

impl World {
    /// The run of this seed. `adjust` may change what was drawn.
    pub fn new(seed: u64, adjust: impl FnOnce(&mut Knobs)) -> World {
        let mut rng = Rng::new(seed ^ 0xE05E_4B1E);
        let mut knobs = Knobs::draw(&mut rng);
        adjust(&mut knobs);
        let count = knobs.servers();
        let ids = |range: std::ops::Range<usize>| range.map(|index| ServerId(index as i64 + 1));
        let verifier = Verifier::majority(ids(0..knobs.voters), ids(knobs.voters..count));
        let verifier = verifier.expect("there are voters");
        let people = knobs.crowd.clone().map(|crowd| People::new(crowd, count, &mut rng));
        let mut world = World {
            now: 0,
            agenda: Agenda::default(),
            fabric: Fabric::new(count, knobs.net_delay_us),
            ghost: Ghost::new(count, (0..knobs.voters).collect::<BTreeSet<_>>()),
            servers: (0..count).map(|index| Server::new(index, knobs.skews[index])).collect(),
            quorums: Quorums::new(Arc::new(verifier)),
            in_transfer: BTreeMap::new(),
            people,
            marks: Marks::default(),
            phase: Phase::Busy,
            phase_began: 0,
            last_requests: 0,
            violations: Vec::new(),
            tail: VecDeque::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            story: None,
            counts: Counts::default(),
            seed,
            knobs,
            rng,
        };
        for server in 0..count {
            let at = world.rng.below(300_000);
            world.add(at, Event::Start(server));
        }
        world.add(1_000_000, Event::Fault);
        match world.people.as_ref().map(|people| people.clients.len()) {
            None => world.add(0, Event::Work),
            Some(clients) => (0..clients).for_each(|client| world.wake_client(client, 1)),
        }
        world
    }

    /// Keeps what the processes are told and want.
    pub fn keep_story(&mut self) {
        self.story = Some(Vec::new());
    }

    /// What was kept.
    pub fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    /// Runs to the end. Returns what was wrong.
    pub fn run(&mut self) -> Vec<String> {
        while self.violations.is_empty() {
            let Some((at, event)) = self.agenda.pop() else {
                self.violations.push("nothing is to happen any more".into());
                break;
            };
            self.now = self.now.max(at);
            self.counts.events += 1;
            if self.counts.events > EVENTS_MAX {
                self.violations.push("the run does not come to its end".into());
            }
            self.note(event);
            self.happen(event);
            if self.is_over() {
                break;
            }
        }
        if self.violations.is_empty() {
            self.judge();
        }
        self.counts.committed = self.ghost.committed.len() as u64;
        self.counts.leaders = self.ghost.leaders.len() as u64;
        self.counts.connections = self.fabric.wires.len() as u64;
        std::mem::take(&mut self.violations)
    }

    /// Where the run has been.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Differs if anything went another way.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// What was drawn.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// The last events, one a line.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().map(|(at, event)| format!("{at:>10} us  {event:?}")).collect()
    }

    fn note(&mut self, event: Event) {
        if self.tail.len() == TAIL_LEN {
            self.tail.pop_front();
        }
        self.tail.push_back((self.now, event));
        let server = match event {
            Event::Start(server) | Event::Wake(server) | Event::Resume(server) => server,
            Event::Arrive(end) | Event::Drained(end) | Event::SnapshotSent(end, _) => {
                end.wire << 1 | end.side
            }
            Event::Dial { wire, .. } => wire,
            Event::Logged { server, .. } | Event::EpochWritten { server, .. } => server,
            Event::Front { server, .. } | Event::Core { server, .. } => server,
            Event::Client(client) => client,
            Event::Fault | Event::Work => 0,
        };
        let committed = self.ghost.last_committed().raw();
        let replies = self.people.as_ref().map_or(0, |people| people.history.replies);
        for word in [self.now, server as u64, committed, self.counts.requests, replies] {
            self.trace_hash = (self.trace_hash ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn add(&mut self, at: u64, event: Event) {
        self.agenda.add(at, event, &mut self.rng);
    }

    /// Lets one server act.
    pub(super) fn with(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Server, &Quorums, &mut Around<'_>) -> Result<(), Stop>,
    ) {
        let mut around = Around {
            now: self.now,
            fabric: &mut self.fabric,
            ghost: &mut self.ghost,
            rng: &mut self.rng,
            marks: &mut self.marks,
            agenda: &mut self.agenda,
            knobs: &self.knobs,
            in_transfer: &mut self.in_transfer,
            people: self.people.as_mut(),
            is_quiet: self.phase != Phase::Busy,
            calm_since: (self.phase == Phase::Settling).then_some(self.phase_began),
            story: self.story.as_mut(),
        };
        let server = &mut self.servers[index];
        match act(server, &self.quorums, &mut around) {
            Ok(()) => {}
            Err(Stop::PowerLost) => self.power(index),
            Err(Stop::DiskFailed) => self.kill(index),
            Err(Stop::Violation(text)) => self.violations.push(text),
        }
    }

    /// Whether this server cannot act now; the event comes back when it can.
    fn is_paused(&mut self, server: usize, event: Event) -> bool {
        let until = self.servers[server].paused_until;
        if until <= self.now {
            return false;
        }
        let at = until + self.rng.below(1000);
        self.add(at, event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(server) => self.start(server),
            Event::Wake(server) | Event::Resume(server) => {
                if !self.is_paused(server, event) {
                    self.with(server, |server, _, around| server.wake(around));
                }
            }
            Event::Arrive(end) => {
                let server = self.fabric.wires[end.wire].servers[end.side];
                if !self.holds(server, end) {
                    self.refuse(server, end);
                } else if !self.is_paused(server, event) {
                    self.with(server, |server, _, around| server.read(end, around));
                }
            }
            Event::Drained(end) => {
                let server = self.fabric.wires[end.wire].servers[end.side];
                if self.holds(server, end) && !self.is_paused(server, event) {
                    let input = Input::Election(ElectionInput::Drained(end.conn()));
                    self.with(server, |server, _, around| server.input(input, around));
                }
            }
            Event::SnapshotSent(end, zxid) => {
                let server = self.fabric.wires[end.wire].servers[end.side];
                if self.holds(server, end) && !self.is_paused(server, event) {
                    let (link, zxid) = (end.link(), Zxid::new(zxid));
                    let input = Input::SnapshotSent { link, zxid };
                    self.with(server, |server, _, around| server.input(input, around));
                }
            }
            Event::Dial { wire, began } => self.dial(wire, began),
            Event::Logged { server, life } => {
                if self.servers[server].life == life && !self.is_paused(server, event) {
                    self.with(server, |server, _, around| {
                        server.logged(around)?;
                        server.run_jobs(around)
                    });
                }
            }
            Event::EpochWritten { server, life } => {
                if self.servers[server].life == life && !self.is_paused(server, event) {
                    self.with(server, |server, _, around| server.epoch_written(around));
                }
            }
            Event::Fault => self.fault(),
            Event::Work => self.work(),
            Event::Client(client) => self.client(client),
            Event::Front { server, life, front } => {
                if self.servers[server].life == life && !self.is_paused(server, event) {
                    self.with(server, |server, _, around| server.act_front(front, around));
                }
            }
            Event::Core { server, life } => {
                if self.servers[server].life == life && !self.is_paused(server, event) {
                    self.with(server, |server, _, around| server.act_core(around));
                }
            }
        }
    }

    /// Whether the process that runs holds this end.
    fn holds(&self, server: usize, end: End) -> bool {
        let wire = &self.fabric.wires[end.wire];
        let is_same = wire.lives[end.side] == self.servers[server].life;
        is_same && self.servers[server].process.is_some() && !wire.closed[end.side]
    }

    /// Bytes come to a machine where nobody has this connection: its kernel says so, once it runs.
    fn refuse(&mut self, server: usize, end: End) {
        let is_held = !self.fabric.wires[end.wire].closed[1 - end.side];
        if !is_held || !self.fabric.has_bytes(self.now, end) {
            return;
        }
        if self.servers[server].process.is_none() {
            return self.add(self.now + 300_000, Event::Arrive(end));
        }
        let seen = self.fabric.reset(self.now, end.wire, &mut self.rng);
        if let Some(at) = seen[1 - end.side] {
            self.add(at.max(self.now) + 1, Event::Arrive(end.other()));
        }
    }

    fn start(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        self.servers[server].life += 1;
        self.servers[server].paused_until = 0;
        self.with(server, |server, quorums, around| server.start(quorums, around));
    }

    /// An attempt to connect.
    fn dial(&mut self, wire: usize, began: u64) {
        let [from, to] = self.fabric.wires[wire].servers;
        let (near, far) = (End { wire, side: 0 }, End { wire, side: 1 });
        let port = self.fabric.wires[wire].port;
        if !self.holds(from, near) {
            return;
        }
        let event = Event::Dial { wire, began };
        if self.is_paused(from, event) {
            return;
        }
        let passes = self.fabric.passes(from, to) && self.fabric.passes(to, from);
        let is_paused = self.servers[to].paused_until > self.now;
        if (!passes || is_paused) && self.now - began < CONNECT_US_MAX {
            let at = self.now + self.rng.around(100_000);
            return self.add(at, event);
        }
        let listens = match &self.servers[to].process {
            Some(process) => port == Port::Election || process.listens,
            None => false,
        };
        if !passes || is_paused || !listens {
            self.fabric.wires[wire].closed = [true; 2];
            let refused = passes && !is_paused;
            let to = ServerId(to as i64 + 1);
            let input = match port {
                Port::Election => Input::Election(ElectionInput::ConnectFailed { to, refused }),
                Port::Quorum => Input::ConnectFailed { to, refused },
            };
            return self.with(from, |server, _, around| server.input(input, around));
        }
        self.fabric.wires[wire].lives[1] = self.servers[to].life;
        self.servers[from].attach(near, port);
        self.servers[to].attach(far, port);
        let (opened, accepted) = match port {
            Port::Election => (
                Input::Election(ElectionInput::Opened {
                    conn: near.conn(),
                    to: ServerId(to as i64 + 1),
                }),
                Input::Election(ElectionInput::Accepted(far.conn())),
            ),
            Port::Quorum => {
                let to = ServerId(to as i64 + 1);
                (Input::Connected { link: near.link(), to }, Input::Accepted(far.link()))
            }
        };
        self.with(to, |server, _, around| server.input(accepted, around));
        if self.holds(from, near) {
            self.with(from, |server, _, around| server.input(opened, around));
        }
    }

    /// Clients want something of whoever leads.
    fn work(&mut self) {
        let leaders: Vec<usize> = (0..self.servers.len())
            .filter(|&index| self.servers[index].leads().is_some())
            .collect();
        let is_wanted = match self.phase {
            Phase::Busy => true,
            _ => self.is_in_step() && self.last_requests < LAST_REQUESTS,
        };
        if is_wanted && !leaders.is_empty() {
            let leader = *self.rng.pick(&leaders);
            let burst = if self.rng.chance(100) { self.rng.between(2, 12) } else { 1 };
            if self.servers[leader].paused_until <= self.now {
                for _ in 0..burst {
                    self.with(leader, |server, _, around| server.propose(around));
                    self.counts.requests += 1;
                }
                self.last_requests += u64::from(self.phase == Phase::Settling);
            }
        }
        let at = self.now + self.rng.around(self.knobs.think_us);
        self.add(at, Event::Work);
    }

    /// Whether everybody runs and follows one leader.
    fn is_in_step(&self) -> bool {
        let Some(first) = self.servers[0].in_step() else { return false };
        self.servers.iter().all(|server| server.in_step() == Some(first))
    }

    /// Whether everybody has everything.
    fn is_settled(&self) -> bool {
        let last = self.ghost.last_committed();
        let stands = |server: &Server| {
            server.process.as_ref().is_some_and(|process| process.tree.last_zxid() == last)
        };
        let is_content = match &self.people {
            None => self.last_requests >= LAST_REQUESTS,
            Some(_) if self.phase == Phase::Gone => self.sessions() == 0,
            Some(people) => {
                let in_phase = self.now - self.phase_began;
                people.clients.iter().all(Person::is_settled) && in_phase >= people.crowd.calm_us
            }
        };
        is_content && self.is_in_step() && self.servers.iter().all(stands)
    }

    /// Sessions that some server knows.
    pub(super) fn sessions(&self) -> usize {
        let processes = self.servers.iter().filter_map(|server| server.process.as_ref());
        processes.map(|process| process.tree.sessions().len()).max().unwrap_or(0)
    }

    fn is_over(&mut self) -> bool {
        let in_phase = self.now - self.phase_began;
        match self.phase {
            Phase::Busy
                if self.counts.requests >= self.knobs.requests || in_phase > BUSY_US_MAX =>
            {
                self.enter(Phase::Settling);
                self.put_right();
                false
            }
            Phase::Busy => false,
            Phase::Settling | Phase::Gone if in_phase > SETTLE_US_MAX => {
                let state: Vec<String> = self.servers.iter().map(describe).collect();
                self.violations.push(format!(
                    "nothing goes wrong, and yet the servers are not in step: {}; committed {}{}",
                    state.join(", "),
                    self.ghost.last_committed(),
                    self.describe_people()
                ));
                true
            }
            Phase::Settling if self.people.is_some() => {
                if self.is_settled() {
                    self.enter(Phase::Gone);
                }
                false
            }
            Phase::Settling | Phase::Gone => self.is_settled(),
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_began = self.now;
        let clients = self.people.as_ref().map_or(0, |people| people.clients.len());
        (0..clients).for_each(|client| self.wake_client(client, self.now + 1));
    }

    /// The end: everybody has the same state, and the power goes a last time.
    fn judge(&mut self) {
        let digests: BTreeSet<u64> = self
            .servers
            .iter()
            .filter_map(|server| Some(server.process.as_ref()?.tree.digest()))
            .collect();
        if digests.len() > 1 {
            self.violations.push(format!("in the end the trees differ: {digests:x?}"));
        }
        self.judge_people();
        for server in 0..self.servers.len() {
            if let Some(process) = &self.servers[server].process {
                process.tree.check_invariants();
            }
            self.power(server);
            self.start(server);
        }
    }
}

fn describe(server: &Server) -> String {
    match &server.process {
        Some(process) => {
            format!("{} {:?} at {}", server.index, process.role, process.tree.last_zxid())
        }
        None => format!("{} down", server.index),
    }
}

impl World {
    /// A process is gone; its machine lets go of its connections.
    fn bury(&mut self, server: usize, is_silent: bool) {
        self.counts.crashes += 1;
        let life = self.servers[server].life;
        self.servers[server].process = None;
        for (end, whose) in self.fabric.open_ends() {
            if whose != server || self.fabric.wires[end.wire].lives[end.side] != life {
                continue;
            }
            if is_silent && self.rng.chance(500) {
                self.fabric.silence(end);
                self.fabric.wires[end.wire].closed[end.side] = true;
            } else if let Some(at) = self.fabric.close(self.now, end, &mut self.rng) {
                self.add(at, Event::Arrive(end.other()));
            }
        }
        self.forget_people(server, life);
        let at = self.now + self.rng.around(if self.phase == Phase::Busy { 600_000 } else { 1000 });
        self.add(at, Event::Start(server));
    }

    /// A process dies, its machine goes on.
    pub(super) fn kill(&mut self, server: usize) {
        if self.servers[server].process.is_none() {
            return;
        }
        self.servers[server].disk = self.servers[server].disk.kill();
        self.bury(server, false);
    }

    /// The power of a machine goes.
    pub(super) fn power(&mut self, server: usize) {
        if self.servers[server].process.is_none() {
            return;
        }
        let rng = &mut self.rng;
        // All of what was not synced, none of it, or any mixture.
        let kind = rng.below(4);
        let disk = self.servers[server].disk.crash(|size| match kind {
            0 => 0,
            1 => size - 1,
            _ => rng.below(size),
        });
        self.servers[server].disk = disk;
        self.bury(server, true);
    }

    /// Something could be read now that could not before.
    pub(super) fn wake_all_ends(&mut self) {
        for (end, _) in self.fabric.open_ends() {
            let at = self.now + self.rng.between(1, 1000);
            self.add(at, Event::Arrive(end));
        }
    }

    /// Counts something that went wrong.
    pub(super) fn count_fault(&mut self) -> u64 {
        self.counts.faults += 1;
        self.counts.faults - 1
    }

    /// A leader's epoch is full.
    pub(super) fn fill_epoch(&mut self, server: usize) {
        self.with(server, |server, _, around| server.epoch_is_full(around));
    }
}
