//! Who votes, and what makes a quorum. A verifier is data: one membership, its quorum system and
//! its version; several can be asked together. Source: quorum-protocol reference, 8.3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{ConfigText, QuorumRule, Role};
use thiserror::Error;

use crate::mutation::{Mutation, mutated};

/// A group of a hierarchical quorum system.
pub type GroupId = i64;

/// What makes a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
enum System {
    /// More than half of the voters.
    Majority,
    /// More than half of the groups, each by more than half of its weight.
    Hierarchical {
        /// Each voter's group and weight.
        shares: BTreeMap<ServerId, (GroupId, u64)>,
        /// The weight of each group; those without any are left out.
        group_weights: BTreeMap<GroupId, u64>,
    },
}

/// A hierarchical quorum system that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadQuorumSystem {
    /// A voter in no group would never count.
    #[error("server {0} is in no group; every participant has to be in exactly one")]
    NoGroup(ServerId),
    /// A server in two groups would count twice.
    #[error("server {0} is in two groups; every participant has to be in exactly one")]
    TwoGroups(ServerId),
    /// A group or weight names somebody who is not there.
    #[error("groups and weights name server {0}, which has no server line")]
    Unknown(ServerId),
    /// Weights are added up.
    #[error("server {0} has a negative weight")]
    NegativeWeight(ServerId),
    /// Nobody could lead.
    #[error("no participant has a weight above 0")]
    NoWeight,
    /// Nobody votes.
    #[error("there is no participant")]
    NoVoters,
}

/// One membership with its quorum system.
#[derive(Clone, Debug)]
pub struct Verifier {
    version: Zxid,
    voters: BTreeSet<ServerId>,
    observers: BTreeSet<ServerId>,
    system: System,
    text: Bytes,
    config: Option<Arc<ConfigText>>,
}

impl Verifier {
    /// Quorums are majorities of the voters.
    ///
    /// # Errors
    /// No voters.
    pub fn majority(
        voters: impl IntoIterator<Item = ServerId>,
        observers: impl IntoIterator<Item = ServerId>,
    ) -> Result<Verifier, BadQuorumSystem> {
        let verifier = Verifier {
            version: Zxid::ZERO,
            voters: voters.into_iter().collect(),
            observers: observers.into_iter().collect(),
            system: System::Majority,
            text: Bytes::new(),
            config: None,
        };
        if verifier.voters.is_empty() {
            return Err(BadQuorumSystem::NoVoters);
        }
        Ok(verifier)
    }

    /// Quorums are of groups: `groups` as listed, `weights` where they are not 1.
    ///
    /// # Errors
    /// Groups and weights that do not fit the voters.
    pub fn hierarchical(
        voters: impl IntoIterator<Item = ServerId>,
        observers: impl IntoIterator<Item = ServerId>,
        groups: &BTreeMap<GroupId, Vec<ServerId>>,
        weights: &BTreeMap<ServerId, u64>,
    ) -> Result<Verifier, BadQuorumSystem> {
        let plain = Verifier::majority(voters, observers)?;
        let is_known = |id: &ServerId| plain.voters.contains(id) || plain.observers.contains(id);
        let named = groups.values().flatten().chain(weights.keys());
        if let Some(stranger) = named.into_iter().find(|id| !is_known(id)) {
            return Err(BadQuorumSystem::Unknown(*stranger));
        }
        let mut shares = BTreeMap::new();
        for (group, members) in groups {
            for id in members.iter().filter(|id| plain.voters.contains(id)) {
                let weight = weights.get(id).copied().unwrap_or(1);
                if shares.insert(*id, (*group, weight)).is_some() {
                    return Err(BadQuorumSystem::TwoGroups(*id));
                }
            }
        }
        if let Some(alone) = plain.voters.iter().find(|id| !shares.contains_key(id)) {
            return Err(BadQuorumSystem::NoGroup(*alone));
        }
        let group_weights = sums(shares.values().copied().filter(|(_, weight)| *weight > 0));
        if group_weights.is_empty() {
            return Err(BadQuorumSystem::NoWeight);
        }
        Ok(Verifier { system: System::Hierarchical { shares, group_weights }, ..plain })
    }

