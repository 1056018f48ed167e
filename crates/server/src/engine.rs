//! Who runs the Core: whichever thread has something for it.
//!
//! The Core has no thread of its own, because handing a request to another thread costs more than
//! preparing and applying it. A thread puts its inputs into the queue and tries to take the Core;
//! if another has it, that one finds the inputs before it goes. So a write wakes two threads: the
//! log writer, and the reactor that answers.
//!
//! ```text
//!  reactor: inputs --> queue --> step --> batch --> log writer: write, sync
//!                                                       |
//!  reactor <-- mail <-- apply, under the tree's write lock <-- Durable
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use oxikeeper_node::core::{Core, CoreStats, Input};
use oxikeeper_node::mail::{FrontId, MailBatch};
use oxikeeper_node::member::Member;
use oxikeeper_node::time::Now;
use oxikeeper_proto::Zxid;
use oxikeeper_tree::{SnapshotWalk, Tree};
use oxikeeper_zab::io::{Input as PeerInput, Output as PeerOutput};
use parking_lot::{Condvar, Mutex};

use crate::clock::{self, Clock};
use crate::ensemble::{Driver, Order, Outlet, Unsent};
use crate::log_writer::LogJob;
use crate::metrics::CoreStages;
use crate::shared::Shared;

/// Turns taken in one go, so that a thread comes back to its own work under any load: a reactor soon, for
/// the clients answered in one turn send what the log can write during the next.
const fn turns_max(runner: Runner) -> usize {
    match runner {
        Runner::Reactor => 2,
        Runner::LogWriter | Runner::Other => 8,
    }
}
/// Proposals wait for the log no longer than this.
const HOLD_MAX: Duration = Duration::from_millis(1);
/// How long the end waits for a completion before it looks for itself.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// Who runs the Core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// A reactor.
    Reactor,
    /// The log writer, which leaves applying and sending to others while there is a batch to write.
    LogWriter,
    /// Any other thread.
    Other,
}

/// Something for the Core, or for its peer.
#[derive(Debug)]
pub enum Work {
    /// For the Core.
    Core(Input),
    /// For the peer.
    Peer(PeerInput),
}

impl From<Input> for Work {
    fn from(input: Input) -> Work {
        Work::Core(input)
    }
}

impl From<PeerInput> for Work {
    fn from(input: PeerInput) -> Work {
        Work::Peer(input)
    }
}

/// What waits for the Core.
#[derive(Default)]
struct Queue {
    work: Vec<Work>,
    /// When the first of it came.
    since: Now,
}

/// The Core, and what waits for it.
pub struct Engine {
    queue: Mutex<Queue>,
    clock: Clock,
    machine: Mutex<Machine>,
    /// Something is left to be done: no reactor may sleep.
    is_unfinished: AtomicBool,
    /// The log writer lets its next batch grow.
    is_gathering: AtomicBool,
    /// A turn has ended while the server ends.
    turn_ended: Condvar,
}

/// What one turn of the Core needs.
pub struct Machine {
    member: Member,
    clock: Clock,
    /// Whoever does what the peer wants done. None alone.
    driver: Option<Driver>,
    /// To the log writer, which takes one batch at a time. None at the end.
    log: Option<Sender<LogJob>>,
    snapshots: Sender<SnapshotWalk>,
    is_writing: bool,
    /// It is writing, or wants its next batch later.
    is_log_busy: bool,
    /// Only readers are served, as far as operators were told.
    is_read_only: bool,
    /// When the log writer was given its last batch.
    writing_since: Option<Now>,
    inputs: Vec<Work>,
    outputs: Vec<PeerOutput>,
    unsent: Unsent,
    mail: Vec<MailBatch>,
    /// When the first transaction was prepared that the log writer has not been given.
    unwritten_since: Option<Now>,
    /// The same for the batch that it has been given last.
    batch_since: Now,
    stages: CoreStages,
}

/// What a turn leaves.
struct Turn {
    /// There is more to apply.
    more: bool,
    /// The log writer has been given a batch.
    gave_batch: bool,
}

