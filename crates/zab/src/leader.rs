//! The leader half of a peer: it agrees on an epoch with a quorum, brings every learner to its own
//! history, and then proposes, commits and watches over the quorum. Source: quorum-protocol
//! reference, 3.4, 4, 5.3, 6.1.
//!
//! ```text
//!  Gathering --> Promising --> Asking --> Opening --> Syncing --> Established
//!   quorum of    acceptedEpoch  quorum of  currentEpoch  quorum of
//!   FOLLOWERINFO   durable      ACKEPOCH     durable     ACK(e.0)
//! ```
//!
//! Its whole log counts as committed, from the start; it becomes so when a quorum has acknowledged
//! NEWLEADER.

mod broadcast;
mod handler;
mod sync;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{PacketKind, QuorumPacket};
use oxikeeper_proto::time::Now;
use tracing::{info, warn};

use self::handler::{Handler, Stage};
use crate::context::{Context, Event};
use crate::history::Proposal;
use crate::io::{EpochKind, Input, LinkId, Output, Role, Ticket, ToLearner};
use crate::membership::Through;

/// Where a leader stands; see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Gathering,
    Promising(Ticket),
    Asking,
    Opening(Ticket),
    Syncing,
    Established,
    Ended,
}

/// See the module's head.
#[derive(Debug)]
pub struct Leader {
    phase: Phase,
    began: Now,
    /// The phase must be over by then, unless it waits for the disk.
    phase_until: Now,
    epoch: u32,
    /// Epoch and last zxid of this server: nobody who joins in time may be ahead.
    summary: (u32, Zxid),
    learners: BTreeMap<LinkId, Handler>,
    /// Voters that have told their accepted epoch.
    greeted: BTreeSet<ServerId>,
    /// Voters that have promised the epoch.
    promised: BTreeSet<ServerId>,
    /// Voters that have the initial history of the epoch on disk.
    synced: BTreeSet<ServerId>,
    /// Proposed and not committed, in order.
    outstanding: VecDeque<Proposal>,
    /// How far each voter has acknowledged. A log is a prefix: who has one has all before.
    acknowledged: BTreeMap<ServerId, Zxid>,
    last_proposed: Zxid,
    /// Syncs that wait for this transaction to be committed.
    syncs: VecDeque<(Zxid, LinkId)>,
    /// When the next piece is due for learners that are fed.
    feed_at: Now,
    half_tick_at: Now,
    is_half: bool,
    failed: Option<String>,
}

impl Leader {
    /// Opens the quorum port and begins to gather learners. The epoch will be `epoch_min` at least.
    pub fn start(now: Now, epoch_min: u32, cx: &mut Context<'_>) -> Leader {
        let last = cx.history.last_logged();
        cx.history.commit_to(last);
        cx.out.push(Output::Commit(last));
        cx.out.push(Output::Listen(true));
        let mut leader = Leader {
            phase: Phase::Gathering,
            began: now,
            phase_until: now.after(cx.config.init_time()),
            epoch: (cx.epochs.accepted + 1).max(epoch_min),
            summary: (cx.epochs.current, last),
            learners: BTreeMap::new(),
            greeted: BTreeSet::from([cx.config.my_id]),
            promised: BTreeSet::new(),
            synced: BTreeSet::new(),
            outstanding: VecDeque::new(),
            acknowledged: BTreeMap::new(),
            last_proposed: last,
            syncs: VecDeque::new(),
            feed_at: now,
            half_tick_at: now,
            is_half: false,
            failed: None,
        };
        leader.gathered(cx);
        leader
    }

    /// Whether transactions may be proposed.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Learners and what they are doing, for operators.
    pub fn learners(&self) -> impl Iterator<Item = (ServerId, bool, bool)> {
        let of = |handler: &Handler| (handler.server, handler.is_observer, handler.is_live());
        self.learners.values().map(of)
    }