    /// From a configuration as servers tell each other of it.
    ///
    /// # Errors
    /// A quorum system that does not fit the servers, or a negative weight.
    pub fn from_config(config: ConfigText) -> Result<Verifier, BadQuorumSystem> {
        let of_role = |wanted: Role| {
            let servers = config.servers.iter().filter(move |(_, line)| line.role == wanted);
            servers.map(|(id, _)| *id)
        };
        let (voters, observers) = (of_role(Role::Participant), of_role(Role::Observer));
        let plain = match &config.quorum {
            QuorumRule::Majority => Verifier::majority(voters, observers)?,
            QuorumRule::Hierarchical { groups, weights } => {
                let groups = groups
                    .iter()
                    .map(|(group, members)| (*group, members.iter().copied().collect()))
                    .collect();
                let weight = |(id, weight): (&ServerId, &i64)| match u64::try_from(*weight) {
                    Ok(weight) => Ok((*id, weight)),
                    Err(_) => Err(BadQuorumSystem::NegativeWeight(*id)),
                };
                let weights = weights.iter().map(weight).collect::<Result<_, _>>()?;
                Verifier::hierarchical(voters, observers, &groups, &weights)?
            }
        };
        let (version, text) = (Zxid::from_wire(config.version), config.to_string().into());
        Ok(Verifier { version, text, config: Some(Arc::new(config)), ..plain })
    }

    /// The servers' addresses, where they are known.
    pub fn config(&self) -> Option<&ConfigText> {
        self.config.as_deref()
    }

    /// The zxid of the transaction that made it; zero for one from a file.
    pub fn version(&self) -> Zxid {
        self.version
    }

    /// Its text, as it stands in `/zookeeper/config`.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Who votes.
    pub fn voters(&self) -> &BTreeSet<ServerId> {
        &self.voters
    }

    /// Who follows without a vote.
    pub fn observers(&self) -> &BTreeSet<ServerId> {
        &self.observers
    }

    /// Whether this server votes.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.voters.contains(&id)
    }

    /// Whether this server follows without a vote.
    pub fn is_observer(&self, id: ServerId) -> bool {
        self.observers.contains(&id)
    }

    /// Whether this server is known at all.
    pub fn is_member(&self, id: ServerId) -> bool {
        self.is_voter(id) || self.observers.contains(&id)
    }

    /// What a server's vote weighs; who weighs nothing is never elected.
    pub fn weight(&self, id: ServerId) -> u64 {
        match &self.system {
            System::Majority => u64::from(self.is_voter(id)),
            System::Hierarchical { shares, .. } => shares.get(&id).map_or(0, |(_, weight)| *weight),
        }
    }

    /// Whether these servers are a quorum. Those without a vote do not count (ZOOKEEPER-2959).
    pub fn contains_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        if mutated(Mutation::CountObservers) {
            return servers.len() > self.voters.len() / 2;
        }
        match &self.system {
            System::Majority => self.voters.intersection(servers).count() > self.voters.len() / 2,
            System::Hierarchical { shares, group_weights } => {
                let present = servers.iter().filter_map(|id| shares.get(id).copied());
                let sums = sums(present);
                let is_won = |(group, whole): (&GroupId, &u64)| {
                    sums.get(group).is_some_and(|sum| *sum > whole / 2)
                };
                let won = group_weights.iter().filter(|group| is_won(*group)).count();
                won > group_weights.len() / 2
            }
        }
    }
}

fn sums(shares: impl Iterator<Item = (GroupId, u64)>) -> BTreeMap<GroupId, u64> {
    let mut sums = BTreeMap::new();
    for (group, weight) in shares {
        *sums.entry(group).or_default() += weight;
    }
    sums
}

/// The configurations in force: the committed one, and a proposed one that is not committed yet.
/// While there are two, both must agree to everything.
#[derive(Clone, Debug)]
pub struct Quorums {
    /// The last committed configuration.
    pub current: Arc<Verifier>,
    /// The last proposed one, if it is newer.
    pub proposed: Option<Arc<Verifier>>,
}

impl Quorums {
    /// One configuration.
    pub fn new(current: Arc<Verifier>) -> Quorums {
        Quorums { current, proposed: None }
    }

    /// The last seen configuration: the proposed one if there is one.
    pub fn last_seen(&self) -> &Arc<Verifier> {
        self.proposed.as_ref().unwrap_or(&self.current)
    }

