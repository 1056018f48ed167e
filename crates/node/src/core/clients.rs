//! Handshakes: sessions that begin, and sessions that come back. A learner asks its leader for both.

use oxikeeper_proto::quorum::ForwardedRequest;
use oxikeeper_proto::{OpCode, SessionId, Txn, Xid};
use oxikeeper_zab::io::{FromLearner, Input as PeerInput};

use super::forwarded::Waiting;
use super::{Core, Origin};
use crate::mail::{CloseReason, ConnRef, Mail};
use crate::mutation::{Mutation, mutated};
use crate::session_id::{password, password_matches};

impl Core {
    pub(super) fn on_connect(
        &mut self,
        conn: ConnRef,
        session: SessionId,
        offered: &[u8],
        timeout_ms: i32,
    ) {
        if !self.serves_clients() {
            return self.close(conn, CloseReason::NotServing);
        }
        self.stats.resumptions += u64::from(session != SessionId::NONE);
        self.stats.token_deficit.count(self.bucket.deficit().into());
        if !self.bucket.admits(session, self.now) {
            return self.close(conn, CloseReason::Throttled);
        }
        let knows = password_matches(session, offered) || mutated(Mutation::AcceptAnyPassword);
        if self.is_read_only() {
            return self.connect_reader(conn, session, knows, timeout_ms);
        }
        if session == SessionId::NONE && self.config.local_sessions {
            return self.create_local_session(conn, timeout_ms);
        }
        if session == SessionId::NONE {
            return self.create_session(conn, timeout_ms);
        }
        // Apache closes the previous connection before it looks at the password.
        if let Some(tracked) = self.sessions.get_mut(session)
            && let Some(previous) = tracked.conn.take_if(|previous| *previous != conn)
        {
            self.close(previous, CloseReason::SessionResumedElsewhere);
        }
        let tracked = self.sessions.get(session);
        let is_local = tracked.is_some_and(|tracked| tracked.is_local);
        if knows && self.is_learning() && !is_local {
            return self.revalidate(conn, session, timeout_ms);
        }
        if tracked.is_some_and(|tracked| !tracked.closing) && knows {
            self.resumed(conn, session, timeout_ms);
        } else {
            self.expired(conn);
        }
    }

    pub(super) fn expired(&mut self, conn: ConnRef) {
        self.immediate.push((conn.front, Mail::Expired { conn: conn.conn }));
    }

    fn create_session(&mut self, conn: ConnRef, timeout_ms: i32) {
        if self.log_full {
            return self.close(conn, CloseReason::LogFull);
        }
        let session = self.session_ids.take();
        let origin = Origin { conn, session, xid: Xid::INTERNAL, op: OpCode::CreateSession };
        if self.is_learning() {
            self.forwarded.push(session, Waiting::Txn(origin));
            let request = ForwardedRequest::create_session(session, timeout_ms);
            return self.tell_leader(FromLearner::Request(request));
        }
        self.stats.requests += 1;
        self.sessions.track(session, timeout_ms, Some(conn), self.now);
        self.propose(Some(origin), session, Xid::INTERNAL, &Txn::CreateSession(timeout_ms));
    }

    /// Only the leader knows whether a session lives.
    fn revalidate(&mut self, conn: ConnRef, session: SessionId, timeout_ms: i32) {
        if let Some((previous, _)) = self.revalidations.insert(session, (conn, timeout_ms)) {
            self.close(previous, CloseReason::SessionResumedElsewhere);
        }
        self.tell_leader(FromLearner::Revalidate { session, timeout_ms });
    }

    /// The leader's answer. It may know a session whose beginning has not been applied here yet.
    pub(super) fn on_revalidated(&mut self, session: SessionId, valid: bool) {
        let Some((conn, timeout_ms)) = self.revalidations.remove(&session) else { return };
        if !valid {
            return self.expired(conn);
        }
        if self.sessions.get(session).is_none() {
            self.sessions.track(session, timeout_ms, None, self.now);
        }
        self.resumed(conn, session, timeout_ms);
    }

    pub(super) fn resumed(&mut self, conn: ConnRef, session: SessionId, timeout_ms: i32) {
        self.sessions.renew(session, timeout_ms, conn, self.now);
        let password = password(session);
        let connected = Mail::Connected { conn: conn.conn, session, timeout_ms, password };
        self.immediate.push((conn.front, connected));
    }

    pub(super) fn on_disconnected(&mut self, conn: ConnRef, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(session)
            && tracked.conn == Some(conn)
        {
            tracked.conn = None;
        }
    }

    pub(super) fn close(&mut self, conn: ConnRef, reason: CloseReason) {
        self.immediate.push((conn.front, Mail::Close { conn: conn.conn, reason }));
    }

    pub(super) fn tell_leader(&mut self, word: FromLearner) {
        self.to_peer.push(PeerInput::ToLeader(word));
    }
}
