//! The body of an answer: a text, or a file that is read as fast as the peer takes it.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Bytes of a file that are in memory at a time.
const FILE_STEP_BYTES: u64 = 64 * 1024;

/// See the module's head.
pub enum AnswerBody {
    /// A text, until it is taken.
    Text(Option<Bytes>),
    /// A file, and how much of it is left.
    File(File, u64),
}

impl AnswerBody {
    /// A text.
    pub fn text(text: impl Into<Bytes>) -> AnswerBody {
        let text = text.into();
        AnswerBody::Text(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match self.get_mut() {
            AnswerBody::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
            AnswerBody::File(_, 0) => None,
            AnswerBody::File(file, left) => {
                let step = FILE_STEP_BYTES.min(*left);
                *left -= step;
                let mut bytes = vec![0; step as usize];
                Some(file.read_exact(&mut bytes).map(|()| Frame::data(bytes.into())))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, AnswerBody::Text(None) | AnswerBody::File(_, 0))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            AnswerBody::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            AnswerBody::File(_, left) => *left,
        })
    }
}
