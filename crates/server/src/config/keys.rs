//! Which keys there are: those parsed by name, those that become properties, those that demand
//! what is not built, and those without effect here.

use super::flags::Flags;
use super::server_line::{self, Role, ServerLine};
use super::settings::Settings;
use super::{ConfigError, Note, properties};

/// Keys of `zoo.cfg` that are parsed by name and never become properties.
const NAMED: &[&str] = &[
    "dataDir",
    "dataLogDir",
    "clientPort",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "clientPortAddress",
    "secureClientPort",
    "secureClientPortAddress",
    "observerMasterPort",
    "clientPortListenBacklog",
    "tickTime",
    "maxClientCnxns",
    "minSessionTimeout",
    "maxSessionTimeout",
    "initLimit",
    "syncLimit",
    "connectToLearnerMasterLimit",
    "electionAlg",
    "quorumListenOnAllIPs",
    "peerType",
    "syncEnabled",
    "dynamicConfigFile",
    "autopurge.snapRetainCount",
    "autopurge.purgeInterval",
    "standaloneEnabled",
    "reconfigEnabled",
    "sslQuorum",
    "portUnification",
    "sslQuorumReloadCertFiles",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
    "quorum.auth.learner.saslLoginContext",
    "quorum.auth.server.saslLoginContext",
    "quorum.auth.kerberos.servicePrincipal",
    "quorum.cnxn.threads.size",
    "multiAddress.enabled",
    "multiAddress.reachabilityCheckEnabled",
    "multiAddress.reachabilityCheckTimeoutMs",
    "oraclePath",
    "jvm.pause.monitor",
    "jvm.pause.warn-threshold.ms",
    "jvm.pause.info-threshold.ms",
    "jvm.pause.sleep.time.ms",
];

/// Properties that this version honours.
const HONOURED: &[&str] = &[
    "zookeeper.snapCount",
    "zookeeper.snapSizeLimitInKb",
    "zookeeper.txnLogSizeLimitInKb",
    "zookeeper.preAllocSize",
    "zookeeper.forceSync",
    "zookeeper.fsync.warningthresholdms",
    "fsync.warningthresholdms",
    "zookeeper.snapshot.compression.method",
    "zookeeper.snapshot.trust.empty",
    "zookeeper.datadir.autocreate",
    "zookeeper.digest.enabled",
    "zookeeper.closeSessionTxn.enabled",
    "zookeeper.maxCnxns",
    "zookeeper.enforceQuota",
    "zookeeper.skipACL",
    "jute.maxbuffer",
    "zookeeper.jute.maxbuffer.extrasize",
    "zookeeper.extendedTypesEnabled",
    "zookeeper.emulate353TTLNodes",
    "zookeeper.clientTcpKeepAlive",
    "zookeeper.4lw.commands.whitelist",
    "znode.container.checkIntervalMs",
    "znode.container.maxPerMinute",
    "znode.container.maxNeverUsedIntervalMs",
    "zookeeper.DigestAuthenticationProvider.enabled",
    "zookeeper.DigestAuthenticationProvider.digestAlg",
    "zookeeper.DigestAuthenticationProvider.superDigest",
    "readonlymode.enabled",
];

/// Properties that Apache reads without the prefix: in the file they have no effect there. Here
/// they do.
const UNPREFIXED: &[&str] = &[
    "jute.maxbuffer",
    "readonlymode.enabled",
    "znode.container.checkIntervalMs",
    "znode.container.maxPerMinute",
    "znode.container.maxNeverUsedIntervalMs",
];

const METRICS_PROVIDERS: &[&str] = &[
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
];

/// Providers that are always there: naming one changes nothing.
const BUILT_IN_PROVIDERS: &[&str] = &[
    "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
];

/// Sorts the keys of a file and the flags into settings. A key that is not parsed by name becomes
/// the property `zookeeper.<key>`, in place of one given as a flag.
pub(super) fn sort(
    bytes: &[u8],
    flags: &Flags,
    notes: &mut Vec<Note>,
) -> Result<Settings, ConfigError> {
    let mut settings = Settings { system: flags.properties.clone(), ..Settings::default() };
    let parsed = properties::parse(bytes).map_err(|line| ConfigError::Escape { line })?;
    for property in parsed {
        let key = property.key.clone();
        if is_named(&key) {
            settings.file.insert(key, property);
        } else if UNPREFIXED.contains(&key.as_str()) {
            if !flags.properties.contains_key(&key) {
                notes.push(Note::Warning(format!(
                    "{key} in the file takes effect here; Apache reads it as a -D flag alone"
                )));
                settings.system.insert(key, property.value);
            }
        } else {
            settings.system.insert(format!("zookeeper.{key}"), property.value);
        }
    }
    if !flags.ignored.is_empty() {
        notes.push(Note::Warning(format!(
            "flags for a JVM have no effect: {}",
            flags.ignored.join(" ")
        )));
    }
    let unknown: Vec<&str> = settings
        .system
        .keys()
        .map(String::as_str)
        .filter(|name| name.starts_with("zookeeper.") && !HONOURED.contains(name))
        .collect();
    if !unknown.is_empty() {
        notes.push(Note::Warning(format!(
            "settings without effect in this version: {}",
            unknown.join(", ")
        )));
    }
    check_named(&settings)?;
    Ok(settings)
}

fn is_named(key: &str) -> bool {
    NAMED.contains(&key)
        || key.starts_with("server.")
        || key.starts_with("group")
        || key.starts_with("weight")
        || key.starts_with("metricsProvider.")
}