    /// Takes one input. Those of unknown links, and tickets of others, have no effect.
    pub fn step(&mut self, now: Now, input: Input, cx: &mut Context<'_>) {
        match input {
            Input::Tick => self.tick(now, cx),
            Input::Accepted(link) => self.accepted(now, link, cx),
            Input::Packet(link, packet) => self.packet(now, link, &packet, cx),
            Input::Closed(link) => self.closed(link, cx),
            Input::EpochWritten(ticket) => self.epoch_written(now, ticket, cx),
            Input::LogDurable(_) => self.log_durable(cx),
            Input::LogRead { ticket, records } => self.log_read(now, ticket, records, cx),
            Input::SnapshotSent { link, zxid } => self.snapshot_sent(now, link, zxid, cx),
            Input::Propose(proposal) => self.propose(now, proposal, cx),
            Input::EpochIsFull => self.fail("the counter of the epoch is full", cx),
            Input::ToLearner(link, ToLearner::Synced) => self.sync_placed(link, cx),
            Input::ToLearner(link, ToLearner::Revalidated { session, valid }) => {
                if let Some(handler) = self.learners.get_mut(&link) {
                    handler.send(link, QuorumPacket::revalidate_reply(session, valid), cx);
                }
            }
            _ => {}
        }
    }

    /// When a tick is due.
    pub fn next_deadline(&self, cx: &Context<'_>) -> Option<Now> {
        let own = match self.phase {
            Phase::Ended => return None,
            Phase::Established => Some(self.half_tick_at),
            Phase::Promising(_) | Phase::Opening(_) => None,
            _ => Some(self.phase_until),
        };
        let of_learners = self.learners.values().filter_map(|handler| handler.deadline(cx)).min();
        own.into_iter().chain(of_learners).chain(self.next_feed()).min()
    }

    /// Gives up, for a reason from outside.
    pub fn close(&mut self, cx: &mut Context<'_>) {
        self.fail("told to", cx);
    }

    /// A voter is looking for a leader. If that many milliseconds have passed in which no quorum has come,
    /// voters have changed their minds, and others may be elected sooner.
    pub fn voter_looks(&mut self, now: Now, cx: &mut Context<'_>) {
        let Some(patience) = cx.config.epoch_wait_ms else { return };
        let until = self.began.after(Duration::from_millis(u64::from(patience)));
        if self.phase == Phase::Gathering && now >= until {
            self.fail("a voter looks for a leader again, and no quorum has come", cx);
        }
    }

    fn tick(&mut self, now: Now, cx: &mut Context<'_>) {
        let late = |(link, handler): (&LinkId, &Handler)| {
            handler.deadline(cx).is_some_and(|at| now >= at).then_some(*link)
        };
        let late: Vec<LinkId> = self.learners.iter().filter_map(late).collect();
        for link in late {
            self.drop_learner(link, "was silent for too long", cx);
        }
        self.feed_all(now, cx);
        match self.phase {
            Phase::Established => self.half_ticks(now, cx),
            Phase::Gathering | Phase::Asking | Phase::Syncing if now >= self.phase_until => {
                self.fail("no quorum of learners came in time", cx);
            }
            _ => {}
        }
    }

    fn accepted(&mut self, now: Now, link: LinkId, cx: &mut Context<'_>) {
        if self.failed.is_some() || self.phase == Phase::Ended {
            cx.out.push(Output::CloseLink(link));
        } else {
            self.learners.insert(link, Handler::new(now, cx));
        }
    }

    fn packet(&mut self, now: Now, link: LinkId, packet: &QuorumPacket, cx: &mut Context<'_>) {
        let Some(handler) = self.learners.get_mut(&link) else { return };
        handler.heard(now, cx);
        let done = match handler.stage {
            Stage::Silent => self.greeting(link, packet, cx),
            Stage::Answering => self.epoch_answer(now, link, packet, cx),
            Stage::Acknowledging => self.first_ack(now, link, packet, cx),
            Stage::Live => self.live_packet(now, link, packet, cx),
            // It has nothing to say while it waits for us.
            _ => Err(format!("{:?} out of turn", packet.kind)),
        };
        if let Err(reason) = done {
            self.drop_learner(link, &reason, cx);
        }
    }

