//! A configuration of the ensemble as text: in `/zookeeper/config`, in notifications, behind NEWLEADER,
//! in the transaction of a reconfig, and, without its version, in dynamic files.
//!
//! ```text
//! server.1=127.0.0.1:2888:3888:participant;0.0.0.0:2181
//! server.4=127.0.0.1:2889:3889:observer
//! group.1=1:2:3
//! weight.1=1
//! version=100000000
//! ```
//!
//! Source: quorum-protocol reference, 8.1 and 8.3; Apache's `QuorumMaj` and `QuorumHierarchical`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use thiserror::Error;

use super::server_line::{Role, ServerLine, ServerLineError};
use crate::id::ServerId;
use crate::properties;

/// Who belongs to the ensemble, what makes a quorum, and since which transaction.
///
/// Compared with [`is_same`](ConfigText::is_same); texts never are.
#[derive(Clone, Debug)]
pub struct ConfigText {
    /// The servers. At least one is a participant.
    pub servers: BTreeMap<ServerId, ServerLine>,
    /// What makes a quorum.
    pub quorum: QuorumRule,
    /// Zxid of the reconfig that made it; 0 for one from files that was never established.
    pub version: i64,
}

/// What makes a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumRule {
    /// More than half of the participants.
    Majority,
    /// More than half of the weight in more than half of the groups.
    Hierarchical {
        /// Members by group. Each participant is in exactly one.
        groups: BTreeMap<i64, BTreeSet<ServerId>>,
        /// Weights by server; 1 for every participant of whom none is written.
        weights: BTreeMap<ServerId, i64>,
    },
}

/// Why a text is not a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigTextError {
    /// A malformed escape.
    #[error("line {0} has a malformed escape")]
    Escape(usize),
    /// A key that is none of `server.N`, `group.N`, `weight.N` and `version`.
    #[error("the key {0:?} does not belong into a configuration")]
    Key(String),
    /// A number that is none.
    #[error("{key}={value} holds no number where one belongs")]
    Number {
        /// The key.
        key: String,
        /// What stands behind it.
        value: String,
    },
    /// A server that is none.
    #[error("server.{server}={value}: {source}")]
    Server {
        /// Which.
        server: ServerId,
        /// What stands behind it.
        value: String,
        /// What is wrong with it.
        source: ServerLineError,
    },
    /// A participant that is in no group, or a server in several.
    #[error("server {0} is not in exactly one group")]
    Group(ServerId),
    /// Nobody votes.
    #[error("it has no participant")]
    NoParticipant,
}

impl ConfigText {
    /// Reads a text. The version is 0 if it has none.
    ///
    /// # Errors
    /// What Apache refuses too.
    pub fn parse(text: &str) -> Result<ConfigText, ConfigTextError> {
        let properties = properties::parse_text(text).map_err(ConfigTextError::Escape)?;
        let mut servers = BTreeMap::new();
        let mut groups: BTreeMap<i64, BTreeSet<ServerId>> = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut version = 0;
        let mut is_hierarchical = false;
        // Of what stands twice, the later counts.
        let pairs: BTreeMap<String, String> =
            properties.into_iter().map(|property| (property.key, property.value)).collect();
        for (key, value) in &pairs {
            let not_a_number =
                || ConfigTextError::Number { key: key.clone(), value: value.clone() };
            let number = |text: &str| text.trim().parse::<i64>().map_err(|_| not_a_number());
            let suffix = |prefix: &str| key.strip_prefix(prefix)?.strip_prefix('.');
            if let Some(id) = suffix("server") {
                let server = ServerId(number(id)?);
                let line = ServerLine::parse(value).map_err(|source| ConfigTextError::Server {
                    server,
                    value: value.clone(),
                    source,
                })?;
                servers.insert(server, line);
            } else if let Some(id) = suffix("group") {
                is_hierarchical = true;
                let members = groups.entry(number(id)?).or_default();
                for member in value.split(':') {
                    members.insert(ServerId(number(member)?));
                }
            } else if let Some(id) = suffix("weight") {
                is_hierarchical = true;
                weights.insert(ServerId(number(id)?), number(value)?);
            } else if key == "version" {
                let number = i64::from_str_radix(value, 16).ok().filter(|&number| number >= 0);
                version = number.ok_or_else(not_a_number)?;
            } else {
                return Err(ConfigTextError::Key(key.clone()));
            }
        }
        let quorum = if is_hierarchical {
            complete(&servers, &groups, &mut weights)?;
            QuorumRule::Hierarchical { groups, weights }
        } else {
            QuorumRule::Majority
        };
        let config = ConfigText { servers, quorum, version };
        if config.participants().count() == 0 {
            return Err(ConfigTextError::NoParticipant);
        }
        Ok(config)
    }

