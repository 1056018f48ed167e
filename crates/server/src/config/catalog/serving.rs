//! Keys of a server that serves alone.

use super::Effect::{Nothing, Same, Shut, Works};
use super::Form::{Bare, File, Property};
use super::Key;
use super::Tier::{A, B, C};

macro_rules! keys {
    ($($name:literal $form:ident $tier:ident $default:literal $effect:ident $does:literal;)*) => {
        &[$(Key {
            name: $name, form: $form, tier: $tier, default: $default, effect: $effect, does: $does,
        }),*]
    };
}
pub(super) use keys;

pub(super) const KEYS: &[Key] = keys! {
    "dataDir" File A "required" Works "as Apache";
    "dataLogDir" File A "dataDir" Works "as Apache";
    "tickTime" File A "3000" Works "as Apache; 0 or less is refused";
    "clientPort" File A "unset" Works "as Apache; 0 is unset. The part behind `;` in the server line wins";
    "clientPortAddress" File A "every address" Works "as Apache; a name is resolved at start";
    "clientPortListenBacklog" File B "-1" Works "-1 is 128 here";
    "secureClientPort" File A "unset" Shut "nobody listens there until TLS is part of a version";
    "secureClientPortAddress" File A "every address" Same "refused without `secureClientPort`, as Apache";
    "maxClientCnxns" File A "60" Works "as Apache: per client address; 0 is no limit";
    "maxCnxns" Property A "0" Works "as Apache; the limit of open files (`ulimit -n`) is one as well";
    "minSessionTimeout" File A "2 ticks" Works "as Apache; -1 is the default";
    "maxSessionTimeout" File A "20 ticks" Works "as Apache; -1 is the default";
    "localSessionsEnabled" File B "false" Works "a local session ends when its server changes its role";
    "localSessionsUpgradingEnabled" File B "false" Works "else an ephemeral of a local session is refused with -120";
    "jute.maxbuffer" Bare A "1048575" Works "longest request in bytes; a longer one closes its connection. Here also in the file";
    "jute.maxbuffer.extrasize" Property A "jute.maxbuffer" Works "allowance for records of the log";
    "globalOutstandingLimit" Property A "1000" Works "writes taken and not answered, of the whole server: above it, connections that have one in flight are not read";
    "request_throttle_max_requests" Property B "0" Works "a second limit like `globalOutstandingLimit`, the lower one holds; 0 is off";
    "request_throttle_stall_time" Property B "100" Nothing "nobody waits for a clock: reading goes on with the next answer";
    "request_throttle_drop_stale" Property B "true" Nothing "throttled requests wait in their sockets, and go with them";
    "request_stale_connection_check" Property B "true" Nothing "throttled requests wait in their sockets, and go with them";
    "request_stale_latency_check" Property B "false" Nothing "throttled requests wait in their sockets, not in a queue";
    "throttled_op_wait_time" Property B "0" Nothing "throttled requests wait in their sockets, not in a queue";
    "request_throttler.shutdownTimeout" Property B "10000" Works "how long the end of the server may take";
    "largeRequestThreshold" Property B "-1" Works "requests longer than this are large; 0 or less is off";
    "largeRequestMaxBytes" Property B "104857600" Works "bytes of large requests in flight; one beyond closes its connection";
    "connection_throttle_tokens" Property B "0" Works "as Apache: a bucket of tokens for handshakes; 0 is off";
    "connection_throttle_fill_time" Property B "1" Works "as Apache";
    "connection_throttle_fill_count" Property B "1" Works "as Apache";
    "connection_throttle_freeze_time" Property B "-1" Works "as Apache: -1 is no dropping by chance";
    "connection_throttle_drop_increase" Property B "0.02" Works "as Apache";
    "connection_throttle_drop_decrease" Property B "0.002" Works "as Apache";
    "connection_throttle_decrease_ratio" Property B "0" Works "as Apache";
    "connection_throttle_weight_enabled" Property B "false" Works "as Apache";
    "connection_throttle_global_session_weight" Property B "3" Works "as Apache";
    "connection_throttle_renew_session_weight" Property B "2" Works "as Apache";
    "connection_throttle_local_session_weight" Property B "1" Same "a server that serves alone has no local sessions";
    "nio.sessionlessCnxnTimeout" Property B "10000" Works "a connection without a handshake is closed after this";
    "clientTcpKeepAlive" Property A "false" Works "as Apache";
    "enforceQuota" Property A "false" Works "as Apache";
    "skipACL" Property A "no" Works "as Apache: `yes`";
    "enableEagerACLCheck" Property B "false" Same "ACLs are checked where a request is taken; there is nobody to forward it to";
    "extendedTypesEnabled" Property A "false" Works "as Apache";
    "emulate353TTLNodes" Property B "false" Works "as Apache";
    "znode.container.checkIntervalMs" Bare B "60000" Works "as Apache; here also in the file";
    "znode.container.maxPerMinute" Bare B "10000" Works "as Apache; here also in the file";
    "znode.container.maxNeverUsedIntervalMs" Bare B "0" Works "as Apache; here also in the file";
    "readonlymode.enabled" Bare A "false" Works "begins after two seconds, or `tickTime`, without a leader; also whitelists `isro`. Here also in the file";
};