    /// FOLLOWERINFO or OBSERVERINFO.
    fn greeting(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let is_observer = match packet.kind {
            PacketKind::FollowerInfo => false,
            PacketKind::ObserverInfo => true,
            kind => return Err(format!("{kind:?} instead of its greeting")),
        };
        let info = packet.learner_info().map_err(|error| error.to_string())?;
        let (server, accepted) = (info.server, packet.zxid.epoch());
        if server == cx.config.my_id {
            return Err("has our own id: two servers have the same myid".into());
        }
        if info.config_version > cx.quorums.current.version().to_wire() {
            return Err("knows a newer configuration than we do".into());
        }
        let earlier = self
            .learners
            .iter()
            .find(|(_, handler)| handler.server == server && handler.stage != Stage::Silent);
        if let Some((earlier, _)) = earlier {
            let earlier = *earlier;
            self.drop_learner(earlier, "has connected anew", cx);
        }
        let Some(handler) = self.learners.get_mut(&link) else { return Ok(()) };
        handler.server = server;
        handler.is_observer = is_observer;
        let is_voter = cx.quorums.is_voter(server);
        match self.phase {
            Phase::Gathering => {
                handler.stage = Stage::Greeted;
                self.epoch = self.epoch.max(accepted.saturating_add(1));
                if is_voter {
                    self.greeted.insert(server);
                }
                self.gathered(cx);
            }
            Phase::Promising(_) => handler.stage = Stage::Greeted,
            _ if is_voter && accepted > self.epoch => {
                // It can never join this epoch; Apache leaves it outside for as long as we lead.
                cx.events.push(Event::EpochSeen(accepted));
                self.fail("a voter has promised a newer epoch", cx);
            }
            _ => {
                handler.stage = Stage::Answering;
                handler.send(link, QuorumPacket::leader_info(self.epoch), cx);
            }
        }
        Ok(())
    }

    /// With a quorum the epoch is fixed: first on the own disk, then everywhere.
    fn gathered(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Gathering && cx.quorums.current.contains_quorum(&self.greeted) {
            let (epoch, ticket) = (self.epoch, cx.ticket());
            cx.out.push(Output::WriteEpoch { kind: EpochKind::Accepted, epoch, ticket });
            self.phase = Phase::Promising(ticket);
        }
    }

