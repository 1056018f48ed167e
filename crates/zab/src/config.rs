//! What a peer is told at its start and never changes.

use std::time::Duration;

use oxikeeper_proto::id::ServerId;

/// The settings of one server that concern agreement. Those of the membership are in the verifier.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// This server's `myid`, 0 to 254.
    pub my_id: ServerId,
    /// `tickTime`: the unit of the limits below, milliseconds.
    pub tick_ms: u32,
    /// `initLimit`: ticks for connecting to a leader, and for each of its three quorum waits.
    pub init_limit: u32,
    /// `syncLimit`: ticks without a word after which leader and learner give each other up.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit`: ticks for connecting, `initLimit` if 0.
    pub connect_limit: u32,
    /// `zookeeper.commitLogCount`: transactions kept in memory for learners that rejoin; at least 500.
    pub commit_log_count: usize,
    /// `snapshotSizeFactor`: the log on disk serves a learner up to this share of the snapshot's size;
    /// negative: never.
    pub snapshot_size_factor: f64,
    /// `zookeeper.fastleader.minNotificationInterval`, milliseconds.
    pub notification_min_ms: u32,
    /// `zookeeper.fastleader.maxNotificationInterval`, milliseconds.
    pub notification_max_ms: u32,
    /// `zookeeper.leader.maxTimeToWaitForEpoch`, milliseconds; none: off.
    pub epoch_wait_ms: Option<u32>,
    /// `quorumCnxnTimeoutMs`: how long a server that connects for elections may take to say who it is,
    /// milliseconds; none: `syncLimit` ticks.
    pub handshake_ms: Option<u32>,
    /// `forceSnapshotSync`: every learner gets a snapshot.
    pub force_snapshot_sync: bool,
    /// `zookeeper.observer.election.DelayMs`: an observer that lost its leader waits up to this long.
    pub observer_delay_ms: u32,
    /// `zookeeper.leader.maxConcurrentSnapSyncs`.
    pub snap_syncs_max: usize,
    /// `zookeeper.leader.maxConcurrentDiffSyncs`.
    pub diff_syncs_max: usize,
    /// Transactions sent to a learner in one go of those that it has missed: others wait no longer than that
    /// takes, and where servers share processors their clients get theirs in between. Apache sends all at once.
    pub diff_piece: usize,
    /// `reconfigEnabled`: configurations that others tell of are adopted.
    pub reconfig_enabled: bool,
    /// `leaderServes`: clients are served while leading.
    pub leader_serves: bool,
    /// Seed of the few random delays.
    pub seed: u64,
}

impl PeerConfig {
    /// Apache's defaults for the server with this id.
    pub fn new(my_id: ServerId) -> PeerConfig {
        PeerConfig {
            my_id,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            connect_limit: 0,
            commit_log_count: 500,
            snapshot_size_factor: 0.33,
            notification_min_ms: 200,
            notification_max_ms: 60_000,
            epoch_wait_ms: None,
            handshake_ms: None,
            force_snapshot_sync: false,
            observer_delay_ms: 200,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            diff_piece: 256,
            reconfig_enabled: false,
            leader_serves: true,
            seed: my_id.0 as u64,
        }
    }

    /// `initLimit` ticks.
    pub fn init_time(&self) -> Duration {
        self.ticks(self.init_limit)
    }

    /// `syncLimit` ticks.
    pub fn sync_time(&self) -> Duration {
        self.ticks(self.sync_limit)
    }

    /// How long a learner may take to connect to its leader.
    pub fn connect_time(&self) -> Duration {
        if self.connect_limit > 0 { self.ticks(self.connect_limit) } else { self.init_time() }
    }

    /// How long who connects for elections may be silent before it has said who it is.
    pub fn handshake_time(&self) -> Duration {
        self.handshake_ms
            .map_or_else(|| self.sync_time(), |ms| Duration::from_millis(u64::from(ms)))
    }

    fn ticks(&self, count: u32) -> Duration {
        Duration::from_millis(u64::from(self.tick_ms) * u64::from(count))
    }
}
