//! A session's requests, in order.

use std::sync::Arc;

use oxikeeper_proto::limits::REQUEST_HEADER_BYTES;
use oxikeeper_proto::reply::{ReplyHeader, SaslReply, frame};
use oxikeeper_proto::request::{AuthPacket, RequestHeader, SaslRequest};
use oxikeeper_proto::{Encode, ErrorCode, OpCode, Reader, Xid, Zxid};

use super::connection::{Connection, Stage, Waiting};
use super::limits::OUTPUT_BYTES_PAUSE;
use super::watch_table::Slot;
use super::{CloseHow, Front, Outputs, View, close};
use crate::command::Answered;
use crate::mail::{ConnRef, Request, ToCore};
use crate::mutation::{Mutation, mutated};
use crate::time::Now;

/// What stands before each frame.
pub(super) const LENGTH_BYTES: usize = 4;

/// Where a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// By the Core, in the order of writes.
    Core(OpCode),
    /// Here.
    Here(OpCode),
    /// Nowhere: it is not an operation that clients may ask for.
    Unknown,
}

impl Place {
    fn of(code: i32) -> Place {
        match OpCode::from_wire(code) {
            Some(
                op @ (OpCode::Create
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Sync
                | OpCode::Multi
                | OpCode::Create2
                | OpCode::Reconfig
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::CloseSession),
            ) => Place::Core(op),
            // check stands only inside a multi; the others are the server's own.
            Some(OpCode::Check | OpCode::DeleteContainer | OpCode::CreateSession) | None => {
                Place::Unknown
            }
            Some(op) => Place::Here(op),
        }
    }
}

impl Front {
    /// Takes one request of an open session.
    pub(super) fn request(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        frame: &[u8],
        at: View<'_>,
        out: &mut Outputs,
    ) {
        let mut reader = Reader::new(frame);
        let Ok(header) = reader.get::<RequestHeader>() else {
            return close(connection, CloseHow::Now, "a frame without a header", out);
        };
        connection.activity.last_op = header.op;
        if header.xid >= 0 {
            connection.activity.last_cxid = header.xid;
        }
        match OpCode::from_wire(header.op) {
            Some(OpCode::Auth) => return self.auth(slot, connection, header, reader, out),
            Some(OpCode::Sasl) => return self.sasl(slot, connection, header, reader, out),
            _ => {}
        }
        let place = Place::of(header.op);
        if place == Place::Core(OpCode::CloseSession) {
            connection.stage = Stage::Ending;
        }
        let all_forwarded = connection.forwarded == connection.fifo.len();
        match place {
            Place::Core(op) if all_forwarded => {
                self.forward(connection, header.xid, op, reader.rest(), out);
                let bytes = frame.len();
                connection.unanswered_bytes += bytes;
                self.throttle.taken(bytes, &self.config.limits);
                connection.fifo.push_back(Waiting::Forwarded { since: at.now, bytes });
            }
            _ if connection.fifo.is_empty() || is_ahead(place) => {
                self.answer(slot, connection, header, reader.rest(), at.now, at);
            }
            _ => {
                connection.unanswered_bytes += frame.len();
                self.throttle.taken(frame.len(), &self.config.limits);
                connection.fifo.push_back(Waiting::Here { frame: frame.into(), since: at.now });
            }
        }
    }

    /// Lets requests go on that waited: runs what is at the head of the order, forwards the writes
    /// that follow writes, then takes more from the input.
    pub(super) fn go_on(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        at: View<'_>,
        out: &mut Outputs,
    ) {
        while let Some((header, since)) = next_waiting(connection) {
            let place = connection.forwarded;
            let is_held = place > 0 || connection.output().len() > OUTPUT_BYTES_PAUSE;
            match Place::of(header.op) {
                Place::Core(op) => {
                    let frame = take_frame(&mut connection.fifo[place]);
                    let body = &frame[REQUEST_HEADER_BYTES..];
                    self.forward(connection, header.xid, op, body, out);
                    connection.fifo[place] = Waiting::Forwarded { since, bytes: frame.len() };
                }
                Place::Here(_) | Place::Unknown if is_held => break,
                Place::Here(_) | Place::Unknown => {
                    let frame = take_frame(&mut connection.fifo[place]);
                    connection.fifo.pop_front();
                    connection.unanswered_bytes -= frame.len();
                    self.throttle.gone(frame.len(), &self.config.limits);
                    let body = &frame[REQUEST_HEADER_BYTES..];
                    self.answer(slot, connection, header, body, since, at);
                    if mutated(Mutation::LoseWaitingWatch) {
                        self.watches.remove_slot(slot);
                    }
                }
            }
        }
        if !connection.input.is_empty() && connection.stage == Stage::Open {
            self.take_input(slot, connection, at, out);
        }
        if connection.paused && !self.is_blocked(connection) {
            connection.paused = false;
            out.resume.push(connection.id);
        }
    }

