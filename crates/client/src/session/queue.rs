//! The requests without a reply, in the order of their calls, and their bytes.
//!
//! Bytes are gathered in chunks. A chunk goes out in one write; its bytes are kept until the
//! last of its requests is answered, so that reads can be sent again without having been
//! copied. A chunk that is done with is used for later ones.

use std::collections::VecDeque;
use std::sync::Arc;

use oxikeeper_proto::time::Now;

use super::request::Expect;
use super::watches::WatchId;
use crate::{Error, Outcome};

/// A chunk this large takes no further request.
const CHUNK_BYTES: usize = 64 << 10;
/// Nor does one of so many.
const CHUNK_REQUESTS: usize = 128;
/// Buffers kept for later.
const SPARE_MAX: usize = 8;

/// A request without a reply.
pub(crate) struct Pending<C> {
    pub xid: i32,
    pub expect: Expect,
    /// Whom to answer; nobody, for what the session asks on its own.
    pub call: Option<C>,
    pub watch: Option<WatchId>,
    pub called: Now,
    pub is_idempotent: bool,
    /// How often it was sent on connections that broke.
    pub losses: u32,
    /// Bytes of its frame.
    pub length: usize,
}

struct Chunk {
    bytes: Vec<u8>,
    requests: usize,
}

struct SentChunk {
    bytes: Arc<Vec<u8>>,
    /// How many of its requests have no reply.
    unanswered: usize,
    /// Where the first of those begins.
    offset: usize,
}

/// See the module.
pub(crate) struct Queue<C> {
    requests: VecDeque<Pending<C>>,
    /// How many of them, from the front, were sent.
    sent: usize,
    sent_chunks: VecDeque<SentChunk>,
    chunks: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

/// What becomes of a request when its connection breaks or its time is over.
pub(crate) enum Fate {
    Stays,
    Fails(Outcome),
    /// Goes without an answer.
    Vanishes,
}

impl<C> Queue<C> {
    pub fn new() -> Queue<C> {
        Queue {
            requests: VecDeque::new(),
            sent: 0,
            sent_chunks: VecDeque::new(),
            chunks: VecDeque::new(),
            spare: Vec::new(),
            bytes: 0,
        }
    }

    /// Requests without a reply.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest request that was not sent.
    pub fn first_unsent(&self) -> Option<&Pending<C>> {
        self.requests.get(self.sent)
    }

    /// Appends a request; `encode` appends its frame.
    pub fn push(
        &mut self,
        mut pending: Pending<C>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), (Pending<C>, Error)> {
        let is_full =
            |chunk: &Chunk| chunk.bytes.len() >= CHUNK_BYTES || chunk.requests >= CHUNK_REQUESTS;
        if self.chunks.back().is_none_or(is_full) {
            let bytes = self.spare.pop().unwrap_or_default();
            self.chunks.push_back(Chunk { bytes, requests: 0 });
        }
        let chunk = self.chunks.back_mut().expect("one was pushed if there was none");
        let start = chunk.bytes.len();
        if let Err(error) = encode(&mut chunk.bytes) {
            chunk.bytes.truncate(start);
            if chunk.requests == 0 {
                self.spare.extend(self.chunks.pop_back().map(|chunk| chunk.bytes));
            }
            return Err((pending, error));
        }
        chunk.requests += 1;
        pending.length = chunk.bytes.len() - start;
        self.bytes += pending.length;
        self.requests.push_back(pending);
        Ok(())
    }

    /// The next chunk to send, if not more than `in_flight_max` requests are then on their way.
    pub fn take(&mut self, in_flight_max: usize) -> Option<Arc<Vec<u8>>> {
        let requests = self.chunks.front()?.requests;
        if self.sent > 0 && self.sent + requests > in_flight_max {
            return None;
        }
        let chunk = self.chunks.pop_front()?;
        let bytes = Arc::new(chunk.bytes);
        self.sent += requests;
        self.sent_chunks.push_back(SentChunk {
            bytes: bytes.clone(),
            unanswered: requests,
            offset: 0,
        });
        Some(bytes)
    }

    /// The oldest request on its way: the one that the next reply answers.
    pub fn oldest_sent(&self) -> Option<&Pending<C>> {
        if self.sent == 0 { None } else { self.requests.front() }
    }

    /// Takes the oldest request on its way.
    pub fn answered(&mut self) -> Option<Pending<C>> {
        if self.sent == 0 {
            return None;
        }
        let pending = self.requests.pop_front()?;
        self.sent -= 1;
        self.bytes -= pending.length;
        let chunk = self.sent_chunks.front_mut().expect("a request on its way is in a chunk");
        chunk.unanswered -= 1;
        chunk.offset += pending.length;
        if chunk.unanswered == 0 {
            let done = self.sent_chunks.pop_front().map(|chunk| chunk.bytes);
            // Whoever writes it may hold it still; then it is simply let go.
            if let Some(mut bytes) = done.and_then(|bytes| Arc::try_unwrap(bytes).ok())
                && self.spare.len() < SPARE_MAX
                && bytes.capacity() <= 2 * CHUNK_BYTES
            {
                bytes.clear();
                self.spare.push(bytes);
            }
        }
        Some(pending)
    }

