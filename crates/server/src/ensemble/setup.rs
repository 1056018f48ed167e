//! From a configuration to a seat in the ensemble: addresses, quorums, and the peer over what the disk
//! holds.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use oxikeeper_node::time::Now;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::ConfigText;
use oxikeeper_proto::quorum::initial_message::HostPort;
use oxikeeper_storage::{Disk, RealDisk, epochs};
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::Epochs;
use oxikeeper_zab::history::History;
use oxikeeper_zab::peer::Peer;
use oxikeeper_zab::verifier::{Quorums, Verifier};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::config_files::ConfigFiles;
use super::members::Members;
use super::net::listen;
use crate::config::Config;
use crate::error::RunError;
use crate::files::Files;

/// Who is who, and how they are reached.
pub struct Seat {
    /// This server.
    pub my_id: ServerId,
    /// Who is who, as things stand.
    pub members: Mutex<Members>,
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
    /// `quorumListenOnAllIPs`.
    pub listens_on_all_addresses: bool,
}

impl Seat {
    /// What others are told of where we elect.
    pub fn own_election_addresses(&self) -> Vec<HostPort> {
        let address = |(host, port)| HostPort { host, port };
        let own = self.members.lock().election_addresses(self.my_id);
        own.into_iter().map(address).collect()
    }

    /// Where learners are listened for. Names are resolved anew.
    ///
    /// # Errors
    /// A name without an address.
    pub fn quorum_binds(&self) -> Result<Vec<SocketAddr>, RunError> {
        binds(&self.members.lock().quorum_addresses(self.my_id), self.listens_on_all_addresses)
    }

    /// Where elections are listened for. Names are resolved anew.
    ///
    /// # Errors
    /// A name without an address.
    pub fn election_binds(&self) -> Result<Vec<SocketAddr>, RunError> {
        binds(&self.members.lock().election_addresses(self.my_id), self.listens_on_all_addresses)
    }
}

/// What the disk holds.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The last transaction.
    pub last: Zxid,
    /// There was nothing at all.
    pub is_new: bool,
    /// Something that was acknowledged may be missing.
    pub is_incomplete: bool,
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
    /// Where a membership that changes is written down; none unless it may.
    pub config_files: Option<ConfigFiles>,
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
        let config_files = config_files(my_id, config)?;
        let proposed = config_files.as_ref().and_then(|files| proposed(files, config));
        let members = Members::new(
            my_id,
            ensemble.text(),
            proposed.as_ref().and_then(|v| v.config().cloned()),
        );
        let seat = Seat {
            my_id,
            members: Mutex::new(members),
            multi_address: ensemble.multi_address,
            keep_alive: ensemble.keep_alive,
            field_bytes_max: config.recover.payload_bytes_max,
            election_timeout: ensemble.election_connect_timeout,
            learn_timeout: settings.connect_time(),
            listens_on_all_addresses: ensemble.listens_on_all_addresses,
        };
        // Whether there will be a quorum port to open is known before anybody is led.
        seat.quorum_binds()?;
        let election = seat.election_binds()?;
        let listeners = listen_for_elections(&election, ensemble.election_port_bind_retry)?;
        Ok(Some(Ensemble {
            seat: Arc::new(seat),
            quorums: Quorums { current: Arc::new(verifier), proposed: proposed.map(Arc::new) },
            settings,
            may_begin_empty: ensemble.db_autocreate || take_mark(&config.data_dir),
            listeners,
            config_files,
        }))
    }

    /// Who belongs to the ensemble.
    pub fn members(&self) -> Arc<ConfigText> {
        Arc::clone(self.seat.members.lock().current())
    }

    /// Whether other servers vote, which have what this one may miss.
    pub fn has_others(&self) -> bool {
        self.quorums.voters().iter().any(|voter| *voter != self.seat.my_id)
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

    /// The peer over what the disk holds.
    ///
    /// # Errors
    /// Epoch files that contradict the log: this server cannot prove its state.
    pub fn peer<D: Disk>(
        &self,
        files: &Files<D>,
        Found { last, is_new, is_incomplete }: Found,
        now: Now,
    ) -> Result<Peer, RunError> {
        let found = epochs::check(&*files.disk, &files.dirs, last)?;
        let count = self.settings.commit_log_count;
        let mut history = if is_new && !self.may_begin_empty {
            warn!(
                "there are no data, db.autocreate=false and no file initialize in dataDir: this server \
                 has no vote until a leader has sent it the data"
            );
            History::void(count)
        } else {
            History::new(count, last, files.recent(last, count)?)
        };
        if is_incomplete {
            warn!(
                "the log was damaged, and transactions may be missing: this server has no vote until a \
                 leader has sent it the whole state"
            );
            history.give_up();
        }
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

/// Where a membership that may change is written down. One that stands in `zoo.cfg` is about to be moved
/// out of it, so a copy is kept.
fn config_files(my_id: ServerId, config: &Config) -> Result<Option<ConfigFiles>, RunError> {
    let Some(file) = config.file.as_deref().filter(|_| config.ensemble.reconfig_enabled) else {
        return Ok(None);
    };
    let files = ConfigFiles::beside(file, my_id);
    let kept = files.and_then(|files| {
        if config.ensemble.dynamic_file.is_none() {
            files.back_up(&RealDisk)?;
        }
        Ok(files)
    });
    kept.map(Some).map_err(|error| {
        let file = file.display();
        RunError::Ensemble(format!(
            "reconfigEnabled=true, but no file can be written beside {file}: {error}; give the              server's user the right to, or remove reconfigEnabled"
        ))
    })
}

/// The configuration that was proposed when this server ended, if it is newer than that in force.
fn proposed(files: &ConfigFiles, config: &Config) -> Option<Verifier> {
    // As Apache: beside a membership that was never changed there is none.
    let (_, version) = config.ensemble.dynamic_file.as_ref()?;
    let found = files.proposed(&RealDisk).unwrap_or_else(|error| {
        warn!(%error, "the configuration that was proposed last cannot be read; it is left out");
        None
    })?;
    let is_newer = u64::try_from(found.version).is_ok_and(|found| found > *version);
    Verifier::from_config(found).ok().filter(|_| is_newer)
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
        handshake_ms: ensemble.election_read_timeout.map(millis),
        force_snapshot_sync: ensemble.force_snapshot_sync,
        observer_delay_ms: millis(ensemble.observer_election_delay),
        snap_syncs_max: ensemble.snap_syncs_max as usize,
        diff_syncs_max: ensemble.diff_syncs_max as usize,
        diff_piece: PeerConfig::new(my_id).diff_piece,
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
