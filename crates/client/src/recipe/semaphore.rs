//! A semaphore: at most N leases at a time.
//!
//! **Guarantees.** At most N lease nodes are acknowledged to holders at any point of the ensemble's history; those who wait get theirs
//! in the order of asking; a holder that dies gives its lease back when its session expires.
//!
//! **Does not.** N is what each contender says: all have to say the same. The [token](super::FencingToken) of a lease is unique
//! and grows in the order of granting, but several are valid at once: a resource cannot refuse by "smaller than the largest". The
//! [fence](super::Fence) works as for a lock.
//!
//! **Layout.** As Curator's `InterProcessSemaphoreV2`: a lock at `PATH/locks`, held while a lease is waited for, and
//! `PATH/leases/_c_GUID-lease-0000000000`, ephemeral sequential.

use super::guard::Guard;
use super::line;
use super::lock::Lock;
use super::patience::{join, recovered};
use super::place::Place;
use crate::{Client, Error};

const KIND: &str = "lease-";

/// A semaphore at a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Semaphore;
///
/// let licences = Semaphore::new(&client, "/licences", 5);
/// let lease = licences.acquire().await?;
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    client: Client,
    leases: String,
    lock: Lock,
    leases_max: usize,
}

impl Semaphore {
    /// The semaphore at `path` with so many leases; nothing is sent yet.
    pub fn new(client: &Client, path: impl AsRef<str>, leases_max: usize) -> Semaphore {
        let path = path.as_ref();
        Semaphore {
            client: client.clone(),
            leases: join(path, "leases"),
            lock: Lock::new(client, join(path, "locks")),
            leases_max,
        }
    }

    /// Waits for a lease, and holds it until the guard is released or dropped.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn acquire(&self) -> Result<Guard, Error> {
        // Only the first in line adds a node, so that those who wait are not counted as holders.
        let turn = self.lock.acquire().await?;
        let place = Place::take(&self.client, &self.leases, KIND, b"").await?;
        loop {
            match self.client.get_children_watch(&self.leases).await {
                Ok((names, _)) if line::contenders(&names, &[KIND]).len() <= self.leases_max => {
                    break;
                }
                Ok((_, watch)) => {
                    watch.await?;
                }
                Err(error) => recovered(&self.client, error).await?,
            }
        }
        // It was ours as long as it took: if the turn was lost on the way, somebody else may be adding too.
        if turn.settled().await == super::Standing::Lost {
            return Err(Error::SessionExpired);
        }
        turn.release().await?;
        Ok(Guard::new(place))
    }
}
