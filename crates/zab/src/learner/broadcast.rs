//! A learner in step: log what is proposed, acknowledge what is durable, apply what is committed.
//! Source: quorum-protocol reference, 5.4 to 5.6.

use std::collections::VecDeque;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{PacketKind, QuorumPacket};
use tracing::debug;

use super::sync::{activate, informed_payload};
use crate::context::Context;
use crate::history::Proposal;
use crate::io::{LinkId, Output, ToLearner};
use crate::mutation::{Mutation, mutated};

#[derive(Debug)]
pub(super) struct Broadcast {
    leader: ServerId,
    is_observer: bool,
    /// Logged and not acknowledged, in order.
    unacknowledged: VecDeque<Zxid>,
    /// Pings to be answered.
    pings: VecDeque<Zxid>,
}

impl Broadcast {
    pub fn new(leader: ServerId, is_observer: bool) -> Broadcast {
        Broadcast { leader, is_observer, unacknowledged: VecDeque::new(), pings: VecDeque::new() }
    }

    /// The oldest ping that is not answered.
    pub fn next_ping(&mut self) -> Option<Zxid> {
        self.pings.pop_front()
    }

    pub fn packet(
        &mut self,
        packet: &QuorumPacket,
        link: LinkId,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let zxid = packet.zxid;
        match packet.kind {
            PacketKind::Proposal => {
                let payload = packet.txn().map_err(|error| error.to_string())?.clone();
                cx.see_proposal(&payload);
                self.take(Proposal { zxid, payload }, cx)?;
                if mutated(Mutation::EarlyAck) {
                    self.unacknowledged.pop_back();
                    cx.out.push(Output::Send(link, QuorumPacket::ack(zxid)));
                }
            }
            PacketKind::Commit => self.committed(zxid, cx)?,
            PacketKind::CommitAndActivate => {
                let payload = cx.history.logged().next().map(|proposal| proposal.payload.clone());
                let is_next = zxid > cx.history.last_committed();
                self.committed(zxid, cx)?;
                if let Some(payload) = payload.filter(|_| is_next) {
                    activate(packet, &payload, self.leader, cx)?;
                }
            }
            PacketKind::Inform | PacketKind::InformAndActivate => {
                let payload = informed_payload(packet)?;
                if zxid <= cx.history.last_logged() {
                    debug!(%zxid, "informed twice");
                    return Ok(());
                }
                self.take(Proposal { zxid, payload: payload.clone() }, cx)?;
                self.commit(zxid, cx);
                if packet.kind == PacketKind::InformAndActivate {
                    activate(packet, &payload, self.leader, cx)?;
                }
            }
            PacketKind::Ping => {
                self.pings.push_back(zxid);
                cx.out.push(Output::WantTouches);
            }
            PacketKind::Revalidate => {
                let (session, valid) = packet.revalidation().map_err(|error| error.to_string())?;
                cx.out.push(Output::ToLearner(ToLearner::Revalidated { session, valid }));
            }
            PacketKind::Sync => cx.out.push(Output::ToLearner(ToLearner::Synced)),
            kind => debug!(?kind, "passed over"),
        }
        Ok(())
    }

    /// A new transaction: a gap is never logged.
    fn take(&mut self, proposal: Proposal, cx: &mut Context<'_>) -> Result<(), String> {
        let last = cx.history.last_logged();
        if !proposal.zxid.joins(last) {
            return Err(format!("a gap behind {last}"));
        }
        self.log(proposal, cx);
        Ok(())
    }

    /// Gives a transaction to the log.
    pub fn log(&mut self, proposal: Proposal, cx: &mut Context<'_>) {
        if !self.is_observer {
            self.unacknowledged.push_back(proposal.zxid);
        }
        cx.history.push(proposal.clone());
        cx.out.push(Output::Append(proposal));
    }

    fn committed(&mut self, zxid: Zxid, cx: &mut Context<'_>) -> Result<(), String> {
        if zxid <= cx.history.last_committed() {
            debug!(%zxid, "committed twice");
            return Ok(());
        }
        let next = cx.history.logged().next().map(|proposal| proposal.zxid);
        match next {
            Some(next) if next == zxid => {
                self.commit(zxid, cx);
                Ok(())
            }
            Some(next) => Err(format!("{next} has to be committed first")),
            None => Err("was never proposed".into()),
        }
    }

    /// Commits the oldest transaction that is not.
    pub fn commit(&mut self, zxid: Zxid, cx: &mut Context<'_>) {
        cx.history.commit_to(zxid);
        cx.out.push(Output::Commit(zxid));
    }

    /// Acknowledges what is durable by now, each by itself.
    pub fn acknowledge(&mut self, link: LinkId, cx: &mut Context<'_>) {
        let durable = cx.history.durable();
        while let Some(zxid) = self.unacknowledged.pop_front_if(|zxid| *zxid <= durable) {
            cx.out.push(Output::Send(link, QuorumPacket::ack(zxid)));
        }
    }
}
