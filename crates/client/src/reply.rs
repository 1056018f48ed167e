//! The reply of an operation, to be awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::session::Answer;
use crate::{Error, OneShotWatch, WatchStream};

/// What comes with an answer: the watch that a request has left.
#[derive(Debug)]
pub(crate) enum Extra {
    None,
    OneShot(OneShotWatch),
    Stream(WatchStream),
}

type Convert<T> = fn(Answer, Extra) -> Option<T>;

/// The future of an operation that is on its way already: its place in the order of the session was
/// taken when it was called. Dropping it does not take the operation back.
#[must_use = "the operation is on its way; await its outcome, or drop it on purpose"]
pub struct Reply<T> {
    receiver: oneshot::Receiver<Result<Answer, Error>>,
    extra: Option<Extra>,
    convert: Convert<T>,
}

impl<T> Reply<T> {
    pub(crate) fn new(
        receiver: oneshot::Receiver<Result<Answer, Error>>,
        extra: Extra,
        convert: Convert<T>,
    ) -> Reply<T> {
        Reply { receiver, extra: Some(extra), convert }
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match Pin::new(&mut self.receiver).poll(cx) {
            Poll::Pending => return Poll::Pending,
            // The task that would have answered is gone, with its runtime.
            Poll::Ready(Err(_)) => Err(Error::Closed),
            Poll::Ready(Ok(result)) => result,
        };
        let extra = self.extra.take().unwrap_or(Extra::None);
        let mismatch = Error::BadReply("the answer of another operation");
        Poll::Ready(result.and_then(|answer| (self.convert)(answer, extra).ok_or(mismatch)))
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}
