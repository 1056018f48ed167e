//! Links between clients and Fronts: two byte streams each, which are cut, delayed, stopped and
//! reset, but never reordered.

use std::collections::VecDeque;

use crate::rng::Rng;

/// One direction of a link.
#[derive(Debug, Default)]
pub struct Pipe {
    /// When each piece arrives.
    pieces: VecDeque<(u64, VecDeque<u8>)>,
    last_arrival: u64,
    /// When the end of the stream arrives.
    end_at: Option<u64>,
    /// Nothing sent from now on arrives, and no end either.
    is_dead: bool,
}

impl Pipe {
    /// Sends bytes; returns when they arrive, if they do.
    pub fn send(&mut self, now: u64, delay: u64, bytes: &[u8]) -> Option<u64> {
        if self.is_dead || self.end_at.is_some() || bytes.is_empty() {
            return None;
        }
        self.last_arrival = self.last_arrival.max(now + delay);
        self.pieces.push_back((self.last_arrival, bytes.iter().copied().collect()));
        Some(self.last_arrival)
    }

    /// Ends the stream behind what was sent.
    pub fn end(&mut self, now: u64, delay: u64) -> Option<u64> {
        if self.is_dead || self.end_at.is_some() {
            return None;
        }
        self.last_arrival = self.last_arrival.max(now + delay);
        self.end_at = Some(self.last_arrival);
        self.end_at
    }

    /// Ends the stream, and loses some of what is still on its way, at any byte.
    pub fn reset(&mut self, now: u64, rng: &mut Rng) -> Option<u64> {
        if self.is_dead || self.end_at.is_some() {
            return None;
        }
        let on_its_way: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut lost = rng.index(on_its_way + 1);
        while let Some((at, mut bytes)) = self.pieces.pop_back() {
            let kept = bytes.len().saturating_sub(lost);
            lost = lost.saturating_sub(bytes.len());
            bytes.truncate(kept);
            if kept > 0 {
                self.pieces.push_back((at, bytes));
                break;
            }
        }
        self.end_at = Some(now.max(self.pieces.back().map_or(0, |(at, _)| *at)));
        self.end_at
    }

    /// From now on it swallows everything.
    pub fn die(&mut self) {
        self.is_dead = true;
    }

    /// It swallows nothing any more: who was left behind finds out.
    pub fn revive(&mut self) {
        self.is_dead = false;
    }

    /// Whether there is something to read.
    pub fn has_bytes(&self, now: u64) -> bool {
        self.pieces.front().is_some_and(|(at, _)| *at <= now)
    }

    /// Whether the end has arrived and all before it was read.
    pub fn is_over(&self, now: u64) -> bool {
        self.pieces.is_empty() && self.end_at.is_some_and(|at| at <= now)
    }

    /// Reads up to `max` bytes of what has arrived.
    pub fn read(&mut self, now: u64, max: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some((at, bytes)) = self.pieces.front_mut() {
            if *at > now || read.len() >= max {
                break;
            }
            let count = bytes.len().min(max - read.len());
            read.extend(bytes.drain(..count));
            if bytes.is_empty() {
                self.pieces.pop_front();
            }
        }
        read
    }

    /// Bytes that the sender may still send.
    pub fn room(&self, window_bytes: usize) -> usize {
        let unread: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        if self.is_dead { window_bytes } else { window_bytes.saturating_sub(unread) }
    }

    /// When the next piece or the end arrives.
    pub fn next_arrival(&self) -> Option<u64> {
        self.pieces.front().map(|(at, _)| *at).or(self.end_at)
    }
}

/// A connection. Its index is its [`ConnId`](oxikeeper_node::mail::ConnId).
#[derive(Debug)]
pub struct Link {
    /// Which Front it is dealt to.
    pub front: usize,
    /// Whose it is.
    pub client: usize,
    /// Client to server.
    pub up: Pipe,
    /// Server to client.
    pub down: Pipe,
    /// Before which restart of the server it was made.
    pub incarnation: u32,
}

/// All links there ever were, and how slow they are.
#[derive(Debug)]
pub struct Net {
    /// By number.
    pub links: Vec<Link>,
    /// Mean delay in microseconds.
    pub delay_us: u64,
    /// Bytes that the network and the receiver's kernel hold for a reader that does not read.
    pub window_bytes: usize,
}

impl Net {
    /// A new link.
    pub fn connect(&mut self, client: usize, front: usize, incarnation: u32) -> usize {
        let (up, down) = (Pipe::default(), Pipe::default());
        self.links.push(Link { front, client, up, down, incarnation });
        self.links.len() - 1
    }

    /// How long the next piece takes.
    pub fn delay(&self, rng: &mut Rng) -> u64 {
        rng.around(self.delay_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_in_time() {
        let mut pipe = Pipe::default();
        assert_eq!(pipe.send(0, 10, b"abc"), Some(10));
        assert_eq!(pipe.send(1, 2, b"de"), Some(10), "nothing overtakes");
        assert_eq!(pipe.end(1, 30), Some(31));
        assert_eq!(pipe.read(9, 10), b"");
        assert_eq!(pipe.read(10, 4), b"abcd");
        assert!(pipe.has_bytes(10) && !pipe.is_over(40));
        assert_eq!(pipe.read(10, 4), b"e");
        assert!(!pipe.is_over(30) && pipe.is_over(31));
        assert_eq!(pipe.send(50, 1, b"x"), None);
    }

    #[test]
    fn a_reset_loses_an_end_of_the_stream() {
        for seed in 0..50 {
            let mut pipe = Pipe::default();
            pipe.send(0, 1, b"abc");
            pipe.send(0, 1, b"def");
            pipe.reset(0, &mut Rng::new(seed));
            let read = pipe.read(5, 100);
            assert!(b"abcdef".starts_with(&read));
            assert!(pipe.is_over(5));
        }
    }
}
