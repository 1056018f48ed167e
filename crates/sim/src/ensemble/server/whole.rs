//! A server as it ships: the peer inside the Core, and Fronts with clients before it.

use std::collections::VecDeque;
use std::sync::Arc;

use oxikeeper_node::config::NodeConfig;
use oxikeeper_node::core::{Core, Input as CoreInput};
use oxikeeper_node::front::Front;
use oxikeeper_node::mail::{FrontId, ToCore};
use oxikeeper_node::member::Member;
use oxikeeper_node::time::{Now, WallTime};
use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{Txn, Zxid};
use oxikeeper_tree::{ChangeList, Tree};
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{Input, Output, Role};
use oxikeeper_zab::peer::Peer;

use super::super::agenda::Event;
use super::super::people::People;
use super::disk_jobs::{Job, walk};
use super::{Agent, Around, Server, Stop, hash};
use crate::marks::Mark;
use crate::reactor::{self, Reactor};

/// See the module's head.
pub(super) struct Whole {
    pub(super) member: Member,
    reactors: Vec<Reactor>,
    /// When each reactor's next turn is.
    turns_at: Vec<u64>,
    queue: Vec<ToCore>,
    /// A turn of the Core is on the agenda.
    is_planned: bool,
    /// The log thread has a batch.
    is_writing: bool,
    snapshot_began: u64,
    /// How far the ghost was told of what is committed.
    told: Zxid,
    /// When this server last became leader.
    leads_since: u64,
}

impl Whole {
    pub(super) fn new(
        server: &Server,
        peer: Peer,
        tree: &mut Tree,
        people: &People,
        around: &Around<'_>,
    ) -> Whole {
        tree.remove_dead_ephemerals(&mut ChangeList::default());
        let wall = around.wall(server.skew);
        let config = Arc::new(NodeConfig {
            ensemble: true,
            server_id: server.id.0 as u8,
            tick_ms: around.knobs.tick_ms,
            session_timeout_ms_min: 1000,
            session_timeout_ms_max: 10_000,
            started_ms: wall.0,
            extended_types: people.crowd.extended_types,
            snap_count: around.knobs.snap_count as u32,
            container_check_interval_ms: 700,
            container_max_per_minute: 100_000,
            seed: people.crowd.node_seed ^ u64::from(server.life),
            ..NodeConfig::default()
        });
        let fronts = people.crowd.fronts as u16;
        let core = Core::new(Arc::clone(&config), tree, fronts, server.clock(around.now));
        let front = |id| Reactor::new(Front::new(FrontId(id), Arc::clone(&config)), around.now);
        Whole {
            member: Member::new(core, peer),
            reactors: (0..fronts).map(front).collect(),
            turns_at: vec![u64::MAX; usize::from(fronts)],
            queue: Vec::new(),
            is_planned: false,
            is_writing: false,
            snapshot_began: 0,
            told: tree.last_zxid(),
            leads_since: 0,
        }
    }

    /// Takes what the peer is told.
    pub(super) fn take(
        &mut self,
        input: Input,
        tree: &Tree,
        (now, wall): (Now, WallTime),
        out: &mut Vec<Output>,
    ) {
        self.member.step(CoreInput::Tick { now, wall }, tree, out);
        match input {
            Input::Tick => {}
            Input::LogDurable(zxid) => self.member.step(CoreInput::Durable(zxid), tree, out),
            input => self.member.step_peer(input, tree, out),
        }
        self.member.check_invariants(tree);
    }
}

impl Server {
    fn whole(&mut self) -> Option<(&mut Whole, &mut Tree)> {
        let process = self.process.as_mut()?;
        match &mut process.agent {
            Agent::Whole(whole) => Some((whole, &mut process.tree)),
            Agent::Bare(_) => None,
        }
    }