    /// Decides about every request; those that stay are unsent again. `judge` gets each in order, and
    /// whether it was sent.
    pub fn sift(
        &mut self,
        mut judge: impl FnMut(&mut Pending<C>, bool) -> Fate,
        mut fail: impl FnMut(Pending<C>, Outcome),
    ) {
        let old = std::mem::replace(self, Queue::new());
        let frames = Frames::new(&old.sent_chunks, &old.chunks);
        let mut requests = old.requests;
        for (index, frame) in (0..requests.len()).zip(frames) {
            let Some(mut pending) = requests.pop_front() else { break };
            match judge(&mut pending, index < old.sent) {
                Fate::Stays => {
                    let bytes = &frame[..pending.length];
                    let copied = self.push(pending, |out| {
                        out.extend_from_slice(bytes);
                        Ok(())
                    });
                    debug_assert!(copied.is_ok(), "copying does not fail");
                }
                Fate::Fails(outcome) => fail(pending, outcome),
                Fate::Vanishes => {}
            }
        }
    }

    /// Takes every request.
    pub fn drain(&mut self) -> impl Iterator<Item = Pending<C>> {
        std::mem::replace(self, Queue::new()).requests.into_iter()
    }
}

/// The frames of the requests, in order.
struct Frames<'q> {
    chunks: Vec<&'q [u8]>,
    at: usize,
}

impl<'q> Frames<'q> {
    fn new(sent: &'q VecDeque<SentChunk>, unsent: &'q VecDeque<Chunk>) -> Frames<'q> {
        let sent = sent.iter().map(|chunk| &chunk.bytes[chunk.offset..]);
        let unsent = unsent.iter().map(|chunk| chunk.bytes.as_slice());
        Frames { chunks: sent.chain(unsent).filter(|bytes| !bytes.is_empty()).collect(), at: 0 }
    }
}

impl<'q> Iterator for Frames<'q> {
    type Item = &'q [u8];

    fn next(&mut self) -> Option<&'q [u8]> {
        let bytes = self.chunks.get_mut(self.at)?;
        let length = 4 + u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let (frame, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        if rest.is_empty() {
            self.at += 1;
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(xid: i32, is_idempotent: bool) -> Pending<i32> {
        Pending {
            xid,
            expect: Expect::Nothing,
            call: Some(xid),
            watch: None,
            called: Now::default(),
            is_idempotent,
            losses: 0,
            length: 0,
        }
    }

    fn push(queue: &mut Queue<i32>, xid: i32) {
        let pushed = queue.push(pending(xid, xid % 2 == 0), |out| {
            out.extend_from_slice(&4u32.to_be_bytes());
            out.extend_from_slice(&xid.to_be_bytes());
            Ok(())
        });
        assert!(pushed.is_ok());
    }

    #[test]
    fn the_window_holds_and_chunks_come_back() {
        let mut queue = Queue::new();
        for xid in 0..300 {
            push(&mut queue, xid);
        }
        assert_eq!(queue.bytes(), 2400);
        assert_eq!(queue.take(200).map(|bytes| bytes.len()), Some(128 * 8));
        assert!(queue.take(200).is_none(), "256 are more than 200");
        for xid in 0..56 {
            assert_eq!(queue.answered().map(|pending| pending.xid), Some(xid));
        }
        assert!(queue.take(200).is_some());
        for _ in 56..256 {
            queue.answered();
        }
        assert!(queue.answered().is_none(), "the rest was not sent");
        assert_eq!(queue.spare.len(), 2);
        assert_eq!((queue.len(), queue.bytes()), (44, 44 * 8));
    }

    #[test]
    fn what_stays_keeps_its_bytes_and_its_order() {
        let mut queue = Queue::new();
        (0..200).for_each(|xid| push(&mut queue, xid));
        queue.take(1000);
        (0..3).for_each(|_| drop(queue.answered()));
        let mut failed = Vec::new();
        queue.sift(
            |pending, is_sent| match pending.is_idempotent {
                true => Fate::Stays,
                false if is_sent => Fate::Fails(Outcome::Unknown),
                false => Fate::Fails(Outcome::NotDone),
            },
            |pending, outcome| failed.push((pending.xid, outcome)),
        );
        assert_eq!(failed.first(), Some(&(3, Outcome::Unknown)));
        assert_eq!(failed.last(), Some(&(199, Outcome::NotDone)));
        let bytes = queue.take(1000).unwrap();
        let xids: Vec<i32> = bytes
            .chunks(8)
            .map(|frame| i32::from_be_bytes(frame[4..].try_into().unwrap()))
            .collect();
        assert_eq!(xids, (4..200).filter(|xid| xid % 2 == 0).collect::<Vec<_>>());
    }
}
