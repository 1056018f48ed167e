//! A double barrier: N members begin together and end together.
//!
//! **Guarantees.** Nobody's [`enter`](DoubleBarrier::enter) returns before N members have entered. Nobody's [`leave`](Inside::leave) returns before every
//! other member has left or died. A member that dies inside does not keep the others there; one that dies before all have
//! come is waited for in the person of another.
//!
//! **Limits.** One round per path at a time, and all members are to be of one mind about N. A path may be used again when every `leave`
//! has returned; a path per round spares the question. A member whose session is lost inside has left. Where
//! all members died inside, the sign stays, and opens the next round of that path too early.
//!
//! **Layout.** As Curator's `DistributedDoubleBarrier`: `PATH/<uuid>`, ephemeral, per member, and `PATH/ready`. Ours remove `ready` in the
//! same transaction as the last member, so that no round finds the ready of the round before.

use super::patience::{join, make_containers, recovered, remove, repeat};
use super::place::guid;
use crate::{Client, CreateOptions, Error, ExpectedVersion};

const READY: &str = "ready";

/// A double barrier at a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::DoubleBarrier;
///
/// let barrier = DoubleBarrier::new(&client, "/computation/round-7", 3);
/// let inside = barrier.enter().await?;
/// // What all three do at the same time.
/// inside.leave().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DoubleBarrier {
    client: Client,
    path: String,
    members: usize,
}

/// A member between entering and leaving. Dropped, it leaves in the background and waits for nobody.
#[derive(Debug)]
#[must_use = "a member that is dropped has left"]
pub struct Inside {
    client: Client,
    dir: String,
    name: String,
    is_gone: bool,
}

impl DoubleBarrier {
    /// The barrier at `path` for so many members; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>, members: usize) -> DoubleBarrier {
        DoubleBarrier { client: client.clone(), path: path.into(), members }
    }

    /// Enters, and waits until all have.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn enter(&self) -> Result<Inside, Error> {
        let client = &self.client;
        let mut inside =
            Inside { client: client.clone(), dir: self.path.clone(), name: guid(), is_gone: false };
        // Its name is ours alone: a create that is repeated finds its own node.
        let ours = join(&self.path, &inside.name);
        loop {
            let created = repeat(client, || client.create(&ours, b"", &CreateOptions::ephemeral()));
            match created.await {
                Ok(_) => break,
                Err(error) if error.is_node_exists() => break,
                Err(error) if error.is_no_node() => make_containers(client, &self.path).await?,
                Err(error) => {
                    inside.is_gone = !error.may_have_happened();
                    return Err(error);
                }
            }
        }
        let ready = join(&self.path, READY);
        loop {
            let watch = match client.exists_watch(&ready).await {
                Ok((Some(_), _)) => return Ok(inside),
                Ok((None, watch)) => watch,
                Err(error) => {
                    recovered(client, error).await?;
                    continue;
                }
            };
            // Counted after the watch is there: whoever comes later counts us, and makes it ready.
            let names = repeat(client, || client.get_children(&self.path)).await?;
            if names.iter().filter(|name| *name != READY).count() >= self.members {
                let create =
                    repeat(client, || client.create(&ready, b"", &CreateOptions::persistent()));
                match create.await {
                    Ok(_) => return Ok(inside),
                    Err(error) if error.is_node_exists() => return Ok(inside),
                    Err(error) => return Err(error),
                }
            }
            watch.await?;
        }
    }
}

impl Inside {
    /// Leaves, and waits until all have.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn leave(mut self) -> Result<(), Error> {
        let outcome = self.go().await;
        self.is_gone = outcome.is_ok();
        outcome
    }

    /// The first by name goes last: it waits for the others one by one, and they wait for it.
    async fn go(&mut self) -> Result<(), Error> {
        let client = self.client.clone();
        let ours = join(&self.dir, &self.name);
        loop {
            let names = repeat(&client, || client.get_children(&self.dir)).await;
            let mut names = match names {
                Err(error) if error.is_no_node() => return Ok(()),
                names => names?,
            };
            names.retain(|name| name != READY);
            names.sort_unstable();
            let is_here = names.contains(&self.name);
            let awaited = match names.as_slice() {
                // The first has died, or was dropped, while we waited for it: the sign is nobody's.
                [] => return remove(&client, &join(&self.dir, READY)).await,
                [only] if is_here => {
                    debug_assert_eq!(*only, self.name);
                    return self.close().await;
                }
                [first, .., last] if *first == self.name => last,
                [first, ..] => {
                    if is_here {
                        remove(&client, &ours).await?;
                    }
                    first
                }
            };
            match client.get_data_watch(&join(&self.dir, awaited)).await {
                Ok((_, _, watch)) => {
                    watch.await?;
                }
                Err(error) if error.is_no_node() => {}
                Err(error) => recovered(&client, error).await?,
            }
        }
    }

    /// The last one takes the sign with it.
    async fn close(&self) -> Result<(), Error> {
        let ours = join(&self.dir, &self.name);
        let ready = join(&self.dir, READY);
        let outcome = repeat(&self.client, || {
            let both = self.client.transaction().delete(ready.as_str(), ExpectedVersion::Any);
            both.delete(ours.as_str(), ExpectedVersion::Any).commit()
        });
        match outcome.await {
            Ok(_) => Ok(()),
            // Done by a try whose answer was lost; or somebody of Curator's has removed the sign.
            Err(error) if error.is_no_node() => remove(&self.client, &ours).await,
            Err(error) => Err(error),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        // Without a runtime nobody is left to do it: the node ends with its session.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, ours) = (self.client.clone(), join(&self.dir, &self.name));
            runtime.spawn(async move { remove(&client, &ours).await });
        }
    }
}
