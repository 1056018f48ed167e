//! What the Core may do: alone, or as its peer says.
//!
//! ```text
//!  Standalone
//!  Looking --Role(Leading | Following | Observing)--> Entering --tree stands at `from`--> Leading | Learning
//!     ^-------------------------------------Role(Looking)-----------------------------------------+
//!  Looking --no leader for long, if wanted--> ReadOnly
//! ```
//!
//! Transactions that were logged and not known committed survive the loss of a leader: the next one
//! commits them, or has them cut off.

use oxikeeper_proto::{OpCode, Zxid};
use oxikeeper_tree::Tree;
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{FromLearner, Input as PeerInput, Output as PeerOutput, Role, ToLearner};
use tracing::info;

use super::forwarded::{Forwarded, Waiting};
use super::outstanding::Outstanding;
use super::sessions::Sessions;
use super::{Answer, Core, Pending, prep};
use crate::mail::{FrontId, Mail, Request, Serving};
use crate::mutation::{Mutation, mutated};
use crate::time::Now;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// There is no ensemble: what is durable is committed.
    Standalone,
    /// There is no leader: nobody is served.
    Looking,
    /// The role is taken as soon as the tree stands here.
    Entering { role: Role, from: Zxid },
    /// Transactions are made here.
    Leading { epoch: u32 },
    /// They are made by the leader.
    Learning,
    /// There is no leader, and readers are served all the same.
    ReadOnly,
}

impl Core {
    /// Takes what the peer says to the Core; returns what is the driver's.
    pub fn on_peer(&mut self, output: PeerOutput, tree: &Tree) -> Option<PeerOutput> {
        match output {
            PeerOutput::Append(proposal) => self.append(&proposal),
            PeerOutput::Commit(zxid) => self.commit(zxid),
            PeerOutput::Role(role) => self.on_role(role, tree),
            PeerOutput::FromLearner(link, word) => self.on_learner(link, word, tree),
            PeerOutput::ToLearner(ToLearner::Revalidated { session, valid }) => {
                self.on_revalidated(session, valid);
            }
            PeerOutput::ToLearner(ToLearner::Synced) => {
                if let Some(session) = self.forwarded.synced() {
                    self.pending.push_back(Pending::Synced(session));
                }
            }
            PeerOutput::WantTouches => {
                let mut touched = std::mem::take(&mut self.touched);
                if mutated(Mutation::LoseLearnersTouches) {
                    touched.clear();
                }
                let touched = touched.into_iter().collect();
                self.tell_leader(FromLearner::Touches(touched));
            }
            PeerOutput::Truncate { .. } | PeerOutput::InstallSnapshot { .. } => {
                if self.is_read_only() {
                    self.leave();
                }
                // Of the old history nothing more is written: it would stand behind the cut.
                if !mutated(Mutation::WriteBehindCut) {
                    self.next_batch = super::LogBatch::default();
                }
                return Some(output);
            }
            other => return Some(other),
        }
        None
    }

    /// What there is for the peer, in order.
    pub fn take_words_to_peer(&mut self) -> Vec<PeerInput> {
        std::mem::take(&mut self.to_peer)
    }

    /// The tree was read anew from the disk, or came from the leader: everything else is forgotten.
    /// Nobody is served at that time.
    pub fn restored(&mut self, tree: &Tree) {
        self.last_zxid = tree.last_zxid();
        self.durable = self.last_zxid;
        self.committed = self.last_zxid;
        self.uncommitted.clear();
        self.pending.clear();
        self.batches.clear();
        self.next_batch = super::LogBatch::default();
        self.outstanding = Outstanding::new(tree, self.config.seed);
        self.digest_log.clear();
        self.track_all(tree);
    }

    pub(super) fn is_leading(&self) -> bool {
        matches!(self.service, Service::Standalone | Service::Leading { .. })
    }

    pub(super) fn is_learning(&self) -> bool {
        self.service == Service::Learning
    }

    pub(super) fn is_in_step(&self) -> bool {
        self.is_leading() || self.is_learning()
    }

    pub(super) fn serves_clients(&self) -> bool {
        match self.service {
            Service::Standalone | Service::Learning | Service::ReadOnly => true,
            Service::Leading { .. } => self.config.leader_serves,
            _ => false,
        }
    }

    /// A transaction of the leader goes to the log.
    fn append(&mut self, proposal: &Proposal) {
        assert!(proposal.zxid.follows(self.last_zxid), "the peer lets no gap pass");
        self.last_zxid = proposal.zxid;
        let bytes = self.next_batch.push_payload(proposal.zxid, &proposal.payload);
        self.count_for_snapshot(bytes);
        self.uncommitted.push_back(proposal.zxid);
    }

