//! Votes: which is better, which are equal. Source: quorum-protocol reference, 2.4.

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{Notification, ServerState};

use crate::verifier::{Quorums, Verifier};

/// Whom somebody wants to lead, and why. Numbers are signed: who has no vote has the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Whom.
    pub leader: ServerId,
    /// That server's last zxid.
    pub zxid: i64,
    /// The round of the election.
    pub round: i64,
    /// That server's epoch.
    pub peer_epoch: i64,
}

impl Vote {
    /// What a server without a vote says.
    pub fn none(round: i64) -> Vote {
        let none = Notification::NO_VOTE;
        Vote { leader: ServerId(none), zxid: none, round, peer_epoch: none }
    }

    /// Whether this is better: by epoch, then zxid, then id. Who weighs nothing is never better.
    pub fn beats(&self, other: &Vote, verifier: &Verifier) -> bool {
        let rank = |vote: &Vote| (vote.peer_epoch, vote.zxid, vote.leader);
        verifier.weight(self.leader) > 0 && rank(self) > rank(other)
    }
}

/// A vote, and what its sender does and speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// The vote.
    pub vote: Vote,
    /// What the sender does.
    pub state: ServerState,
    /// The version of its message.
    pub version: i32,
}

impl Ballot {
    /// What a message says.
    pub fn of(message: &Notification) -> Ballot {
        let vote = Vote {
            leader: message.leader,
            zxid: message.zxid,
            round: message.election_epoch,
            peer_epoch: message.peer_epoch,
        };
        Ballot { vote, state: message.state, version: message.version }
    }

    /// The own one.
    pub fn looking(vote: Vote) -> Ballot {
        Ballot { vote, state: ServerState::Looking, version: 0 }
    }

    /// Whether two ballots are for the same. Of settled servers zxid and round are not compared, and
    /// the epoch only where both speak alike: they may have been elected by different rounds
    /// (ZOOKEEPER-1732, 1805, 1818).
    pub fn agrees_with(&self, other: &Ballot) -> bool {
        let is_looking = |ballot: &Ballot| ballot.state == ServerState::Looking;
        if is_looking(self) || is_looking(other) {
            self.vote == other.vote
        } else if (self.version == 0) != (other.version == 0) {
            self.vote.leader == other.vote.leader
        } else {
            self.vote.leader == other.vote.leader && self.vote.peer_epoch == other.vote.peer_epoch
        }
    }

    /// Whether those who agree with this are a quorum.
    pub fn has_quorum_in(&self, ballots: &BTreeMap<ServerId, Ballot>, quorums: &Quorums) -> bool {
        let agreed: BTreeSet<ServerId> = ballots
            .iter()
            .filter(|(_, ballot)| self.agrees_with(ballot))
            .map(|(server, _)| *server)
            .collect();
        quorums.contain_quorum(&agreed)
    }
}