    /// Tells the ghost what the last step did: what nobody says, the history shows.
    pub(super) fn observe(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let had = process.role;
        let Some(peer) = process.peer() else { return Ok(()) };
        let role = peer.role();
        let shadow_last = around.ghost.servers[self.index].last();
        let committed = peer.history().last_committed();
        let Agent::Whole(whole) = &process.agent else { return Ok(()) };
        let batch = whole.member.core().unwritten();
        let records = batch.records.iter().enumerate();
        let new: Vec<Proposal> = records
            .filter(|(_, (zxid, _))| *zxid > shadow_last)
            .map(|(index, (zxid, _))| Proposal {
                zxid: *zxid,
                payload: batch.payload(index).to_vec().into(),
            })
            .collect();
        if role != had {
            self.becomes(role, around)?;
            if let (Role::Leading { .. }, Some((whole, _))) = (role, self.whole()) {
                whole.leads_since = around.now;
            }
        }
        for proposal in new {
            let hash = hash(&proposal.payload);
            // It may have ceased to lead with the same step.
            if matches!(had, Role::Leading { .. }) || matches!(role, Role::Leading { .. }) {
                around.ghost.proposed(self.index, proposal.zxid, hash)?;
                self.note_made(&proposal, around)?;
            }
            around.ghost.appended(self.index, proposal.zxid, hash)?;
        }
        if role == Role::Looking {
            return Ok(());
        }
        let Some((whole, _)) = self.whole() else { return Ok(()) };
        if committed > whole.told {
            whole.told = committed;
            if matches!(role, Role::Leading { .. }) {
                around.ghost.committed(self.index, committed)?;
            }
            around.ghost.applied(self.index, committed)?;
        }
        Ok(())
    }

    /// A leader has made a transaction.
    fn note_made(&mut self, proposal: &Proposal, around: &mut Around<'_>) -> Result<(), Stop> {
        let decoded = decode_payload(&proposal.payload).map_err(|error| error.to_string());
        let (header, txn, _) = decoded?;
        let since = self.whole().map_or(0, |(whole, _)| whole.leads_since);
        let Some(people) = &mut around.people else { return Ok(()) };
        match &txn {
            Txn::CreateSession(timeout_ms) => people.begins(header.session, *timeout_ms),
            Txn::CloseSession(paths) if header.cxid == 0 => {
                if paths.as_ref().is_some_and(|paths| !paths.is_empty()) {
                    around.marks.hit(Mark::EphemeralsExpired);
                }
                let calm = around.calm_since;
                people.expires(header.session, self.index, around.now, since, calm)?;
            }
            Txn::DeleteContainer(_) => around.marks.hit(Mark::ContainerReaped),
            Txn::Multi(_) if txn.is_failed_multi() => around.marks.hit(Mark::MultiFailed),
            _ => {}
        }
        people.payloads.insert(proposal.zxid, proposal.payload.to_vec());
        Ok(())
    }

    /// The first turns of a new process's Fronts.
    pub(super) fn wake_fronts(&mut self, around: &mut Around<'_>) {
        let count = self.whole().map_or(0, |(whole, _)| whole.reactors.len());
        for front in 0..count {
            let at = around.now + around.rng.between(1, 2000);
            self.plan_front(front, at, around);
        }
    }

    fn plan_front(&mut self, front: usize, at: u64, around: &mut Around<'_>) {
        let (index, life) = (self.index, self.life);
        let Some((whole, _)) = self.whole() else { return };
        if at < whole.turns_at[front] {
            whole.turns_at[front] = at;
            around.agenda.add(at, Event::Front { server: index, life, front }, around.rng);
        }
    }

    /// Something has come to a Front's sockets, or will.
    pub fn wake_front(&mut self, front: usize, at: u64, around: &mut Around<'_>) {
        let is_polling = self.whole().is_some_and(|(whole, _)| whole.reactors[front].is_polling());
        if is_polling {
            let at = at.max(around.now) + around.rng.between(1, 40);
            self.plan_front(front, at, around);
        }
    }

    /// A connection is dealt to a Front.
    pub fn accept(&mut self, front: usize, link: usize) {
        if let Some((whole, _)) = self.whole() {
            whole.reactors[front].accepted.push(link);
        }
    }