impl Engine {
    /// An engine at rest.
    pub fn new(
        member: Member,
        clock: Clock,
        driver: Option<Driver>,
        log: Sender<LogJob>,
        snapshots: Sender<SnapshotWalk>,
    ) -> Engine {
        let machine = Machine {
            member,
            clock,
            driver,
            log: Some(log),
            snapshots,
            is_writing: false,
            is_log_busy: false,
            is_read_only: false,
            writing_since: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            unsent: Unsent::default(),
            mail: Vec::new(),
            unwritten_since: None,
            batch_since: clock.now(),
            stages: CoreStages::default(),
        };
        Engine {
            queue: Mutex::default(),
            clock,
            machine: Mutex::new(machine),
            is_unfinished: AtomicBool::new(false),
            is_gathering: AtomicBool::new(false),
            turn_ended: Condvar::new(),
        }
    }

    /// Adds inputs, in order. Somebody has to [`run`](Self::run) the Core then.
    pub fn push(&self, inputs: impl IntoIterator<Item = impl Into<Work>>) {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        if queue.work.is_empty() {
            queue.since = now;
        }
        queue.work.extend(inputs.into_iter().map(Into::into));
    }

    /// Whether a reactor has to run the Core before it sleeps.
    pub fn is_unfinished(&self) -> bool {
        self.is_unfinished.load(Ordering::SeqCst)
    }

    /// Runs the Core until nothing is left to do, for some turns at most. If another thread runs it,
    /// that one does it all. The caller must not hold the tree's lock.
    pub fn run(&self, runner: Runner, shared: &Shared) {
        for _ in 0..turns_max(runner) {
            let Some(mut machine) = self.machine.try_lock() else { return };
            self.is_unfinished.store(false, Ordering::SeqCst);
            machine.step(self, shared);
            let is_gathering = self.is_gathering.load(Ordering::SeqCst);
            let turn = machine.turn(runner, is_gathering, shared);
            let has_batch = turn.gave_batch && runner == Runner::LogWriter;
            let unsent = machine.take_unsent(turn.gave_batch, has_batch);
            drop(machine);
            // Last, since it costs most: the log is at work and the own clients' replies are on their way.
            // What a connection does not take now the thread of the ports sends, which also finds its end.
            for outlet in unsent {
                outlet.flush();
            }
            if shared.is_stopping() {
                self.turn_ended.notify_all();
            }
            // Whoever pushed while we held the Core has left its inputs to us, and the log writer its batch.
            let is_wanted = is_gathering && !self.is_gathering.load(Ordering::SeqCst);
            if !turn.more && !is_wanted && self.queue.lock().work.is_empty() {
                return;
            }
            if has_batch {
                break;
            }
        }
        self.is_unfinished.store(true, Ordering::SeqCst);
        if runner != Runner::Reactor {
            shared.mailboxes[0].wake();
        }
    }

    /// Whether the log writer, which is idle, wants its next batch later. It has to [`run`](Self::run) the Core
    /// when it wants it.
    pub fn set_gathering(&self, is_gathering: bool) {
        self.is_gathering.store(is_gathering, Ordering::SeqCst);
    }

    /// Looks at the Core, waiting until nobody runs it. The caller must not hold the tree's lock. What
    /// others wanted done meanwhile, and left to whoever has the Core, a reactor does.
    pub fn with_core<T>(&self, shared: &Shared, look: impl FnOnce(&Core) -> T) -> T {
        let seen = look(self.machine.lock().member.core());
        self.leave_to_reactor(shared);
        seen
    }

    /// What the Core has counted, how long its stages took, and how many sessions live.
    pub fn stats(&self, shared: &Shared) -> (CoreStats, CoreStages, usize) {
        let machine = self.machine.lock();
        let stats = machine.stats();
        drop(machine);
        self.leave_to_reactor(shared);
        stats
    }

    /// Counts all of that anew.
    pub fn reset_stats(&self, shared: &Shared) {
        let mut machine = self.machine.lock();
        machine.stages = CoreStages::default();
        machine.member.core_mut().reset_stats();
        drop(machine);
        self.leave_to_reactor(shared);
    }

    fn leave_to_reactor(&self, shared: &Shared) {
        self.is_unfinished.store(true, Ordering::SeqCst);
        shared.mailboxes[0].wake();
    }