    /// All in force.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Verifier>> {
        std::iter::once(&self.current).chain(&self.proposed)
    }

    /// Whether these servers are a quorum of each.
    pub fn contain_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        self.all().all(|verifier| verifier.contains_quorum(servers))
    }

    /// Whether this server votes in any.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.all().any(|verifier| verifier.is_voter(id))
    }

    /// Everybody who votes in any.
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.all().flat_map(|verifier| verifier.voters().iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    fn majority(voters: &[i64]) -> Verifier {
        Verifier::majority(ids(voters), ids(&[9])).expect("valid")
    }

    fn grouped(
        groups: &[(i64, &[i64])],
        weights: &[(i64, u64)],
    ) -> Result<Verifier, BadQuorumSystem> {
        let voters: BTreeSet<ServerId> = (1..=9).map(ServerId).collect();
        let groups = groups
            .iter()
            .map(|(group, members)| (*group, ids(members).into_iter().collect()))
            .collect();
        let weights = weights.iter().map(|(id, weight)| (ServerId(*id), *weight)).collect();
        Verifier::hierarchical(voters, [ServerId(10)], &groups, &weights)
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        for (voters, least) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
            let all: Vec<i64> = (1..=voters).collect();
            let verifier = majority(&all);
            for count in 0..=all.len() {
                let some = ids(&all[..count]);
                assert_eq!(verifier.contains_quorum(&some), count >= least, "{count} of {voters}");
            }
        }
    }

    #[test]
    fn observers_and_strangers_do_not_count() {
        let verifier = majority(&[1, 2, 3]);
        assert!(!verifier.contains_quorum(&ids(&[1, 9, 77])));
        assert!(verifier.contains_quorum(&ids(&[1, 3, 9])));
        assert_eq!((verifier.weight(ServerId(9)), verifier.weight(ServerId(1))), (0, 1));
    }

    #[test]
    fn a_hierarchical_quorum_wins_most_groups() {
        let groups: &[(i64, &[i64])] = &[(1, &[1, 2, 3]), (2, &[4, 5, 6]), (3, &[7, 8, 9])];
        let verifier = grouped(groups, &[]).expect("valid");
        assert!(verifier.contains_quorum(&ids(&[1, 2, 4, 5])), "two of three groups");
        assert!(!verifier.contains_quorum(&ids(&[1, 2, 3, 4, 7])), "five of nine, one group");
        assert!(!verifier.contains_quorum(&ids(&[1, 2, 3, 10])));
    }

    #[test]
    fn weights_count_and_groups_without_weight_do_not() {
        let groups: &[(i64, &[i64])] = &[(1, &[1, 2, 3]), (2, &[4, 5, 6]), (3, &[7, 8, 9])];
        let weights = [(7, 0), (8, 0), (9, 0), (1, 3)];
        let verifier = grouped(groups, &weights).expect("valid");
        assert_eq!(verifier.weight(ServerId(7)), 0);
        // Two groups are left, and both are needed. Server 1 has three of five.
        assert!(!verifier.contains_quorum(&ids(&[4, 5, 6, 7, 8, 9])));
        assert!(verifier.contains_quorum(&ids(&[1, 4, 5])));
        assert!(!verifier.contains_quorum(&ids(&[2, 3, 4, 5])), "2 of 5 is not more than 2");
    }

    #[test]
    fn groups_must_fit_the_voters() {
        let some: &[(i64, &[i64])] = &[(1, &[1, 2, 3])];
        assert_eq!(grouped(some, &[]).err(), Some(BadQuorumSystem::NoGroup(ServerId(4))));
        let twice: &[(i64, &[i64])] = &[(1, &[1, 2]), (2, &[2, 3])];
        assert_eq!(grouped(twice, &[]).err(), Some(BadQuorumSystem::TwoGroups(ServerId(2))));
        let strange: &[(i64, &[i64])] = &[(1, &[42])];
        assert_eq!(grouped(strange, &[]).err(), Some(BadQuorumSystem::Unknown(ServerId(42))));
        let all: &[(i64, &[i64])] = &[(1, &[1, 2, 3, 4, 5, 6, 7, 8, 9])];
        let none: Vec<(i64, u64)> = (1..=9).map(|id| (id, 0)).collect();
        assert_eq!(grouped(all, &none).err(), Some(BadQuorumSystem::NoWeight));
        let nobody = Verifier::majority([], [ServerId(1)]);
        assert_eq!(nobody.err(), Some(BadQuorumSystem::NoVoters));
    }

    #[test]
    fn a_configuration_is_known_by_its_text() {
        let text = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n\
                    server.3=c:1:2:observer\nversion=100000007";
        let config = ConfigText::parse(text).expect("valid");
        let verifier = Verifier::from_config(config).expect("valid");
        assert_eq!(verifier.text().as_ref(), text.as_bytes());
        assert_eq!(verifier.version(), Zxid::from_parts(1, 7));
        assert_eq!((verifier.voters(), verifier.observers()), (&ids(&[1, 2]), &ids(&[3])));
    }

    #[test]
    fn two_configurations_have_to_agree() {
        let (old, new) = (Arc::new(majority(&[1, 2, 3])), Arc::new(majority(&[3, 4, 5])));
        let quorums = Quorums { current: old, proposed: Some(new) };
        assert!(!quorums.contain_quorum(&ids(&[1, 2, 3])));
        assert!(quorums.contain_quorum(&ids(&[1, 3, 4])));
        assert_eq!(quorums.voters(), ids(&[1, 2, 3, 4, 5]));
    }
}
