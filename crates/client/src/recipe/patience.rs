//! Waiting for a connection, and repeating what may be repeated: shared by all recipes.

use std::time::Duration;

use oxikeeper_proto::path;

use crate::{Client, CreateOptions, Error, LostReason, Reply, State};

/// Waits until the client is connected to a server that takes writes.
///
/// # Errors
/// Once its session is lost.
pub async fn connected(client: &Client) -> Result<(), Error> {
    let mut states = client.states();
    while let Some(state) = states.next().await {
        match state {
            State::Connected => return Ok(()),
            State::Lost(reason) => return Err(end_of(reason)),
            State::Connecting | State::ReadOnly | State::Suspended => {}
        }
    }
    Err(Error::Closed)
}

/// What requests are answered with once the session is lost.
pub(super) fn end_of(reason: LostReason) -> Error {
    match reason {
        LostReason::Expired => Error::SessionExpired,
        LostReason::AuthFailed => Error::AuthFailed,
        LostReason::Closed => Error::Closed,
    }
}

/// Waits until the session is lost, and says why.
pub(super) async fn lost(client: &Client) -> Error {
    let mut states = client.states();
    while let Some(state) = states.next().await {
        if let State::Lost(reason) = state {
            return end_of(reason);
        }
    }
    Error::Closed
}

/// Between two tries that a connected server has refused for the moment.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until it is worth to try again what failed with `error`.
///
/// # Errors
/// The same error if it is not; the loss of the session.
pub(super) async fn recovered(client: &Client, error: Error) -> Result<(), Error> {
    match error {
        Error::ConnectionLoss { .. } => {}
        error if error.is_retryable() => tokio::time::sleep(RETRY_INTERVAL).await,
        error => return Err(error),
    }
    connected(client).await
}

/// Does what may be done twice until a server has answered.
///
/// # Errors
/// The server's refusal, or the loss of the session.
pub(super) async fn repeat<T>(
    client: &Client,
    operation: impl Fn() -> Reply<T>,
) -> Result<T, Error> {
    loop {
        match operation().await {
            Ok(done) => return Ok(done),
            Err(error) => recovered(client, error).await?,
        }
    }
}

/// Deletes a node for certain; it may be gone already.
pub(super) async fn remove(client: &Client, path: &str) -> Result<(), Error> {
    match repeat(client, || client.delete(path, crate::ExpectedVersion::Any)).await {
        Err(error) if error.is_no_node() => Ok(()),
        outcome => outcome,
    }
}

/// Makes a directory and those above it, of nodes that the server removes when they are empty again.
/// A server before 3.5 knows no such nodes; there they stay.
pub(super) async fn make_containers(client: &Client, path: &str) -> Result<(), Error> {
    match make(client, path, &CreateOptions::container()).await {
        Err(error) if error.is_unimplemented() => make_dirs(client, path).await,
        outcome => outcome,
    }
}

/// Makes a directory and those above it, to stay.
pub(super) async fn make_dirs(client: &Client, path: &str) -> Result<(), Error> {
    make(client, path, &CreateOptions::persistent()).await
}

async fn make(client: &Client, path: &str, options: &CreateOptions) -> Result<(), Error> {
    // From the node upwards as far as something lacks, then down again.
    let mut missing = vec![path];
    while let Some(&at) = missing.last() {
        if at == path::ROOT {
            return Ok(());
        }
        match repeat(client, || client.create(at, b"", options)).await {
            Ok(_) => {
                missing.pop();
            }
            Err(error) if error.is_node_exists() => {
                missing.pop();
            }
            Err(error) if error.is_no_node() => missing.push(path::parent(at)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A child's path, also below the root.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir == path::ROOT { format!("/{name}") } else { format!("{dir}/{name}") }
}

/// The name of a node.
pub(super) fn name_of(path: &str) -> &str {
    path::split(path).map_or(path, |(_, name)| name)
}

/// Follows a watch channel until something holds.
///
/// # Errors
/// `Closed` when whoever publishes has ended.
pub(super) async fn until<T, R>(
    mut receiver: tokio::sync::watch::Receiver<T>,
    look: impl Fn(&T) -> Option<R>,
) -> Result<R, Error> {
    loop {
        if let Some(found) = look(&receiver.borrow_and_update()) {
            return Ok(found);
        }
        receiver.changed().await.map_err(|_| Error::Closed)?;
    }
}

/// A task that ends when its handle is dropped.
#[derive(Debug)]
pub(super) struct Background(tokio::task::AbortHandle);

impl Background {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Background {
        Background(tokio::spawn(task).abort_handle())
    }

    /// Lets it come to its end by itself.
    pub(super) fn detach(self) {
        std::mem::forget(self);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_the_root_have_one_slash() {
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a", "b"), "/a/b");
        assert_eq!(name_of("/a/b"), "b");
        assert_eq!(name_of("/a"), "a");
    }
}
