//! The thread of the election port and the quorum port: every connection with another server.
//!
//! What it reads it gives to the peer and runs the Core at once. What the peer wants done on the ports comes
//! back as orders, often while it does so; packets whoever runs the Core sends by himself
//! ([`Outlet`](super::outlet::Outlet)), and this thread what a connection did not take at once.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use oxikeeper_node::time::Now;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::initial_message::HostPort;
use oxikeeper_proto::quorum::stream::{ElectionItem, ElectionStream, QuorumStream};
use oxikeeper_proto::quorum::{ConfigText, InitialMessage};
use oxikeeper_proto::replay::ReplayTarget;
use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{Encode, Zxid};
use oxikeeper_tree::{Restore, TreeOptions};
use oxikeeper_zab::arbiter::{ElectionConn, ElectionInput, ElectionOutput};
use oxikeeper_zab::io::{ConfigStep, Input, LinkId, Output};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::{error, info, warn};

use super::connection::{Connection, Stream};
use super::dial::{Dialed, Purpose, dial};
use super::disk::DiskJob;
use super::feeder::FeedJob;
use super::outlet::{Outlet, Outlets, Sent};
use super::setup::Seat;
use crate::clock::Clock;
use crate::engine::Runner;
use crate::log_writer::LogJob;
use crate::shared::Shared;

const WAKER: Token = Token(0);
const ELECTION_LISTENERS: usize = 1;
const QUORUM_LISTENERS: usize = 64;
const FIRST_CONNECTION: u64 = 128;
/// At the latest the thread looks around then.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// Between two words about the time.
const TICK_SPACING: Duration = Duration::from_millis(1);
/// Between two attempts to open the election port anew.
const LISTEN_RETRY: Duration = Duration::from_secs(1);
/// Nodes of a snapshot that stand in so much are built up without a break.
const READ_BYTES: usize = 32 << 10;
const BACKLOG: i32 = 128;

/// Something for the thread to do.
pub enum Order {
    /// On the election port.
    Election(ElectionOutput),
    /// On the quorum port.
    Peer(Output),
    /// An attempt to connect has ended.
    Dialed(Dialed),
    /// Send what waits there.
    Flush(Vec<Arc<Outlet>>),
    /// Servers come, go or move.
    Members {
        /// The configuration that says so.
        config: Arc<ConfigText>,
        /// What has become of it.
        step: ConfigStep,
    },
}

/// How others reach the thread.
pub struct NetHandle {
    orders: Mutex<Vec<Order>>,
    waker: Waker,
    /// When the peer wants to be told of the time, microseconds.
    tick_by: AtomicU64,
    /// Until when the thread sleeps, microseconds; 0 while it is awake.
    sleeps_until: AtomicU64,
    /// Where packets go.
    pub outlets: Outlets,
}

impl NetHandle {
    /// Adds orders; the thread wakes.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        self.orders.lock().extend(orders);
        if self.sleeps_until.swap(0, Ordering::SeqCst) != 0 {
            // If the thread is gone, so is the process, in a moment.
            let _ = self.waker.wake();
        }
    }

    /// When the peer has to be told of the time.
    pub fn tick_by(&self, deadline: Option<Now>) {
        let by = deadline.map_or(u64::MAX, |at| at.micros());
        self.tick_by.store(by, Ordering::SeqCst);
        if self.sleeps_until.load(Ordering::SeqCst) > by {
            self.sleeps_until.store(0, Ordering::SeqCst);
            let _ = self.waker.wake();
        }
    }
}

/// The thread.
pub struct Net {
    seat: Arc<Seat>,
    handle: Arc<NetHandle>,
    shared: Arc<Shared>,
    clock: Clock,
    log: Sender<LogJob>,
    feeder: Sender<FeedJob>,
    tree: TreeOptions,
    poll: Poll,
    election_listeners: Vec<TcpListener>,
    quorum_listeners: Vec<TcpListener>,
    connections: HashMap<u64, Connection>,
    next_connection: u64,
    /// The state that comes from the leader, with its link and the zxid of its SNAP.
    receiving: Option<(LinkId, Zxid, Box<Restore>)>,
    inputs: Vec<Input>,
    /// The peer was told the time a moment ago, and not again before this.
    next_tick: Now,
    dirty: Vec<u64>,
    buffer: Vec<u8>,
    /// The election port is to be opened then.
    listen_again_at: Option<Now>,
}

