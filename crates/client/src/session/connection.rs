//! The connection of a session: making one, keeping it alive, noticing that it is dead.

use std::borrow::Cow;
use std::time::Duration;

use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::reply::ConnectResponse;
use oxikeeper_proto::request::{ConnectRequest, SetWatches2Request, SetWatchesRequest};
use oxikeeper_proto::time::Now;
use oxikeeper_proto::{Encode, OpCode, Reader, SessionId, Xid, Zxid};

use super::request::{Empty, auth_frame, frame};
use super::watches::Kind;
use super::{Output, Session, Step};
use crate::{Error, EventKind, LostReason, State, WatchedEvent};

/// Text of paths in one setWatches, as Apache's client splits it: a server refuses larger frames.
const SET_WATCHES_BYTES: usize = 128 << 10;
/// A ping goes out at least this often, as from Apache's client: servers behind middle boxes are lost
/// otherwise.
const PING_MAX: Duration = Duration::from_secs(10);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(1);
/// The first and the longest pause between two questions for a server that takes writes.
const PROBE_FIRST: Duration = Duration::from_millis(100);
const PROBE_MAX: Duration = Duration::from_secs(60);

/// Where the connection stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    Down { retry_at: Now },
    Dialing { host: usize, since: Now },
    Handshaking { host: usize, since: Now },
    Up(Up),
}

/// A connection on which the server has accepted the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Up {
    pub host: usize,
    pub since: Now,
    /// When the server was heard last.
    pub heard: Now,
    /// When anything was sent last.
    pub sent: Now,
    /// When the oldest ping was sent that is not answered yet.
    pub ping: Option<Now>,
}

/// The search for a server that takes writes, while connected to one that does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probe {
    pause: Duration,
    next: Option<Now>,
}

impl<C, W: Clone> Session<C, W> {
    /// What is to be done about the connection now.
    pub fn step(&mut self, now: Now) -> Step {
        self.check_time(now);
        if std::mem::take(&mut self.hang_up) {
            return Step::HangUp;
        }
        if self.end.is_some() {
            return Step::End;
        }
        match self.link {
            Link::Down { retry_at } if now >= retry_at => {
                let host = self.hosts.take();
                self.link = Link::Dialing { host, since: now };
                Step::Dial(host)
            }
            Link::Up(up) if self.probe.next.is_some_and(|at| now >= at) => {
                self.probe.next = None;
                let mut host = self.hosts.take();
                if host == up.host {
                    host = self.hosts.take();
                }
                Step::Probe(host)
            }
            _ => Step::Idle,
        }
    }

    /// The time by which [`step`](Self::step) wants to be called again.
    pub fn deadline(&self) -> Option<Now> {
        if self.end.is_some() {
            return None;
        }
        let link = match self.link {
            Link::Down { retry_at } => retry_at,
            Link::Dialing { since, .. } | Link::Handshaking { since, .. } => {
                since.after(self.config.connect_timeout)
            }
            Link::Up(up) => {
                let silence = up.heard.after(self.silence_max());
                let ping = up.sent.after(self.ping_after());
                silence.min(ping).min(self.probe.next.unwrap_or(silence))
            }
        };
        let waits = match self.link {
            Link::Up(_) => None,
            _ => self.queue.first_unsent().map(|first| first.called.after(self.patience())),
        };
        Some(waits.map_or(link, |waits| waits.min(link)))
    }

    /// A server that was silent for so long is given up.
    fn silence_max(&self) -> Duration {
        self.timeout * 2 / 3
    }

    fn ping_after(&self) -> Duration {
        (self.timeout / 3).min(PING_MAX)
    }

    fn check_time(&mut self, now: Now) {
        match self.link {
            Link::Dialing { since, .. } | Link::Handshaking { since, .. }
                if now.since(since) >= self.config.connect_timeout =>
            {
                self.break_link(now);
            }
            Link::Up(up) if now.since(up.heard) >= self.silence_max() => self.break_link(now),
            Link::Up(up) if now.since(up.sent) >= self.ping_after() && self.control.is_empty() => {
                frame(Xid::PING.0, OpCode::Ping, &Empty, &mut self.control);
                if let Link::Up(up) = &mut self.link {
                    up.ping = up.ping.or(Some(now));
                }
            }
            _ => {}
        }
        if !matches!(self.link, Link::Up(_)) {
            self.lose_patience(now);
        }
    }

    /// The host that was to be dialed is there: shakes hands.
    pub fn connected(&mut self) {
        let Link::Dialing { host, since } = self.link else { return };
        self.link = Link::Handshaking { host, since };
        self.inbox.clear();
        self.skip = 0;
        // A session of a server without an ensemble is nothing to others.
        let session = if self.has_written_server { self.id } else { SessionId::NONE };
        let timeout = i32::try_from(self.config.session_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: timeout,
            session,
            password: Some(&self.password),
            read_only: Some(self.config.allow_read_only),
        };
        let body = to_bytes(&request);
        self.control.clear();
        body.as_slice().encode(&mut self.control);
    }

    /// The host that was to be dialed is not there.
    pub fn failed(&mut self, now: Now) {
        if matches!(self.link, Link::Dialing { .. }) {
            self.unlink(now);
        }
    }

    /// The connection has ended, at whoever's wish.
    pub fn lost(&mut self, now: Now) {
        if matches!(self.link, Link::Handshaking { .. } | Link::Up(_)) {
            self.unlink(now);
        }
    }

