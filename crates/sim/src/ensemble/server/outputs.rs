//! What a peer wants done, and what the ghost has to know of it.

use std::collections::VecDeque;

use bytes::Bytes;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::initial_message::HostPort;
use oxikeeper_proto::quorum::stream::SnapshotSender;
use oxikeeper_proto::quorum::{InitialMessage, PacketKind, QuorumPacket};
use oxikeeper_zab::arbiter::ElectionOutput;
use oxikeeper_zab::io::{FromLearner, Input, LinkId, Output, Role};
use oxikeeper_zab::leader::Leader;
use oxikeeper_zab::peer::Peer;

use super::super::agenda::Event;
use super::super::fabric::{End, Port};
use super::disk_jobs::{EpochJob, Job, walk};
use super::packets::{Received, Stream};
use super::{Agent, Around, Process, Server, Stop};
use crate::marks::Mark;

impl Server {
    pub(super) fn carry_out(
        &mut self,
        output: Output,
        inputs: &mut VecDeque<Input>,
        around: &mut Around<'_>,
    ) -> Result<(), Stop> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match output {
            Output::Election(output) => self.carry_out_election(output, around),
            Output::Connect(to) => self.dial(Port::Quorum, to, around),
            Output::Listen(listens) => process.listens = listens,
            Output::Retire => unreachable!("simulated servers crash; nobody tells them to end"),
            Output::Send(link, packet) => self.send(link, &packet, around)?,
            Output::SendSnapshot { link, at_least } => {
                process.owed.push((link, at_least));
                self.send_snapshots(around);
            }
            Output::ReceiveSnapshot { link, zxid } => {
                let log = around.in_transfer.remove(&End::from(link).other()).unwrap_or_default();
                process.received = Some(Received::new(link, zxid, log));
            }
            Output::CloseLink(link) => {
                process.streams.remove(&End::from(link));
                process.owed.retain(|(owed, _)| *owed != link);
                self.let_go(link.into(), around);
            }
            Output::WriteEpoch { kind, epoch, ticket } => {
                self.write_epoch(EpochJob { kind, epoch, ticket }, around)?;
            }
            Output::Append(proposal) => self.append(proposal, around)?,
            Output::Commit(zxid) => self.commit(zxid, around)?,
            Output::Truncate { to, ticket } => {
                around.ghost.truncates(self.index, to)?;
                if !process.is_idle() {
                    around.marks.hit(Mark::TruncWithProposalsInFlight);
                }
                process.jobs.push_back(Job::Truncate { to, ticket, tree: None });
            }
            Output::ReplayOnSnapshot(proposal) => {
                around.marks.hit(Mark::CommittedDuringSnap);
                let received = process.received.as_mut();
                received.ok_or_else(|| "nothing to replay on".to_owned())?.replay(&proposal)?;
            }
            Output::InstallSnapshot { zxid, ticket } => {
                let received = process.received.take();
                let received = received.ok_or_else(|| "nothing to install".to_owned())?;
                let (tree, log) = received.into_tree()?;
                process.jobs.push_back(Job::Install { ticket, tree, zxid, log });
            }
            Output::AbandonSnapshot => {
                if process.received.take().is_some() {
                    around.marks.hit(Mark::SnapInterrupted);
                }
            }
            Output::ReadLog { from, to, ticket } => {
                process.jobs.push_back(Job::Read { from, to, ticket, found: None });
            }
            Output::Role(role) => self.becomes(role, around)?,
            Output::WantTouches => {
                inputs.push_back(Input::ToLeader(FromLearner::Touches(Vec::new())));
            }
            // Simulated ensembles have reconfigEnabled=false.
            Output::Config { .. } => {}
            Output::FromLearner(..) | Output::Learner { .. } | Output::ToLearner(_) => {}
            Output::Halt(why) => {
                return Err(Stop::Violation(format!("server {} halts: {why}", self.index)));
            }
        }
        Ok(())
    }

    fn carry_out_election(&mut self, output: ElectionOutput, around: &mut Around<'_>) {
        match output {
            ElectionOutput::Connect { to, .. } => self.dial(Port::Election, to, around),
            ElectionOutput::Greet { conn, then_close } => {
                let address = HostPort { host: "127.0.0.1".into(), port: 3888 };
                let message = InitialMessage::V1 { server: self.id, addresses: vec![address] };
                self.transmit(conn.into(), &oxikeeper_proto::jute::to_bytes(&message), around);
                if then_close {
                    if let Some(process) = &mut self.process {
                        process.streams.remove(&End::from(conn));
                    }
                    self.let_go(conn.into(), around);
                }
            }
            ElectionOutput::Send(conn, payload) => {
                let mut frame = (payload.len() as i32).to_be_bytes().to_vec();
                frame.extend_from_slice(&payload);
                let end = End::from(conn);
                self.transmit(end, &frame, around);
                let at = around.now + around.rng.between(1, 300);
                around.agenda.add(at, Event::Drained(end), around.rng);
            }
            ElectionOutput::Close(conn) => {
                if let Some(process) = &mut self.process {
                    process.streams.remove(&End::from(conn));
                }
                self.let_go(conn.into(), around);
            }
        }
    }

    /// Begins to connect.
    fn dial(&mut self, port: Port, to: ServerId, around: &mut Around<'_>) {
        let target = (to.0 - 1) as usize;
        let wire = around.fabric.connect(port, [self.index, target], [self.life, 0]);
        let at = around.now + around.fabric.delay(self.index, target, around.rng);
        around.agenda.add(at, Event::Dial { wire, began: around.now }, around.rng);
    }

    /// A connection stands: this is one end of it.
    pub fn attach(&mut self, end: End, port: Port) {
        if let Some(process) = &mut self.process {
            process.streams.insert(end, Stream::new(port, end.side));
        }
    }

    /// Hands bytes to the network.
    fn transmit(&mut self, from: End, bytes: &[u8], around: &mut Around<'_>) {
        if around.fabric.wires[from.wire].closed[from.side] {
            return;
        }
        for at in around.fabric.send(around.now, from, bytes, around.rng).into_iter().flatten() {
            around.agenda.add(at, Event::Arrive(from.other()), around.rng);
        }
    }

    /// The process closes its end.
    pub(super) fn let_go(&mut self, end: End, around: &mut Around<'_>) {
        if let Some(at) = around.fabric.close(around.now, end, around.rng) {
            around.agenda.add(at, Event::Arrive(end.other()), around.rng);
        }
    }

    fn send(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket,
        around: &mut Around<'_>,
    ) -> Result<(), Stop> {
        match packet.kind {
            PacketKind::Ack => around.ghost.acknowledges(self.index, packet.zxid)?,
            PacketKind::AckEpoch | PacketKind::LeaderInfo => {
                let epoch = match packet.kind {
                    PacketKind::LeaderInfo => packet.zxid.epoch(),
                    _ => 0,
                };
                around.ghost.promises(self.index, epoch)?;
            }
            PacketKind::Diff => {
                around.marks.hit(Mark::DiffSent);
                let leader = self.process.as_ref().and_then(Process::peer).and_then(Peer::leader);
                if leader.is_some_and(Leader::is_feeding) {
                    around.marks.hit(Mark::DiffInPieces);
                }
            }
            PacketKind::Trunc => around.marks.hit(Mark::TruncSent),
            _ => {}
        }
        let bytes: Bytes = packet.to_bytes();
        self.transmit(link.into(), &bytes, around);
        Ok(())
    }

    /// Sends the snapshots whose time has come.
    pub(super) fn send_snapshots(&mut self, around: &mut Around<'_>) {
        let Some(process) = &mut self.process else { return };
        let owed = std::mem::take(&mut process.owed);
        let (ready, owed): (Vec<_>, Vec<_>) =
            owed.into_iter().partition(|(_, at_least)| process.stands_at(*at_least));
        process.owed = owed;
        if ready.is_empty() {
            return;
        }
        let (bytes, zxid, _) = walk(&mut process.tree);
        let log = &around.ghost.servers[self.index].log;
        let log = log[..log.partition_point(|entry| entry.0 <= zxid)].to_vec();
        for (link, _) in ready {
            let mut stream = Vec::new();
            let mut sender = SnapshotSender::begin(zxid, &mut stream);
            stream.extend_from_slice(sender.part(&bytes));
            sender.end(&mut stream);
            around.in_transfer.insert(link.into(), log.clone());
            around.marks.hit(Mark::SnapSent);
            for piece in stream.chunks(600) {
                self.transmit(link.into(), piece, around);
            }
            // It takes a while to read the tree; proposals and commits wait for it meanwhile.
            let took = around.rng.around(around.knobs.disk_delay_us) * around.rng.below(8);
            let sent = Event::SnapshotSent(link.into(), zxid.raw());
            around.agenda.add(around.now + took, sent, around.rng);
        }
    }

    fn commit(&mut self, zxid: Zxid, around: &mut Around<'_>) -> Result<(), Stop> {
        let role = self.process.as_ref().map(|process| process.role);
        if let Some(Role::Leading { .. }) = role {
            around.ghost.committed(self.index, zxid)?;
        }
        self.apply(zxid, around)?;
        if role != Some(Role::Looking) {
            around.ghost.applied(self.index, zxid)?;
        }
        self.send_snapshots(around);
        self.snapshot_if_due(around);
        Ok(())
    }

    pub(super) fn becomes(&mut self, role: Role, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.role = role;
        let applied = process.tree.last_zxid();
        match role {
            Role::Leading { epoch } => {
                let before = around.ghost.committed.len();
                if let Agent::Bare(bare) = &mut process.agent {
                    bare.last_made = bare.last_made.max(Zxid::from_parts(epoch, 0));
                }
                around.marks.hit(Mark::LeaderEstablished);
                around.ghost.leads(self.index, epoch)?;
                if around.ghost.committed.len() > before {
                    around.marks.hit(Mark::ProposalAdopted);
                }
            }
            Role::Following { epoch, leader } | Role::Observing { epoch, leader } => {
                if matches!(role, Role::Observing { .. }) {
                    around.marks.hit(Mark::ObserverInStep);
                }
                let leader = (leader.0 - 1) as usize;
                around.ghost.serves(self.index, epoch, leader, applied)?;
            }
            Role::Looking => {}
        }
        Ok(())
    }
}
