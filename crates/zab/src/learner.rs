//! The learner half of a peer: it connects to the leader that was elected, promises its epoch, takes
//! over its history, and logs and commits what it proposes. Source: quorum-protocol reference, 3,
//! 4.7, 5.4, 6.2.
//!
//! ```text
//!  Connecting -> Greeting -> Promising -> Awaiting -> Truncating? -> Syncing -> Persisting -> Waiting -> InStep
//!                  |            |            |                          |           |            |
//!         FOLLOWERINFO  acceptedEpoch     ACKEPOCH            log or snapshot durable,   ACK(e.0)    UPTODATE
//!                                                             then currentEpoch durable
//! ```
//!
//! Whatever fails ends in [`Event::Lost`], but not before the disk has finished what it was asked
//! for: the next election begins with a history that nobody is changing.

mod broadcast;
mod sync;

use std::collections::VecDeque;
use std::time::Duration;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{LearnerInfo, PacketKind, QuorumPacket};
use oxikeeper_proto::time::Now;
use tracing::{debug, info, warn};

use self::broadcast::Broadcast;
use self::sync::Sync;
use crate::context::{Context, Event};
use crate::io::{EpochKind, FromLearner, Input, LinkId, Output, Role, Ticket};
use crate::membership::{Change, Through};
use crate::mutation::{Mutation, mutated};

/// Attempts to connect; the elected leader may open its port a moment after its learners come. Apache
/// makes five, 100 ms apart, and takes about as long until it gives up.
const ATTEMPTS_MAX: u32 = 10;
/// Behind the first attempt, and twice as long behind each further one.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(5);
/// The longest of them; `leaderConnectDelayDuringRetryMs`.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(100);

/// Where a learner stands; see the module's head.
#[derive(Debug)]
enum Phase {
    Connecting {
        retry_at: Option<Now>,
    },
    Greeting,
    Promising {
        ticket: Ticket,
        epoch: u32,
    },
    Awaiting,
    Truncating {
        ticket: Ticket,
        to: Zxid,
    },
    Syncing(Sync),
    /// NEWLEADER has come: what it stands for goes to disk.
    Persisting {
        sync: Sync,
        step: Persisting,
    },
    /// NEWLEADER is acknowledged.
    Waiting(Sync),
    InStep(Broadcast),
    Ended,
}

/// What of NEWLEADER is on its way to the disk. Nothing may overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persisting {
    /// The log, up to there.
    Log(Zxid),
    /// The snapshot received.
    Snapshot(Ticket),
    /// `currentEpoch`.
    Epoch(Ticket),
}

/// See the module's head.
#[derive(Debug)]
pub struct Learner {
    leader: ServerId,
    is_observer: bool,
    link: Option<LinkId>,
    phase: Phase,
    attempts: u32,
    /// Connecting must succeed until then.
    connect_until: Now,
    /// The leader has been heard last.
    heard_at: Now,
    /// The epoch of the leader, once it is known.
    epoch: u32,
    /// The last zxid of the history reported to the leader.
    reported: Zxid,
    /// No cut leads to the leader's history.
    wants_snapshot: bool,
    /// What came while the disk was busy.
    inbox: VecDeque<QuorumPacket>,
    /// A configuration that NEWLEADER has brought.
    config: Option<String>,
    /// It is over, as soon as the disk is done.
    failed: Option<String>,
}

impl Learner {
    /// Begins to connect.
    pub fn start(now: Now, leader: ServerId, is_observer: bool, cx: &mut Context<'_>) -> Learner {
        cx.out.push(Output::Connect(leader));
        Learner {
            leader,
            is_observer,
            link: None,
            phase: Phase::Connecting { retry_at: None },
            attempts: 1,
            connect_until: now.after(cx.config.connect_time()),
            heard_at: now,
            epoch: 0,
            reported: cx.history.last_vote(),
            wants_snapshot: false,
            inbox: VecDeque::new(),
            config: None,
            failed: None,
        }
    }

    /// Whom it learns from.
    pub fn leader(&self) -> ServerId {
        self.leader
    }