/// What Apache refuses whatever else is set.
fn check_named(settings: &Settings) -> Result<(), ConfigError> {
    let invalid = |text: String| Err(ConfigError::Invalid(text));
    for key in [
        "localSessionsEnabled",
        "localSessionsUpgradingEnabled",
        "quorumListenOnAllIPs",
        "syncEnabled",
        "standaloneEnabled",
        "sslQuorum",
        "portUnification",
        "sslQuorumReloadCertFiles",
        "quorum.auth.enableSasl",
        "quorum.auth.learnerRequireSasl",
        "quorum.auth.serverRequireSasl",
        "multiAddress.enabled",
        "multiAddress.reachabilityCheckEnabled",
    ] {
        settings.switch(key)?;
    }
    for key in [
        "initLimit",
        "syncLimit",
        "connectToLearnerMasterLimit",
        "secureClientPort",
        "observerMasterPort",
        "electionAlg",
        "quorum.cnxn.threads.size",
        "multiAddress.reachabilityCheckTimeoutMs",
    ] {
        settings.int(key)?;
    }
    if let Some(algorithm) = settings.int("electionAlg")?
        && algorithm != 3
    {
        return invalid(format!("electionAlg={algorithm}: 3 is the only algorithm left"));
    }
    if let Some(kind) = settings.text("peerType")
        && !["observer", "participant"].contains(&kind.to_ascii_lowercase().as_str())
    {
        return invalid(format!("peerType={kind}: it is observer or participant"));
    }
    if settings.text("secureClientPortAddress").is_some()
        && settings.text("secureClientPort").is_none()
    {
        return invalid("secureClientPortAddress is set but secureClientPort is not".into());
    }
    if let Some(class) = settings.text("metricsProvider.className")
        && !METRICS_PROVIDERS.contains(&class)
    {
        return invalid(format!("metricsProvider.className={class} is not known"));
    }
    let servers = server_lines(settings)?;
    let alone = "ensembles are not part of this version, which serves alone";
    if let Some(file) = settings.text("dynamicConfigFile") {
        return invalid(format!("dynamicConfigFile={file}: {alone}"));
    }
    match servers.as_slice() {
        [] | [_] if settings.switch("standaloneEnabled")? == Some(false) => {
            invalid(format!("standaloneEnabled=false: {alone}"))
        }
        [] => Ok(()),
        [server] if server.role == Role::Observer => {
            invalid(format!("server.{} is an observer, and there is nobody to follow", server.id))
        }
        [_] => Ok(()),
        servers => invalid(format!("{} server lines: {alone}", servers.len())),
    }
}

/// All lines `server.N`, checked.
///
/// # Errors
/// A line that is not of the form.
pub(super) fn server_lines(settings: &Settings) -> Result<Vec<ServerLine>, ConfigError> {
    let lines = settings.file.range("server.".to_owned()..);
    let lines = lines.take_while(|(key, _)| key.starts_with("server."));
    lines.map(|(_, property)| server_line::parse(property)).collect()
}

/// Protection that is demanded and that this version does not have ends the start.
pub(super) fn refuse_unprotected(settings: &Settings) -> Result<(), ConfigError> {
    let demanded = |key: &str| Err(ConfigError::Unprotected { key: key.to_owned() });
    for key in ["sslQuorum", "quorum.auth.learnerRequireSasl", "quorum.auth.serverRequireSasl"] {
        if settings.switch(key)? == Some(true) {
            return demanded(key);
        }
    }
    for key in ["sessionRequireClientSASLAuth", "enforce.auth.enabled", "audit.enable"] {
        if settings.property_switch(&format!("zookeeper.{key}"), false) {
            return demanded(key);
        }
    }
    if settings.property("zookeeper.enforce.auth.schemes").is_some() {
        return demanded("enforce.auth.schemes");
    }
    Ok(())
}

/// Protection that is merely offered: its door stays shut, the rest serves.
pub(super) fn note_shut_doors(settings: &Settings, notes: &mut Vec<Note>) {
    if let Some(port) = settings.text("secureClientPort") {
        notes.push(Note::Error(format!(
            "secureClientPort={port}: TLS is not part of this version; nobody listens there"
        )));
    }
    for (name, value) in &settings.system {
        let is_built_in = BUILT_IN_PROVIDERS.contains(&value.as_str());
        if name.starts_with("zookeeper.authProvider.") && !is_built_in {
            notes.push(Note::Error(format!(
                "{name}={value}: not part of this version; nobody can authenticate with it"
            )));
        }
    }
    if settings.property_switch("zookeeper.client.portUnification", false) {
        notes.push(Note::Error(
            "client.portUnification: TLS is not part of this version; clientPort is plain".into(),
        ));
    }
    if settings.property("java.security.auth.login.config").is_some() {
        notes.push(Note::Error(
            "java.security.auth.login.config: SASL is not part of this version".into(),
        ));
    }
}

/// What works, but not as the file may mean it.
pub(super) fn note_habits(settings: &Settings, notes: &mut Vec<Note>) {
    for key in ["dataDir", "dataLogDir"] {
        if let Some(path) = settings.text(key)
            && !path.starts_with('/')
            && !path.starts_with("./")
        {
            notes.push(Note::Warning(format!(
                "{key}={path} is relative to where the server was started; begin it with ./ if \
                 that is meant"
            )));
        }
    }
    if let Ok(Some(count)) = settings.int("autopurge.snapRetainCount")
        && count < 3
    {
        notes.push(Note::Warning(format!("autopurge.snapRetainCount={count}: 3 are kept")));
    }
}
