//! A client's session as a machine without sockets, clock or chance of its own: bytes, time and calls
//! go in; bytes, answers and wishes about the connection come out.
//!
//! ```text
//!            Step::Dial           connected()          ConnectResponse
//!   Down ------------------> Dialing ----------> Handshaking ----------> Up
//!    ^                          |                     |                   |
//!    +--------------------------+---------------------+-------------------+
//!             failed(), lost(), a broken rule of the protocol, silence
//! ```
//!
//! Whoever drives it calls [`Session::step`] after every input and does what it says, sends what
//! [`Session::output`] gives, in order, and hands out what [`Session::drain`] gives, in order.
//!
//! Guarantees:
//! 1. Requests reach a server in the order of their calls, and each call is answered exactly once.
//! 2. A write is sent at most once. What is known of it when its connection breaks, and what happens to
//!    those behind it, is told at [`RetryPolicy`].
//! 3. An event reaches its watch before the answer to any request that shows the change.
//! 4. A server that is behind what this session has seen refuses it (`last_zxid_seen`).
//! 5. Nothing that a server sends makes it panic: what breaks the protocol ends the connection.

mod answer;
mod connection;
mod queue;
mod receive;
mod request;
#[cfg(test)]
mod tests;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use oxikeeper_proto::time::Now;
use oxikeeper_proto::watch::WatcherType;
use oxikeeper_proto::{SessionId, Zxid};

pub use answer::{Answer, ReadResult, TxnResult};
pub use request::{MultiRead, Request, Transaction};
pub use watches::WatchId;

use crate::hosts::HostOrder;
use crate::{
    Chroot, Error, Limits, LostReason, Outcome, RetryPolicy, SessionInfo, State, WatchedEvent,
};
use connection::Link;
use queue::{Fate, Pending, Queue};
use request::Expect;
use watches::{Kind, Removal, Watches};

/// What a session is told at its begin.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many hosts there are to choose from; at least one.
    pub hosts: usize,
    /// Before all paths.
    pub chroot: Chroot,
    /// The timeout to ask for; the server clamps it.
    pub session_timeout: Duration,
    /// How long a connection may take until the server has accepted the session.
    pub connect_timeout: Duration,
    /// Whether a server that has lost its ensemble will do.
    pub allow_read_only: bool,
    /// Identities, proven on every connection.
    pub auths: Vec<(String, Vec<u8>)>,
    /// A session to take over.
    pub resume: Option<(SessionId, [u8; 16])>,
    /// What happens to requests whose connection broke.
    pub retry: RetryPolicy,
    /// What is kept at most.
    pub limits: Limits,
}

#[cfg(test)]
impl Config {
    /// Three hosts, nine seconds, all else as by default.
    pub(crate) fn of_tests() -> Config {
        Config {
            hosts: 3,
            chroot: Chroot::default(),
            session_timeout: Duration::from_secs(9),
            connect_timeout: Duration::from_secs(1),
            allow_read_only: false,
            auths: Vec::new(),
            resume: None,
            retry: RetryPolicy::default(),
            limits: Limits::default(),
        }
    }
}

/// What whoever drives a session is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Connect to this host, then call [`Session::connected`] or [`Session::failed`].
    Dial(usize),
    /// Give the connection up, or the attempt to make one. Nothing is to be told of it any more.
    HangUp,
    /// Ask this host by `isro` whether it takes writes, beside the connection; tell it to
    /// [`Session::probed`].
    Probe(usize),
    /// Nothing before the next input or [`Session::deadline`].
    Idle,
    /// Nothing ever again.
    End,
}

/// What a session has to say to those who wait.
#[derive(Debug)]
pub enum Output<C, W> {
    /// The result of a call.
    Answered(C, Result<Answer, Error>),
    /// An event for a watch.
    Seen(W, WatchedEvent),
    /// A watch will see nothing more: of [`Error::WatchRemoved`] or the end of the session.
    Ended(W, Error),
    /// How the client stands from now on.
    State(State),
}

struct Auth<C> {
    scheme: String,
    auth: Vec<u8>,
    /// Who waits for the first answer.
    call: Option<C>,
}

