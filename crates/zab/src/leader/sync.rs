//! How a learner is brought to the leader's history. Source: quorum-protocol reference, 4.1 to 4.5.

use std::time::Duration;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::quorum::QuorumPacket;
use oxikeeper_proto::time::Now;
use tracing::info;

use super::handler::Stage;
use super::{Leader, Phase};
use crate::config::PeerConfig;
use crate::context::Context;
use crate::history::{History, Proposal};
use crate::io::{LinkId, Output, Ticket};
use crate::mutation::{Mutation, mutated};

/// Between two pieces of a DIFF.
const PIECE_SPACING: Duration = Duration::from_millis(1);

/// What a learner gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// DIFF and what is committed behind `from`, from memory.
    Diff { from: Zxid },
    /// TRUNC to the end of our history.
    Trunc { to: Zxid },
    /// A snapshot.
    Snap,
    /// Perhaps DIFF, from the log on disk.
    ReadLog { to: Zxid },
}

/// An `e.0` stands for the history with which an epoch began, not for a transaction.
fn is_start_of_epoch(zxid: Zxid) -> bool {
    zxid.counter() == 0
}

/// What a learner gets whose history ends at `last`. DIFF only if we hold what follows it without a
/// gap; TRUNC only within an epoch, where the learner surely has what it is cut to
/// (quorum-protocol 11.2, rules 14 and 15).
pub(super) fn plan(history: &History, config: &PeerConfig, last: Zxid) -> Plan {
    let end = history.last_committed();
    let (min, max) = history.committed_bounds();
    if last == QuorumPacket::NO_ZXID || config.force_snapshot_sync {
        return Plan::Snap;
    }
    if last == end {
        return Plan::Diff { from: last };
    }
    if last > end {
        return match () {
            () if is_start_of_epoch(last) && max == end => Plan::Diff { from: last },
            () if is_start_of_epoch(last) || last.epoch() != end.epoch() => Plan::Snap,
            () => Plan::Trunc { to: end },
        };
    }
    if max == end && last >= min {
        let is_known = history.committed().any(|proposal| proposal.zxid == last);
        return match is_known || is_start_of_epoch(last) {
            true => Plan::Diff { from: last },
            false => Plan::Snap,
        };
    }
    if max == end && config.snapshot_size_factor >= 0.0 {
        return Plan::ReadLog { to: min };
    }
    Plan::Snap
}

/// Whether these records lead from `last` to what is in memory, without a gap.
pub(super) fn bridges(records: &[Proposal], last: Zxid, history: &History) -> bool {
    let Some(first) = records.first() else { return false };
    let is_joined = first.zxid == last || (is_start_of_epoch(last) && first.zxid < last);
    let is_whole = records.windows(2).all(|pair| pair[1].zxid.joins(pair[0].zxid));
    let end = records.last().map_or(Zxid::ZERO, |record| record.zxid);
    is_joined && is_whole && history.is_joined_by(end)
}

impl Leader {
    /// Decides, and registers the learner for what comes: both at once, so that nothing falls in
    /// between.
    pub(super) fn begin_sync(&mut self, now: Now, link: LinkId, cx: &mut Context<'_>) {
        let Some(handler) = self.learners.get(&link) else { return };
        let Stage::Promised(last) = handler.stage else { return };
        debug_assert!(matches!(self.phase, Phase::Syncing | Phase::Established));
        let plan = plan(cx.history, cx.config, last);
        info!(server = %handler.server, zxid = %last, ?plan, "a learner is brought to our history");
        if let Plan::ReadLog { to } = plan {
            let ticket = cx.ticket();
            cx.out.push(Output::ReadLog { from: last, to, ticket });
            self.set_stage(link, Stage::Reading { ticket, from: last, to });
            self.keep_for_readers(cx);
            return;
        }
        self.sync_by(now, link, last, plan, Vec::new(), cx);
    }

    /// The log was read for a learner, or could not serve it.
    pub(super) fn log_read(
        &mut self,
        now: Now,
        ticket: Ticket,
        records: Option<Vec<Proposal>>,
        cx: &mut Context<'_>,
    ) {
        let reader = self.learners.iter().find_map(|(link, handler)| match handler.stage {
            Stage::Reading { ticket: asked, from, .. } if asked == ticket => Some((*link, from)),
            _ => None,
        });
        let Some((link, last)) = reader else { return };
        match records.filter(|records| bridges(records, last, cx.history)) {
            Some(records) => {
                self.sync_by(now, link, last, Plan::Diff { from: last }, records, cx);
            }
            None => self.sync_by(now, link, last, Plan::Snap, Vec::new(), cx),
        }
        self.keep_for_readers(cx);
    }

    /// What is committed while the log is read for a learner stays in memory: else it would have to be sent a
    /// snapshot, though it missed little.
    pub(super) fn keep_for_readers(&self, cx: &mut Context<'_>) {
        let of = |handler: &super::Handler| match handler.stage {
            Stage::Reading { to, .. } => Some(to),
            _ => None,
        };
        cx.history.keep_from(self.learners.values().filter_map(of).min());
    }

