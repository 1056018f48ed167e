//! Fencing: how a holder that does not know yet that it is none is kept from doing harm.
//!
//! A process can be stopped at any instant, for any time: by the scheduler, a hypervisor, a debugger, a full disk. When it goes
//! on, its session may have expired and somebody else may hold the lock, and the very next instruction may be the
//! write that it had just decided on. No look at a clock or at a state before the write helps. Two things do:
//!
//! - **Data in the same ensemble**: [`Fence::transaction`] begins a transaction with a check of the holder's own node.
//!   Once the session has expired the node is gone, and the server refuses the whole transaction.
//! - **Data elsewhere**: [`FencingToken`] is the zxid at which the holder's node was created. Whoever holds next has a
//!   larger one. A resource that refuses a smaller token than the largest it has seen refuses every
//!   holder of the past.
//!
//! ```no_run
//! # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
//! use oxikeeper_client::recipe::Lock;
//!
//! let guard = Lock::new(&client, "/locks/accounts").acquire().await?;
//! let written = guard.fence().transaction().set_data("/accounts/7", b"42", -1).commit().await;
//! if let Err(error) = &written
//!     && guard.fence().is_refusal(error)
//! {
//!     println!("somebody else holds the lock by now; nothing was written");
//! }
//! # Ok(())
//! # }
//! ```

use std::fmt;

use oxikeeper_proto::Zxid;

use crate::{Client, Error, ExpectedVersion, TransactionBuilder};

/// A number that grows from holder to holder: the `czxid` of the holder's node.
///
/// Comparable within one ensemble's history; a restored backup begins an older one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FencingToken(Zxid);

impl FencingToken {
    pub(super) fn new(czxid: Zxid) -> FencingToken {
        FencingToken(czxid)
    }

    /// The number that a guarded resource compares.
    pub fn value(self) -> u64 {
        self.0.raw()
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A holder's node, against which its writes are checked.
#[derive(Clone, Debug)]
pub struct Fence {
    client: Client,
    path: String,
    token: FencingToken,
}

impl Fence {
    pub(super) fn new(client: &Client, path: &str, token: FencingToken) -> Fence {
        Fence { client: client.clone(), path: path.to_owned(), token }
    }

    /// A transaction that does nothing unless the holder's node is there.
    ///
    /// The check is its first operation, so results of the others begin at index 1.
    pub fn transaction(&self) -> TransactionBuilder {
        self.client.transaction().check(&self.path, ExpectedVersion::Exactly(0))
    }

    /// The same fence for writes through another session: they are refused just the same once the holder's node is gone.
    pub fn through(&self, client: &Client) -> Fence {
        Fence { client: client.clone(), ..self.clone() }
    }

    /// Whether a transaction of this fence failed because its holder is none any more.
    pub fn is_refusal(&self, error: &Error) -> bool {
        match error {
            Error::Transaction { index, .. } => *index == 0,
            Error::SessionExpired => true,
            _ => false,
        }
    }

    /// The holder's node.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The holder's number.
    pub fn token(&self) -> FencingToken {
        self.token
    }
}
