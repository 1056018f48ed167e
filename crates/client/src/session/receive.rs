//! What a server sends: frames, and what each of them is.

use oxikeeper_proto::limits::REPLY_HEADER_BYTES;
use oxikeeper_proto::reply::ReplyHeader;
use oxikeeper_proto::time::Now;
use oxikeeper_proto::watch::{EventType, WatcherEvent};
use oxikeeper_proto::{ErrorCode, Reader, Xid, Zxid};

use super::answer::{self, Answer};
use super::connection::Link;
use super::request::Expect;
use super::{Output, Session};
use crate::{Error, LostReason, WatchedEvent};

/// A reply above the limit is thrown away up to this size; a larger one is taken for nonsense.
const SKIPPED_MAX: usize = 256 << 20;

impl<C, W: Clone> Session<C, W> {
    /// Takes bytes as they came.
    pub fn received(&mut self, bytes: &[u8], now: Now) {
        match &mut self.link {
            Link::Up(up) => up.heard = now,
            Link::Handshaking { .. } => {}
            Link::Down { .. } | Link::Dialing { .. } => return,
        }
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let bytes = &bytes[skipped..];
        let result = if self.inbox.is_empty() {
            self.frames(bytes, now).map(|taken| self.keep(&bytes[taken..]))
        } else {
            let mut inbox = std::mem::take(&mut self.inbox);
            inbox.extend_from_slice(bytes);
            self.frames(&inbox, now).map(|taken| {
                inbox.drain(..taken);
                self.inbox = inbox;
            })
        };
        if result.is_err() {
            self.break_link(now);
        }
        if !matches!(self.link, Link::Up(_) | Link::Handshaking { .. }) {
            self.inbox = Vec::new();
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        self.inbox.extend_from_slice(rest);
    }

    /// Takes all whole frames. Returns how many bytes they had.
    fn frames(&mut self, bytes: &[u8], now: Now) -> Result<usize, Error> {
        let mut rest = bytes;
        while matches!(self.link, Link::Up(_) | Link::Handshaking { .. }) {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { break };
            let length = usize::try_from(i32::from_be_bytes(*length))
                .map_err(|_| Error::BadReply("a frame of negative length"))?;
            if length > self.config.limits.reply_bytes_max {
                let Some((header, _)) = behind.split_at_checked(REPLY_HEADER_BYTES) else { break };
                self.refuse_large(header, length, now)?;
                let there = length.min(behind.len());
                self.skip = length - there;
                rest = &behind[there..];
                continue;
            }
            let Some((body, next)) = behind.split_at_checked(length) else { break };
            self.frame(body, now)?;
            rest = next;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Ends the request whose reply is too large to be taken, without losing the connection.
    fn refuse_large(&mut self, header: &[u8], length: usize, now: Now) -> Result<(), Error> {
        let nonsense = Error::BadReply("a frame above all limits");
        if length > SKIPPED_MAX || !matches!(self.link, Link::Up(_)) {
            return Err(nonsense);
        }
        let header: ReplyHeader = Reader::new(header).get().map_err(|_| nonsense.clone())?;
        self.pass_auths();
        if self.queue.oldest_sent().is_none_or(|pending| pending.xid != header.xid) {
            return Err(nonsense);
        }
        let Some(pending) = self.queue.answered() else { return Err(nonsense) };
        let max = self.config.limits.reply_bytes_max;
        if let Some(removal) = pending.watch.and_then(|id| self.watches.drop_watch(id)) {
            self.tell_removal(&removal, now);
        }
        self.refuse(pending, Error::TooLarge { what: "reply", bytes: length, max });
        Ok(())
    }

    fn frame(&mut self, body: &[u8], now: Now) -> Result<(), Error> {
        if matches!(self.link, Link::Handshaking { .. }) {
            return self.shake_hands(body, now);
        }
        let mut reader = Reader::new(body);
        let header: ReplyHeader =
            reader.get().map_err(|_| Error::BadReply("a frame without a header"))?;
        match Xid(header.xid) {
            Xid::NOTIFICATION => self.notified(header.zxid, reader.rest()),
            Xid::PING => {
                if let Link::Up(up) = &mut self.link {
                    self.proven = up.ping.take().map_or(self.proven, |sent| self.proven.max(sent));
                }
                Ok(())
            }
            Xid::AUTH => self.auth_answered(header.err),
            Xid::SET_WATCHES => {
                if self.set_watches_unanswered == 0 || header.err != 0 {
                    return Err(Error::BadReply("watches were not set"));
                }
                self.set_watches_unanswered -= 1;
                self.saw(header.zxid);
                Ok(())
            }
            _ => self.replied(header, reader.rest(), now),
        }
    }

    /// No later server may show less.
    fn saw(&mut self, zxid: Zxid) {
        if zxid.to_wire() > 0 {
            self.last_zxid = self.last_zxid.max(zxid);
        }
    }

    fn notified(&mut self, zxid: Zxid, body: &[u8]) -> Result<(), Error> {
        let undefined = |_| Error::BadReply("no event");
        let event: WatcherEvent<'_> = Reader::new(body).get().map_err(undefined)?;
        let kind = EventType::from_wire(event.kind).ok_or(Error::BadReply("no event"))?;
        let zxid = (zxid.to_wire() > 0).then_some(zxid);
        let (state, chroot, outputs) = (self.state, &self.config.chroot, &mut self.outputs);
        self.watches.fire(kind, &event.path, |watch| {
            let path = chroot.strip(&event.path).to_owned();
            let event = WatchedEvent { kind: kind.into(), path, zxid, state };
            outputs.push(Output::Seen(watch, event));
        });
        Ok(())
    }

    fn auth_answered(&mut self, err: i32) -> Result<(), Error> {
        let unasked = Error::BadReply("an answer to no authentication");
        let place = self.auths_unanswered.pop_front().ok_or(unasked)?;
        self.pass_auths();
        match Error::from_code(err) {
            None => {
                if let Some(call) = self.auths.get_mut(place).and_then(|auth| auth.call.take()) {
                    self.outputs.push(Output::Answered(call, Ok(Answer::Done)));
                }
                Ok(())
            }
            Some(Error::AuthFailed) => {
                self.finish(Error::AuthFailed, LostReason::AuthFailed);
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    /// Answers to authentication may overtake others, so nobody waits for them in the queue.
    fn pass_auths(&mut self) {
        while self.queue.oldest_sent().is_some_and(|first| matches!(first.expect, Expect::Auth(_)))
        {
            self.queue.answered();
        }
    }

    fn replied(&mut self, header: ReplyHeader, body: &[u8], now: Now) -> Result<(), Error> {
        self.pass_auths();
        if self.queue.oldest_sent().is_none_or(|pending| pending.xid != header.xid) {
            return Err(Error::BadReply("a reply to no request, or out of order"));
        }
        let Some(pending) = self.queue.answered() else { return Ok(()) };
        self.proven = self.proven.max(pending.called);
        self.saw(header.zxid);
        if pending.expect == Expect::Close {
            self.closed(pending.call);
            return Ok(());
        }
        let is_missing =
            pending.expect == Expect::Exists && header.err == ErrorCode::NoNode.to_wire();
        let result = if is_missing {
            Ok(Answer::Exists(None))
        } else if let Some(error) = Error::from_code(header.err) {
            Err(error)
        } else {
            match answer::decode(&pending.expect, body, &self.config.chroot) {
                Ok(result) => result,
                Err(_) => {
                    // What follows cannot be trusted either.
                    let error = Error::BadReply("the record of another reply");
                    self.refuse(pending, error.clone());
                    return Err(error);
                }
            }
        };
        if let Err(error) = result {
            self.refuse(pending, error.clone());
            // The server is about to close; the next one says it of the whole session.
            return if error == Error::SessionExpired { Err(error) } else { Ok(()) };
        }
        if let Some(id) = pending.watch
            && let Some(removal) = self.watches.set(id, is_missing)
        {
            self.tell_removal(&removal, now);
        }
        if let Expect::RemoveWatches { path, kind, .. } = &pending.expect {
            self.forget_watches(path, *kind);
        }
        if let Some(call) = pending.call {
            self.outputs.push(Output::Answered(call, result));
        }
        Ok(())
    }

    fn closed(&mut self, call: Option<C>) {
        self.outputs.extend(call.map(|call| Output::Answered(call, Ok(Answer::Done))));
        self.finish(Error::Closed, LostReason::Closed);
    }
}
