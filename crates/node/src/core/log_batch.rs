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

    /// The payload of the last record.
    pub(super) fn last_payload(&self) -> &[u8] {
        self.records.len().checked_sub(1).map_or(&[], |last| self.payload(last))
    }

    /// Appends a transaction as another server encoded it; returns the length of its payload.
    pub(super) fn push_payload(&mut self, zxid: Zxid, payload: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.records.push((zxid, start..self.bytes.len()));
        payload.len()
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
