//! The Core: one per server. It gives every write its place, hands it to the log, applies it once
//! it is durable, and owns the sessions.
//!
//! ```text
//!  Front --ToCore--> step: prep against the future --> LogBatch --> log writer
//!                                                                      |
//!  Front <--mail---- apply, under the tree's write lock <-- Durable ---+
//! ```
//!
//! Nothing is applied, and so nothing is answered, before the log writer has reported it durable:
//! `apply` takes transactions up to the zxid of the last [`Input::Durable`] and none beyond.
//! A standalone server commits what is durable; an ensemble puts agreement in between.

mod apply;
mod connection_throttle;
mod log_batch;
mod outstanding;
mod prep;
mod reaper;
mod sessions;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use oxikeeper_proto::reply::{ReplyHeader, frame};
use oxikeeper_proto::txn::{DIGEST_VERSION, TxnDigest};
use oxikeeper_proto::{ErrorCode, OpCode, SessionId, Txn, TxnHeader, Xid, Zxid};
use oxikeeper_tree::Tree;
use tracing::{info, warn};

pub use self::apply::ApplyEnd;
use self::connection_throttle::Bucket;
pub use self::connection_throttle::ConnectionThrottleStats;
pub use self::log_batch::LogBatch;
use self::outstanding::Outstanding;
use self::prep::{Prep, Refusal};
use self::reaper::Reaper;
use self::sessions::Sessions;
use crate::config::NodeConfig;
use crate::mail::{CloseReason, ConnRef, FrontId, Mail, Request, ToCore};
use crate::mutation::{Mutation, mutated};
use crate::session_id::{SessionIds, password, password_matches};
use crate::time::{Now, WallTime};

/// What happens to the Core.
#[derive(Debug)]
pub enum Input {
    /// A Front says something.
    FromFront(ToCore),
    /// Time passes. Sent before every batch of other inputs, and at
    /// [`next_deadline`](Core::next_deadline) at the latest.
    Tick {
        /// Monotonic time.
        now: Now,
        /// Wall time.
        wall: WallTime,
    },
    /// The log is on disk up to here. Sent once per batch, after its sync returned.
    Durable(Zxid),
    /// The snapshot that [`ApplyEnd::start_snapshot`] asked for is finished, or has failed, after
    /// this many milliseconds.
    SnapshotFinished {
        /// How long it took.
        took_ms: u64,
    },
    /// Whether the log's disk is too full to take more. While it is, writes are refused.
    LogFull(bool),
}

/// What waits to be applied, in order.
#[derive(Debug)]
enum Pending {
    /// The next record of the log batches.
    Txn {
        zxid: Zxid,
        /// Whose reply it is, if anybody waits for one.
        origin: Option<Origin>,
    },
    /// Answered at its place in the order without a transaction.
    Answer { origin: Origin, answer: Answer },
}

