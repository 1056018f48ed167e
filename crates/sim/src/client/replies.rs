//! What a model client makes of what the server sends.

use oxikeeper_proto::reply::{ConnectResponse, ReplyHeader};
use oxikeeper_proto::request::{AddWatchRequest, WatchableRequest};
use oxikeeper_proto::watch::WatcherEvent;
use oxikeeper_proto::{OpCode, Reader, SessionId};

use super::{Client, Env, Handshake, Registered, Session};
use crate::checker::XID_AUTH;
use crate::history::{Frame, Granted};
use crate::marks::Mark;

const XID_EVENT: i32 = -1;

impl Client {
    pub(super) fn take(&mut self, env: &mut Env<'_>, frame: &[u8]) {
        let taken = match &self.conn {
            Some(conn) if conn.is_open => self.take_reply(env, frame),
            Some(_) => self.take_handshake(env, frame),
            None => Ok(()),
        };
        if let Err(text) = taken {
            env.history.violation(format!("client {}: {text}", self.number));
        }
    }

    fn take_handshake(&mut self, env: &mut Env<'_>, frame: &[u8]) -> Result<(), String> {
        let response: ConnectResponse =
            Reader::new(frame).get().map_err(|error| format!("handshake: {error}"))?;
        let Some(conn) = &mut self.conn else { return Ok(()) };
        if response.session == SessionId::NONE {
            match (conn.handshake, &self.session) {
                (Handshake::WrongPassword, _) => env.marks.hit(Mark::WrongPassword),
                (_, Some(session)) => {
                    if let Some(granted) = env.history.granted.get_mut(&session.id) {
                        granted.refused = true;
                    }
                    self.session = None;
                    self.watches = Registered::default();
                }
                (_, None) => return Err("a new session was refused as expired".into()),
            }
            self.conn = None;
            self.connect_at = env.now + env.rng.around(50_000);
            return Ok(());
        }
        if conn.handshake != Handshake::Honest {
            return Err(format!("{:?} was let in as {}", conn.handshake, response.session));
        }
        let front = env.net.links[conn.link].front;
        let incarnation = env.net.links[conn.link].incarnation;
        match &mut self.session {
            Some(session) => {
                if (response.session, response.password) != (session.id, session.password) {
                    return Err(format!("{} was resumed as {}", session.id, response.session));
                }
                if session.front == front && session.incarnation != incarnation {
                    env.marks.hit(Mark::ResumedAfterRestart);
                } else if session.front != front {
                    env.marks.hit(Mark::ResumedOnOtherFront);
                }
                (session.front, session.incarnation) = (front, incarnation);
            }
            None => {
                let granted = Granted {
                    timeout_ms: response.timeout_ms,
                    password: response.password,
                    refused: false,
                };
                if env.history.granted.insert(response.session, granted).is_some() {
                    return Err(format!("session {} was granted twice", response.session));
                }
                env.history.saw(self.number, 0);
                self.session = Some(Session {
                    id: response.session,
                    password: response.password,
                    timeout_us: u64::try_from(response.timeout_ms).unwrap_or(0) * 1000,
                    last_zxid: 0,
                    front,
                    incarnation,
                });
            }
        }
        conn.is_open = true;
        env.history.streams[conn.stream].session = Some(response.session);
        if conn.pending.is_empty() && conn.pending_auth.is_empty() {
            self.introduce(env);
        }
        Ok(())
    }

    fn take_reply(&mut self, env: &mut Env<'_>, frame: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(frame);
        let header: ReplyHeader = reader.get().map_err(|error| format!("reply: {error}"))?;
        let (zxid, body) = (header.zxid.to_wire(), reader.rest().to_vec());
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let stream = conn.stream;
        if header.xid == XID_EVENT {
            let event: WatcherEvent<'_> =
                Reader::new(&body).get().map_err(|error| format!("event: {error}"))?;
            if event.state != 3 {
                return Err(format!("{event:?} with another state than SyncConnected"));
            }
            let (kind, path) = (event.kind, event.path.into_owned());
            if zxid == -1 {
                env.marks.hit(Mark::CaughtUp);
            }
            self.watches.forget(kind, &path);
            env.history.events += 1;
            env.history.max_seen = env.history.max_seen.max(zxid);
            env.history.streams[stream].frames.push(Frame::Event { zxid, kind, path });
            return Ok(());
        }
        let queue = if header.xid == XID_AUTH { &mut conn.pending_auth } else { &mut conn.pending };
        let place = queue.pop_front().ok_or_else(|| format!("{header:?} answers nothing"))?;
        let sent = env.history.streams[stream].sent[place].clone();
        if sent.xid != header.xid {
            return Err(format!("{header:?} stands where the reply to {sent:?} belongs"));
        }
        if header.xid == super::XID_SET_WATCHES || header.xid > 0 {
            if let Some(session) = &mut self.session
                && zxid > 0
            {
                session.last_zxid = zxid;
                env.history.saw(self.number, zxid);
            }
            self.watches.note(sent.op, &sent.body, header.err);
        }
        env.history.replies += 1;
        env.history.max_replied = env.history.max_replied.max(zxid);
        env.history.max_seen = env.history.max_seen.max(zxid);
        let is_close = sent.op == OpCode::CloseSession.to_wire();
        let reply = Frame::Reply { sent: place, zxid, err: header.err, body };
        env.history.streams[stream].frames.push(reply);
        if is_close && header.err == 0 {
            self.session = None;
            self.conn = None;
            self.watches = Registered::default();
            self.connect_at = env.now + env.rng.around(200_000);
        }
        Ok(())
    }
}

impl Registered {
    /// A request that leaves or removes watches was answered.
    fn note(&mut self, op: i32, body: &[u8], err: i32) {
        let mut reader = Reader::new(body);
        match OpCode::from_wire(op) {
            Some(
                op
                @ (OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2),
            ) => {
                let Ok(WatchableRequest { path: Some(path), watch: true }) = reader.get() else {
                    return;
                };
                let path = path.into_owned();
                match (op, err) {
                    (OpCode::Exists | OpCode::GetData, 0) => self.data.insert(path),
                    (OpCode::Exists, -101) => self.exist.insert(path),
                    (OpCode::GetChildren | OpCode::GetChildren2, 0) => self.child.insert(path),
                    _ => false,
                };
            }
            Some(OpCode::AddWatch) if err == 0 => {
                if let Ok(AddWatchRequest { path: Some(path), mode }) = reader.get() {
                    let set = if mode == 0 { &mut self.persistent } else { &mut self.recursive };
                    set.insert(path.into_owned());
                }
            }
            // What a removeWatches removed is the server's to know; what is registered once too
            // often does no harm.
            _ => {}
        }
    }

    /// A notification spends the one-shot watches it answers.
    fn forget(&mut self, kind: i32, path: &str) {
        if kind != 4 {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if kind == 2 || kind == 4 {
            self.child.remove(path);
        }
    }
}