/// What the thread needs from others.
pub struct NetParts {
    /// Who is who.
    pub seat: Arc<Seat>,
    /// The Core.
    pub shared: Arc<Shared>,
    /// The time.
    pub clock: Clock,
    /// Where received snapshots go.
    pub log: Sender<LogJob>,
    /// Who sends snapshots.
    pub feeder: Sender<FeedJob>,
    /// How received trees behave.
    pub tree: TreeOptions,
}

/// A way to reach the thread before it runs.
///
/// # Errors
/// What the operating system says.
pub fn prepare() -> io::Result<(Poll, Arc<NetHandle>)> {
    let poll = Poll::new()?;
    let handle = NetHandle {
        orders: Mutex::default(),
        waker: Waker::new(poll.registry(), WAKER)?,
        tick_by: AtomicU64::new(0),
        sleeps_until: AtomicU64::new(0),
        outlets: Outlets::default(),
    };
    Ok((poll, Arc::new(handle)))
}

/// Listens on addresses of this machine.
///
/// # Errors
/// The address, and what the operating system says.
pub fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Net {
    /// A thread to be, with its election port open.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(
        poll: Poll,
        handle: Arc<NetHandle>,
        listeners: Vec<StdListener>,
        parts: NetParts,
    ) -> io::Result<Net> {
        let NetParts { seat, shared, clock, log, feeder, tree } = parts;
        let mut election_listeners = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let mut listener = TcpListener::from_std(listener);
            let token = Token(ELECTION_LISTENERS + index);
            poll.registry().register(&mut listener, token, Interest::READABLE)?;
            election_listeners.push(listener);
        }
        Ok(Net {
            seat,
            handle,
            shared,
            clock,
            log,
            feeder,
            tree,
            poll,
            election_listeners,
            quorum_listeners: Vec::new(),
            connections: HashMap::new(),
            next_connection: FIRST_CONNECTION,
            receiving: None,
            inputs: Vec::new(),
            next_tick: Now::default(),
            dirty: Vec::new(),
            buffer: vec![0; READ_BYTES],
            listen_again_at: None,
        })
    }

    /// Runs until the process ends.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            self.run_core();
            self.listen_again();
            let until = self.clock.now().after(SLEEP_MAX).micros();
            self.handle.sleeps_until.store(until, Ordering::SeqCst);
            // Whoever changes something from here on sees that we sleep.
            let has_orders = !self.handle.orders.lock().is_empty();
            let sleep = if has_orders { Duration::ZERO } else { self.until_tick() };
            // And who wants to be told of a time that we wake by anyhow has nothing to do.
            let until = self.clock.now().after(sleep).micros();
            self.handle.sleeps_until.fetch_min(until, Ordering::SeqCst);
            match self.poll.poll(&mut events, Some(sleep)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.handle.sleeps_until.store(0, Ordering::SeqCst);
            for event in &events {
                let token = event.token();
                match token.0 {
                    0 => {}
                    index if index < QUORUM_LISTENERS => self.accept(index),
                    index if (index as u64) < FIRST_CONNECTION => self.accept(index),
                    id => {
                        if event.is_writable() {
                            self.dirty.push(id as u64);
                        }
                        let is_over = event.is_read_closed() || event.is_error();
                        if event.is_readable() || is_over {
                            self.read(id as u64, is_over);
                        }
                    }
                }
            }
            self.flush();
        }
    }

    fn until_tick(&self) -> Duration {
        let tick_by = Now::from_micros(self.handle.tick_by.load(Ordering::SeqCst));
        tick_by.max(self.next_tick).since(self.clock.now()).min(SLEEP_MAX)
    }

    /// Gives the peer what has come, or tells it the time, and does what it wants.
    fn run_core(&mut self) {
        loop {
            if self.until_tick().is_zero() {
                // Another thread may have the Core: it takes this before it lets go.
                self.inputs.push(Input::Tick);
                self.next_tick = self.clock.now().after(TICK_SPACING);
            }
            let inputs = std::mem::take(&mut self.inputs);
            if !inputs.is_empty() {
                self.shared.run_core(inputs, Runner::Other);
            }
            let orders = std::mem::take(&mut *self.handle.orders.lock());
            if orders.is_empty() && self.inputs.is_empty() {
                return;
            }
            for order in orders {
                self.obey(order);
            }
            self.flush();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Election(output) => self.obey_election(output),
            Order::Dialed(dialed) => self.dialed(dialed),
            Order::Flush(outlets) => {
                for outlet in outlets {
                    outlet.flush();
                }
            }
            Order::Peer(output) => self.obey_peer(output),
            Order::Members { config, step } => self.change_members(config, step),
        }
    }

    fn obey_peer(&mut self, output: Output) {
        match output {
            Output::Connect(to) => {
                let addresses = self.seat.members.lock().quorum_addresses(to);
                self.dial(Purpose::Learn, to, addresses, self.seat.learn_timeout);
            }
            Output::Listen(true) => self.open_quorum_port(),
            Output::Listen(false) => self.quorum_listeners.clear(),
            Output::Retire => {
                self.election_listeners.clear();
                self.quorum_listeners.clear();
                self.listen_again_at = None;
            }
            Output::CloseLink(link) => self.close(link.0),
            Output::SendSnapshot { link, at_least } => self.lend(link, at_least),
            Output::ReceiveSnapshot { link, zxid } => {
                let mut restore = Box::new(Restore::new(self.tree));
                restore.begin_snapshot(zxid);
                self.receiving = Some((link, zxid, restore));
                self.read(link.0, true);
            }
            Output::ReplayOnSnapshot(proposal) => {
                let Some((_, _, restore)) = &mut self.receiving else { return };
                let replayed = decode_payload(&proposal.payload)
                    .map_err(|error| error.to_string())
                    .and_then(|(header, txn, digest)| {
                        restore.apply(&header, &txn, digest).map_err(|fault| fault.to_string())
                    });
                if let Err(reason) = replayed {
                    error!(zxid = %proposal.zxid, reason, "cannot be replayed on the snapshot");
                    std::process::exit(1);
                }
            }
            Output::InstallSnapshot { ticket, .. } => {
                if let Some((_, _, restore)) = self.receiving.take() {
                    let tree = Box::new(restore.into_tree());
                    let _ = self.log.send(LogJob::Peer(DiskJob::Install { tree, ticket }));
                }
            }
            Output::AbandonSnapshot => self.receiving = None,
            // The Core has taken the others, or the driver.
            _ => {}
        }
    }

    fn obey_election(&mut self, output: ElectionOutput) {
        match output {
            ElectionOutput::Connect { to, addresses } => {
                let mut all: Vec<(String, u16)> =
                    addresses.into_iter().map(|address| (address.host, address.port)).collect();
                all.extend(self.seat.members.lock().election_addresses(to));
                self.dial(Purpose::Election, to, all, self.seat.election_timeout);
            }
            ElectionOutput::Greet { conn, then_close } => {
                let Some(connection) = self.connections.get_mut(&conn.0) else { return };
                let addresses: Vec<HostPort> = self.seat.own_election_addresses();
                let server = self.seat.my_id;
                let message = match self.seat.multi_address {
                    true => InitialMessage::V2 { server, addresses },
                    false => InitialMessage::V1 {
                        server,
                        addresses: addresses.into_iter().take(1).collect(),
                    },
                };
                connection.outlet.put(|out| message.encode(out));
                connection.closes_after_output |= then_close;
                self.dirty.push(conn.0);
            }
            ElectionOutput::Send(conn, payload) => {
                let Some(connection) = self.connections.get_mut(&conn.0) else { return };
                let length = i32::try_from(payload.len()).expect("notifications are short");
                connection.outlet.put(|out| {
                    length.encode(out);
                    out.extend_from_slice(&payload);
                });
                connection.wants_drained = true;
                self.dirty.push(conn.0);
            }
            ElectionOutput::Close(conn) => self.close(conn.0),
        }
    }

    fn dial(&self, what: Purpose, to: ServerId, at: Vec<(String, u16)>, timeout: Duration) {
        dial(what, to, at, timeout, Arc::clone(&self.handle));
    }

    fn dialed(&mut self, dialed: Dialed) {
        let Dialed { purpose, to, stream } = dialed;
        let opened = stream.and_then(|stream| {
            let kind = match purpose {
                Purpose::Election => Stream::Election(ElectionStream::opened()),
                Purpose::Learn => {
                    Stream::Quorum(QuorumStream::of_leader(self.seat.field_bytes_max))
                }
            };
            self.take_in(stream, kind)
        });
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        self.inputs.push(match (purpose, opened) {
            (Purpose::Election, Ok(id)) => {
                Input::Election(ElectionInput::Opened { conn: ElectionConn(id), to })
            }
            (Purpose::Election, Err(error)) => {
                let refused = refused(&error);
                Input::Election(ElectionInput::ConnectFailed { to, refused })
            }
            (Purpose::Learn, Ok(id)) => Input::Connected { link: LinkId(id), to },
            (Purpose::Learn, Err(error)) => {
                info!(leader = %to, %error, "cannot connect to the leader");
                Input::ConnectFailed { to, refused: refused(&error) }
            }
        });
    }

    fn accept(&mut self, token: usize) {
        let is_election = token < QUORUM_LISTENERS;
        loop {
            let listener = match is_election {
                true => self.election_listeners.get(token - ELECTION_LISTENERS),
                false => self.quorum_listeners.get(token - QUORUM_LISTENERS),
            };
            let stream = match listener.map(TcpListener::accept) {
                Some(Ok((stream, _))) => stream,
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    warn!(%error, "cannot accept a connection of another server");
                    return;
                }
                _ => return,
            };
            let kind = match is_election {
                true => Stream::Election(ElectionStream::accepted()),
                false => Stream::Quorum(QuorumStream::of_learner(self.seat.field_bytes_max)),
            };
            match self.take_in(stream.into(), kind) {
                Ok(id) if is_election => {
                    self.inputs.push(Input::Election(ElectionInput::Accepted(ElectionConn(id))));
                }
                Ok(id) => self.inputs.push(Input::Accepted(LinkId(id))),
                Err(error) => warn!(%error, "cannot use a connection of another server"),
            }
        }
    }

    fn take_in(&mut self, stream: StdStream, kind: Stream) -> io::Result<u64> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_keepalive(self.seat.keep_alive)?;
        let mut socket = TcpStream::from_std(stream);
        let id = self.next_connection;
        self.next_connection += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(id as usize), interest)?;
        let connection = Connection::new(socket, kind)?;
        if matches!(connection.stream, Stream::Quorum(_)) {
            self.handle.outlets.lock().insert(LinkId(id), Arc::clone(&connection.outlet));
        }
        self.connections.insert(id, connection);
        Ok(id)
    }

    fn open_quorum_port(&mut self) {
        let binds = match self.seat.quorum_binds() {
            Ok(binds) => binds,
            Err(error) => return error!(%error, "cannot listen for learners"),
        };
        for (index, address) in binds.into_iter().enumerate() {
            let opened = listen(address).and_then(|listener| {
                let mut listener = TcpListener::from_std(listener);
                let token = Token(QUORUM_LISTENERS + index);
                self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
                Ok(listener)
            });
            match opened {
                Ok(listener) => self.quorum_listeners.push(listener),
                Err(error) => error!(%address, %error, "cannot listen for learners"),
            }
        }
    }

    /// Connections with others are the peer's matter; the own election port moves if its line does.
    fn change_members(&mut self, config: Arc<ConfigText>, step: ConfigStep) {
        let mut members = self.seat.members.lock();
        let before = members.own().cloned();
        members.change(config, step);
        let after = members.own();
        let moves = match (&before, after) {
            (Some(before), Some(after)) => !before.has_same_election_addresses(after),
            (before, after) => before.is_none() && after.is_some(),
        };
        drop(members);
        if moves {
            self.election_listeners.clear();
            self.listen_again_at = Some(self.clock.now());
        }
    }

    /// Opens the election port at its new place, as soon as it can be had.
    fn listen_again(&mut self) {
        let now = self.clock.now();
        if self.listen_again_at.is_none_or(|at| now < at) {
            return;
        }
        self.listen_again_at = None;
        let opened =
            self.seat.election_binds().map_err(|error| error.to_string()).and_then(|binds| {
                let open = |(index, address): (usize, SocketAddr)| {
                    let mut listener = TcpListener::from_std(listen(address)?);
                    let token = Token(ELECTION_LISTENERS + index);
                    self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
                    Ok(listener)
                };
                let opened: io::Result<Vec<TcpListener>> =
                    binds.into_iter().enumerate().map(open).collect();
                opened.map_err(|error| error.to_string())
            });
        match opened {
            Ok(listeners) => self.election_listeners = listeners,
            Err(error) => {
                error!(error, "cannot listen for elections where the configuration says");
                self.listen_again_at = Some(now.after(LISTEN_RETRY));
            }
        }
    }

    /// A snapshot is to be sent: the feeder writes to the connection as soon as what is before it is
    /// with the kernel.
    fn lend(&mut self, link: LinkId, at_least: Zxid) {
        let Some(connection) = self.connections.get(&link.0) else { return };
        let outlet = Arc::clone(&connection.outlet);
        let before = outlet.lend();
        let _ = self.feeder.send(FeedJob::Snapshot { link, at_least, outlet, before });
    }

    fn flush(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            match connection.outlet.flush_rest() {
                Sent::Over => self.end(id),
                Sent::Some => {}
                Sent::All if connection.closes_after_output => self.close(id),
                Sent::All if std::mem::take(&mut connection.wants_drained) => {
                    self.inputs.push(Input::Election(ElectionInput::Drained(ElectionConn(id))));
                }
                Sent::All => {}
            }
        }
    }

    /// Reads all there is, unless a snapshot has to be waited for. A short read says that there is no more,
    /// but `to_the_end` the connection's end is behind it, and no other event will say so.
    fn read(&mut self, id: u64, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut is_over = false;
        // What was read before may hold more than was asked for.
        let mut goes_on = self.take(id, &[], &mut is_over);
        while goes_on
            && !is_over
            && let Some(connection) = self.connections.get_mut(&id)
        {
            match connection.read(&mut buffer) {
                Ok(Some(0)) | Err(_) => is_over = true,
                Ok(Some(count)) => {
                    goes_on = self.take(id, &buffer[..count], &mut is_over);
                    if self.receiving.is_some() {
                        // Other servers and their clients may share the processor.
                        std::thread::yield_now();
                    }
                    goes_on &= to_the_end || count == buffer.len();
                }
                Ok(None) => break,
            }
        }
        self.buffer = buffer;
        if is_over {
            self.end(id);
        }
    }

    /// Makes inputs of bytes. False if the rest has to wait.
    fn take(&mut self, id: u64, bytes: &[u8], is_over: &mut bool) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let taken = match &mut connection.stream {
            Stream::Election(stream) => take_election(stream, id, bytes, &mut self.inputs),
            Stream::Quorum(stream) => {
                stream.feed(bytes);
                let receiving = self.receiving.as_mut().filter(|(link, ..)| link.0 == id);
                take_quorum(stream, LinkId(id), receiving, &mut self.inputs)
            }
        };
        taken.unwrap_or_else(|reason| {
            warn!(reason, "another server sent what cannot be; the connection is closed");
            *is_over = true;
            false
        })
    }

    /// The peer has given a connection up.
    fn close(&mut self, id: u64) {
        if let Some(connection) = self.forget(id) {
            if connection.outlet.is_lent() {
                connection.outlet.shut_down();
            } else {
                // What waits is worth a try: the other side learns why.
                connection.outlet.flush_rest();
            }
        }
        if self.receiving.as_ref().is_some_and(|(link, ..)| link.0 == id) {
            self.receiving = None;
        }
    }

    /// A connection is over: the peer has to know.
    fn end(&mut self, id: u64) {
        let Some(connection) = self.forget(id) else { return };
        connection.outlet.shut_down();
        self.inputs.push(match connection.stream {
            Stream::Election(_) => Input::Election(ElectionInput::Closed(ElectionConn(id))),
            Stream::Quorum(_) => Input::Closed(LinkId(id)),
        });
    }

    fn forget(&mut self, id: u64) -> Option<Connection> {
        let mut connection = self.connections.remove(&id)?;
        self.handle.outlets.lock().remove(&LinkId(id));
        let _ = self.poll.registry().deregister(&mut connection.socket);
        Some(connection)
    }
}

