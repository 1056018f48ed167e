//! An ephemeral node that is there for as long as its owner, over the end of sessions.
//!
//! **Guarantees.** While the handle lives and a server can be reached, the node is there with the data last set: it is created again when the
//! session has expired, or when somebody has removed it. With the handle's end it is removed.
//!
//! **Does not.** If somebody else's node is at the path it waits until that is gone, be it that of an earlier life of the same process, whose
//! session has still to expire: two owners of one name would push one another out for ever.
//!
//! **Layout.** The node at `PATH`, as Curator's `PersistentNode` in its mode `EPHEMERAL`; those above it are container nodes.

use oxikeeper_proto::path::parent;
use tokio::sync::watch;

use super::patience::{Background, make_containers, recovered, remove, repeat, until};
use super::sessions::Sessions;
use crate::{Client, CreateOptions, Error, ExpectedVersion};

/// A node that says: I am here.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::PersistentEphemeral;
///
/// let here = PersistentEphemeral::start(&client, "/nodes/7", b"10.0.0.7:9000");
/// here.present().await?;
/// here.set(b"10.0.0.8:9000").await?;
/// here.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PersistentEphemeral {
    path: String,
    target: Option<watch::Sender<Target>>,
    state: watch::Receiver<State>,
    task: Option<Background>,
}

/// What is to be there; each change has the next number, from 1.
#[derive(Clone, Debug)]
struct Target {
    number: u64,
    data: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Absent,
    /// With the data of this target.
    Present(u64),
    Ended(Error),
}

impl PersistentEphemeral {
    /// Creates the node in the background, and keeps it.
    pub fn start(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        data: impl Into<Vec<u8>>,
    ) -> PersistentEphemeral {
        let (sessions, path) = (sessions.into(), path.into());
        let (target, follow) = watch::channel(Target { number: 1, data: data.into() });
        let (publish, state) = watch::channel(State::Absent);
        let task = Background::spawn(keep(sessions, path.clone(), follow, publish));
        PersistentEphemeral { path, target: Some(target), state, task: Some(task) }
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is there with what was set last, as far as this process knows.
    pub fn is_present(&self) -> bool {
        matches!(*self.state.borrow(), State::Present(number) if number == self.number())
    }

    fn number(&self) -> u64 {
        self.target.as_ref().map_or(0, |target| target.borrow().number)
    }

    /// Waits until the node is there with what was set last.
    ///
    /// # Errors
    /// If it will not be: the session is lost and not replaced, or the server refuses.
    pub async fn present(&self) -> Result<(), Error> {
        let number = self.number();
        let present = until(self.state.clone(), |state| match state {
            State::Present(now) if *now >= number => Some(Ok(())),
            State::Ended(error) => Some(Err(error.clone())),
            _ => None,
        });
        present.await?
    }

    /// Changes the data, and waits until they are there. Dropped while it waits, they will be all the same.
    ///
    /// # Errors
    /// As [`present`](Self::present).
    pub async fn set(&self, data: impl Into<Vec<u8>>) -> Result<(), Error> {
        if let Some(target) = &self.target {
            target.send_modify(|target| {
                *target = Target { number: target.number + 1, data: data.into() };
            });
        }
        self.present().await
    }

    /// Removes the node, and waits until it is gone.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn close(mut self) -> Result<(), Error> {
        self.target = None;
        let ended = until(self.state.clone(), |state| match state {
            State::Ended(Error::Closed | Error::SessionExpired) => Some(Ok(())),
            State::Ended(error) => Some(Err(error.clone())),
            _ => None,
        });
        ended.await?
    }
}

impl Drop for PersistentEphemeral {
    fn drop(&mut self) {
        // The task sees that nobody wants the node any more, removes it, and ends by itself.
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

async fn keep(
    sessions: Sessions,
    path: String,
    mut target: watch::Receiver<Target>,
    publish: watch::Sender<State>,
) {
    let error = loop {
        let client = match sessions.living().await {
            Ok(client) => client,
            Err(error) => break error,
        };
        match keep_in_session(&client, &path, &mut target, &publish).await {
            Ok(()) => break Error::Closed,
            Err(Error::SessionExpired) => {}
            Err(error) => break error,
        }
        publish.send_replace(State::Absent);
    };
    publish.send_replace(State::Ended(error));
}

/// Ends well when nobody wants the node any more and it is gone.
async fn keep_in_session(
    client: &Client,
    path: &str,
    target: &mut watch::Receiver<Target>,
    publish: &watch::Sender<State>,
) -> Result<(), Error> {
    loop {
        let wanted = target.borrow_and_update().clone();
        match client.create(path, &wanted.data, &CreateOptions::ephemeral()).await {
            Ok(_) => {}
            Err(error) if error.is_node_exists() => {}
            Err(error) if error.is_no_node() => {
                make_containers(client, parent(path)).await?;
                continue;
            }
            Err(error) => {
                recovered(client, error).await?;
                continue;
            }
        }
        // Whose it is, and what is in it, whichever way it came there.
        let (data, stat, watch) = match client.get_data_watch(path).await {
            Ok(found) => found,
            Err(error) if error.is_no_node() => continue,
            Err(error) => {
                recovered(client, error).await?;
                continue;
            }
        };
        let is_ours = stat.ephemeral_owner == client.session().id.0;
        if is_ours && data != wanted.data {
            let set = repeat(client, || client.set_data(path, &wanted.data, ExpectedVersion::Any));
            match set.await {
                Err(error) if !error.is_no_node() => return Err(error),
                _ => continue,
            }
        }
        publish.send_replace(if is_ours { State::Present(wanted.number) } else { State::Absent });
        tokio::select! {
            event = watch => {
                event?;
            }
            changed = target.changed() => {
                if changed.is_err() {
                    return if is_ours { remove(client, path).await } else { Ok(()) };
                }
            }
        }
    }
}
