//! The connections of the election port: one per pair of servers, the one that the server with the
//! larger id opened. Source: quorum-protocol reference, 1.2 to 1.4.
//!
//! Only the newest message to a server matters: it replaces one that is not sent yet, and on a new
//! connection the last one is sent again. A connection is made when there is something to send.

use std::collections::BTreeMap;

use bytes::Bytes;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::InitialMessage;
use oxikeeper_proto::quorum::initial_message::HostPort;
use oxikeeper_proto::time::Now;
use tracing::{debug, warn};

use crate::mutation::{Mutation, mutated};

/// A connection of the election port. Named by the driver, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElectionConn(pub u64);

/// What happens on the election port.
#[derive(Clone, Debug)]
pub enum ElectionInput {
    /// The connection asked for by [`ElectionOutput::Connect`] stands.
    Opened {
        /// The connection.
        conn: ElectionConn,
        /// To whom.
        to: ServerId,
    },
    /// It could not be made.
    ConnectFailed {
        /// To whom.
        to: ServerId,
        /// Nobody listens there, as opposed to no answer.
        refused: bool,
    },
    /// Somebody has connected.
    Accepted(ElectionConn),
    /// The first message of an accepted connection.
    Initial(ElectionConn, InitialMessage),
    /// The payload of a frame.
    Frame(ElectionConn, Bytes),
    /// Everything given to a connection is with the kernel.
    Drained(ElectionConn),
    /// A connection is closed, by the other side, by an error, or because it sent what no frame is.
    Closed(ElectionConn),
}

/// What is to be done on the election port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionOutput {
    /// Connect: to the address given by the server itself, else to the configured ones, resolved
    /// anew. Answered by [`ElectionInput::Opened`] or [`ElectionInput::ConnectFailed`].
    Connect {
        /// To whom.
        to: ServerId,
        /// Where it said that it is.
        addresses: Vec<HostPort>,
    },
    /// Send the initial message; close behind it, if the other side is to call back.
    Greet {
        /// The connection.
        conn: ElectionConn,
        /// Close once it is sent. Nothing is said of the connection any more.
        then_close: bool,
    },
    /// Send a frame with this payload; answered by [`ElectionInput::Drained`].
    Send(ElectionConn, Bytes),
    /// Close a connection. Nothing is said of it any more.
    Close(ElectionConn),
}

/// What the election has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, not decoded yet.
    Message(ServerId, Bytes),
    /// A server's election port refused us, or its connection broke: it does not run, or did not a
    /// moment ago.
    Unreachable(ServerId),
}

#[derive(Debug, Default)]
struct Line {
    conn: Option<ElectionConn>,
    is_connecting: bool,
    /// The newest message that is not sent.
    waiting: Option<Bytes>,
    last_sent: Option<Bytes>,
    /// The driver has a message of ours that is not sent whole.
    is_sending: bool,
    /// Messages given to it since the other side said something.
    unheard: u32,
}

/// See the module's head.
#[derive(Debug)]
pub struct Arbiter {
    my_id: ServerId,
    handshake_us: u64,
    lines: BTreeMap<ServerId, Line>,
    /// Accepted, and silent so far, with the moment at which patience ends.
    strangers: BTreeMap<ElectionConn, Now>,
    names: BTreeMap<ElectionConn, ServerId>,
}

/// After so many messages that nothing came back for, a connection counts as half-open and is made
/// anew. Who is looking may have nothing to say for that long, and then says its vote once more.
const UNHEARD_MAX: u32 = 4;
/// Connections that have yet to say who they are. One more closes the oldest.
const STRANGERS_MAX: usize = 256;
/// Servers that may be connected, known or not: ids fit one byte.
const LINES_MAX: usize = 512;

