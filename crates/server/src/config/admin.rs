//! Settings of the AdminServer and of the metrics provider.
//!
//! Source: operations reference, 1.2, 1.5 and 4.4.

use std::time::Duration;

use super::error::ConfigError;
use super::settings::Settings;

/// `admin.*`: the HTTP interface for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// `admin.enableServer`: only the word `false` switches it off.
    pub enabled: bool,
    /// Whether a port that cannot be had ends the start. Not without a configuration file: nobody
    /// has asked for an AdminServer there.
    pub required: bool,
    /// `admin.serverAddress`: a name or an address; `0.0.0.0` is every address.
    pub host: String,
    /// `admin.serverPort`; 0 is any free one.
    pub port: u16,
    /// `admin.commandURL`: the path before the commands' names, without a slash at its end.
    pub command_url: String,
    /// `admin.idleTimeout`: a connection without traffic is closed after this.
    pub idle_timeout: Duration,
    /// `admin.rateLimiterIntervalInMS`: the pause between two snapshots, or two restores.
    pub rate_limiter_interval: Duration,
    /// `admin.snapshot.enabled`.
    pub snapshot_enabled: bool,
    /// `admin.restore.enabled`.
    pub restore_enabled: bool,
}

/// `metricsProvider.*`: where metrics go besides the four-letter word `mntr` and the AdminServer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsProvider {
    /// `mntr` and the AdminServer alone.
    Default,
    /// Also `GET /metrics` at a port of its own.
    Prometheus {
        /// `metricsProvider.httpHost`.
        host: String,
        /// `metricsProvider.httpPort`; 0 is any free one.
        port: u16,
        /// `metricsProvider.exportJvmInfo`: the families `jvm_*` and `process_*`.
        export_process: bool,
    },
}

const DEFAULT_PROVIDERS: [&str; 2] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
];
const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

impl AdminConfig {
    pub(super) fn read(settings: &Settings) -> Result<AdminConfig, ConfigError> {
        let name = |key: &str| format!("zookeeper.admin.{key}");
        let text =
            |key: &str, default: &str| settings.property(&name(key)).unwrap_or(default).to_owned();
        let number = |key: &str, default| settings.property_int(&name(key), default);
        let enabled = settings.property(&name("enableServer")) != Some("false");
        // What is switched off may say anything.
        let port = if enabled { number("serverPort", 8080) } else { 8080 };
        let url = if enabled { text("commandURL", "/commands") } else { "/commands".to_owned() };
        Ok(AdminConfig {
            enabled,
            required: true,
            host: text("serverAddress", "0.0.0.0"),
            port: u16::try_from(port)
                .map_err(|_| settings.refuse(&name("serverPort"), "a port"))?,
            command_url: match url.trim_matches('/') {
                "" => return Err(settings.refuse(&name("commandURL"), "a path below /")),
                path => format!("/{path}"),
            },
            idle_timeout: millis(number("idleTimeout", 30_000)),
            rate_limiter_interval: millis(number("rateLimiterIntervalInMS", 300_000)),
            snapshot_enabled: settings.property_switch(&name("snapshot.enabled"), true),
            restore_enabled: settings.property_switch(&name("restore.enabled"), true),
        })
    }
}

impl MetricsProvider {
    pub(super) fn read(settings: &Settings) -> Result<MetricsProvider, ConfigError> {
        let key = "metricsProvider.className";
        match settings.text(key).filter(|class| !class.is_empty()) {
            None => Ok(MetricsProvider::Default),
            Some(class) if DEFAULT_PROVIDERS.contains(&class) => Ok(MetricsProvider::Default),
            Some(PROMETHEUS) => Ok(MetricsProvider::Prometheus {
                host: settings.text("metricsProvider.httpHost").unwrap_or("0.0.0.0").to_owned(),
                port: settings.port("metricsProvider.httpPort")?.unwrap_or(7000),
                export_process: settings
                    .text("metricsProvider.exportJvmInfo")
                    .is_none_or(|value| value.eq_ignore_ascii_case("true")),
            }),
            Some(_) => Err(settings.refuse(
                key,
                &format!("a provider this server has: {PROMETHEUS} or {}", DEFAULT_PROVIDERS[0]),
            )),
        }
    }
}

fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}
