//! Who is who in the ensemble, and how they are reached: as the configuration in force says, and while
//! another is proposed, as that says of servers that the first does not know.

use std::sync::Arc;

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::ConfigText;
use oxikeeper_proto::quorum::server_line::{ServerAddress, ServerLine};
use oxikeeper_zab::io::ConfigStep;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Members {
    my_id: ServerId,
    /// The own line, also when the configuration in force has none any more, or not yet.
    own: Option<ServerLine>,
    current: Arc<ConfigText>,
    proposed: Option<Arc<ConfigText>>,
}

impl Members {
    /// As the files have them.
    pub fn new(my_id: ServerId, current: ConfigText, proposed: Option<ConfigText>) -> Members {
        let own = current.servers.get(&my_id).cloned();
        Members { my_id, own, current: Arc::new(current), proposed: proposed.map(Arc::new) }
    }

    /// The configuration in force.
    pub fn current(&self) -> &Arc<ConfigText> {
        &self.current
    }

    /// Another configuration is proposed, is in force, or will not be.
    pub fn change(&mut self, config: Arc<ConfigText>, step: ConfigStep) {
        match step {
            ConfigStep::Proposed => self.proposed = Some(config),
            ConfigStep::Committed { .. } => {
                self.proposed.take_if(|proposed| proposed.version <= config.version);
                self.current = config;
                if let Some(own) = self.current.servers.get(&self.my_id) {
                    self.own = Some(own.clone());
                }
            }
            ConfigStep::Withdrawn => self.proposed = None,
        }
    }

    /// How this server is reached. One that is not in the configuration stays where it was.
    pub fn own(&self) -> Option<&ServerLine> {
        self.own.as_ref()
    }

    /// Where a server leads.
    pub fn quorum_addresses(&self, server: ServerId) -> Vec<(String, u16)> {
        self.addresses(server, |address| address.quorum_port)
    }

    /// Where a server elects.
    pub fn election_addresses(&self, server: ServerId) -> Vec<(String, u16)> {
        self.addresses(server, |address| address.election_port)
    }

    /// Those in force first, then others that are proposed; of this server what is in force alone.
    fn addresses(
        &self,
        server: ServerId,
        port: impl Fn(&ServerAddress) -> u16,
    ) -> Vec<(String, u16)> {
        let mut found = Vec::new();
        let configs = std::iter::once(&self.current).chain(&self.proposed);
        let lines: Vec<&ServerLine> = match server == self.my_id {
            true => self.own.iter().collect(),
            false => configs.filter_map(|config| config.servers.get(&server)).collect(),
        };
        for address in lines.into_iter().flat_map(|line| &line.addresses) {
            let place = (address.host.clone(), port(address));
            if !found.contains(&place) {
                found.push(place);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ConfigText {
        ConfigText::parse(text).expect("a configuration")
    }

    #[test]
    fn who_is_proposed_is_reached_and_who_is_gone_is_not() {
        let first = config("server.1=a:1:2\nserver.2=b:1:2\nversion=5");
        let mut members = Members::new(ServerId(2), first, None);
        let (one, two, three) = (ServerId(1), ServerId(2), ServerId(3));
        let next = Arc::new(config("server.1=c:3:4\nserver.3=d:1:2\nversion=6"));
        assert_eq!(members.election_addresses(three), []);
        members.change(Arc::clone(&next), ConfigStep::Proposed);
        assert_eq!(members.quorum_addresses(one), [("a".into(), 1), ("c".into(), 3)]);
        assert_eq!(members.election_addresses(three), [("d".into(), 2)]);
        members.change(Arc::clone(&next), ConfigStep::Withdrawn);
        assert_eq!(members.quorum_addresses(one), [("a".into(), 1)]);
        members.change(next, ConfigStep::Committed { in_log: true });
        assert_eq!(members.quorum_addresses(one), [("c".into(), 3)]);
        assert_eq!(members.election_addresses(two), [("b".into(), 2)], "but for this one itself");
        let moved = Arc::new(config("server.2=e:5:6\nversion=7"));
        members.change(moved, ConfigStep::Committed { in_log: true });
        assert_eq!(members.election_addresses(two), [("e".into(), 6)]);
        assert_eq!(members.election_addresses(one), []);
    }
}
