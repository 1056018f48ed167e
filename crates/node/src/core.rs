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
//! A standalone server commits what is durable; an ensemble puts agreement in between: what its peer
//! says comes by [`Core::on_peer`], and what is for the peer goes by [`Core::take_words_to_peer`].

mod apply;
mod clients;
mod connection_throttle;
mod expiry;
mod forwarded;
mod learners;
mod local;
mod log_batch;
mod outstanding;
mod prep;
mod reaper;
mod service;
mod sessions;
mod snapshot_trigger;
mod stats;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use oxikeeper_proto::reply::{ReplyHeader, frame};
use oxikeeper_proto::txn::{DIGEST_VERSION, TxnDigest};
use oxikeeper_proto::{ErrorCode, Id, OpCode, SessionId, Txn, TxnHeader, Xid, Zxid};
use oxikeeper_tree::Tree;
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{FromLearner, Input as PeerInput, LinkId};

pub use self::apply::ApplyEnd;
use self::connection_throttle::Bucket;
pub use self::connection_throttle::ConnectionThrottleStats;
use self::forwarded::Forwarded;
pub use self::log_batch::LogBatch;
use self::outstanding::Outstanding;
use self::prep::{Prep, Refusal};
use self::reaper::Reaper;
use self::service::Service;
use self::sessions::Sessions;
use self::snapshot_trigger::SnapshotTrigger;
pub use self::stats::CoreStats;
use crate::config::NodeConfig;
use crate::mail::{CloseReason, ConnRef, FrontId, Mail, Request, ToCore};
use crate::mutation::{Mutation, mutated};
use crate::session_id::SessionIds;
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
    /// Learner: the leader has answered this session's sync.
    Synced(SessionId),
}

#[derive(Debug)]
enum Answer {
    /// sync: the path as it came, in jute.
    Sync(Box<[u8]>),
    /// A refusal that takes no zxid.
    Error(ErrorCode),
    /// A local session is closed.
    Closed,
}

impl Answer {
    /// The log's disk is full.
    const LOG_FULL: Answer = Answer::Error(ErrorCode::OperationTimeout);
    /// The request's body cannot be decoded.
    const UNDECODABLE: Answer = Answer::Error(ErrorCode::MarshallingError);
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
    service: Service,
    /// Since when there is no leader.
    looking_since: Now,
    /// The last zxid given to the log.
    last_zxid: Zxid,
    /// The last zxid that the log holds for sure.
    durable: Zxid,
    /// What may be applied once it is durable.
    committed: Zxid,
    /// In the log and not known committed, but for what the own clients and learners wait for as this
    /// server leads: that is pending.
    uncommitted: VecDeque<Zxid>,
    /// Learner: requests of clients that are with the leader.
    forwarded: Forwarded,
    /// Learner: sessions that the leader is asked for, with who came and the timeout wanted.
    revalidations: BTreeMap<SessionId, (ConnRef, i32)>,
    /// Learner: sessions heard from since the leader last asked, with their timeouts.
    touched: BTreeMap<SessionId, i32>,
    /// Leader: what learners said before the own history was applied.
    deferred: Vec<(LinkId, FromLearner)>,
    /// Leader: no zxid is left in this epoch.
    is_epoch_full: bool,
    to_peer: Vec<PeerInput>,
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
    stats: CoreStats,
}

