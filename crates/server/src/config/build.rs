//! From settings to the typed configuration, with ranges and what has to fit together.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use oxikeeper_node::auth::{AuthPolicy, DigestAlgorithm};
use oxikeeper_node::config::{ConnectionThrottle, Limits, NodeConfig};
use oxikeeper_storage::{Compression, LogOptions, RecoverOptions};
use oxikeeper_tree::TreeOptions;
use rustix::thread::sched_getaffinity;

use super::Config;
use super::admin::{AdminConfig, MetricsProvider};
use super::ensemble::EnsembleConfig;
use super::error::{ConfigError, Place};
use super::settings::Settings;
use crate::clock;
use crate::run::random_seed;
use crate::snapshotter::PurgePlan;

/// More reactors than this gain nothing, unless somebody asks for them.
const REACTORS_MAX: usize = 4;
/// More than this nobody may ask for.
const REACTORS_LIMIT: usize = 64;
/// With more processors none is kept awake, unless somebody asks for it.
const AWAKE_MEASURED: usize = 2;

pub(super) fn config(settings: &Settings) -> Result<Config, ConfigError> {
    let data_dir = match settings.text("dataDir") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => {
            return Err(ConfigError::invalid(
                settings.place("dataDir"),
                "dataDir is not set",
                "add a line dataDir=/path/of/a/directory",
            ));
        }
    };
    let data_log_dir = match settings.text("dataLogDir") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => data_dir.clone(),
    };
    let ensemble = EnsembleConfig::read(settings, &data_dir)?;
    let jute_max = settings.property_int("jute.maxbuffer", 0xf_ffff).clamp(1, i32::MAX.into());
    let extra = settings.property_int("zookeeper.jute.maxbuffer.extrasize", jute_max);
    let payload_max = jute_max.saturating_add(extra.max(1024)).min(i64::from(i32::MAX));
    let digest_enabled = settings.property_switch("zookeeper.digest.enabled", true);
    let warn_ms = settings.property_int("fsync.warningthresholdms", 1000);
    let warn_ms = settings.property_int("zookeeper.fsync.warningthresholdms", warn_ms);
    let hours = not_negative(settings.int("autopurge.purgeInterval")?.unwrap_or(0).into());
    let end_ms = settings.property_int("zookeeper.request_throttler.shutdownTimeout", 10_000);
    Ok(Config {
        client_address: client_address(settings, &ensemble)?,
        listen_backlog: settings.int("clientPortListenBacklog")?.unwrap_or(-1),
        client_keep_alive: settings.property_switch("zookeeper.clientTcpKeepAlive", false),
        connections_per_ip_max: not_negative(settings.int("maxClientCnxns")?.unwrap_or(60).into()),
        connections_max: not_negative(settings.property_int("zookeeper.maxCnxns", 0)),
        datadir_autocreate: settings.property_switch("zookeeper.datadir.autocreate", true),
        purge: PurgePlan {
            interval: Duration::from_secs(3600 * hours as u64),
            retain: not_negative(settings.int("autopurge.snapRetainCount")?.unwrap_or(3).into())
                .max(3),
        },
        log: log(settings),
        fsync_warning: Duration::from_millis(not_negative(warn_ms) as u64),
        compression: compression(settings),
        recover: RecoverOptions {
            trust_empty: settings.property_switch("zookeeper.snapshot.trust.empty", false),
            payload_bytes_max: payload_max as usize,
        },
        tree: TreeOptions {
            digest_enabled,
            emulate_353: settings.property_switch("zookeeper.emulate353TTLNodes", false),
            hash_seed: random_seed(),
        },
        node: node(settings, &ensemble, jute_max as usize, payload_max as usize, digest_enabled)?,
        reactors: reactors(settings),
        awake: awake(settings),
        end_patience: Duration::from_millis(not_negative(end_ms) as u64),
        admin: AdminConfig::read(settings)?,
        metrics: MetricsProvider::read(settings)?,
        ensemble,
        data_dir,
        data_log_dir,
        file: None,
        text: String::new(),
        notes: Vec::new(),
    })
}