#[derive(Debug)]
enum Answer {
    /// sync: the path as it came, in jute.
    Sync(Box<[u8]>),
    /// A refusal that takes no zxid.
    Error(ErrorCode),
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
struct Origin {
    conn: ConnRef,
    session: SessionId,
    xid: Xid,
    op: OpCode,
}

/// One server's ordering machine. See the module's head.
pub struct Core {
    config: Arc<NodeConfig>,
    /// Whether anybody watches at each Front.
    watching: Vec<bool>,
    now: Now,
    wall: WallTime,
    /// The last zxid given out.
    last_zxid: Zxid,
    /// The last zxid that the log holds for sure.
    durable: Zxid,
    outstanding: Outstanding,
    sessions: Sessions,
    session_ids: SessionIds,
    bucket: Bucket,
    /// How far each Front has reported whom it heard.
    heard_until: Vec<Now>,
    /// The batch being filled.
    next_batch: LogBatch,
    /// Batches given to the log writer and not applied yet, with the first record still to apply.
    batches: VecDeque<(Arc<LogBatch>, usize)>,
    pending: VecDeque<Pending>,
    /// Mail that does not wait for a transaction.
    immediate: Vec<(FrontId, Mail)>,
    /// Answers that wait for nobody: those of the time when the log is full.
    answers: Vec<(Origin, Answer)>,
    /// While the log is full, the connections of which something is pending.
    stuck: BTreeSet<ConnRef>,
    reaper: Reaper,
    snapshots: SnapshotTrigger,
    log_full: bool,
    /// The tree's digest at every [`DIGEST_LOG_INTERVAL`]th transaction, the last ones.
    digest_log: VecDeque<(Zxid, u64)>,
}

/// Apache keeps a digest whenever the zxid is a multiple of this, and the last so many of them.
const DIGEST_LOG_INTERVAL: u64 = 128;
const DIGEST_LOG_LEN: usize = 1024;

/// When the next snapshot is due. Source: Apache's `SyncRequestProcessor.shouldSnapshot`.
#[derive(Debug)]
struct SnapshotTrigger {
    txns: u64,
    bytes: u64,
    txns_due: u64,
    bytes_due: u64,
    random: u64,
    wanted: bool,
    running: bool,
    not_before: Now,
    /// An operator asked: without a rest after the one before.
    at_once: bool,
}

/// A snapshot begins no sooner than this many times the last one's duration after its end.
const SNAPSHOT_REST_FACTOR: u32 = 4;

/// The Core wants a tick at least this often.
const TICK_INTERVAL_MS: u64 = 250;

/// A pause between two ticks beyond this is a stall of our own process, granted to all sessions.
const STALL_MS: u64 = 1000;

impl Core {
    /// A Core over a recovered tree. Every session of the tree gets its full timeout from `now`.
    pub fn new(config: Arc<NodeConfig>, tree: &Tree, fronts: u16, now: Now) -> Core {
        let mut sessions = Sessions::new(config.tick_ms);
        for (session, timeout_ms) in tree.sessions() {
            if mutated(Mutation::ForgetSessions) {
                continue;
            }
            sessions.track(session, timeout_ms, None, now);
        }
        let mut snapshots = SnapshotTrigger::new(config.seed);
        snapshots.restart(&config);
        Core {
            watching: vec![true; usize::from(fronts)],
            now,
            wall: WallTime(0),
            last_zxid: tree.last_zxid(),
            durable: tree.last_zxid(),
            outstanding: Outstanding::new(tree, config.seed),
            sessions,
            bucket: Bucket::new(config.limits.connection_throttle.clone(), config.seed, now),
            session_ids: SessionIds::new(config.server_id, config.started_ms),
            heard_until: vec![now; usize::from(fronts)],
            next_batch: LogBatch::default(),
            batches: VecDeque::new(),
            pending: VecDeque::new(),
            immediate: Vec::new(),
            answers: Vec::new(),
            stuck: BTreeSet::new(),
            reaper: Reaper::new(&config, now),
            snapshots,
            log_full: false,
            digest_log: VecDeque::new(),
            config,
        }
    }

    /// Takes one input. `tree` is the tree as applied so far; it is only read.
    pub fn step(&mut self, input: Input, tree: &Tree) {
        match input {
            Input::FromFront(ToCore::Connect { conn, session, password, timeout_ms }) => {
                self.on_connect(conn, session, &password, timeout_ms);
            }
            Input::FromFront(ToCore::Request(request)) => self.on_request(request, tree),
            Input::FromFront(ToCore::Disconnected { conn, session }) => {
                self.on_disconnected(conn, session);
            }
            Input::FromFront(ToCore::Touched { front, until, sessions }) => {
                for (session, when) in sessions {
                    if mutated(Mutation::LoseTouches) {
                        continue;
                    }
                    self.sessions.touch(session, when);
                }
                if let Some(heard) = self.heard_until.get_mut(usize::from(front.0)) {
                    *heard = until.max(*heard);
                }
            }
            Input::Tick { now, wall } => self.on_tick(now, wall, tree),
            Input::Durable(zxid) => {
                assert!(zxid >= self.durable, "the log grows: {zxid} after {}", self.durable);
                assert!(zxid <= self.last_zxid, "durable {zxid}, given out {}", self.last_zxid);
                self.durable = zxid;
            }
            Input::SnapshotFinished { took_ms } => {
                self.snapshots.running = false;
                let rest = std::time::Duration::from_millis(took_ms) * SNAPSHOT_REST_FACTOR;
                self.snapshots.not_before = self.now.after(rest);
            }
            Input::LogFull(full) => self.on_log_full(full),
        }
    }

    /// The transactions prepared since the last call, for the log writer. To be called when it is
    /// idle; its completion comes back as [`Input::Durable`].
    pub fn take_log_batch(&mut self) -> Option<Arc<LogBatch>> {
        if self.next_batch.records.is_empty() {
            return None;
        }
        let batch = Arc::new(std::mem::take(&mut self.next_batch));
        self.batches.push_back((Arc::clone(&batch), 0));
        Some(batch)
    }

    /// True if [`apply`](Self::apply) has something to do.
    pub fn has_work_to_apply(&self) -> bool {
        !self.immediate.is_empty()
            || !self.answers.is_empty()
            || self.is_next_ready()
            || self.may_start_snapshot()
    }

