//! Fast leader election: every server tells whom it votes for, and changes to whoever is better,
//! until a quorum votes for the same. Source: quorum-protocol reference, 2.
//!
//! What it decides is only whom to follow first: that two leaders never have a quorum, and that a leader has
//! everything committed, is decided in discovery. So all waits here are about liveness.

mod ballot;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{Notification, ServerState};
use oxikeeper_proto::time::Now;
use tracing::{debug, info};

pub use self::ballot::{Ballot, Vote};
use crate::config::PeerConfig;
use crate::mutation::{Mutation, mutated};
use crate::verifier::Quorums;

/// How long a server that has a quorum waits for a better vote, as Apache does. A leader that others
/// still doubt would have nobody to lead.
const FINAL_WAIT: Duration = Duration::from_millis(200);
/// How far the connections of a server that dies may break apart.
const JUST_BEFORE: Duration = Duration::from_millis(100);

/// What the election wants said and done.
#[derive(Debug, Default)]
pub struct ElectionResult {
    /// Messages, in order.
    pub send: Vec<(ServerId, Notification)>,
    /// The state and the vote with which it has ended.
    pub elected: Option<(ServerState, Vote)>,
}

/// Looking for a leader.
#[derive(Debug)]
struct Looking {
    /// What this server will be if another leads. One that was removed from the ensemble follows, as
    /// Apache's does, and has no vote.
    as_learner: ServerState,
    /// What this server began the round with.
    initial: Vote,
    /// Whom it votes for now.
    proposal: Vote,
    /// Votes of this round, the own one included.
    received: BTreeMap<ServerId, Ballot>,
    /// What servers say that look no more.
    settled: BTreeMap<ServerId, Ballot>,
    /// Voters whose election port refused us, or whose connection broke, since the round began or right
    /// before it.
    unreachable: BTreeSet<ServerId>,
    /// Between two repetitions of the vote.
    wait: Duration,
    /// Not put off by messages, as Apache does it: those of a server without a vote, which come again and
    /// again, would keep the others from ever telling one another theirs.
    repeat_at: Now,
    /// A quorum votes as we do: the end, if nothing better comes until then.
    final_at: Option<Now>,
}

impl Looking {
    /// This server has lost what it had: it has no vote, and cannot lead.
    fn is_void(&self) -> bool {
        is_void(&self.initial)
    }
}

/// The election of one server, and its answers when it is over.
#[derive(Debug)]
pub struct Election {
    my_id: ServerId,
    wait_min: Duration,
    wait_max: Duration,
    reconfig_enabled: bool,
    state: ServerState,
    /// `logicalclock`.
    round: i64,
    /// The result of the last election.
    current: Vote,
    looking: Option<Looking>,
    /// Servers that this process has heard of. One that never ran may be starting right now, and its
    /// vote may change the minds of those who wait longer than we do.
    met: BTreeSet<ServerId>,
    /// Servers that were unreachable, and when, and have said nothing since.
    broken: BTreeMap<ServerId, Now>,
}

impl Election {
    /// Before the first election.
    pub fn new(config: &PeerConfig, last: Zxid, current_epoch: u32) -> Election {
        let current = Vote {
            leader: config.my_id,
            zxid: last.to_wire(),
            round: 0,
            peer_epoch: i64::from(current_epoch),
        };
        Election {
            my_id: config.my_id,
            wait_min: Duration::from_millis(u64::from(config.notification_min_ms.max(1))),
            wait_max: Duration::from_millis(u64::from(config.notification_max_ms.max(1))),
            reconfig_enabled: config.reconfig_enabled,
            state: ServerState::Looking,
            round: 0,
            current,
            looking: None,
            met: BTreeSet::new(),
            broken: BTreeMap::new(),
        }
    }

