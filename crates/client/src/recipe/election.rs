//! Leader election: of all that take part, one leads.
//!
//! Two styles, as in Curator. A [`Latch`] leads until it is closed or dies. A [`Selector`] leads for the length of a function,
//! then lets the next one.
//!
//! **Guarantees.** Those of [`Lock`](super::Lock): at any point of the ensemble's history at most one participant is first in line; each
//! leader's [token](super::FencingToken) is larger than the one before. Leadership that is in doubt is so at once: the latch's
//! [`Hold`] says so, the selector's function is dropped at its next await.
//!
//! **Does not.** A leader that was stopped does not know that it is none: what a leader writes it writes under its
//! [fence](super::fence).
//!
//! **Layout.** Latch: `PATH/_c_GUID-latch-0000000000` with the participant's id as data, as Curator's `LeaderLatch`. Selector:
//! `PATH/_c_GUID-lock-0000000000`, as Curator's `LeaderSelector`. The two do not mix at one path.

use std::ops::ControlFlow;

use tokio::sync::watch;

use super::guard::{Guard, Hold, Standing};
use super::line;
use super::patience::{Background, join, repeat, until};
use super::place::Place;
use super::sessions::Sessions;
use super::{FencingToken, lock};
use crate::{Client, Error};

const LATCH: &str = "latch-";

/// Takes part in an election, and leads from the day it is elected until it is closed. When the session expires it
/// takes part again from the end of the line.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Latch;
///
/// let latch = Latch::start(&client, "/leader", "node-1");
/// loop {
///     let leadership = latch.leadership().await?;
///     while leadership.is_valid() {
///         let work = leadership.fence().transaction().set_data("/state", b"...", -1).commit();
///         tokio::select! {
///             outcome = work => drop(outcome?),
///             _ = leadership.lost() => {}
///         }
///     }
///     leadership.settled().await;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Latch {
    sessions: Sessions,
    path: String,
    state: watch::Receiver<LatchState>,
    close: watch::Sender<bool>,
    _task: Background,
}

#[derive(Debug)]
enum LatchState {
    Waiting,
    Leading(Hold),
    /// It takes part no longer, for this reason.
    Ended(Error),
}

impl Latch {
    /// Takes part from now on, in the background. `id` is for the others to read.
    pub fn start(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        id: impl Into<Vec<u8>>,
    ) -> Latch {
        let (sessions, path, id) = (sessions.into(), path.into(), id.into());
        let (publish, state) = watch::channel(LatchState::Waiting);
        let (close, closing) = watch::channel(false);
        let task =
            Background::spawn(take_part(sessions.clone(), path.clone(), id, publish, closing));
        Latch { sessions, path, state, close, _task: task }
    }

    /// Waits until this participant leads without doubt.
    ///
    /// # Errors
    /// If it takes part no longer: closed, its session lost (and not replaced), or refused by the server.
    pub async fn leadership(&self) -> Result<Hold, Error> {
        loop {
            let hold = until(self.state.clone(), |state| match state {
                LatchState::Waiting => None,
                LatchState::Leading(hold) => Some(Ok(hold.clone())),
                LatchState::Ended(error) => Some(Err(error.clone())),
            })
            .await??;
            match hold.standing() {
                Standing::Held => return Ok(hold),
                // It is settled once the client has heard from a server.
                _ => tokio::task::yield_now().await,
            }
            if hold.settled().await == Standing::Held && !hold.is_valid() {
                super::patience::connected(&self.sessions.client()).await?;
            }
        }
    }

    /// Whether this participant leads without doubt.
    pub fn is_leader(&self) -> bool {
        matches!(&*self.state.borrow(), LatchState::Leading(hold) if hold.is_valid())
    }

    /// The token of this participant's leadership, if it leads.
    pub fn token(&self) -> Option<FencingToken> {
        match &*self.state.borrow() {
            LatchState::Leading(hold) if hold.is_valid() => Some(hold.token()),
            _ => None,
        }
    }

    /// The ids of all participants in their order; the first leads.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn participants(&self) -> Result<Vec<Vec<u8>>, Error> {
        participants(&self.sessions.living().await?, &self.path, LATCH).await
    }

    /// Takes part no longer, and waits until the others can see it.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn close(self) -> Result<(), Error> {
        self.close.send_replace(true);
        let ended = until(self.state.clone(), |state| match state {
            LatchState::Ended(Error::Closed | Error::SessionExpired) => Some(Ok(())),
            LatchState::Ended(error) => Some(Err(error.clone())),
            _ => None,
        });
        ended.await?
    }
}

