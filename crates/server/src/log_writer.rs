//! The thread that writes the transaction log: one batch at a time, whatever came meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use oxikeeper_node::core::{Input, LogBatch};
use oxikeeper_storage::{Disk, StorageError, TxnLog};
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::engine::Runner;
use crate::shared::Shared;

/// How long to wait before a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// Idle time before the next piece of preparing ahead is done.
const IDLE: Duration = Duration::from_millis(5);

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
}

impl<D: Disk> LogWriter<D> {
    /// Writes batches until the sender is gone.
    ///
    /// # Errors
    /// A failed write or sync: the process has to stop, since nobody knows what is on disk.
    pub fn run(mut self, batches: &Receiver<Arc<LogBatch>>) -> Result<(), StorageError> {
        let mut more_to_prepare = true;
        loop {
            let received = if more_to_prepare {
                batches.recv_timeout(IDLE)
            } else {
                batches.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match received {
                Ok(batch) => {
                    self.write(&batch)?;
                    more_to_prepare = true;
                }
                Err(RecvTimeoutError::Timeout) => more_to_prepare = self.log.prepare(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn write(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        for (index, (zxid, _)) in batch.records.iter().enumerate() {
            self.log.append(*zxid, batch.payload(index))?;
        }
        let began = self.clock.now();
        let stats = match self.log.sync() {
            Err(full) if full.is_full() => self.wait_for_room(&full)?,
            other => other?,
        };
        let took = self.clock.now().since(began);
        if took > self.warn_after {
            // Checks of logs search for these words, as Apache spells them.
            warn!(
                bytes = stats.bytes,
                "fsync-ing the write ahead log took {}ms which will adversely effect operation \
                 latency",
                took.as_millis()
            );
        }
        self.shared.run_core([Input::Durable(stats.last)], Runner::LogWriter);
        if batch.roll_after {
            self.log.roll()?;
        }
        Ok(())
    }

    /// Nothing of the batch is written: it waits until there is room, and the Core refuses further
    /// writes meanwhile.
    fn wait_for_room(
        &mut self,
        full: &StorageError,
    ) -> Result<oxikeeper_storage::SyncStats, StorageError> {
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