/// See the module. `C` stands for a call, `W` for a watch: whatever the driver knows them by.
pub struct Session<C, W> {
    config: Config,
    hosts: HostOrder,
    link: Link,
    hang_up: bool,
    state: State,
    id: SessionId,
    password: [u8; 16],
    timeout: Duration,
    has_written_server: bool,
    last_zxid: Zxid,
    proven: Now,
    next_xid: i32,
    queue: Queue<C>,
    /// Frames that go before all requests: handshake, identities, watches, pings.
    control: Vec<u8>,
    auths: Vec<Auth<C>>,
    /// Places in `auths` whose answers are to come, in order.
    auths_unanswered: std::collections::VecDeque<usize>,
    set_watches_unanswered: usize,
    watches: Watches<W>,
    inbox: Vec<u8>,
    /// Bytes of a frame that is too large, still to be thrown away.
    skip: usize,
    probe: connection::Probe,
    closing: bool,
    end: Option<Error>,
    outputs: Vec<Output<C, W>>,
}

impl<C, W: Clone> Session<C, W> {
    /// A session that has not begun. The seed decides in which order hosts are tried.
    pub fn new(config: Config, seed: u64) -> Session<C, W> {
        let (id, password) = config.resume.unwrap_or((SessionId::NONE, [0; 16]));
        let auths = config.auths.iter().map(|(scheme, auth)| Auth {
            scheme: scheme.clone(),
            auth: auth.clone(),
            call: None,
        });
        Session {
            hosts: HostOrder::new(config.hosts.max(1), seed),
            link: Link::Down { retry_at: Now::default() },
            hang_up: false,
            state: State::Connecting,
            id,
            password,
            timeout: config.session_timeout,
            has_written_server: config.resume.is_some(),
            last_zxid: Zxid::ZERO,
            proven: Now::default(),
            next_xid: 1,
            queue: Queue::new(),
            control: Vec::new(),
            auths: auths.collect(),
            auths_unanswered: Default::default(),
            set_watches_unanswered: 0,
            watches: Watches::new(),
            inbox: Vec::new(),
            skip: 0,
            probe: connection::Probe::default(),
            closing: false,
            end: None,
            outputs: Vec::new(),
            config,
        }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Who it is.
    pub fn info(&self) -> SessionInfo {
        SessionInfo { id: self.id, password: self.password, timeout: self.timeout }
    }

    /// The latest transaction that a reply has shown.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// When the latest of the requests was called, or pings sent, that a server has answered: the session was
    /// alive then, and lives at least for its timeout from then on.
    pub fn proven(&self) -> Now {
        self.proven
    }

    /// The number that the next request gets on the wire.
    pub fn next_xid(&self) -> i32 {
        self.next_xid
    }

    /// Requests are numbered from here on: positive numbers, 1 at first.
    pub fn number_from(&mut self, xid: i32) {
        assert!(xid > 0, "other numbers have meanings of their own");
        self.next_xid = xid;
    }

    /// Requests without a reply.
    pub fn requests(&self) -> usize {
        self.queue.len()
    }

    /// Watches, set or on their way.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// Takes a request: its place in the session's order is behind all earlier ones. The answer comes
    /// by [`drain`](Self::drain), at once if nothing can be sent. With a `watch`, reads leave a
    /// one-shot one, and [`Request::AddWatch`] must have one.
    pub fn call(
        &mut self,
        request: &Request<'_>,
        call: C,
        watch: Option<W>,
        now: Now,
    ) -> Option<WatchId> {
        if let Err(error) = self.admits(request) {
            self.outputs.push(Output::Answered(call, Err(error)));
            return None;
        }
        if let Request::AddAuth { scheme, auth } = request {
            self.add_auth(scheme, auth, call, now);
            return None;
        }
        self.closing |= matches!(request, Request::Close);
        let watch = watch.and_then(|watch| {
            let (path, kind) = watched(request)?;
            let path = match request {
                Request::GetConfig => path.to_owned(),
                _ => self.config.chroot.apply(path).into_owned(),
            };
            Some(self.watches.reserve(path, kind, watch))
        });
        let expect = request.expect(&self.config.chroot);
        self.enqueue(request, expect, Some(call), watch, now)
    }

    fn admits(&self, request: &Request<'_>) -> Result<(), Error> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        if self.closing {
            return Err(Error::Closed);
        }
        let limits = &self.config.limits;
        let (requests, bytes) = (self.queue.len(), self.queue.bytes());
        let is_full = requests >= limits.requests_max || bytes >= limits.bytes_max;
        if is_full && !matches!(request, Request::Close) {
            return Err(Error::QueueFull { requests, bytes });
        }
        Ok(())
    }

