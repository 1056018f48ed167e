//! Transactions on their way to the log.

use std::ops::Range;

use oxikeeper_proto::txn::{TxnDigest, encode_payload};
use oxikeeper_proto::{Txn, TxnHeader, Zxid};

/// What the log writer appends and syncs as one: the payloads of transactions in zxid order.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// Each transaction with the place of its payload in `bytes`. Never empty when handed out.
    pub records: Vec<(Zxid, Range<usize>)>,
    /// The payloads, one behind the other.
    pub bytes: Vec<u8>,
    /// Begin a new log file behind this batch.
    pub roll_after: bool,
}

impl LogBatch {
    /// The last transaction of the batch.
    pub fn last_zxid(&self) -> Option<Zxid> {
        self.records.last().map(|(zxid, _)| *zxid)
    }

    /// The payload of one record.
    pub fn payload(&self, index: usize) -> &[u8] {
        &self.bytes[self.records[index].1.clone()]
    }

    /// Appends a transaction; returns the length of its payload.
    pub(super) fn push(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
    ) -> usize {
        let start = self.bytes.len();
        encode_payload(header, txn, digest, &mut self.bytes);
        self.records.push((header.zxid, start..self.bytes.len()));
        self.bytes.len() - start
    }
}