    /// Begins a round with what this server has: the last zxid that is on its disk.
    pub fn start(
        &mut self,
        now: Now,
        last: Zxid,
        current_epoch: u32,
        quorums: &Quorums,
        result: &mut ElectionResult,
    ) {
        self.state = ServerState::Looking;
        self.round += 1;
        let none = Vote::none(self.round);
        let own = Vote {
            leader: self.my_id,
            zxid: last.to_wire(),
            round: self.round,
            peer_epoch: i64::from(current_epoch),
        };
        let initial = if quorums.is_voter(self.my_id) { own } else { none };
        let as_learner = match quorums.current.is_observer(self.my_id) {
            true => ServerState::Observing,
            false => ServerState::Following,
        };
        self.looking = Some(Looking {
            as_learner,
            initial,
            proposal: initial,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            unreachable: self.just_broken(now),
            wait: self.wait_min,
            repeat_at: now.after(self.wait_min),
            final_at: None,
        });
        info!(round = self.round, zxid = %last, epoch = current_epoch, "looking for a leader");
        self.tell_voters(quorums, result);
        self.count(now, quorums, result);
    }

    /// The outcome is being acted on, or has failed: nothing is decided until the next
    /// [`start`](Self::start), but questions are answered.
    pub fn set_state(&mut self, state: ServerState) {
        self.state = state;
    }

    /// The leader elected has begun this epoch: servers that come later must find the same in
    /// everybody's answers (ZOOKEEPER-1732, 1805, 1818).
    pub fn set_peer_epoch(&mut self, epoch: u32) {
        self.current.peer_epoch = i64::from(epoch);
    }

    /// What the server told others last: its vote of the last election.
    pub fn current_vote(&self) -> Vote {
        self.current
    }

    /// `logicalclock`.
    pub fn round(&self) -> i64 {
        self.round
    }

    /// Whether it looks for a leader.
    pub fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// When [`tick`](Self::tick) is due.
    pub fn next_deadline(&self) -> Option<Now> {
        let looking = self.looking.as_ref()?;
        Some(looking.final_at.map_or(looking.repeat_at, |end| end.min(looking.repeat_at)))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now, quorums: &Quorums, result: &mut ElectionResult) {
        let Some(looking) = &mut self.looking else { return };
        if looking.final_at.is_some_and(|end| now >= end) {
            self.finish(self.looking_vote(), result);
        } else if now >= looking.repeat_at {
            looking.wait = (looking.wait * 2).min(self.wait_max);
            looking.repeat_at = now.after(looking.wait);
            self.tell_voters(quorums, result);
        }
    }

    /// A voter does not run, or did not a moment ago.
    pub fn unreachable(
        &mut self,
        now: Now,
        server: ServerId,
        quorums: &Quorums,
        result: &mut ElectionResult,
    ) {
        if !self.met.contains(&server) {
            return;
        }
        self.broken.insert(server, now);
        if let Some(looking) = &mut self.looking {
            looking.unreachable.insert(server);
            self.count(now, quorums, result);
        }
    }

    /// A leader that dies may take its election connection away before its quorum connection: that this
    /// breaks begins the round, and what broke right before it belongs to it.
    fn just_broken(&self, now: Now) -> BTreeSet<ServerId> {
        let is_new = |at: &Now| now.since(*at) <= JUST_BEFORE;
        self.broken.iter().filter(|(_, at)| is_new(at)).map(|(server, _)| *server).collect()
    }

    /// The configuration in a message, if it is newer than ours and to be adopted: first that, then the
    /// message. Who does not look for a leader learns of it from the leader it has.
    pub fn newer_config(&self, message: &Notification, quorums: &Quorums) -> Option<String> {
        if !self.reconfig_enabled || self.looking.is_none() {
            return None;
        }
        let text = message.config_text()?;
        newer(&text, quorums).then(|| text.into_owned())
    }

    /// A reconfiguration says who leads, so that nobody is elected.
    pub fn designate(
        &mut self,
        leader: ServerId,
        last: Zxid,
        current_epoch: u32,
        state: ServerState,
    ) {
        self.current = Vote {
            leader,
            zxid: last.to_wire(),
            round: self.round,
            peer_epoch: i64::from(current_epoch),
        };
        self.state = state;
        info!(%leader, ?state, "designated");
    }

