//! The thread of the Core: inputs in, log batches and mail out.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use oxikeeper_node::core::{Core, Input, LogBatch};
use oxikeeper_node::mail::MailBatch;
use oxikeeper_tree::SnapshotWalk;

use crate::clock::{self, Clock};
use crate::shared::Shared;

/// See the module's head.
pub struct CoreThread {
    /// The machine.
    pub core: Core,
    /// Everybody else.
    pub shared: Arc<Shared>,
    /// What time it is.
    pub clock: Clock,
    /// To the log writer, which takes one batch at a time.
    pub log: Sender<Arc<LogBatch>>,
    /// To the snapshot thread.
    pub snapshots: Sender<SnapshotWalk>,
}

impl CoreThread {
    /// Runs until the server is to end and everything prepared is durable and applied.
    pub fn run(mut self) {
        let mut inputs = Vec::new();
        let mut mail = Vec::new();
        let mut is_writing = false;
        loop {
            let patience = if self.core.has_work_to_apply() {
                Duration::ZERO
            } else {
                self.core.next_deadline().map_or(Duration::MAX, |at| self.clock.until(at))
            };
            self.shared.core_queue.take(&mut inputs, patience);
            let stopping = self.shared.is_stopping();
            {
                let tree = self.shared.tree.read();
                let tick = Input::Tick { now: self.clock.now(), wall: clock::wall() };
                self.core.step(tick, &tree);
                for input in inputs.drain(..) {
                    is_writing &= !matches!(input, Input::Durable(_));
                    self.core.step(input, &tree);
                }
            }
            if !is_writing && let Some(batch) = self.core.take_log_batch() {
                is_writing = true;
                if self.log.send(batch).is_err() {
                    // The log writer has failed and says why: nothing can be acknowledged any more.
                    return;
                }
            }
            if self.core.has_work_to_apply() {
                self.apply(&mut mail);
            }
            if stopping && !is_writing && !self.core.has_work_to_apply() {
                return;
            }
        }
    }

    /// One hold of the tree's lock: what is applied in it is in the mailboxes before it ends.
    fn apply(&mut self, mail: &mut Vec<MailBatch>) {
        let mut tree = self.shared.tree.write();
        let end = self.core.apply(&mut tree, mail);
        let walk = end.start_snapshot.then(|| tree.begin_snapshot());
        let has_mail: Vec<bool> = mail.iter().map(|batch| !batch.items.is_empty()).collect();
        for (mailbox, batch) in self.shared.mailboxes.iter().zip(mail.drain(..)) {
            if !batch.items.is_empty() {
                mailbox.put(batch);
            }
        }
        drop(tree);
        for (mailbox, _) in self.shared.mailboxes.iter().zip(has_mail).filter(|(_, has)| *has) {
            mailbox.wake();
        }
        if let Some(walk) = walk
            && let Err(refused) = self.snapshots.send(walk)
        {
            self.shared.tree.write().end_snapshot(refused.0);
        }
    }
}
