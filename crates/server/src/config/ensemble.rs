//! Settings of an ensemble: checked as Apache checks them, whether or not this server can take its
//! place in one, so that a file is not first found wrong by whoever reads it next.
//!
//! Source: operations reference, 1.2 to 1.5.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::config_text::{ConfigText, QuorumRule};

use super::error::{ConfigError, Place};
use super::server_line::{self, Role, ServerLine};
use super::settings::Settings;

/// Who belongs to the ensemble, and how its servers deal with one another.
#[derive(Clone, Debug, PartialEq)]
pub struct EnsembleConfig {
    /// `myid`; `None` if there is none.
    pub my_id: Option<i64>,
    /// The lines `server.N`, by N.
    pub servers: BTreeMap<i64, ServerLine>,
    /// What makes a quorum.
    pub quorum: QuorumConfig,
    /// `initLimit`, in ticks; 0 if unset.
    pub init_limit: u32,
    /// `syncLimit`, in ticks; 0 if unset.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit`, in ticks; `initLimit` if unset.
    pub connect_to_learner_master_limit: u32,
    /// `standaloneEnabled`: one voter serves alone.
    pub standalone_enabled: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `quorumListenOnAllIPs`.
    pub listens_on_all_addresses: bool,
    /// `zookeeper.observer.syncEnabled`, or else `syncEnabled`.
    pub observer_sync_enabled: bool,
    /// `localSessionsEnabled`.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_sessions_upgrade: bool,
    /// `observerMasterPort`.
    pub observer_master_port: Option<u16>,
    /// `oraclePath`.
    pub oracle_path: Option<PathBuf>,
    /// `dynamicConfigFile`, and the version at the end of its name.
    pub dynamic_file: Option<(PathBuf, u64)>,
    /// `multiAddress.reachabilityCheckEnabled` and its timeout; `None` if it is off.
    pub reachability_check: Option<Duration>,
    /// `multiAddress.enabled`.
    pub multi_address: bool,
    /// `cnxTimeout`.
    pub election_connect_timeout: Duration,
    /// `quorumCnxnTimeoutMs`; `None` is `syncLimit` ticks.
    pub election_read_timeout: Option<Duration>,
    /// `fastleader.minNotificationInterval` and `fastleader.maxNotificationInterval`.
    pub notification_interval: (Duration, Duration),
    /// `electionPortBindRetry`; 0 is for ever.
    pub election_port_bind_retry: u32,
    /// `tcpKeepAlive`.
    pub keep_alive: bool,
    /// `follower.nodelay`.
    pub follower_nodelay: bool,
    /// `leader.nodelay`.
    pub leader_nodelay: bool,
    /// `leaderServes`.
    pub leader_serves: bool,
    /// `leader.maxConcurrentSnapSyncs`.
    pub snap_syncs_max: u32,
    /// `leader.maxConcurrentDiffSyncs`.
    pub diff_syncs_max: u32,
    /// `leader.maxTimeToWaitForEpoch`; `None` is without limit.
    pub epoch_wait_max: Option<Duration>,
    /// `leaderConnectDelayDuringRetryMs`.
    pub leader_connect_delay: Duration,
    /// `observer.reconnectDelayMs`.
    pub observer_reconnect_delay: Duration,
    /// `observer.election.DelayMs`.
    pub observer_election_delay: Duration,
    /// `observerMaster.sizeLimit`: bytes.
    pub observer_master_backlog_max: usize,
    /// `commitLogCount`: transactions kept in memory for DIFF.
    pub commit_log_count: u32,
    /// `snapshotSizeFactor`; `None` is off.
    pub snapshot_size_factor: Option<f64>,
    /// `forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// `db.autocreate`.
    pub db_autocreate: bool,
}

/// What makes a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumConfig {
    /// More than half of the voters.
    Majority,
    /// `group.N` and `weight.N`: more than half of the weight in more than half of the groups.
    Hierarchical {
        /// Members by group.
        groups: BTreeMap<i64, Vec<i64>>,
        /// Weights that are not 1, by server.
        weights: BTreeMap<i64, i64>,
    },
}

