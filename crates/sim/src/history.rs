//! What the clients saw, for the checker.

use std::collections::BTreeMap;

use oxikeeper_proto::SessionId;

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The client's number for it: never used twice in a run if positive.
    pub xid: i32,
    /// The operation's number.
    pub op: i32,
    /// The frame behind the header.
    pub body: Vec<u8>,
    /// Whether the connection had proven its digest identity by then.
    pub authed: bool,
    /// Largest zxid of any reply that any client had received when it was sent.
    pub floor: i64,
    /// What a reply must have seen: `floor`, or of several servers what this client had.
    pub floor_seen: i64,
}

/// What came back, in order.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A reply.
    Reply {
        /// Which request of the stream it answers.
        sent: usize,
        /// Of its header.
        zxid: i64,
        /// Of its header.
        err: i32,
        /// Behind the header.
        body: Vec<u8>,
    },
    /// A notification.
    Event {
        /// Of its header.
        zxid: i64,
        /// Its type.
        kind: i32,
        /// Its path.
        path: String,
    },
}

/// One connection as its client saw it.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Which client.
    pub client: usize,
    /// Its session, once known.
    pub session: Option<SessionId>,
    /// Requests in order.
    pub sent: Vec<Sent>,
    /// What came back.
    pub frames: Vec<Frame>,
}

impl Stream {
    /// Whether the client has left something here that it never heard of again: its handshake, or requests.
    pub fn is_unanswered(&self) -> bool {
        let replies = self.frames.iter().filter(|frame| matches!(frame, Frame::Reply { .. }));
        self.session.is_none() || replies.count() < self.sent.len()
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct History {
    /// Connections in the order they were opened.
    pub streams: Vec<Stream>,
    /// Positive xids, each with its stream and place there.
    pub by_xid: BTreeMap<i32, (usize, usize)>,
    /// Sessions that a handshake has granted to a client: timeout and password.
    pub granted: BTreeMap<SessionId, Granted>,
    /// Largest zxid of any reply received.
    pub max_replied: i64,
    /// Largest zxid received at all, in events too.
    pub max_seen: i64,
    /// The last zxid of each client's session, if there are several servers: each shows the committed
    /// history, but not all the same part of it.
    pub seen_by: Option<BTreeMap<usize, i64>>,
    /// What went wrong where it could be seen at once.
    pub violations: Vec<String>,
    /// Requests sent.
    pub requests: u64,
    /// Replies received.
    pub replies: u64,
    /// Notifications received.
    pub events: u64,
    last_xid: i32,
}

/// A session as a handshake announced it.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Milliseconds, of the first handshake.
    pub timeout_ms: i32,
    /// Its password.
    pub password: [u8; 16],
    /// Handshakes that were told it is gone, though their password was right: what was known of the
    /// log then.
    pub refused: bool,
}

impl History {
    /// Of clients of several servers.
    pub fn of_ensemble() -> History {
        History { seen_by: Some(BTreeMap::new()), ..History::default() }
    }

    /// A number for a request.
    pub fn next_xid(&mut self) -> i32 {
        self.last_xid += 1;
        self.last_xid
    }

    /// A new connection.
    pub fn open(&mut self, client: usize) -> usize {
        self.streams.push(Stream { client, ..Stream::default() });
        self.streams.len() - 1
    }

    /// Notes a request; returns its place in the stream.
    pub fn send(&mut self, stream: usize, xid: i32, op: i32, body: Vec<u8>, authed: bool) -> usize {
        // Sent again on another connection, it may have been carried out since it was sent first.
        let first =
            self.by_xid.get(&xid).map(|&(stream, place)| self.streams[stream].sent[place].floor);
        let floor = first.unwrap_or(self.max_replied);
        let client = self.streams[stream].client;
        let floor_seen = match &self.seen_by {
            Some(seen) => seen.get(&client).copied().unwrap_or(0),
            None => self.max_replied,
        };
        let sent = &mut self.streams[stream].sent;
        sent.push(Sent { xid, op, body, authed, floor, floor_seen });
        let place = sent.len() - 1;
        if xid > 0 {
            self.by_xid.insert(xid, (stream, place));
        }
        self.requests += 1;
        place
    }

    /// A client goes on from this zxid: no server may show it less.
    pub fn saw(&mut self, client: usize, zxid: i64) {
        if let Some(seen) = &mut self.seen_by {
            seen.insert(client, zxid);
        }
    }

    /// Notes something that must not happen.
    pub fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }
}
