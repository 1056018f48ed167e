//! A reactor: the thread of one Front. Sockets on one side, mailbox and Core's queue on the other.
//!
//! Each round: sleep until something is ready; take the tree's lock for reading once; deliver the
//! mail; read each ready socket until a short read; send each connection's output with one call.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mio::event::{Event, Source};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use oxikeeper_node::command::Asked;
use oxikeeper_node::core::Input;
use oxikeeper_node::front::{CloseHow, Front, Outputs, View};
use oxikeeper_node::mail::{ConnId, MailBatch};
use oxikeeper_node::time::Now;
use parking_lot::Mutex;
use tracing::{debug, warn};

use crate::awake::Lookout;
use crate::clock::Clock;
use crate::commands::{Commands, Want};
use crate::engine::Runner;
use crate::limits::ConnectionLimits;
use crate::shared::{FrontReport, Mailbox, Shared};

/// The waker's token; connections have others.
pub const WAKER: Token = Token(usize::MAX);

/// How often the Front reports whom it has heard.
const TICK: Duration = Duration::from_millis(100);
/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes taken from one socket in one round, so that others get their turn.
const READ_BYTES_PER_ROUND: usize = 256 * 1024;

/// A connection on its way to a reactor.
pub struct Accepted {
    /// Never used before.
    pub conn: ConnId,
    /// The socket, not blocking.
    pub stream: std::net::TcpStream,
    /// The peer.
    pub remote: SocketAddr,
}

/// What others hand to a reactor and read from it.
#[derive(Default)]
pub struct Desk {
    /// Connections that it has yet to take over.
    pub accepted: Mutex<Vec<Accepted>>,
    /// What it last told of itself.
    pub report: Mutex<FrontReport>,
    /// The last question that this report answers, see [`Commands`].
    pub answered: AtomicU64,
}

struct Socket {
    stream: TcpStream,
    remote: SocketAddr,
    /// What the poll is asked for; `None` while it is not registered.
    interest: Option<Interest>,
    /// Reading is held back.
    is_paused: bool,
    /// The poll has said, and says only once, that the peer sends no more.
    is_read_closed: bool,
    /// The kernel took less than there was.
    is_full: bool,
    /// To be closed once the output is sent.
    is_ending: bool,
}

/// What the Front asked for and is being carried out. Kept for its memory: a read must not cost an
/// allocation.
#[derive(Default)]
struct ToDo {
    flush: Vec<ConnId>,
    resume: Vec<ConnId>,
    close: Vec<(ConnId, CloseHow, &'static str)>,
}

impl ToDo {
    /// Takes over what is asked for. Everything before must be done.
    fn take(&mut self, outputs: &mut Outputs) {
        std::mem::swap(&mut self.flush, &mut outputs.flush);
        std::mem::swap(&mut self.resume, &mut outputs.resume);
        std::mem::swap(&mut self.close, &mut outputs.close);
    }

    fn is_empty(&self) -> bool {
        self.flush.is_empty() && self.resume.is_empty() && self.close.is_empty()
    }
}

/// See the module's head.
pub struct Reactor {
    front: Front,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    desk: Arc<Desk>,
    shared: Arc<Shared>,
    commands: Arc<Commands>,
    limits: Arc<ConnectionLimits>,
    lookout: Lookout,
    clock: Clock,
    sockets: BTreeMap<ConnId, Socket>,
    buffer: Box<[u8]>,
    outputs: Outputs,
    todo: ToDo,
    mail: Vec<MailBatch>,
    /// Sockets with more to read than their turn allowed.
    unread: Vec<ConnId>,
    /// Words to answer once all reactors have answered a question.
    words: Vec<(ConnId, Asked, u64)>,
}

/// Sockets looked at in one round. More would make a reactor, the log and the clients take turns: with few
/// the log writes what came first while the rest is still being read, half as much again per second
/// with 50 connections.
const EVENTS_PER_ROUND: usize = 16;

impl Reactor {
    /// A reactor without connections.
    pub fn new(
        front: Front,
        poll: Poll,
        mailbox: Arc<Mailbox>,
        desk: Arc<Desk>,
        shared: Arc<Shared>,
        commands: Arc<Commands>,
        limits: Arc<ConnectionLimits>,
        lookout: Lookout,
        clock: Clock,
    ) -> Reactor {
        Reactor {
            front,
            poll,
            mailbox,
            desk,
            shared,
            commands,
            limits,
            lookout,
            clock,
            sockets: BTreeMap::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            outputs: Outputs::default(),
            todo: ToDo::default(),
            mail: Vec::new(),
            unread: Vec::new(),
            words: Vec::new(),
        }
    }

