//! Judges a run: was every reply, every event and every transaction what the guarantees demand?
//!
//! Every reply carries a zxid and transactions are totally ordered, so the zxid is a witness: one
//! sweep over the log in zxid order, beside it the reference model, and at each zxid the frames of
//! all connections that were made there. Linear in the length of the history.
//! Source: verification reference, 6.2.

mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oxikeeper_proto::multi::MultiRequest;
use oxikeeper_proto::reply::PathReply;
use oxikeeper_proto::request::{PathRequest, WatchableRequest};
use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{
    Encode, ErrorCode, NodeKind, OpCode, Reader, SessionId, Txn, TxnHeader, Zxid,
};

use self::watches::{Event, Watches};
use crate::history::{Frame, History, Sent, Stream};
use crate::model::prepare::Asker;
use crate::model::read::normalize;
use crate::model::{Model, identities};

/// A connection while its frames are judged.
struct Cursor {
    /// The next frame.
    next: usize,
    watches: Watches,
    /// Events that must come before anything later.
    expected: VecDeque<Event>,
    /// Events of setWatches that came and whose reply has not.
    catch_up: Vec<Event>,
    authed: bool,
    /// Zxid of the last frame that had one.
    last_zxid: i64,
}

/// The reply that the transaction at the sweep's place must have.
struct Answered {
    xid: i32,
    err: i32,
    body: Vec<u8>,
}

/// The judge of one run.
pub struct Checker<'h> {
    history: &'h History,
    handshakes: &'h BTreeMap<usize, usize>,
    model: Model,
    cursors: Vec<Cursor>,
    /// Sessions of streams whose handshake never came back, as the log told them.
    sessions: Vec<Option<SessionId>>,
    seen_xids: BTreeMap<i32, Zxid>,
    /// The connection on which each session last acted.
    acted_on: BTreeMap<SessionId, usize>,
    violations: Vec<String>,
    seen: Seen,
    /// Where the clients are, as servers see it.
    remote: String,
    /// Sessions of clients that are not in the history. What they do is carried out like anything else;
    /// whether it is what they asked for somebody else judges.
    foreign: BTreeSet<SessionId>,
}

/// What a judge has had to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Replies and events compared.
    pub compared: u64,
    /// TTL nodes that the server removed.
    pub ttl_reaped: u64,
}