    /// Takes one input. Those of other links, and tickets of others, have no effect.
    pub fn step(&mut self, now: Now, input: Input, cx: &mut Context<'_>) {
        match input {
            Input::Tick => self.tick(now, cx),
            // An attempt for an earlier leader may end late.
            Input::Connected { link, to } if to != self.leader => {
                cx.out.push(Output::CloseLink(link));
            }
            Input::Connected { link, .. } => self.connected(now, link, cx),
            Input::ConnectFailed { to, .. } if to == self.leader => self.connect_failed(now, cx),
            Input::Packet(link, packet) if self.link == Some(link) => {
                self.heard_at = now;
                self.inbox.push_back(packet);
                self.read_inbox(now, cx);
            }
            Input::SnapshotProgress(link) if self.link == Some(link) => self.heard_at = now,
            Input::SnapshotReceived(link) if self.link == Some(link) => {
                self.heard_at = now;
                if let Phase::Syncing(sync) = &mut self.phase {
                    sync.received();
                }
                self.read_inbox(now, cx);
            }
            Input::Closed(link) if self.link == Some(link) => {
                self.link = None;
                self.fail("the leader closed the connection", cx);
            }
            Input::EpochWritten(ticket) => self.epoch_written(now, ticket, cx),
            Input::Truncated { ticket, last, tail } => {
                if let Phase::Truncating { ticket: asked, to } = self.phase
                    && asked == ticket
                {
                    cx.history.reset(last, tail);
                    self.phase = Phase::Syncing(Sync::of_log(last));
                    if last != to {
                        // The leader takes it for granted that we have what it cuts us back to.
                        self.failed.get_or_insert(format!("the log had no {to} to be cut to"));
                        if let Some(link) = self.link.take() {
                            cx.out.push(Output::CloseLink(link));
                        }
                    }
                    self.disk_done(now, cx);
                }
            }
            Input::TruncateRefused { ticket } => self.truncate_refused(now, ticket, cx),
            Input::SnapshotInstalled { ticket, zxid } => self.installed(now, ticket, zxid, cx),
            Input::LogDurable(_) => self.log_durable(now, cx),
            Input::ToLeader(word) => self.say(word, cx),
            _ => {}
        }
    }

    /// When a tick is due.
    pub fn next_deadline(&self, cx: &Context<'_>) -> Option<Now> {
        match &self.phase {
            Phase::Connecting { retry_at: Some(at) } => Some((*at).min(self.connect_until)),
            Phase::Connecting { retry_at: None } => Some(self.connect_until),
            Phase::Ended => None,
            _ if self.is_disk_busy() => None,
            _ => Some(self.heard_at.after(self.patience(cx))),
        }
    }

    /// Gives up, for a reason from outside.
    pub fn close(&mut self, cx: &mut Context<'_>) {
        self.fail("told to", cx);
    }

    fn patience(&self, cx: &Context<'_>) -> Duration {
        match self.phase {
            Phase::Waiting(_) | Phase::InStep(_) => cx.config.sync_time(),
            _ => cx.config.init_time(),
        }
    }

    /// While the disk works for the learner, packets wait, and the leader's silence is not measured.
    fn is_disk_busy(&self) -> bool {
        matches!(
            self.phase,
            Phase::Promising { .. } | Phase::Truncating { .. } | Phase::Persisting { .. }
        )
    }

    fn tick(&mut self, now: Now, cx: &mut Context<'_>) {
        if let Phase::Connecting { retry_at } = &mut self.phase {
            if now >= self.connect_until {
                self.fail("could not connect in time", cx);
            } else if retry_at.is_some_and(|at| now >= at) {
                *retry_at = None;
                self.attempts += 1;
                cx.out.push(Output::Connect(self.leader));
            }
        } else if !self.is_disk_busy() && now >= self.heard_at.after(self.patience(cx)) {
            self.fail("the leader was silent for too long", cx);
        }
    }

