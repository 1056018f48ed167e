//! What the handles of a client and its task share: the session, behind a lock that is held for the
//! encoding of one request or the decoding of one read from the socket.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use oxikeeper_proto::time::Now;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::reply::{Extra, Reply};
use crate::session::{Answer, Output, Request, Session, WatchId};
use crate::watch::{Inbox, OneShotWatch, StateCell, WatchStream};
use crate::{Error, SessionInfo, State};

pub(crate) type Call = oneshot::Sender<Result<Answer, Error>>;
pub(crate) type Said = Output<Call, Inbox>;

/// See the module.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub states: StateCell,
    start: Instant,
    events_max: usize,
}

pub(crate) struct Core {
    pub session: Session<Call, Inbox>,
    /// The task, while it sleeps with nothing to send.
    pub sleeper: Option<Waker>,
}

impl Shared {
    pub fn new(session: Session<Call, Inbox>, events_max: usize) -> Shared {
        Shared {
            core: Mutex::new(Core { session, sleeper: None }),
            states: StateCell::new(),
            start: Instant::now(),
            events_max,
        }
    }

    pub fn now(&self) -> Now {
        Now::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// The moment of this time.
    pub fn instant(&self, at: Now) -> Instant {
        self.start + at.since(Now::default())
    }

    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Does something with the session; then hands out what it said, and wakes the task for the rest.
    fn with<T>(&self, act: impl FnOnce(&mut Session<Call, Inbox>, Now) -> T) -> T {
        let now = self.now();
        let mut core = self.lock();
        let result = act(&mut core.session, now);
        let mut said = Vec::new();
        if core.session.has_said() {
            self.drain(&mut core, &mut said);
        }
        let sleeper = core.sleeper.take();
        drop(core);
        self.hand_out(said);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        result
    }

    /// Takes what the session has said, to be [handed out](Self::hand_out) without the lock. The state is set
    /// at once: no other thread can set an older one behind it, and whoever gets an answer finds the state
    /// that came with it.
    pub fn drain(&self, core: &mut Core, said: &mut Vec<Said>) {
        core.session.drain(said);
        said.retain(|output| {
            let Output::State(state) = output else { return true };
            self.states.set(*state);
            false
        });
    }

    /// Gives everybody what the session has said for him.
    pub fn hand_out(&self, said: impl IntoIterator<Item = Said>) {
        for output in said {
            match output {
                // Whoever has dropped the future does not want to know.
                Output::Answered(call, result) => drop(call.send(result)),
                Output::Seen(inbox, event) => inbox.see(event),
                Output::Ended(inbox, error) => inbox.end(error),
                Output::State(_) => unreachable!("set when it was drained"),
            }
        }
    }

    /// Sends a request.
    pub fn call<T>(
        self: &Arc<Self>,
        request: &Request<'_>,
        convert: fn(Answer, Extra) -> Option<T>,
    ) -> Reply<T> {
        let (sender, receiver) = oneshot::channel();
        self.with(|session, now| session.call(request, sender, None, now));
        Reply::new(receiver, Extra::None, convert)
    }

    /// Sends a request that leaves a watch.
    pub fn call_watching<T>(
        self: &Arc<Self>,
        request: &Request<'_>,
        convert: fn(Answer, Extra) -> Option<T>,
    ) -> Reply<T> {
        let (sender, receiver) = oneshot::channel();
        let inbox = Inbox::new(self.events_max);
        let id = self.with(|session, now| session.call(request, sender, Some(inbox.clone()), now));
        let extra = match request {
            Request::AddWatch { .. } => Extra::Stream(WatchStream::new(inbox, self.clone(), id)),
            _ => Extra::OneShot(OneShotWatch::new(inbox, self.clone(), id)),
        };
        Reply::new(receiver, extra, convert)
    }

    pub fn drop_watch(&self, id: WatchId) {
        self.with(|session, now| session.drop_watch(id, now));
    }

    pub fn abandon(&self) {
        self.with(|session, _| session.abandon());
    }

    pub fn silence(&self) -> std::time::Duration {
        let proven = self.lock().session.proven();
        self.now().since(proven)
    }

    pub fn info(&self) -> SessionInfo {
        self.lock().session.info()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.states.get()).finish_non_exhaustive()
    }
}

/// The states of a client, beginning with the present one. A slow reader misses states in between, never
/// the last. It ends behind [`State::Lost`].
#[derive(Debug)]
pub struct StateStream {
    shared: Arc<Shared>,
    seen: u64,
    is_over: bool,
}

impl StateStream {
    pub(crate) fn new(shared: Arc<Shared>) -> StateStream {
        StateStream { shared, seen: 0, is_over: false }
    }

    /// The next state; `None` behind the last one.
    pub async fn next(&mut self) -> Option<State> {
        std::future::poll_fn(|cx| self.poll_state(cx)).await
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Option<State>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let state = self.shared.states.poll(&mut self.seen, cx);
        if let Poll::Ready(State::Lost(_)) = state {
            self.is_over = true;
        }
        state.map(Some)
    }
}

impl Stream for StateStream {
    type Item = State;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<State>> {
        self.poll_state(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::OnceLock;
    use std::task::Wake;

    use super::*;
    use crate::LostReason;
    use crate::session::Config;

    /// Notes the client's state at the moment of being woken.
    struct Witness {
        shared: Arc<Shared>,
        state: OnceLock<State>,
    }

    impl Wake for Witness {
        fn wake(self: Arc<Self>) {
            let _ = self.state.set(self.shared.states.get());
        }
    }

    #[test]
    fn who_hears_that_he_has_closed_finds_the_client_closed() {
        let shared = Arc::new(Shared::new(Session::new(Config::of_tests(), 1), 16));
        let mut close =
            shared.call(&Request::Close, |answer, _| (answer == Answer::Done).then_some(()));
        let witness = Arc::new(Witness { shared: shared.clone(), state: OnceLock::new() });
        let waker = Waker::from(witness.clone());
        assert!(Pin::new(&mut close).poll(&mut Context::from_waker(&waker)).is_pending());
        shared.abandon();
        assert_eq!(witness.state.get(), Some(&State::Lost(LostReason::Closed)));
    }
}