    fn commit(&mut self, zxid: Zxid) {
        self.committed = zxid.max(self.committed);
        while let Some(zxid) = self.uncommitted.pop_front_if(|next| *next <= zxid) {
            self.pending.push_back(Pending::Txn { zxid, origin: None });
        }
    }

    fn on_role(&mut self, role: Role, tree: &Tree) {
        if !matches!(self.service, Service::Looking) {
            self.leave();
        }
        if role != Role::Looking {
            self.service = Service::Entering { role, from: self.committed };
            self.enter(tree);
        }
    }

    /// Takes the role that waits for the tree, if it stands where it has to.
    pub(super) fn enter(&mut self, tree: &Tree) {
        let Service::Entering { role, from } = self.service else { return };
        if tree.last_zxid() < from {
            return;
        }
        self.track_all(tree);
        self.service = match role {
            Role::Leading { epoch } => {
                self.outstanding = Outstanding::new(tree, self.config.seed);
                self.is_epoch_full = false;
                Service::Leading { epoch }
            }
            Role::Following { .. } | Role::Observing { .. } => Service::Learning,
            Role::Looking => Service::Looking,
        };
        info!(?role, zxid = %tree.last_zxid(), "in service");
        if self.serves_clients() {
            self.tell_fronts(Serving::Everybody);
        }
        for (link, word) in std::mem::take(&mut self.deferred) {
            self.on_learner(link, word, tree);
        }
    }

    /// No leader any more: clients go, and what was not committed waits for the next leader.
    fn leave(&mut self) {
        self.service = Service::Looking;
        self.looking_since = self.now;
        self.tell_fronts(Serving::Nobody);
        self.answers.clear();
        self.stuck.clear();
        self.forwarded = Forwarded::default();
        self.revalidations.clear();
        self.touched.clear();
        self.deferred.clear();
        let (mut committed, mut open) = (Vec::new(), Vec::new());
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Txn { zxid, .. } if zxid <= self.committed => committed.push(zxid),
                Pending::Txn { zxid, .. } => open.push(zxid),
                Pending::Answer { .. } | Pending::Synced(_) => {}
            }
        }
        self.pending.extend(committed.into_iter().map(|zxid| Pending::Txn { zxid, origin: None }));
        // A leader has proposed them, a learner has only logged them: never both.
        for zxid in open.into_iter().rev() {
            self.uncommitted.push_front(zxid);
        }
    }

    /// Every session of the tree gets its full timeout from now: an outage expires nobody.
    pub(super) fn track_all(&mut self, tree: &Tree) {
        self.sessions = Sessions::new(self.config.tick_ms);
        let since = if mutated(Mutation::CountOutage) { Now::default() } else { self.now };
        for (session, timeout_ms) in tree.sessions() {
            self.sessions.track(session, timeout_ms, None, since);
        }
    }

    pub(super) fn tell_fronts(&mut self, serving: Serving) {
        for front in (0..).map(FrontId).take(self.watching.len()) {
            self.immediate.push((front, Mail::Serving(serving)));
        }
    }

    /// A client's request goes to the leader. What the leader could not decode is answered here, at
    /// its place: it would not come back.
    pub(super) fn forward(&mut self, request: Request) {
        let Request { conn, session, xid, op, body, ids } = request;
        let origin = super::Origin { conn, session, xid, op };
        let body = match op {
            OpCode::Sync => {
                let answer = Answer::Sync(body.clone());
                self.forwarded.push(session, Waiting::Sync(origin, answer));
                body
            }
            OpCode::CloseSession => {
                self.forwarded.push(session, Waiting::Txn(origin));
                Box::default()
            }
            _ if self.log_full => return self.answer_in_turn(origin, Answer::LOG_FULL),
            _ if prep::is_undecodable(op, &body) => {
                return self.answer_in_turn(origin, Answer::UNDECODABLE);
            }
            _ => {
                self.forwarded.push(session, Waiting::Txn(origin));
                body
            }
        };
        self.tell_leader(FromLearner::Request(oxikeeper_proto::quorum::ForwardedRequest {
            session,
            cxid: xid.0,
            op: op.to_wire(),
            body: body.into(),
            authinfo: Some(ids.to_vec()),
        }));
    }

    pub(super) fn answer_in_turn(&mut self, origin: super::Origin, answer: Answer) {
        if self.forwarded.has(origin.session) {
            self.forwarded.push(origin.session, Waiting::Answer(origin, answer));
        } else {
            self.pending.push_back(Pending::Answer { origin, answer });
        }
    }
}
