//! What the Core counts, for operators.

use oxikeeper_proto::Txn;

use super::connection_throttle::ConnectionThrottleStats;
use crate::histogram::Histogram;
use crate::namespaces::Namespaces;

/// Since the start, or since operators had it count anew.
#[derive(Clone, Debug, Default)]
pub struct CoreStats {
    /// Requests taken, its own among them: sessions that begin, expire or are closed.
    pub requests: u64,
    /// Handshakes that would resume a session.
    pub resumptions: u64,
    /// Tokens that the bucket lacked at each handshake, see `connection_throttle_tokens`.
    pub token_deficit: Histogram,
    /// Sessions that expired.
    pub expired: u64,
    /// Sessions whose end was prepared.
    pub closings: u64,
    /// Nodes that waited to be changed, once for each transaction that changes them.
    pub changes_queued: u64,
    /// Those of them that have been changed.
    pub changes_removed: u64,
    /// Transactions behind which the tree had not the digest that it should have.
    pub digest_mismatches: u64,
    /// Milliseconds from a transaction's timestamp until it was applied.
    pub propagation_ms: Histogram,
    /// What was written below each node under the root.
    pub writes: Namespaces,
    /// How handshakes were throttled.
    pub throttle: ConnectionThrottleStats,
}

/// Counts what a transaction wrote. Of a multi that failed nothing was.
pub(super) fn count_writes(writes: &mut Namespaces, txn: &Txn<'_>) {
    let len = |data: Option<&[u8]>| data.map_or(0, <[u8]>::len);
    match txn {
        Txn::Create(txn) | Txn::Create2(txn) => writes.count(&txn.path, len(txn.data)),
        Txn::CreateContainer(txn) => writes.count(&txn.path, len(txn.data)),
        Txn::CreateTtl(txn) => writes.count(&txn.path, len(txn.data)),
        Txn::SetData(txn) | Txn::Reconfig(txn) => writes.count(&txn.path, len(txn.data)),
        Txn::Delete(txn) | Txn::DeleteContainer(txn) => writes.count(&txn.path, 0),
        Txn::CloseSession(paths) => {
            paths.iter().flatten().for_each(|path| writes.count(path, 0));
        }
        Txn::Multi(_) if txn.is_failed_multi() => {}
        Txn::Multi(members) => members.iter().for_each(|member| count_writes(writes, member)),
        Txn::CreateSession(_) | Txn::Error(_) | Txn::SetAcl(_) | Txn::Check(_) => {}
    }
}