    /// Runs until the server is to end.
    ///
    /// # Errors
    /// The poll failed: the reactor cannot go on.
    pub fn run(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        let mut next_tick = self.clock.now().after(TICK);
        while !shared.is_stopping() {
            let may_sleep = self.unread.is_empty() && self.mailbox.may_sleep(&shared.engine);
            let patience = if may_sleep { self.clock.until(next_tick) } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            self.mailbox.woke();
            self.take_accepted();
            let now = self.clock.now();
            self.hold_tree(now, |reactor, at| {
                for conn in std::mem::take(&mut reactor.unread) {
                    reactor.read(conn, at);
                }
                for event in events.iter().filter(|event| event.token() != WAKER) {
                    reactor.socket_event(event, at);
                }
                if now >= next_tick {
                    next_tick = now.after(TICK);
                    reactor.front.tick(at, &mut reactor.outputs);
                }
            });
            self.answer_commands(now);
            if !self.outputs.to_core.is_empty() || shared.engine.is_unfinished() {
                let inputs = self.outputs.to_core.drain(..).map(Input::FromFront);
                shared.run_core(inputs, Runner::Reactor);
            }
        }
        Ok(())
    }

    /// One hold of the tree's lock for reading: all mail up to the state that it shows is delivered
    /// before any read runs, and whoever has begun to watch is known before it ends.
    fn hold_tree(&mut self, now: Now, work: impl FnOnce(&mut Reactor, View<'_>)) {
        let shared = Arc::clone(&self.shared);
        let tree = shared.tree.read();
        let at = View { tree: &tree, applied: tree.last_zxid(), now };
        self.front.set_load_of_others(shared.load_of_others(&self.mailbox));
        self.mailbox.take(&mut self.mail);
        self.front.deliver(&self.mail, at, &mut self.outputs);
        self.mail.clear();
        work(self, at);
        self.carry_out(at);
        self.mailbox.set_watching(self.front.watch_count() > 0);
        self.mailbox.set_load(self.front.load());
    }

    fn socket_event(&mut self, event: &Event, at: View<'_>) {
        let conn = ConnId(event.token().0 as u64);
        if event.is_writable() {
            self.write(conn, at);
        }
        if event.is_read_closed()
            && let Some(socket) = self.sockets.get_mut(&conn)
        {
            socket.is_read_closed = true;
        }
        if event.is_readable() || event.is_error() {
            self.lookout.saw(conn.0, at.now);
            self.read(conn, at);
        }
    }

    fn take_accepted(&mut self) {
        for Accepted { conn, stream, remote } in std::mem::take(&mut *self.desk.accepted.lock()) {
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE;
            let token = Token(conn.0 as usize);
            if let Err(error) = stream.register(self.poll.registry(), token, interest) {
                warn!(%remote, %error, "cannot watch a new connection; closed");
                self.limits.closed(remote.ip());
                continue;
            }
            let interest = Some(interest);
            let socket = Socket {
                stream,
                remote,
                interest,
                is_paused: false,
                is_read_closed: false,
                is_full: false,
                is_ending: false,
            };
            self.sockets.insert(conn, socket);
            self.front.accept(conn, remote, self.clock.now());
        }
    }

    /// Reads what a socket holds: a short read says that it is empty. If the peer has ended its side
    /// no other event will say so, and the end is read as well.
    fn read(&mut self, conn: ConnId, at: View<'_>) {
        let mut total = 0;
        while let Some(socket) = self.sockets.get_mut(&conn) {
            if socket.is_paused || socket.is_ending {
                return;
            }
            if total >= READ_BYTES_PER_ROUND {
                self.unread.push(conn);
                return;
            }
            let to_the_end = socket.is_read_closed;
            match socket.stream.read(&mut self.buffer) {
                Ok(0) => return self.peer_ended(conn, at),
                Ok(count) => {
                    total += count;
                    self.front.received(conn, &self.buffer[..count], at, &mut self.outputs);
                    self.apply_pauses();
                    if count < self.buffer.len() && !to_the_end {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(conn, "the peer reset it"),
            }
        }
    }

    /// The peer sends no more, but may still read: `echo srvr | nc` ends its side at once.
    fn peer_ended(&mut self, conn: ConnId, at: View<'_>) {
        let awaits_word = self.words.iter().any(|(asking, ..)| *asking == conn)
            || self.outputs.commands.iter().any(|(asking, _)| *asking == conn);
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if awaits_word {
            socket.is_paused = true;
            self.set_interest(conn);
        } else {
            if !socket.is_ending {
                self.front.count_drop();
            }
            socket.is_ending = true;
            self.write(conn, at);
        }
    }

    /// Sends what waits for a connection, as far as the kernel takes it.
    fn write(&mut self, conn: ConnId, at: View<'_>) {
        while let Some(socket) = self.sockets.get_mut(&conn) {
            let output = self.front.output(conn);
            if output.is_empty() {
                socket.is_full = false;
                if socket.is_ending {
                    return self.end(conn, "all is sent");
                }
                break;
            }
            match socket.stream.write(output) {
                Ok(count) => {
                    socket.is_full = count < output.len();
                    self.front.sent(conn, count, at, &mut self.outputs);
                    if self.sockets.get(&conn).is_some_and(|socket| socket.is_full) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.is_full = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(conn, "the peer reset it"),
            }
        }
        self.set_interest(conn);
    }

    /// Carries out what the Front asked for, until it asks no more.
    fn carry_out(&mut self, at: View<'_>) {
        let mut todo = std::mem::take(&mut self.todo);
        loop {
            self.apply_pauses();
            todo.take(&mut self.outputs);
            if todo.is_empty() {
                break;
            }
            for conn in todo.flush.drain(..) {
                if self.sockets.get(&conn).is_some_and(|socket| !socket.is_full) {
                    self.write(conn, at);
                }
            }
            for conn in todo.resume.drain(..) {
                if let Some(socket) = self.sockets.get_mut(&conn) {
                    socket.is_paused = false;
                    self.set_interest(conn);
                }
            }
            for (conn, how, why) in todo.close.drain(..) {
                match how {
                    CloseHow::Now => self.end(conn, why),
                    CloseHow::AfterOutput => {
                        if let Some(socket) = self.sockets.get_mut(&conn) {
                            socket.is_ending = true;
                            self.write(conn, at);
                        }
                    }
                }
            }
        }
        self.todo = todo;
    }

    fn apply_pauses(&mut self) {
        for conn in std::mem::take(&mut self.outputs.pause) {
            if let Some(socket) = self.sockets.get_mut(&conn) {
                socket.is_paused = true;
                self.set_interest(conn);
            }
        }
    }

    /// Asks the poll for what a connection can use: a paused one is not read, and only a full one
    /// is waited for to take more.
    fn set_interest(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        let reading = (!socket.is_paused && !socket.is_ending).then_some(Interest::READABLE);
        let writing = socket.is_full.then_some(Interest::WRITABLE);
        let wanted = match (reading, writing) {
            (Some(reading), Some(writing)) => Some(reading | writing),
            (reading, writing) => reading.or(writing),
        };
        if wanted == socket.interest {
            return;
        }
        let (registry, token) = (self.poll.registry(), Token(conn.0 as usize));
        let done = match (socket.interest, wanted) {
            (None, Some(wanted)) => socket.stream.register(registry, token, wanted),
            (Some(_), Some(wanted)) => socket.stream.reregister(registry, token, wanted),
            (_, None) => socket.stream.deregister(registry),
        };
        socket.interest = wanted;
        if let Err(error) = done {
            warn!(remote = %socket.remote, %error, "cannot watch a connection; closed");
            self.end(conn, "it cannot be watched");
        }
    }

    fn end(&mut self, conn: ConnId, why: &'static str) {
        if let Some(socket) = self.sockets.remove(&conn) {
            debug!(remote = %socket.remote, why, "connection closed");
            self.limits.closed(socket.remote.ip());
        }
        self.front.closed(conn, &mut self.outputs);
    }

    /// Reports, if somebody asks.
    fn answer_question(&mut self) {
        let question = self.commands.last_question();
        let answered = self.desk.answered.load(Ordering::SeqCst);
        if answered >= question {
            return;
        }
        if self.commands.wants(Want::ResetServer, answered) {
            self.front.reset_stats(self.commands.resets_everything);
        }
        if self.commands.wants(Want::ResetConnections, answered) {
            self.front.reset_connection_stats();
        }
        let mut report = self.desk.report.lock();
        // A list that somebody waits for stays until it has been read.
        let watched = match self.commands.wants(Want::WatchedPaths, answered) {
            true => self.front.watched_paths(),
            false => std::mem::take(&mut report.watched),
        };
        let clients = match self.commands.wants(Want::Clients, answered) {
            true => self.front.client_lines(),
            false => std::mem::take(&mut report.clients),
        };
        *report = FrontReport {
            stats: self.front.stats(),
            reads: self.front.reads().clone(),
            connections: self.front.connection_count(),
            outstanding: self.front.outstanding_count(),
            watches: self.front.watch_count(),
            clients,
            watched,
        };
        drop(report);
        self.desk.answered.store(question, Ordering::SeqCst);
        self.commands.answered(&self.shared);
    }

    /// Four-letter words: outside the tree's lock, since they look at it for themselves.
    fn answer_commands(&mut self, now: Now) {
        for (conn, asked) in std::mem::take(&mut self.outputs.commands) {
            let question = self.commands.ask(Commands::want_of(asked.word), &self.shared);
            self.words.push((conn, asked, question));
        }
        self.answer_question();
        if self.words.is_empty() {
            return;
        }
        for (conn, word, question) in std::mem::take(&mut self.words) {
            if self.commands.is_answered(question) {
                let text = self.commands.answer(word, &self.shared);
                self.front.finish_command(conn, &text, &mut self.outputs);
            } else {
                self.words.push((conn, word, question));
            }
        }
        self.hold_tree(now, |_, _| {});
    }
}