    /// Those who vote, or would if they had a weight.
    pub fn participants(&self) -> impl Iterator<Item = ServerId> + '_ {
        let votes = |line: &ServerLine| line.role == Role::Participant;
        self.servers.iter().filter(move |(_, line)| votes(line)).map(|(id, _)| *id)
    }

    /// Whether nothing has to change between this and `other`: their versions are equal, or else the
    /// servers and the rule.
    pub fn is_same(&self, other: &ConfigText) -> bool {
        let same_server = |(id, line): (&ServerId, &ServerLine)| {
            other.servers.get(id).is_some_and(|other| other.is_same(line))
        };
        self.version == other.version
            || (self.servers.len() == other.servers.len()
                && self.servers.iter().all(same_server)
                && self.quorum == other.quorum)
    }

    /// The text without its last line, the version: as a dynamic file has it.
    pub fn without_version(&self) -> String {
        let mut lines: Vec<String> =
            self.servers.iter().map(|(id, line)| format!("server.{id}={line}")).collect();
        if let QuorumRule::Hierarchical { groups, weights } = &self.quorum {
            for (id, members) in groups {
                let members: Vec<String> = members.iter().map(ToString::to_string).collect();
                lines.push(format!("group.{id}={}", members.join(":")));
            }
            lines.extend(weights.iter().map(|(id, weight)| format!("weight.{id}={weight}")));
        }
        lines.join("\n")
    }
}

/// The whole text, no newline at its end.
impl fmt::Display for ConfigText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nversion={:x}", self.without_version(), self.version)
    }
}

/// Checks who is in which group, and gives a weight to participants without one.
fn complete(
    servers: &BTreeMap<ServerId, ServerLine>,
    groups: &BTreeMap<i64, BTreeSet<ServerId>>,
    weights: &mut BTreeMap<ServerId, i64>,
) -> Result<(), ConfigTextError> {
    let mut grouped = BTreeSet::new();
    for member in groups.values().flatten() {
        if !grouped.insert(*member) {
            return Err(ConfigTextError::Group(*member));
        }
    }
    for (id, line) in servers {
        if line.role == Role::Participant {
            if !grouped.contains(id) {
                return Err(ConfigTextError::Group(*id));
            }
            weights.entry(*id).or_insert(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAJORITY: &str = "server.1=127.0.0.1:24161:24171:participant;127.0.0.1:24151\n\
                            server.4=127.0.0.1:24164:24174:observer;127.0.0.1:24154\n\
                            version=200000005";
    const GROUPS: &str = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n\
                          server.3=c:1:2:observer\ngroup.1=1:3\ngroup.2=2\nweight.1=2\nweight.2=1\n\
                          version=0";

    fn parse(text: &str) -> ConfigText {
        ConfigText::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_printed_is_read() {
        for text in [MAJORITY, GROUPS] {
            let config = parse(text);
            assert_eq!(config.to_string(), text);
            let (rest, _) = text.rsplit_once('\n').expect("a version");
            assert_eq!(config.without_version(), rest);
        }
        let config = parse(MAJORITY);
        assert_eq!(config.version, 0x2_0000_0005);
        assert_eq!(config.participants().collect::<Vec<_>>(), [ServerId(1)]);
    }

    #[test]
    fn the_grammar_is_that_of_properties() {
        let loose = "# none\nversion : 5\nserver.2 = b:1:2\\:participant\nserver.1 a:1:2\n\n\
                     server.1=a:1:\\\n  3:observer\n";
        let config = parse(loose);
        let strict = "server.1=a:1:3:observer\nserver.2=b:1:2:participant\nversion=5";
        assert_eq!(config.to_string(), strict);
        assert_eq!(parse("server.1=a:1:2").version, 0);
    }

    #[test]
    fn what_is_no_configuration() {
        for (text, reason) in [
            ("", "no participant"),
            ("version=1", "no participant"),
            ("server.1=a:1:2:observer", "no participant"),
            ("server.x=a:1:2", "holds no number"),
            ("server.1=a:1:2\nversion=g", "holds no number"),
            ("server.1=a:1:2\nversion=", "holds no number"),
            ("server.1=a:1:2\nversion=-1", "holds no number"),
            ("server.1=a:1", "server.1=a:1: it is not of the form"),
            ("server.1=a:1:2\nclientPort=2181", "\"clientPort\" does not belong"),
            ("server.1=a:1:2\nserver=3", "\"server\" does not belong"),
            ("server.1=a:1:2\ngroup.1=2", "server 1 is not in exactly one group"),
            ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "server 1 is not in exactly one group"),
            ("server.1=a:1:2\nweight.1=1", "server 1 is not in exactly one group"),
            ("server.1=a:1:2\ngroup.1=", "holds no number"),
            ("server.1=\\u12", "line 1 has a malformed escape"),
        ] {
            let error = ConfigText::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn configurations_are_the_same_by_version_or_content() {
        let config = parse(MAJORITY);
        assert!(config.is_same(&parse("server.9=x:1:2\nversion=200000005")), "the version decides");
        let other =
            |from: &str, to: &str| parse(&MAJORITY.replace("200000005", "1").replace(from, to));
        assert!(config.is_same(&other("", "")));
        for (from, to) in [
            ("24161", "24160"),
            ("24174", "24170"),
            ("observer", "participant"),
            ("24151", "24150"),
        ] {
            assert!(!config.is_same(&other(from, to)), "{from} {to}");
        }
        assert!(!config.is_same(&parse("server.1=127.0.0.1:24161:24171;127.0.0.1:24151")));
        let groups = parse(GROUPS);
        let heavier = parse(&GROUPS.replace("weight.2=1", "weight.2=3").replace("=0", "=7"));
        assert!(!groups.is_same(&heavier));
        let unwritten = parse(&GROUPS.replace("weight.2=1\n", "").replace("=0", "=7"));
        assert!(groups.is_same(&unwritten));
    }
}
