//! Changes of the membership, as a learner of an Apache leader follows them: one is proposed, and from
//! then on needs both quorums; it is committed, and then the new one alone is in force.
//! Source: quorum-protocol reference, 8.4 and 8.6; Apache's `QuorumPeer.processReconfig`.
//!
//! Nothing of this happens unless `reconfigEnabled`.

use std::sync::Arc;

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::ConfigText;
use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{Txn, Zxid};
use tracing::{debug, info, warn};

use crate::context::{Context, Event};
use crate::io::{ConfigStep, Output};
use crate::verifier::Verifier;

/// What a configuration that has come into force means for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was in force already, or says the same.
    None,
    /// Others have come, gone, or moved.
    Others,
    /// The own role is another, or somebody else leads: whoever is being followed has to be left.
    Place,
}

/// How a configuration has come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// A reconfiguration that is committed, and says who is to lead on.
    Transaction {
        /// Who.
        designated: ServerId,
        /// Who leads now.
        leader: ServerId,
    },
    /// A leader that brought it with NEWLEADER.
    Leader(ServerId),
    /// A voter that told of it, or the own lead.
    Word,
}

impl Context<'_> {
    /// A reconfiguration is proposed in this transaction, if it is one.
    pub(crate) fn see_proposal(&mut self, payload: &[u8]) {
        if let Some(text) = self.reconfiguration(payload)
            && let Some(verifier) = readable(&text)
            && verifier.version() > self.quorums.last_seen().version()
        {
            self.propose_config(verifier);
        }
    }

    /// NEWLEADER names the configuration that its leader has seen last. What another leader has proposed,
    /// and this one does not know, will never be committed.
    pub(crate) fn see_leaders_config(&mut self, text: &str) {
        if !self.config.reconfig_enabled {
            return;
        }
        let Some(verifier) = readable(text) else { return };
        if verifier.version() == self.quorums.last_seen().version() {
            return;
        }
        if verifier.version() > self.quorums.current.version() {
            self.propose_config(verifier);
        } else if self.quorums.proposed.take().is_some() {
            info!("the configuration that was proposed will not come into force");
            let text = self.quorums.current.text().clone();
            self.out.push(Output::Config { text, step: ConfigStep::Withdrawn });
        }
    }

    /// The first leader of a fresh ensemble gives its configuration the version of its epoch, so that it
    /// counts for more than one that nobody has agreed to (ZOOKEEPER-1783).
    pub(crate) fn propose_first_config(&mut self, epoch: u32) {
        let is_first = self.quorums.last_seen().version() == Zxid::ZERO;
        if self.config.reconfig_enabled
            && is_first
            && let Some(config) = self.quorums.current.config()
        {
            let version = Zxid::from_parts(epoch, 0).to_wire();
            let first = Verifier::from_config(ConfigText { version, ..config.clone() });
            self.propose_config(Arc::new(first.expect("another version of what is in force")));
        }
    }

    /// The transaction that proposed a configuration is committed.
    pub(crate) fn activate_proposal(
        &mut self,
        payload: &[u8],
        designated: ServerId,
        leader: ServerId,
    ) -> Change {
        match self.reconfiguration(payload) {
            Some(text) => self.activate(&text, Through::Transaction { designated, leader }),
            None => Change::None,
        }
    }

    /// A configuration is committed.
    pub fn activate(&mut self, text: &str, through: Through) -> Change {
        if !self.config.reconfig_enabled {
            return Change::None;
        }
        let Some(new) = readable(text) else { return Change::None };
        let old = Arc::clone(&self.quorums.current);
        if new.version() <= old.version() {
            debug!(version = %new.version(), "no newer configuration");
            return Change::None;
        }
        info!(version = %new.version(), voters = ?new.voters(), "a configuration is in force");
        self.quorums.current = Arc::clone(&new);
        let version = new.version();
        self.quorums.proposed.take_if(|proposed| proposed.version() <= version);
        let in_log = matches!(through, Through::Transaction { .. });
        let text = new.text().clone();
        self.out.push(Output::Config { text, step: ConfigStep::Committed { in_log } });
        if is_same(&old, &new) {
            return Change::None;
        }
        self.events.push(Event::MembersChanged);
        let me = self.config.my_id;
        let role_changes = old.is_observer(me) != new.is_observer(me);
        let leader_changes = match through {
            Through::Transaction { designated, leader } => designated != leader,
            Through::Leader(leader) => !leads_where_it_did(&old, &new, leader),
            Through::Word => false,
        };
        if !role_changes && !leader_changes {
            return Change::Others;
        }
        // Who leads on is known, and no election is needed.
        if let Through::Transaction { designated, .. } = through {
            self.events.push(Event::Designated(designated));
        }
        Change::Place
    }

    fn propose_config(&mut self, verifier: Arc<Verifier>) {
        info!(version = %verifier.version(), "a configuration is proposed");
        let text = verifier.text().clone();
        self.quorums.proposed = Some(verifier);
        self.out.push(Output::Config { text, step: ConfigStep::Proposed });
    }

    /// The new configuration in a transaction that is a reconfiguration.
    fn reconfiguration(&self, payload: &[u8]) -> Option<String> {
        if !self.config.reconfig_enabled {
            return None;
        }
        match decode_payload(payload) {
            Ok((_, Txn::Reconfig(body), _)) => {
                body.data.map(|text| String::from_utf8_lossy(text).into_owned())
            }
            _ => None,
        }
    }
}

fn readable(text: &str) -> Option<Arc<Verifier>> {
    let parsed = ConfigText::parse(text).map_err(|error| error.to_string());
    let verifier =
        parsed.and_then(|config| Verifier::from_config(config).map_err(|error| error.to_string()));
    match verifier {
        Ok(verifier) => Some(Arc::new(verifier)),
        Err(error) => {
            warn!(error, text, "a configuration that cannot be read");
            None
        }
    }
}

/// Whether nothing but the version differs.
fn is_same(old: &Verifier, new: &Verifier) -> bool {
    match (old.config(), new.config()) {
        (Some(old), Some(new)) => old.is_same(new),
        _ => old.voters() == new.voters() && old.observers() == new.observers(),
    }
}

/// Whether this server votes in both, and is reached at the same addresses.
fn leads_where_it_did(old: &Verifier, new: &Verifier, leader: ServerId) -> bool {
    if !old.is_voter(leader) || !new.is_voter(leader) {
        return false;
    }
    let line = |verifier: &Verifier| verifier.config()?.servers.get(&leader).cloned();
    match (line(old), line(new)) {
        (Some(old), Some(new)) => old.has_same_quorum_addresses(&new),
        _ => true,
    }
}
