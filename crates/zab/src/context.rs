//! What the halves of a peer share while one input is handled.

use std::sync::Arc;

use oxikeeper_proto::id::ServerId;

use crate::config::PeerConfig;
use crate::history::History;
use crate::io::{Output, Ticket};
use crate::verifier::Quorums;

/// The two epochs as they are on disk: changed by the handler of the completion alone
/// (ZOOKEEPER-2307).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// `acceptedEpoch`.
    pub accepted: u32,
    /// `currentEpoch`.
    pub current: u32,
}

/// What a half tells the peer that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Leader: a quorum has the initial history of this epoch on disk; transactions may be proposed.
    Established {
        /// The epoch.
        epoch: u32,
    },
    /// Leader: a voter has promised this epoch to another: the next one has to be newer.
    EpochSeen(u32),
    /// Learner: UPTODATE has come, clients may be served.
    InStep {
        /// The leader's epoch.
        epoch: u32,
    },
    /// Servers have come, gone or moved: connections with them are made anew.
    MembersChanged,
    /// When this half is over, that server leads, without an election: a reconfiguration says so.
    Designated(ServerId),
    /// It is over: the half has closed its links and is to be dropped. The reason is for the log.
    Lost(String),
}

/// What a half works with besides its own state.
pub struct Context<'a> {
    /// The settings.
    pub config: &'a Arc<PeerConfig>,
    /// Who votes.
    pub quorums: &'a mut Quorums,
    /// What is logged.
    pub history: &'a mut History,
    /// What is promised.
    pub epochs: &'a mut Epochs,
    /// What is to be done, in order.
    pub out: &'a mut Vec<Output>,
    /// What the peer has to know.
    pub events: &'a mut Vec<Event>,
    /// The last ticket given out.
    pub last_ticket: &'a mut u64,
}

impl Context<'_> {
    /// A ticket that was never given out before.
    pub fn ticket(&mut self) -> Ticket {
        *self.last_ticket += 1;
        Ticket(*self.last_ticket)
    }
}
