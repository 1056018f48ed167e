//! A simulated reactor: what the shell's thread does with the shipped Front, in three turns that
//! others may come between: it asks which sockets are ready; it holds the tree's lock for reading
//! and works; it hands to the Core what came of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use oxikeeper_node::front::{CloseHow, Front, Outputs, View};
use oxikeeper_node::mail::{CloseReason, ConnId, Mail, MailBatch, ToCore};
use oxikeeper_node::time::Now;
use oxikeeper_proto::SessionId;
use oxikeeper_tree::Tree;

use crate::ghost::Ghost;
use crate::marks::{Mark, Marks};
use crate::net::Net;
use crate::rng::Rng;

/// How often a Front reports whom it has heard, microseconds.
const TICK_US: u64 = 100_000;

#[derive(Debug, Default)]
struct Socket {
    is_paused: bool,
    is_full: bool,
    is_ending: bool,
    session: Option<SessionId>,
}

#[derive(Debug)]
enum Turn {
    Poll,
    Hold(Vec<usize>),
    Publish,
}

/// What surrounds a reactor.
pub struct Around<'a> {
    /// Microseconds.
    pub now: u64,
    /// What the server's clock says.
    pub clock: Now,
    /// The links.
    pub net: &'a mut Net,
    /// Chance.
    pub rng: &'a mut Rng,
    /// Where runs have been.
    pub marks: &'a mut Marks,
    /// Whom the server heard from.
    pub ghost: &'a mut Ghost,
    /// Clients to wake, and when.
    pub clients: &'a mut Vec<(usize, u64)>,
}

/// A defect of the shell that tests inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShellMutation {
    /// A reactor reads the tree before it has taken its mail.
    ReadBeforeMail,
    /// Mail is delivered only after the tree's lock was let go.
    MailAfterLock,
}

/// See the module's head.
pub struct Reactor {
    front: Front,
    /// Mail that the Core has put there.
    pub mailbox: Vec<MailBatch>,
    sockets: BTreeMap<usize, Socket>,
    /// Links that were dealt to it and not taken over yet.
    pub accepted: Vec<usize>,
    outputs: Outputs,
    turn: Turn,
    next_tick: u64,
    /// When a session was asked to be resumed on a connection, as the Core saw it.
    pub resumed_at: BTreeMap<ConnId, u64>,
}

impl Reactor {
    /// Whether anybody watches here.
    pub fn is_watching(&self) -> bool {
        self.front.watch_count() > 0
    }

    /// Without connections.
    pub fn new(front: Front, now: u64) -> Reactor {
        Reactor {
            front,
            mailbox: Vec::new(),
            sockets: BTreeMap::new(),
            accepted: Vec::new(),
            outputs: Outputs::default(),
            turn: Turn::Poll,
            next_tick: now + TICK_US,
            resumed_at: BTreeMap::new(),
        }
    }

    /// Whether a wake-up may bring its next turn forward: only while it waits for sockets.
    pub fn is_polling(&self) -> bool {
        matches!(self.turn, Turn::Poll)
    }

    /// One turn. Returns what to hand to the Core, and when the next turn is due.
    pub fn act(
        &mut self,
        tree: &Tree,
        around: &mut Around<'_>,
        mutation: Option<ShellMutation>,
    ) -> (Vec<ToCore>, u64) {
        match std::mem::replace(&mut self.turn, Turn::Poll) {
            Turn::Poll => {
                let ready = self.poll(around);
                self.turn = Turn::Hold(ready);
                (Vec::new(), around.now + around.rng.turn())
            }
            Turn::Hold(ready) => {
                self.hold(ready, tree, around, mutation);
                self.turn = Turn::Publish;
                (Vec::new(), around.now + around.rng.turn())
            }
            Turn::Publish => {
                let to_core = std::mem::take(&mut self.outputs.to_core);
                (to_core, self.next_poll(around))
            }
        }
    }

    fn poll(&mut self, around: &mut Around<'_>) -> Vec<usize> {
        let (now, links) = (around.now, &around.net.links);
        let window_bytes = around.net.window_bytes;
        let is_ready = |(link, socket): &(&usize, &Socket)| {
            let pipes = &links[**link];
            let readable = pipes.up.has_bytes(now) || pipes.up.is_over(now);
            (readable && !socket.is_paused && !socket.is_ending)
                || (socket.is_full && pipes.down.room(window_bytes) > 0)
        };
        self.sockets.iter().filter(is_ready).map(|(link, _)| *link).collect()
    }

    /// When there is something to do at the latest.
    fn next_poll(&self, around: &mut Around<'_>) -> u64 {
        let mut next = self.next_tick;
        if !self.mailbox.is_empty() || !self.accepted.is_empty() {
            return around.now + around.rng.turn();
        }
        for (link, socket) in &self.sockets {
            let pipes = &around.net.links[*link];
            if !socket.is_paused
                && !socket.is_ending
                && let Some(at) = pipes.up.next_arrival()
            {
                next = next.min(at);
            }
            if socket.is_full && pipes.down.room(around.net.window_bytes) > 0 {
                next = next.min(around.now);
            }
        }
        next.max(around.now) + around.rng.turn()
    }