    fn enqueue(
        &mut self,
        request: &Request<'_>,
        expect: Expect,
        call: Option<C>,
        watch: Option<WatchId>,
        now: Now,
    ) -> Option<WatchId> {
        let xid = self.next_xid;
        let pending = Pending {
            xid,
            expect,
            call,
            watch,
            called: now,
            is_idempotent: request.is_idempotent(),
            losses: 0,
            length: 0,
        };
        let (chroot, max) = (&self.config.chroot, self.config.limits.request_bytes_max);
        let pushed = self.queue.push(pending, |out| {
            let start = out.len();
            request.encode(xid, chroot, watch.is_some(), out)?;
            let bytes = out.len() - start - 4;
            if bytes > max {
                return Err(Error::TooLarge { what: "request", bytes, max });
            }
            Ok(())
        });
        if let Err((pending, error)) = pushed {
            self.refuse(pending, error);
            return None;
        }
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        watch
    }

    /// Ends a request with an error.
    fn refuse(&mut self, pending: Pending<C>, error: Error) {
        if let Some(id) = pending.watch {
            self.watches.unset(id);
        }
        if let Expect::RemoveWatches { path, kind, local: true } = &pending.expect {
            self.forget_watches(path, *kind);
        }
        if let Some(call) = pending.call {
            self.outputs.push(Output::Answered(call, Err(error)));
        }
    }

    /// An identity holds from its place in the order on, and is proven anew on each connection.
    fn add_auth(&mut self, scheme: &str, auth: &[u8], call: C, now: Now) {
        let place = self.auths.len();
        self.auths.push(Auth {
            scheme: scheme.to_owned(),
            auth: auth.to_owned(),
            call: Some(call),
        });
        if matches!(self.link, Link::Up(_)) {
            self.auths_unanswered.push_back(place);
            let request = Request::AddAuth { scheme, auth };
            self.enqueue(&request, Expect::Auth(place), None, None, now);
        }
    }

    /// Nobody waits for this watch any more. The server is told if that is of use.
    pub fn drop_watch(&mut self, id: WatchId, now: Now) {
        if let Some(removal) = self.watches.drop_watch(id) {
            self.tell_removal(&removal, now);
        }
    }

    /// What is unset when no connection is there is not set on the next one.
    fn tell_removal(&mut self, removal: &Removal, now: Now) {
        if self.end.is_none() && !self.closing && matches!(self.link, Link::Up(_)) {
            let path = self.config.chroot.strip(&removal.path).to_owned();
            let request = Request::RemoveWatches { path: &path, kind: removal.kind, local: false };
            self.enqueue(&request, Expect::Nothing, None, None, now);
        }
    }

    fn forget_watches(&mut self, path: &str, kind: WatcherType) {
        for watch in self.watches.forget(path, kind) {
            self.outputs.push(Output::Ended(watch, Error::WatchRemoved));
        }
    }

    /// Whether this client has a watch of this type at a path of its own.
    pub fn has_watch(&self, path: &str, kind: WatcherType) -> bool {
        self.watches.has(&self.config.chroot.apply(path), kind)
    }

    /// The last handle is gone: the connection is given up, and the session left to its timeout.
    pub fn abandon(&mut self) {
        self.finish(Error::Closed, LostReason::Closed);
    }

    /// Whether [`output`](Self::output) may give anything.
    pub fn has_output(&self) -> bool {
        !self.control.is_empty()
            || (matches!(self.link, Link::Up(_)) && self.queue.first_unsent().is_some())
    }

    /// What is to be sent next. The driver may hold on to the bytes while it writes them.
    pub fn output(&mut self, now: Now) -> Option<Arc<Vec<u8>>> {
        let bytes = if self.control.is_empty() {
            match self.link {
                Link::Up(_) => self.queue.take(self.config.limits.in_flight_max)?,
                _ => return None,
            }
        } else {
            Arc::new(std::mem::take(&mut self.control))
        };
        if let Link::Up(up) = &mut self.link {
            up.sent = now;
        }
        Some(bytes)
    }

    /// Appends everything that was said since the last time.
    pub fn drain(&mut self, into: &mut Vec<Output<C, W>>) {
        into.append(&mut self.outputs);
    }

