//! One server's part in agreement: it looks for a leader, then leads or learns, and looks again when
//! that is lost.
//!
//! ```text
//!        +--> Settling --(log durable)--> Looking --elected--> Leading | Learning --lost--+
//!        +--------------------------------------------------------------------------------+
//! ```

use std::sync::Arc;
use std::time::Duration;

use oxikeeper_proto::Encode;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{Notification, ServerState};
use oxikeeper_proto::time::Now;
use tracing::{info, warn};

use crate::arbiter::{Arbiter, ElectionInput, ElectionOutput, Heard};
use crate::config::PeerConfig;
use crate::context::{Context, Epochs, Event};
use crate::election::{Election, ElectionResult};
use crate::history::History;
use crate::io::{Input, Output, Role};
use crate::leader::Leader;
use crate::learner::Learner;
use crate::membership::{Change, Through};
use crate::verifier::Quorums;

#[derive(Debug)]
enum Half {
    /// Waits until everything logged is on disk, and until then.
    Settling(Now),
    Looking,
    Leading(Box<Leader>),
    Learning(Box<Learner>),
}

/// See the module's head.
#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    quorums: Quorums,
    history: History,
    epochs: Epochs,
    arbiter: Arbiter,
    election: Election,
    half: Half,
    role: Role,
    last_ticket: u64,
    /// An epoch that we begin is this at least.
    epoch_min: u32,
    /// State of the few random delays.
    random: u64,
    events: Vec<Event>,
    /// Who leads next, if a reconfiguration has said so.
    designated: Option<ServerId>,
    /// The process is about to end.
    is_retired: bool,
}

impl Peer {
    /// A peer over what its disk holds, all of it durable. It begins with the first
    /// [`step`](Self::step).
    pub fn new(
        config: Arc<PeerConfig>,
        quorums: Quorums,
        epochs: Epochs,
        history: History,
        now: Now,
    ) -> Peer {
        Peer {
            arbiter: Arbiter::new(config.my_id, config.handshake_time().as_millis() as u64),
            election: Election::new(&config, history.last_vote(), epochs.current),
            half: Half::Settling(now),
            role: Role::Looking,
            last_ticket: 0,
            epoch_min: 0,
            random: config.seed,
            events: Vec::new(),
            designated: None,
            is_retired: false,
            config,
            quorums,
            history,
            epochs,
        }
    }

