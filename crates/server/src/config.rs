//! Configuration: `zoo.cfg` and system properties become one typed value, checked once, at start.
//!
//! Source: operations reference, 1.

mod flags;
mod keys;
mod properties;
mod server_line;
mod settings;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxikeeper_node::auth::{AuthPolicy, DigestAlgorithm};
use oxikeeper_node::config::NodeConfig;
use oxikeeper_storage::{Compression, LogOptions, RecoverOptions};
use oxikeeper_tree::TreeOptions;
use thiserror::Error;

pub use self::flags::Flags;
use self::settings::Settings;
use crate::clock;
use crate::run::random_seed;
use crate::snapshotter::PurgePlan;

/// Why a configuration is refused. The process ends with code 2.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An escape that is none.
    #[error("line {line}: \\u needs four hex digits")]
    Escape {
        /// Where.
        line: usize,
    },
    /// A value of the wrong kind.
    #[error("line {line}: {key}={value} is not {wanted}")]
    Value {
        /// The key.
        key: String,
        /// Where.
        line: usize,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// Anything else that does not fit together.
    #[error("{0}")]
    Invalid(String),
    /// Protection that this version does not have, but the configuration demands.
    #[error(
        "{key} demands protection that this version does not have; starting without it would be a \
         hole. Remove the setting if you do not need it"
    )]
    Unprotected {
        /// The key.
        key: String,
    },
}

/// Everything a server needs to know. Does not change while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// `dataLogDir`.
    pub data_log_dir: PathBuf,
    /// `clientPort` and `clientPortAddress`; `None` if there is no plain listener.
    pub client_address: Option<SocketAddr>,
    /// `clientPortListenBacklog`.
    pub listen_backlog: i32,
    /// `zookeeper.clientTcpKeepAlive`.
    pub client_keep_alive: bool,
    /// `maxClientCnxns`; 0 is no limit.
    pub connections_per_ip_max: usize,
    /// `zookeeper.maxCnxns`; 0 is no limit.
    pub connections_max: usize,
    /// `zookeeper.datadir.autocreate`.
    pub datadir_autocreate: bool,
    /// `autopurge.*`.
    pub purge: PurgePlan,
    /// How the log is written.
    pub log: LogOptions,
    /// `fsync.warningthresholdms`.
    pub fsync_warning: Duration,
    /// `zookeeper.snapshot.compression.method`.
    pub compression: Compression,
    /// How files are read at start.
    pub recover: RecoverOptions,
    /// How the tree behaves.
    pub tree: TreeOptions,
    /// What the machines need.
    pub node: NodeConfig,
    /// Reactor threads.
    pub reactors: usize,
    /// Lines for the log at start: settings without effect, and doors that stay shut.
    pub notes: Vec<Note>,
}

/// Something about the configuration that the operator should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Without consequence for anybody's safety.
    Warning(String),
    /// A door stays shut.
    Error(String),
}

/// More reactors than this gain nothing.
const REACTORS_MAX: usize = 4;

