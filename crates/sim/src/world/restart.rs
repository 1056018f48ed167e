//! A server starts on what the last one left on the disk; and what it must find there.

use oxikeeper_node::time::Now;
use oxikeeper_storage::check::{cut, summarize_logs};
use oxikeeper_storage::log_reader::LogEnd;
use oxikeeper_storage::{RecoverOptions, StorageError};
use oxikeeper_tree::{Restore, Tree, TreeOptions};

use super::World;
use crate::client::Phase;
use crate::disk::Actor;
use crate::marks::Mark;
use crate::model::Model;
use crate::reactor::Around;
use crate::schedule::{CORE, REACTOR};
use crate::server::{Host, Server, dirs};

/// Longest transaction that readers accept.
const PAYLOAD_BYTES_MAX: usize = 2 << 20;

impl World {
    /// Starts a server; if the power goes meanwhile, another one.
    pub(super) fn start(&mut self) {
        loop {
            self.disk.begin(Actor::Start);
            let mut clients = Vec::new();
            let mut host = Host {
                around: Around {
                    now: self.now,
                    clock: Now::from_micros(self.now),
                    net: &mut self.net,
                    rng: &mut self.rng,
                    marks: &mut self.marks,
                    ghost: &mut self.ghost,
                    clients: &mut clients,
                },
                schedule: &mut self.schedule,
                disk: &self.disk,
                wall_ms: self.wall_offset_ms + (self.now / 1000) as i64,
                slow_disk_until: self.slow_disk_until,
                knobs: &self.knobs,
            };
            let started = Server::start(&mut host, self.mutation);
            if self.phase == Phase::Busy && self.counts.crashes > 0 && self.rng.chance(150) {
                self.counts.crashes += 1;
                if self.disk.crash(&mut self.rng) {
                    self.marks.hit(Mark::CrashInsideStart);
                }
                continue;
            }
            self.disk.end(Actor::Start);
            match started {
                Ok(server) => {
                    self.check_recovered(&server);
                    self.server = Some(server);
                }
                // A torn batch of several sectors looks like damage in what was acknowledged.
                Err(StorageError::Refused { .. }) if self.has_hole() && self.operator_cuts() => {
                    self.marks.hit(Mark::OperatorCut);
                    continue;
                }
                Err(error) => {
                    return self.history.violation(format!("no start after a crash: {error}"));
                }
            }
            break;
        }
        for actor in [CORE, REACTOR, REACTOR + 1, REACTOR + 2] {
            if actor < REACTOR + usize::from(self.knobs.fronts) {
                let at = self.now + self.rng.between(1, 2000);
                self.schedule.wake(actor, at, &mut self.rng);
            }
        }
    }

    /// Whether the last log has a hole: what a crash in the middle of an unacknowledged batch may
    /// leave, and what a server refuses until the operator has looked at it.
    fn has_hole(&self) -> bool {
        let logs = summarize_logs(&self.disk, &dirs(), PAYLOAD_BYTES_MAX);
        let last = logs.ok().and_then(|logs| logs.into_iter().next_back());
        last.is_some_and(|log| matches!(log.end, LogEnd::Hole { .. }))
    }

    /// The operator does what the message advises.
    fn operator_cuts(&self) -> bool {
        let mut restore = Restore::new(TreeOptions::default());
        let done = cut(&self.disk, &dirs(), &RecoverOptions::default(), &mut restore);
        matches!(done, Ok(Some(_)))
    }

    /// Whatever anybody was told must still be there, and the state must be that of the log.
    fn check_recovered(&mut self, server: &Server) {
        let last = server.tree.last_zxid();
        let (had, seen) = (self.ghost.log.len() as u64, self.history.max_seen.max(0) as u64);
        if last.raw() > had {
            return self.history.violation(format!("recovered {last}, logged was {had:#x}"));
        }
        if last.raw() < seen {
            return self
                .history
                .violation(format!("recovered {last}, but a client was told of {seen:#x}"));
        }
        if self.ghost.restarted(last, self.now) > 0 {
            self.marks.hit(Mark::UnacknowledgedLost);
        }
        if let Err(text) = self.ghost.compare_with_files(&self.disk, dirs().log()) {
            return self.history.violation(text);
        }
        let mut model = Model::new(self.knobs.extended_types);
        for (zxid, payload) in &self.ghost.log {
            let decoded = oxikeeper_proto::txn::decode_payload(payload);
            let applied = match decoded {
                Ok((header, txn, _)) => model.apply(&header, &txn).map(|_| ()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(text) = applied {
                return self.history.violation(format!("at {zxid}: {text}"));
            }
        }
        server.tree.check_invariants();
        if let Err(text) = same_state(&model, &server.tree) {
            self.history.violation(format!("after recovery at {last}: {text}"));
        }
    }
}

/// Compares the tree with the model, node by node.
///
/// # Errors
/// The first difference.
pub fn same_state(model: &Model, tree: &Tree) -> Result<(), String> {
    for (path, expected) in &model.nodes {
        let node = tree.node(path).ok_or_else(|| format!("{path} is missing"))?;
        let found = (node.data(), node.stat(), &**node.acl());
        let wanted = (expected.data.as_deref(), expected.stat(), expected.acl.as_slice());
        if found != wanted {
            return Err(format!("{path} is {found:?}, not {wanted:?}"));
        }
    }
    if tree.node_count() != model.nodes.len() {
        return Err(format!("{} nodes, not {}", tree.node_count(), model.nodes.len()));
    }
    let sessions: Vec<_> = model.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
    if tree.sessions() != sessions {
        return Err(format!("sessions {:?}, not {sessions:?}", tree.sessions()));
    }
    Ok(())
}
