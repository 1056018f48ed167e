//! A Front: one per reactor. It owns connections and what is theirs alone: the handshake, the order
//! of each session's requests and replies, reads, and watches.
//!
//! ```text
//!  bytes --received--> frame --+-- a read, nothing before it unfinished --> answered at once
//!                              +-- a write --> to the Core; its place in the order is kept
//!                              +-- anything behind an unfinished request: waits, except a write
//!                                  behind writes, which follows them at once
//!  mail  --deliver---> changes: watch events; replies: the next in order, then the reads behind it
//! ```
//!
//! A read never shows a later write of its own session: a write that stands behind a waiting read
//! is kept back until the read has run. So the zxids of a connection's replies never fall.
//!
//! [`Front::deliver`] takes all mail there is before any read runs: a read at zxid Z finds every
//! watch event up to Z sent before it.

mod connection;
mod deliver;
pub mod limits;
mod local;
pub mod read;
mod request;
pub mod throttle;
pub mod watch_table;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use oxikeeper_proto::reply::ConnectResponse;
use oxikeeper_proto::request::ConnectRequest;
use oxikeeper_proto::{Encode, Reader, SessionId, Zxid};
use oxikeeper_tree::Tree;

pub use self::connection::Activity;
use self::connection::{Connection, Stage};
use self::limits::{ENDING_MS_MAX, OUTPUT_BYTES_PAUSE, REQUESTS_MAX, UNANSWERED_BYTES_MAX};
use self::throttle::{Load, Throttle};
use self::watch_table::{Slot, WatchTable};
use crate::auth;
use crate::command::{Asked, ClientLine, FourLetterWord, FrontStats};
use crate::config::NodeConfig;
use crate::mail::{ConnId, ConnRef, FrontId, Serving, ToCore};
use crate::mutation::{Mutation, mutated};
use crate::namespaces::Namespaces;
use crate::time::Now;

/// What a Front sees of the world while it works: the tree, locked for reading by the shell.
#[derive(Clone, Copy)]
pub struct View<'t> {
    /// The tree, which stands at `applied`; all mail up to there has been delivered.
    pub tree: &'t Tree,
    /// The last transaction applied.
    pub applied: Zxid,
    /// The time. Everything the sockets held at this moment is delivered before the next tick.
    pub now: Now,
}

/// How a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseHow {
    /// At once, whatever waits to be sent.
    Now,
    /// When its output has been sent.
    AfterOutput,
}

/// What the shell is to do, filled by every call.
#[derive(Debug, Default)]
pub struct Outputs {
    /// For the Core, in order.
    pub to_core: Vec<ToCore>,
    /// Connections whose output has grown.
    pub flush: Vec<ConnId>,
    /// Connections to close; [`Front::closed`] is then called for each.
    pub close: Vec<(ConnId, CloseHow, &'static str)>,
    /// Do not read from these for now.
    pub pause: Vec<ConnId>,
    /// Read from these again.
    pub resume: Vec<ConnId>,
    /// Four-letter words to answer with [`Front::finish_command`].
    pub commands: Vec<(ConnId, Asked)>,
}

/// See the module's head.
pub struct Front {
    id: FrontId,
    config: Arc<NodeConfig>,
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<Slot>,
    by_id: HashMap<ConnId, Slot, FixedState>,
    watches: WatchTable,
    /// Connections heard from since the last report.
    heard: Vec<Slot>,
    /// Sessions whose connections closed since the last report, and when they were last heard.
    heard_and_gone: Vec<(SessionId, Now)>,
    /// Connections that have not shaken hands, oldest first.
    greeting: VecDeque<(Now, ConnId)>,
    /// Connections heard from in the period before that: those silent since give up their buffers.
    heard_before: Vec<Slot>,
    /// Connections that close once their output is sent, and when that was decided, to the tick.
    ending: VecDeque<(Now, ConnId)>,
    last_tick: Now,
    /// Connections with new output.
    dirty: Vec<Slot>,
    /// The event being sent to its watchers; kept for its memory.
    event_frame: Vec<u8>,
    /// Connections whose waiting requests may go on.
    ready: Vec<Slot>,
    stats: FrontStats,
    /// What was read below each node under the root.
    reads: Namespaces,
    throttle: Throttle,
    serving: Serving,
}

impl Front {
    /// A Front without connections.
    pub fn new(id: FrontId, config: Arc<NodeConfig>) -> Front {
        Front {
            id,
            connections: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(FixedState::with_seed(config.seed)),
            watches: WatchTable::new(config.seed),
            heard: Vec::new(),
            heard_and_gone: Vec::new(),
            greeting: VecDeque::new(),
            heard_before: Vec::new(),
            ending: VecDeque::new(),
            last_tick: Now::default(),
            dirty: Vec::new(),
            event_frame: Vec::new(),
            ready: Vec::new(),
            stats: FrontStats::default(),
            reads: Namespaces::default(),
            throttle: Throttle::default(),
            serving: if config.ensemble { Serving::Nobody } else { Serving::Everybody },
            config,
        }
    }

