//! Mail from the Core.

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::reply::ConnectResponse;
use oxikeeper_proto::{Acl, OpCode, SessionId, Zxid};

use super::connection::{Stage, Waiting};
use super::limits::OUTPUT_BYTES_MAX;
use super::local::put_event;
use super::request::LENGTH_BYTES;
use super::{CloseHow, Front, Outputs, View, close, put_connect_response};
use crate::command::Answered;
use crate::mail::{CloseReason, ConnId, ConnRef, Mail, MailBatch, Serving, ToCore};

impl Front {
    /// Takes all mail there is, in order; then the requests that waited for it go on.
    pub fn deliver(&mut self, batches: &[MailBatch], at: View<'_>, out: &mut Outputs) {
        for batch in batches {
            for mail in &batch.items {
                self.take_mail(mail, batch, at, out);
            }
        }
        for slot in std::mem::take(&mut self.ready) {
            if let Some(mut connection) = self.connections[slot as usize].take() {
                self.go_on(slot, &mut connection, at, out);
                self.put_back(slot, connection);
            }
        }
        self.report_dirty(out);
    }

    fn take_mail(&mut self, mail: &Mail, batch: &MailBatch, at: View<'_>, out: &mut Outputs) {
        match *mail {
            Mail::Change(index) => self.change(index as usize, batch, out),
            Mail::Reply { conn, ref frame, then_close } => {
                let frame = &batch.bytes[frame.start as usize..frame.end as usize];
                self.reply(conn, frame, then_close, at, out);
            }
            Mail::Connected { conn, session, timeout_ms, password } => {
                let response = ConnectResponse {
                    protocol_version: 0,
                    timeout_ms,
                    session,
                    password,
                    read_only: None,
                };
                self.connected(conn, response, at, out);
            }
            Mail::Expired { conn } => {
                let Some((slot, mut connection)) = self.take(conn) else {
                    return;
                };
                let read_only = connection.read_only.map(|_| false);
                let response = ConnectResponse::expired(read_only);
                put_connect_response(&response, connection.output_mut());
                let why = "its session is not valid any more";
                close(&mut connection, CloseHow::AfterOutput, why, out);
                self.mark_dirty(slot, &mut connection);
                self.put_back(slot, connection);
            }
            Mail::Stop { conn } => {
                if let Some((slot, mut connection)) = self.take(conn) {
                    connection.stage = Stage::Ending;
                    self.put_back(slot, connection);
                }
            }
            Mail::Serving(serving) => self.set_serving(serving, out),
            Mail::Close { conn, reason } => {
                if let Some((slot, mut connection)) = self.take(conn) {
                    close(&mut connection, CloseHow::Now, close_text(reason), out);
                    self.put_back(slot, connection);
                }
            }
        }
    }

    /// Who has a session here, asks for one, or has asked for its end, has to look for another server.
    fn set_serving(&mut self, serving: Serving, out: &mut Outputs) {
        self.serving = serving;
        if serving != Serving::Nobody {
            return;
        }
        for connection in self.connections.iter_mut().flatten() {
            let is_stranger = matches!(connection.stage, Stage::Greeting);
            if !is_stranger && connection.closing.is_none() {
                close(connection, CloseHow::Now, close_text(CloseReason::NotServing), out);
            }
        }
    }

