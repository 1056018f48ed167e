//! An established leader: proposals out, acknowledgements in, commits in order; and whether there
//! is still a quorum. Source: quorum-protocol reference, 5.3, 5.5, 6.1.

use std::collections::BTreeSet;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{PacketKind, QuorumPacket};
use oxikeeper_proto::time::Now;
use tracing::debug;

use super::handler::Stage;
use super::{Leader, Phase, half_tick};
use crate::context::Context;
use crate::history::Proposal;
use crate::io::{FromLearner, LinkId, Output};
use crate::mutation::{Mutation, mutated};

impl Leader {
    /// The Core has made a transaction; it gives it to the own log itself.
    pub(super) fn propose(&mut self, now: Now, proposal: Proposal, cx: &mut Context<'_>) {
        if self.phase != Phase::Established {
            return;
        }
        let zxid = proposal.zxid;
        assert_eq!(zxid.epoch(), self.epoch, "a proposal of the leader's epoch");
        if zxid.counter() == u32::MAX && !mutated(Mutation::CounterWraps) {
            return self.fail("the counter of the epoch is full", cx);
        }
        cx.history.push(proposal.clone());
        self.last_proposed = zxid;
        self.outstanding.push_back(proposal.clone());
        for (link, handler) in &mut self.learners {
            if handler.is_registered() && !handler.is_observer {
                let packet = QuorumPacket::proposal(zxid, proposal.payload.clone());
                handler.propose(now, *link, packet, cx);
            }
        }
        if mutated(Mutation::EarlyAck) {
            self.acknowledge(cx.config.my_id, zxid, cx);
        }
    }

    /// The own log counts as a follower's, and no sooner.
    pub(super) fn log_durable(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Established {
            let durable = cx.history.durable();
            self.acknowledge(cx.config.my_id, durable, cx);
        }
    }

    fn acknowledge(&mut self, server: ServerId, zxid: Zxid, cx: &mut Context<'_>) {
        let acknowledged = self.acknowledged.entry(server).or_default();
        *acknowledged = zxid.max(*acknowledged);
        self.commit(cx);
    }

    /// Commits what a quorum has, in order: nothing overtakes, since only the oldest is looked at.
    fn commit(&mut self, cx: &mut Context<'_>) {
        while let Some(oldest) = self.outstanding.front().map(|proposal| proposal.zxid) {
            let has = |(server, upto): (&ServerId, &Zxid)| (*upto >= oldest).then_some(*server);
            let holders: BTreeSet<ServerId> = self.acknowledged.iter().filter_map(has).collect();
            if !cx.quorums.contain_quorum(&holders) {
                return;
            }
            let Some(Proposal { zxid, payload }) = self.outstanding.pop_front() else { return };
            cx.history.commit_to(zxid);
            cx.out.push(Output::Commit(zxid));
            for (link, handler) in &mut self.learners {
                if handler.is_registered() {
                    let packet = match handler.is_observer {
                        true => QuorumPacket::inform(zxid, payload.clone()),
                        false => QuorumPacket::commit(zxid),
                    };
                    handler.send(*link, packet, cx);
                }
            }
            while let Some((_, link)) = self.syncs.pop_front_if(|(behind, _)| *behind <= zxid) {
                self.send_sync(link, cx);
            }
        }
    }

    /// A learner's sync has its place: behind everything proposed so far.
    pub(super) fn sync_placed(&mut self, link: LinkId, cx: &mut Context<'_>) {
        if self.outstanding.is_empty() {
            self.send_sync(link, cx);
        } else {
            self.syncs.push_back((self.last_proposed, link));
        }
    }

    fn send_sync(&mut self, link: LinkId, cx: &mut Context<'_>) {
        if let Some(handler) = self.learners.get_mut(&link) {
            handler.send(link, QuorumPacket::sync(), cx);
        }
    }

    /// What a learner in step says.
    pub(super) fn live_packet(
        &mut self,
        _now: Now,
        link: LinkId,
        packet: &QuorumPacket,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let Some(handler) = self.learners.get_mut(&link) else { return Ok(()) };
        let malformed = |error: oxikeeper_proto::DecodeError| format!("malformed: {error}");
        match packet.kind {
            // The second answer to NEWLEADER, which Apache sends after UPTODATE.
            PacketKind::Ack if packet.zxid.counter() == 0 => {}
            PacketKind::Ack => {
                if packet.zxid > self.last_proposed {
                    return Err(format!("acknowledges {}, which was never sent", packet.zxid));
                }
                handler.answered(packet.zxid);
                if !handler.is_observer {
                    let server = handler.server;
                    self.acknowledge(server, packet.zxid, cx);
                }
            }
            PacketKind::Ping => {
                let touches = packet.touches().map_err(malformed)?;
                cx.out.push(Output::FromLearner(link, FromLearner::Touches(touches)));
            }
            PacketKind::Revalidate => {
                let (session, timeout_ms) = packet.revalidated().map_err(malformed)?;
                let word = FromLearner::Revalidate { session, timeout_ms };
                cx.out.push(Output::FromLearner(link, word));
            }
            PacketKind::Request => {
                let request = packet.forwarded_request().map_err(malformed)?;
                cx.out.push(Output::FromLearner(link, FromLearner::Request(request)));
            }
            kind => debug!(?kind, server = %handler.server, "passed over"),
        }
        Ok(())
    }

    /// Twice per tick a ping to everybody; once per tick whether a quorum is there.
    pub(super) fn half_ticks(&mut self, now: Now, cx: &mut Context<'_>) {
        if now < self.half_tick_at {
            return;
        }
        self.half_tick_at = now.after(half_tick(cx));
        self.is_half = !self.is_half;
        if !self.is_half {
            let mut present: BTreeSet<ServerId> = self
                .learners
                .values()
                .filter(|handler| handler.is_registered() && !handler.is_observer)
                .filter(|handler| handler.is_present(now))
                .map(|handler| handler.server)
                .collect();
            present.insert(cx.config.my_id);
            if !cx.quorums.contain_quorum(&present) {
                return self.fail("a quorum of learners is no longer there", cx);
            }
        }
        let ping = QuorumPacket::ping(self.last_proposed);
        for (link, handler) in &mut self.learners {
            if handler.is_registered() && handler.stage != Stage::Receiving {
                handler.send(*link, ping.clone(), cx);
            }
        }
    }
}