    /// One hold of the tree's lock.
    fn hold(
        &mut self,
        mut ready: Vec<usize>,
        tree: &Tree,
        around: &mut Around<'_>,
        mutation: Option<ShellMutation>,
    ) {
        for link in std::mem::take(&mut self.accepted) {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000 + link as u16);
            self.sockets.insert(link, Socket::default());
            self.front.accept(ConnId(link as u64), address, around.clock);
        }
        let at = View { tree, applied: tree.last_zxid(), now: around.clock };
        let is_late = mutation == Some(ShellMutation::ReadBeforeMail);
        if !is_late {
            self.deliver(at, around);
        }
        around.rng.shuffle(&mut ready);
        for link in ready {
            if self.sockets.get(&link).is_some_and(|socket| socket.is_full) {
                self.write(link, at, around);
            }
            self.read(link, at, around);
        }
        if is_late {
            self.deliver(at, around);
        }
        self.tick(at, around);
        self.carry_out(at, around);
    }

    fn tick(&mut self, at: View<'_>, around: &Around<'_>) {
        if around.now >= self.next_tick {
            self.next_tick = around.now + TICK_US;
            self.front.tick(at, &mut self.outputs);
        }
    }

    fn deliver(&mut self, at: View<'_>, around: &mut Around<'_>) {
        let mail = std::mem::take(&mut self.mailbox);
        for item in mail.iter().flat_map(|batch| &batch.items) {
            match item {
                Mail::Connected { conn, session, .. } => {
                    if let Some(socket) = self.sockets.get_mut(&(conn.0 as usize)) {
                        socket.session = Some(*session);
                    }
                    if let Some(when) = self.resumed_at.remove(conn) {
                        around.ghost.heard(*session, when);
                    }
                }
                Mail::Close { reason: CloseReason::SessionResumedElsewhere, .. } => {
                    around.marks.hit(Mark::ResumedElsewhere);
                }
                Mail::Close { reason: CloseReason::SessionMoved, .. } => {
                    around.marks.hit(Mark::SessionMoved);
                }
                _ => {}
            }
        }
        self.front.deliver(&mail, at, &mut self.outputs);
    }

    fn read(&mut self, link: usize, at: View<'_>, around: &mut Around<'_>) {
        let conn = ConnId(link as u64);
        while let Some(socket) = self.sockets.get(&link) {
            if socket.is_paused || socket.is_ending {
                return;
            }
            let max = if around.rng.chance(150) { around.rng.index(40) + 1 } else { 64 * 1024 };
            let up = &mut around.net.links[link].up;
            let bytes = up.read(around.now, max);
            if bytes.is_empty() {
                if up.is_over(around.now) {
                    self.end(link, around);
                }
                return;
            }
            if let Some(session) = socket.session {
                around.ghost.heard(session, around.now);
            }
            self.front.received(conn, &bytes, at, &mut self.outputs);
            self.apply_pauses(around.marks);
        }
    }

    fn write(&mut self, link: usize, at: View<'_>, around: &mut Around<'_>) {
        let conn = ConnId(link as u64);
        while let Some(socket) = self.sockets.get_mut(&link) {
            let output = self.front.output(conn);
            if output.is_empty() {
                socket.is_full = false;
                if socket.is_ending {
                    self.end(link, around);
                }
                return;
            }
            let delay = around.net.delay(around.rng);
            let window_bytes = around.net.window_bytes;
            let pipes = &mut around.net.links[link];
            let room = pipes.down.room(window_bytes);
            let count = output.len().min(room);
            if count == 0 {
                socket.is_full = true;
                around.marks.hit(Mark::WindowFull);
                return;
            }
            let cut = if around.rng.chance(100) { around.rng.index(count) + 1 } else { count };
            if let Some(arrival) = pipes.down.send(around.now, delay, &output[..cut]) {
                around.clients.push((pipes.client, arrival));
            }
            self.front.sent(conn, cut, at, &mut self.outputs);
        }
    }

    fn carry_out(&mut self, at: View<'_>, around: &mut Around<'_>) {
        loop {
            self.apply_pauses(around.marks);
            let close = std::mem::take(&mut self.outputs.close);
            let flush = std::mem::take(&mut self.outputs.flush);
            let resume = std::mem::take(&mut self.outputs.resume);
            if close.is_empty() && flush.is_empty() && resume.is_empty() {
                return;
            }
            for conn in flush {
                let link = conn.0 as usize;
                if self.sockets.get(&link).is_some_and(|socket| !socket.is_full) {
                    self.write(link, at, around);
                }
            }
            for conn in resume {
                if let Some(socket) = self.sockets.get_mut(&(conn.0 as usize)) {
                    socket.is_paused = false;
                }
            }
            for (conn, how, _) in close {
                let link = conn.0 as usize;
                match how {
                    CloseHow::Now => self.end(link, around),
                    CloseHow::AfterOutput => {
                        if let Some(socket) = self.sockets.get_mut(&link) {
                            socket.is_ending = true;
                            self.write(link, at, around);
                        }
                    }
                }
            }
        }
    }

    fn apply_pauses(&mut self, marks: &mut Marks) {
        for conn in std::mem::take(&mut self.outputs.pause) {
            if let Some(socket) = self.sockets.get_mut(&(conn.0 as usize)) {
                socket.is_paused = true;
                marks.hit(Mark::ReadingPaused);
            }
        }
    }

    fn end(&mut self, link: usize, around: &mut Around<'_>) {
        if self.sockets.remove(&link).is_some() {
            let delay = around.net.delay(around.rng);
            let pipes = &mut around.net.links[link];
            if let Some(arrival) = pipes.down.end(around.now, delay) {
                around.clients.push((pipes.client, arrival));
            }
        }
        self.front.closed(ConnId(link as u64), &mut self.outputs);
    }
}
