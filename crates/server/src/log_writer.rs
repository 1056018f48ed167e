//! The thread that writes the transaction log: one batch at a time, whatever came meanwhile. Another
//! one prepares the next file for it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use oxikeeper_node::core::{Input, LogBatch};
use oxikeeper_storage::{
    Disk, LogPreparer, PreparedLog, Progress, StorageError, SyncStats, TxnLog,
};
use tracing::{error, info, warn};

use crate::awake::Lookout;
use crate::clock::Clock;
use crate::engine::Runner;
use crate::ensemble::{DiskJob, EnsembleFiles};
use crate::shared::Shared;

/// In an ensemble a batch wakes a thread or two of every server and makes each of them sync. Behind one of
/// so many transactions as come when several clients write, the next is given this long to grow, which
/// costs it less than the wake-ups do; behind a single write, and where batches are large by themselves, it
/// is not.
const GATHER: Duration = Duration::from_micros(50);
const GATHERS_BEHIND: Range<usize> = 6..64;
/// How long to wait before a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// How long to wait before preparing is tried again that has failed.
const PREPARE_RETRY: Duration = Duration::from_secs(5);

/// What the writer does, one after the other.
pub enum LogJob {
    /// Append and sync.
    Batch(Arc<LogBatch>),
    /// Something for the peer.
    Peer(DiskJob),
    /// Nothing more will come.
    End,
}

/// What the writer needs to know.
pub struct LogWriter<D: Disk> {
    /// The log.
    pub log: TxnLog<D>,
    /// Where completions go.
    pub shared: Arc<Shared>,
    /// For the warning about slow syncs.
    pub clock: Clock,
    /// `fsync.warningthresholdms`.
    pub warn_after: Duration,
    /// Whoever prepares the next file.
    pub ahead: LogAhead<D>,
    /// For the peer's work.
    pub files: EnsembleFiles<D>,
    /// There are other servers.
    pub is_in_ensemble: bool,
    /// Looks for small batches, which a few clients of other servers make; our own clients the reactors see.
    pub lookout: Lookout,
}

/// The writer's end of the thread that prepares files.
pub struct LogAhead<D: Disk> {
    /// A file of so many bytes is wanted.
    pub wanted: Sender<u64>,
    /// Here it comes.
    pub ready: Receiver<PreparedLog<D>>,
    /// It has been asked for.
    pub is_asked: bool,
}

/// Prepares a file whenever one is wanted, until the writer is gone. Rests as long as it works, so
/// that the log's own writes come first.
pub fn prepare_logs<D: Disk>(
    mut preparer: LogPreparer<D>,
    wanted: &Receiver<u64>,
    ready: &Sender<PreparedLog<D>>,
    clock: Clock,
) {
    while let Ok(bytes) = wanted.recv() {
        preparer.set_bytes(bytes);
        loop {
            let began = clock.now();
            match preparer.step() {
                Progress::More => thread::sleep(clock.now().since(began)),
                Progress::Failed => thread::sleep(PREPARE_RETRY),
                Progress::Ready(prepared) => {
                    if ready.send(prepared).is_err() {
                        return;
                    }
                    break;
                }
            }
        }
    }
}

impl<D: Disk> LogWriter<D> {
    /// Does jobs until the end is told, then cuts the file to its records.
    ///
    /// # Errors
    /// A failed write or sync: the process has to stop, since nobody knows what is on disk.
    pub fn run(mut self, jobs: &Receiver<LogJob>) -> Result<(), StorageError> {
        while let Ok(job) = jobs.recv() {
            match job {
                LogJob::Batch(batch) => self.write(&batch)?,
                LogJob::Peer(job) => self.do_for_peer(job)?,
                LogJob::End => break,
            }
        }
        self.log.roll()
    }

    /// Takes the next file if it is ready, and asks for one if there is none.
    fn look_ahead(&mut self) {
        if !self.log.wants_prepared() {
            return;
        }
        if let Ok(prepared) = self.ahead.ready.try_recv() {
            self.log.accept(prepared);
            self.ahead.is_asked = false;
        } else if !self.ahead.is_asked {
            // Only at the end is nobody there to ask.
            self.ahead.is_asked = self.ahead.wanted.send(self.log.expected_bytes()).is_ok();
        }
    }

    fn write(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        let began_all = self.clock.now();
        if self.is_in_ensemble {
            self.lookout.saw_batch(batch.records.len(), began_all);
        }
        for (index, (zxid, _)) in batch.records.iter().enumerate() {
            self.log.append(*zxid, batch.payload(index))?;
        }
        self.look_ahead();
        let began = self.clock.now();
        let stats = match self.log.sync() {
            Err(full) if full.is_full() => self.wait_for_room(&full)?,
            other => other?,
        };
        let took = self.clock.now().since(began);
        let counters = &self.shared.counters;
        let mut disk = counters.disk.lock();
        disk.fsync_us.count(took.as_micros() as u64);
        disk.write_us.count((took + began.since(began_all)).as_micros() as u64);
        disk.batch_txns.count(batch.records.len() as u64);
        drop(disk);
        if took > self.warn_after {
            counters.fsync_slow.fetch_add(1, Ordering::Relaxed);
            // Checks of logs search for these words, as Apache spells them.
            warn!(
                bytes = stats.bytes,
                "fsync-ing the write ahead log took {}ms which will adversely effect operation \
                 latency",
                took.as_millis()
            );
        }
        let gathers = self.is_in_ensemble && GATHERS_BEHIND.contains(&batch.records.len());
        self.shared.engine.set_gathering(gathers);
        self.shared.run_core([Input::Durable(stats.last)], Runner::LogWriter);
        if batch.roll_after {
            self.log.roll()?;
        }
        if gathers {
            thread::sleep(GATHER);
            self.shared.engine.set_gathering(false);
            self.shared.engine.run(Runner::LogWriter, &self.shared);
        }
        Ok(())
    }

    /// Nothing of the batch is written: it waits until there is room, and the Core refuses further
    /// writes meanwhile.
    fn wait_for_room(&mut self, full: &StorageError) -> Result<SyncStats, StorageError> {
        // First the Core, then the word about it: whoever has read it meets refusals.
        self.shared.run_core([Input::LogFull(true)], Runner::LogWriter);
        error!("{full}: writes wait until there is room");
        loop {
            thread::sleep(FULL_RETRY);
            match self.log.sync() {
                Err(full) if full.is_full() => {}
                other => {
                    let stats = other?;
                    info!("there is room for the log again: writes go on");
                    self.shared.run_core([Input::LogFull(false)], Runner::LogWriter);
                    return Ok(stats);
                }
            }
        }
    }
}
