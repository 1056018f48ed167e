//! How a state is rebuilt from files: who reads them tells a [`ReplayTarget`].

use thiserror::Error;

use crate::acl::Acl;
use crate::id::{SessionId, Zxid};
use crate::stat::StatPersisted;
use crate::txn::{Txn, TxnDigest, TxnHeader};

/// Takes the sections of a snapshot, from a file or from a leader, as they are read.
pub trait SnapshotSink {
    /// A session with its timeout in milliseconds.
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), ReplayFault>;
    /// An ACL and its number.
    fn acl(&mut self, id: i64, acl: Vec<Acl>) -> Result<(), ReplayFault>;
    /// A node; the root's path is empty.
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), ReplayFault>;
    /// What has come so far was about this share of all, above 0 and at most 1: a hint that may be wrong, for
    /// who wants to make room at once.
    fn came_so_far(&mut self, _share: f64) {}
}

/// Takes what recovery reads, in its order: a snapshot's sections come between
/// [`begin_snapshot`](Self::begin_snapshot) and [`end_snapshot`](Self::end_snapshot).
pub trait ReplayTarget: SnapshotSink {
    /// A snapshot begins: start from nothing, whatever an earlier attempt has left.
    fn begin_snapshot(&mut self, zxid: Zxid);
    /// There is no snapshot: start from the empty tree.
    fn begin_empty(&mut self);
    /// The snapshot is complete and its seals are right. A fault makes the next older one be tried.
    fn end_snapshot(&mut self, zxid: Zxid, digest: Option<(Zxid, u64)>) -> Result<(), ReplayFault>;
    /// The next transaction.
    fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
    ) -> Result<(), ReplayFault>;
    /// All is read. A fault makes the next older snapshot be tried.
    fn finish(&mut self) -> Result<(), ReplayFault>;
}

/// Takes nothing: to verify a snapshot's form.
#[derive(Debug)]
pub struct Discard;

impl SnapshotSink for Discard {
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), ReplayFault> {
        Ok(())
    }
    fn acl(&mut self, _: i64, _: Vec<Acl>) -> Result<(), ReplayFault> {
        Ok(())
    }
    fn node(
        &mut self,
        _: &str,
        _: Option<&[u8]>,
        _: i64,
        _: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        Ok(())
    }
}

/// Why the target did not take something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ReplayFault(pub String);