    /// Looks at the Core, unless somebody has it for longer than this; also tells how long the log
    /// writer has been at its batch. Nothing of what others wanted done meanwhile is lost: a reactor
    /// does it.
    pub fn look<R>(
        &self,
        patience: Duration,
        shared: &Shared,
        look: impl FnOnce(&mut Machine, Option<Duration>) -> R,
    ) -> Option<R> {
        let mut machine = self.machine.try_lock_for(patience)?;
        let now = machine.clock.now();
        let writing = machine.writing_since.filter(|_| machine.is_writing);
        let writing = writing.map(|since| now.since(since));
        let seen = look(&mut machine, writing);
        drop(machine);
        self.leave_to_reactor(shared);
        Some(seen)
    }

    /// Puts another state in place of the present one, and tells the peer. The caller must not hold
    /// the tree's lock. A snapshot that is being written of the old state is given up by its writer.
    pub fn replace_tree(&self, shared: &Shared, tree: Tree, done: PeerInput) {
        let mut machine = self.machine.lock();
        // What was said of the old state comes first: a completion of its log is none of the new one's.
        machine.step(self, shared);
        let previous = std::mem::replace(&mut *shared.tree.write(), tree);
        machine.step_all([Work::Peer(done)], shared);
        drop(machine);
        drop(previous);
        self.leave_to_reactor(shared);
    }

    /// Begins to walk the tree if it stands at `at_least` and no other walk is under way. Whoever got
    /// one ends it in the tree, and then says [`Input::SnapshotFinished`].
    pub fn begin_walk(&self, shared: &Shared, at_least: Zxid) -> Option<SnapshotWalk> {
        let mut machine = self.machine.lock();
        let mut tree = shared.tree.write();
        let is_there = tree.last_zxid() >= at_least;
        let walk =
            (is_there && machine.member.core_mut().reserve_walk()).then(|| tree.begin_snapshot());
        drop(tree);
        drop(machine);
        self.leave_to_reactor(shared);
        walk
    }

    /// Makes durable and applies all that was taken, then lets the log writer end. False if the
    /// log's disk is full: what waits for room was never acknowledged, and nobody knows how long it
    /// would have to be waited for.
    pub fn finish(&self, shared: &Shared) -> bool {
        let mut machine = self.machine.lock();
        loop {
            machine.step(self, shared);
            let turn = machine.turn(Runner::Reactor, false, shared);
            for outlet in machine.take_unsent(true, false) {
                outlet.flush();
            }
            if machine.member.core().is_log_full() {
                return false;
            }
            if machine.is_writing {
                // A completion that comes just now may have missed that we wait for it.
                self.turn_ended.wait_for(&mut machine, END_INTERVAL);
            } else if !turn.more {
                if let Some(log) = machine.log.take() {
                    // If it has failed, the process ends for that.
                    let _ = log.send(LogJob::End);
                }
                return true;
            }
        }
    }
}

impl Machine {
    /// Feeds the Core all there is.
    fn step(&mut self, engine: &Engine, shared: &Shared) {
        let mut queue = engine.queue.lock();
        std::mem::swap(&mut queue.work, &mut self.inputs);
        let since = queue.since;
        drop(queue);
        let mut inputs = std::mem::take(&mut self.inputs);
        let core = self.member.core();
        let (taken, closed) = (core.requests_taken(), core.closings());
        let began = self.clock.now();
        self.step_all(inputs.drain(..), shared);
        self.inputs = inputs;
        let core = self.member.core();
        let (taken, closed) = (core.requests_taken() - taken, core.closings() - closed);
        if taken > 0 {
            let ended = self.clock.now();
            let took_us = ended.since(began).as_micros() as u64;
            self.stages.queue_us.count(began.since(since).as_micros() as u64);
            self.stages.queue_len.count(taken);
            self.stages.prepare_us.count(took_us);
            (0..closed).for_each(|_| self.stages.close_us.count(took_us));
            self.unwritten_since.get_or_insert(ended);
        }
    }

    /// The half of the server that orders and applies.
    pub fn core(&mut self) -> &mut Core {
        self.member.core_mut()
    }

    /// What it has counted, how long its stages took, and how many sessions live.
    pub fn stats(&self) -> (CoreStats, CoreStages, usize) {
        let core = self.member.core();
        (core.stats(), self.stages.clone(), core.session_count())
    }

