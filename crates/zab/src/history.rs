//! What this server has logged, as far as agreement has to remember it: the last committed
//! transactions, for learners that rejoin, and those that are logged but not known committed.
//!
//! Zxids go up without a gap inside an epoch. `last_logged` is what this server votes with;
//! [`durable`](History::durable) is what it may acknowledge.

use std::collections::VecDeque;

use bytes::Bytes;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::quorum::QuorumPacket;

use crate::mutation::{Mutation, mutated};

/// A transaction as it travels and as it is logged: header, record, digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its place; the same as in the payload's header.
    pub zxid: Zxid,
    /// The bytes of a PROPOSAL's data, quorum-protocol 5.2.
    pub payload: Bytes,
}

/// As much is kept for learners that the log is read for, before they have to be sent a snapshot.
pub const KEPT_BYTES_MAX: usize = 64 << 20;

/// The end of the history. See the module's head.
#[derive(Clone, Debug)]
pub struct History {
    limit: usize,
    /// What stood right before the first of `committed`, if that is known. Zxids alone do not tell: how
    /// many transactions an epoch had, its successor does not say.
    before: Option<Zxid>,
    committed: VecDeque<Proposal>,
    committed_bytes: usize,
    /// See [`keep_from`](Self::keep_from).
    kept_from: Option<Zxid>,
    logged: VecDeque<Proposal>,
    last_committed: Zxid,
    durable: Zxid,
    is_void: bool,
}

impl History {
    /// A history of which everything is on disk: its last zxid, and the last transactions up to it,
    /// contiguous, oldest first. All of it counts as committed until a leader says otherwise.
    pub fn new(limit: usize, last: Zxid, tail: Vec<Proposal>) -> History {
        let mut history = History {
            limit: limit.max(1),
            before: tail.is_empty().then_some(last),
            committed_bytes: tail.iter().map(|proposal| proposal.payload.len()).sum(),
            committed: tail.into(),
            kept_from: None,
            logged: VecDeque::new(),
            last_committed: last,
            durable: last,
            is_void: false,
        };
        if let Some(newest) = history.committed.back() {
            assert!(newest.zxid <= last, "the tail ends at {}, the history at {last}", newest.zxid);
        }
        history.shorten();
        history
    }

    /// The history of a server whose data are gone: it has no say until a leader has given it a
    /// history (ZOOKEEPER-2325, 3056).
    pub fn void(limit: usize) -> History {
        History { is_void: true, ..History::new(limit, Zxid::ZERO, Vec::new()) }
    }

    /// The history on disk may lack what was acknowledged: from now on this server counts as one whose data
    /// are gone, until a leader has given it a history.
    pub fn give_up(&mut self) {
        self.is_void = true;
    }

    /// What this server tells others of its history: the last transaction logged, or -1 if its data
    /// are gone.
    pub fn last_vote(&self) -> Zxid {
        let is_void = self.is_void && !mutated(Mutation::EmptyDiskVotes);
        if is_void { QuorumPacket::NO_ZXID } else { self.last_logged() }
    }

    /// The last transaction committed here. Never an `e.0`, which stands for no transaction.
    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// The last transaction given to the log, or `last_committed` if none is newer.
    pub fn last_logged(&self) -> Zxid {
        self.logged.back().map_or(self.last_committed, |proposal| proposal.zxid)
    }

    /// The log is on disk up to here.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// The transactions kept of those committed, oldest first.
    pub fn committed(&self) -> impl DoubleEndedIterator<Item = &Proposal> {
        self.committed.iter()
    }

    /// First and last zxid of [`committed`](Self::committed); `last_committed` twice if it is empty.
    pub fn committed_bounds(&self) -> (Zxid, Zxid) {
        match (self.committed.front(), self.committed.back()) {
            (Some(first), Some(last)) => (first.zxid, last.zxid),
            _ => (self.last_committed, self.last_committed),
        }
    }

    /// Whether nothing is missing between a part of the history that ends at `end` and what is kept.
    pub fn is_joined_by(&self, end: Zxid) -> bool {
        self.before.is_some_and(|before| end >= before)
            || self.committed.front().is_some_and(|first| end >= first.zxid)
    }

    /// The transactions logged and not known committed, oldest first.
    pub fn logged(&self) -> impl DoubleEndedIterator<Item = &Proposal> {
        self.logged.iter()
    }

    /// Notes a transaction that goes to the log now.
    ///
    /// # Panics
    /// If it leaves a gap: that is never written.
    pub fn push(&mut self, proposal: Proposal) {
        let last = self.last_logged();
        assert!(proposal.zxid.joins(last), "{} after {last}", proposal.zxid);
        self.logged.push_back(proposal);
    }

    /// Notes that the log is on disk up to `zxid`.
    pub fn set_durable(&mut self, zxid: Zxid) {
        self.durable = self.durable.max(zxid);
    }

    /// Commits everything logged up to `zxid`.
    pub fn commit_to(&mut self, zxid: Zxid) {
        while let Some(proposal) = self.logged.pop_front_if(|proposal| proposal.zxid <= zxid) {
            assert!(proposal.zxid > self.last_committed, "commits go up");
            self.last_committed = proposal.zxid;
            self.committed_bytes += proposal.payload.len();
            self.committed.push_back(proposal);
        }
        self.shorten();
    }

    /// Forgets everything for another history, read anew from the disk or received as a snapshot.
    pub fn reset(&mut self, last: Zxid, tail: Vec<Proposal>) {
        *self = History::new(self.limit, last, tail);
    }

    /// Keeps what is committed from here on, beyond the usual number, up to [`KEPT_BYTES_MAX`]: the log is
    /// being read up to here for a learner, and more is committed meanwhile. `None` is the end of that.
    pub fn keep_from(&mut self, zxid: Option<Zxid>) {
        self.kept_from = zxid;
        self.shorten();
    }

    fn shorten(&mut self) {
        while self.committed.len() > self.limit
            && let Some(oldest) = self.committed.pop_front_if(|oldest| {
                self.kept_from.is_none_or(|from| oldest.zxid < from)
                    || self.committed_bytes > KEPT_BYTES_MAX
            })
        {
            self.committed_bytes -= oldest.payload.len();
            self.before = Some(oldest.zxid);
        }
    }
}