    fn sync_by(
        &mut self,
        now: Now,
        link: LinkId,
        last: Zxid,
        plan: Plan,
        from_disk: Vec<Proposal>,
        cx: &mut Context<'_>,
    ) {
        let by_snapshot = plan == Plan::Snap;
        let Some(handler) = self.learners.get(&link) else { return };
        let (server, is_observer) = (handler.server, handler.is_observer);
        let limit = if by_snapshot { cx.config.snap_syncs_max } else { cx.config.diff_syncs_max };
        let syncing =
            |handler: &&super::Handler| handler.is_syncing() && handler.by_snapshot == by_snapshot;
        if is_observer && self.learners.values().filter(syncing).count() > limit {
            return self.drop_learner(link, "comes while too many are being served", cx);
        }
        let end = cx.history.last_committed();
        // What it is cut back to, or has lost, it has to acknowledge anew.
        let kept = last.min(end);
        if let Some(acknowledged) = self.acknowledged.get_mut(&server) {
            *acknowledged = kept.min(*acknowledged);
        }
        let outstanding: Vec<Proposal> = match is_observer {
            true => Vec::new(),
            false => self.outstanding.iter().cloned().collect(),
        };
        let new_leader = self.new_leader(cx);
        let Some(handler) = self.learners.get_mut(&link) else { return };
        handler.by_snapshot = by_snapshot;
        match plan {
            Plan::Diff { from } => {
                cx.out.push(Output::Send(link, QuorumPacket::diff(end)));
                // The first one on disk may be the learner's last.
                handler.missed = from_disk.into();
                while handler.missed.pop_front_if(|proposal| proposal.zxid <= from).is_some() {}
                let queued = handler.missed.back().map_or(from, |proposal| proposal.zxid);
                let newer = cx.history.committed().filter(|proposal| proposal.zxid > queued);
                handler.missed.extend(newer.cloned());
                handler.stage = Stage::Feeding { to: end };
            }
            Plan::Trunc { to } => {
                cx.out.push(Output::Send(link, QuorumPacket::trunc(to)));
                handler.stage = Stage::Feeding { to };
            }
            Plan::Snap | Plan::ReadLog { .. } => {
                cx.out.push(Output::SendSnapshot { link, at_least: end });
                handler.stage = Stage::Receiving;
            }
        }
        if mutated(Mutation::NewLeaderTooEarly) {
            // Past what holds it back.
            match by_snapshot {
                true => handler.send(link, new_leader, cx),
                false => cx.out.push(Output::Send(link, new_leader)),
            }
        }
        for Proposal { zxid, payload } in outstanding {
            handler.propose(now, link, QuorumPacket::proposal(zxid, payload), cx);
        }
        self.feed(now, link, cx);
    }

    /// Sends the next piece of what a learner has missed, and behind the last one what was held back.
    pub(super) fn feed(&mut self, now: Now, link: LinkId, cx: &mut Context<'_>) {
        let Some(handler) = self.learners.get_mut(&link) else { return };
        let Stage::Feeding { to } = handler.stage else { return };
        let piece = handler.missed.len().min(cx.config.diff_piece.max(1));
        for Proposal { zxid, payload } in handler.missed.drain(..piece) {
            cx.out.push(Output::Send(link, QuorumPacket::proposal(zxid, payload)));
            cx.out.push(Output::Send(link, QuorumPacket::commit(zxid)));
        }
        self.feed_at = now.after(PIECE_SPACING);
        if handler.missed.is_empty() {
            self.release(now, link, to, cx);
        }
    }

    /// Whether a learner is being sent what it has missed.
    pub fn is_feeding(&self) -> bool {
        self.next_feed().is_some()
    }

    /// When the next piece is due.
    pub(super) fn next_feed(&self) -> Option<Now> {
        let is_fed = |handler: &super::Handler| matches!(handler.stage, Stage::Feeding { .. });
        self.learners.values().any(is_fed).then_some(self.feed_at)
    }

    /// Sends the next piece to everybody whom it is due for.
    pub(super) fn feed_all(&mut self, now: Now, cx: &mut Context<'_>) {
        if self.next_feed().is_some_and(|at| now >= at) {
            for link in self.learners.keys().copied().collect::<Vec<_>>() {
                self.feed(now, link, cx);
            }
        }
    }

    /// A learner has been sent all up to `zxid`: what happened meanwhile follows, then NEWLEADER, which
    /// stands for all of it (ZOOKEEPER-3104).
    fn release(&mut self, now: Now, link: LinkId, zxid: Zxid, cx: &mut Context<'_>) {
        let new_leader = self.new_leader(cx);
        let Some(handler) = self.learners.get_mut(&link) else { return };
        handler.release(now, link, zxid, cx);
        if !mutated(Mutation::NewLeaderTooEarly) {
            handler.send(link, new_leader, cx);
        }
    }

    fn new_leader(&self, cx: &Context<'_>) -> QuorumPacket {
        QuorumPacket::new_leader(self.epoch, cx.quorums.last_seen().text().clone())
    }

    /// The snapshot is with the learner.
    pub(super) fn snapshot_sent(
        &mut self,
        now: Now,
        link: LinkId,
        zxid: Zxid,
        cx: &mut Context<'_>,
    ) {
        if self.learners.get(&link).is_some_and(|handler| handler.stage == Stage::Receiving) {
            self.release(now, link, zxid, cx);
        }
    }

    fn set_stage(&mut self, link: LinkId, stage: Stage) {
        if let Some(handler) = self.learners.get_mut(&link) {
            handler.stage = stage;
        }
    }
}