fn node(
    settings: &Settings,
    ensemble: &EnsembleConfig,
    frame_bytes_max: usize,
    txn_bytes_max: usize,
    digest_enabled: bool,
) -> Result<NodeConfig, ConfigError> {
    let tick_ms = match settings.int("tickTime")?.unwrap_or(3000) {
        tick @ 1.. => tick as u32,
        _ => return Err(settings.refuse("tickTime", "above 0 milliseconds")),
    };
    let (min, max) = session_timeouts(settings, tick_ms)?;
    let number = |name: &str, default, least| {
        settings.property_int(name, default).clamp(least, u32::MAX.into()) as u32
    };
    let is_ensemble = ensemble.is_distributed();
    let my_id = ensemble.my_id.filter(|_| is_ensemble).unwrap_or(1);
    Ok(NodeConfig {
        ensemble: is_ensemble,
        leader_serves: ensemble.leader_serves,
        local_sessions: is_ensemble && ensemble.local_sessions,
        local_sessions_upgrade: ensemble.local_sessions_upgrade,
        read_only_mode: is_ensemble && settings.property_switch("readonlymode.enabled", false),
        tick_ms,
        session_timeout_ms_min: min,
        session_timeout_ms_max: max,
        server_id: my_id as u8,
        started_ms: clock::wall().0,
        extended_types: settings.property_switch("zookeeper.extendedTypesEnabled", false),
        enforce_quota: settings.property_switch("zookeeper.enforceQuota", false),
        digest_enabled,
        close_session_txn: settings.property_switch("zookeeper.closeSessionTxn.enabled", true),
        reconfig_enabled: settings.switch("reconfigEnabled")?.unwrap_or(false),
        frame_bytes_max,
        txn_bytes_max,
        snap_count: number("zookeeper.snapCount", 100_000, 2),
        snap_log_bytes: kib(settings, "zookeeper.snapSizeLimitInKb", 4_194_304),
        container_check_interval_ms: number("znode.container.checkIntervalMs", 60_000, 1),
        container_max_per_minute: number("znode.container.maxPerMinute", 10_000, 1),
        container_max_never_used_ms: settings
            .property_int("znode.container.maxNeverUsedIntervalMs", 0),
        seed: random_seed(),
        four_letter_words: four_letter_words(settings),
        auth: auth(settings)?,
        limits: limits(settings),
    })
}

fn limits(settings: &Settings) -> Limits {
    let number = |key: &str, default| settings.property_int(&format!("zookeeper.{key}"), default);
    let outstanding = number("globalOutstandingLimit", 1000);
    let requests = number("request_throttle_max_requests", 0);
    let outstanding = if requests > 0 { outstanding.min(requests) } else { outstanding };
    let threshold = number("largeRequestThreshold", -1);
    Limits {
        outstanding_max: not_negative(outstanding),
        large_request_threshold: (threshold > 0).then(|| not_negative(threshold)),
        large_request_bytes_max: not_negative(number("largeRequestMaxBytes", 100 << 20)),
        handshake_ms_max: number("nio.sessionlessCnxnTimeout", 10_000).max(1) as u64,
        connection_throttle: connection_throttle(settings),
    }
}

