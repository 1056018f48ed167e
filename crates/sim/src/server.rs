//! The server as its threads run it: the shipped Core, tree, log and snapshot writer, each turn of
//! each thread a step of its own. What the shell's threads do with real clocks, sockets and disks,
//! this does with simulated ones, in the same order and with the same freedom in between.

use std::path::Path;
use std::sync::Arc;

use oxikeeper_node::config::{Limits, NodeConfig};
use oxikeeper_node::core::{Core, Input, LogBatch};
use oxikeeper_node::front::Front;
use oxikeeper_node::mail::{FrontId, MailBatch, ToCore};
use oxikeeper_node::time::{Now, WallTime};
use oxikeeper_proto::{SessionId, Txn, Zxid};
use oxikeeper_storage::{
    Compression, Dirs, Finding, LogOptions, LogPreparer, Progress, RecoverOptions, SnapshotWriter,
    StorageError, SyncStats, TxnLog, clean_up, purge, recover,
};
use oxikeeper_tree::{ChangeList, Restore, SnapshotWalk, Tree, TreeOptions};

use crate::disk::{Actor, CrashDisk};
use crate::marks::{Mark, Marks};
use crate::options::{Injected, Knobs};
use crate::reactor::{Around, Reactor, ShellMutation};
use crate::schedule::{CORE, LOG, REACTOR, SNAPSHOT, Schedule};

/// How long a full log waits before it tries again, microseconds.
const FULL_RETRY_US: u64 = 200_000;

enum CoreTurn {
    Take,
    Step(Vec<Input>),
    Apply,
}

enum LogTurn {
    Idle,
    Write(Arc<LogBatch>),
    Full(Arc<LogBatch>),
    Written(SyncStats, bool),
}

enum SnapshotTurn {
    Idle,
    Walk { walk: SnapshotWalk, bytes: Vec<u8>, began: u64 },
    Written { began: u64 },
}

/// What surrounds a server.
pub struct Host<'a> {
    /// What the threads see of links, clients and marks.
    pub around: Around<'a>,
    /// When who acts.
    pub schedule: &'a mut Schedule,
    /// The disk.
    pub disk: &'a CrashDisk,
    /// The wall clock, milliseconds.
    pub wall_ms: i64,
    /// Until then, syncs take seconds.
    pub slow_disk_until: u64,
    /// What was drawn for this run.
    pub knobs: &'a Knobs,
}

/// A running server.
pub struct Server {
    core: Core,
    /// The replicated state.
    pub tree: Tree,
    /// One per Front.
    pub reactors: Vec<Reactor>,
    log: TxnLog<CrashDisk>,
    preparer: LogPreparer<CrashDisk>,
    dirs: Dirs,
    queue: Vec<Input>,
    is_writing: bool,
    core_turn: CoreTurn,
    log_turn: LogTurn,
    snapshot_turn: SnapshotTurn,
    mutation: Option<Injected>,
    /// Sessions with writes in the batch on its way to the disk.
    writing_for: Vec<SessionId>,
    /// When the last batch was durable.
    durable_at: u64,
    /// Mail that a defective shell holds back.
    late_mail: Vec<MailBatch>,
}

/// The simulated data directory.
pub fn dirs() -> Dirs {
    Dirs::new(Path::new("/data"), Path::new("/data"))
}

/// Why a server does not go on.
#[derive(Debug)]
pub enum Stop {
    /// Its log failed: the process ended itself, as it must.
    LogFailed,
    /// Something that must not happen.
    Violation(String),
}