impl<'h> Checker<'h> {
    /// For this history, and the order in which the server saw the handshakes of its connections.
    pub fn new(
        history: &'h History,
        handshakes: &'h BTreeMap<usize, usize>,
        extended_types: bool,
    ) -> Checker<'h> {
        let cursor = |_: &Stream| Cursor {
            next: 0,
            watches: Watches::default(),
            expected: VecDeque::new(),
            catch_up: Vec::new(),
            authed: false,
            last_zxid: 0,
        };
        Checker {
            history,
            handshakes,
            model: Model::new(extended_types),
            cursors: history.streams.iter().map(cursor).collect(),
            sessions: history.streams.iter().map(|stream| stream.session).collect(),
            seen_xids: BTreeMap::new(),
            acted_on: BTreeMap::new(),
            violations: Vec::new(),
            seen: Seen::default(),
            remote: "127.0.0.1".to_owned(),
            foreign: BTreeSet::new(),
        }
    }

    /// For real servers: sessions of clients that the history knows nothing of.
    pub fn set_foreign(&mut self, sessions: BTreeSet<SessionId>) {
        self.foreign = sessions;
    }

    /// For real servers: where clients come from, and what stands in `/zookeeper/config`.
    pub fn set_surroundings(&mut self, remote: &str, config: Vec<u8>) {
        remote.clone_into(&mut self.remote);
        if let Some(node) = self.model.nodes.get_mut("/zookeeper/config") {
            node.data = Some(config);
            node.version = -1;
        }
    }

    /// Sweeps over the log. Returns what is wrong, and the model at its end.
    pub fn judge(mut self, log: &[(Zxid, Vec<u8>)]) -> (Vec<String>, Model, Seen) {
        self.frames();
        for (zxid, payload) in log {
            match decode_payload(payload) {
                Ok((header, txn, _)) => self.step(*zxid, &header, &txn),
                Err(error) => self.wrong(format!("the log's {zxid} cannot be decoded: {error}")),
            }
            if self.violations.len() > 5 {
                break;
            }
        }
        if self.violations.is_empty() {
            self.rest();
        }
        (self.violations, self.model, self.seen)
    }

    fn wrong(&mut self, text: String) {
        self.violations.push(text);
    }

    /// One transaction.
    fn step(&mut self, zxid: Zxid, header: &TxnHeader, txn: &Txn<'_>) {
        if header.zxid != zxid || !zxid.joins(self.model.zxid) {
            self.wrong(format!("{} stands behind {} in the log", header.zxid, self.model.zxid));
        }
        let answered = self.require_cause(header, txn);
        let changes = match self.model.apply(header, txn) {
            Ok(changes) => changes,
            Err(text) => return self.wrong(format!("at {zxid}: {text}")),
        };
        for (stream, cursor) in self.history.streams.iter().zip(&mut self.cursors) {
            if cursor.next < stream.frames.len() {
                let ids = identities(&self.remote, cursor.authed);
                for change in &changes {
                    cursor.watches.trigger(change, zxid, &ids, &mut cursor.expected);
                }
            }
        }
        self.frames_at(zxid, answered.as_ref());
    }

    /// Checks that a transaction has a request behind it, or a reason of the server's own, and is
    /// what had to come of it. Returns the reply that it must get.
    fn require_cause(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Option<Answered> {
        let zxid = header.zxid;
        if header.cxid == 0 {
            if let Err(text) = self.check_internal(header, txn) {
                self.wrong(format!("at {zxid}: {text}"));
            }
            return None;
        }
        if self.foreign.contains(&header.session) {
            return None;
        }
        let Some(&(stream, place)) = self.history.by_xid.get(&header.cxid) else {
            self.wrong(format!("at {zxid}: nobody has sent xid {}", header.cxid));
            return None;
        };
        // A client that lost the connection on which it closed its session asks again, on another server.
        let may_repeat = self.history.seen_by.is_some() && matches!(txn, Txn::CloseSession(_));
        if let Some(before) = self.seen_xids.insert(header.cxid, zxid)
            && !may_repeat
        {
            self.wrong(format!("xid {} was carried out at {before} and at {zxid}", header.cxid));
        }
        let session = *self.sessions[stream].get_or_insert(header.session);
        if session != header.session {
            self.wrong(format!("at {zxid}: {} acts for {session}", header.session));
        }
        if let Some(refusal) = self.refused(session, stream)
            && *txn == Txn::Error(refusal.to_wire())
        {
            return Some(Answered { xid: header.cxid, err: refusal.to_wire(), body: Vec::new() });
        }
        // Of several servers closing a session may find it closed, and that does no harm.
        let closes_again = self.history.seen_by.is_some()
            && matches!(txn, Txn::CloseSession(Some(paths)) if paths.is_empty());
        if !self.model.sessions.contains_key(&session) && !closes_again {
            self.wrong(format!("at {zxid}: session {session} acts, but it is not open"));
        }
        if let Some(later) = self.acted_on.insert(session, stream)
            && self.handshakes.get(&later) > self.handshakes.get(&stream)
        {
            self.wrong(format!(
                "at {zxid}: {session} acts on connection {stream}, after it moved to {later}"
            ));
        }
        let sent = &self.history.streams[stream].sent[place];
        let Some(op) = OpCode::from_wire(sent.op) else {
            self.wrong(format!("at {zxid}: operation {} became a transaction", sent.op));
            return None;
        };
        let ids = identities(&self.remote, sent.authed);
        let asker = Asker { session, ids: &ids };
        match self.model.prepare(op, &sent.body, asker, header) {
            Some(expected) if same(&expected, txn) => {}
            expected => self.wrong(format!(
                "at {zxid}: {op:?} with xid {} became {txn:?}, not {expected:?}",
                header.cxid
            )),
        }
        if zxid.to_wire() <= sent.floor {
            self.wrong(format!(
                "xid {} was sent after a reply at {:#x} and stands before it, at {zxid}",
                header.cxid, sent.floor
            ));
        }
        let (err, body) = self.model.result(op, header, txn);
        Some(Answered { xid: header.cxid, err, body })
    }

    /// Of several servers the leader may get to know a request only when its session has ended, or when
    /// it has moved away from the server that the request came by: what it answers then.
    fn refused(&self, session: SessionId, stream: usize) -> Option<ErrorCode> {
        self.history.seen_by.as_ref()?;
        if !self.model.sessions.contains_key(&session) {
            return Some(ErrorCode::SessionExpired);
        }
        // Its client came elsewhere with it, answered or not. Where it had been before counts too, if it
        // left something unanswered there: that may be heard late, by a leader that was held up.
        let client = self.history.streams[stream].client;
        let (earlier, later) = self.history.streams.split_at(stream + 1);
        let is_there = |other: &&Stream| {
            other.client == client && other.session.is_none_or(|theirs| theirs == session)
        };
        let has_moved = later.iter().any(|later| is_there(&later))
            || earlier[..stream].iter().filter(is_there).any(Stream::is_unanswered);
        has_moved.then_some(ErrorCode::SessionMoved)
    }

    /// A transaction of the server's own.
    fn check_internal(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        match txn {
            Txn::CreateSession(timeout_ms) => match self.history.granted.get(&header.session) {
                Some(granted) if granted.timeout_ms != *timeout_ms => Err(format!(
                    "session {} was promised {} ms, logged are {timeout_ms}",
                    header.session, granted.timeout_ms
                )),
                _ => Ok(()),
            },
            Txn::CloseSession(Some(paths)) => {
                if !self.model.sessions.contains_key(&header.session) {
                    return Err(format!("session {} expires, but is not open", header.session));
                }
                let mut paths: Vec<_> = paths.iter().map(|path| path.to_string()).collect();
                paths.sort_unstable();
                let owned = self.model.ephemerals(header.session);
                if paths == owned {
                    return Ok(());
                }
                Err(format!("session {} ends with {paths:?}, it owns {owned:?}", header.session))
            }
            Txn::DeleteContainer(delete) => {
                let node = self.model.node(&delete.path).ok_or("reaps a node that is gone")?;
                let idle_ms = header.time_ms - node.mtime;
                let due = match node.kind {
                    NodeKind::Container => node.creates > 0,
                    NodeKind::Ttl(ttl_ms) => {
                        self.seen.ttl_reaped += 1;
                        idle_ms > ttl_ms
                    }
                    _ => false,
                };
                if due && node.children.is_empty() {
                    return Ok(());
                }
                Err(format!("reaps {}, which is not due: {node:?}", delete.path))
            }
            _ => Err(format!("{txn:?} without a request")),
        }
    }

    /// Frames that can be judged before the first transaction.
    fn frames(&mut self) {
        self.frames_at(Zxid::ZERO, None);
    }

    /// Judges, on every connection, the frames that belong to this place of the sweep.
    fn frames_at(&mut self, zxid: Zxid, answered: Option<&Answered>) {
        let at = zxid.to_wire();
        for index in 0..self.cursors.len() {
            let history = self.history;
            let stream = &history.streams[index];
            while let Some(frame) = stream.frames.get(self.cursors[index].next) {
                let (Frame::Reply { zxid: of_frame, .. } | Frame::Event { zxid: of_frame, .. }) =
                    frame;
                if *of_frame > at {
                    break;
                }
                self.cursors[index].next += 1;
                let verdict = self.frame(index, stream, frame, at, answered);
                if let Err(text) = verdict {
                    let client = stream.client;
                    self.wrong(format!("client {client}, connection {index}, at {zxid}: {text}"));
                }
            }
        }
    }

    fn frame(
        &mut self,
        index: usize,
        stream: &Stream,
        frame: &Frame,
        at: i64,
        answered: Option<&Answered>,
    ) -> Result<(), String> {
        self.seen.compared += 1;
        let cursor = &mut self.cursors[index];
        match frame {
            Frame::Event { zxid, kind, path } => {
                let event = Event { zxid: *zxid, kind: *kind, path: path.clone() };
                if *zxid == -1 {
                    cursor.catch_up.push(event);
                    return Ok(());
                }
                match cursor.expected.pop_front() {
                    Some(expected) if expected == event => Ok(()),
                    expected => Err(format!("event {event:?}, expected is {expected:?}")),
                }
            }
            Frame::Reply { sent, zxid, err, body } => {
                let sent = &stream.sent[*sent];
                if sent.xid == XID_AUTH {
                    cursor.authed = *err == 0;
                    return Ok(());
                }
                let op = OpCode::from_wire(sent.op);
                let Some(op) = op.filter(|op| !is_internal(*op)) else {
                    let known = *zxid == -1 && *err == ErrorCode::Unimplemented.to_wire();
                    return if known { Ok(()) } else { Err(format!("{sent:?} got {frame:?}")) };
                };
                if let Some(lost) = cursor.expected.front() {
                    return Err(format!("reply to {op:?} at {at:#x} before {lost:?}"));
                }
                if *zxid < at || *zxid < cursor.last_zxid {
                    return Err(format!("reply to {op:?} at {zxid:#x} comes after {at:#x}"));
                }
                cursor.last_zxid = *zxid;
                if *zxid < sent.floor_seen {
                    let floor = sent.floor_seen;
                    return Err(format!("{op:?}, sent after {floor:#x}, sees {zxid:#x}"));
                }
                self.reply(index, op, sent, *err, body, answered)
            }
        }
    }

    /// A reply at the zxid of the sweep.
    fn reply(
        &mut self,
        index: usize,
        op: OpCode,
        sent: &Sent,
        err: i32,
        body: &[u8],
        answered: Option<&Answered>,
    ) -> Result<(), String> {
        let cursor = &mut self.cursors[index];
        if !matches!(op, OpCode::SetWatches | OpCode::SetWatches2) && !cursor.catch_up.is_empty() {
            return Err(format!("{:?} before the reply to {op:?}", cursor.catch_up));
        }
        let expected = match op {
            OpCode::SetWatches | OpCode::SetWatches2 => {
                let told = cursor.watches.set_watches(&self.model, op, &sent.body)?;
                let came = std::mem::take(&mut cursor.catch_up);
                if came != told {
                    return Err(format!("setWatches tells {came:?}, not {told:?}"));
                }
                (0, Vec::new())
            }
            OpCode::AddWatch | OpCode::CheckWatches | OpCode::RemoveWatches => {
                cursor.watches.manage(op, &sent.body)?
            }
            OpCode::Sync => match Reader::new(&sent.body).get::<PathRequest<'_>>() {
                Ok(PathRequest { path }) => {
                    let mut out = Vec::new();
                    PathReply { path }.encode(&mut out);
                    (0, out)
                }
                Err(_) => (ErrorCode::MarshallingError.to_wire(), Vec::new()),
            },
            _ => {
                let session = self.sessions[index].unwrap_or_default();
                let ids = identities(&self.remote, cursor.authed);
                let asker = Asker { session, ids: &ids };
                match self.model.read(op, &sent.body, asker) {
                    Some(answer) => {
                        if matches!(answer.0, 0 | NO_NODE) {
                            leave_watch(&mut cursor.watches, op, &sent.body, answer.0);
                        }
                        answer
                    }
                    None => return self.write_reply(op, sent, err, body, answered),
                }
            }
        };
        if (err, normalize(op, body)) == expected {
            return Ok(());
        }
        Err(format!("{op:?} xid {} got {err} {body:02x?}, not {expected:02x?}", sent.xid))
    }

    fn write_reply(
        &self,
        op: OpCode,
        sent: &Sent,
        err: i32,
        body: &[u8],
        answered: Option<&Answered>,
    ) -> Result<(), String> {
        match answered {
            Some(answer) if answer.xid == sent.xid => {
                if answer.err == err && answer.body == body {
                    return Ok(());
                }
                Err(format!(
                    "{op:?} xid {} got {err} {body:02x?}, not {} {:02x?}",
                    sent.xid, answer.err, answer.body
                ))
            }
            _ if err == ErrorCode::OperationTimeout.to_wire() && body.is_empty() => Ok(()),
            _ if err == ErrorCode::MarshallingError.to_wire() && !is_decodable(op, &sent.body) => {
                Ok(())
            }
            _ => Err(format!("{op:?} xid {} got {err}, but has no such transaction", sent.xid)),
        }
    }

    /// What is left when the log ends.
    fn rest(&mut self) {
        for (index, stream) in self.history.streams.iter().enumerate() {
            if let Some(frame) = stream.frames.get(self.cursors[index].next) {
                self.violations.push(format!(
                    "connection {index} was told {frame:?}, but the log ends at {}",
                    self.model.zxid
                ));
            }
            if let Some(session) = stream.session
                && !self.model.sessions.contains_key(&session)
                && !self.model.closed.contains(&session)
            {
                self.violations.push(format!("session {session} was granted but never logged"));
            }
        }
        for (session, granted) in &self.history.granted {
            if granted.refused && !self.model.closed.contains(session) {
                self.violations.push(format!("session {session} was refused, yet it never ended"));
            }
        }
    }
}