    fn step_all(&mut self, inputs: impl IntoIterator<Item = Work>, shared: &Shared) {
        let tree = shared.tree.read();
        let tick = Input::Tick { now: self.clock.now(), wall: clock::wall() };
        self.member.step(tick, &tree, &mut self.outputs);
        for work in inputs {
            match work {
                Work::Core(input) => {
                    if matches!(input, Input::Durable(_)) && self.is_writing {
                        self.is_writing = false;
                        let took = self.clock.now().since(self.batch_since);
                        self.stages.durable_us.count(took.as_micros() as u64);
                    }
                    self.member.step(input, &tree, &mut self.outputs);
                }
                Work::Peer(input) => self.member.step_peer(input, &tree, &mut self.outputs),
            }
        }
        drop(tree);
        if let Some(driver) = &self.driver {
            let is_read_only = self.member.core().is_read_only();
            if self.is_read_only != is_read_only {
                self.is_read_only = is_read_only;
                driver.standing.lock().set_read_only(is_read_only);
            }
            let (now, deadline) = (self.clock.now(), self.member.next_deadline());
            if let Some(peer) = self.member.peer() {
                driver.carry_out(&mut self.outputs, &mut self.unsent, peer, shared, now, deadline);
            }
        }
    }

    /// The connections that something is to be sent on; none if whoever asks has better things to do: then
    /// the thread of the ports sends.
    ///
    /// While our own log is busy, proposals wait for the batch that they will be in: it goes out as one, and
    /// learners wake once for it. Nothing is lost by that: the log would not take them earlier either.
    fn take_unsent(&mut self, gave_batch: bool, is_left_to_ports: bool) -> Vec<Arc<Outlet>> {
        let Some(driver) = &self.driver else { return Vec::new() };
        if !gave_batch && !self.unsent.is_urgent && self.is_log_busy {
            let since = self.writing_since.unwrap_or_default();
            if self.clock.now().since(since) < HOLD_MAX {
                return Vec::new();
            }
        }
        let Unsent { outlets, .. } = std::mem::take(&mut self.unsent);
        if is_left_to_ports && !outlets.is_empty() {
            driver.net.order([Order::Flush(outlets)]);
            return Vec::new();
        }
        outlets
    }

    /// Gives the log writer what there is to write, if it is idle and wants it; then applies.
    fn turn(&mut self, runner: Runner, is_gathering: bool, shared: &Shared) -> Turn {
        let mut gave_batch = false;
        self.is_log_busy = self.is_writing || is_gathering;
        if !self.is_log_busy
            && let Some(log) = &self.log
            && let Some(batch) = self.member.core_mut().take_log_batch()
        {
            let now = self.clock.now();
            self.is_writing = true;
            self.writing_since = Some(now);
            self.batch_since = self.unwritten_since.take().unwrap_or(now);
            gave_batch = true;
            // It takes no more only when it has failed: it says why, and the process ends.
            let _ = log.send(LogJob::Batch(batch));
            let given = self.clock.now().since(now);
            self.stages.hand_over_us.count(given.as_micros() as u64);
            self.stages.log_queue_us.count(now.since(self.batch_since).as_micros() as u64);
        }
        if self.member.core().has_work_to_apply() && !(gave_batch && runner == Runner::LogWriter) {
            self.apply(shared);
        }
        Turn { more: self.member.core().has_work_to_apply(), gave_batch }
    }

    /// One hold of the tree's lock: what is applied in it is in the mailboxes before it ends.
    fn apply(&mut self, shared: &Shared) {
        let mut tree = shared.tree.write();
        for (index, mailbox) in (0..).zip(&shared.mailboxes) {
            self.member.core_mut().set_watching(FrontId(index), mailbox.is_watching());
        }
        let end = self.member.core_mut().apply(&mut tree, &mut self.mail);
        let walk = end.start_snapshot.then(|| tree.begin_snapshot());
        let mut woken = 0u64;
        for (index, batch) in self.mail.drain(..).enumerate() {
            if !batch.items.is_empty() {
                shared.mailboxes[index].put(batch);
                woken |= 1 << index;
            }
        }
        drop(tree);
        for (index, mailbox) in shared.mailboxes.iter().enumerate() {
            if woken & (1 << index) != 0 {
                mailbox.wake();
            }
        }
        if let Some(walk) = walk
            && let Err(refused) = self.snapshots.send(walk)
        {
            shared.tree.write().end_snapshot(refused.0);
        }
    }
}