    fn is_next_ready(&self) -> bool {
        match self.pending.front() {
            Some(Pending::Txn { .. }) if mutated(Mutation::ApplyBeyondDurable) => {
                !self.batches.is_empty()
            }
            Some(Pending::Txn { zxid, .. }) => *zxid <= self.durable,
            Some(Pending::Answer { .. }) => true,
            None => false,
        }
    }

    /// Whether a Front has watches, and so has to be told of changes. To be said under the tree's
    /// write lock, of a Front that has drained its mailbox whenever it set one.
    pub fn set_watching(&mut self, front: FrontId, watching: bool) {
        self.watching[usize::from(front.0)] = watching;
    }

    /// Asks for a snapshot at once, or as soon as the one that is being written is finished: an
    /// operator wants it.
    pub fn want_snapshot_now(&mut self) {
        self.snapshots.wanted = true;
        self.snapshots.at_once = true;
    }

    /// The digests that `hash` tells of, oldest first.
    pub fn digest_log(&self) -> Vec<(Zxid, u64)> {
        self.digest_log.iter().copied().collect()
    }

    fn log_digest(&mut self, zxid: Zxid, digest: u64) {
        if self.config.digest_enabled && zxid.raw().is_multiple_of(DIGEST_LOG_INTERVAL) {
            self.digest_log.push_back((zxid, digest));
            if self.digest_log.len() > DIGEST_LOG_LEN {
                self.digest_log.pop_front();
            }
        }
    }

    /// Asks for a snapshot as soon as one may begin.
    pub fn want_snapshot(&mut self) {
        self.snapshots.wanted = true;
    }

    /// When the next tick is needed at the latest.
    pub fn next_deadline(&self) -> Option<Now> {
        Some(self.now.after(std::time::Duration::from_millis(TICK_INTERVAL_MS)))
    }

    /// Whether the log's disk is too full to take more, so that writes are refused.
    pub fn is_log_full(&self) -> bool {
        self.log_full
    }

    /// The last zxid given out to a transaction.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Requests taken and not answered yet.
    pub fn outstanding_count(&self) -> usize {
        self.pending.len()
    }

    /// How often handshakes were refused.
    pub fn connection_throttle_stats(&self) -> ConnectionThrottleStats {
        self.bucket.stats()
    }

    /// Sessions by the moment at which they expire if nobody hears of them, earliest first.
    pub fn session_expiries(&self) -> Vec<(Now, SessionId)> {
        self.sessions.expiries()
    }

    /// Sessions that live.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// What holds between any two inputs. Cheap enough for every step of a simulation.
    pub fn check_invariants(&self, tree: &Tree) {
        assert!(tree.last_zxid() <= self.durable, "nothing is applied before it is durable");
        assert!(self.durable <= self.last_zxid, "nothing is durable before it is prepared");
        let waiting = self.pending.iter().filter(|p| matches!(p, Pending::Txn { .. })).count();
        let in_batches: usize = self.batches.iter().map(|(b, from)| b.records.len() - from).sum();
        let in_next = self.next_batch.records.len();
        assert_eq!(waiting, in_batches + in_next, "every pending transaction is in one batch");
        if self.outstanding.is_empty() {
            assert_eq!(self.outstanding.digest(), tree.digest(), "the future is the present");
        }
        for (session, _) in tree.sessions() {
            assert!(self.sessions.get(session).is_some(), "session {session} is tracked");
        }
    }

    fn on_connect(&mut self, conn: ConnRef, session: SessionId, offered: &[u8], timeout_ms: i32) {
        if !self.bucket.admits(session, self.now) {
            let reason = CloseReason::Throttled;
            self.immediate.push((conn.front, Mail::Close { conn: conn.conn, reason }));
            return;
        }
        if session == SessionId::NONE {
            return self.create_session(conn, timeout_ms);
        }
        // Apache closes the previous connection before it looks at the password.
        if let Some(tracked) = self.sessions.get_mut(session)
            && let Some(previous) = tracked.conn.take()
            && previous != conn
        {
            let reason = CloseReason::SessionResumedElsewhere;
            self.immediate.push((previous.front, Mail::Close { conn: previous.conn, reason }));
        }
        let lives = self.sessions.get(session).is_some_and(|tracked| !tracked.closing);
        let knows = password_matches(session, offered) || mutated(Mutation::AcceptAnyPassword);
        let mail = if lives && knows {
            self.sessions.renew(session, timeout_ms, conn, self.now);
            let password = password(session);
            Mail::Connected { conn: conn.conn, session, timeout_ms, password }
        } else {
            Mail::Expired { conn: conn.conn }
        };
        self.immediate.push((conn.front, mail));
    }