async fn take_part(
    sessions: Sessions,
    path: String,
    id: Vec<u8>,
    publish: watch::Sender<LatchState>,
    mut closing: watch::Receiver<bool>,
) {
    let error = loop {
        let term = tokio::select! {
            term = lead(&sessions, &path, LATCH, &id) => term,
            () = closed(&mut closing) => break Error::Closed,
        };
        let guard = match term {
            Ok(guard) => guard,
            // With the next session, if there is one; `lead` says if not. Or somebody removed our node.
            Err(Error::SessionExpired) if sessions.living().await.is_ok() => continue,
            Err(error) if error.is_no_node() => continue,
            Err(error) => break error,
        };
        publish.send_replace(LatchState::Leading(guard.hold()));
        tokio::select! {
            () = guard.over() => {}
            () = closed(&mut closing) => {
                break guard.release().await.err().unwrap_or(Error::Closed);
            }
        }
        publish.send_replace(LatchState::Waiting);
    };
    publish.send_replace(LatchState::Ended(error));
}

/// Ends when the latch is to be closed; a handle that is dropped ends the task itself.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // The guard of the value does not leave this function.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Waits in line, and leads.
async fn lead(sessions: &Sessions, path: &str, kind: &str, id: &[u8]) -> Result<Guard, Error> {
    let client = sessions.living().await?;
    let place = Place::take(&client, path, kind, id).await?;
    line::turn(&place, &[kind], line::predecessor).await?;
    Ok(Guard::new(place))
}

async fn participants(client: &Client, path: &str, kind: &str) -> Result<Vec<Vec<u8>>, Error> {
    let names = match repeat(client, || client.get_children(path)).await {
        Err(error) if error.is_no_node() => return Ok(Vec::new()),
        names => names?,
    };
    let mut ids = Vec::new();
    for contender in line::contenders(&names, &[kind]) {
        let path = join(path, &contender.name);
        match repeat(client, || client.get_data(&path)).await {
            Ok((id, _)) => ids.push(id),
            // It has left meanwhile.
            Err(error) if error.is_no_node() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}

/// Leads by turns: when elected a function runs, and when it returns the next participant leads.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use std::ops::ControlFlow;
/// use oxikeeper_client::recipe::Selector;
///
/// let selector = Selector::new(&client, "/leader", "node-1");
/// let outcome: &str = selector
///     .run(|leadership| async move {
///         println!("leading with token {}", leadership.token());
///         ControlFlow::Break("done")
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Selector {
    sessions: Sessions,
    path: String,
    id: Vec<u8>,
}

impl Selector {
    /// A participant; nothing is sent yet.
    pub fn new(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        id: impl Into<Vec<u8>>,
    ) -> Selector {
        Selector { sessions: sessions.into(), path: path.into(), id: id.into() }
    }

    /// Takes part until the function breaks. It runs each time this participant is elected, and is dropped at
    /// its next await when the leadership is in doubt; either way the next participant leads then, and this one is at the
    /// end of the line.
    ///
    /// # Errors
    /// If it can take part no longer: the session is lost and not replaced, or the server refuses.
    pub async fn run<T, F: Future<Output = ControlFlow<T>>>(
        &self,
        mut lead_with: impl FnMut(Hold) -> F,
    ) -> Result<T, Error> {
        loop {
            let guard = match lead(&self.sessions, &self.path, lock::KIND, &self.id).await {
                Ok(guard) => guard,
                Err(Error::SessionExpired) => {
                    self.sessions.living().await?;
                    continue;
                }
                Err(error) if error.is_no_node() => continue,
                Err(error) => return Err(error),
            };
            let flow = tokio::select! {
                flow = lead_with(guard.hold()) => Some(flow),
                _ = guard.lost() => None,
            };
            let released = guard.release().await;
            match flow {
                Some(ControlFlow::Break(value)) => return Ok(value),
                _ => released?,
            }
        }
    }

    /// The ids of all participants in their order; the first leads.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn participants(&self) -> Result<Vec<Vec<u8>>, Error> {
        participants(&self.sessions.living().await?, &self.path, lock::KIND).await
    }
}
