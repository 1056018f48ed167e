//! What the threads share: the tree behind its lock, the queue to the Core, the mailboxes.
//!
//! The Core's thread alone takes the tree's lock for writing. While it holds it, it puts the mail
//! of what it applies into the mailboxes, and only then lets go. A reactor that takes the lock for
//! reading therefore finds in its mailbox all mail up to the state that it reads.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::Waker;
use oxikeeper_node::command::{ClientLine, FrontStats};
use oxikeeper_node::core::Input;
use oxikeeper_node::mail::MailBatch;
use oxikeeper_tree::Tree;
use parking_lot::{Condvar, Mutex, RwLock};

/// Inputs for the Core, from all threads.
#[derive(Default)]
pub struct CoreQueue {
    inputs: Mutex<Vec<Input>>,
    not_empty: Condvar,
}

impl CoreQueue {
    /// Adds inputs, in order.
    pub fn push(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut queue = self.inputs.lock();
        let was_empty = queue.is_empty();
        queue.extend(inputs);
        let wake = was_empty && !queue.is_empty();
        drop(queue);
        if wake {
            self.not_empty.notify_one();
        }
    }

    /// Takes everything there is, waiting up to `patience` for it. `inputs` must be empty.
    pub fn take(&self, inputs: &mut Vec<Input>, patience: Duration) {
        let mut queue = self.inputs.lock();
        if queue.is_empty() && !patience.is_zero() {
            self.not_empty.wait_for(&mut queue, patience);
        }
        mem::swap(&mut *queue, inputs);
    }
}

/// Mail for one reactor.
pub struct Mailbox {
    batches: Mutex<Vec<MailBatch>>,
    is_asleep: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    /// An empty one. The waker ends the reactor's sleep.
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox { batches: Mutex::default(), is_asleep: AtomicBool::new(false), waker }
    }

    /// Adds a batch. Called with the tree's write lock held.
    pub fn put(&self, batch: MailBatch) {
        self.batches.lock().push(batch);
    }

    /// Takes all mail. Called with the tree's read lock held. `batches` must be empty.
    pub fn take(&self, batches: &mut Vec<MailBatch>) {
        mem::swap(&mut *self.batches.lock(), batches);
    }

    /// Ends the reactor's sleep, if it sleeps.
    pub fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // If the reactor is gone, so is the process, in a moment.
            let _ = self.waker.wake();
        }
    }

    /// The reactor is about to sleep. False if there is mail: then it must not.
    pub fn may_sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        let has_mail = !self.batches.lock().is_empty();
        if has_mail {
            self.is_asleep.store(false, Ordering::SeqCst);
        }
        !has_mail
    }

    /// The reactor is awake.
    pub fn woke(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Has the reactor look at its surroundings: new connections, or the end.
    pub fn poke(&self) {
        let _ = self.waker.wake();
    }
}

/// What a reactor tells of itself.
#[derive(Clone, Debug, Default)]
pub struct FrontReport {
    /// Its counters.
    pub stats: FrontStats,
    /// Open connections.
    pub connections: usize,
    /// Requests not answered.
    pub outstanding: usize,
    /// Its connections.
    pub clients: Vec<ClientLine>,
}

/// Shared by all threads of a server.
pub struct Shared {
    /// The replicated state.
    pub tree: RwLock<Tree>,
    /// Inputs for the Core.
    pub core_queue: CoreQueue,
    /// One per reactor.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The server is to end.
    pub stopping: AtomicBool,
}

impl Shared {
    /// Whether the server is to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