    fn create_session(&mut self, conn: ConnRef, timeout_ms: i32) {
        if self.log_full {
            let reason = CloseReason::LogFull;
            self.immediate.push((conn.front, Mail::Close { conn: conn.conn, reason }));
            return;
        }
        let session = self.session_ids.take();
        self.sessions.track(session, timeout_ms, Some(conn), self.now);
        let origin = Origin { conn, session, xid: Xid::INTERNAL, op: OpCode::CreateSession };
        self.propose(Some(origin), session, Xid::INTERNAL, &Txn::CreateSession(timeout_ms));
    }

    fn on_disconnected(&mut self, conn: ConnRef, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(session)
            && tracked.conn == Some(conn)
        {
            tracked.conn = None;
        }
    }

    fn on_request(&mut self, request: Request, tree: &Tree) {
        let Request { conn, session, xid, op, body, ids } = request;
        let refused = match self.sessions.get(session) {
            None => Some(CloseReason::SessionClosed),
            Some(_) if mutated(Mutation::ServeMovedSession) => None,
            Some(tracked) if tracked.closing && !mutated(Mutation::ServeClosingSession) => {
                Some(CloseReason::SessionClosed)
            }
            Some(tracked) if tracked.conn != Some(conn) => Some(CloseReason::SessionMoved),
            Some(_) => None,
        };
        if let Some(reason) = refused {
            self.immediate.push((conn.front, Mail::Close { conn: conn.conn, reason }));
            return;
        }
        let origin = Origin { conn, session, xid, op };
        match op {
            OpCode::Sync => self.answer(origin, Answer::Sync(body)),
            _ if self.log_full => self.answer(origin, Answer::Error(ErrorCode::OperationTimeout)),
            OpCode::CloseSession => self.close_session(session, Some(origin), tree),
            _ => self.prepare(origin, &body, &ids, tree),
        }
    }

    fn prepare(&mut self, origin: Origin, body: &[u8], ids: &[oxikeeper_proto::Id], tree: &Tree) {
        let Origin { session, op, .. } = origin;
        let config = Arc::clone(&self.config);
        let txn = self.prep(&config, tree, session, ids).request(op, body);
        match txn {
            Ok(txn) => self.propose(Some(origin), session, origin.xid, &txn),
            Err(Refusal::Failed(code)) => {
                self.propose(Some(origin), session, origin.xid, &Txn::Error(code.to_wire()));
            }
            Err(Refusal::Undecodable) => {
                self.answer(origin, Answer::Error(ErrorCode::MarshallingError));
            }
        }
    }

