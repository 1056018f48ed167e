//! Watches: what a client is told of changes.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use parking_lot::Mutex;

use crate::session::WatchId;
use crate::shared::Shared;
use crate::{Error, EventKind, State, WatchedEvent};

/// Where the events of one watch gather.
#[derive(Clone)]
pub(crate) struct Inbox {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<WatchedEvent>,
    max: usize,
    /// Why nothing more will come.
    end: Option<Error>,
    waker: Option<Waker>,
}

impl Inbox {
    pub fn new(max: usize) -> Inbox {
        Inbox { inner: Arc::new(Mutex::new(Inner { max, ..Inner::default() })) }
    }

    pub fn see(&self, event: WatchedEvent) {
        let mut inner = self.inner.lock();
        if inner.events.len() >= inner.max.max(1) {
            // The reader has to look anew; what it would have been told before that is of no use.
            inner.events.clear();
            inner.events.push_back(WatchedEvent {
                kind: EventKind::Overflow,
                zxid: None,
                ..event.clone()
            });
        }
        inner.events.push_back(event);
        wake(inner);
    }

    pub fn end(&self, error: Error) {
        let mut inner = self.inner.lock();
        inner.end = Some(error);
        wake(inner);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<WatchedEvent, Error>> {
        let mut inner = self.inner.lock();
        if let Some(event) = inner.events.pop_front() {
            return Poll::Ready(Ok(event));
        }
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone()));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes the reader, without the lock.
fn wake(mut inner: parking_lot::MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A watch that is taken back when it is dropped.
struct Handle {
    inbox: Inbox,
    shared: Arc<Shared>,
    id: Option<WatchId>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shared.drop_watch(id);
        }
    }
}

/// One change of a node, once: of [`get_data_watch`](crate::Client::get_data_watch) and its like. It
/// survives changes of the server; what happened in between is told then. It ends with an error only
/// when the session does, or when it is removed. Dropping it is fine.
pub struct OneShotWatch {
    handle: Handle,
}

impl OneShotWatch {
    pub(crate) fn new(inbox: Inbox, shared: Arc<Shared>, id: Option<WatchId>) -> OneShotWatch {
        OneShotWatch { handle: Handle { inbox, shared, id } }
    }
}

impl Future for OneShotWatch {
    type Output = Result<WatchedEvent, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let seen = self.handle.inbox.poll(cx);
        if seen.is_ready() {
            // The session has forgotten it already.
            self.handle.id = None;
        }
        seen
    }
}

impl fmt::Debug for OneShotWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShotWatch").field("id", &self.handle.id).finish_non_exhaustive()
    }
}

/// All changes of a node or a subtree, in order: of [`add_watch`](crate::Client::add_watch).
///
/// What happens while no server is connected is not told. The stream carries an event of kind
/// [`EventKind::Session`] when the connection is lost and another when it is back: whoever keeps a copy
/// of the nodes reads them anew then. It ends when the session is lost or the watch removed. Dropping
/// it takes the watch back.
///
/// Events wait here for a slow reader, up to [`events_max`](crate::Limits::events_max); beyond that
/// they are thrown away and [`EventKind::Overflow`] says so.
pub struct WatchStream {
    handle: Handle,
    end: Option<Error>,
}

impl WatchStream {
    pub(crate) fn new(inbox: Inbox, shared: Arc<Shared>, id: Option<WatchId>) -> WatchStream {
        WatchStream { handle: Handle { inbox, shared, id }, end: None }
    }

    /// The next event; `None` when there will be none.
    pub async fn next(&mut self) -> Option<WatchedEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Why the stream has ended.
    pub fn end(&self) -> Option<&Error> {
        self.end.as_ref()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchedEvent>> {
        self.handle.inbox.poll(cx).map(|seen| match seen {
            Ok(event) => Some(event),
            Err(end) => {
                self.end = Some(end);
                self.handle.id = None;
                None
            }
        })
    }
}

impl Stream for WatchStream {
    type Item = WatchedEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchedEvent>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").field("id", &self.handle.id).finish_non_exhaustive()
    }
}

/// The state of a client, and whoever waits for another.
#[derive(Debug)]
pub(crate) struct StateCell {
    inner: Mutex<StateInner>,
}

#[derive(Debug)]
struct StateInner {
    state: State,
    version: u64,
    wakers: Vec<Waker>,
}

impl StateCell {
    pub fn new() -> StateCell {
        let inner = StateInner { state: State::Connecting, version: 1, wakers: Vec::new() };
        StateCell { inner: Mutex::new(inner) }
    }

    pub fn get(&self) -> State {
        self.inner.lock().state
    }

    pub fn set(&self, state: State) {
        let mut inner = self.inner.lock();
        inner.state = state;
        inner.version += 1;
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The state, if it is another than that of this version.
    pub fn poll(&self, seen: &mut u64, cx: &mut Context<'_>) -> Poll<State> {
        let mut inner = self.inner.lock();
        if inner.version != *seen {
            *seen = inner.version;
            return Poll::Ready(inner.state);
        }
        if !inner.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