fn connection_throttle(settings: &Settings) -> Option<ConnectionThrottle> {
    let name = |key: &str| format!("zookeeper.connection_throttle_{key}");
    let number = |key: &str, default| settings.property_int(&name(key), default);
    let fraction =
        |key: &str, default| settings.property_fraction(&name(key), default).clamp(0.0, 1.0);
    let small = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
    let has_weights = settings.property_switch(&name("weight_enabled"), false);
    let weight = |key, default| if has_weights { small(number(key, default)) } else { 1 };
    let tokens_max = small(number("tokens", 0));
    (tokens_max > 0).then(|| ConnectionThrottle {
        tokens_max,
        fill_time_ms: number("fill_time", 1).max(1) as u64,
        fill_count: small(number("fill_count", 1)),
        freeze_time_ms: u64::try_from(number("freeze_time", -1)).ok(),
        drop_increase: fraction("drop_increase", 0.02),
        drop_decrease: fraction("drop_decrease", 0.002),
        decrease_ratio: fraction("decrease_ratio", 0.0),
        new_session_weight: weight("global_session_weight", 3),
        renewed_session_weight: weight("renew_session_weight", 2),
    })
}

fn log(settings: &Settings) -> LogOptions {
    let ahead = settings.property_int("zookeeper.preAllocSize", 65_536).saturating_mul(1024);
    LogOptions {
        prepare_bytes: not_negative(ahead) as u64,
        force_sync: settings.property("zookeeper.forceSync") != Some("no"),
        roll_bytes: kib(settings, "zookeeper.txnLogSizeLimitInKb", -1),
    }
}

fn compression(settings: &Settings) -> Compression {
    let name = "zookeeper.snapshot.compression.method";
    let method = settings.property(name).unwrap_or_default();
    if !["", "gz", "gzip", "snappy"].contains(&method.to_ascii_lowercase().as_str()) {
        settings.warn(format!(
            "{}{name}={method} is not gz or snappy; snapshots are not compressed",
            settings.place(name)
        ));
    }
    Compression::from_setting(method)
}

/// A size in KiB, as bytes; 0 or less is none.
fn kib(settings: &Settings, name: &str, default: i64) -> Option<u64> {
    let kib = settings.property_int(name, default);
    u64::try_from(kib).ok().filter(|&kib| kib > 0).map(|kib| kib.saturating_mul(1024))
}

/// Half of the cores: the other half is for the disk, the network, and whoever else is there.
fn reactors(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match settings.property_int("zookeeper.nio.numSelectorThreads", 0) {
        wanted @ 1.. => not_negative(wanted).clamp(1, cores.min(REACTORS_LIMIT)),
        _ => (cores / 2).clamp(1, REACTORS_MAX),
    }
}

/// One per processor. None by default where there are more of them than this has been measured with: the kernel
/// may then keep others awake than those that matter. And none where processor time is rationed: what the
/// helpers take would be missing.
fn awake(settings: &Settings) -> usize {
    let ration = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = sched_getaffinity(None).map_or(ration, |set| set.count() as usize);
    let is_measured = processors <= AWAKE_MEASURED && ration >= processors;
    let default = if is_measured { processors } else { 0 };
    let wanted = settings.property_int("zookeeper.oxikeeper.awakeThreads", default as i64);
    not_negative(wanted).min(processors)
}