pub(super) const STORAGE: &[Key] = keys! {
    "autopurge.snapRetainCount" File A "3" Works "as Apache: fewer than 3 are raised to 3, with a line";
    "autopurge.purgeInterval" File A "0" Works "as Apache: at start, then every so many hours; 0 is off";
    "snapCount" Property A "100000" Works "as Apache; below 2 is 2. A snapshot starts no sooner than four times the last one's duration after it";
    "snapSizeLimitInKb" Property A "4194304" Works "as Apache; 0 or less is off";
    "txnLogSizeLimitInKb" Property B "-1" Works "as Apache";
    "preAllocSize" Property A "65536" Works "how far ahead of its content a log file is prepared at most, in KiB; see `decisions/0002`";
    "forceSync" Property A "yes" Works "as Apache: `no` acknowledges what a crash of the machine may lose";
    "fsync.warningthresholdms" Property B "1000" Works "as Apache, and without the prefix as a -D flag";
    "snapshot.compression.method" Property A "none" Works "as Apache: `gz`, `snappy`";
    "snapshot.trust.empty" Property A "false" Works "as Apache";
    "datadir.autocreate" Property A "true" Works "as Apache";
    "db.autocreate" Property A "true" Same "decides about the vote of an empty server; one that serves alone has none";
    "digest.enabled" Property A "true" Works "as Apache";
    "serializeLastProcessedZxid.enabled" Property A "true" Nothing "the zxid at the end of a snapshot is always written; readers that do not know it pass over it";
    "closeSessionTxn.enabled" Property A "true" Works "as Apache";
    "flushDelay" Property B "0" Nothing "batches form by themselves, of what comes while the disk writes";
    "maxWriteQueuePollTime" Property B "flushDelay / 3" Nothing "batches form by themselves, of what comes while the disk writes";
    "maxBatchSize" Property B "1000" Nothing "batches form by themselves, of what comes while the disk writes";
};

pub(super) const ADMIN: &[Key] = keys! {
    "4lw.commands.whitelist" Property A "srvr" Works "as Apache; `srvr` is always there";
    "admin.enableServer" Property A "true" Works "as Apache: only `false` switches it off";
    "admin.serverAddress" Property A "0.0.0.0" Works "as Apache";
    "admin.serverPort" Property A "8080" Works "as Apache";
    "admin.commandURL" Property A "/commands" Works "as Apache";
    "admin.idleTimeout" Property B "30000" Works "as Apache";
    "admin.httpVersion" Property C "11" Nothing "HTTP/1.1 is spoken";
    "admin.portUnification" Property B "false" Shut "plain HTTP is served, no TLS";
    "admin.rateLimiterIntervalInMS" Property B "300000" Works "as Apache";
    "admin.snapshot.enabled" Property A "true" Works "as Apache";
    "admin.restore.enabled" Property A "true" Works "as Apache";
    "metricsProvider.className" File A "DefaultMetricsProvider" Works "the names of Apache's three providers; that of Prometheus turns on `/metrics`";
    "metricsProvider.httpHost" File A "0.0.0.0" Works "as Apache";
    "metricsProvider.httpPort" File A "7000" Works "as Apache";
    "metricsProvider.exportJvmInfo" File A "true" Works "the families `process_*`; there is no JVM";
    "metricsProvider.*" File C "" Nothing "metrics are read when they are asked for, without workers";
    "jvm.pause.*" File C "off" Nothing "there is no JVM; a stall of the process is noticed and granted to all sessions";
    "pathStats.*" Property C "off" Nothing "not part of this version";
    "messageTracker.*" Property C "off" Nothing "not part of this version";
    "jmx.*" Property C "" Nothing "there is no JMX";
};

pub(super) const ENGINE: &[Key] = keys! {
    "serverCnxnFactory" Property A "NIOServerCnxnFactory" Same "one engine takes the place of both";
    "nio.numSelectorThreads" Property C "sqrt(cores / 2)" Works "number of reactors, which read, answer and send; at most one per core. Unset: half the cores, at most 4";
    "nio.numWorkerThreads" Property C "2 * cores" Nothing "reactors do all the work of connections: `nio.numSelectorThreads`";
    "oxikeeper.awakeThreads" Property C "–" Works "ours: helpers, at most one per processor, that keep processors awake while one to four clients ask closely one after the other; 0: none. Unset: one per processor where there are at most two and no quota of their time, else none";
    "nio.directBufferBytes" Property C "65536" Nothing "reactors send from where replies are written";
    "nio.shutdownTimeout" Property C "5000" Nothing "see `request_throttler.shutdownTimeout`";
    "commitProcessor.*" Property C "" Nothing "there is no such stage";
    "netty.*" Property C "" Nothing "there is no Netty";
    "maxResponseCacheSize" Property B "400" Nothing "replies are encoded straight from the tree; there is nothing to cache";
    "maxGetChildrenResponseCacheSize" Property B "400" Nothing "replies are encoded straight from the tree; there is nothing to cache";
    "intBufferStartingSizeBytes" Property C "1024" Nothing "buffers grow as they need";
    "watchManagerName" Property C "WatchManager" Nothing "there is one watch table";
    "watcherClean*" Property C "" Nothing "there is one watch table";
    "maxInProcessingDeadWatchers" Property C "" Nothing "there is one watch table";
    "bitHashCacheSize" Property C "" Nothing "there is one watch table";
    "log.*" Property C "" Nothing "the log goes to standard error; OXIKEEPER_LOG sets its level";
    "console.threshold" Property C "" Nothing "the log goes to standard error; OXIKEEPER_LOG sets its level";
    "root.logger" Property C "" Nothing "the log goes to standard error; OXIKEEPER_LOG sets its level";
};