impl EnsembleConfig {
    /// Reads and checks all there is about ensembles.
    pub(super) fn read(
        settings: &Settings,
        data_dir: &Path,
    ) -> Result<EnsembleConfig, ConfigError> {
        check_switches(settings)?;
        let my_id = my_id(data_dir)?;
        let switch = |key, default| Ok(settings.switch(key)?.unwrap_or(default));
        let property =
            |key: &str, default| settings.property_int(&format!("zookeeper.{key}"), default);
        let millis = |key: &str, default| duration(property(key, default));
        let on =
            |key: &str, default| settings.property_switch(&format!("zookeeper.{key}"), default);
        let ticks = |key: &'static str| -> Result<u32, ConfigError> {
            Ok(count(settings.int(key)?.unwrap_or(0).into()))
        };
        let multi_address = on("multiAddress.enabled", switch("multiAddress.enabled", false)?);
        let servers = servers(settings, multi_address)?;
        let quorum = quorum(settings, &servers)?;
        let init_limit = ticks("initLimit")?;
        let check_ms = settings.int("multiAddress.reachabilityCheckTimeoutMs")?.unwrap_or(1000);
        let check_ms = property("multiAddress.reachabilityCheckTimeoutMs", check_ms.into());
        let checks = on(
            "multiAddress.reachabilityCheckEnabled",
            switch("multiAddress.reachabilityCheckEnabled", true)?,
        );
        let factor = settings.property_fraction("zookeeper.snapshotSizeFactor", 0.33);
        let config = EnsembleConfig {
            my_id,
            servers,
            quorum,
            init_limit,
            sync_limit: ticks("syncLimit")?,
            connect_to_learner_master_limit: match ticks("connectToLearnerMasterLimit")? {
                0 => init_limit,
                limit => limit,
            },
            standalone_enabled: switch("standaloneEnabled", true)?,
            reconfig_enabled: switch("reconfigEnabled", false)?,
            listens_on_all_addresses: switch("quorumListenOnAllIPs", false)?,
            observer_sync_enabled: on("observer.syncEnabled", switch("syncEnabled", true)?),
            local_sessions: switch("localSessionsEnabled", false)?,
            local_sessions_upgrade: switch("localSessionsUpgradingEnabled", false)?,
            observer_master_port: u16::try_from(settings.int("observerMasterPort")?.unwrap_or(0))
                .ok()
                .filter(|&port| port != 0),
            oracle_path: settings.text("oraclePath").map(PathBuf::from),
            dynamic_file: settings
                .text("dynamicConfigFile")
                .map(|path| (PathBuf::from(path), version_of(path))),
            reachability_check: checks.then(|| duration(check_ms)),
            multi_address,
            election_connect_timeout: millis("cnxTimeout", 5000),
            election_read_timeout: Some(property("quorumCnxnTimeoutMs", -1))
                .filter(|&ms| ms > 0)
                .map(duration),
            notification_interval: (
                millis("fastleader.minNotificationInterval", 200),
                millis("fastleader.maxNotificationInterval", 60_000),
            ),
            election_port_bind_retry: count(property("electionPortBindRetry", 3)),
            keep_alive: on("tcpKeepAlive", false),
            follower_nodelay: settings.property_switch("follower.nodelay", true),
            leader_nodelay: settings.property_switch("leader.nodelay", true),
            leader_serves: settings.property("zookeeper.leaderServes") != Some("no"),
            snap_syncs_max: count(property("leader.maxConcurrentSnapSyncs", 10)),
            diff_syncs_max: count(property("leader.maxConcurrentDiffSyncs", 100)),
            epoch_wait_max: Some(property("leader.maxTimeToWaitForEpoch", -1))
                .filter(|&ms| ms >= 0)
                .map(duration),
            leader_connect_delay: millis("leaderConnectDelayDuringRetryMs", 100),
            observer_reconnect_delay: millis("observer.reconnectDelayMs", 0),
            observer_election_delay: millis("observer.election.DelayMs", 200),
            observer_master_backlog_max: count(property("observerMaster.sizeLimit", 32 << 20))
                as usize,
            commit_log_count: count(property("commitLogCount", 500)).max(500),
            snapshot_size_factor: Some(if factor > 1.0 { 0.33 } else { factor })
                .filter(|&factor| factor >= 0.0),
            force_snapshot_sync: on("forceSnapshotSync", false),
            db_autocreate: on("db.autocreate", true),
        };
        config.check(settings)?;
        Ok(config)
    }

    /// The configuration as servers tell it to one another.
    pub fn text(&self) -> ConfigText {
        let quorum = match &self.quorum {
            QuorumConfig::Majority => QuorumRule::Majority,
            QuorumConfig::Hierarchical { groups, weights } => QuorumRule::Hierarchical {
                groups: groups
                    .iter()
                    .map(|(group, members)| {
                        (*group, members.iter().map(|id| ServerId(*id)).collect::<BTreeSet<_>>())
                    })
                    .collect(),
                weights: weights.iter().map(|(id, weight)| (ServerId(*id), *weight)).collect(),
            },
        };
        let servers = self.servers.iter().map(|(id, line)| (ServerId(*id), line.clone())).collect();
        let version = self.dynamic_file.as_ref().map_or(0, |(_, version)| *version as i64);
        ConfigText { servers, quorum, version }
    }

    /// How many servers vote.
    pub fn voters(&self) -> usize {
        self.servers.values().filter(|server| server.role == Role::Participant).count()
    }

    /// Whether the file describes an ensemble, rather than a server that serves alone.
    pub fn is_distributed(&self) -> bool {
        !self.servers.is_empty() && (!self.standalone_enabled || self.voters() > 1)
    }

    /// What has to fit together.
    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        let refuse = |key: &str, problem: String, advice: &str| {
            Err(ConfigError::invalid(settings.place(key), problem, advice))
        };
        let voters = self.voters();
        let observer = self.servers.iter().find(|(_, server)| server.role == Role::Observer);
        if let Some((id, _)) = observer
            && (voters == 0 || (voters == 1 && self.standalone_enabled))
        {
            return refuse(
                &format!("server.{id}"),
                format!("server.{id} is an observer, but there is no ensemble to observe"),
                "name at least two participants, or set standaloneEnabled=false",
            );
        }
        if voters == 0 && !self.standalone_enabled {
            return refuse(
                "standaloneEnabled",
                "standaloneEnabled=false without a participant".into(),
                "name the servers of the ensemble in lines server.N, or remove standaloneEnabled",
            );
        }
        if let Some(peer_type) = settings.text("peerType") {
            let is_observer = match peer_type.to_ascii_lowercase().as_str() {
                "observer" => true,
                "participant" => false,
                _ => return Err(settings.refuse("peerType", "observer or participant")),
            };
            let mine = self.my_id.and_then(|id| self.servers.get(&id));
            if let Some(line) = mine
                && is_observer != (line.role == Role::Observer)
            {
                settings.warn(format!(
                    "{}peerType={peer_type} differs from the own server line, which counts",
                    settings.place("peerType")
                ));
            }
        }
        if !self.is_distributed() {
            if voters == 1 {
                settings.warn("only one server is specified: it serves alone".into());
            }
            return Ok(());
        }
        for (key, ticks) in [("initLimit", self.init_limit), ("syncLimit", self.sync_limit)] {
            if ticks == 0 {
                let problem = match settings.text(key) {
                    Some(text) if text.starts_with('-') => format!("{key}={text} is not above 0"),
                    _ => format!("{key} is not set"),
                };
                return refuse(
                    key,
                    problem,
                    "an ensemble needs it: a number of ticks, 10 and 5 are usual",
                );
            }
        }
        let Some(my_id) = self.my_id else {
            return refuse(
                "dataDir",
                "myid file is missing".into(),
                "write this server's number, the N of its line server.N, into the file myid in dataDir",
            );
        };
        if !self.servers.contains_key(&my_id) {
            return refuse(
                "dataDir",
                format!("my id {my_id} is not in the list of servers"),
                "correct the file myid in dataDir, or add the line server.N of this server",
            );
        }
        if voters == 2 {
            settings.warn("no failure of a server is tolerated: at least 3 are needed".into());
        } else if voters.is_multiple_of(2) {
            let one_less = voters - 1;
            settings.warn(format!("{voters} voters bear no more failures than {one_less}"));
        }
        Ok(())
    }
}

