//! Leader: what learners' Cores ask for. Source: quorum-protocol reference, 5.3, 5.5, 7.

use oxikeeper_proto::quorum::ForwardedRequest;
use oxikeeper_proto::{ErrorCode, OpCode, Reader, SessionId, Txn, Xid};
use oxikeeper_tree::Tree;
use oxikeeper_zab::io::{FromLearner, Input as PeerInput, LinkId, ToLearner};
use tracing::debug;

use super::Core;
use super::sessions::Owner;
use crate::mail::CloseReason;

impl Core {
    /// Takes what a learner says. Whoever leads but has not applied its history yet keeps it for later.
    pub(super) fn on_learner(&mut self, link: LinkId, word: FromLearner, tree: &Tree) {
        if !self.is_leading() {
            self.deferred.push((link, word));
            return;
        }
        match word {
            FromLearner::Request(request) => self.on_forwarded(link, request, tree),
            FromLearner::Touches(touches) => {
                for (session, timeout_ms) in touches {
                    self.sessions.touch_with(session, timeout_ms, self.now);
                }
            }
            FromLearner::Revalidate { session, timeout_ms } => {
                let valid = self.move_session(session, timeout_ms, link);
                let word = ToLearner::Revalidated { session, valid };
                self.to_peer.push(PeerInput::ToLearner(link, word));
            }
        }
    }

    /// A session comes back at a learner, which has it from now on.
    fn move_session(&mut self, session: SessionId, timeout_ms: i32, link: LinkId) -> bool {
        let tracked = self.sessions.get_mut(session);
        let Some(tracked) = tracked.filter(|tracked| !tracked.closing && !tracked.is_local) else {
            return false;
        };
        tracked.owner = Owner::Learner(link);
        if let Some(previous) = tracked.conn.take() {
            self.close(previous, CloseReason::SessionResumedElsewhere);
        }
        self.sessions.set_timeout(session, timeout_ms, self.now);
        true
    }

    fn on_forwarded(&mut self, link: LinkId, request: ForwardedRequest, tree: &Tree) {
        let ForwardedRequest { session, cxid, op, body, authinfo } = request;
        let cxid = Xid(cxid);
        let refuse = |core: &mut Core, code: ErrorCode| {
            core.propose(None, session, cxid, &Txn::Error(code.to_wire()));
        };
        match OpCode::from_wire(op) {
            Some(OpCode::Sync) => {
                self.to_peer.push(PeerInput::ToLearner(link, ToLearner::Synced));
            }
            Some(OpCode::CreateSession) => match Reader::new(&body).get::<i32>() {
                Ok(timeout_ms) => {
                    self.sessions.track(session, timeout_ms, None, self.now);
                    if let Some(tracked) = self.sessions.get_mut(session) {
                        tracked.owner = Owner::Learner(link);
                    }
                    self.propose(None, session, cxid, &Txn::CreateSession(timeout_ms));
                }
                Err(error) => debug!(%error, "a createSession without its timeout"),
            },
            // Whoever asks: with the session gone already the learner still waits for its answer.
            Some(OpCode::CloseSession) => self.close_session(session, None, cxid, tree),
            Some(op) => match self.use_session(session, link, (op, &body)) {
                Ok(()) => {
                    let ids = authinfo.unwrap_or_default();
                    self.prepare(None, session, (cxid, op), &body, &ids, tree);
                }
                Err(code) => refuse(self, code),
            },
            None => refuse(self, ErrorCode::Unimplemented),
        }
    }

    /// Whether a session may be used through this link: by its owner alone, or whoever comes first.
    fn use_session(
        &mut self,
        session: SessionId,
        link: LinkId,
        (op, body): (OpCode, &[u8]),
    ) -> Result<(), ErrorCode> {
        if self.sessions.get(session).is_none() && self.may_be_local(session, op, body) {
            return Ok(());
        }
        let tracked = self.sessions.get_mut(session).filter(|tracked| !tracked.closing);
        let tracked = tracked.ok_or(ErrorCode::SessionExpired)?;
        match tracked.owner {
            Owner::Nobody => tracked.owner = Owner::Learner(link),
            Owner::Learner(owner) if owner == link => {}
            _ => return Err(ErrorCode::SessionMoved),
        }
        Ok(())
    }
}