/// Xid of auth packets.
pub const XID_AUTH: i32 = -4;
const NO_NODE: i32 = -101;

/// Whether a request became the transaction it had to. Members of failed multis count by their
/// codes: those before the failure are logged but not applied.
fn same(expected: &Txn<'_>, logged: &Txn<'_>) -> bool {
    match (expected, logged) {
        (Txn::Multi(a), Txn::Multi(b)) if expected.is_failed_multi() => {
            let code = |txn: &Txn<'_>| if let Txn::Error(code) = txn { *code } else { 0 };
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| code(a) == code(b))
        }
        (Txn::CloseSession(Some(a)), Txn::CloseSession(Some(b))) => {
            let mut b = b.clone();
            b.sort_unstable();
            *a == b
        }
        _ => expected == logged,
    }
}

/// Operations that clients may not ask for.
fn is_internal(op: OpCode) -> bool {
    matches!(op, OpCode::Check | OpCode::DeleteContainer | OpCode::CreateSession)
}

fn is_decodable(op: OpCode, body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    match op {
        OpCode::Multi => reader.get::<MultiRequest<'_>>().is_ok(),
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            reader.get::<oxikeeper_proto::request::CreateRequest<'_>>().is_ok()
        }
        OpCode::CreateTtl => reader.get::<oxikeeper_proto::request::CreateTtlRequest<'_>>().is_ok(),
        OpCode::Delete => reader.get::<oxikeeper_proto::request::PathVersionRequest<'_>>().is_ok(),
        OpCode::SetData => reader.get::<oxikeeper_proto::request::SetDataRequest<'_>>().is_ok(),
        OpCode::SetAcl => reader.get::<oxikeeper_proto::request::SetAclRequest<'_>>().is_ok(),
        OpCode::Reconfig => reader.get::<oxikeeper_proto::request::ReconfigRequest<'_>>().is_ok(),
        _ => true,
    }
}

fn leave_watch(watches: &mut Watches, op: OpCode, body: &[u8], err: i32) {
    let is_watchable =
        matches!(op, OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2);
    if !is_watchable || (err != 0 && op != OpCode::Exists) {
        return;
    }
    if let Ok(WatchableRequest { path: Some(path), watch: true }) = Reader::new(body).get() {
        let of_children = matches!(op, OpCode::GetChildren | OpCode::GetChildren2);
        watches.leave(&path, of_children);
    }
}
