//! Configuration: `zoo.cfg` and system properties become one typed value, checked once, at start.
//!
//! Source: operations reference, 1.

mod admin;
mod build;
mod catalog;
mod ensemble;
mod error;
mod flags;
mod keys;
pub mod script_files;
mod server_line;
mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxikeeper_node::config::NodeConfig;
use oxikeeper_storage::{Compression, LogOptions, RecoverOptions};
use oxikeeper_tree::TreeOptions;

pub use self::admin::{AdminConfig, MetricsProvider};
pub(crate) use self::build::resolve_client_host;
pub use self::ensemble::{EnsembleConfig, QuorumConfig};
pub use self::error::{ConfigError, Place};
pub use self::flags::Flags;
pub(crate) use self::keys::is_dynamic;
pub use self::server_line::{ClientPart, Role, ServerAddress, ServerLine};
use crate::snapshotter::PurgePlan;

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
    /// Helpers that keep processors awake for a lone client.
    pub awake: usize,
    /// `request_throttler.shutdownTimeout`: how long a clean end may take.
    pub end_patience: Duration,
    /// `admin.*`.
    pub admin: AdminConfig,
    /// `metricsProvider.*`.
    pub metrics: MetricsProvider,
    /// What the file says about an ensemble. A server that serves alone does not need it.
    pub ensemble: EnsembleConfig,
    /// The file itself, where there is one.
    pub file: Option<PathBuf>,
    /// The text of the file, for the AdminServer.
    pub text: String,
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

impl Config {
    /// Reads `zoo.cfg`.
    ///
    /// # Errors
    /// What Apache refuses too, with the line; and what would be unsafe.
    pub fn load(path: &Path, flags: &Flags) -> Result<Config, ConfigError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Ok(Config { file: Some(path.to_owned()), ..Config::parse(&bytes, flags)? })
    }

    /// Reads the text of a `zoo.cfg`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(bytes: &[u8], flags: &Flags) -> Result<Config, ConfigError> {
        let settings = keys::sort(bytes, flags)?;
        let mut config = build::config(&settings)?;
        // First whether the file is right at all, then whether this version can do what it says.
        keys::refuse_unprotected(&settings)?;
        config.text = String::from_utf8_lossy(bytes).into_owned();
        config.notes = settings.notes.into_inner();
        Ok(config)
    }

    /// A standalone server without a file: this machine alone may connect.
    ///
    /// # Errors
    /// Flags that do not fit.
    pub fn standalone(flags: &Flags) -> Result<Config, ConfigError> {
        let text = b"dataDir=./oxikeeper-data\nclientPort=2181\nclientPortAddress=127.0.0.1\n\
                     tickTime=2000\n4lw.commands.whitelist=*\n\
                     admin.serverAddress=127.0.0.1\n";
        let mut config = Config::parse(text, flags)?;
        config.admin.required = false;
        Ok(config)
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
}

#[cfg(test)]
mod tests;
