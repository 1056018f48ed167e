//! What the threads share: the tree behind its lock, the Core, the mailboxes.
//!
//! Only who runs the Core takes the tree's lock for writing. While it holds it, it puts the mail
//! of what it applies into the mailboxes, and only then lets go. A reactor that takes the lock for
//! reading therefore finds in its mailbox all mail up to the state that it reads.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use mio::Waker;
use oxikeeper_node::command::{ClientLine, FrontStats};
use oxikeeper_node::front::throttle::Load;
use oxikeeper_node::mail::MailBatch;
use oxikeeper_node::namespaces::Namespaces;
use oxikeeper_node::time::WallTime;
use oxikeeper_proto::{SessionId, Zxid};
use oxikeeper_tree::Tree;
use parking_lot::{Mutex, RwLock};

use crate::acceptor::ClientPort;
use crate::config::EnsembleConfig;
use crate::engine::{Engine, Runner, Work};
use crate::ensemble::{Mode, SharedStanding};
use crate::metrics::DiskStages;

/// Mail for one reactor.
pub struct Mailbox {
    batches: Mutex<Vec<MailBatch>>,
    is_asleep: AtomicBool,
    is_watching: AtomicBool,
    /// What waits at this reactor: requests, and bytes of large ones.
    load: [AtomicUsize; 2],
    waker: Waker,
}

impl Mailbox {
    /// An empty one. The waker ends the reactor's sleep.
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox {
            batches: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            is_watching: AtomicBool::new(false),
            load: [AtomicUsize::new(0), AtomicUsize::new(0)],
            waker,
        }
    }

    /// Adds a batch. Called with the tree's write lock held.
    pub fn put(&self, batch: MailBatch) {
        self.batches.lock().push(batch);
    }

    /// Takes all mail. Called with the tree's read lock held. `batches` must be empty.
    pub fn take(&self, batches: &mut Vec<MailBatch>) {
        mem::swap(&mut *self.batches.lock(), batches);
    }

    /// Notes whether anybody watches at this reactor. Called with the tree's read lock held, before
    /// a new watch can miss a change.
    pub fn set_watching(&self, is_watching: bool) {
        self.is_watching.store(is_watching, Ordering::Release);
    }

    /// Whether this reactor has to be told of changes. Called with the tree's write lock held.
    pub fn is_watching(&self) -> bool {
        self.is_watching.load(Ordering::Acquire)
    }

    /// Tells the other reactors what waits at this one. A moment late is early enough: limits on
    /// the whole server are not exact to one request.
    pub fn set_load(&self, load: Load) {
        self.load[0].store(load.requests, Ordering::Relaxed);
        self.load[1].store(load.large_bytes, Ordering::Relaxed);
    }

    /// What waits at this reactor.
    pub fn load(&self) -> Load {
        Load {
            requests: self.load[0].load(Ordering::Relaxed),
            large_bytes: self.load[1].load(Ordering::Relaxed),
        }
    }

    /// Ends the reactor's sleep, if it sleeps.
    pub fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // If the reactor is gone, so is the process, in a moment.
            let _ = self.waker.wake();
        }
    }

    /// The reactor is about to sleep. False if there is mail, or the Core is to be run: then it
    /// must not.
    pub fn may_sleep(&self, engine: &Engine) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        let has_work = !self.batches.lock().is_empty() || engine.is_unfinished();
        if has_work {
            self.is_asleep.store(false, Ordering::SeqCst);
        }
        !has_work
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
    /// What was read below each node under the root.
    pub reads: Namespaces,
    /// Open connections.
    pub connections: usize,
    /// Requests not answered.
    pub outstanding: usize,
    /// Its connections.
    pub clients: Vec<ClientLine>,
    /// Watches: paths times watchers.
    pub watches: usize,
    /// What each session watches; only if that was asked for.
    pub watched: Vec<(SessionId, Vec<String>)>,
}

impl FrontReport {
    /// Adds another reactor's.
    pub fn merge(&mut self, other: &FrontReport) {
        self.stats.merge(&other.stats);
        self.reads.merge(&other.reads);
        self.connections += other.connections;
        self.outstanding += other.outstanding;
        self.watches += other.watches;
        self.clients.extend(other.clients.iter().cloned());
        self.watched.extend(other.watched.iter().cloned());
    }
}

/// What the threads beside the reactors count, for operators.
#[derive(Default)]
pub struct Counters {
    /// How long it takes to write and read files.
    pub disk: Mutex<DiskStages>,
    /// Syncs that took longer than `fsync.warningthresholdms`.
    pub fsync_slow: AtomicU64,
    /// Snapshots that failed since the start.
    pub snapshot_errors: AtomicU64,
    /// Those among them that are not to be told of any more.
    pub snapshot_errors_told: AtomicU64,
    /// The last snapshot that was written.
    pub last_snapshot: Mutex<Option<LastSnapshot>>,
}

impl Counters {
    /// Counts anew what Apache's `srst` does.
    pub fn reset(&self) {
        *self.disk.lock() = DiskStages::default();
        let errors = self.snapshot_errors.load(Ordering::Relaxed);
        self.snapshot_errors_told.store(errors, Ordering::Relaxed);
    }
}

/// A snapshot file.
#[derive(Clone, Debug)]
pub struct LastSnapshot {
    /// The tree stood here.
    pub zxid: Zxid,
    /// Where it is.
    pub path: PathBuf,
    /// When it was finished.
    pub at: WallTime,
    /// Which of those it is that this process has seen.
    pub number: u64,
}

impl LastSnapshot {
    /// The one that was there before this process wrote any.
    pub fn found(path: &Path) -> Option<LastSnapshot> {
        let name = path.file_name()?.to_str()?.strip_prefix("snapshot.")?;
        let hex = name.split('.').next()?;
        let zxid = Zxid::from_wire(i64::from_str_radix(hex, 16).ok()?);
        let modified = path.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        let at = WallTime(i64::try_from(since.as_millis()).ok()?);
        Some(LastSnapshot { zxid, path: path.to_owned(), at, number: 0 })
    }
}

/// Shared by all threads of a server.
pub struct Shared {
    /// The replicated state.
    pub tree: RwLock<Tree>,
    /// The Core.
    pub engine: Engine,
    /// One per reactor.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// What there is to count.
    pub counters: Counters,
    /// Its place in an ensemble.
    pub standing: Arc<SharedStanding>,
    /// What the configuration says of the ensemble, if it is of one.
    pub ensemble: Option<EnsembleConfig>,
    /// Where clients connect.
    pub client_port: ClientPort,
    /// The server is to end.
    pub stopping: AtomicBool,
}

impl Shared {
    /// Gives the Core inputs, and runs it unless another thread does.
    pub fn run_core(&self, inputs: impl IntoIterator<Item = impl Into<Work>>, runner: Runner) {
        self.engine.push(inputs);
        self.engine.run(runner, self);
    }

    /// What waits at all reactors but this one.
    pub fn load_of_others(&self, own: &Mailbox) -> Load {
        let mut sum = Load::default();
        for mailbox in self.mailboxes.iter().filter(|mailbox| !std::ptr::eq(&***mailbox, own)) {
            let load = mailbox.load();
            sum.requests += load.requests;
            sum.large_bytes += load.large_bytes;
        }
        sum
    }

    /// What this server is.
    pub fn mode(&self) -> Mode {
        self.standing.lock().mode
    }

    /// Whether the server is to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