impl Server {
    /// From the disk to a server that serves, as the shell does it. Returns it with the number of
    /// replayed transactions.
    pub fn start(host: &mut Host<'_>, mutation: Option<Injected>) -> Result<Server, StorageError> {
        let (disk, dirs) = (host.disk, dirs());
        disk.act_as(Actor::Start);
        dirs.prepare(disk, true)?;
        let config = Arc::new(node_config(host));
        let options = TreeOptions::default();
        let mut restore = Restore::new(options);
        let recovered = recover(disk, &dirs, &RecoverOptions::default(), &mut restore)?;
        for finding in &recovered.findings {
            if matches!(finding, Finding::TornTail(_)) {
                host.around.marks.hit(Mark::TornTail);
            }
        }
        if recovered.snapshot.is_some() && recovered.replayed > 0 {
            host.around.marks.hit(Mark::SnapshotAndLogReplayed);
        }
        if let Some((count, first)) = restore.digest_mismatches() {
            return Err(StorageError::Unreadable(format!("{count} digests differ from {first}")));
        }
        clean_up(disk, &dirs, &recovered)?;
        let mut tree = restore.into_tree();
        let dead = tree.remove_dead_ephemerals(&mut ChangeList::default());
        if dead > 0 {
            return Err(StorageError::Unreadable(format!("{dead} ephemerals without session")));
        }
        if recovered.snapshot.is_none() {
            let mut walk = tree.begin_snapshot();
            let mut bytes = Vec::new();
            while !tree.walk_snapshot(&mut walk, &mut bytes, 16) {}
            write_snapshot(disk, &dirs, &walk, &bytes)?;
            tree.end_snapshot(walk);
        }
        let fronts = host.knobs.fronts;
        let now = host.around.now;
        let mut core = Core::new(Arc::clone(&config), &tree, fronts, Now::from_micros(now));
        if recovered.replayed > 0 {
            core.want_snapshot();
        }
        let log_options = LogOptions { prepare_bytes: 16 << 10, ..LogOptions::default() };
        let preparer = LogPreparer::new(Arc::new(disk.clone()), dirs.clone(), log_options);
        let mut log =
            TxnLog::new(Arc::new(disk.clone()), dirs.clone(), log_options, tree.last_zxid());
        if let Some(Injected::Log(defect)) = mutation {
            log.mutate(defect);
        }
        let front = |id| Front::new(FrontId(id), Arc::clone(&config));
        let reactors = (0..fronts).map(|id| Reactor::new(front(id), now)).collect();
        Ok(Server {
            core,
            tree,
            reactors,
            log,
            preparer,
            dirs,
            queue: Vec::new(),
            is_writing: false,
            core_turn: CoreTurn::Take,
            log_turn: LogTurn::Idle,
            snapshot_turn: SnapshotTurn::Idle,
            mutation,
            writing_for: Vec::new(),
            durable_at: 0,
            late_mail: Vec::new(),
        })
    }

    /// What another server must hold between any two turns.
    pub fn check(&self) {
        if self.mutation.is_none() {
            self.core.check_invariants(&self.tree);
        }
    }

    /// One turn of one of its threads.
    pub fn act(&mut self, actor: usize, host: &mut Host<'_>) -> Result<(), Stop> {
        match actor {
            CORE => self.act_core(host),
            LOG => self.act_log(host),
            SNAPSHOT => {
                self.act_snapshot(host);
                Ok(())
            }
            _ => {
                self.act_reactor(actor - REACTOR, host);
                Ok(())
            }
        }
    }

    fn shell_mutation(&self) -> Option<ShellMutation> {
        match self.mutation {
            Some(Injected::Shell(mutation)) => Some(mutation),
            _ => None,
        }
    }

    fn act_reactor(&mut self, index: usize, host: &mut Host<'_>) {
        let mutation = self.shell_mutation();
        let reactor = &mut self.reactors[index];
        let (to_core, next) = reactor.act(&self.tree, &mut host.around, mutation);
        host.schedule.wake(REACTOR + index, next, host.around.rng);
        if !to_core.is_empty() {
            self.push(to_core.into_iter().map(Input::FromFront), host);
        }
    }

    /// Puts inputs into the Core's queue and ends its sleep.
    fn push(&mut self, inputs: impl IntoIterator<Item = Input>, host: &mut Host<'_>) {
        self.queue.extend(inputs);
        if matches!(self.core_turn, CoreTurn::Take) {
            let at = host.around.now + host.around.rng.turn();
            host.schedule.wake(CORE, at, host.around.rng);
        }
    }

