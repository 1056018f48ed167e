//! Local sessions, and the service of a server that has no leader.
//!
//! A local session costs no transaction: only its server knows it, and it ends with that server's role.
//! The first ephemeral makes it a global one. A server in read-only mode has nobody to order a
//! transaction, so new sessions there are local or none.
//! Source: quorum-protocol reference, 9.3; client-protocol reference, 2.7 and 9.4.

use std::time::Duration;

use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::quorum::ForwardedRequest;
use oxikeeper_proto::request::{CreateMode, CreateRequest};
use oxikeeper_proto::{ErrorCode, OpCode, Reader, SessionId, Txn, Xid};
use oxikeeper_tree::Tree;
use oxikeeper_zab::io::FromLearner;
use tracing::info;

use super::service::Service;
use super::{Answer, Core, Origin};
use crate::mail::{CloseReason, ConnRef, Request, Serving};

/// A server looks for a leader for so long before it serves readers without one, at least.
const READ_ONLY_AFTER_MS: u64 = 2000;

/// Whether a request makes an ephemeral, for which its session has to be a global one.
fn makes_ephemeral(op: OpCode, body: &[u8]) -> bool {
    let is_ephemeral = |request: &CreateRequest<'_>| {
        CreateMode::from_wire(request.flags).is_some_and(CreateMode::is_ephemeral)
    };
    let mut reader = Reader::new(body);
    match op {
        OpCode::Create | OpCode::Create2 => {
            reader.get().is_ok_and(|request| is_ephemeral(&request))
        }
        OpCode::Multi => reader.get::<MultiRequest<'_>>().is_ok_and(|request| {
            request.ops.iter().any(
                |member| matches!(member, MultiOp::Create(_, request) if is_ephemeral(request)),
            )
        }),
        _ => false,
    }
}

impl Core {
    /// A new session that no other server hears of.
    pub(super) fn create_local_session(&mut self, conn: ConnRef, timeout_ms: i32) {
        let session = self.session_ids.take();
        self.sessions.track(session, timeout_ms, Some(conn), self.now);
        if let Some(tracked) = self.sessions.get_mut(session) {
            tracked.is_local = true;
        }
        self.resumed(conn, session, timeout_ms);
    }

    /// What a local session asks for: ended here, refused, or returned to go the way of all others.
    pub(super) fn of_local_session(&mut self, request: Request) -> Option<Request> {
        let session = request.session;
        if request.op == OpCode::CloseSession {
            self.sessions.remove(session);
            self.answer_ordered(&request, Answer::Closed);
            return None;
        }
        if !makes_ephemeral(request.op, &request.body) {
            return Some(request);
        }
        if !self.config.local_sessions_upgrade {
            self.answer_ordered(&request, Answer::Error(ErrorCode::EphemeralOnLocalSession));
            return None;
        }
        let tracked = self.sessions.get_mut(session)?;
        tracked.is_local = false;
        let timeout_ms = tracked.timeout_ms;
        if self.is_learning() {
            let upgrade = ForwardedRequest::create_session(session, timeout_ms);
            self.tell_leader(FromLearner::Request(upgrade));
        } else {
            self.propose(None, session, Xid::INTERNAL, &Txn::CreateSession(timeout_ms));
        }
        Some(request)
    }

    /// Whether a learner's request may come from a session that only the learner knows.
    pub(super) fn may_be_local(&self, session: SessionId, op: OpCode, body: &[u8]) -> bool {
        let is_ours = (session.0 >> 56) as u8 == self.config.server_id;
        self.config.local_sessions && !is_ours && !makes_ephemeral(op, body)
    }

    /// A local session was silent for too long.
    pub(super) fn expire_local(&mut self, session: SessionId) {
        info!(%session, "local session expired");
        let entry = self.sessions.remove(session);
        if let Some(conn) = entry.and_then(|entry| entry.conn) {
            self.close(conn, CloseReason::SessionExpired);
        }
    }

    /// Without a leader: begins to serve readers, if that is wanted and the time has come.
    pub(super) fn serve_readers(&mut self, tree: &Tree) {
        let tick_ms = u64::from(self.config.tick_ms);
        let patience = Duration::from_millis(READ_ONLY_AFTER_MS.max(tick_ms));
        let is_due =
            self.service == Service::Looking && self.now >= self.looking_since.after(patience);
        if self.config.read_only_mode && is_due {
            info!(zxid = %tree.last_zxid(), "no leader: serving readers only");
            self.service = Service::ReadOnly;
            self.track_all(tree);
            self.tell_fronts(Serving::Readers);
        }
    }

    /// Whether only readers are served.
    pub fn is_read_only(&self) -> bool {
        self.service == Service::ReadOnly
    }

    /// Read-only: a handshake. Whether a global session lives, only a leader could tell.
    pub(super) fn connect_reader(
        &mut self,
        conn: ConnRef,
        session: SessionId,
        knows: bool,
        timeout_ms: i32,
    ) {
        match self.sessions.get(session) {
            _ if session == SessionId::NONE && self.config.local_sessions => {
                self.create_local_session(conn, timeout_ms);
            }
            Some(tracked) if tracked.is_local && knows => self.resumed(conn, session, timeout_ms),
            None if session != SessionId::NONE => self.expired(conn),
            _ => self.close(conn, CloseReason::NotServing),
        }
    }

    /// Read-only: a request that would need a leader.
    pub(super) fn refuse_writer(&mut self, request: &Request) {
        if request.op == OpCode::CloseSession {
            self.sessions.remove(request.session);
            return self.answer_ordered(request, Answer::Closed);
        }
        self.answer_ordered(request, Answer::Error(ErrorCode::NotReadOnly));
    }

    /// Answers behind what the session has asked for before.
    fn answer_ordered(&mut self, request: &Request, answer: Answer) {
        let Request { conn, session, xid, op, .. } = *request;
        let origin = Origin { conn, session, xid, op };
        if self.is_learning() {
            self.answer_in_turn(origin, answer);
        } else {
            self.answer(origin, answer);
        }
    }
}
