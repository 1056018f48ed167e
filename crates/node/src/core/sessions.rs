//! Who has a session, on which connection, and when each expires.
//!
//! A session that was last heard from at `t` expires in bucket `(t + timeout) / tick + 1`, counted
//! in ticks: between `timeout` and `timeout + tick` of silence, as Apache's `ExpiryQueue` has it.
//! A touch only stores the new bucket; the session moves when its old bucket comes due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oxikeeper_proto::SessionId;

use oxikeeper_zab::io::LinkId;

use crate::mail::ConnRef;
use crate::time::Now;

/// Which server of an ensemble serves a session. A request that comes by another was sent before the
/// session moved. Source: quorum-protocol reference, 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody has used it since this server leads: the first one to do so has it.
    Nobody,
    /// This server.
    Here,
    /// The learner at the other end of this link.
    Learner(LinkId),
}

/// A session the Core tracks.
#[derive(Debug)]
pub(super) struct Session {
    /// The timeout in force, milliseconds: that of its latest connection.
    pub timeout_ms: i32,
    /// The connection that holds it, if it is one of ours.
    pub conn: Option<ConnRef>,
    /// Which server has it; of meaning at the leader only.
    pub owner: Owner,
    /// A closeSession is under way: nothing of it is taken any more.
    pub closing: bool,
    /// No other server knows it.
    pub is_local: bool,
    /// The bucket in which it expires.
    bucket: u64,
    /// The bucket that lists it; at most `bucket`.
    listed: u64,
}

/// All sessions, by id and by time of expiry.
#[derive(Debug)]
pub(super) struct Sessions {
    tick_ms: u64,
    by_id: BTreeMap<SessionId, Session>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
    /// Milliseconds by which all deadlines are late, because this process did not run.
    granted_ms: u64,
    /// The latest pauses: what was heard before one may be reported behind it.
    grants: VecDeque<Grant>,
}

/// A pause of this process that all sessions were granted.
#[derive(Clone, Copy, Debug)]
struct Grant {
    /// The last moment before it that is known to have been lived through.
    began_ms: u64,
    /// The first moment after it.
    ended_ms: u64,
    /// How much was granted for it, at least its length.
    granted_ms: u64,
}

/// A report is never older than so many pauses.
const GRANTS_KEPT: usize = 8;

impl Sessions {
    pub fn new(tick_ms: u32) -> Sessions {
        Sessions {
            tick_ms: u64::from(tick_ms.max(1)),
            by_id: BTreeMap::new(),
            buckets: BTreeMap::new(),
            granted_ms: 0,
            grants: VecDeque::new(),
        }
    }

    /// Starts to track a session, heard from just now.
    pub fn track(&mut self, session: SessionId, timeout_ms: i32, conn: Option<ConnRef>, now: Now) {
        let bucket = self.bucket_of(now, timeout_ms);
        let owner = if conn.is_some() { Owner::Here } else { Owner::Nobody };
        let (closing, is_local) = (false, false);
        let entry = Session { timeout_ms, conn, owner, closing, is_local, bucket, listed: bucket };
        if let Some(old) = self.by_id.insert(session, entry) {
            self.unlist(session, old.listed);
        }
        self.buckets.entry(bucket).or_default().insert(session);
    }

    /// Forgets a session.
    pub fn remove(&mut self, session: SessionId) -> Option<Session> {
        let entry = self.by_id.remove(&session)?;
        self.unlist(session, entry.listed);
        Some(entry)
    }