    fn act_core(&mut self, host: &mut Host<'_>) -> Result<(), Stop> {
        let now = host.around.now;
        let soon = now + host.around.rng.turn();
        let late = std::mem::take(&mut self.late_mail);
        self.put_mail(late, host);
        match std::mem::replace(&mut self.core_turn, CoreTurn::Take) {
            CoreTurn::Take => {
                self.core_turn = CoreTurn::Step(std::mem::take(&mut self.queue));
                host.schedule.wake(CORE, soon, host.around.rng);
            }
            CoreTurn::Step(inputs) => {
                self.step_core(inputs, host)?;
                if self.core.has_work_to_apply() {
                    self.core_turn = CoreTurn::Apply;
                    host.schedule.wake(CORE, soon, host.around.rng);
                } else {
                    self.sleep_core(host);
                }
            }
            CoreTurn::Apply => {
                self.apply(host);
                self.sleep_core(host);
            }
        }
        self.check();
        Ok(())
    }

    fn sleep_core(&mut self, host: &mut Host<'_>) {
        let now = host.around.now;
        let at = if !self.queue.is_empty() || self.core.has_work_to_apply() {
            now + host.around.rng.turn()
        } else {
            self.core.next_deadline().map_or(now + 250_000, Now::micros).max(now)
                + host.around.rng.between(1, 200)
        };
        host.schedule.wake(CORE, at, host.around.rng);
    }

    fn step_core(&mut self, inputs: Vec<Input>, host: &mut Host<'_>) -> Result<(), Stop> {
        let now = host.around.now;
        let tick = Input::Tick { now: Now::from_micros(now), wall: WallTime(host.wall_ms) };
        self.core.step(tick, &self.tree);
        for input in inputs {
            self.is_writing &= !matches!(input, Input::Durable(_));
            if let Input::FromFront(ToCore::Connect { conn, session, .. }) = &input {
                let handshakes = &mut host.around.ghost.handshakes;
                handshakes.insert(conn.conn.0 as usize, handshakes.len());
                if *session != SessionId::NONE {
                    let reactor = &mut self.reactors[usize::from(conn.front.0)];
                    reactor.resumed_at.insert(conn.conn, now);
                }
            }
            self.core.step(input, &self.tree);
        }
        host.around.ghost.made(self.core.last_zxid(), now);
        if !self.is_writing
            && let Some(batch) = self.core.take_log_batch()
        {
            self.is_writing = true;
            self.note_batch(&batch, host)?;
            self.log_turn = LogTurn::Write(batch);
            let at = now + host.around.rng.turn();
            host.schedule.wake(LOG, at, host.around.rng);
        }
        Ok(())
    }

    fn note_batch(&mut self, batch: &LogBatch, host: &mut Host<'_>) -> Result<(), Stop> {
        let around = &mut host.around;
        let mut sessions = Vec::new();
        for (index, (zxid, _)) in batch.records.iter().enumerate() {
            let payload = batch.payload(index);
            around.ghost.logged(*zxid, payload, around.marks).map_err(Stop::Violation)?;
            if let Ok((header, txn, _)) = oxikeeper_proto::txn::decode_payload(payload) {
                let expires = matches!(txn, Txn::CloseSession(_)) && header.cxid == 0;
                let was_writing = self.writing_for.contains(&header.session)
                    && around.ghost.made_at(*zxid) < self.durable_at;
                if expires && (was_writing || sessions.contains(&header.session)) {
                    around.marks.hit(Mark::ExpiryBehindPendingWrite);
                }
                sessions.push(header.session);
            }
        }
        self.writing_for = sessions;
        Ok(())
    }

