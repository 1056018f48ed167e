//! What a holder has in hand: whether it still holds, its token, its fence, and the way to let go.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use super::fence::{Fence, FencingToken};
use super::patience::Background;
use super::place::Place;
use crate::{Client, Error, SessionId, State};

/// How a holder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The session is connected, and the holder's node is there as far as this process can know.
    Held,
    /// The connection is in doubt. The session may come back with everything, or expire: until then
    /// do nothing that needs the hold.
    Doubtful,
    /// Over, for good: the session is gone, or somebody has removed the node.
    Lost,
}

/// A view of something that is held; any number of copies. It does not keep it held.
#[derive(Clone, Debug)]
pub struct Hold {
    client: Client,
    fence: Fence,
    session: SessionId,
    standing: watch::Receiver<Standing>,
}

impl Hold {
    /// A number that is larger than that of everybody who held before.
    pub fn token(&self) -> FencingToken {
        self.fence.token()
    }

    /// Writes that the server refuses once this holder is none any more.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The node that stands for this holder.
    pub fn path(&self) -> &str {
        self.fence.path()
    }

    /// How the holder stands, by everything that this process can know now.
    ///
    /// A session that has been silent for its whole timeout, by this process's monotonic clock, is in doubt, whatever else is
    /// known: so a process that was stopped sees it at once. (The clock stands while the machine
    /// is suspended; only the fence helps there.)
    pub fn standing(&self) -> Standing {
        let standing = *self.standing.borrow();
        if standing != Standing::Held {
            return standing;
        }
        match self.client.state() {
            State::Lost(_) => Standing::Lost,
            State::Connected if self.client.silence() < self.client.session().timeout => {
                Standing::Held
            }
            _ => Standing::Doubtful,
        }
    }

    /// Whether it is held without doubt. See [`fence`](super::fence) for what this cannot promise.
    pub fn is_valid(&self) -> bool {
        self.standing() == Standing::Held
    }

    /// Ends as soon as it is not held without doubt, and says how it stands then. After
    /// [`Standing::Doubtful`] it may be held again: see [`settled`](Self::settled).
    pub async fn lost(&self) -> Standing {
        let mut standing = self.standing.clone();
        loop {
            let now = *standing.borrow_and_update();
            if now != Standing::Held {
                return now;
            }
            if standing.changed().await.is_err() {
                // Whoever looked has ended: it was released.
                return Standing::Lost;
            }
        }
    }

    /// Ends when there is no doubt (any more): `Held` or `Lost`.
    pub async fn settled(&self) -> Standing {
        let mut standing = self.standing.clone();
        loop {
            let now = *standing.borrow_and_update();
            if now != Standing::Doubtful {
                return now;
            }
            if standing.changed().await.is_err() {
                return Standing::Lost;
            }
        }
    }

    /// Ends when it is over for good.
    pub async fn over(&self) {
        while self.lost().await != Standing::Lost {
            if self.settled().await == Standing::Lost {
                return;
            }
        }
    }

    /// The session that it belongs to.
    pub fn session(&self) -> SessionId {
        self.session
    }
}

/// Something that is held until it is released or dropped.
///
/// Dropped, it is released in the background as soon as a server can be reached; [`release`](Self::release) waits for that.
#[derive(Debug)]
#[must_use = "what is held is released when its guard is dropped"]
pub struct Guard {
    hold: Hold,
    owner: Arc<Owner>,
}

/// What keeps it held: shared by the guards of a reentrant lock.
#[derive(Debug)]
pub(super) struct Owner {
    /// Before the place: nobody is to think that it is held while its node is removed.
    over: Over,
    place: Place,
    hold: Hold,
    _follower: Background,
}

/// Says to all views that it is over, when it is let go.
#[derive(Debug)]
struct Over(Arc<watch::Sender<Standing>>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.send_replace(Standing::Lost);
    }
}

impl Guard {
    /// The place has come to its turn.
    pub(super) fn new(place: Place) -> Guard {
        let client = place.client().clone();
        let fence = Fence::new(&client, place.path(), FencingToken::new(place.czxid()));
        let (publish, standing) = watch::channel(Standing::Held);
        let over = Over(Arc::new(publish));
        let session = client.session().id;
        let follower =
            Background::spawn(follow(client.clone(), place.path().to_owned(), Arc::clone(&over.0)));
        let hold = Hold { client, fence, session, standing };
        Guard {
            hold: hold.clone(),
            owner: Arc::new(Owner { over, place, hold, _follower: follower }),
        }
    }

    /// Another guard of the same hold.
    pub(super) fn share(owner: Arc<Owner>) -> Guard {
        Guard { hold: owner.hold.clone(), owner }
    }

    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// A view to hand out.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// Lets go, and waits until the others can see it. A reentrant lock is let go with its last guard.
    ///
    /// # Errors
    /// The server's refusal. A lost session is none: what it held is gone, or goes with its expiry.
    pub async fn release(self) -> Result<(), Error> {
        match Arc::into_inner(self.owner) {
            Some(owner) => {
                drop(owner.over);
                owner.place.leave().await
            }
            None => Ok(()),
        }
    }
}

impl Deref for Guard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}

/// Publishes how a holder stands until it is over.
async fn follow(client: Client, path: String, publish: Arc<watch::Sender<Standing>>) {
    let mut states = client.states();
    // The stream begins with the state of now, which the first look at the node shows as well.
    states.next().await;
    let mut watch = None;
    loop {
        if watch.is_none() && client.state() == State::Connected {
            match client.get_data_watch(&path).await {
                Ok((_, _, own)) => {
                    watch = Some(own);
                    set(&publish, Standing::Held);
                }
                Err(error) if error.is_no_node() => {
                    set(&publish, Standing::Lost);
                    return;
                }
                // The state says what comes of it.
                Err(_) => {}
            }
        }
        let standing = tokio::select! {
            state = states.next() => match state {
                Some(State::Connected) => Standing::Held,
                Some(State::Lost(_)) | None => Standing::Lost,
                Some(_) => Standing::Doubtful,
            },
            event = async { watch.as_mut().expect("guarded below").await }, if watch.is_some() => {
                watch = None;
                match event {
                    // What has happened to the node is seen by the next look.
                    Ok(_) => continue,
                    Err(_) => Standing::Lost,
                }
            }
        };
        match standing {
            // Only when the node has been seen: it may have been removed meanwhile.
            Standing::Held => watch = None,
            other => set(&publish, other),
        }
        if standing == Standing::Lost {
            return;
        }
    }
}

/// What is over stays so: it may have been let go meanwhile.
fn set(publish: &watch::Sender<Standing>, standing: Standing) {
    publish.send_if_modified(|now| {
        let changes = *now != Standing::Lost && *now != standing;
        if changes {
            *now = standing;
        }
        changes
    });
}
