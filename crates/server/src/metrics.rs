//! Every metric of 3.9.5 with its value, gathered when somebody asks.
//!
//! What is counted is counted by the thread that it happens in, as plain numbers, and handed over with its
//! report. Here it only gets its name. Source: operations reference, 4.

mod names;
mod stages;

use std::fs;
use std::sync::atomic::Ordering;

use oxikeeper_node::command::FrontStats;
use oxikeeper_node::core::CoreStats;
use oxikeeper_node::histogram::Histogram;
use oxikeeper_node::namespaces::Namespaces;
use rustix::process::{Resource, getrlimit};

pub use self::names::{ADVANCED, BASIC, COUNTERS, GAUGES};
pub use self::stages::{CoreStages, DiskStages};
use crate::commands::Commands;
use crate::ensemble::{Mode, Standing};
use crate::shared::{FrontReport, Shared};

/// A value as Apache prints it: whole numbers, or averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number of things, bytes or milliseconds.
    Whole(i64),
    /// An average or a share.
    Decimal(f64),
}

impl Value {
    fn of(count: impl TryInto<i64>) -> Value {
        Value::Whole(count.try_into().unwrap_or(i64::MAX))
    }
}

/// What has been gathered from the reactors and the Core by whoever asks.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Sums over all Fronts.
    pub stats: FrontStats,
    /// Open connections.
    pub connections: usize,
    /// Requests without an answer.
    pub outstanding: usize,
    /// Watches.
    pub watches: usize,
    /// What the Core counts.
    pub core: CoreStats,
    /// How long its stages take.
    pub stages: CoreStages,
    /// What was read below each node under the root.
    pub reads: Namespaces,
    /// Sessions that live.
    pub sessions: usize,
    /// Process uptime, milliseconds.
    pub uptime_ms: u64,
    /// Connections refused because there were too many.
    pub refused: u64,
}

/// That, and what anybody can see of the tree, the files and the process.
#[derive(Debug, Default)]
pub struct Snapshot {
    gathered: Gathered,
    nodes: usize,
    ephemerals: usize,
    data_size: u64,
    open_files: u64,
    open_files_max: u64,
    snapshot_errors: u64,
    disk: DiskStages,
    standing: Standing,
}

/// The gauges that only servers of an ensemble have. `now_ms` is the process's uptime.
/// Source: operations reference, 4.
fn ensemble_gauges(standing: &Standing, now_ms: u64) -> Vec<(&'static str, u64)> {
    if standing.mode == Mode::Standalone {
        return Vec::new();
    }
    let mut gauges = vec![("quorum_size", standing.quorum_size() as u64)];
    if let Some(since) = standing.leads_since {
        let Histogram { count, min, max, .. } = standing.proposal_bytes;
        // Before the first proposal Apache shows -1, and as an unsigned number that does not fit here.
        let bytes = |bytes: u64| if count == 0 { 0 } else { bytes };
        gauges.extend([
            ("learners", standing.learners.len() as u64),
            ("synced_followers", standing.synced_followers() as u64),
            ("synced_observers", standing.synced_observers() as u64),
            ("synced_non_voting_followers", 0),
            ("pending_syncs", 0),
            ("leader_uptime", now_ms.saturating_sub(since.millis())),
            ("last_proposal_size", bytes(standing.last_proposal_bytes)),
            ("min_proposal_size", bytes(min)),
            ("max_proposal_size", bytes(max)),
        ]);
    }
    gauges
}

/// A spread of values in the unit it is shown in.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    spread: Histogram,
    /// Counted units per unit shown: 1000 for microseconds that are shown as milliseconds.
    scale: u64,
}

impl Summary {
    fn micros(spread: Histogram) -> Summary {
        Summary { spread, scale: 1000 }
    }

    fn plain(spread: Histogram) -> Summary {
        Summary { spread, scale: 1 }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.spread.count
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.spread.sum / self.scale
    }

    /// The smallest value; 0 if there is none.
    pub fn min(&self) -> u64 {
        if self.spread.count == 0 { 0 } else { self.spread.min / self.scale }
    }

