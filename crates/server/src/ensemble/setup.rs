//! From a configuration to a seat in the ensemble: addresses, quorums, and the peer over what the disk
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use oxikeeper_node::time::Now;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::initial_message::HostPort;
use oxikeeper_proto::quorum::server_line::ServerAddress;
use oxikeeper_storage::{Disk, epochs};
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::Epochs;
use oxikeeper_zab::history::History;
use oxikeeper_zab::peer::Peer;
use oxikeeper_zab::verifier::{Quorums, Verifier};
use tracing::{info, warn};

use super::net::listen;
use crate::config::{Config, ServerLine};
use crate::error::RunError;
use crate::files::Files;

/// Who is who, and how they are reached.
pub struct Seat {
    /// This server.
    pub my_id: ServerId,
    servers: BTreeMap<ServerId, ServerLine>,
    /// `multiAddress.enabled`.
    pub multi_address: bool,
    /// `tcpKeepAlive`.
    pub keep_alive: bool,
    /// Largest field of a packet, bytes.
    pub field_bytes_max: usize,
    /// `cnxTimeout`.
    pub election_timeout: Duration,
    /// How long an attempt to connect to a leader may take.
    pub learn_timeout: Duration,
    /// Where learners are listened for.
    pub quorum_binds: Vec<SocketAddr>,
}

impl Seat {
    /// Where a server leads.
    pub fn quorum_addresses(&self, server: ServerId) -> Vec<(String, u16)> {
        self.addresses(server, |address| address.quorum_port)
    }

    /// Where a server elects.
    pub fn election_addresses(&self, server: ServerId) -> Vec<(String, u16)> {
        self.addresses(server, |address| address.election_port)
    }

    /// What others are told of where we elect.
    pub fn own_election_addresses(&self) -> Vec<HostPort> {
        let address = |(host, port)| HostPort { host, port };
        self.election_addresses(self.my_id).into_iter().map(address).collect()
    }

    fn addresses(
        &self,
        server: ServerId,
        port: impl Fn(&ServerAddress) -> u16,
    ) -> Vec<(String, u16)> {
        let line = self.servers.get(&server);
        let address = |address: &ServerAddress| (address.host.clone(), port(address));
        line.map_or_else(Vec::new, |line| line.addresses.iter().map(address).collect())
    }
}

/// A server of an ensemble before its threads run.
pub struct Ensemble {
    /// Who is who.
    pub seat: Arc<Seat>,
    /// The quorums as the configuration has them.
    pub quorums: Quorums,
    settings: Arc<PeerConfig>,
    /// Whether a server without data may vote: `db.autocreate`, or the file `initialize`.
    pub may_begin_empty: bool,
    /// Where elections are listened for.
    pub listeners: Vec<std::net::TcpListener>,
}

/// Between two attempts to open the election port; `electionPortBindRetry` counts them.
const BIND_RETRY: Duration = Duration::from_millis(500);

impl Ensemble {
    /// What the configuration says, with the election port open; `None` for a server that serves alone.
    ///
    /// # Errors
    /// Quorums that cannot be, names that have no address, a port that is taken.
    pub fn of(config: &Config) -> Result<Option<Ensemble>, RunError> {
        let ensemble = &config.ensemble;
        let Some(my_id) = ensemble.my_id.filter(|_| ensemble.is_distributed()) else {
            return Ok(None);
        };
        let my_id = ServerId(my_id);
        let verifier = Verifier::from_config(ensemble.text())
            .map_err(|error| RunError::Ensemble(error.to_string()))?;
        let settings = Arc::new(peer_config(my_id, config));
        let servers: BTreeMap<ServerId, ServerLine> =
            ensemble.servers.iter().map(|(id, line)| (ServerId(*id), line.clone())).collect();
        let mut seat = Seat {
            my_id,
            servers,
            multi_address: ensemble.multi_address,
            keep_alive: ensemble.keep_alive,
            field_bytes_max: config.recover.payload_bytes_max,
            election_timeout: ensemble.election_connect_timeout,
            learn_timeout: settings.sync_time(),
            quorum_binds: Vec::new(),
        };
        let any = ensemble.listens_on_all_addresses;
        seat.quorum_binds = binds(&seat.quorum_addresses(my_id), any)?;
        let election = binds(&seat.election_addresses(my_id), any)?;
        let listeners = listen_for_elections(&election, ensemble.election_port_bind_retry)?;
        Ok(Some(Ensemble {
            seat: Arc::new(seat),
            quorums: Quorums::new(Arc::new(verifier)),
            settings,
            may_begin_empty: ensemble.db_autocreate || take_mark(&config.data_dir),
            listeners,
        }))
    }