fn not_negative(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// -1 stands for the default, as in Apache.
fn session_timeouts(settings: &Settings, tick_ms: u32) -> Result<(i32, i32), ConfigError> {
    let ticks = |count: u32| i32::try_from(tick_ms.saturating_mul(count)).unwrap_or(i32::MAX);
    let or = |value: Option<i32>, default| value.filter(|&value| value != -1).unwrap_or(default);
    let min = or(settings.int("minSessionTimeout")?, ticks(2));
    let max = or(settings.int("maxSessionTimeout")?, ticks(20));
    if min > max {
        return Err(ConfigError::invalid(
            match settings.place("minSessionTimeout") {
                Place::Whole => settings.place("maxSessionTimeout"),
                place => place,
            },
            format!(
                "minSessionTimeout ({min} ms) must not be larger than maxSessionTimeout ({max} ms)"
            ),
            "correct one of them; without a line they are 2 and 20 times tickTime",
        ));
    }
    Ok((min, max))
}

/// The address of the plain listener: `clientPort` and `clientPortAddress`, or the client's part of
/// the only server line, which wins if both are there and agree. Port 0 is no port, as in Apache.
/// Names are resolved here, at start.
fn client_address(
    settings: &Settings,
    ensemble: &EnsembleConfig,
) -> Result<Option<SocketAddr>, ConfigError> {
    for (address, port) in
        [("clientPortAddress", "clientPort"), ("secureClientPortAddress", "secureClientPort")]
    {
        if settings.text(address).is_some() && settings.port(port)?.unwrap_or(0) == 0 {
            return Err(ConfigError::invalid(
                settings.place(address),
                format!("{address} is set but {port} is not"),
                format!("add a line {port}, or remove {address}"),
            ));
        }
    }
    settings.port("secureClientPort")?;
    let fixed = match settings.port("clientPort")? {
        None | Some(0) => None,
        Some(port) => {
            let host = settings.text("clientPortAddress");
            Some(resolve(host, port, settings.place("clientPortAddress"))?)
        }
    };
    let mine = ensemble.my_id.and_then(|id| ensemble.servers.get_key_value(&id));
    let only = || ensemble.servers.first_key_value().filter(|_| ensemble.servers.len() == 1);
    let Some((id, part)) =
        mine.or_else(only).and_then(|(id, line)| Some((id, line.client.as_ref()?)))
    else {
        return Ok(fixed);
    };
    let place = settings.place(&format!("server.{id}"));
    let from_line = resolve(part.host.as_deref(), part.port, place.clone())?;
    match fixed {
        Some(fixed) if fixed != from_line => {
            if fixed.ip().is_unspecified() && fixed.port() == from_line.port() {
                return Ok(Some(from_line));
            }
            Err(ConfigError::invalid(
                place,
                format!(
                    "clientPort and clientPortAddress say {fixed}, but the server line says {from_line}"
                ),
                "name the address clients connect to in one place",
            ))
        }
        _ => Ok(Some(from_line)),
    }
}

fn resolve(host: Option<&str>, port: u16, place: Place) -> Result<SocketAddr, ConfigError> {
    resolve_client_host(host, port).map_err(|_| {
        let host = host.unwrap_or_default();
        ConfigError::invalid(
            place,
            format!("the client address {host} cannot be resolved"),
            "correct it, or give an address in digits",
        )
    })
}

/// The address of a client port: every one of the machine, unless a host is named.
///
/// # Errors
/// The name has no address.
pub(crate) fn resolve_client_host(host: Option<&str>, port: u16) -> io::Result<SocketAddr> {
    let Some(host) = host.filter(|host| *host != "0.0.0.0") else {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    (bare, port).to_socket_addrs()?.next().ok_or_else(none)
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
    let name = format!("{prefix}.digestAlg");
    let algorithm = settings.property(&name).unwrap_or("SHA1");
    let digest_algorithm = DigestAlgorithm::from_java_name(algorithm).ok_or_else(|| {
        settings.refuse(&name, "a known algorithm, such as SHA1, SHA-256 or SHA-512")
    })?;
    Ok(AuthPolicy {
        skip_acl: settings.property("zookeeper.skipACL") == Some("yes"),
        digest_enabled: settings.property_switch(&format!("{prefix}.enabled"), true),
        digest_algorithm,
        super_digest: settings.property(&format!("{prefix}.superDigest")).map(str::to_owned),
        refuses_sasl: names_sasl(settings)
            && !settings.property_switch("zookeeper.allowSaslFailedClients", false),
    })
}

/// Whether clients are offered SASL: a provider of it, or a login for it, is named.
fn names_sasl(settings: &Settings) -> bool {
    let is_provider = |name: &str, value: &str| {
        name.starts_with("zookeeper.authProvider.")
            && value.rsplit('.').next() == Some("SASLAuthenticationProvider")
    };
    settings.system.iter().any(|(name, found)| {
        is_provider(name, &found.value) || name == "java.security.auth.login.config"
    })
}
