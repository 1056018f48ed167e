//! One client connection: what has come, what waits, what is to be sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use oxikeeper_proto::{Id, SessionId, Zxid};

use super::CloseHow;
use super::limits::BUFFER_BYTES_KEPT;
use crate::mail::ConnId;
use crate::time::Now;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing but its first bytes is known.
    Greeting,
    /// Its handshake is with the Core.
    Connecting,
    /// It has a session.
    Open,
    /// Nothing of it is taken any more; what is in its output is still sent.
    Ending,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The Core has it.
    Forwarded {
        /// When it came.
        since: Now,
        /// Length of its frame: it is held in the Core's memory instead of here.
        bytes: usize,
    },
    /// It waits for the ones before it: a whole frame without its length.
    Here {
        /// Header and body.
        frame: Box<[u8]>,
        /// When it came.
        since: Now,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnId,
    pub remote: SocketAddr,
    pub stage: Stage,
    pub since: Now,
    pub session: SessionId,
    pub timeout_ms: i32,
    /// The handshake's byte, which the answer has to mirror.
    pub read_only: Option<bool>,
    pub ids: Arc<[Id]>,
    /// Bytes that came and are not taken yet: part of a frame, or frames held back.
    pub input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Requests in order. The first `forwarded` ones are with the Core.
    pub fifo: VecDeque<Waiting>,
    pub forwarded: usize,
    /// Bytes of the requests in `fifo`, the forwarded ones included.
    pub unanswered_bytes: usize,
    /// Whether the shell has been told not to read from it.
    pub paused: bool,
    /// How it is to be closed, once that is decided. No events or replies follow.
    pub closing: Option<CloseHow>,
    /// Whether it is among those heard from since the last report.
    pub is_heard: bool,
    pub last_heard: Now,
    /// Whether it is among those with output that the shell has not been told of.
    pub is_dirty: bool,
    pub received_count: u64,
    pub sent_count: u64,
    pub activity: Activity,
}

/// What operators are told of a connection's requests.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// The operation of its last request, as on the wire; 0 before the first.
    pub last_op: i32,
    /// The number of its last request; -1 before the first.
    pub last_cxid: i32,
    /// The zxid of its last reply; -1 before the first.
    pub last_zxid: Zxid,
    /// When it was last answered.
    pub last_answer: Now,
    /// Requests answered.
    pub answered: u64,
    /// How long the last of them took, in microseconds.
    pub latency_us_last: u32,
    /// The shortest.
    pub latency_us_min: u32,
    /// The longest.
    pub latency_us_max: u32,
    /// Their sum.
    pub latency_us_sum: u64,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity {
            last_op: 0,
            last_cxid: -1,
            last_zxid: Zxid::from_wire(-1),
            last_answer: Now::default(),
            answered: 0,
            latency_us_last: 0,
            latency_us_min: 0,
            latency_us_max: 0,
            latency_us_sum: 0,
        }
    }
}

impl Activity {
    /// Counts an answer.
    pub fn count_latency(&mut self, latency_us: u64, now: Now) {
        let latency_us = u32::try_from(latency_us).unwrap_or(u32::MAX);
        self.latency_us_min = match self.answered {
            0 => latency_us,
            _ => self.latency_us_min.min(latency_us),
        };
        self.latency_us_max = self.latency_us_max.max(latency_us);
        self.latency_us_last = latency_us;
        self.latency_us_sum += u64::from(latency_us);
        self.answered += 1;
        self.last_answer = now;
    }
}

impl Waiting {
    /// Length of its frame.
    pub fn bytes(&self) -> usize {
        match self {
            Waiting::Forwarded { bytes, .. } => *bytes,
            Waiting::Here { frame, .. } => frame.len(),
        }
    }
}

impl Connection {
    pub fn new(id: ConnId, remote: SocketAddr, ids: Arc<[Id]>, now: Now) -> Connection {
        Connection {
            id,
            remote,
            stage: Stage::Greeting,
            since: now,
            session: SessionId::NONE,
            timeout_ms: 0,
            read_only: None,
            ids,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            fifo: VecDeque::new(),
            forwarded: 0,
            unanswered_bytes: 0,
            paused: false,
            closing: None,
            is_heard: false,
            last_heard: now,
            is_dirty: false,
            received_count: 0,
            sent_count: 0,
            activity: Activity::default(),
        }
    }

    /// Bytes to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Where replies and events are appended.
    pub fn output_mut(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The first bytes of the output are gone.
    pub fn mark_sent(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(self.sent <= self.output.len());
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
            if self.output.capacity() > BUFFER_BYTES_KEPT {
                self.output = Vec::new();
            }
        } else if self.sent > self.output.len() / 2 {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Whether a request waits here, with or without others before it.
    pub fn has_waiting(&self) -> bool {
        self.forwarded < self.fifo.len()
    }

    /// Gives back what an idle connection does not need.
    pub fn release_buffers(&mut self) {
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        if self.fifo.is_empty() {
            self.fifo = VecDeque::new();
        }
    }
}
