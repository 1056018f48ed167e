//! Applying what is durable, and answering.
//!
//! For every Front and every transaction: first its changes, then the reply to it. That order is
//! what a client's "the event before the data" rests on.

use std::sync::Arc;

use oxikeeper_proto::multi::MultiHeader;
use oxikeeper_proto::reply::{Create2Reply, ErrorReply, PathReply, ReplyHeader, StatReply, frame};
use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{Encode, ErrorCode, OpCode, SessionId, Txn, Zxid};
use oxikeeper_tree::{Applied, ChangeList, Outcome, Tree};
use tracing::error;

use super::stats::count_writes;
use super::{Answer, Core, Origin, Pending};
use crate::mail::{CloseReason, Mail, MailBatch};
use crate::mutation::{Mutation, mutated};
use crate::session_id::password;

/// Transactions applied in one hold of the write lock: it bounds how long readers wait.
const TXNS_PER_HOLD: usize = 64;
/// Connections answered in one hold, roughly: the first of them send their next requests, and the log
/// writes these, while the others are still being answered. Without it all clients go in lockstep:
/// either the disk works or the reactor.
const ANSWERS_PER_HOLD: usize = 12;

/// What one call of [`Core::apply`] leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyEnd {
    /// More is durable already; call again.
    pub more: bool,
    /// Begin a snapshot of the tree in this same hold of the lock.
    pub start_snapshot: bool,
}

/// The mail of one hold, while it is written.
struct Outgoing<'m> {
    batches: &'m mut Vec<MailBatch>,
    changes: ChangeList,
}

impl Outgoing<'_> {
    /// Tells every Front where somebody watches of the changes from this one on.
    fn tell_changes(&mut self, first: usize, watching: &[bool]) {
        for index in first..self.changes.len() {
            let index = u32::try_from(index).expect("a hold applies few transactions");
            for (batch, _) in self.batches.iter_mut().zip(watching).filter(|(_, watches)| **watches)
            {
                batch.items.push(Mail::Change(index));
            }
        }
    }
}

impl Core {
    /// Applies durable transactions to the tree and writes one batch of mail per Front, in order
    /// of [`FrontId`](crate::mail::FrontId). The caller holds the tree's write lock and delivers
    /// the mail before it publishes the new zxid and lets the lock go.
    pub fn apply(&mut self, tree: &mut Tree, mail: &mut Vec<MailBatch>) -> ApplyEnd {
        mail.clear();
        mail.extend(self.watching.iter().map(|_| MailBatch {
            applied: tree.last_zxid(),
            items: Vec::new(),
            bytes: Vec::new(),
            changes: Arc::default(),
        }));
        let is_watched = self.watching.contains(&true);
        let changes = if is_watched { ChangeList::default() } else { ChangeList::deaf() };
        let mut outgoing = Outgoing { batches: mail, changes };
        for (front, item) in self.immediate.drain(..) {
            outgoing.batches[usize::from(front.0)].items.push(item);
        }
        for (origin, answer) in self.answers.drain(..) {
            answer_now(&origin, &answer, tree.last_zxid(), &mut outgoing);
        }
        let (mut answered, mut last_answered) = (0, None);
        for _ in 0..TXNS_PER_HOLD {
            if !self.is_next_ready() || answered > ANSWERS_PER_HOLD {
                break;
            }
            if let Some(Pending::Txn { origin: Some(origin), .. }) = self.pending.front()
                && last_answered != Some(origin.conn)
            {
                last_answered = Some(origin.conn);
                answered += 1;
            }
            match self.pending.pop_front() {
                Some(Pending::Txn { zxid, origin }) => {
                    self.apply_next(zxid, origin, tree, &mut outgoing);
                }
                Some(Pending::Answer { origin, answer }) => {
                    answer_now(&origin, &answer, tree.last_zxid(), &mut outgoing);
                }
                Some(Pending::Synced(session)) => {
                    if let Some((origin, answer)) = self.forwarded.take_sync(session) {
                        answer_now(&origin, &answer, tree.last_zxid(), &mut outgoing);
                    }
                    self.answer_waiting(session, tree, &mut outgoing);
                }
                None => break,
            }
        }
        self.enter(tree);
        let Outgoing { batches, changes } = outgoing;
        let changes = Arc::new(changes);
        for batch in batches {
            batch.applied = tree.last_zxid();
            batch.changes = Arc::clone(&changes);
        }
        let start_snapshot = self.may_start_snapshot();
        if start_snapshot {
            self.snapshots.wanted = false;
            self.snapshots.at_once = false;
            self.snapshots.running = true;
        }
        let more = self.is_next_ready() || !self.immediate.is_empty();
        ApplyEnd { more, start_snapshot }
    }

