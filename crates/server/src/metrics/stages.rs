//! How long the stages of a write take, counted once for each turn of the Core or each batch of the log
//! by whoever runs it: no request pays for it.

use oxikeeper_node::histogram::Histogram;

/// On the way through the Core. Times in microseconds.
#[derive(Clone, Debug, Default)]
pub struct CoreStages {
    /// From the first of some inputs until the Core took them.
    pub queue_us: Histogram,
    /// How many requests it took at once.
    pub queue_len: Histogram,
    /// Preparing them.
    pub prepare_us: Histogram,
    /// Preparing the end of a session, and whatever was prepared in the same turn.
    pub close_us: Histogram,
    /// Giving a batch to the log writer.
    pub hand_over_us: Histogram,
    /// From the first transaction of a batch until the log writer was given it.
    pub log_queue_us: Histogram,
    /// From there until it was durable, too.
    pub durable_us: Histogram,
}

/// On disk. Times in microseconds.
#[derive(Clone, Debug, Default)]
pub struct DiskStages {
    /// Syncs of the log.
    pub fsync_us: Histogram,
    /// Appending a batch and syncing it.
    pub write_us: Histogram,
    /// Transactions in one sync.
    pub batch_txns: Histogram,
    /// Snapshots.
    pub snapshot_us: Histogram,
    /// Reading all files at the start.
    pub load_us: Histogram,
    /// Of that, the snapshot.
    pub load_snapshot_us: Histogram,
    /// Of that, the logs.
    pub load_logs_us: Histogram,
    /// Transactions replayed at the start.
    pub load_txns: Histogram,
}