    /// Hands a request to the Core.
    fn forward(
        &mut self,
        connection: &mut Connection,
        xid: i32,
        op: OpCode,
        body: &[u8],
        out: &mut Outputs,
    ) {
        connection.forwarded += 1;
        out.to_core.push(ToCore::Request(Request {
            conn: ConnRef { front: self.id, conn: connection.id },
            session: connection.session,
            xid: Xid(xid),
            op,
            body: body.into(),
            ids: Arc::clone(&connection.ids),
        }));
    }

    /// Answers a request here and now.
    fn answer(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        header: RequestHeader,
        body: &[u8],
        since: Now,
        at: View<'_>,
    ) {
        let before = connection.output().len();
        match Place::of(header.op) {
            Place::Here(op) => self.answer_locally(slot, connection, header.xid, op, body, at),
            Place::Core(_) | Place::Unknown => {
                let err = ErrorCode::Unimplemented.to_wire();
                let header = ReplyHeader { xid: header.xid, zxid: Zxid::from_wire(-1), err };
                frame(connection.output_mut(), header, |_| {});
            }
        }
        connection.activity.last_zxid = at.applied;
        let bytes = connection.output().len() - before - LENGTH_BYTES;
        self.count_answer(slot, connection, Answered::Read, bytes, since, at.now);
    }

    /// Counts a reply of this many bytes that was appended to the output.
    pub(super) fn count_answer(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        what: Answered,
        bytes: usize,
        since: Now,
        now: Now,
    ) {
        connection.sent_count += 1;
        self.stats.sent += 1;
        let latency_us = now.since(since).as_micros() as u64;
        self.stats.count_answer(what, bytes, latency_us);
        connection.activity.count_latency(latency_us, now);
        self.mark_dirty(slot, connection);
    }

    /// auth does not wait for earlier requests; every later one has what it proves.
    fn auth(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        header: RequestHeader,
        mut reader: Reader<'_>,
        out: &mut Outputs,
    ) {
        let Ok(packet) = reader.get::<AuthPacket<'_>>() else {
            return close(connection, CloseHow::Now, "a malformed auth packet", out);
        };
        let mut ids = connection.ids.to_vec();
        let scheme = packet.scheme.as_deref().unwrap_or_default();
        let remote = connection.remote.ip();
        let proven = self.config.auth.authenticate(scheme, packet.auth, remote, &mut ids);
        let code = if proven { ErrorCode::Ok } else { ErrorCode::AuthFailed };
        connection.ids = ids.into();
        let header = ReplyHeader { xid: header.xid, zxid: Zxid::ZERO, err: code.to_wire() };
        frame(connection.output_mut(), header, |_| {});
        connection.sent_count += 1;
        self.stats.sent += 1;
        self.mark_dirty(slot, connection);
        if !proven {
            close(connection, CloseHow::AfterOutput, "authentication failed", out);
        }
    }

    /// Nothing is proven. Where SASL is not configured the client may go on, as with Apache; where it
    /// is, this is the failed SASL that it is: `AuthFailed`, and the connection closes.
    fn sasl(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        header: RequestHeader,
        mut reader: Reader<'_>,
        out: &mut Outputs,
    ) {
        match reader.get::<SaslRequest<'_>>() {
            Ok(SaslRequest { token: Some(_) }) => {}
            _ => return close(connection, CloseHow::Now, "a malformed sasl packet", out),
        }
        let refused = self.config.auth.refuses_sasl;
        let code = if refused { ErrorCode::AuthFailed } else { ErrorCode::Ok };
        let header = ReplyHeader { xid: header.xid, zxid: Zxid::ZERO, err: code.to_wire() };
        frame(connection.output_mut(), header, |out| SaslReply { token: None }.encode(out));
        connection.sent_count += 1;
        self.stats.sent += 1;
        self.mark_dirty(slot, connection);
        if refused {
            close(connection, CloseHow::AfterOutput, "SASL is not part of this version", out);
        }
    }
}

/// Never, but for tests of tests: whether a request runs before those ahead of it.
fn is_ahead(place: Place) -> bool {
    mutated(Mutation::ReadAheadOfWrite) && matches!(place, Place::Here(_))
}

/// The first request that waits here, unless nothing of the connection counts any more.
fn next_waiting(connection: &Connection) -> Option<(RequestHeader, Now)> {
    if connection.closing.is_some() {
        return None;
    }
    match connection.fifo.get(connection.forwarded)? {
        Waiting::Here { frame, since } => {
            let header = Reader::new(frame).get();
            Some((header.expect("a frame waits only after its header was read"), *since))
        }
        Waiting::Forwarded { .. } => unreachable!("the forwarded ones come first"),
    }
}

fn take_frame(waiting: &mut Waiting) -> Box<[u8]> {
    match waiting {
        Waiting::Here { frame, .. } => std::mem::take(frame),
        Waiting::Forwarded { .. } => unreachable!("the caller saw a waiting request there"),
    }
}
