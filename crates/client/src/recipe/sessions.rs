//! A client that is replaced by a new one when its session is lost.

use std::sync::Arc;

use tokio::sync::watch;

use super::patience::{Background, end_of, lost};
use crate::{Builder, Client, Error, State};

/// A client for as long as the process: when its session has expired, another one is begun.
///
/// Nothing of the old session is there then: its ephemeral nodes and watches are gone. The recipes that take
/// `Sessions` put back what is theirs.
///
/// ```no_run
/// # async fn example() -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::Client;
/// use oxikeeper_client::recipe::Sessions;
///
/// let sessions = Sessions::start(Client::builder("127.0.0.1:2181"))?;
/// let client = sessions.living().await?;
/// client.exists("/").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sessions {
    current: watch::Receiver<Client>,
    _renewal: Option<Arc<Background>>,
}

impl Sessions {
    /// Begins the first session in the background.
    ///
    /// # Errors
    /// If the builder's settings allow no client at all, such as a connect string that is none.
    pub fn start(builder: Builder) -> Result<Sessions, Error> {
        let (publish, current) = watch::channel(builder.clone().start()?);
        let renewal = Background::spawn(async move {
            loop {
                let client = publish.borrow().clone();
                // A client that was closed, or may not do anything here, is not replaced.
                let Error::SessionExpired = lost(&client).await else { return };
                drop(client);
                match builder.clone().start() {
                    Ok(next) => publish.send_replace(next),
                    Err(_) => return,
                };
            }
        });
        Ok(Sessions { current, _renewal: Some(Arc::new(renewal)) })
    }

    /// The client of now. Its session may just have been lost.
    pub fn client(&self) -> Client {
        self.current.borrow().clone()
    }

    /// A client whose session is not known to be lost; waits for one.
    ///
    /// # Errors
    /// If there will be none: the client was closed, or its authentication failed.
    pub async fn living(&self) -> Result<Client, Error> {
        let mut current = self.current.clone();
        loop {
            let client = current.borrow_and_update().clone();
            let State::Lost(reason) = client.state() else { return Ok(client) };
            if current.changed().await.is_err() {
                return Err(end_of(reason));
            }
        }
    }

    /// Ends the session of now, and begins no other.
    ///
    /// # Errors
    /// As [`Client::close`].
    pub async fn close(&self) -> Result<(), Error> {
        self.client().close().await
    }
}

impl From<Client> for Sessions {
    /// One session alone: what is built on it ends with it.
    fn from(client: Client) -> Sessions {
        let (_, current) = watch::channel(client);
        Sessions { current, _renewal: None }
    }
}

impl From<&Client> for Sessions {
    fn from(client: &Client) -> Sessions {
        Sessions::from(client.clone())
    }
}

impl From<&Sessions> for Sessions {
    fn from(sessions: &Sessions) -> Sessions {
        sessions.clone()
    }
}
