//! A barrier: who comes while it is up waits until it is lifted.
//!
//! **Guarantees.** A waiter passes if and only if there was a moment since its call at which the node was not there. A barrier does not
//! end with whoever set it.
//!
//! **Layout.** The node at `PATH` is the barrier, as with Curator's `DistributedBarrier`.

use super::patience::{make_dirs, recovered, remove, repeat};
use crate::{Client, Error, EventKind};

/// A barrier at a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Barrier;
///
/// let barrier = Barrier::new(&client, "/migration-runs");
/// barrier.set().await?;
/// // Elsewhere: barrier.wait().await?;
/// barrier.lift().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Barrier {
    client: Client,
    path: String,
}

impl Barrier {
    /// The barrier at `path`; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Barrier {
        Barrier { client: client.clone(), path: path.into() }
    }

    /// Puts it up; it may be up already.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn set(&self) -> Result<(), Error> {
        make_dirs(&self.client, &self.path).await
    }

    /// Lifts it; it may be lifted already.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn lift(&self) -> Result<(), Error> {
        remove(&self.client, &self.path).await
    }

    /// Whether it is up, as far as this client's server knows.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn is_set(&self) -> Result<bool, Error> {
        let found = repeat(&self.client, || self.client.exists(&self.path)).await?;
        Ok(found.is_some())
    }

    /// Waits until it is lifted; returns at once if it is not up.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn wait(&self) -> Result<(), Error> {
        // Our server may lag behind the one that the barrier was set at.
        repeat(&self.client, || self.client.sync(&self.path)).await?;
        loop {
            match self.client.get_data_watch(&self.path).await {
                Ok((_, _, watch)) => {
                    // It may be up again by the time of a second look: it was lifted all the same.
                    if watch.await?.kind == EventKind::Deleted {
                        return Ok(());
                    }
                }
                Err(error) if error.is_no_node() => return Ok(()),
                Err(error) => recovered(&self.client, error).await?,
            }
        }
    }
}