/// Switches and numbers that are refused whatever else is set.
fn check_switches(settings: &Settings) -> Result<(), ConfigError> {
    let on = |key| Ok(settings.switch(key)?.unwrap_or(false));
    for key in ["portUnification", "sslQuorumReloadCertFiles"] {
        settings.switch(key)?;
    }
    settings.int("quorum.cnxn.threads.size")?;
    if let Some(algorithm) = settings.int("electionAlg")?
        && algorithm != 3
    {
        return Err(settings.refuse("electionAlg", "an algorithm that is left: 3 is the only one"));
    }
    let enabled = on("quorum.auth.enableSasl")?;
    let learner = on("quorum.auth.learnerRequireSasl")?;
    let server = on("quorum.auth.serverRequireSasl")?;
    for (key, is_on) in
        [("quorum.auth.learnerRequireSasl", learner), ("quorum.auth.serverRequireSasl", server)]
    {
        if is_on && !enabled {
            return Err(ConfigError::invalid(
                settings.place(key),
                format!("{key}=true, but quorum.auth.enableSasl is not"),
                "set quorum.auth.enableSasl=true, or remove the line",
            ));
        }
    }
    if server && !learner {
        return Err(ConfigError::invalid(
            settings.place("quorum.auth.serverRequireSasl"),
            "quorum.auth.serverRequireSasl=true, but quorum.auth.learnerRequireSasl is not",
            "set both: servers would refuse one another",
        ));
    }
    Ok(())
}