    /// A change of the tree: events for whoever watches, if they may see it.
    fn change(&mut self, index: usize, batch: &MailBatch, out: &mut Outputs) {
        if self.watches.is_empty() {
            return;
        }
        let (change, path) = batch.changes.get(index);
        let Front { watches, connections, config, dirty, stats, event_frame, .. } = self;
        let mut encoded = None;
        // The event being told, and how many have watched for it.
        let mut fired = None;
        watches.trigger(change.kind, path, |slot, event, path, of_parent| {
            match &mut fired {
                Some((told, watchers)) if *told == event => *watchers += 1,
                other => {
                    if let Some((told, watchers)) = other.replace((event, 1)) {
                        stats.fired.count(told, watchers);
                    }
                }
            }
            let Some(connection) = &mut connections[slot as usize] else {
                return;
            };
            let acl: &[Acl] = if of_parent { &change.parent_acl } else { &change.acl };
            if connection.closing.is_some()
                || !config.auth.permits(acl, perms::READ, &connection.ids)
            {
                return;
            }
            // All who watch a node are sent the same bytes.
            if encoded != Some(event) {
                encoded = Some(event);
                event_frame.clear();
                put_event(event_frame, change.zxid, event, path);
            }
            connection.output_mut().extend_from_slice(event_frame);
            connection.sent_count += 1;
            stats.sent += 1;
            stats.watch_bytes += (event_frame.len() - LENGTH_BYTES) as u64;
            if !connection.is_dirty {
                connection.is_dirty = true;
                dirty.push(slot);
            }
            if connection.output().len() > OUTPUT_BYTES_MAX {
                close(connection, CloseHow::Now, "it does not read its watch events", out);
            }
        });
        if let Some((told, watchers)) = fired {
            stats.fired.count(told, watchers);
        }
    }

    fn reply(
        &mut self,
        conn: ConnId,
        frame: &[u8],
        then_close: bool,
        at: View<'_>,
        out: &mut Outputs,
    ) {
        let Some((slot, mut connection)) = self.take(conn) else {
            return;
        };
        match connection.fifo.pop_front() {
            Some(Waiting::Forwarded { since, bytes }) => {
                connection.forwarded -= 1;
                connection.unanswered_bytes -= bytes;
                self.throttle.gone(bytes, &self.config.limits);
                if connection.closing.is_none() {
                    connection.output_mut().extend_from_slice(frame);
                    // Behind length and xid.
                    if let Some(zxid) = frame[8..].first_chunk::<8>() {
                        connection.activity.last_zxid = Zxid::from_wire(i64::from_be_bytes(*zxid));
                    }
                    let bytes = frame.len() - LENGTH_BYTES;
                    let what = Answered::Update;
                    self.count_answer(slot, &mut connection, what, bytes, since, at.now);
                }
            }
            other => unreachable!("a reply answers a forwarded request, not {other:?}"),
        }
        if then_close {
            close(&mut connection, CloseHow::AfterOutput, "its session was closed", out);
        } else {
            self.ready.push(slot);
        }
        self.put_back(slot, connection);
    }

    /// The session is there: answer the handshake, and take what came behind it.
    fn connected(
        &mut self,
        conn: ConnId,
        mut response: ConnectResponse,
        at: View<'_>,
        out: &mut Outputs,
    ) {
        let session = response.session;
        let Some((slot, mut connection)) = self.take(conn) else {
            // Gone before its session came: the session waits for another connection.
            debug_assert_ne!(session, SessionId::NONE);
            let conn = ConnRef { front: self.id, conn };
            out.to_core.push(ToCore::Disconnected { conn, session });
            return;
        };
        connection.session = session;
        if connection.stage == Stage::Connecting {
            connection.stage = Stage::Open;
            response.read_only = connection.read_only.map(|_| self.serving == Serving::Readers);
            put_connect_response(&response, connection.output_mut());
            connection.sent_count += 1;
            self.stats.sent += 1;
            let latency_us = at.now.since(connection.since).as_micros() as u64;
            self.stats.count_latency(latency_us);
            connection.activity.last_op = OpCode::CreateSession.to_wire();
            connection.activity.count_latency(latency_us, at.now);
            self.mark_dirty(slot, &mut connection);
            self.ready.push(slot);
        }
        self.put_back(slot, connection);
    }
}

fn close_text(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::SessionExpired => "its session expired",
        CloseReason::SessionResumedElsewhere => "its session was resumed on another connection",
        CloseReason::SessionClosed => "its session is closed",
        CloseReason::SessionMoved => "its session has moved to another connection",
        CloseReason::Throttled => "more handshakes than connection_throttle_tokens",
        CloseReason::NotServing => "this server has no leader",
        CloseReason::LogFull => "no new sessions while the log's disk is full",
    }
}
