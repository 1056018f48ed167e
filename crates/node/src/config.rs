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
}

impl Default for NodeConfig {
    /// A standalone server with Apache's defaults.
    fn default() -> NodeConfig {
        NodeConfig {
            tick_ms: 3000,
            session_timeout_ms_min: 6000,
            session_timeout_ms_max: 60_000,
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
        }
    }
}
