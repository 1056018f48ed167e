//! What operators are told of a server's place in its ensemble, kept so that nobody waits for the Core.

use std::collections::BTreeMap;
use std::sync::Arc;

use oxikeeper_node::histogram::Histogram;
use oxikeeper_node::time::Now;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{ConfigText, PacketKind};
use oxikeeper_zab::io::{LinkId, Output, Role};
use parking_lot::Mutex;

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It serves alone.
    Standalone,
    /// Of an ensemble, without a leader: it serves nobody.
    Looking,
    /// The same, but it serves readers.
    ReadOnly,
    /// It leads.
    Leader,
    /// It votes.
    Follower,
    /// It does not vote.
    Observer,
}

impl Mode {
    /// The word for it in `srvr`, `mntr` and the AdminServer.
    pub fn text(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Looking => "looking",
            Mode::ReadOnly => "read-only",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
        }
    }
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What this server is.
    pub mode: Mode,
    /// Who belongs to the ensemble; none alone.
    pub members: Option<Arc<ConfigText>>,
    /// Who leads, as far as this server is in step with a leader.
    pub leader: Option<ServerId>,
    /// Leader: learners in step, and whether each votes.
    pub learners: BTreeMap<LinkId, (ServerId, bool)>,
    /// Leader: since when.
    pub leads_since: Option<Now>,
    /// Leader: bytes of the proposals sent.
    pub proposal_bytes: Histogram,
    /// Leader: bytes of the last one.
    pub last_proposal_bytes: u64,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing::new(None)
    }
}

/// Shared by who changes it and who tells of it.
pub type SharedStanding = Mutex<Standing>;

impl Standing {
    /// At the start. Without members: of a server that serves alone.
    pub fn new(members: Option<Arc<ConfigText>>) -> Standing {
        Standing {
            mode: if members.is_none() { Mode::Standalone } else { Mode::Looking },
            members,
            leader: None,
            learners: BTreeMap::new(),
            leads_since: None,
            proposal_bytes: Histogram::default(),
            last_proposal_bytes: 0,
        }
    }

    /// How many servers vote; 0 alone.
    pub fn quorum_size(&self) -> usize {
        self.members.as_ref().map_or(0, |members| members.participants().count())
    }

    /// Followers in step.
    pub fn synced_followers(&self) -> usize {
        self.learners.values().filter(|(_, votes)| *votes).count()
    }

    /// Observers in step.
    pub fn synced_observers(&self) -> usize {
        self.learners.len() - self.synced_followers()
    }

    /// The peer has this role now.
    pub fn set_role(&mut self, role: Role, my_id: ServerId, now: Now) {
        let (mode, leader) = match role {
            Role::Looking if self.mode == Mode::ReadOnly => (Mode::ReadOnly, None),
            Role::Looking => (Mode::Looking, None),
            Role::Leading { .. } => (Mode::Leader, Some(my_id)),
            Role::Following { leader, .. } => (Mode::Follower, Some(leader)),
            Role::Observing { leader, .. } => (Mode::Observer, Some(leader)),
        };
        self.leader = leader;
        if mode == self.mode {
            return;
        }
        self.mode = mode;
        self.learners.clear();
        self.leads_since = (mode == Mode::Leader).then_some(now);
        self.proposal_bytes = Histogram::default();
        self.last_proposal_bytes = 0;
    }

    /// Without a leader: whether readers are served.
    pub fn set_read_only(&mut self, is_read_only: bool) {
        match (self.mode, is_read_only) {
            (Mode::Looking, true) => self.mode = Mode::ReadOnly,
            (Mode::ReadOnly, false) => self.mode = Mode::Looking,
            _ => {}
        }
    }

    /// Notes what an output says about all this.
    pub fn note(&mut self, output: &Output, votes: impl Fn(ServerId) -> bool) {
        match output {
            Output::Learner { link, server, present: true } => {
                self.learners.insert(*link, (*server, votes(*server)));
            }
            Output::Learner { link, present: false, .. } => {
                self.learners.remove(link);
            }
            Output::Send(_, packet) if packet.kind == PacketKind::Proposal => {
                let bytes = packet.data.as_ref().map_or(0, |data| data.len() as u64);
                self.last_proposal_bytes = bytes;
                self.proposal_bytes.count(bytes);
            }
            _ => {}
        }
    }
}
