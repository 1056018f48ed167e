//! What a leader knows of one learner's connection.

use std::collections::VecDeque;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{PacketKind, QuorumPacket};
use oxikeeper_proto::time::Now;

use crate::context::Context;
use crate::history::Proposal;
use crate::io::{LinkId, Output, Ticket};

/// How far a learner has come. What it may say depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Has not said who it is.
    Silent,
    /// Waits for LEADERINFO.
    Greeted,
    /// Has to send ACKEPOCH.
    Answering,
    /// Has sent it, with its last zxid; waits for the epoch to begin.
    Promised(Zxid),
    /// The log on disk is being read for it, from its last transaction to one that was in memory then.
    Reading { ticket: Ticket, from: Zxid, to: Zxid },
    /// What it has missed is sent, a piece at a time; the last of it is `to`.
    Feeding { to: Zxid },
    /// A snapshot is on its way to it.
    Receiving,
    /// Has to acknowledge NEWLEADER.
    Acknowledging,
    /// Has done so; waits for the quorum.
    Synced,
    /// In step.
    Live,
}

/// The connection of one learner.
#[derive(Debug)]
pub(super) struct Handler {
    pub server: ServerId,
    pub is_observer: bool,
    pub stage: Stage,
    /// A snapshot is, or was, how it got our history; counted against the limit.
    pub by_snapshot: bool,
    /// What it has missed and was not sent yet.
    pub missed: VecDeque<Proposal>,
    /// What waits behind a snapshot, or behind that.
    held: VecDeque<QuorumPacket>,
    heard_at: Now,
    /// It counts as present until then.
    present_until: Now,
    /// The oldest proposal without an answer, and when it was sent.
    unanswered: Option<(Zxid, Now)>,
    /// The newest proposal sent after that.
    newest: Option<(Zxid, Now)>,
}

impl Handler {
    pub fn new(now: Now, cx: &Context<'_>) -> Handler {
        Handler {
            server: ServerId(-1),
            is_observer: false,
            stage: Stage::Silent,
            by_snapshot: false,
            missed: VecDeque::new(),
            held: VecDeque::new(),
            heard_at: now,
            present_until: now.after(cx.config.init_time() + cx.config.sync_time()),
            unanswered: None,
            newest: None,
        }
    }

    pub fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// Whether it gets what is proposed and committed from now on.
    pub fn is_registered(&self) -> bool {
        self.has_to_wait()
            || matches!(self.stage, Stage::Acknowledging | Stage::Synced | Stage::Live)
    }

    /// Whether what is proposed and committed waits behind what it has missed.
    fn has_to_wait(&self) -> bool {
        matches!(self.stage, Stage::Feeding { .. } | Stage::Receiving)
    }

    /// Whether it is being brought to our history.
    pub fn is_syncing(&self) -> bool {
        self.has_to_wait() || matches!(self.stage, Stage::Reading { .. } | Stage::Acknowledging)
    }

    /// It has said something.
    pub fn heard(&mut self, now: Now, cx: &Context<'_>) {
        self.heard_at = now;
        if matches!(self.stage, Stage::Synced | Stage::Live) {
            self.present_until = now.after(cx.config.sync_time());
        }
    }

    /// Whether it counts in the check of the quorum.
    pub fn is_present(&self, now: Now) -> bool {
        now <= self.present_until
    }

    /// When its silence has lasted too long. Who waits for us, or is busy with a snapshot, may be
    /// silent.
    pub fn deadline(&self, cx: &Context<'_>) -> Option<Now> {
        match self.stage {
            Stage::Silent | Stage::Answering | Stage::Acknowledging => {
                Some(self.heard_at.after(cx.config.init_time()))
            }
            Stage::Live => {
                let limit = cx.config.sync_time();
                let unanswered = self.unanswered.map(|(_, since)| since.after(limit));
                unanswered.into_iter().chain([self.heard_at.after(limit)]).min()
            }
            _ => None,
        }
    }

    /// Sends, or holds back what belongs behind a snapshot or a long DIFF.
    pub fn send(&mut self, link: LinkId, packet: QuorumPacket, cx: &mut Context<'_>) {
        if self.has_to_wait() {
            self.held.push_back(packet);
        } else {
            cx.out.push(Output::Send(link, packet));
        }
    }

    /// Sends a proposal, and waits for its answer.
    pub fn propose(&mut self, now: Now, link: LinkId, packet: QuorumPacket, cx: &mut Context<'_>) {
        let sent = (packet.zxid, now);
        if self.unanswered.is_none() {
            self.unanswered = Some(sent);
        } else {
            self.newest = Some(sent);
        }
        self.send(link, packet, cx);
    }

    /// Proposals up to this one are answered.
    pub fn answered(&mut self, zxid: Zxid) {
        if self.unanswered.is_some_and(|(oldest, _)| zxid >= oldest) {
            self.unanswered = self.newest.take().filter(|(newest, _)| *newest > zxid);
        }
    }

    /// It has been sent everything up to `zxid`: what was held back follows, but for what that contains.
    pub fn release(&mut self, now: Now, link: LinkId, zxid: Zxid, cx: &mut Context<'_>) {
        self.stage = Stage::Acknowledging;
        self.heard_at = now;
        let is_contained = |packet: &QuorumPacket| {
            matches!(packet.kind, PacketKind::Proposal | PacketKind::Commit | PacketKind::Inform)
                && packet.zxid <= zxid
        };
        self.answered(zxid);
        for packet in std::mem::take(&mut self.held) {
            if !is_contained(&packet) {
                cx.out.push(Output::Send(link, packet));
            }
        }
    }
}
