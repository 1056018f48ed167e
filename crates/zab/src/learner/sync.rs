//! What a learner gets between DIFF, TRUNC or SNAP and UPTODATE. Source: quorum-protocol reference,
//! 4.7.
//!
//! Before NEWLEADER, what is committed belongs to the history that NEWLEADER stands for: it goes to
//! the log, or on top of the snapshot that is received. Proposals that are not committed wait until
//! UPTODATE, and so does everything behind NEWLEADER.

use std::collections::VecDeque;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{PacketKind, QuorumPacket};
use tracing::debug;

use crate::context::Context;
use crate::history::Proposal;
use crate::io::Output;
use crate::membership::Change;

/// The stream, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// SNAP: the state stands here, once what was replayed on it is counted.
    snapshot: Option<Zxid>,
    is_receiving: bool,
    /// The last transaction that was taken over as committed.
    last_committed: Zxid,
    /// Proposed and not committed.
    waiting: VecDeque<Proposal>,
    /// Committed behind NEWLEADER.
    committed: Vec<Zxid>,
}

impl Sync {
    /// DIFF or TRUNC: what comes goes on from `last`.
    pub fn of_log(last: Zxid) -> Sync {
        Sync { last_committed: last, ..Sync::default() }
    }

    /// SNAP.
    pub fn of_snapshot(zxid: Zxid) -> Sync {
        Sync { snapshot: Some(zxid), is_receiving: true, last_committed: zxid, ..Sync::default() }
    }

    /// Where the received snapshot stands, if there is one.
    pub fn snapshot(&self) -> Option<Zxid> {
        self.snapshot
    }

    /// The bytes of the snapshot are still arriving.
    pub fn is_receiving(&self) -> bool {
        self.is_receiving
    }

    /// The snapshot is whole.
    pub fn received(&mut self) {
        self.is_receiving = false;
    }

    /// The snapshot is the state of this server.
    pub fn installed(&mut self) {
        self.snapshot = None;
    }

    /// Proposals that have to be logged at UPTODATE.
    pub fn waiting(&self) -> impl Iterator<Item = Proposal> {
        self.waiting.iter().cloned()
    }

    /// Those of them that are committed already.
    pub fn committed(&self) -> impl Iterator<Item = Zxid> {
        self.committed.iter().copied()
    }

    /// A packet in front of NEWLEADER.
    pub fn before_new_leader(
        &mut self,
        packet: &QuorumPacket,
        leader: ServerId,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        match packet.kind {
            PacketKind::Proposal => self.propose(packet, cx),
            PacketKind::Commit | PacketKind::CommitAndActivate => {
                let Some(proposal) = self.pop(packet.zxid)? else { return Ok(()) };
                let payload = proposal.payload.clone();
                self.take_over(proposal, cx);
                activate(packet, &payload, leader, cx)
            }
            PacketKind::Inform | PacketKind::InformAndActivate => {
                let Some(proposal) = self.informed(packet)? else { return Ok(()) };
                let payload = proposal.payload.clone();
                self.take_over(proposal, cx);
                activate(packet, &payload, leader, cx)
            }
            _ => Ok(()),
        }
    }

    /// A packet between NEWLEADER and UPTODATE.
    pub fn after_new_leader(
        &mut self,
        packet: &QuorumPacket,
        leader: ServerId,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        match packet.kind {
            PacketKind::Proposal => self.propose(packet, cx),
            PacketKind::Commit | PacketKind::CommitAndActivate => {
                if packet.zxid <= self.last_committed {
                    return Ok(());
                }
                let next = self.waiting.get(self.committed.len());
                let Some(next) = next.filter(|next| next.zxid == packet.zxid) else {
                    return Err("a commit out of order".into());
                };
                self.committed.push(packet.zxid);
                activate(packet, &next.payload, leader, cx)
            }
            PacketKind::Inform | PacketKind::InformAndActivate => {
                let Some(proposal) = self.informed(packet)? else { return Ok(()) };
                let payload = proposal.payload.clone();
                self.committed.push(proposal.zxid);
                self.waiting.push_back(proposal);
                activate(packet, &payload, leader, cx)
            }
            _ => Ok(()),
        }
    }

    fn last_seen(&self) -> Zxid {
        self.waiting.back().map_or(self.last_committed, |proposal| proposal.zxid)
    }

    fn propose(&mut self, packet: &QuorumPacket, cx: &mut Context<'_>) -> Result<(), String> {
        let payload = packet.txn().map_err(|error| error.to_string())?;
        let proposal = Proposal { zxid: packet.zxid, payload: payload.clone() };
        if let Some(proposal) = self.new_one(proposal)? {
            cx.see_proposal(&proposal.payload);
            self.waiting.push_back(proposal);
        }
        Ok(())
    }

    fn informed(&mut self, packet: &QuorumPacket) -> Result<Option<Proposal>, String> {
        let payload = informed_payload(packet)?;
        self.new_one(Proposal { zxid: packet.zxid, payload })
    }

    /// Apache's snapshots are taken while transactions are committed: what they contain already may
    /// come once more.
    fn new_one(&self, proposal: Proposal) -> Result<Option<Proposal>, String> {
        let last = self.last_seen();
        if proposal.zxid <= last && self.snapshot.is_some() {
            debug!(zxid = %proposal.zxid, "contained in the snapshot");
            return Ok(None);
        }
        if !proposal.zxid.joins(last) {
            return Err(format!("a gap behind {last}"));
        }
        Ok(Some(proposal))
    }

    fn pop(&mut self, zxid: Zxid) -> Result<Option<Proposal>, String> {
        if zxid <= self.last_committed {
            return Ok(None);
        }
        match self.waiting.pop_front_if(|proposal| proposal.zxid == zxid) {
            Some(proposal) => Ok(Some(proposal)),
            None => Err("a commit out of order".into()),
        }
    }

    fn take_over(&mut self, proposal: Proposal, cx: &mut Context<'_>) {
        let zxid = proposal.zxid;
        self.last_committed = zxid;
        if let Some(stands_at) = &mut self.snapshot {
            *stands_at = zxid;
            cx.out.push(Output::ReplayOnSnapshot(proposal));
        } else {
            cx.history.push(proposal.clone());
            cx.history.commit_to(zxid);
            cx.out.push(Output::Append(proposal));
            cx.out.push(Output::Commit(zxid));
        }
    }
}

/// The transaction of an INFORM or INFORMANDACTIVATE.
pub(super) fn informed_payload(packet: &QuorumPacket) -> Result<bytes::Bytes, String> {
    let payload = match packet.kind {
        PacketKind::InformAndActivate => packet.inform_and_activate_parts().map(|(_, txn)| txn),
        _ => packet.txn().cloned(),
    };
    payload.map_err(|error| error.to_string())
}

/// A transaction is committed: if that activates a configuration, it comes into force, and the leader may
/// have to be left for it.
pub(super) fn activate(
    packet: &QuorumPacket,
    payload: &[u8],
    leader: ServerId,
    cx: &mut Context<'_>,
) -> Result<(), String> {
    let kinds = [PacketKind::CommitAndActivate, PacketKind::InformAndActivate];
    if !kinds.contains(&packet.kind) {
        return Ok(());
    }
    let designated = packet.designated_leader().map_err(|error| error.to_string())?;
    match cx.activate_proposal(payload, designated, leader) {
        Change::Place => Err("the membership has changed".into()),
        Change::None | Change::Others => Ok(()),
    }
}