    /// What `/zookeeper/config` shows, and its version.
    pub fn config_node(&self) -> (Vec<u8>, Zxid) {
        let verifier = &self.quorums.current;
        (verifier.text().to_vec(), verifier.version())
    }

    /// Transactions kept for learners that rejoin.
    pub fn commit_log_count(&self) -> usize {
        self.settings.commit_log_count
    }

    /// `syncLimit` ticks.
    pub fn patience(&self) -> Duration {
        self.settings.sync_time()
    }

    /// The peer over what the disk holds up to `last`.
    ///
    /// # Errors
    /// Epoch files that contradict the log: this server cannot prove its state.
    pub fn peer<D: Disk>(
        &self,
        files: &Files<D>,
        (last, is_new): (Zxid, bool),
        now: Now,
    ) -> Result<Peer, RunError> {
        let found = epochs::check(&*files.disk, &files.dirs, last)?;
        let count = self.settings.commit_log_count;
        let history = if is_new && !self.may_begin_empty {
            warn!(
                "there are no data, db.autocreate=false and no file initialize in dataDir: this server \
                 has no vote until a leader has sent it the data"
            );
            History::void(count)
        } else {
            History::new(count, last, files.recent(last, count)?)
        };
        let epochs = Epochs { accepted: found.accepted, current: found.current };
        info!(
            server = %self.seat.my_id,
            voters = ?self.quorums.current.voters(),
            accepted_epoch = epochs.accepted,
            current_epoch = epochs.current,
            zxid = %last,
            "a server of an ensemble"
        );
        Ok(Peer::new(Arc::clone(&self.settings), self.quorums.clone(), epochs, history, now))
    }
}

/// The file that says that a directory is empty by intent. It holds for one start.
fn take_mark(data_dir: &Path) -> bool {
    std::fs::remove_file(data_dir.join("initialize")).is_ok()
}

fn peer_config(my_id: ServerId, config: &Config) -> PeerConfig {
    let ensemble = &config.ensemble;
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    PeerConfig {
        my_id,
        tick_ms: config.node.tick_ms,
        init_limit: ensemble.init_limit,
        sync_limit: ensemble.sync_limit,
        connect_limit: ensemble.connect_to_learner_master_limit,
        commit_log_count: ensemble.commit_log_count as usize,
        snapshot_size_factor: ensemble.snapshot_size_factor.unwrap_or(-1.0),
        notification_min_ms: millis(ensemble.notification_interval.0),
        notification_max_ms: millis(ensemble.notification_interval.1),
        epoch_wait_ms: ensemble.epoch_wait_max.map(millis),
        observer_delay_ms: millis(ensemble.observer_election_delay),
        snap_syncs_max: ensemble.snap_syncs_max as usize,
        diff_syncs_max: ensemble.diff_syncs_max as usize,
        reconfig_enabled: ensemble.reconfig_enabled,
        leader_serves: ensemble.leader_serves,
        seed: config.node.seed,
    }
}

/// The addresses to listen on: those of the own line, or all of the machine's.
fn binds(addresses: &[(String, u16)], any: bool) -> Result<Vec<SocketAddr>, RunError> {
    let mut found = BTreeSet::new();
    for (host, port) in addresses {
        if any {
            // No IPv6 on this machine: the wildcard is IPv4's.
            let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
            let all = match has_ipv6 {
                true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            found.insert(SocketAddr::new(all, *port));
            continue;
        }
        let address = (host.as_str(), *port).to_socket_addrs().ok().and_then(|mut all| all.next());
        found.insert(address.ok_or_else(|| {
            RunError::Ensemble(format!(
                "the own address {host}:{port} has no IP address; correct the server line, or set \
                 quorumListenOnAllIPs=true"
            ))
        })?);
    }
    Ok(found.into_iter().collect())
}

fn listen_for_elections(
    addresses: &[SocketAddr],
    retries: u32,
) -> Result<Vec<std::net::TcpListener>, RunError> {
    let one = |address: &SocketAddr| {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match listen(*address) {
                Err(source) if retries == 0 || attempt < retries => {
                    warn!(%address, %source, "cannot listen for elections yet");
                    thread::sleep(BIND_RETRY);
                }
                other => {
                    return other.map_err(|source: io::Error| RunError::Listen {
                        address: *address,
                        source,
                    });
                }
            }
        }
    };
    addresses.iter().map(one).collect()
}
