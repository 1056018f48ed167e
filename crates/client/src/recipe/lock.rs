//! A lock: at most one holder, in the order of asking.
//!
//! **Guarantees.** At most one guard's node is first in line at any point of the ensemble's history; guards come in the order in which
//! their nodes were created; the next holder's [token](super::FencingToken) is larger than every earlier one's. A holder that dies lets go
//! when its session expires. A waiter that is dropped, or whose create lost its answer, leaves no node behind.
//!
//! **Does not.** It cannot keep a holder that was stopped from *believing* that it holds: see
//! [`fence`](super::fence). Not reentrant unless asked for.
//!
//! **Limits.** 2^31 acquisitions per directory while it is never empty (the server's sequence numbers); every waiter reads the list of all
//! waiters when its predecessor goes, which is comfortable up to some thousands.
//!
//! **Layout.** `PATH/_c_GUID-lock-0000000000`, ephemeral sequential, as Curator's `InterProcessMutex`; both take part in the same lock.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use super::guard::{Guard, Owner};
use super::line;
use super::place::Place;
use crate::{Client, Error};

/// The kind of node that stands in line for a lock.
pub(super) const KIND: &str = "lock-";

/// A lock at a path. Copies share whether it is reentrant, and then what is held.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Lock;
///
/// let lock = Lock::new(&client, "/locks/report");
/// let guard = lock.acquire().await?;
/// // Under the fence, so that a holder of the past can do no harm.
/// guard.fence().transaction().set_data("/report", b"done", -1).commit().await?;
/// guard.release().await?;
///
/// // To wait for a second at most: what is dropped while it waits withdraws.
/// let wait = std::time::Duration::from_secs(1);
/// if let Ok(guard) = tokio::time::timeout(wait, lock.acquire()).await {
///     guard?.release().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lock {
    client: Client,
    path: String,
    label: Vec<u8>,
    /// What is held through this handle, if it is reentrant.
    held: Option<Arc<Mutex<Weak<Owner>>>>,
}

impl Lock {
    /// The lock at `path`; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Lock {
        Lock { client: client.clone(), path: path.into(), label: Vec::new(), held: None }
    }

    /// The same lock, which this handle and its copies may take again while they hold it. The owner is
    /// the handle, not the task: tasks that share one do not exclude one another.
    pub fn reentrant(mut self) -> Lock {
        self.held = Some(Arc::default());
        self
    }

    /// What stands in this contender's node, for people who look.
    pub fn label(mut self, label: impl Into<Vec<u8>>) -> Lock {
        self.label = label.into();
        self
    }

    /// Waits in line, and holds the lock until the guard is released or dropped.
    ///
    /// # Errors
    /// The server's refusal; the loss of the session; `NoNode` if somebody removed our node while we waited.
    pub async fn acquire(&self) -> Result<Guard, Error> {
        let Some(held) = &self.held else { return self.take().await };
        let mut held = held.lock().await;
        if let Some(guard) = held.upgrade().map(Guard::share)
            && guard.standing() != super::Standing::Lost
        {
            return Ok(guard);
        }
        let guard = self.take().await?;
        *held = Arc::downgrade(guard.owner());
        Ok(guard)
    }

    /// Holds the lock if it is free; does not wait for other holders.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        let Some(held) = &self.held else { return self.try_take().await };
        let mut held = held.lock().await;
        if let Some(guard) = held.upgrade().map(Guard::share)
            && guard.standing() != super::Standing::Lost
        {
            return Ok(Some(guard));
        }
        let guard = self.try_take().await?;
        *held = guard.as_ref().map_or_else(Weak::new, |guard| Arc::downgrade(guard.owner()));
        Ok(guard)
    }

    async fn take(&self) -> Result<Guard, Error> {
        let place = Place::take(&self.client, &self.path, KIND, &self.label).await?;
        line::turn(&place, &[KIND], line::predecessor).await?;
        Ok(Guard::new(place))
    }

    async fn try_take(&self) -> Result<Option<Guard>, Error> {
        let place = Place::take(&self.client, &self.path, KIND, &self.label).await?;
        if line::blocker(&place, &[KIND], line::predecessor).await?.is_none() {
            return Ok(Some(Guard::new(place)));
        }
        place.leave().await?;
        Ok(None)
    }
}