    /// The largest value; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.spread.max / self.scale
    }

    /// The mean; 0 if there is no value.
    pub fn average(&self) -> f64 {
        self.spread.sum as f64 / self.scale as f64 / self.spread.count.max(1) as f64
    }

    /// The value that so large a share of all does not exceed; 0 if there is none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.spread.quantile(share).unwrap_or(0) / self.scale
    }

    /// The same with its fraction; none if there is no value.
    pub fn exact_quantile(&self, share: f64) -> Option<f64> {
        Some(self.spread.quantile(share)? as f64 / self.scale as f64)
    }

    /// All values together, with their fraction.
    pub fn exact_sum(&self) -> f64 {
        self.spread.sum as f64 / self.scale as f64
    }
}

/// Open file descriptors. Counting them costs time with many; newer systems tell the number.
pub fn open_files() -> u64 {
    let told = fs::metadata("/proc/self/fd").map_or(0, |metadata| metadata.len());
    if told > 0 { told } else { fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as u64) }
}

impl Snapshot {
    /// From what the reactors have reported and from what can be seen of the rest.
    pub fn gather(report: &FrontReport, commands: &Commands, shared: &Shared) -> Snapshot {
        let (core, stages, sessions) = shared.engine.stats(shared);
        let gathered = Gathered {
            stats: report.stats,
            connections: report.connections,
            outstanding: report.outstanding,
            watches: report.watches,
            core,
            stages,
            reads: report.reads.clone(),
            sessions,
            uptime_ms: commands.clock.now().millis(),
            refused: commands.limits.refused_newly(),
        };
        Snapshot::of(gathered, shared)
    }

    /// From what somebody has gathered.
    pub fn of(gathered: Gathered, shared: &Shared) -> Snapshot {
        let tree = shared.tree.read();
        Snapshot {
            gathered,
            // Apache counts the root twice: once as "", once as "/".
            nodes: tree.node_count() + 1,
            ephemerals: tree.ephemeral_count(),
            data_size: tree.data_size(),
            open_files: open_files(),
            open_files_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            snapshot_errors: shared.counters.snapshot_errors.load(Ordering::Relaxed)
                - shared.counters.snapshot_errors_told.load(Ordering::Relaxed),
            disk: shared.counters.disk.lock().clone(),
            standing: shared.standing.lock().clone(),
        }
    }

