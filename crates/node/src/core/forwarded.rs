//! A learner's requests that wait for the leader.
//!
//! Replies of a session leave in the order of its requests. A transaction comes back with the session
//! and the client's number for the request; a sync comes back without a name, so the oldest one is
//! meant. Source: quorum-protocol reference, 5.4, 5.5.

use std::collections::{BTreeMap, VecDeque};

use oxikeeper_proto::{OpCode, SessionId, Txn, TxnHeader};

use super::{Answer, Origin};

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Its transaction.
    Txn(Origin),
    /// The leader's SYNC.
    Sync(Origin, Answer),
    /// Nothing but the requests before it.
    Answer(Origin, Answer),
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    by_session: BTreeMap<SessionId, VecDeque<Waiting>>,
    /// Sessions of the syncs under way, oldest first.
    syncs: VecDeque<SessionId>,
    count: usize,
}

impl Forwarded {
    pub fn push(&mut self, session: SessionId, waiting: Waiting) {
        if matches!(waiting, Waiting::Sync(..)) {
            self.syncs.push_back(session);
        }
        self.by_session.entry(session).or_default().push_back(waiting);
        self.count += 1;
    }

    /// Whether a request of this session waits.
    pub fn has(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whose request became this transaction, if it was one of ours.
    pub fn take(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Option<Origin> {
        let is_it = |waiting: &Waiting| match waiting {
            Waiting::Txn(origin) => {
                let by_kind = match txn {
                    Txn::CreateSession(_) => origin.op == OpCode::CreateSession,
                    // The leader's own, for a session that expired, carries no number.
                    Txn::CloseSession(_) => origin.op == OpCode::CloseSession,
                    _ => true,
                };
                by_kind && origin.xid.0 == header.cxid
            }
            _ => false,
        };
        match self.pop_if(header.session, is_it)? {
            Waiting::Txn(origin) => Some(origin),
            _ => None,
        }
    }

    /// The oldest sync is through: the session that asked.
    pub fn synced(&mut self) -> Option<SessionId> {
        self.syncs.pop_front()
    }

    /// The sync at the head of a session's requests.
    pub fn take_sync(&mut self, session: SessionId) -> Option<(Origin, Answer)> {
        match self.pop_if(session, |waiting| matches!(waiting, Waiting::Sync(..)))? {
            Waiting::Sync(origin, answer) => Some((origin, answer)),
            _ => None,
        }
    }

    /// An answer that no request of its session stands before.
    pub fn take_answer(&mut self, session: SessionId) -> Option<(Origin, Answer)> {
        match self.pop_if(session, |waiting| matches!(waiting, Waiting::Answer(..)))? {
            Waiting::Answer(origin, answer) => Some((origin, answer)),
            _ => None,
        }
    }

    /// The session is closed: nothing of it is answered any more.
    pub fn forget(&mut self, session: SessionId) {
        self.count -= self.by_session.remove(&session).map_or(0, |queue| queue.len());
    }

    fn pop_if(
        &mut self,
        session: SessionId,
        is_it: impl FnOnce(&Waiting) -> bool,
    ) -> Option<Waiting> {
        let queue = self.by_session.get_mut(&session)?;
        let waiting = queue.pop_front_if(|waiting| is_it(waiting))?;
        if queue.is_empty() {
            self.by_session.remove(&session);
        }
        self.count -= 1;
        Some(waiting)
    }
}