    /// One hold of the tree's lock for writing.
    fn apply(&mut self, host: &mut Host<'_>) {
        let mut mail = Vec::new();
        let before = self.tree.last_zxid();
        for (index, reactor) in (0..).zip(&self.reactors) {
            self.core.set_watching(FrontId(index), reactor.is_watching());
        }
        let end = self.core.apply(&mut self.tree, &mut mail);
        let now = host.around.now;
        self.note_walk(before, host);
        if end.start_snapshot {
            let walk = self.tree.begin_snapshot();
            self.snapshot_turn = SnapshotTurn::Walk { walk, bytes: Vec::new(), began: now };
            let at = now + host.around.rng.between(1, 500);
            host.schedule.wake(SNAPSHOT, at, host.around.rng);
        }
        if self.shell_mutation() == Some(ShellMutation::MailAfterLock) {
            self.late_mail = mail;
        } else {
            self.put_mail(mail, host);
        }
    }

    fn put_mail(&mut self, mail: Vec<MailBatch>, host: &mut Host<'_>) {
        let now = host.around.now;
        for (index, (reactor, batch)) in self.reactors.iter_mut().zip(mail).enumerate() {
            if !batch.items.is_empty() {
                reactor.mailbox.push(batch);
                if reactor.is_polling() {
                    let at = now + host.around.rng.turn();
                    host.schedule.wake(REACTOR + index, at, host.around.rng);
                }
            }
        }
    }

    fn note_walk(&self, before: Zxid, host: &mut Host<'_>) {
        let applied = self.tree.last_zxid();
        if applied == before || !matches!(self.snapshot_turn, SnapshotTurn::Walk { .. }) {
            return;
        }
        host.around.marks.hit(Mark::ApplyDuringWalk);
        let log = &host.around.ghost.log;
        let range = before.raw() as usize..(applied.raw() as usize).min(log.len());
        let kind_of = |payload: &[u8]| payload.get(28..32).map(<[u8]>::to_vec);
        let multi = 14i32.to_be_bytes().to_vec();
        if log[range].iter().any(|(_, payload)| kind_of(payload) == Some(multi.clone())) {
            host.around.marks.hit(Mark::MultiDuringWalk);
        }
    }

    fn act_log(&mut self, host: &mut Host<'_>) -> Result<(), Stop> {
        host.disk.act_as(Actor::Log);
        match std::mem::replace(&mut self.log_turn, LogTurn::Idle) {
            LogTurn::Idle => {}
            LogTurn::Write(batch) => {
                for (index, (zxid, _)) in batch.records.iter().enumerate() {
                    let appended = self.log.append(*zxid, batch.payload(index));
                    appended.map_err(|error| Stop::Violation(error.to_string()))?;
                }
                if self.sync_log(batch, host)? {
                    self.push([Input::LogFull(true)], host);
                }
            }
            LogTurn::Full(batch) => {
                if !self.sync_log(batch, host)? {
                    self.push([Input::LogFull(false)], host);
                }
            }
            LogTurn::Written(stats, roll_after) => {
                host.disk.end(Actor::Log);
                self.durable_at = host.around.now;
                self.push([Input::Durable(stats.last)], host);
                if roll_after {
                    host.around.marks.hit(Mark::LogRolled);
                    self.log.roll().map_err(|_| Stop::LogFailed)?;
                }
                if host.knobs.prepares_logs && host.around.rng.chance(200) {
                    self.prepare_log();
                }
            }
        }
        Ok(())
    }

    /// One step towards the next log file, if there is room and it is wanted.
    fn prepare_log(&mut self) {
        if self.log.wants_prepared()
            && let Progress::Ready(prepared) = self.preparer.step()
        {
            self.log.accept(prepared);
        }
    }