    /// Whether [`drain`](Self::drain) would give anything.
    pub fn has_said(&self) -> bool {
        !self.outputs.is_empty()
    }

    fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.outputs.push(Output::State(state));
        }
    }

    /// Every request and watch ends, and so does the connection.
    fn finish(&mut self, error: Error, reason: LostReason) {
        if self.end.is_some() {
            return;
        }
        self.hang_up |= !matches!(self.link, Link::Down { .. });
        self.link = Link::Down { retry_at: Now::default() };
        self.control.clear();
        self.inbox = Vec::new();
        for pending in self.queue.drain() {
            let Some(call) = pending.call else { continue };
            let result = match pending.expect {
                // However it ended, the session is over, which is what was asked for.
                Expect::Close if error != Error::AuthFailed => Ok(Answer::Done),
                _ => Err(error.clone()),
            };
            self.outputs.push(Output::Answered(call, result));
        }
        for call in self.auths.iter_mut().filter_map(|auth| auth.call.take()) {
            self.outputs.push(Output::Answered(call, Err(error.clone())));
        }
        for watch in self.watches.drain() {
            self.outputs.push(Output::Ended(watch, error.clone()));
        }
        self.set_state(State::Lost(reason));
        self.end = Some(error);
    }

    /// Ends the requests that must not outlive their connection.
    fn lose_requests(&mut self) {
        let retries = self.config.retry.retries;
        let mut is_broken = false;
        let mut failed = Vec::new();
        self.queue.sift(
            |pending, is_sent| {
                pending.losses += u32::from(is_sent);
                if matches!(pending.expect, Expect::Auth(_)) || pending.call.is_none() {
                    // Identities are proven anew anyway, dropped watches not set again.
                    return Fate::Vanishes;
                }
                let stays = if pending.is_idempotent {
                    pending.losses <= retries && retries > 0
                } else {
                    !is_sent && !is_broken && retries > 0
                };
                if stays {
                    return Fate::Stays;
                }
                is_broken |= !pending.is_idempotent;
                Fate::Fails(if pending.losses > 0 { Outcome::Unknown } else { Outcome::NotDone })
            },
            |pending, outcome| failed.push((pending, outcome)),
        );
        self.fail(failed);
    }

    fn fail(&mut self, failed: Vec<(Pending<C>, Outcome)>) {
        let mut closed = false;
        for (pending, outcome) in failed {
            closed |= pending.expect == Expect::Close;
            self.refuse(pending, Error::ConnectionLoss { outcome });
        }
        if closed {
            self.finish(Error::Closed, LostReason::Closed);
        }
    }

    fn patience(&self) -> Duration {
        self.config.retry.patience.unwrap_or(self.timeout)
    }

    /// Ends the requests that have waited too long for a connection, and the writes behind them.
    fn lose_patience(&mut self, now: Now) {
        let patience = self.patience();
        let is_over = |pending: &Pending<C>| now.since(pending.called) >= patience;
        if !self.queue.first_unsent().is_some_and(is_over) {
            return;
        }
        let mut is_broken = false;
        let mut failed = Vec::new();
        self.queue.sift(
            |pending, _| {
                if !is_over(pending) && (pending.is_idempotent || !is_broken) {
                    return Fate::Stays;
                }
                is_broken |= !pending.is_idempotent;
                Fate::Fails(if pending.losses > 0 { Outcome::Unknown } else { Outcome::NotDone })
            },
            |pending, outcome| failed.push((pending, outcome)),
        );
        self.fail(failed);
    }
}

/// What a request can leave a watch on, and of which kind as long as the node is there.
fn watched<'r>(request: &Request<'r>) -> Option<(&'r str, Kind)> {
    use crate::WatchMode;
    match request {
        Request::Exists(path) | Request::GetData(path) => Some((path, Kind::Data)),
        Request::GetConfig => Some((oxikeeper_proto::path::CONFIG, Kind::Data)),
        Request::GetChildren(path) | Request::GetChildrenAndStat(path) => Some((path, Kind::Child)),
        Request::AddWatch { path, mode: WatchMode::Persistent } => Some((path, Kind::Persistent)),
        Request::AddWatch { path, mode: WatchMode::PersistentRecursive } => {
            Some((path, Kind::Recursive))
        }
        _ => None,
    }
}