/// Apache keeps a digest whenever the zxid is a multiple of this, and the last so many of them.
const DIGEST_LOG_INTERVAL: u64 = 128;
const DIGEST_LOG_LEN: usize = 1024;

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
        let last_zxid = tree.last_zxid();
        Core {
            watching: vec![true; usize::from(fronts)],
            now,
            wall: WallTime(0),
            service: if config.ensemble { Service::Looking } else { Service::Standalone },
            looking_since: now,
            last_zxid,
            durable: last_zxid,
            committed: last_zxid,
            uncommitted: VecDeque::new(),
            forwarded: Forwarded::default(),
            revalidations: BTreeMap::new(),
            touched: BTreeMap::new(),
            deferred: Vec::new(),
            is_epoch_full: false,
            to_peer: Vec::new(),
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
            stats: CoreStats::default(),
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
                    if self.is_learning()
                        && let Some(tracked) = self.sessions.get(session)
                        && !tracked.is_local
                    {
                        self.touched.insert(session, tracked.timeout_ms);
                    }
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
                if self.service == Service::Standalone {
                    self.committed = zxid;
                }
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

    /// The transactions that the log writer has not been given yet.
    pub fn unwritten(&self) -> &LogBatch {
        &self.next_batch
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
            Some(Pending::Txn { zxid, .. }) => *zxid <= self.durable.min(self.committed),
            Some(Pending::Answer { .. } | Pending::Synced(_)) => true,
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

    /// Whether a walk of the tree may begin that is not the Core's own, for a learner. It ends with
    /// [`Input::SnapshotFinished`].
    pub fn reserve_walk(&mut self) -> bool {
        !std::mem::replace(&mut self.snapshots.running, true)
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
        self.pending.len() + self.forwarded.len()
    }

    /// Its counters.
    pub fn stats(&self) -> CoreStats {
        let (changes_queued, changes_removed) = self.outstanding.counted();
        let throttle = self.bucket.stats();
        CoreStats { changes_queued, changes_removed, throttle, ..self.stats.clone() }
    }

    /// Requests taken, as [`CoreStats`] has them.
    pub fn requests_taken(&self) -> u64 {
        self.stats.requests
    }

    /// How often it has prepared the end of a session.
    pub fn closings(&self) -> u64 {
        self.stats.closings
    }

    /// Begins to count anew, as operators ask for.
    pub fn reset_stats(&mut self) {
        self.stats = CoreStats::default();
        self.outstanding.reset_counted();
        self.bucket.reset_stats();
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
        assert!(tree.last_zxid() <= self.committed, "nothing is applied before it is committed");
        assert!(self.durable <= self.last_zxid, "nothing is durable before it is prepared");
        let waiting = self.pending.iter().filter(|p| matches!(p, Pending::Txn { .. })).count();
        let in_batches: usize = self.batches.iter().map(|(b, from)| b.records.len() - from).sum();
        let in_next = self.next_batch.records.len();
        let waiting = waiting + self.uncommitted.len();
        assert_eq!(waiting, in_batches + in_next, "every pending transaction is in one batch");
        if self.is_leading() && self.outstanding.is_empty() {
            assert_eq!(self.outstanding.digest(), tree.digest(), "the future is the present");
        }
        if self.is_in_step() {
            for (session, _) in tree.sessions() {
                assert!(self.sessions.get(session).is_some(), "session {session} is tracked");
            }
        }
    }

    fn on_request(&mut self, request: Request, tree: &Tree) {
        self.stats.requests += 1;
        let (conn, session) = (request.conn, request.session);
        let refused = match self.sessions.get(session) {
            _ if !self.serves_clients() => Some(CloseReason::NotServing),
            None => Some(CloseReason::SessionClosed),
            Some(_) if mutated(Mutation::ServeMovedSession) => None,
            Some(tracked) if tracked.closing && !mutated(Mutation::ServeClosingSession) => {
                Some(CloseReason::SessionClosed)
            }
            Some(tracked) if tracked.conn != Some(conn) => Some(CloseReason::SessionMoved),
            Some(_) => None,
        };
        if let Some(reason) = refused {
            return self.close(conn, reason);
        }
        if self.is_read_only() {
            return self.refuse_writer(&request);
        }
        let is_local = self.sessions.get(session).is_some_and(|tracked| tracked.is_local);
        let request = if is_local { self.of_local_session(request) } else { Some(request) };
        let Some(request) = request else { return };
        if self.is_learning() {
            return self.forward(request);
        }
        let Request { xid, op, body, ids, .. } = request;
        let origin = Origin { conn, session, xid, op };
        match op {
            OpCode::Sync => self.answer(origin, Answer::Sync(body)),
            _ if self.log_full => self.answer(origin, Answer::LOG_FULL),
            OpCode::CloseSession => self.close_session(session, Some(origin), xid, tree),
            _ => self.prepare(Some(origin), session, (xid, op), &body, &ids, tree),
        }
    }

    fn prepare(
        &mut self,
        origin: Option<Origin>,
        session: SessionId,
        (cxid, op): (Xid, OpCode),
        body: &[u8],
        ids: &[Id],
        tree: &Tree,
    ) {
        let config = Arc::clone(&self.config);
        match (self.prep(&config, tree, session, ids).request(op, body), origin) {
            (Ok(txn), _) => self.propose(origin, session, cxid, &txn),
            (Err(Refusal::Failed(code)), _) => {
                self.propose(origin, session, cxid, &Txn::Error(code.to_wire()));
            }
            (Err(Refusal::Undecodable), Some(origin)) => self.answer(origin, Answer::UNDECODABLE),
            // A learner hears of it by its transaction alone.
            (Err(Refusal::Undecodable), None) => {
                let code = ErrorCode::MarshallingError;
                self.propose(None, session, cxid, &Txn::Error(code.to_wire()));
            }
        }
    }

    fn prep<'c>(
        &'c mut self,
        config: &'c NodeConfig,
        tree: &'c Tree,
        session: SessionId,
        ids: &'c [Id],
    ) -> Prep<'c> {
        let zxid = self.next_zxid();
        let outstanding = &mut self.outstanding;
        Prep { config, tree, outstanding, session, ids, zxid, time_ms: self.wall.0 }
    }

    /// The zxid that the next transaction will have.
    fn next_zxid(&self) -> Zxid {
        if let Service::Leading { epoch } = self.service
            && self.last_zxid.epoch() < epoch
        {
            return Zxid::from_parts(epoch, 1);
        }
        // 2^32 writes of one standalone epoch: the epoch goes up, as at an ensemble's rollover.
        let rolled = || Zxid::from_parts(self.last_zxid.epoch() + 1, 1);
        self.last_zxid.next().unwrap_or_else(rolled)
    }

    /// Gives a transaction the next zxid and its place in the log and in the order of replies.
    fn propose(&mut self, origin: Option<Origin>, session: SessionId, cxid: Xid, txn: &Txn<'_>) {
        let zxid = self.next_zxid();
        assert!(zxid.follows(self.last_zxid), "{zxid} after {}", self.last_zxid);
        let is_ensemble = self.service != Service::Standalone;
        if is_ensemble && zxid.counter() == u32::MAX {
            // Nothing is proposed any more. The peer lets go of the epoch, and clients come again.
            if !std::mem::replace(&mut self.is_epoch_full, true) {
                self.to_peer.push(PeerInput::EpochIsFull);
            }
            return;
        }
        self.last_zxid = zxid;
        let header =
            TxnHeader { session, cxid: cxid.0, zxid, time_ms: self.wall.0, kind: txn.kind() };
        let digested = self.config.digest_enabled && !matches!(txn, Txn::Error(_));
        let digest = digested.then(|| TxnDigest {
            version: DIGEST_VERSION,
            tree_digest: self.outstanding.digest() as i64,
        });
        let bytes = self.next_batch.push(&header, txn, digest);
        if is_ensemble {
            let payload = Bytes::copy_from_slice(self.next_batch.last_payload());
            self.to_peer.push(PeerInput::Propose(Proposal { zxid, payload }));
        }
        self.count_for_snapshot(bytes);
        self.pending.push_back(Pending::Txn { zxid, origin });
    }

    fn count_for_snapshot(&mut self, bytes: usize) {
        if self.snapshots.count(bytes) {
            self.next_batch.roll_after = true;
            self.snapshots.restart(&self.config);
        }
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
            Pending::Synced(_) => None,
        });
        self.stuck = if full { origins.collect() } else { BTreeSet::new() };
    }

    /// Begins to close a session, because somebody asks or because it expired.
    fn close_session(
        &mut self,
        session: SessionId,
        origin: Option<Origin>,
        cxid: Xid,
        tree: &Tree,
    ) {
        if let Some(tracked) = self.sessions.get_mut(session) {
            tracked.closing = true;
            if let Some(conn) = tracked.conn
                && origin.is_none()
            {
                self.immediate.push((conn.front, Mail::Stop { conn: conn.conn }));
            }
        }
        self.stats.closings += 1;
        let config = Arc::clone(&self.config);
        let txn = self.prep(&config, tree, session, &[]).close_session();
        self.propose(origin, session, cxid, &txn);
    }

    fn may_start_snapshot(&self) -> bool {
        let trigger = &self.snapshots;
        let is_time = trigger.at_once || self.now >= trigger.not_before;
        // Of a history that may yet be cut there is no snapshot.
        trigger.wanted && !trigger.running && is_time && self.is_in_step()
    }

    /// A reply without a body, for a connection.
    fn error_frame(bytes: &mut Vec<u8>, xid: Xid, zxid: Zxid, code: ErrorCode) {
        frame(bytes, ReplyHeader { xid: xid.0, zxid, err: code.to_wire() }, |_| {});
    }
}
