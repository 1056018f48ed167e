//! Several operations in one request: writes all or none, or reads.

use std::sync::Arc;

use crate::reply::Reply;
use crate::session::{Answer, MultiRead, ReadResult, Request, Transaction, TxnResult};
use crate::shared::Shared;
use crate::{CreateOptions, Error, ExpectedVersion};

/// Writes that are carried out together or not at all: of [`transaction`](crate::Client::transaction).
#[derive(Debug)]
#[must_use = "a transaction does nothing before commit"]
pub struct TransactionBuilder {
    shared: Arc<Shared>,
    transaction: Transaction,
}

impl TransactionBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> TransactionBuilder {
        TransactionBuilder { shared, transaction: Transaction::default() }
    }

    /// The node must have this version.
    pub fn check(mut self, path: impl Into<String>, version: impl Into<ExpectedVersion>) -> Self {
        self.transaction.check(path.into(), version.into());
        self
    }

    /// Creates a node.
    pub fn create(
        mut self,
        path: impl Into<String>,
        data: impl Into<Vec<u8>>,
        options: &CreateOptions,
    ) -> Self {
        self.transaction.create(path.into(), data.into(), options.clone());
        self
    }

    /// Sets a node's data.
    pub fn set_data(
        mut self,
        path: impl Into<String>,
        data: impl Into<Vec<u8>>,
        version: impl Into<ExpectedVersion>,
    ) -> Self {
        self.transaction.set_data(path.into(), data.into(), version.into());
        self
    }

    /// Deletes a node.
    pub fn delete(mut self, path: impl Into<String>, version: impl Into<ExpectedVersion>) -> Self {
        self.transaction.delete(path.into(), version.into());
        self
    }

    /// Sends it. The results stand in the order of the operations; if one fails, the error is
    /// [`Error::Transaction`] and nothing was done.
    pub fn commit(self) -> Reply<Vec<TxnResult>> {
        self.shared.call(&Request::Transaction(&self.transaction), |answer, _| match answer {
            Answer::Transaction(results) => Some(results),
            _ => None,
        })
    }
}

/// Reads in one request: of [`multi_read`](crate::Client::multi_read).
#[derive(Debug)]
#[must_use = "a multi-read does nothing before send"]
pub struct MultiReadBuilder {
    shared: Arc<Shared>,
    reads: MultiRead,
}

impl MultiReadBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> MultiReadBuilder {
        MultiReadBuilder { shared, reads: MultiRead::default() }
    }

    /// A node's data.
    pub fn get_data(mut self, path: impl Into<String>) -> Self {
        self.reads.get_data(path.into());
        self
    }

    /// The names of a node's children.
    pub fn get_children(mut self, path: impl Into<String>) -> Self {
        self.reads.get_children(path.into());
        self
    }

    /// Sends it. The results stand in the order of the reads, each with an error of its own.
    pub fn send(self) -> Reply<Vec<Result<ReadResult, Error>>> {
        self.shared.call(&Request::MultiRead(&self.reads), |answer, _| match answer {
            Answer::Reads(results) => Some(results),
            _ => None,
        })
    }
}