    /// What this server is, in the word for it.
    pub fn mode(&self) -> &'static str {
        self.standing.mode.text()
    }

    /// The gauges that only servers of an ensemble have, some of them the leader alone.
    pub fn of_ensemble(&self) -> Vec<(&'static str, u64)> {
        ensemble_gauges(&self.standing, self.gathered.uptime_ms)
    }

    /// One of [`GAUGES`]. What does not exist here, such as TLS handshakes, is 0.
    pub fn gauge(&self, name: &str) -> Value {
        let gathered = &self.gathered;
        let stats = &gathered.stats;
        match name {
            "approximate_data_size" => Value::of(self.data_size),
            "avg_latency" => match stats.answered {
                0 => Value::Decimal(0.0),
                count => Value::Decimal(stats.latency_us_sum as f64 / count as f64 / 1000.0),
            },
            "connection_drop_probability" => Value::Decimal(gathered.core.throttle.drop_chance),
            "ephemerals_count" => Value::of(self.ephemerals),
            "global_sessions" => Value::of(gathered.sessions),
            // Apache says -1 before the first reply.
            "last_client_response_size"
            | "max_client_response_size"
            | "min_client_response_size"
                if stats.response_bytes.count == 0 =>
            {
                Value::Whole(-1)
            }
            "last_client_response_size" => Value::of(stats.last_response_bytes),
            "max_client_response_size" => Value::of(stats.response_bytes.max),
            "min_client_response_size" => Value::of(stats.response_bytes.min),
            "max_file_descriptor_count" => Value::of(self.open_files_max),
            "max_latency" => Value::of(stats.latency_us_max / 1000),
            "min_latency" => Value::of(stats.latency_us_min / 1000),
            "num_alive_connections" => Value::of(gathered.connections),
            "open_file_descriptor_count" => Value::of(self.open_files),
            "outstanding_requests" => Value::of(gathered.outstanding),
            "packets_received" => Value::of(stats.received),
            "packets_sent" => Value::of(stats.sent),
            "uptime" => Value::of(gathered.uptime_ms),
            "watch_count" => Value::of(gathered.watches),
            "znode_count" => Value::of(self.nodes),
            _ => Value::Whole(0),
        }
    }

    /// One of [`COUNTERS`]; 0 for what is not counted or does not happen here.
    pub fn counter(&self, name: &str) -> u64 {
        let Gathered { stats, core, refused, .. } = &self.gathered;
        let throttled = &stats.throttled;
        match name {
            "bytes_received_count" => stats.received_bytes,
            "connection_drop_count" => stats.dropped,
            "connection_rejected" => refused + core.throttle.rejected + core.throttle.dropped,
            "connection_request_count" => stats.handshakes,
            "connection_revalidate_count" => core.resumptions,
            "digest_mismatches_count" => core.digest_mismatches,
            "large_requests_rejected" => throttled.large_requests,
            "outstanding_changes_queued" => core.changes_queued,
            "outstanding_changes_removed" => core.changes_removed,
            "prep_processor_request_queued" => core.requests,
            "request_throttle_wait_count" => throttled.outstanding,
            "response_bytes" => stats.response_bytes_before + stats.response_bytes.sum,
            "snapshot_error_count" => self.snapshot_errors,
            "sessionless_connections_expired" => throttled.no_handshake,
            "stale_sessions_expired" => core.expired,
            "sync_processor_request_queued" => self.disk.batch_txns.sum,
            "watch_bytes" => stats.watch_bytes,
            _ => 0,
        }
    }

    /// One of [`BASIC`] or [`ADVANCED`]; empty for what is not counted or does not happen here.
    pub fn summary(&self, name: &str) -> Summary {
        let Gathered { stats, core, stages, .. } = &self.gathered;
        let disk = &self.disk;
        match name {
            "close_session_prep_time" => Summary::micros(stages.close_us),
            "connection_token_deficit" => Summary::plain(core.token_deficit),
            "dbinittime" => Summary::micros(disk.load_us),
            // There is nothing to a flush but the sync.
            "fsynctime" | "sync_processor_queue_flush_time_ms" => Summary::micros(disk.fsync_us),
            "node_changed_watch_count" => Summary::plain(stats.fired.changed),
            "node_children_watch_count" => Summary::plain(stats.fired.children),
            "node_created_watch_count" => Summary::plain(stats.fired.created),
            "node_deleted_watch_count" => Summary::plain(stats.fired.deleted),
            "prep_process_time" => Summary::micros(stages.prepare_us),
            "prep_processor_queue_size" => Summary::plain(stages.queue_len),
            "prep_processor_queue_time_ms" => Summary::micros(stages.queue_us),
            "propagation_latency" => Summary::plain(core.propagation_ms),
            "proposal_process_time" => Summary::micros(stages.hand_over_us),
            "readlatency" => Summary::micros(stats.reads),
            "snapshottime" => Summary::micros(disk.snapshot_us),
            "startup_snap_load_time" => Summary::micros(disk.load_snapshot_us),
            "startup_txns_load_time" => Summary::micros(disk.load_logs_us),
            "startup_txns_loaded" => Summary::plain(disk.load_txns),
            "sync_process_time" => Summary::micros(disk.write_us),
            // The log takes all that waits for it at once.
            "sync_processor_batch_size" | "sync_processor_queue_size" => {
                Summary::plain(disk.batch_txns)
            }
            "sync_processor_queue_and_flush_time_ms" => Summary::micros(stages.durable_us),
            "sync_processor_queue_time_ms" => Summary::micros(stages.log_queue_us),
            "updatelatency" => Summary::micros(stats.updates),
            _ => Summary::plain(Histogram::default()),
        }
    }

    /// The summaries that exist for each node under the root that was read or written, by the names of
    /// their set and of the node.
    pub fn by_namespace(&self) -> impl Iterator<Item = (&'static str, &str, Summary)> {
        let sets = [
            ("read_per_namespace", &self.gathered.reads),
            ("write_per_namespace", &self.gathered.core.writes),
        ];
        sets.into_iter().flat_map(|(set, namespaces)| {
            namespaces.iter().map(move |(name, values)| (set, name, Summary::plain(*values)))
        })
    }
}