impl Arbiter {
    /// Without connections. A peer has `handshake_ms` to say who it is.
    pub fn new(my_id: ServerId, handshake_ms: u64) -> Arbiter {
        Arbiter {
            my_id,
            handshake_us: handshake_ms * 1000,
            lines: BTreeMap::new(),
            strangers: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// Sends a message, as soon as there is a connection. It replaces one that waits.
    pub fn send(&mut self, to: ServerId, message: Bytes, out: &mut Vec<ElectionOutput>) {
        if to == self.my_id || !self.has_room_for(to) {
            return;
        }
        let line = self.lines.entry(to).or_default();
        line.waiting = Some(message);
        line.unheard += 1;
        if line.unheard > UNHEARD_MAX
            && let Some(conn) = line.conn.take()
        {
            debug!(server = %to, "its election connection gives nothing back; it is made anew");
            self.names.remove(&conn);
            (line.is_sending, line.unheard) = (false, 0);
            out.push(ElectionOutput::Close(conn));
        }
        if line.conn.is_some() {
            Self::flush(line, out);
        } else {
            Self::connect(to, line, Vec::new(), out);
        }
    }

    /// Takes what happened. At most one thing is heard.
    pub fn step(
        &mut self,
        now: Now,
        input: ElectionInput,
        out: &mut Vec<ElectionOutput>,
    ) -> Option<Heard> {
        match input {
            ElectionInput::Opened { conn, to } => {
                self.opened(conn, to, out);
                None
            }
            ElectionInput::ConnectFailed { to, refused } => {
                let line = self.lines.get_mut(&to)?;
                line.is_connecting = false;
                (refused && line.conn.is_none()).then_some(Heard::Unreachable(to))
            }
            ElectionInput::Accepted(conn) => {
                if self.strangers.len() >= STRANGERS_MAX
                    && let Some((oldest, _)) = self.strangers.pop_first()
                {
                    out.push(ElectionOutput::Close(oldest));
                }
                let patience = std::time::Duration::from_micros(self.handshake_us);
                self.strangers.insert(conn, now.after(patience));
                None
            }
            ElectionInput::Initial(conn, message) => {
                self.initial(conn, &message, out);
                None
            }
            ElectionInput::Frame(conn, payload) => {
                let from = *self.names.get(&conn)?;
                self.lines.get_mut(&from)?.unheard = 0;
                Some(Heard::Message(from, payload))
            }
            ElectionInput::Drained(conn) => {
                let line = self.lines.get_mut(self.names.get(&conn)?)?;
                line.is_sending = false;
                Self::flush(line, out);
                None
            }
            ElectionInput::Closed(conn) => {
                self.strangers.remove(&conn);
                let from = self.names.remove(&conn)?;
                let line = self.lines.get_mut(&from)?;
                if line.conn != Some(conn) {
                    return None;
                }
                line.conn = None;
                line.is_sending = false;
                Some(Heard::Unreachable(from))
            }
        }
    }

    /// Closes who has not said in time who it is.
    pub fn tick(&mut self, now: Now, out: &mut Vec<ElectionOutput>) {
        self.strangers.retain(|conn, patience| {
            let stays = now < *patience;
            if !stays {
                out.push(ElectionOutput::Close(*conn));
            }
            stays
        });
    }

    /// When the next [`tick`](Self::tick) is due.
    pub fn next_deadline(&self) -> Option<Now> {
        self.strangers.values().min().copied()
    }

    /// Closes every connection: the membership has changed, or the process ends.
    pub fn close_all(&mut self, out: &mut Vec<ElectionOutput>) {
        let conns = self.names.keys().chain(self.strangers.keys());
        out.extend(conns.map(|conn| ElectionOutput::Close(*conn)));
        self.names.clear();
        self.strangers.clear();
        for line in self.lines.values_mut() {
            *line = Line { is_connecting: line.is_connecting, ..Line::default() };
        }
    }

    /// Servers to which a connection stands.
    pub fn connected(&self) -> impl Iterator<Item = ServerId> {
        self.lines.iter().filter(|(_, line)| line.conn.is_some()).map(|(server, _)| *server)
    }

    fn has_room_for(&self, server: ServerId) -> bool {
        self.lines.contains_key(&server) || self.lines.len() < LINES_MAX
    }

    /// Our own connection stands. It stays if our id is the larger one.
    fn opened(&mut self, conn: ElectionConn, to: ServerId, out: &mut Vec<ElectionOutput>) {
        let Some(line) = self.lines.get_mut(&to) else {
            out.push(ElectionOutput::Close(conn));
            return;
        };
        line.is_connecting = false;
        let stays = to < self.my_id;
        out.push(ElectionOutput::Greet { conn, then_close: !stays });
        if stays {
            self.adopt(conn, to, out);
        }
    }

    fn initial(
        &mut self,
        conn: ElectionConn,
        message: &InitialMessage,
        out: &mut Vec<ElectionOutput>,
    ) {
        if self.strangers.remove(&conn).is_none() {
            return;
        }
        let from = message.server();
        if from == self.my_id {
            warn!(
                server = %from,
                "a server with our own id has connected to the election port: two servers have the \
                 same myid; closed"
            );
            out.push(ElectionOutput::Close(conn));
        } else if !self.has_room_for(from) {
            warn!(server = %from, "too many servers on the election port; closed");
            out.push(ElectionOutput::Close(conn));
        } else if from < self.my_id {
            // It is for us to connect, and what there was before is of an earlier life of it.
            out.push(ElectionOutput::Close(conn));
            let line = self.lines.entry(from).or_default();
            if let Some(old) = line.conn.take() {
                self.names.remove(&old);
                line.is_sending = false;
                out.push(ElectionOutput::Close(old));
            }
            let addresses = message.usable_addresses().cloned().collect();
            Self::connect(from, line, addresses, out);
        } else {
            self.lines.entry(from).or_default();
            self.adopt(conn, from, out);
        }
    }

    /// This is the connection from now on, in place of an older one.
    fn adopt(&mut self, conn: ElectionConn, with: ServerId, out: &mut Vec<ElectionOutput>) {
        let line = self.lines.entry(with).or_default();
        if let Some(old) = line.conn.replace(conn)
            && !mutated(Mutation::StaleConnection)
        {
            debug!(server = %with, "its election connection is replaced by a newer one");
            self.names.remove(&old);
            out.push(ElectionOutput::Close(old));
        }
        self.names.insert(conn, with);
        (line.is_sending, line.unheard) = (false, 0);
        if line.waiting.is_none() {
            line.waiting = line.last_sent.clone();
        }
        Self::flush(line, out);
    }

    fn connect(
        to: ServerId,
        line: &mut Line,
        addresses: Vec<HostPort>,
        out: &mut Vec<ElectionOutput>,
    ) {
        if !line.is_connecting {
            line.is_connecting = true;
            out.push(ElectionOutput::Connect { to, addresses });
        }
    }

    fn flush(line: &mut Line, out: &mut Vec<ElectionOutput>) {
        if let Some(conn) = line.conn
            && !line.is_sending
            && let Some(message) = line.waiting.take()
        {
            line.is_sending = true;
            line.last_sent = Some(message.clone());
            out.push(ElectionOutput::Send(conn, message));
        }
    }
}