    /// A message has come.
    pub fn received(
        &mut self,
        now: Now,
        from: ServerId,
        message: &Notification,
        quorums: &Quorums,
        result: &mut ElectionResult,
    ) {
        self.met.insert(from);
        self.broken.remove(&from);
        if !quorums.is_voter(from) {
            // This is how observers learn of the leader. The round is ours, not the vote's.
            let vote = Vote { round: self.round, ..self.current };
            result.send.push((from, self.message(vote, quorums)));
            return;
        }
        let is_late = message.state == ServerState::Looking && message.election_epoch < self.round;
        // Who has no vote corrects nobody: voters answer every word of it, and so it would go on for ever.
        let has_vote = quorums.is_voter(self.my_id);
        match &mut self.looking {
            None => {
                // Between two elections it is itself looking, and has no ear yet: who is in a later round would
                // answer its old vote, and so it would go on until the disk lets it begin.
                let has_news = self.state != ServerState::Looking || (is_late && has_vote);
                if message.state == ServerState::Looking && has_news {
                    result.send.push((from, self.message(self.current, quorums)));
                }
            }
            Some(looking) => {
                looking.unreachable.remove(&from);
                let proposal = looking.proposal;
                if is_late && has_vote {
                    result.send.push((from, self.message(proposal, quorums)));
                }
                self.consider(now, from, message, quorums, result);
            }
        }
    }

    fn consider(
        &mut self,
        now: Now,
        from: ServerId,
        message: &Notification,
        quorums: &Quorums,
        result: &mut ElectionResult,
    ) {
        let ballot = Ballot::of(message);
        let is_for_nobody =
            ballot.vote.leader.0 != i64::MIN && !quorums.is_voter(ballot.vote.leader);
        if is_for_nobody {
            return;
        }
        match message.state {
            ServerState::Looking => self.consider_looking(now, from, ballot, quorums, result),
            ServerState::Following | ServerState::Leading => {
                self.consider_settled(from, ballot, quorums, result);
            }
            ServerState::Observing => {}
        }
    }

    fn consider_looking(
        &mut self,
        now: Now,
        from: ServerId,
        ballot: Ballot,
        quorums: &Quorums,
        result: &mut ElectionResult,
    ) {
        let just_broken = self.just_broken(now);
        let Some(looking) = &mut self.looking else { return };
        let vote = ballot.vote;
        if looking.is_void() || is_void(&vote) {
            return;
        }
        if vote.round < self.round {
            return;
        }
        let mut is_changed = false;
        if vote.round > self.round {
            self.round = vote.round;
            looking.received.clear();
            looking.unreachable = just_broken;
            looking.final_at = None;
            looking.initial.round = vote.round;
            looking.proposal = looking.initial;
            is_changed = true;
        }
        if vote.beats(&looking.proposal, &quorums.current) {
            looking.proposal = vote;
            looking.final_at = None;
            is_changed = true;
        }
        looking.received.insert(from, ballot);
        let proposal = looking.proposal;
        if is_changed {
            debug!(vote = ?self.looking_vote(), "votes otherwise now");
            self.tell_voters(quorums, result);
        } else if quorums.is_voter(self.my_id) && proposal.beats(&vote, &quorums.current) {
            // It may not have heard ours: who begins later than others had no ear for their votes yet, and
            // would wait until they are repeated.
            result.send.push((from, self.message(proposal, quorums)));
        }
        self.count(now, quorums, result);
    }

