//! One connection of a session core: its bytes in both directions, taken apart for the history.

use std::collections::VecDeque;

use oxikeeper_proto::reply::{ConnectResponse, ReplyHeader};
use oxikeeper_proto::request::{ConnectRequest, RequestHeader};
use oxikeeper_proto::watch::WatcherEvent;
use oxikeeper_proto::{Reader, SessionId};

use crate::checker::XID_AUTH;
use crate::client::Env;
use crate::history::{Frame, Granted};

const XID_EVENT: i32 = -1;
const XID_SET_WATCHES: i32 = -8;

/// See the module.
pub(super) struct Wire {
    pub link: usize,
    number: usize,
    stream: usize,
    /// What the handshake asked for, once it was sent.
    asked: Option<SessionId>,
    is_open: bool,
    authed: bool,
    inbox: Vec<u8>,
    pending: VecDeque<usize>,
    pending_auth: VecDeque<usize>,
}

impl Wire {
    /// A new connection.
    pub fn open(number: usize, front: usize, incarnation: u32, env: &mut Env<'_>) -> Wire {
        let link = env.net.connect(number, front, incarnation);
        let stream = env.history.open(number);
        assert_eq!(link, stream, "one stream per link");
        Wire {
            link,
            number,
            stream,
            asked: None,
            is_open: false,
            authed: false,
            inbox: Vec::new(),
            pending: VecDeque::new(),
            pending_auth: VecDeque::new(),
        }
    }

    /// Sends whole frames, in pieces. Returns the numbers of the requests in them.
    pub fn send(&mut self, bytes: &[u8], authenticates: bool, env: &mut Env<'_>) -> Vec<i32> {
        let mut xids = Vec::new();
        let mut rest = bytes;
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (frame, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
            rest = next;
            let mut reader = Reader::new(frame);
            if self.asked.is_none() {
                let request: ConnectRequest<'_> = reader.get().expect("a handshake comes first");
                self.asked = Some(request.session);
                continue;
            }
            let header: RequestHeader = reader.get().expect("frames have headers");
            self.authed |= authenticates && header.xid == XID_AUTH;
            let body = reader.rest().to_vec();
            let place = env.history.send(self.stream, header.xid, header.op, body, self.authed);
            if header.xid == XID_AUTH {
                self.pending_auth.push_back(place);
            } else {
                self.pending.push_back(place);
            }
            if header.xid > 0 {
                xids.push(header.xid);
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let whole = rest.len();
            let count = if env.rng.chance(200) { env.rng.index(whole) + 1 } else { whole };
            let (piece, next) = rest.split_at(count);
            let delay = env.net.delay(env.rng);
            let arrival = env.net.links[self.link].up.send(env.now, delay, piece);
            env.arrivals.extend(arrival.map(|at| (self.link, at)));
            rest = next;
        }
        xids
    }

    /// Gives the connection up in one way or another.
    pub fn leave(self, env: &mut Env<'_>) {
        let delay = env.net.delay(env.rng);
        let up = &mut env.net.links[self.link].up;
        let arrival = match env.rng.below(4) {
            0 => up.end(env.now, delay),
            1 => up.reset(env.now, env.rng),
            2 => {
                up.die();
                None
            }
            // Left open: what it has sent still arrives.
            _ => None,
        };
        env.arrivals.extend(arrival.map(|at| (self.link, at)));
    }

    /// Notes what came. Returns the error codes of requests, by their numbers.
    pub fn receive(&mut self, bytes: &[u8], env: &mut Env<'_>) -> Result<Vec<(i32, i32)>, String> {
        self.inbox.extend_from_slice(bytes);
        let mut errors = Vec::new();
        while let Some(length) = self.inbox.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*length) as usize;
            let Some(frame) = self.inbox.get(4..end).map(<[u8]>::to_vec) else { break };
            self.inbox.drain(..end);
            if self.is_open {
                errors.extend(self.reply(&frame, env)?);
            } else {
                self.handshake(&frame, env)?;
            }
        }
        Ok(errors)
    }

    fn handshake(&mut self, frame: &[u8], env: &mut Env<'_>) -> Result<(), String> {
        let response: ConnectResponse =
            Reader::new(frame).get().map_err(|error| format!("handshake: {error}"))?;
        let asked = self.asked.unwrap_or_default();
        if response.session == SessionId::NONE {
            if asked == SessionId::NONE {
                return Err("a new session was refused as expired".into());
            }
            if let Some(granted) = env.history.granted.get_mut(&asked) {
                granted.refused = true;
            }
            return Ok(());
        }
        if asked == SessionId::NONE {
            let granted = Granted {
                timeout_ms: response.timeout_ms,
                password: response.password,
                refused: false,
            };
            if env.history.granted.insert(response.session, granted).is_some() {
                return Err(format!("session {} was granted twice", response.session));
            }
            env.history.saw(self.number, 0);
        } else if response.session != asked {
            return Err(format!("{asked} was resumed as {}", response.session));
        }
        self.is_open = true;
        env.history.streams[self.stream].session = Some(response.session);
        Ok(())
    }

    fn reply(&mut self, frame: &[u8], env: &mut Env<'_>) -> Result<Option<(i32, i32)>, String> {
        let mut reader = Reader::new(frame);
        let header: ReplyHeader = reader.get().map_err(|error| format!("reply: {error}"))?;
        let (zxid, body) = (header.zxid.to_wire(), reader.rest().to_vec());
        if header.xid == XID_EVENT {
            let event: WatcherEvent<'_> =
                Reader::new(&body).get().map_err(|error| format!("event: {error}"))?;
            let (kind, path) = (event.kind, event.path.into_owned());
            env.history.events += 1;
            env.history.max_seen = env.history.max_seen.max(zxid);
            env.history.streams[self.stream].frames.push(Frame::Event { zxid, kind, path });
            return Ok(None);
        }
        let is_auth = header.xid == XID_AUTH;
        let queue = if is_auth { &mut self.pending_auth } else { &mut self.pending };
        let place = queue.pop_front().ok_or_else(|| format!("{header:?} answers nothing"))?;
        let sent = &env.history.streams[self.stream].sent[place];
        if sent.xid != header.xid {
            return Err(format!("{header:?} stands where the reply to {sent:?} belongs"));
        }
        if zxid > 0 && (header.xid == XID_SET_WATCHES || header.xid > 0) {
            env.history.saw(self.number, zxid);
        }
        env.history.replies += 1;
        env.history.max_replied = env.history.max_replied.max(zxid);
        env.history.max_seen = env.history.max_seen.max(zxid);
        let reply = Frame::Reply { sent: place, zxid, err: header.err, body };
        env.history.streams[self.stream].frames.push(reply);
        Ok((header.xid > 0).then_some((header.xid, header.err)))
    }
}