    fn apply_next(
        &mut self,
        zxid: Zxid,
        origin: Option<Origin>,
        tree: &mut Tree,
        outgoing: &mut Outgoing<'_>,
    ) {
        let (batch, index) = self.next_record();
        let (header, txn, digest) = decode_payload(batch.payload(index))
            .expect("it was encoded here, or decoded by the peer");
        assert_eq!(header.zxid, zxid, "records are applied in the order they were prepared");
        assert!(zxid.follows(tree.last_zxid()), "{zxid} after {}", tree.last_zxid());
        let first_change = outgoing.changes.len();
        let applied = tree.apply(&header, &txn, &mut outgoing.changes);
        if digest.is_some_and(|digest| digest.tree_digest as u64 != applied.digest) {
            error!(%zxid, kind = header.kind, "digest of the tree differs from the prediction");
            self.stats.digest_mismatches += 1;
            debug_assert!(false, "digest mismatch at {zxid}");
        }
        self.outstanding.applied(zxid);
        self.log_digest(zxid, applied.digest);
        count_writes(&mut self.stats.writes, &txn);
        let age_ms = self.wall.0.saturating_sub(header.time_ms);
        self.stats.propagation_ms.count(u64::try_from(age_ms).unwrap_or(0));
        if !mutated(Mutation::ReplyBeforeEvent) {
            outgoing.tell_changes(first_change, &self.watching);
        }
        let origin = origin.or_else(|| self.forwarded.take(&header, &txn));
        let closed = match txn {
            Txn::CloseSession(_) => self.sessions.remove(header.session),
            Txn::CreateSession(timeout_ms) => {
                self.begin_session(header.session, timeout_ms, origin.as_ref());
                None
            }
            _ => None,
        };
        match origin {
            // The session is with another server by now.
            Some(origin) if is_moved(&txn) => {
                let close =
                    Mail::Close { conn: origin.conn.conn, reason: CloseReason::SessionMoved };
                outgoing.batches[usize::from(origin.conn.front.0)].items.push(close);
            }
            Some(origin) => reply(&origin, zxid, &txn, &applied, outgoing),
            None => {
                if let Some(conn) = closed.as_ref().and_then(|session| session.conn) {
                    let reason = CloseReason::SessionExpired;
                    let close = Mail::Close { conn: conn.conn, reason };
                    outgoing.batches[usize::from(conn.front.0)].items.push(close);
                }
            }
        }
        if mutated(Mutation::ReplyBeforeEvent) {
            outgoing.tell_changes(first_change, &self.watching);
        }
        self.answer_waiting(header.session, tree, outgoing);
        if closed.is_some() {
            self.forwarded.forget(header.session);
        }
    }

    /// Learner: a session begins. Its leader has tracked it since it was proposed.
    fn begin_session(&mut self, session: SessionId, timeout_ms: i32, origin: Option<&Origin>) {
        if self.is_leading() {
            return;
        }
        if self.sessions.get(session).is_none() {
            self.sessions.track(session, timeout_ms, None, self.now);
        }
        if let Some(origin) = origin {
            self.sessions.renew(session, timeout_ms, origin.conn, self.now);
        }
    }

    /// Learner: answers that waited for nothing but the requests before them.
    fn answer_waiting(&mut self, session: SessionId, tree: &Tree, outgoing: &mut Outgoing<'_>) {
        while let Some((origin, answer)) = self.forwarded.take_answer(session) {
            answer_now(&origin, &answer, tree.last_zxid(), outgoing);
        }
    }

    /// The next record of the batches, and drops a batch behind its last one.
    fn next_record(&mut self) -> (Arc<super::LogBatch>, usize) {
        let (batch, from) = self.batches.front_mut().expect("pending transactions are in batches");
        let index = *from;
        *from += 1;
        let (done, batch) = (*from == batch.records.len(), Arc::clone(batch));
        if done {
            self.batches.pop_front();
        }
        (batch, index)
    }
}

fn is_moved(txn: &Txn<'_>) -> bool {
    matches!(txn, Txn::Error(code) if *code == ErrorCode::SessionMoved.to_wire())
}