    fn connected(&mut self, now: Now, link: LinkId, cx: &mut Context<'_>) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            cx.out.push(Output::CloseLink(link));
            return;
        }
        self.link = Some(link);
        self.heard_at = now;
        self.phase = Phase::Greeting;
        let version = cx.quorums.current.version().to_wire();
        let info = LearnerInfo::new(cx.config.my_id, version);
        let accepted = cx.epochs.accepted;
        self.send(
            if self.is_observer {
                QuorumPacket::observer_info(accepted, &info)
            } else {
                QuorumPacket::follower_info(accepted, &info)
            },
            cx,
        );
    }

    fn connect_failed(&mut self, now: Now, cx: &mut Context<'_>) {
        let Phase::Connecting { retry_at } = &mut self.phase else { return };
        if self.attempts >= ATTEMPTS_MAX {
            self.fail("could not connect", cx);
        } else {
            let delay = RETRY_DELAY_MIN * (1 << (self.attempts - 1));
            *retry_at = Some(now.after(delay.min(RETRY_DELAY_MAX)));
        }
    }

    /// Handles packets as far as the disk permits.
    fn read_inbox(&mut self, now: Now, cx: &mut Context<'_>) {
        while !self.is_disk_busy()
            && !matches!(self.phase, Phase::Ended)
            && !matches!(&self.phase, Phase::Syncing(sync) if sync.is_receiving())
            && let Some(packet) = self.inbox.pop_front()
        {
            if let Err(reason) = self.packet(now, &packet, cx) {
                self.fail(&format!("{:?} {}: {reason}", packet.kind, packet.zxid), cx);
            }
        }
    }

    fn packet(
        &mut self,
        now: Now,
        packet: &QuorumPacket,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        match &mut self.phase {
            Phase::Greeting => self.leader_info(now, packet, cx),
            Phase::Awaiting => self.sync_header(packet, cx),
            Phase::Syncing(sync) if packet.kind == PacketKind::NewLeader => {
                if packet.zxid != Zxid::from_parts(self.epoch, 0) {
                    return Err(format!("the leader's epoch is {}", self.epoch));
                }
                self.config = packet.config().map(|text| String::from_utf8_lossy(text).into());
                if let Some(text) = &self.config {
                    cx.see_leaders_config(text);
                }
                let sync = std::mem::take(sync);
                self.persist(now, sync, cx);
                Ok(())
            }
            Phase::Syncing(sync) => sync.before_new_leader(packet, self.leader, cx),
            Phase::Waiting(sync) if packet.kind == PacketKind::UpToDate => {
                let sync = std::mem::take(sync);
                self.up_to_date(now, sync, cx)
            }
            Phase::Waiting(sync) => sync.after_new_leader(packet, self.leader, cx),
            Phase::InStep(broadcast) => {
                let link = self.link.ok_or("no link")?;
                broadcast.packet(packet, link, cx)
            }
            _ => Ok(()),
        }
    }

    /// LEADERINFO: a newer epoch is promised, durably, before it is acknowledged.
    fn leader_info(
        &mut self,
        now: Now,
        packet: &QuorumPacket,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        if packet.kind != PacketKind::LeaderInfo {
            return Err("LEADERINFO has to come first".into());
        }
        let epoch = packet.zxid.epoch();
        self.epoch = epoch;
        if epoch < cx.epochs.accepted {
            return Err(format!("epoch {} was promised to another", cx.epochs.accepted));
        }
        if epoch == cx.epochs.accepted && !mutated(Mutation::DoubleEpochAnswer) {
            self.ack_epoch(None, cx);
        } else {
            let ticket = cx.ticket();
            cx.out.push(Output::WriteEpoch { kind: EpochKind::Accepted, epoch, ticket });
            self.phase = Phase::Promising { ticket, epoch };
        }
        debug!(epoch, leader = %self.leader, at = now.millis(), "the leader's epoch");
        Ok(())
    }

    fn ack_epoch(&mut self, current: Option<u32>, cx: &mut Context<'_>) {
        self.reported = match self.wants_snapshot {
            true => QuorumPacket::NO_ZXID,
            false => cx.history.last_vote(),
        };
        self.phase = Phase::Awaiting;
        self.send(QuorumPacket::ack_epoch(self.reported, current), cx);
    }

    fn epoch_written(&mut self, now: Now, ticket: Ticket, cx: &mut Context<'_>) {
        match &mut self.phase {
            Phase::Promising { ticket: asked, epoch } if *asked == ticket => {
                cx.epochs.accepted = *epoch;
                let current = cx.epochs.current;
                self.ack_epoch(Some(current), cx);
            }
            Phase::Persisting { sync, step: Persisting::Epoch(asked) } if *asked == ticket => {
                cx.epochs.current = self.epoch;
                let sync = std::mem::take(sync);
                self.ack_new_leader(sync, cx);
            }
            _ => return,
        }
        self.disk_done(now, cx);
    }

    /// DIFF, TRUNC or SNAP: how the leader's history and ours meet.
    fn sync_header(&mut self, packet: &QuorumPacket, cx: &mut Context<'_>) -> Result<(), String> {
        let link = self.link.ok_or("no link")?;
        match packet.kind {
            PacketKind::Diff if self.reported == QuorumPacket::NO_ZXID => {
                return Err("a DIFF, and there is nothing here that it could follow".into());
            }
            PacketKind::Diff => {
                // The leader has everything we reported: it is committed.
                cx.history.commit_to(self.reported);
                cx.out.push(Output::Commit(self.reported));
                self.phase = Phase::Syncing(Sync::of_log(self.reported));
            }
            PacketKind::Trunc if mutated(Mutation::SkipTrunc) => {
                self.phase = Phase::Syncing(Sync::of_log(self.reported));
            }
            PacketKind::Trunc => {
                let (to, ticket) = (packet.zxid, cx.ticket());
                info!(%to, from = %self.reported, "the log goes beyond the leader's history; cutting it");
                cx.out.push(Output::Truncate { to, ticket });
                self.phase = Phase::Truncating { ticket, to };
            }
            PacketKind::Snap => {
                cx.out.push(Output::ReceiveSnapshot { link, zxid: packet.zxid });
                self.phase = Phase::Syncing(Sync::of_snapshot(packet.zxid));
            }
            _ => return Err("DIFF, TRUNC or SNAP has to come".into()),
        }
        Ok(())
    }

    /// NEWLEADER: first the history, then the epoch, then the word about it (ZOOKEEPER-3023, 3911,
    /// 4643, 4646, 4785).
    fn persist(&mut self, now: Now, sync: Sync, cx: &mut Context<'_>) {
        let step = if let Some(zxid) = sync.snapshot() {
            let ticket = cx.ticket();
            cx.out.push(Output::InstallSnapshot { zxid, ticket });
            Persisting::Snapshot(ticket)
        } else {
            Persisting::Log(cx.history.last_logged())
        };
        if mutated(Mutation::AckNewLeaderBeforeSync) {
            cx.epochs.current = self.epoch;
            return self.ack_new_leader(sync, cx);
        }
        if mutated(Mutation::EpochBeforeHistory) {
            return self.write_current_epoch(now, sync, cx);
        }
        self.phase = Phase::Persisting { sync, step };
        self.log_durable(now, cx);
    }

    fn installed(&mut self, now: Now, ticket: Ticket, zxid: Zxid, cx: &mut Context<'_>) {
        if let Phase::Persisting { sync, step: Persisting::Snapshot(asked) } = &mut self.phase
            && *asked == ticket
        {
            let mut sync = std::mem::take(sync);
            sync.installed();
            cx.history.reset(zxid, Vec::new());
            self.write_current_epoch(now, sync, cx);
        }
    }

    /// A snapshot of a leader that never got its quorum holds what must go: only another snapshot helps.
    fn truncate_refused(&mut self, now: Now, ticket: Ticket, cx: &mut Context<'_>) {
        if let Phase::Truncating { ticket: asked, to } = self.phase
            && asked == ticket
        {
            warn!(%to, "the oldest snapshot here goes beyond the leader's history; asking for a snapshot");
            if let Some(link) = self.link.take() {
                cx.out.push(Output::CloseLink(link));
            }
            if self.failed.is_some() {
                self.phase = Phase::Syncing(Sync::of_log(cx.history.last_logged()));
                return self.disk_done(now, cx);
            }
            // The same leader again, without an election: it has our promise, by which its history is the
            // newer one. To others this server tells what it has, as long as nothing has replaced it.
            self.wants_snapshot = true;
            self.inbox.clear();
            self.config = None;
            self.attempts = 1;
            self.connect_until = now.after(cx.config.connect_time());
            self.phase = Phase::Connecting { retry_at: None };
            cx.out.push(Output::Connect(self.leader));
        }
    }

    fn write_current_epoch(&mut self, now: Now, sync: Sync, cx: &mut Context<'_>) {
        // The file's completion says that the configuration is on disk, too.
        let is_written = cx.epochs.current == self.epoch && !cx.config.reconfig_enabled;
        if is_written || self.failed.is_some() {
            self.ack_new_leader(sync, cx);
            return self.disk_done(now, cx);
        }
        let ticket = cx.ticket();
        let epoch = self.epoch;
        cx.out.push(Output::WriteEpoch { kind: EpochKind::Current, epoch, ticket });
        self.phase = Phase::Persisting { sync, step: Persisting::Epoch(ticket) };
    }

    fn ack_new_leader(&mut self, sync: Sync, cx: &mut Context<'_>) {
        self.phase = Phase::Waiting(sync);
        self.send(QuorumPacket::ack(Zxid::from_parts(self.epoch, 0)), cx);
    }

    fn log_durable(&mut self, now: Now, cx: &mut Context<'_>) {
        match &mut self.phase {
            Phase::Persisting { sync, step: Persisting::Log(zxid) }
                if cx.history.durable() >= *zxid =>
            {
                let sync = std::mem::take(sync);
                self.write_current_epoch(now, sync, cx);
            }
            Phase::InStep(broadcast) => {
                if let Some(link) = self.link {
                    broadcast.acknowledge(link, cx);
                }
            }
            _ => {}
        }
    }

    fn up_to_date(&mut self, now: Now, sync: Sync, cx: &mut Context<'_>) -> Result<(), String> {
        if let Some(text) = self.config.take()
            && cx.activate(&text, Through::Leader(self.leader)) == Change::Place
        {
            return Err("the membership has changed".into());
        }
        // Apache sends a second one, and leaders pass over it.
        self.send(QuorumPacket::ack(Zxid::from_parts(self.epoch, 0)), cx);
        let (epoch, leader) = (self.epoch, self.leader);
        cx.events.push(Event::InStep { epoch });
        cx.out.push(Output::Role(if self.is_observer {
            Role::Observing { epoch, leader }
        } else {
            Role::Following { epoch, leader }
        }));
        let mut broadcast = Broadcast::new(leader, self.is_observer);
        for proposal in sync.waiting() {
            broadcast.log(proposal, cx);
        }
        for zxid in sync.committed() {
            broadcast.commit(zxid, cx);
        }
        self.phase = Phase::InStep(broadcast);
        self.log_durable(now, cx);
        Ok(())
    }

    fn say(&mut self, word: FromLearner, cx: &mut Context<'_>) {
        let (Phase::InStep(broadcast), Some(link)) = (&mut self.phase, self.link) else { return };
        let packet = match word {
            FromLearner::Request(request) => QuorumPacket::request(&request),
            FromLearner::Revalidate { session, timeout_ms } => {
                QuorumPacket::revalidate(session, timeout_ms)
            }
            FromLearner::Touches(touches) => match broadcast.next_ping() {
                Some(zxid) => QuorumPacket::ping_reply(zxid, &touches),
                None => return,
            },
        };
        cx.out.push(Output::Send(link, packet));
    }

    fn send(&mut self, packet: QuorumPacket, cx: &mut Context<'_>) {
        if let Some(link) = self.link {
            cx.out.push(Output::Send(link, packet));
        }
    }

    /// The disk has done something for the learner: who has failed meanwhile ends now.
    fn disk_done(&mut self, now: Now, cx: &mut Context<'_>) {
        self.heard_at = now;
        if self.failed.is_some() {
            self.end(cx);
        } else {
            self.read_inbox(now, cx);
        }
    }

    fn fail(&mut self, reason: &str, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Ended) || self.failed.is_some() {
            return;
        }
        self.failed = Some(reason.to_owned());
        if let Some(link) = self.link.take() {
            cx.out.push(Output::CloseLink(link));
        }
        // A log that is being written is waited for by the peer.
        let waits_for_log =
            matches!(self.phase, Phase::Persisting { step: Persisting::Log(_), .. });
        if !self.is_disk_busy() || waits_for_log {
            self.end(cx);
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        if let Phase::Syncing(sync) | Phase::Persisting { sync, .. } | Phase::Waiting(sync) =
            &self.phase
            && sync.snapshot().is_some()
        {
            cx.out.push(Output::AbandonSnapshot);
        }
        self.phase = Phase::Ended;
        cx.events.push(Event::Lost(self.failed.clone().unwrap_or_default()));
    }
}
