//! What the machines need to know of the configuration. The shell checks ranges before it builds
//! one; nothing here changes while the server runs.

use oxikeeper_proto::limits::FRAME_BYTES_MAX_DEFAULT;

use crate::auth::AuthPolicy;

/// Settings of one server's Core and Fronts.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `tickTime`: milliseconds, the width of an expiry bucket.
    pub tick_ms: u32,
    /// `minSessionTimeout`: milliseconds.
    pub session_timeout_ms_min: i32,
    /// `maxSessionTimeout`: milliseconds.
    pub session_timeout_ms_max: i32,
    /// Whether this server is one of an ensemble.
    pub ensemble: bool,
    /// `leaderServes`: clients are served while this server leads.
    pub leader_serves: bool,
    /// `localSessionsEnabled`: new sessions are known to this server alone.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: their first ephemeral makes them global.
    pub local_sessions_upgrade: bool,
    /// `readonlymode.enabled`: without a leader readers are served.
    pub read_only_mode: bool,
    /// First byte of session ids; a standalone server is 1.
    pub server_id: u8,
    /// Seed of the session ids: wall clock of the start, milliseconds.
    pub started_ms: i64,
    /// `extendedTypesEnabled`: whether TTL nodes may be created.
    pub extended_types: bool,
    /// `enforceQuota`: whether quotas refuse, or only warn.
    pub enforce_quota: bool,
    /// `digest.enabled`: whether log records carry the tree's digest.
    pub digest_enabled: bool,
    /// `closeSessionTxn.enabled`: whether closeSession records list the ephemerals.
    pub close_session_txn: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `jute.maxbuffer`: largest request frame in bytes.
    pub frame_bytes_max: usize,
    /// Largest transaction payload that a reader of the log accepts, in bytes:
    /// `jute.maxbuffer` plus `jute.maxbuffer.extrasize`.
    pub txn_bytes_max: usize,
    /// `snapCount`: transactions between snapshots; the real count is drawn from the upper half.
    pub snap_count: u32,
    /// `snapSizeLimitInKb` in bytes; `None` if off.
    pub snap_log_bytes: Option<u64>,
    /// `znode.container.checkIntervalMs`.
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 is never.
    pub container_max_never_used_ms: i64,
    /// Seed of every random choice the machines make.
    pub seed: u64,
    /// `4lw.commands.whitelist`, without blanks; `*` is every word.
    pub four_letter_words: Vec<String>,
    /// Who may do what.
    pub auth: AuthPolicy,
    /// What is throttled, and from where on.
    pub limits: Limits,
}

/// Limits on load that are meant to hold in operation, beyond those of a single connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `globalOutstandingLimit`, or `request_throttle_max_requests` if that is lower: requests taken
    /// and not answered, of the whole server. Above it no second request is taken from a connection
    /// that waits for an answer.
    pub outstanding_max: usize,
    /// `largeRequestThreshold`: requests with more bytes are large. `None` is off.
    pub large_request_threshold: Option<usize>,
    /// `largeRequestMaxBytes`: bytes of large requests in flight. One beyond closes its connection.
    pub large_request_bytes_max: usize,
    /// `nio.sessionlessCnxnTimeout`: a connection without a handshake is closed after this.
    pub handshake_ms_max: u64,
    /// `connection_throttle_*`; `None` is off.
    pub connection_throttle: Option<ConnectionThrottle>,
}

/// A bucket of tokens that handshakes take from, and dropping by chance before it is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottle {
    /// How many tokens there can be.
    pub tokens_max: u32,
    /// How long it takes until tokens come, milliseconds.
    pub fill_time_ms: u64,
    /// How many come then.
    pub fill_count: u32,
    /// How often the chance of a drop is looked at, milliseconds; `None` is never: none is dropped.
    pub freeze_time_ms: Option<u64>,
    /// What the chance grows by while the bucket is empty.
    pub drop_increase: f64,
    /// What it falls by while no more than `decrease_ratio` of the bucket is used.
    pub drop_decrease: f64,
    /// See `drop_decrease`.
    pub decrease_ratio: f64,
    /// Tokens that a new session takes.
    pub new_session_weight: u32,
    /// Tokens that a session takes which comes back.
    pub renewed_session_weight: u32,
}

impl Default for Limits {
    /// Apache's.
    fn default() -> Limits {
        Limits {
            outstanding_max: 1000,
            large_request_threshold: None,
            large_request_bytes_max: 100 << 20,
            handshake_ms_max: 10_000,
            connection_throttle: None,
        }
    }
}

impl Default for NodeConfig {
    /// A standalone server with Apache's defaults.
    fn default() -> NodeConfig {
        NodeConfig {
            tick_ms: 3000,
            session_timeout_ms_min: 6000,
            session_timeout_ms_max: 60_000,
            ensemble: false,
            leader_serves: true,
            local_sessions: false,
            local_sessions_upgrade: false,
            read_only_mode: false,
            server_id: 1,
            started_ms: 0,
            extended_types: false,
            enforce_quota: false,
            digest_enabled: true,
            close_session_txn: true,
            reconfig_enabled: false,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            txn_bytes_max: 2 * FRAME_BYTES_MAX_DEFAULT,
            snap_count: 100_000,
            snap_log_bytes: Some(4 << 30),
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_ms: 0,
            seed: 0,
            four_letter_words: vec!["srvr".to_owned()],
            auth: AuthPolicy::default(),
            limits: Limits::default(),
        }
    }
}