    /// A Front's turn.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn act_front(&mut self, front: usize, around: &mut Around<'_>) -> Result<(), Stop> {
        let (index, clock) = (self.index, self.clock(around.now));
        let Some(people) = around.people.as_deref_mut() else { return Ok(()) };
        let Some((whole, tree)) = self.whole() else { return Ok(()) };
        if whole.turns_at[front] > around.now {
            return Ok(());
        }
        whole.turns_at[front] = u64::MAX;
        let mut clients = Vec::new();
        let mut here = reactor::Around {
            now: around.now,
            clock,
            net: &mut people.net,
            rng: around.rng,
            marks: around.marks,
            ghost: &mut people.heard[index],
            clients: &mut clients,
        };
        let (to_core, next) = whole.reactors[front].act(tree, &mut here, None);
        let has_more = !to_core.is_empty();
        whole.queue.extend(to_core);
        for (client, at) in clients {
            around.wake_client(client, at);
        }
        self.plan_front(front, next.max(around.now + 1), around);
        if has_more {
            self.plan_core(around);
        }
        Ok(())
    }

    fn plan_core(&mut self, around: &mut Around<'_>) {
        let (server, life) = (self.index, self.life);
        let Some((whole, _)) = self.whole() else { return };
        if !std::mem::replace(&mut whole.is_planned, true) {
            let at = around.now + around.rng.turn();
            around.agenda.add(at, Event::Core { server, life }, around.rng);
        }
    }

    /// The Core's turn: it takes what Fronts have said, or applies what may be applied.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn act_core(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let (now, wall) = (self.clock(around.now), around.wall(self.skew));
        let Some((whole, tree)) = self.whole() else { return Ok(()) };
        whole.is_planned = false;
        if whole.queue.is_empty() {
            self.apply_core(around);
            return self.input(Input::Tick, around);
        }
        let mut out = Vec::new();
        whole.member.step(CoreInput::Tick { now, wall }, tree, &mut out);
        let words = std::mem::take(&mut whole.queue);
        for word in words {
            let Some((whole, tree)) = self.whole() else { return Ok(()) };
            whole.member.step(CoreInput::FromFront(word), tree, &mut out);
            whole.member.check_invariants(tree);
            self.observe(around)?;
        }
        self.carry_out_all(out, &mut VecDeque::new(), around)?;
        self.input(Input::Tick, around)
    }

    /// One hold of the tree's lock.
    fn apply_core(&mut self, around: &mut Around<'_>) {
        let Some((whole, tree)) = self.whole() else { return };
        for (index, reactor) in (0..).zip(&whole.reactors) {
            whole.member.core_mut().set_watching(FrontId(index), reactor.is_watching());
        }
        let mut mail = Vec::new();
        let end = whole.member.core_mut().apply(tree, &mut mail);
        let mut woken = Vec::new();
        for (front, batch) in mail.into_iter().enumerate() {
            if !batch.items.is_empty() {
                whole.reactors[front].mailbox.push(batch);
                woken.push(front);
            }
        }
        if end.start_snapshot {
            whole.snapshot_began = around.now;
            let (bytes, zxid, digest) = walk(tree);
            if let Some(process) = &mut self.process {
                process.jobs.push_back(Job::Snapshot { bytes, zxid, digest });
            }
        }
        for front in woken {
            self.wake_front(front, around.now, around);
        }
        self.send_snapshots(around);
    }

    /// The log thread gets what there is to write, if it is idle; and a turn is planned for the rest.
    ///
    /// # Errors
    /// A state that another server has not.
    pub(super) fn pump(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some((whole, tree)) = self.whole() else { return Ok(()) };
        let applied = (tree.last_zxid(), tree.digest());
        let mut batch = None;
        if !whole.is_writing {
            batch = whole.member.core_mut().take_log_batch();
            whole.is_writing = batch.is_some();
        }
        let has_work = whole.member.core().has_work_to_apply() || !whole.queue.is_empty();
        if let (Some(batch), Some(process)) = (batch, &mut self.process) {
            process.jobs.push_back(Job::Batch(batch));
        }
        around.ghost.digest(self.index, applied.0, applied.1)?;
        if has_work {
            self.plan_core(around);
        }
        Ok(())
    }

    pub(super) fn batch_written(&mut self) {
        if let Some((whole, _)) = self.whole() {
            whole.is_writing = false;
        }
    }

    pub(super) fn snapshot_written(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        if let Some((whole, tree)) = self.whole() {
            let took_ms = (around.now - whole.snapshot_began) / 1000;
            whole.member.step(CoreInput::SnapshotFinished { took_ms }, tree, &mut Vec::new());
        }
        self.run_jobs(around)
    }
}