    /// A connection was accepted.
    pub fn accept(&mut self, conn: ConnId, remote: SocketAddr, now: Now) {
        let ids = [auth::ip::identity(remote.ip())].into();
        let connection = Some(Box::new(Connection::new(conn, remote, ids, now)));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.connections[slot as usize] = connection;
                slot
            }
            None => {
                self.connections.push(connection);
                Slot::try_from(self.connections.len() - 1).expect("fewer connections than 2^32")
            }
        };
        self.by_id.insert(conn, slot);
        self.greeting.push_back((now, conn));
    }

    /// A connection is closed, by the peer or because [`Outputs::close`] asked for it.
    pub fn closed(&mut self, conn: ConnId, out: &mut Outputs) {
        let Some(slot) = self.by_id.remove(&conn) else {
            return;
        };
        let Some(connection) = self.connections[slot as usize].take() else {
            return;
        };
        self.free.push(slot);
        self.watches.remove_slot(slot);
        for waiting in &connection.fifo {
            self.throttle.gone(waiting.bytes(), &self.config.limits);
        }
        if connection.session != SessionId::NONE {
            if connection.is_heard {
                self.heard_and_gone.push((connection.session, connection.last_heard));
            }
            let conn = ConnRef { front: self.id, conn };
            out.to_core.push(ToCore::Disconnected { conn, session: connection.session });
        }
    }

    /// Bytes came from a connection: frames, in whole or in part.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], at: View<'_>, out: &mut Outputs) {
        let Some((slot, mut connection)) = self.take(conn) else {
            return;
        };
        self.hear(slot, &mut connection, at.now);
        if connection.input.is_empty() {
            let taken = self.take_frames(slot, &mut connection, bytes, at, out);
            connection.input.extend_from_slice(&bytes[taken..]);
        } else {
            connection.input.extend_from_slice(bytes);
            self.take_input(slot, &mut connection, at, out);
        }
        self.put_back(slot, connection);
        self.report_dirty(out);
    }

    /// What waits to be sent to a connection.
    pub fn output(&self, conn: ConnId) -> &[u8] {
        let slot = self.by_id.get(&conn);
        let connection = slot.and_then(|&slot| self.connections[slot as usize].as_ref());
        connection.map_or(&[], |connection| connection.output())
    }

    /// The first bytes of a connection's output were sent.
    pub fn sent(&mut self, conn: ConnId, count: usize, at: View<'_>, out: &mut Outputs) {
        let Some((slot, mut connection)) = self.take(conn) else {
            return;
        };
        connection.mark_sent(count);
        // Reads may have waited for room, whether or not more of its input was refused meanwhile.
        if connection.paused || connection.has_waiting() {
            self.go_on(slot, &mut connection, at, out);
        }
        self.put_back(slot, connection);
        self.report_dirty(out);
    }

    /// Time has passed: reports whom it heard from, and closes who never shook hands.
    pub fn tick(&mut self, at: View<'_>, out: &mut Outputs) {
        self.last_tick = at.now;
        for slot in std::mem::take(&mut self.heard_before) {
            if let Some(connection) = &mut self.connections[slot as usize]
                && !connection.is_heard
            {
                connection.release_buffers();
            }
        }
        let mut sessions = std::mem::take(&mut self.heard_and_gone);
        self.heard_before = std::mem::take(&mut self.heard);
        for &slot in &self.heard_before {
            if let Some(connection) = &mut self.connections[slot as usize]
                && connection.is_heard
            {
                connection.is_heard = false;
                if connection.session != SessionId::NONE {
                    sessions.push((connection.session, connection.last_heard));
                }
                // It is not read from because the Core owes it an answer: what it may have sent
                // meanwhile counts, though nobody has looked.
                if connection.paused && connection.forwarded > 0 {
                    connection.is_heard = true;
                    connection.last_heard = at.now;
                    self.heard.push(slot);
                }
            }
        }
        out.to_core.push(ToCore::Touched { front: self.id, until: at.now, sessions });
        self.throttle.tell(at.now, &self.config.limits);
        while let Some(&(since, conn)) = self.greeting.front() {
            if at.now.since(since).as_millis() < u128::from(self.config.limits.handshake_ms_max) {
                break;
            }
            self.greeting.pop_front();
            if let Some((slot, mut connection)) = self.take(conn) {
                if connection.stage == Stage::Greeting {
                    self.throttle.stats.no_handshake += 1;
                    close(&mut connection, CloseHow::Now, "no handshake within the time", out);
                }
                self.put_back(slot, connection);
            }
        }
        while let Some(&(since, conn)) = self.ending.front() {
            if at.now.since(since).as_millis() < u128::from(ENDING_MS_MAX) {
                break;
            }
            self.ending.pop_front();
            if let Some((slot, mut connection)) = self.take(conn) {
                close(&mut connection, CloseHow::Now, "it does not read its last reply", out);
                self.put_back(slot, connection);
            }
        }
    }

    /// The text that answers a four-letter word; the connection closes behind it.
    pub fn finish_command(&mut self, conn: ConnId, text: &str, out: &mut Outputs) {
        let Some((slot, mut connection)) = self.take(conn) else {
            return;
        };
        connection.output_mut().extend_from_slice(text.as_bytes());
        self.stats.sent += 1;
        close(&mut connection, CloseHow::AfterOutput, "answered a four-letter word", out);
        self.mark_dirty(slot, &mut connection);
        self.put_back(slot, connection);
        self.report_dirty(out);
    }

    /// Open connections.
    pub fn connection_count(&self) -> usize {
        self.by_id.len()
    }

    /// Requests taken and not answered.
    pub fn outstanding_count(&self) -> usize {
        self.throttle.own.requests
    }

    /// Watches on this Front.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// Its counters.
    pub fn stats(&self) -> FrontStats {
        FrontStats { throttled: self.throttle.stats, ..self.stats }
    }

    /// What waits here for answers.
    pub fn load(&self) -> Load {
        self.throttle.own
    }

    /// What waits at all other Fronts of the server: limits count both.
    pub fn set_load_of_others(&mut self, load: Load) {
        self.throttle.others = load;
    }

    /// One line per connection, for `stat`.
    pub fn client_lines(&self) -> Vec<ClientLine> {
        let line = |connection: &Connection| ClientLine {
            remote: connection.remote,
            queued: connection.fifo.len(),
            received: connection.received_count,
            sent: connection.sent_count,
            is_open: connection.stage == Stage::Open,
            session: connection.session,
            timeout_ms: connection.timeout_ms,
            since: connection.since,
            activity: connection.activity,
        };
        self.connections.iter().flatten().map(|connection| line(connection)).collect()
    }

    /// What each session on this Front watches: the paths of nodes, not those whose children alone
    /// are watched, as Apache lists them. In the order of the connections and of the watches.
    pub fn watched_paths(&self) -> Vec<(SessionId, Vec<String>)> {
        let slots = self.connections.iter().enumerate();
        slots
            .filter_map(|(slot, connection)| {
                let paths = self.watches.watched_by(slot as Slot);
                Some((connection.as_ref()?.session, paths)).filter(|(_, paths)| !paths.is_empty())
            })
            .collect()
    }

    /// What was read below each node under the root.
    pub fn reads(&self) -> &Namespaces {
        &self.reads
    }

    /// A connection's peer has ended it, and not by closing its session.
    pub fn count_drop(&mut self) {
        self.stats.dropped += 1;
    }

    /// Begins to count anew, as operators ask for: everything, or what shows the server's traffic alone.
    pub fn reset_stats(&mut self, everything: bool) {
        if everything {
            self.stats = FrontStats::default();
            self.reads = Namespaces::default();
            self.throttle.reset_stats();
        } else {
            self.stats.reset_gauges();
        }
    }

    /// Begins to count anew for every connection.
    pub fn reset_connection_stats(&mut self) {
        for connection in self.connections.iter_mut().flatten() {
            connection.received_count = 0;
            connection.sent_count = 0;
            connection.activity = Activity::default();
        }
    }

    /// Takes the frames in a connection's input, as far as may be.
    fn take_input(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        at: View<'_>,
        out: &mut Outputs,
    ) {
        let mut input = std::mem::take(&mut connection.input);
        let taken = self.take_frames(slot, connection, &input, at, out);
        input.drain(..taken);
        connection.input = input;
    }

    /// Takes whole frames from the front of `bytes`; returns how many bytes they were.
    fn take_frames(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        bytes: &[u8],
        at: View<'_>,
        out: &mut Outputs,
    ) -> usize {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            match connection.stage {
                Stage::Ending => return bytes.len(),
                _ if self.is_blocked(connection) => {
                    // Said again whenever bytes come all the same, so that one lost request to pause
                    // does not let the input grow.
                    if !connection.paused && self.throttle.is_loaded(&self.config.limits) {
                        self.throttle.stats.outstanding += 1;
                    }
                    connection.paused = true;
                    out.pause.push(connection.id);
                    return taken;
                }
                _ => {}
            }
            let Some(prefix) = rest.first_chunk::<4>() else {
                return taken;
            };
            if connection.stage == Stage::Greeting
                && let Some(word) = FourLetterWord::from_bytes(*prefix)
            {
                self.command(slot, connection, word, &rest[4..], out);
                return bytes.len();
            }
            let length = match usize::try_from(i32::from_be_bytes(*prefix)) {
                Ok(length) if length <= self.config.frame_bytes_max => length,
                _ => {
                    self.throttle.stats.frame_length += 1;
                    close(connection, CloseHow::Now, "a frame of impossible length", out);
                    return bytes.len();
                }
            };
            if !self.throttle.admits(length, &self.config.limits) {
                self.throttle.stats.large_requests += 1;
                close(connection, CloseHow::Now, "more large requests than there may be", out);
                return bytes.len();
            }
            let Some(frame) = rest.get(4..4 + length) else {
                return taken;
            };
            taken += 4 + length;
            connection.received_count += 1;
            self.stats.received += 1;
            self.stats.received_bytes += 4 + length as u64;
            match connection.stage {
                Stage::Greeting => self.handshake(connection, frame, at, out),
                Stage::Open => self.request(slot, connection, frame, at, out),
                Stage::Connecting | Stage::Ending => {}
            }
        }
    }

    fn command(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        word: FourLetterWord,
        behind: &[u8],
        out: &mut Outputs,
    ) {
        connection.received_count += 1;
        self.stats.received += 1;
        self.stats.received_bytes += 4;
        if word.is_allowed(&self.config.four_letter_words) {
            connection.stage = Stage::Ending;
            let mask = behind.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
            out.commands.push((connection.id, Asked { word, mask }));
        } else {
            connection.output_mut().extend_from_slice(word.refusal().as_bytes());
            self.stats.sent += 1;
            close(connection, CloseHow::AfterOutput, "a word that is not whitelisted", out);
            self.mark_dirty(slot, connection);
        }
    }

    /// The first frame. Everything that speaks against it is a silent close, as clients expect.
    fn handshake(
        &mut self,
        connection: &mut Connection,
        frame: &[u8],
        at: View<'_>,
        out: &mut Outputs,
    ) {
        if self.serving == Serving::Nobody {
            return close(connection, CloseHow::Now, "this server has no leader", out);
        }
        let Ok(request) = Reader::new(frame).get::<ConnectRequest<'_>>() else {
            return close(connection, CloseHow::Now, "a malformed handshake", out);
        };
        self.stats.handshakes += 1;
        if self.serving == Serving::Readers && request.read_only != Some(true) {
            return close(connection, CloseHow::Now, "this server has no leader", out);
        }
        let is_ahead = request.last_zxid_seen.to_wire() > at.applied.to_wire();
        if is_ahead && !mutated(Mutation::AcceptFromFuture) {
            // It has seen what this server has not: it must find another.
            return close(connection, CloseHow::Now, "a client from the future", out);
        }
        let (min, max) = (self.config.session_timeout_ms_min, self.config.session_timeout_ms_max);
        connection.timeout_ms = request.timeout_ms.clamp(min, max);
        connection.read_only = request.read_only;
        connection.stage = Stage::Connecting;
        connection.paused = true;
        out.pause.push(connection.id);
        out.to_core.push(ToCore::Connect {
            conn: ConnRef { front: self.id, conn: connection.id },
            session: request.session,
            password: request.password.unwrap_or_default().into(),
            timeout_ms: connection.timeout_ms,
        });
    }

    /// Whether no more of a connection's requests may be taken for now. While the server is loaded
    /// only who waits for no answer is heard: the answer lets the others go on.
    fn is_blocked(&self, connection: &Connection) -> bool {
        connection.stage == Stage::Connecting
            || connection.fifo.len() >= REQUESTS_MAX
            || connection.unanswered_bytes > UNANSWERED_BYTES_MAX
            || connection.output().len() > OUTPUT_BYTES_PAUSE
            || (!connection.fifo.is_empty() && self.throttle.is_loaded(&self.config.limits))
    }

    /// Takes a connection out, to work on it beside the rest of the Front.
    fn take(&mut self, conn: ConnId) -> Option<(Slot, Box<Connection>)> {
        let slot = *self.by_id.get(&conn)?;
        Some((slot, self.connections[slot as usize].take()?))
    }

    fn put_back(&mut self, slot: Slot, connection: Box<Connection>) {
        self.connections[slot as usize] = Some(connection);
    }

    fn hear(&mut self, slot: Slot, connection: &mut Connection, now: Now) {
        connection.last_heard = now;
        if !connection.is_heard {
            connection.is_heard = true;
            self.heard.push(slot);
        }
    }

    fn mark_dirty(&mut self, slot: Slot, connection: &mut Connection) {
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    fn report_dirty(&mut self, out: &mut Outputs) {
        for slot in self.dirty.drain(..) {
            if let Some(connection) = &mut self.connections[slot as usize] {
                connection.is_dirty = false;
                out.flush.push(connection.id);
                if connection.closing == Some(CloseHow::AfterOutput) {
                    self.ending.push_back((self.last_tick, connection.id));
                }
            }
        }
    }
}

/// Ends a connection; what it still sends is not looked at.
fn close(connection: &mut Connection, how: CloseHow, why: &'static str, out: &mut Outputs) {
    connection.stage = Stage::Ending;
    if connection.closing.is_none_or(|before| before != how && how == CloseHow::Now) {
        connection.closing = Some(how);
        out.close.push((connection.id, how, why));
    }
}

/// Appends a handshake's answer.
fn put_connect_response(response: &ConnectResponse, output: &mut Vec<u8>) {
    let start = output.len();
    output.extend_from_slice(&[0; 4]);
    response.encode(output);
    oxikeeper_proto::reply::end_frame(output, start);
}