    /// The host that was to be asked says whether it takes writes.
    pub fn probed(&mut self, host: usize, takes_writes: bool, now: Now) {
        if self.state != State::ReadOnly || !matches!(self.link, Link::Up(_)) {
            return;
        }
        if takes_writes {
            self.break_link(now);
            self.hosts.prefer(host);
            self.link = Link::Down { retry_at: now };
        } else {
            self.probe.pause = (self.probe.pause * 2).min(PROBE_MAX);
            self.probe.next = Some(now.after(self.probe.pause));
        }
    }

    /// Gives the connection up.
    pub(super) fn break_link(&mut self, now: Now) {
        self.hang_up = true;
        self.unlink(now);
    }

    fn unlink(&mut self, now: Now) {
        let was_up = match self.link {
            Link::Up(up) => {
                if now.since(up.since) >= GOOD {
                    self.hosts.served();
                }
                true
            }
            _ => false,
        };
        self.link = Link::Down { retry_at: now.after(self.hosts.failed()) };
        self.control.clear();
        self.inbox.clear();
        self.skip = 0;
        self.auths_unanswered.clear();
        self.set_watches_unanswered = 0;
        self.probe = Probe::default();
        if was_up {
            self.set_state(State::Suspended);
            self.tell_streams();
            self.lose_requests();
        }
    }

    /// Persistent watches hear of gaps.
    fn tell_streams(&mut self) {
        for (path, watch) in self.watches.persistent() {
            let event = WatchedEvent {
                kind: EventKind::Session,
                path: self.config.chroot.strip(path).to_owned(),
                zxid: None,
                state: self.state,
            };
            self.outputs.push(Output::Seen(watch.clone(), event));
        }
    }

    /// The first frame of a server.
    pub(super) fn shake_hands(&mut self, body: &[u8], now: Now) -> Result<(), Error> {
        let Link::Handshaking { host, since } = self.link else { return Ok(()) };
        let response: ConnectResponse =
            Reader::new(body).get().map_err(|_| Error::BadReply("no answer to the handshake"))?;
        let asked = if self.has_written_server { self.id } else { SessionId::NONE };
        // Some servers give a new session without a word when the old one is gone.
        let is_expired = response.timeout_ms <= 0 || response.session != asked;
        if asked != SessionId::NONE && is_expired {
            self.finish(Error::SessionExpired, LostReason::Expired);
            return Ok(());
        }
        if response.timeout_ms <= 0 || response.session == SessionId::NONE {
            return Err(Error::BadReply("a new session is no session"));
        }
        let is_read_only = response.read_only.unwrap_or(false);
        if is_read_only && !self.config.allow_read_only {
            return Err(Error::BadReply("a read-only server that was not asked for"));
        }
        self.id = response.session;
        self.password = response.password;
        self.timeout = Duration::from_millis(response.timeout_ms.unsigned_abs().into());
        self.has_written_server |= !is_read_only;
        self.proven = self.proven.max(since);
        self.link = Link::Up(Up { host, since: now, heard: now, sent: now, ping: None });
        let was_suspended = self.state == State::Suspended;
        self.set_state(if is_read_only { State::ReadOnly } else { State::Connected });
        if is_read_only {
            self.probe = Probe { pause: PROBE_FIRST, next: Some(now.after(PROBE_FIRST)) };
        }
        for (place, auth) in self.auths.iter().enumerate() {
            auth_frame(&auth.scheme, &auth.auth, &mut self.control)?;
            self.auths_unanswered.push_back(place);
        }
        self.set_watches();
        if was_suspended {
            self.tell_streams();
        }
        Ok(())
    }

    /// Names every watch to the new server, in frames that it takes.
    fn set_watches(&mut self) {
        let mut batches = vec![Batch::default()];
        let mut bytes = 0;
        for (kind, path) in self.watches.to_set() {
            if bytes > 0 && bytes + path.len() > SET_WATCHES_BYTES {
                batches.push(Batch::default());
                bytes = 0;
            }
            bytes += path.len() + 4;
            let batch = batches.last_mut().expect("there is one from the start");
            batch.0[kind as usize].push(Cow::Borrowed(path));
        }
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            batch.encode(self.last_zxid, &mut self.control);
            self.set_watches_unanswered += 1;
        }
    }
}

/// The paths of one setWatches, by kind.
#[derive(Default)]
struct Batch<'p>([Vec<Cow<'p, str>>; 5]);

impl Batch<'_> {
    fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// Servers before 3.6 know only the older request.
    fn encode(self, relative_zxid: Zxid, out: &mut Vec<u8>) {
        let Batch([data, exist, child, persistent, recursive]) = self;
        let (data_watches, exist_watches, child_watches) = (Some(data), Some(exist), Some(child));
        let xid = Xid::SET_WATCHES.0;
        if persistent.is_empty() && recursive.is_empty() {
            let request =
                SetWatchesRequest { relative_zxid, data_watches, exist_watches, child_watches };
            frame(xid, OpCode::SetWatches, &request, out);
        } else {
            let request = SetWatches2Request {
                relative_zxid,
                data_watches,
                exist_watches,
                child_watches,
                persistent_watches: Some(persistent),
                persistent_recursive_watches: Some(recursive),
            };
            frame(xid, OpCode::SetWatches2, &request, out);
        }
    }
}

const _: () = assert!(Kind::Recursive as usize == 4, "a place in Batch for every kind");