    fn epoch_written(&mut self, now: Now, ticket: Ticket, cx: &mut Context<'_>) {
        match self.phase {
            Phase::Promising(asked) if asked == ticket => {
                cx.epochs.accepted = self.epoch;
                cx.propose_first_config(self.epoch);
                self.promised.insert(cx.config.my_id);
                self.enter(Phase::Asking, now, cx);
                for (link, handler) in &mut self.learners {
                    if handler.stage == Stage::Greeted {
                        handler.stage = Stage::Answering;
                        handler.send(*link, QuorumPacket::leader_info(self.epoch), cx);
                    }
                }
                if !self.end_if_failed(cx) {
                    self.asked(cx);
                }
            }
            Phase::Opening(asked) if asked == ticket => {
                cx.epochs.current = self.epoch;
                self.synced.insert(cx.config.my_id);
                self.enter(Phase::Syncing, now, cx);
                if self.end_if_failed(cx) {
                    return;
                }
                info!(epoch = self.epoch, zxid = %cx.history.last_committed(), "the epoch begins");
                let waiting: Vec<LinkId> = self
                    .learners
                    .iter()
                    .filter(|(_, handler)| matches!(handler.stage, Stage::Promised(_)))
                    .map(|(link, _)| *link)
                    .collect();
                for link in waiting {
                    self.begin_sync(now, link, cx);
                }
                self.opened(now, cx);
            }
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase, now: Now, cx: &Context<'_>) {
        self.phase = phase;
        self.phase_until = now.after(cx.config.init_time());
    }

    /// ACKEPOCH.
    fn epoch_answer(
        &mut self,
        now: Now,
        link: LinkId,
        packet: &QuorumPacket,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        if packet.kind != PacketKind::AckEpoch {
            return Err(format!("{:?} instead of ACKEPOCH", packet.kind));
        }
        let current = packet.current_epoch().map_err(|error| error.to_string())?;
        let Some(handler) = self.learners.get_mut(&link) else { return Ok(()) };
        handler.stage = Stage::Promised(packet.zxid);
        let server = handler.server;
        if self.phase == Phase::Asking {
            if let Some(current) = current {
                if (current, packet.zxid) > self.summary && packet.zxid != QuorumPacket::NO_ZXID {
                    return Err(format!(
                        "is ahead of us: epoch {current} and {}, here {} and {}",
                        packet.zxid, self.summary.0, self.summary.1
                    ));
                }
                if cx.quorums.is_voter(server) && packet.zxid != QuorumPacket::NO_ZXID {
                    self.promised.insert(server);
                }
            }
            self.asked(cx);
        } else if matches!(self.phase, Phase::Syncing | Phase::Established) {
            self.begin_sync(now, link, cx);
        }
        Ok(())
    }

    fn asked(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Asking && cx.quorums.current.contains_quorum(&self.promised) {
            let (epoch, ticket) = (self.epoch, cx.ticket());
            cx.out.push(Output::WriteEpoch { kind: EpochKind::Current, epoch, ticket });
            self.phase = Phase::Opening(ticket);
        }
    }

    /// The first word of a learner that was brought to our history must be that it has it.
    fn first_ack(
        &mut self,
        now: Now,
        link: LinkId,
        packet: &QuorumPacket,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        if packet.kind != PacketKind::Ack {
            return Err(format!("{:?} instead of the ACK of NEWLEADER", packet.kind));
        }
        if packet.zxid != Zxid::from_parts(self.epoch, 0) {
            return Err(format!("acknowledges {} instead of NEWLEADER", packet.zxid));
        }
        let Some(handler) = self.learners.get_mut(&link) else { return Ok(()) };
        handler.stage = Stage::Synced;
        self.synced.insert(handler.server);
        if self.phase == Phase::Established {
            self.welcome(now, link, cx);
        } else {
            self.opened(now, cx);
        }
        Ok(())
    }

    /// A quorum has the initial history: it is committed for good, and the service begins.
    fn opened(&mut self, now: Now, cx: &mut Context<'_>) {
        if self.phase != Phase::Syncing || !cx.quorums.contain_quorum(&self.synced) {
            return;
        }
        self.phase = Phase::Established;
        self.last_proposed = Zxid::from_parts(self.epoch, 0);
        self.half_tick_at = now.after(half_tick(cx));
        cx.events.push(Event::Established { epoch: self.epoch });
        // What another leader has proposed, a quorum of both has taken over with NEWLEADER.
        if let Some(proposed) = &cx.quorums.proposed {
            let text = String::from_utf8_lossy(proposed.text()).into_owned();
            cx.activate(&text, Through::Word);
        }
        cx.out.push(Output::Role(Role::Leading { epoch: self.epoch }));
        let synced: Vec<LinkId> = self
            .learners
            .iter()
            .filter(|(_, handler)| handler.stage == Stage::Synced)
            .map(|(link, _)| *link)
            .collect();
        for link in synced {
            self.welcome(now, link, cx);
        }
        if !cx.quorums.current.is_voter(cx.config.my_id) {
            self.fail("the new configuration gives this server no vote", cx);
        }
    }

    /// UPTODATE: the learner serves clients from here on.
    fn welcome(&mut self, now: Now, link: LinkId, cx: &mut Context<'_>) {
        let Some(handler) = self.learners.get_mut(&link) else { return };
        handler.stage = Stage::Live;
        handler.heard(now, cx);
        handler.send(link, QuorumPacket::up_to_date(), cx);
        cx.out.push(Output::Learner { link, server: handler.server, present: true });
    }

    fn closed(&mut self, link: LinkId, cx: &mut Context<'_>) {
        if let Some(handler) = self.learners.remove(&link) {
            self.gone(link, &handler, "closed the connection", cx);
        }
    }

    fn drop_learner(&mut self, link: LinkId, reason: &str, cx: &mut Context<'_>) {
        if let Some(handler) = self.learners.remove(&link) {
            cx.out.push(Output::CloseLink(link));
            self.gone(link, &handler, reason, cx);
        }
    }

    fn gone(&mut self, link: LinkId, handler: &Handler, reason: &str, cx: &mut Context<'_>) {
        self.syncs.retain(|(_, waiting)| *waiting != link);
        self.keep_for_readers(cx);
        let server = handler.server;
        if handler.is_live() {
            warn!(%server, reason, "a learner is gone");
            cx.out.push(Output::Learner { link, server, present: false });
        } else {
            info!(%server, reason, "a learner did not get in step");
        }
        // Until the epoch is fixed, only who is there counts.
        if self.phase == Phase::Gathering {
            self.greeted.remove(&server);
            self.greeted.insert(cx.config.my_id);
        }
    }

    fn fail(&mut self, reason: &str, cx: &mut Context<'_>) {
        if self.phase == Phase::Ended || self.failed.is_some() {
            return;
        }
        self.failed = Some(reason.to_owned());
        if !matches!(self.phase, Phase::Promising(_) | Phase::Opening(_)) {
            self.end_if_failed(cx);
        }
    }

    /// Ends, unless the disk is still writing an epoch.
    fn end_if_failed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(reason) = self.failed.clone() else { return false };
        self.phase = Phase::Ended;
        cx.out.push(Output::Listen(false));
        for (link, _) in std::mem::take(&mut self.learners) {
            cx.out.push(Output::CloseLink(link));
        }
        cx.events.push(Event::Lost(reason));
        true
    }
}

/// Between two pings.
fn half_tick(cx: &Context<'_>) -> Duration {
    Duration::from_millis((u64::from(cx.config.tick_ms) / 2).max(1))
}
