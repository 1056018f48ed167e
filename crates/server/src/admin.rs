//! HTTP for operators: the AdminServer, the metrics of Prometheus, and probes.
//!
//! One thread of its own with one event loop serves both ports. It asks the reactors and the Core as
//! anybody may (`commands.rs`, `Engine::look`) and never holds what they need for longer than a look.
//! A port has a few connections at most, see `open_files.rs`.
//!
//! Source: operations reference, 3 and 4.

mod access;
mod body;
mod commands;
mod facts;
mod health;
mod http;
mod json;
mod metrics;
mod process;
mod snapshot;
mod stats;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use oxikeeper_node::config::NodeConfig;
use oxikeeper_storage::Dirs;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use self::access::RateLimit;
use crate::clock::Clock;
use crate::commands::Commands;
use crate::config::{AdminConfig, Config, MetricsProvider};
use crate::error::RunError;
use crate::limits::ConnectionLimits;
use crate::shared::Shared;

/// What a port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// The AdminServer.
    Admin,
    /// `/metrics`.
    Metrics,
}

/// Sockets that are listened on, before anybody serves them.
pub struct Listeners(Vec<(Port, TcpListener)>);

impl Listeners {
    /// How many ports there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// What the answers are made of.
struct State {
    shared: Arc<Shared>,
    commands: Arc<Commands>,
    limits: Arc<ConnectionLimits>,
    clock: Clock,
    dirs: Dirs,
    settings: Settings,
    /// A reactor has answered a question.
    answered: Notify,
    snapshots: RateLimit,
    restores: RateLimit,
}

/// What the answers take from the configuration.
struct Settings {
    admin: AdminConfig,
    export_process: bool,
    text: String,
    node: Arc<NodeConfig>,
    connections_per_ip_max: usize,
    listen_backlog: i32,
}

/// Listens on the ports of the AdminServer and of the metrics.
///
/// # Errors
/// A port that cannot be had, as with Apache: it ends the start of a server that serves alone. One
/// without a configuration file goes on without an AdminServer.
pub fn listen(config: &Config) -> Result<Listeners, RunError> {
    let mut listeners = Vec::new();
    let admin = &config.admin;
    if admin.enabled {
        match bind(&admin.host, admin.port) {
            Ok(listener) => listeners.push((Port::Admin, listener)),
            Err(error) if !admin.required => {
                let address = format!("{}:{}", admin.host, admin.port);
                warn!(address, %error, "no AdminServer");
            }
            Err(source) => {
                return Err(RunError::Admin { host: admin.host.clone(), port: admin.port, source });
            }
        }
    }
    if let MetricsProvider::Prometheus { host, port, .. } = &config.metrics {
        let listener = bind(host, *port).map_err(|source| RunError::Metrics {
            host: host.clone(),
            port: *port,
            source,
        })?;
        listeners.push((Port::Metrics, listener));
    }
    Ok(Listeners(listeners))
}

fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the ports, in a thread of its own. If that cannot be, the server goes on without.
pub fn start(
    listeners: Listeners,
    config: &Config,
    node: Arc<NodeConfig>,
    dirs: Dirs,
    shared: Arc<Shared>,
    commands: Arc<Commands>,
    limits: Arc<ConnectionLimits>,
    connections_max: usize,
    clock: Clock,
) {
    if listeners.0.is_empty() {
        return;
    }
    for (port, listener) in &listeners.0 {
        let Ok(address) = listener.local_addr() else { continue };
        match port {
            // Checks of logs search for these words.
            Port::Admin => info!(
                "Started AdminServer on address {}, port {} and command URL {}",
                address.ip(),
                address.port(),
                config.admin.command_url
            ),
            Port::Metrics => info!(%address, "metrics are served at /metrics"),
        }
    }
    let export_process =
        matches!(config.metrics, MetricsProvider::Prometheus { export_process: true, .. });
    let state = Arc::new(State {
        // Apache counts this interval in microseconds for snapshots, and in milliseconds for restores.
        snapshots: RateLimit::new(config.admin.rate_limiter_interval / 1000),
        restores: RateLimit::new(config.admin.rate_limiter_interval),
        shared,
        commands,
        limits,
        clock,
        dirs,
        settings: Settings {
            admin: config.admin.clone(),
            export_process,
            text: config.text.clone(),
            node,
            connections_per_ip_max: config.connections_per_ip_max,
            listen_backlog: config.listen_backlog,
        },
        answered: Notify::new(),
    });
    let told = Arc::downgrade(&state);
    state.commands.set_on_answer(move || {
        if let Some(state) = told.upgrade() {
            state.answered.notify_waiters();
        }
    });
    let body = move || {
        if let Err(error) = http::serve(listeners.0, connections_max, &state) {
            error!(%error, "the AdminServer failed; the server goes on without");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("admin".to_owned()).spawn(body) {
        error!(%error, "no thread for the AdminServer; the server goes on without");
    }
}