/// The first line of `myid`. To serve alone none is needed, but one that is no number is a mistake
/// that Apache does not pass over either.
fn my_id(data_dir: &Path) -> Result<Option<i64>, ConfigError> {
    let path = data_dir.join("myid");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let first = text.lines().next().unwrap_or_default();
    first.parse().map(Some).map_err(|_| {
        ConfigError::invalid(
            Place::File(path.clone(), 1),
            format!("myid: serverid {first} is not a number"),
            "write the N of this server's line server.N",
        )
    })
}

fn servers(
    settings: &Settings,
    multi_address: bool,
) -> Result<BTreeMap<i64, ServerLine>, ConfigError> {
    let mut servers = BTreeMap::new();
    for (key, found) in settings.file.range("server.".to_owned()..) {
        let Some(id) = key.strip_prefix("server.") else { break };
        let (id, line) = server_line::parse(id, found, multi_address)?;
        servers.insert(id, line);
    }
    Ok(servers)
}

fn quorum(
    settings: &Settings,
    servers: &BTreeMap<i64, ServerLine>,
) -> Result<QuorumConfig, ConfigError> {
    let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut weights = BTreeMap::new();
    let mut is_hierarchical = false;
    let number = |text: &str| text.trim().parse::<i64>().ok();
    for (key, found) in &settings.file {
        if let Some(rest) = key.strip_prefix("group") {
            is_hierarchical = true;
            let id = rest.strip_prefix('.').and_then(number);
            let members: Option<Vec<i64>> = found.value.split(':').map(number).collect();
            let (Some(id), Some(members)) = (id, members) else {
                return Err(settings.refuse(key, "of the form group.G=N or group.G=N:N..."));
            };
            if let Some(member) = members.iter().find(|member| !servers.contains_key(member)) {
                return Err(
                    settings.refuse(key, &format!("of servers there are: {member} has no line"))
                );
            }
            groups.insert(id, members);
        } else if let Some(rest) = key.strip_prefix("weight") {
            is_hierarchical = true;
            let id = rest.strip_prefix('.').and_then(number);
            let (Some(id), Some(weight @ 0..)) = (id, number(&found.value)) else {
                return Err(settings.refuse(key, "of the form weight.N=W with W of 0 or more"));
            };
            weights.insert(id, weight);
        }
    }
    if !is_hierarchical {
        return Ok(QuorumConfig::Majority);
    }
    for (id, server) in servers {
        let count = groups.values().flatten().filter(|member| *member == id).count();
        let key = format!("server.{id}");
        if count > 1 || (count == 0 && server.role == Role::Participant) {
            return Err(ConfigError::invalid(
                settings.place(&key),
                format!("{key} is in {count} groups"),
                "each participant belongs into one group.G",
            ));
        }
    }
    Ok(QuorumConfig::Hierarchical { groups, weights })
}

/// Hex digits behind the last dot of a dynamic file's name; anything else is version 0.
fn version_of(path: &str) -> u64 {
    let suffix = path.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    u64::from_str_radix(suffix, 16).unwrap_or(0)
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}