    fn consider_settled(
        &mut self,
        from: ServerId,
        ballot: Ballot,
        quorums: &Quorums,
        result: &mut ElectionResult,
    ) {
        let (my_id, round) = (self.my_id, self.round);
        let Some(looking) = &mut self.looking else { return };
        let vote = ballot.vote;
        if vote.leader == my_id && looking.is_void() {
            // They voted for what this server was before it lost what it had: that one is gone.
            return;
        }
        if vote.round == round {
            // Kept without a version, as Apache does: compared with modern ones by leader alone.
            looking.received.insert(from, Ballot { version: 0, ..ballot });
            if ballot.has_quorum_in(&looking.received, quorums)
                && is_led(&looking.received, &vote, my_id, round)
            {
                return self.finish(vote, result);
            }
        }
        looking.settled.insert(from, ballot);
        if ballot.has_quorum_in(&looking.settled, quorums)
            && is_led(&looking.settled, &vote, my_id, round)
        {
            self.round = vote.round;
            self.finish(vote, result);
        }
    }

    /// Looks whether a quorum votes as we do. The final wait ends early when nothing better can come:
    /// every voter has voted in this round, or has stopped running.
    fn count(&mut self, now: Now, quorums: &Quorums, result: &mut ElectionResult) {
        let (my_id, round) = (self.my_id, self.round);
        let Some(looking) = &mut self.looking else { return };
        let own = Ballot::looking(looking.proposal);
        if quorums.is_voter(my_id) && !looking.is_void() {
            looking.received.insert(my_id, own);
        }
        if looking.proposal.leader.0 == i64::MIN || !own.has_quorum_in(&looking.received, quorums) {
            looking.final_at = None;
            return;
        }
        let end = *looking.final_at.get_or_insert(now.after(FINAL_WAIT));
        let is_known = |voter: &ServerId| {
            looking.unreachable.contains(voter)
                || looking.received.get(voter).is_some_and(|ballot| {
                    ballot.state == ServerState::Looking && ballot.vote.round == round
                })
        };
        if now >= end || quorums.voters().iter().all(is_known) {
            self.finish(self.looking_vote(), result);
        }
    }

    fn looking_vote(&self) -> Vote {
        self.looking.as_ref().map_or(self.current, |looking| looking.proposal)
    }

    fn finish(&mut self, vote: Vote, result: &mut ElectionResult) {
        let Some(looking) = self.looking.take() else { return };
        let state =
            if vote.leader == self.my_id { ServerState::Leading } else { looking.as_learner };
        self.current = vote;
        self.state = state;
        info!(leader = %vote.leader, round = self.round, ?state, "elected");
        result.elected = Some((state, vote));
    }

    /// The vote to everybody who has one, but ourselves.
    fn tell_voters(&self, quorums: &Quorums, result: &mut ElectionResult) {
        let vote = self.looking_vote();
        for voter in quorums.voters().into_iter().filter(|voter| *voter != self.my_id) {
            result.send.push((voter, self.message(vote, quorums)));
        }
    }

    fn message(&self, vote: Vote, quorums: &Quorums) -> Notification {
        Notification {
            state: self.state,
            leader: vote.leader,
            zxid: vote.zxid,
            election_epoch: if self.looking.is_some() { self.round } else { vote.round },
            peer_epoch: vote.peer_epoch,
            version: oxikeeper_proto::quorum::notification::VERSION,
            config: Some(quorums.current.text().clone()),
        }
    }
}

/// -1 says that a data directory was found empty that should not be (ZOOKEEPER-2325), or a log damaged.
fn is_void(vote: &Vote) -> bool {
    vote.zxid == -1 && !mutated(Mutation::EmptyDiskVotes)
}

/// Whether the leader that is spoken of says so itself: followers' words alone may be of a leader
/// that has died.
fn is_led(ballots: &BTreeMap<ServerId, Ballot>, vote: &Vote, my_id: ServerId, round: i64) -> bool {
    if vote.leader == my_id {
        return vote.round == round;
    }
    ballots.get(&vote.leader).is_some_and(|ballot| ballot.state == ServerState::Leading)
}

/// Whether this configuration text is newer than the current configuration: its last line tells.
fn newer(text: &str, quorums: &Quorums) -> bool {
    let version = text.lines().filter_map(|line| line.strip_prefix("version=")).next_back();
    let version = version.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    version.is_some_and(|version| version > quorums.current.version().raw())
}