impl Config {
    /// Reads `zoo.cfg`.
    ///
    /// # Errors
    /// What Apache refuses too, with the line; and what would be unsafe.
    pub fn load(path: &Path, flags: &Flags) -> Result<Config, ConfigError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Config::parse(&bytes, flags)
    }

    /// Reads the text of a `zoo.cfg`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(bytes: &[u8], flags: &Flags) -> Result<Config, ConfigError> {
        let mut notes = Vec::new();
        let settings = keys::sort(bytes, flags, &mut notes)?;
        keys::refuse_unprotected(&settings)?;
        keys::note_shut_doors(&settings, &mut notes);
        keys::note_habits(&settings, &mut notes);
        Config::build(&settings, notes)
    }

    /// A standalone server without a file: this machine alone may connect.
    ///
    /// # Errors
    /// Flags that do not fit.
    pub fn standalone(flags: &Flags) -> Result<Config, ConfigError> {
        let text = b"dataDir=./oxikeeper-data\nclientPort=2181\nclientPortAddress=127.0.0.1\n\
                     tickTime=2000\n4lw.commands.whitelist=*\n";
        Config::parse(text, flags)
    }

    /// The positional form: port, data directory, and at most tick time and connections per address.
    ///
    /// # Errors
    /// Values that do not fit.
    pub fn positional(words: &[String], flags: &Flags) -> Result<Config, ConfigError> {
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        let lines: Vec<String> =
            keys.iter().zip(words).map(|(key, word)| format!("{key}={word}")).collect();
        Config::parse(lines.join("\n").as_bytes(), flags)
    }

    fn build(settings: &Settings, notes: Vec<Note>) -> Result<Config, ConfigError> {
        let data_dir = match settings.text("dataDir") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => return Err(ConfigError::Invalid("dataDir is not set".into())),
        };
        check_my_id(&data_dir)?;
        let data_log_dir = settings.text("dataLogDir").map_or_else(|| data_dir.clone(), Into::into);
        let tick_ms = positive(settings, "tickTime", 3000)?;
        let (min, max) = session_timeouts(settings, tick_ms)?;
        let jute_max = settings.property_int("jute.maxbuffer", 0xf_ffff).max(1);
        let extra = settings.property_int("zookeeper.jute.maxbuffer.extrasize", jute_max);
        let payload_max = jute_max.saturating_add(extra.max(1024)).min(i64::from(i32::MAX));
        let digest_enabled = settings.property_switch("zookeeper.digest.enabled", true);
        let node = NodeConfig {
            tick_ms,
            session_timeout_ms_min: min,
            session_timeout_ms_max: max,
            server_id: 1,
            started_ms: clock::wall().0,
            extended_types: settings.property_switch("zookeeper.extendedTypesEnabled", false),
            enforce_quota: settings.property_switch("zookeeper.enforceQuota", false),
            digest_enabled,
            close_session_txn: settings.property_switch("zookeeper.closeSessionTxn.enabled", true),
            reconfig_enabled: settings.switch("reconfigEnabled")?.unwrap_or(false),
            frame_bytes_max: jute_max as usize,
            txn_bytes_max: payload_max as usize,
            snap_count: settings
                .property_int("zookeeper.snapCount", 100_000)
                .clamp(2, i64::from(u32::MAX)) as u32,
            snap_log_bytes: u64::try_from(
                settings.property_int("zookeeper.snapSizeLimitInKb", 4_194_304),
            )
            .ok()
            .filter(|&kb| kb > 0)
            .map(|kb| kb.saturating_mul(1024)),
            container_check_interval_ms: settings
                .property_int("znode.container.checkIntervalMs", 60_000)
                .clamp(1, i64::from(u32::MAX)) as u32,
            container_max_per_minute: settings
                .property_int("znode.container.maxPerMinute", 10_000)
                .clamp(1, i64::from(u32::MAX)) as u32,
            container_max_never_used_ms: settings
                .property_int("znode.container.maxNeverUsedIntervalMs", 0),
            seed: random_seed(),
            four_letter_words: four_letter_words(settings),
            auth: auth(settings)?,
        };
        let kib =
            |name: &str, default: i64| settings.property_int(name, default).saturating_mul(1024);
        let log = LogOptions {
            prepare_bytes: kib("zookeeper.preAllocSize", 65_536).max(0) as u64,
            force_sync: settings.property("zookeeper.forceSync") != Some("no"),
            roll_bytes: u64::try_from(kib("zookeeper.txnLogSizeLimitInKb", -1))
                .ok()
                .filter(|&limit| limit > 0),
        };
        let warn_ms = settings.property_int("fsync.warningthresholdms", 1000);
        let warn_ms = settings.property_int("zookeeper.fsync.warningthresholdms", warn_ms);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Config {
            client_address: client_address(settings)?,
            listen_backlog: match settings.int("clientPortListenBacklog")?.unwrap_or(-1) {
                backlog if backlog > 0 => backlog,
                _ => 128,
            },
            client_keep_alive: settings.property_switch("zookeeper.clientTcpKeepAlive", false),
            connections_per_ip_max: at_least_zero(
                settings.int("maxClientCnxns")?.unwrap_or(60).into(),
            ),
            connections_max: at_least_zero(settings.property_int("zookeeper.maxCnxns", 0)),
            datadir_autocreate: settings.property_switch("zookeeper.datadir.autocreate", true),
            purge: PurgePlan {
                interval: Duration::from_secs(
                    3600 * at_least_zero(
                        settings.int("autopurge.purgeInterval")?.unwrap_or(0).into(),
                    ) as u64,
                ),
                retain: at_least_zero(
                    settings.int("autopurge.snapRetainCount")?.unwrap_or(3).into(),
                )
                .max(3),
            },
            log,
            fsync_warning: Duration::from_millis(at_least_zero(warn_ms) as u64),
            compression: Compression::from_setting(
                settings.property("zookeeper.snapshot.compression.method").unwrap_or_default(),
            ),
            recover: RecoverOptions {
                trust_empty: settings.property_switch("zookeeper.snapshot.trust.empty", false),
                payload_bytes_max: payload_max as usize,
            },
            tree: TreeOptions {
                digest_enabled,
                emulate_353: settings.property_switch("zookeeper.emulate353TTLNodes", false),
                hash_seed: random_seed(),
            },
            node,
            // The other half of the cores is for the disk, the network, and whoever else is there.
            reactors: (cores / 2).clamp(1, REACTORS_MAX),
            data_dir,
            data_log_dir,
            notes,
        })
    }
}