    /// Writes and syncs the batch. True if the disk is full and it has to wait.
    fn sync_log(&mut self, batch: Arc<LogBatch>, host: &mut Host<'_>) -> Result<bool, Stop> {
        let now = host.around.now;
        host.disk.begin(Actor::Log);
        let (is_full, at) = match self.log.sync() {
            Ok(stats) => {
                self.log_turn = LogTurn::Written(stats, batch.roll_after);
                let took = host.around.rng.around(host.knobs.disk_delay_us);
                (false, (now + took).max(host.slow_disk_until))
            }
            Err(error) if error.is_full() => {
                host.disk.end(Actor::Log);
                self.log_turn = LogTurn::Full(batch);
                (true, now + FULL_RETRY_US)
            }
            Err(_) => {
                host.around.marks.hit(Mark::DiskFailed);
                return Err(Stop::LogFailed);
            }
        };
        host.schedule.wake(LOG, at, host.around.rng);
        Ok(is_full)
    }

    fn act_snapshot(&mut self, host: &mut Host<'_>) {
        let now = host.around.now;
        host.disk.act_as(Actor::Snapshot);
        let at = match std::mem::replace(&mut self.snapshot_turn, SnapshotTurn::Idle) {
            SnapshotTurn::Idle => return,
            SnapshotTurn::Walk { mut walk, mut bytes, began } => {
                let nodes = host.around.rng.index(12) + 1;
                if self.tree.walk_snapshot(&mut walk, &mut bytes, nodes) {
                    host.disk.begin(Actor::Snapshot);
                    if write_snapshot(host.disk, &self.dirs, &walk, &bytes).is_ok() {
                        host.around.marks.hit(Mark::SnapshotFinished);
                        if host.around.rng.chance(300)
                            && purge(host.disk, &self.dirs, 3).is_ok_and(|p| !p.removed.is_empty())
                        {
                            host.around.marks.hit(Mark::Purged);
                        }
                    }
                    self.tree.end_snapshot(walk);
                    self.snapshot_turn = SnapshotTurn::Written { began };
                    now + host.around.rng.around(host.knobs.disk_delay_us * 2)
                } else {
                    self.snapshot_turn = SnapshotTurn::Walk { walk, bytes, began };
                    now + host.around.rng.around(host.knobs.walk_delay_us)
                }
            }
            SnapshotTurn::Written { began } => {
                host.disk.end(Actor::Snapshot);
                let took_ms = (now - began) / 1000;
                self.push([Input::SnapshotFinished { took_ms }], host);
                return;
            }
        };
        host.schedule.wake(SNAPSHOT, at, host.around.rng);
    }

    /// Whether a batch is between its first write and the end of its sync.
    pub fn is_syncing(&self) -> bool {
        matches!(self.log_turn, LogTurn::Written(..))
    }

    /// Whether a snapshot is being made durable.
    pub fn is_snapshotting(&self) -> bool {
        matches!(self.snapshot_turn, SnapshotTurn::Written { .. })
    }

    /// The marks of a batch that a crash takes.
    pub fn note_crash(&self, marks: &mut Marks) {
        if self.is_syncing() {
            marks.hit(Mark::CrashInsideLogWrite);
        }
        if self.is_snapshotting() {
            marks.hit(Mark::CrashInsideSnapshot);
        }
    }
}

fn write_snapshot(
    disk: &CrashDisk,
    dirs: &Dirs,
    walk: &SnapshotWalk,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let mut writer = SnapshotWriter::begin(disk, dirs, walk.zxid(), Compression::None)?;
    writer.write(bytes)?;
    writer.finish(Some(walk.digest())).map(|_| ())
}

fn node_config(host: &Host<'_>) -> NodeConfig {
    NodeConfig {
        tick_ms: host.knobs.tick_ms,
        session_timeout_ms_min: 1000,
        session_timeout_ms_max: 10_000,
        started_ms: host.wall_ms,
        extended_types: host.knobs.extended_types,
        snap_count: host.knobs.snap_count,
        container_check_interval_ms: 700,
        container_max_per_minute: 100_000,
        seed: host.knobs.node_seed,
        // In half of the runs so low that connections are throttled all the time.
        limits: Limits {
            outstanding_max: match (host.knobs.node_seed >> 7) % 4 {
                0 => 1,
                1 => 5,
                _ => Limits::default().outstanding_max,
            },
            ..Limits::default()
        },
        ..NodeConfig::default()
    }
}