/// Answers a request that takes no transaction.
fn answer_now(origin: &Origin, answer: &Answer, zxid: Zxid, outgoing: &mut Outgoing<'_>) {
    let xid = origin.xid;
    send(origin, outgoing, |bytes| match answer {
        Answer::Sync(path) => {
            let header = ReplyHeader { xid: xid.0, zxid, err: 0 };
            let mut reader = oxikeeper_proto::Reader::new(path);
            match reader.get() {
                Ok(path) => frame(bytes, header, |out| PathReply { path }.encode(out)),
                Err(_) => Core::error_frame(bytes, xid, zxid, ErrorCode::MarshallingError),
            }
        }
        Answer::Error(code) => Core::error_frame(bytes, xid, zxid, *code),
        Answer::Closed => Core::error_frame(bytes, xid, zxid, ErrorCode::Ok),
    });
}

/// Answers a request that became a transaction.
fn reply(
    origin: &Origin,
    zxid: Zxid,
    txn: &Txn<'_>,
    applied: &Applied,
    outgoing: &mut Outgoing<'_>,
) {
    if let Txn::CreateSession(timeout_ms) = *txn {
        let (conn, session) = (origin.conn.conn, origin.session);
        let connected = Mail::Connected { conn, session, timeout_ms, password: password(session) };
        outgoing.batches[usize::from(origin.conn.front.0)].items.push(connected);
        return;
    }
    let err = if let Txn::Error(code) = txn { *code } else { 0 };
    send(origin, outgoing, |bytes| {
        frame(bytes, ReplyHeader { xid: origin.xid.0, zxid, err }, |out| {
            if err == 0 {
                body(origin.op, txn, &applied.outcome, out);
            }
        });
    });
}

fn send(origin: &Origin, outgoing: &mut Outgoing<'_>, write: impl FnOnce(&mut Vec<u8>)) {
    let batch = &mut outgoing.batches[usize::from(origin.conn.front.0)];
    let offset = |bytes: &Vec<u8>| u32::try_from(bytes.len()).expect("a hold's mail is small");
    let start = offset(&batch.bytes);
    write(&mut batch.bytes);
    let frame = start..offset(&batch.bytes);
    let then_close = origin.op == OpCode::CloseSession;
    batch.items.push(Mail::Reply { conn: origin.conn.conn, frame, then_close });
}

/// What stands behind the header of a successful reply.
fn body(op: OpCode, txn: &Txn<'_>, outcome: &Outcome, out: &mut Vec<u8>) {
    match (txn, outcome) {
        (Txn::Multi(members), Outcome::Multi(outcomes)) => {
            multi_body(members, outcomes, out);
        }
        (Txn::Multi(members), _) => failed_multi_body(members, out),
        _ => result(op == OpCode::Create, txn, outcome, out),
    }
}

/// The result of one write, alone or as a member of a multi.
fn result(path_only: bool, txn: &Txn<'_>, outcome: &Outcome, out: &mut Vec<u8>) {
    match (txn, outcome) {
        (Txn::Create(_), Outcome::Created { .. }) if path_only => {
            created_path(txn).encode(out);
        }
        (_, Outcome::Created { stat }) => {
            Create2Reply { path: created_path(txn).into(), stat: *stat }.encode(out);
        }
        (_, Outcome::DataSet { stat } | Outcome::AclSet { stat }) => {
            StatReply { stat: *stat }.encode(out);
        }
        _ => {}
    }
}

fn created_path<'t>(txn: &'t Txn<'_>) -> &'t str {
    match txn {
        Txn::Create(body) | Txn::Create2(body) => &body.path,
        Txn::CreateContainer(body) => &body.path,
        Txn::CreateTtl(body) => &body.path,
        _ => "",
    }
}

/// Every create but the plain one answers as create2 inside a multi.
fn multi_body(members: &[Txn<'_>], outcomes: &[Outcome], out: &mut Vec<u8>) {
    for (member, outcome) in members.iter().zip(outcomes) {
        let op = match member {
            Txn::Create(_) => OpCode::Create,
            Txn::Delete(_) => OpCode::Delete,
            Txn::SetData(_) => OpCode::SetData,
            Txn::Check(_) => OpCode::Check,
            _ => OpCode::Create2,
        };
        MultiHeader::result(op).encode(out);
        result(op == OpCode::Create, member, outcome, out);
    }
    MultiHeader::END.encode(out);
}

/// Nothing was done: 0 before the member that failed, its code, then what its successors carry.
fn failed_multi_body(members: &[Txn<'_>], out: &mut Vec<u8>) {
    for member in members {
        let err = if let Txn::Error(code) = member { *code } else { 0 };
        MultiHeader::error(err).encode(out);
        ErrorReply { err }.encode(out);
    }
    MultiHeader::END.encode(out);
}