    /// Takes one input; adds what is to be done.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::StepDown => self.retire(now, out),
            Input::Election(input) if self.is_retired => turn_away(&input, out),
            Input::Election(input) => self.on_election_port(now, input, out),
            Input::LogDurable(zxid) => {
                self.history.set_durable(zxid);
                self.drive(now, Input::LogDurable(zxid), out);
            }
            Input::Tick => self.tick(now, out),
            Input::Accepted(link) if !matches!(self.half, Half::Leading(_)) => {
                out.push(Output::CloseLink(link));
            }
            Input::Connected { link, .. } if !matches!(self.half, Half::Learning(_)) => {
                out.push(Output::CloseLink(link));
            }
            input => self.drive(now, input, out),
        }
        self.settle(now, out);
    }

    /// When a [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&mut self) -> Option<Now> {
        let of_half = match &self.half {
            Half::Settling(at) => Some(*at).filter(|_| !self.is_retired),
            Half::Looking => self.election.next_deadline(),
            _ => self.with_half(&mut Vec::new(), |half, cx| half.next_deadline(cx)),
        };
        of_half.into_iter().chain(self.arbiter.next_deadline()).min()
    }

    /// What it is to the others now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What is logged and committed.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The epochs, as they are on disk.
    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// Who votes.
    pub fn quorums(&self) -> &Quorums {
        &self.quorums
    }

    /// The election, for operators.
    pub fn election(&self) -> &Election {
        &self.election
    }

    /// The leader half, while there is one.
    pub fn leader(&self) -> Option<&Leader> {
        match &self.half {
            Half::Leading(leader) => Some(leader),
            _ => None,
        }
    }

    /// What must hold between any two steps.
    pub fn check_invariants(&self) {
        assert!(self.epochs.current <= self.epochs.accepted, "{:?}", self.epochs);
        assert!(self.history.last_logged().epoch() <= self.epochs.accepted, "{:?}", self.epochs);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut actions = Vec::new();
        self.arbiter.tick(now, &mut actions);
        out.extend(actions.into_iter().map(Output::Election));
        if matches!(self.half, Half::Looking) {
            let mut result = ElectionResult::default();
            self.election.tick(now, &self.quorums, &mut result);
            self.on_election(now, result, out);
        } else {
            self.drive(now, Input::Tick, out);
        }
    }

    /// The process is about to end. Were it to look for a leader once more, the others could elect it, and
    /// would find out that it is gone only then. So it lets go of everybody, and nobody reaches it any more.
    fn retire(&mut self, now: Now, out: &mut Vec<Output>) {
        self.is_retired = true;
        // First: whoever finds out that he is let go and still comes in would wait for an answer.
        out.push(Output::Retire);
        self.with_half(out, |half, cx| match half {
            Half::Leading(leader) => leader.close(cx),
            Half::Learning(learner) => learner.close(cx),
            Half::Settling(_) | Half::Looking => *half = Half::Settling(now),
        });
        self.on_events(now, out);
        let mut actions = Vec::new();
        self.arbiter.close_all(&mut actions);
        out.extend(actions.into_iter().map(Output::Election));
    }

    /// Lets the half in charge take an input.
    fn drive(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.with_half(out, |half, cx| half.step(now, input, cx));
        self.on_events(now, out);
    }

    fn on_events(&mut self, now: Now, out: &mut Vec<Output>) {
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Established { epoch } => {
                    self.role = Role::Leading { epoch };
                    self.election.set_peer_epoch(epoch);
                }
                Event::InStep { epoch } => {
                    if let Half::Learning(learner) = &self.half {
                        let leader = learner.leader();
                        self.role = match self.is_observer() {
                            true => Role::Observing { epoch, leader },
                            false => Role::Following { epoch, leader },
                        };
                    }
                    self.election.set_peer_epoch(epoch);
                }
                Event::EpochSeen(epoch) => self.epoch_min = self.epoch_min.max(epoch + 1),
                Event::MembersChanged => {
                    let mut actions = Vec::new();
                    self.arbiter.close_all(&mut actions);
                    out.extend(actions.into_iter().map(Output::Election));
                }
                Event::Designated(leader) => self.designated = Some(leader),
                Event::Lost(reason) => {
                    info!(reason, role = ?self.role, "looking for a leader again");
                    let delay = match self.designated {
                        None => self.observer_delay(),
                        Some(_) => Duration::ZERO,
                    };
                    self.half = Half::Settling(now.after(delay));
                    self.role = Role::Looking;
                    self.election.set_state(ServerState::Looking);
                    out.push(Output::Role(Role::Looking));
                }
            }
        }
    }

    /// The next election begins when the log is on disk: only what is there is voted with.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        let Half::Settling(not_before) = self.half else { return };
        if self.is_retired
            || now < not_before
            || self.history.durable() < self.history.last_logged()
        {
            return;
        }
        self.half = Half::Looking;
        self.history.keep_from(None);
        let (last, epoch) = (self.history.last_vote(), self.epochs.current);
        if let Some(leader) = self.designated.take() {
            let state = match () {
                () if leader == self.config.my_id => ServerState::Leading,
                () if self.is_observer() => ServerState::Observing,
                () => ServerState::Following,
            };
            self.election.designate(leader, last, epoch, state);
            return self.take_up(now, state, leader, out);
        }
        self.elect(now, out);
    }

    /// A new round of the election begins.
    fn elect(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut result = ElectionResult::default();
        let (last, epoch) = (self.history.last_vote(), self.epochs.current);
        self.election.start(now, last, epoch, &self.quorums, &mut result);
        self.on_election(now, result, out);
    }

    fn on_election_port(&mut self, now: Now, input: ElectionInput, out: &mut Vec<Output>) {
        let mut actions = Vec::new();
        let heard = self.arbiter.step(now, input, &mut actions);
        out.extend(actions.into_iter().map(Output::Election));
        let mut result = ElectionResult::default();
        match heard {
            Some(Heard::Message(from, payload)) => match Notification::decode(&payload) {
                Ok(message) => {
                    if let Some(text) = self.election.newer_config(&message, &self.quorums)
                        && self.take_over_config(now, &text, out)
                    {
                        return;
                    }
                    self.election.received(now, from, &message, &self.quorums, &mut result);
                    if message.state == ServerState::Looking {
                        self.voter_looks(now, from, out);
                    }
                }
                // The connection stays (ZOOKEEPER-3769).
                Err(error) => warn!(server = %from, %error, "a malformed notification"),
            },
            Some(Heard::Unreachable(server)) => {
                self.election.unreachable(now, server, &self.quorums, &mut result);
            }
            None => {}
        }
        self.on_election(now, result, out);
    }

    fn on_election(&mut self, now: Now, result: ElectionResult, out: &mut Vec<Output>) {
        let mut actions = Vec::new();
        for (to, message) in result.send {
            let mut payload = Vec::with_capacity(256);
            message.encode(&mut payload);
            self.arbiter.send(to, payload.into(), &mut actions);
        }
        out.extend(actions.into_iter().map(Output::Election));
        if let Some((state, vote)) = result.elected {
            self.take_up(now, state, vote.leader, out);
        }
    }

    /// Who waits for voters and hears that one looks again waits in vain (ZOOKEEPER-3109).
    fn voter_looks(&mut self, now: Now, voter: ServerId, out: &mut Vec<Output>) {
        if self.quorums.is_voter(voter) {
            self.with_half(out, |half, cx| {
                if let Half::Leading(leader) = half {
                    leader.voter_looks(now, cx);
                }
            });
            self.on_events(now, out);
        }
    }

    /// A voter knows of a newer configuration. True if that made the election begin anew.
    fn take_over_config(&mut self, now: Now, text: &str, out: &mut Vec<Output>) -> bool {
        let change = self.with_context(out, |cx| cx.activate(text, Through::Word));
        self.on_events(now, out);
        if change != Change::None {
            self.elect(now, out);
        }
        change != Change::None
    }

    /// It is known who leads.
    fn take_up(&mut self, now: Now, state: ServerState, leader: ServerId, out: &mut Vec<Output>) {
        if state == ServerState::Leading {
            let epoch_min = self.epoch_min;
            let leader = self.with_context(out, |cx| Leader::start(now, epoch_min, cx));
            self.half = Half::Leading(Box::new(leader));
        } else {
            let is_observer = self.is_observer();
            let learner = self.with_context(out, |cx| Learner::start(now, leader, is_observer, cx));
            self.half = Half::Learning(Box::new(learner));
        }
        self.on_events(now, out);
    }

    fn is_observer(&self) -> bool {
        self.quorums.current.is_observer(self.config.my_id)
    }

    /// An observer that lost its leader does not come back at once, so that many do not come together.
    fn observer_delay(&mut self) -> Duration {
        if !self.is_observer() || self.config.observer_delay_ms == 0 {
            return Duration::ZERO;
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let delay = (self.random >> 33) % u64::from(self.config.observer_delay_ms);
        Duration::from_millis(delay)
    }

    fn with_context<R>(
        &mut self,
        out: &mut Vec<Output>,
        work: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        work(&mut Context {
            config: &self.config,
            quorums: &mut self.quorums,
            history: &mut self.history,
            epochs: &mut self.epochs,
            out,
            events: &mut self.events,
            last_ticket: &mut self.last_ticket,
        })
    }

    fn with_half<R: Default>(
        &mut self,
        out: &mut Vec<Output>,
        work: impl FnOnce(&mut Half, &mut Context<'_>) -> R,
    ) -> R {
        let mut half = std::mem::replace(&mut self.half, Half::Looking);
        let result = self.with_context(out, |cx| work(&mut half, cx));
        self.half = half;
        result
    }
}

/// Who connects for elections, or has been connected to, to a server that is about to end.
fn turn_away(input: &ElectionInput, out: &mut Vec<Output>) {
    if let ElectionInput::Accepted(conn) | ElectionInput::Opened { conn, .. } = input {
        out.push(Output::Election(ElectionOutput::Close(*conn)));
    }
}

impl Half {
    fn step(&mut self, now: Now, input: Input, cx: &mut Context<'_>) {
        match self {
            Half::Leading(leader) => leader.step(now, input, cx),
            Half::Learning(learner) => learner.step(now, input, cx),
            Half::Settling(_) | Half::Looking => {}
        }
    }

    fn next_deadline(&self, cx: &Context<'_>) -> Option<Now> {
        match self {
            Half::Leading(leader) => leader.next_deadline(cx),
            Half::Learning(learner) => learner.next_deadline(cx),
            Half::Settling(_) | Half::Looking => None,
        }
    }
}