fn take_election(
    stream: &mut ElectionStream,
    id: u64,
    bytes: &[u8],
    inputs: &mut Vec<Input>,
) -> Result<bool, String> {
    stream.feed(bytes);
    let conn = ElectionConn(id);
    while let Some(item) = stream.next().map_err(|error| error.to_string())? {
        inputs.push(Input::Election(match item {
            ElectionItem::Initial(message) => ElectionInput::Initial(conn, message),
            ElectionItem::Frame(payload) => ElectionInput::Frame(conn, payload),
        }));
    }
    Ok(true)
}

fn take_quorum(
    stream: &mut QuorumStream,
    link: LinkId,
    mut receiving: Option<&mut (LinkId, Zxid, Box<Restore>)>,
    inputs: &mut Vec<Input>,
) -> Result<bool, String> {
    loop {
        if stream.is_in_snapshot() {
            // The peer says first what is to become of it.
            let Some((_, zxid, restore)) = receiving.as_deref_mut() else { return Ok(false) };
            if !stream.snapshot(&mut **restore).map_err(|error| error.to_string())? {
                inputs.push(Input::SnapshotProgress(link));
                return Ok(true);
            }
            restore.end_snapshot(*zxid, None).map_err(|fault| fault.to_string())?;
            inputs.push(Input::SnapshotReceived(link));
        }
        match stream.next_packet().map_err(|error| error.to_string())? {
            Some(packet) => inputs.push(Input::Packet(link, packet)),
            None if stream.is_in_snapshot() => {}
            None => return Ok(true),
        }
    }
}