    pub fn get(&self, session: SessionId) -> Option<&Session> {
        self.by_id.get(&session)
    }

    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&session)
    }

    /// When each session expires if nobody hears of it, earliest first.
    pub fn expiries(&self) -> Vec<(Now, SessionId)> {
        let when = |entry: &Session| entry.bucket * self.tick_ms + self.granted_ms;
        let mut expiries: Vec<(Now, SessionId)> = self
            .by_id
            .iter()
            .map(|(session, entry)| (Now::from_millis(when(entry)), *session))
            .collect();
        expiries.sort_unstable();
        expiries
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Notes that a session was heard from at `when`.
    pub fn touch(&mut self, session: SessionId, when: Now) {
        let Some(timeout_ms) = self.by_id.get(&session).map(|entry| entry.timeout_ms) else {
            return;
        };
        let bucket = self.bucket_of(when, timeout_ms);
        if let Some(entry) = self.by_id.get_mut(&session) {
            entry.bucket = entry.bucket.max(bucket);
        }
    }

    /// As [`touch`](Self::touch), with the timeout that the session's server names.
    pub fn touch_with(&mut self, session: SessionId, timeout_ms: i32, when: Now) {
        let bucket = self.bucket_of(when, timeout_ms);
        if let Some(entry) = self.by_id.get_mut(&session) {
            entry.bucket = entry.bucket.max(bucket);
        }
    }

    /// Gives a session to a connection of ours, with another timeout.
    pub fn renew(&mut self, session: SessionId, timeout_ms: i32, conn: ConnRef, now: Now) {
        self.set_timeout(session, timeout_ms, now);
        let Some(entry) = self.by_id.get_mut(&session) else { return };
        entry.conn = Some(conn);
        entry.owner = Owner::Here;
    }

    /// Gives a session another timeout, and counts it as heard from. A shorter timeout takes
    /// effect with the first bucket that comes due.
    pub fn set_timeout(&mut self, session: SessionId, timeout_ms: i32, now: Now) {
        let bucket = self.bucket_of(now, timeout_ms);
        let Some(entry) = self.by_id.get_mut(&session) else { return };
        entry.timeout_ms = timeout_ms;
        entry.bucket = bucket;
        let listed = entry.listed;
        if bucket < listed {
            entry.listed = bucket;
            self.unlist(session, listed);
            self.buckets.entry(bucket).or_default().insert(session);
        }
    }

    /// Puts every deadline off: this process did not run from `began`, or up to `slack_ms` later,
    /// until `ended`, and heard nobody.
    pub fn grant(&mut self, began: Now, ended: Now, slack_ms: u64) {
        let (began_ms, ended_ms) = (began.millis(), ended.millis());
        let granted_ms = ended_ms.saturating_sub(began_ms) + slack_ms;
        self.granted_ms += granted_ms;
        self.grants.push_back(Grant { began_ms, ended_ms, granted_ms });
        if self.grants.len() > GRANTS_KEPT {
            self.grants.pop_front();
        }
    }

    /// Sessions whose silence has lasted too long, given that everything heard up to
    /// `heard_until` has been reported. Those already closing are passed over. They stay tracked
    /// until their closeSession is applied, but are listed no more.
    pub fn expired(&mut self, heard_until: Now) -> Vec<SessionId> {
        let due = heard_until.millis().saturating_sub(self.granted_ms) / self.tick_ms;
        let mut expired = Vec::new();
        while let Some(first) = self.buckets.first_entry() {
            if *first.key() > due {
                break;
            }
            let bucket = *first.key();
            for session in first.remove() {
                let entry = self.by_id.get_mut(&session).expect("buckets list tracked sessions");
                if entry.bucket > bucket {
                    entry.listed = entry.bucket;
                    self.buckets.entry(entry.bucket).or_default().insert(session);
                } else if !entry.closing {
                    expired.push(session);
                }
            }
        }
        expired
    }

    fn bucket_of(&self, heard: Now, timeout_ms: i32) -> u64 {
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        (self.lived_ms(heard) + timeout_ms) / self.tick_ms + 1
    }

    /// A moment on a clock that stood still during the granted pauses before it.
    fn lived_ms(&self, moment: Now) -> u64 {
        let mut moment_ms = moment.millis();
        let mut granted_ms = self.granted_ms;
        for grant in self.grants.iter().rev() {
            if moment_ms >= grant.ended_ms {
                break;
            }
            granted_ms -= grant.granted_ms;
            if moment_ms > grant.began_ms {
                // Right before the pause or right behind it: nobody knows, so the best is assumed.
                let pause_ms = grant.ended_ms - grant.began_ms;
                let slack_ms = grant.granted_ms - pause_ms;
                moment_ms = moment_ms.min(grant.began_ms + slack_ms);
                break;
            }
        }
        moment_ms.saturating_sub(granted_ms)
    }

    fn unlist(&mut self, session: SessionId, bucket: u64) {
        if let Some(listed) = self.buckets.get_mut(&bucket) {
            listed.remove(&session);
            if listed.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{ConnId, FrontId};

    const A: SessionId = SessionId(1);

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    fn one_session() -> Sessions {
        let mut sessions = Sessions::new(2000);
        sessions.track(A, 4000, None, at(500));
        sessions
    }

    #[test]
    fn expires_at_the_tick_after_its_timeout() {
        let mut sessions = one_session();
        assert_eq!(sessions.expired(at(5999)), []);
        assert_eq!(sessions.expired(at(6000)), [A]);
        assert_eq!(sessions.expired(at(60_000)), [], "reported once");
        assert!(sessions.get(A).is_some(), "tracked until its closeSession is applied");
    }

    #[test]
    fn a_touch_puts_it_off() {
        let mut sessions = one_session();
        sessions.touch(A, at(2000));
        sessions.touch(A, at(1000));
        assert_eq!(sessions.expired(at(7999)), []);
        assert_eq!(sessions.expired(at(8000)), [A]);
    }

    #[test]
    fn a_stall_of_our_own_is_granted() {
        let mut sessions = one_session();
        sessions.grant(at(1000), at(31_000), 0);
        assert_eq!(sessions.expired(at(35_999)), []);
        assert_eq!(sessions.expired(at(36_000)), [A]);
    }

    #[test]
    fn what_was_heard_before_a_stall_and_is_reported_behind_it_counts_in_full() {
        let mut sessions = one_session();
        sessions.grant(at(4000), at(34_000), 250);
        sessions.touch(A, at(4200));
        // 4200 + 4000 is in the tick that ends at 10 s, 30.25 s later because of the stall.
        assert_eq!(sessions.expired(at(40_249)), []);
        assert_eq!(sessions.expired(at(40_250)), [A]);
    }

    #[test]
    fn several_stalls_add_up() {
        let mut sessions = one_session();
        sessions.grant(at(1000), at(11_000), 0);
        sessions.grant(at(12_000), at(22_000), 0);
        sessions.touch(A, at(900));
        sessions.touch(A, at(11_500));
        // Lived through: 1500 ms. In the tick that ends at 6 s, 20 s later.
        assert_eq!(sessions.expired(at(25_999)), []);
        assert_eq!(sessions.expired(at(26_000)), [A]);
    }

    #[test]
    fn a_shorter_timeout_counts_from_the_renewal() {
        let mut sessions = Sessions::new(2000);
        sessions.track(A, 40_000, None, at(0));
        let conn = ConnRef { front: FrontId(0), conn: ConnId(1) };
        sessions.renew(A, 4000, conn, at(1000));
        assert_eq!(sessions.expired(at(5999)), []);
        assert_eq!(sessions.expired(at(6000)), [A]);
    }

    #[test]
    fn closing_sessions_do_not_expire_again() {
        let mut sessions = one_session();
        sessions.get_mut(A).expect("tracked").closing = true;
        assert_eq!(sessions.expired(at(100_000)), []);
        assert!(sessions.remove(A).is_some());
        assert_eq!(sessions.len(), 0);
    }
}