    fn prep<'c>(
        &'c mut self,
        config: &'c NodeConfig,
        tree: &'c Tree,
        session: SessionId,
        ids: &'c [oxikeeper_proto::Id],
    ) -> Prep<'c> {
        let zxid = self.next_zxid();
        let outstanding = &mut self.outstanding;
        Prep { config, tree, outstanding, session, ids, zxid, time_ms: self.wall.0 }
    }

    /// The zxid that the next transaction will have.
    fn next_zxid(&self) -> Zxid {
        // 2^32 writes of one standalone epoch: the epoch goes up, as at an ensemble's rollover.
        let rolled = || Zxid::from_parts(self.last_zxid.epoch() + 1, 1);
        self.last_zxid.next().unwrap_or_else(rolled)
    }

    /// Gives a transaction the next zxid and its place in the log and in the order of replies.
    fn propose(&mut self, origin: Option<Origin>, session: SessionId, cxid: Xid, txn: &Txn<'_>) {
        let zxid = self.next_zxid();
        assert!(zxid.follows(self.last_zxid), "{zxid} after {}", self.last_zxid);
        self.last_zxid = zxid;
        let header =
            TxnHeader { session, cxid: cxid.0, zxid, time_ms: self.wall.0, kind: txn.kind() };
        let digested = self.config.digest_enabled && !matches!(txn, Txn::Error(_));
        let digest = digested.then(|| TxnDigest {
            version: DIGEST_VERSION,
            tree_digest: self.outstanding.digest() as i64,
        });
        let bytes = self.next_batch.push(&header, txn, digest);
        if self.snapshots.count(bytes) {
            self.next_batch.roll_after = true;
            self.snapshots.restart(&self.config);
        }
        self.pending.push_back(Pending::Txn { zxid, origin });
    }

    /// Answers at this place in the order: behind everything that was taken before. What is behind
    /// a full log may wait for long, and only the own connection's order is owed: there, who has
    /// nothing pending is answered at once.
    fn answer(&mut self, origin: Origin, answer: Answer) {
        if self.log_full && !self.stuck.contains(&origin.conn) {
            self.answers.push((origin, answer));
        } else {
            self.pending.push_back(Pending::Answer { origin, answer });
        }
    }

    fn on_log_full(&mut self, full: bool) {
        self.log_full = full;
        let origins = self.pending.iter().filter_map(|pending| match pending {
            Pending::Txn { origin, .. } => origin.map(|origin| origin.conn),
            Pending::Answer { origin, .. } => Some(origin.conn),
        });
        self.stuck = if full { origins.collect() } else { BTreeSet::new() };
    }

    /// Begins to close a session, on request or because it expired.
    fn close_session(&mut self, session: SessionId, origin: Option<Origin>, tree: &Tree) {
        let Some(tracked) = self.sessions.get_mut(session) else { return };
        tracked.closing = true;
        if let Some(conn) = tracked.conn
            && origin.is_none()
        {
            self.immediate.push((conn.front, Mail::Stop { conn: conn.conn }));
        }
        let config = Arc::clone(&self.config);
        let txn = self.prep(&config, tree, session, &[]).close_session();
        let cxid = origin.map_or(Xid::INTERNAL, |origin| origin.xid);
        self.propose(origin, session, cxid, &txn);
    }

    fn on_tick(&mut self, now: Now, wall: WallTime, tree: &Tree) {
        let pause = now.since(self.now).as_millis() as u64;
        if pause > TICK_INTERVAL_MS + STALL_MS && !mutated(Mutation::GrantNoStall) {
            warn!(pause_ms = pause, "this process did not run; every session is granted the time");
            self.sessions.grant(self.now, now, TICK_INTERVAL_MS);
        }
        self.now = now.max(self.now);
        self.wall = wall;
        self.bucket.tell(self.now);
        let heard = self.heard_until.iter().copied().min().unwrap_or(self.now);
        // While the log is full nobody expires: who comes back before there is room has lost nothing.
        if !self.log_full {
            for session in self.sessions.expired(heard.min(self.now)) {
                info!(%session, "session expired");
                self.close_session(session, None, tree);
            }
            self.reap(tree);
        }
    }

    /// Removes containers and TTL nodes that are due, a few at a time.
    fn reap(&mut self, tree: &Tree) {
        let (wall_ms, never_used_ms) = (self.wall.0, self.config.container_max_never_used_ms);
        self.reaper.collect(self.now, || tree.reapable(wall_ms, never_used_ms));
        while let Some(path) = self.reaper.next_due(self.now) {
            let config = Arc::clone(&self.config);
            let due = |kind, stat: &_| reaper::is_due(kind, stat, wall_ms, never_used_ms);
            let txn = self.prep(&config, tree, SessionId::NONE, &[]).delete_container(&path, due);
            if let Some(txn) = txn {
                self.propose(None, SessionId::NONE, Xid::INTERNAL, &txn);
            }
        }
    }

    fn may_start_snapshot(&self) -> bool {
        let trigger = &self.snapshots;
        let is_time = trigger.at_once || self.now >= trigger.not_before;
        trigger.wanted && !trigger.running && is_time
    }

    /// A reply without a body, for a connection.
    fn error_frame(bytes: &mut Vec<u8>, xid: Xid, zxid: Zxid, code: ErrorCode) {
        frame(bytes, ReplyHeader { xid: xid.0, zxid, err: code.to_wire() }, |_| {});
    }
}

impl SnapshotTrigger {
    fn new(seed: u64) -> SnapshotTrigger {
        SnapshotTrigger {
            txns: 0,
            bytes: 0,
            txns_due: u64::MAX,
            bytes_due: u64::MAX,
            random: seed,
            wanted: false,
            running: false,
            not_before: Now::default(),
            at_once: false,
        }
    }

    /// Counts one transaction; true if a snapshot is due.
    fn count(&mut self, bytes: usize) -> bool {
        self.txns += 1;
        self.bytes += bytes as u64;
        let due = self.txns > self.txns_due || self.bytes > self.bytes_due;
        self.wanted |= due;
        due
    }

    /// Draws the next goals from the upper half, so that servers do not snapshot together.
    fn restart(&mut self, config: &NodeConfig) {
        let half = u64::from(config.snap_count.max(2)) / 2;
        self.txns = 0;
        self.bytes = 0;
        self.txns_due = half + self.draw() % half.max(1);
        self.bytes_due = match config.snap_log_bytes {
            Some(limit) => limit / 2 + self.draw() % (limit / 2).max(1),
            None => u64::MAX,
        };
    }

    /// The next number of a SplitMix64 sequence.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