fn at_least_zero(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

fn positive(settings: &Settings, key: &'static str, default: u32) -> Result<u32, ConfigError> {
    match settings.int(key)? {
        None => Ok(default),
        Some(value) => u32::try_from(value)
            .ok()
            .filter(|&value| value > 0)
            .ok_or_else(|| ConfigError::Invalid(format!("{key}={value} has to be above 0"))),
    }
}

/// -1 stands for the default, as in Apache.
fn session_timeouts(settings: &Settings, tick_ms: u32) -> Result<(i32, i32), ConfigError> {
    let ticks = |count: u32| i32::try_from(tick_ms.saturating_mul(count)).unwrap_or(i32::MAX);
    let or = |value: Option<i32>, default| value.filter(|&value| value != -1).unwrap_or(default);
    let min = or(settings.int("minSessionTimeout")?, ticks(2));
    let max = or(settings.int("maxSessionTimeout")?, ticks(20));
    if min > max {
        return Err(ConfigError::Invalid(format!(
            "minSessionTimeout ({min} ms) must not be larger than maxSessionTimeout ({max} ms)"
        )));
    }
    Ok((min, max))
}

/// `myid` is not needed to serve alone, but one that is no number is a mistake that Apache does not
/// pass over either.
fn check_my_id(data_dir: &Path) -> Result<(), ConfigError> {
    let Ok(text) = std::fs::read_to_string(data_dir.join("myid")) else { return Ok(()) };
    let first = text.lines().next().unwrap_or_default();
    match first.parse::<i64>() {
        Ok(_) => Ok(()),
        Err(_) => Err(ConfigError::Invalid(format!("myid: serverid {first} is not a number"))),
    }
}

/// The address of the plain listener: `clientPort` and `clientPortAddress`, or the client's part of
/// the only server line, which wins if both are there and agree. Port 0 is no port, as in Apache.
/// Names are resolved here, at start.
fn client_address(settings: &Settings) -> Result<Option<SocketAddr>, ConfigError> {
    let host = settings.text("clientPortAddress");
    let fixed = match settings.int("clientPort")? {
        None | Some(0) if host.is_some() => {
            let text = "clientPortAddress is set but clientPort is not";
            return Err(ConfigError::Invalid(text.into()));
        }
        None | Some(0) => None,
        Some(port) => {
            let port = u16::try_from(port)
                .map_err(|_| ConfigError::Invalid(format!("clientPort={port} is not a port")))?;
            Some(resolve(host, port)?)
        }
    };
    let Some(part) = keys::server_lines(settings)?.first().and_then(|line| line.client.clone())
    else {
        return Ok(fixed);
    };
    let from_line = resolve(part.host.as_deref(), part.port)?;
    match fixed {
        Some(fixed) if fixed != from_line => {
            if fixed.ip().is_unspecified() && fixed.port() == from_line.port() {
                return Ok(Some(from_line));
            }
            Err(ConfigError::Invalid(format!(
                "clientPort and clientPortAddress say {fixed}, but the server line says {from_line}"
            )))
        }
        _ => Ok(Some(from_line)),
    }
}

fn resolve(host: Option<&str>, port: u16) -> Result<SocketAddr, ConfigError> {
    let Some(host) = host.filter(|host| *host != "0.0.0.0") else {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match (bare, port).to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(address)) => Ok(address),
        _ => Err(ConfigError::Invalid(format!("the client address {host} cannot be resolved"))),
    }
}

fn four_letter_words(settings: &Settings) -> Vec<String> {
    let mut words = vec!["srvr".to_owned()];
    if let Some(list) = settings.property("zookeeper.4lw.commands.whitelist") {
        words.extend(list.split(',').map(|word| word.trim().to_owned()).filter(|w| !w.is_empty()));
    }
    if settings.property_switch("readonlymode.enabled", false) {
        words.push("isro".to_owned());
    }
    words
}

fn auth(settings: &Settings) -> Result<AuthPolicy, ConfigError> {
    let prefix = "zookeeper.DigestAuthenticationProvider";
    let algorithm = settings.property(&format!("{prefix}.digestAlg")).unwrap_or("SHA1");
    let digest_algorithm = DigestAlgorithm::from_java_name(algorithm).ok_or_else(|| {
        ConfigError::Invalid(format!("{prefix}.digestAlg={algorithm} is not a known algorithm"))
    })?;
    Ok(AuthPolicy {
        skip_acl: settings.property("zookeeper.skipACL") == Some("yes"),
        digest_enabled: settings.property_switch(&format!("{prefix}.enabled"), true),
        digest_algorithm,
        super_digest: settings.property(&format!("{prefix}.superDigest")).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
