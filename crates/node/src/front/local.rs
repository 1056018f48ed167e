//! Requests that are answered on this Front: reads, and the handling of watches.

use std::borrow::Cow;

use oxikeeper_proto::reply::{ErrorReply, ReplyHeader, end_frame, frame};
use oxikeeper_proto::request::{
    AddWatchRequest, SetWatches2Request, SetWatchesRequest, WatchesRequest,
};
use oxikeeper_proto::watch::{
    AddWatchMode, EventType, STATE_SYNC_CONNECTED, WatcherEvent, WatcherType,
};
use oxikeeper_proto::{DecodeError, Encode, ErrorCode, OpCode, Reader, Xid, Zxid};

use super::connection::Connection;
use super::read::{LeftWatch, ReadContext};
use super::request::LENGTH_BYTES;
use super::watch_table::{self, CHILD, DATA, PERSISTENT, RECURSIVE, Slot};
use super::{Front, View};
use crate::mutation::{Mutation, mutated};

/// Apache watches a null path like any other. No znode has this one.
const NULL_PATH: Cow<'static, str> = Cow::Borrowed("\0");

impl Front {
    /// Appends the reply to a request that is answered here.
    pub(super) fn answer_locally(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        xid: i32,
        op: OpCode,
        body: &[u8],
        at: View<'_>,
    ) {
        let xid = if op == OpCode::Ping { Xid::PING.0 } else { xid };
        match op {
            OpCode::SetWatches | OpCode::SetWatches2 => {
                let code = self.set_watches(slot, connection, op, body, at);
                let err = code.map_or_else(|_| ErrorCode::MarshallingError, |()| ErrorCode::Ok);
                let header = ReplyHeader { xid, zxid: at.applied, err: err.to_wire() };
                frame(connection.output_mut(), header, |_| {});
            }
            OpCode::AddWatch | OpCode::CheckWatches | OpCode::RemoveWatches => {
                let code = match op {
                    OpCode::AddWatch => self.add_watch(slot, body),
                    _ => self.check_watches(slot, op, body),
                };
                let header = ReplyHeader { xid, zxid: at.applied, err: code.to_wire() };
                frame(connection.output_mut(), header, |out| {
                    if code == ErrorCode::Ok && op == OpCode::AddWatch {
                        ErrorReply { err: 0 }.encode(out);
                    }
                });
            }
            _ => self.read(slot, connection, xid, op, body, at),
        }
    }

    fn read(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        xid: i32,
        op: OpCode,
        body: &[u8],
        at: View<'_>,
    ) {
        let ids = std::sync::Arc::clone(&connection.ids);
        let mut context = ReadContext {
            tree: at.tree,
            auth: &self.config.auth,
            ids: &ids,
            session: connection.session,
            reads: &mut self.reads,
        };
        let output = connection.output_mut();
        let start = output.len();
        output.extend_from_slice(&[0; 4]);
        ReplyHeader { xid, zxid: at.applied, err: 0 }.encode(output);
        let body_start = output.len();
        let (code, watch) = match context.read(op, body, output) {
            Some(result) => (result.code, result.watch),
            None => (ErrorCode::Unimplemented, None),
        };
        if code != ErrorCode::Ok {
            output.truncate(body_start);
            output[body_start - 4..].copy_from_slice(&code.to_wire().to_be_bytes());
        }
        end_frame(output, start);
        match watch {
            Some(LeftWatch::Data(path)) => self.watches.add(slot, &path, DATA),
            Some(LeftWatch::Child(path)) => self.watches.add(slot, &path, CHILD),
            None => {}
        }
    }

    fn add_watch(&mut self, slot: Slot, body: &[u8]) -> ErrorCode {
        let Ok(AddWatchRequest { path, mode }) = Reader::new(body).get() else {
            return ErrorCode::MarshallingError;
        };
        let path = path.unwrap_or(NULL_PATH);
        let mode = match AddWatchMode::from_wire(mode) {
            Some(AddWatchMode::Persistent) => PERSISTENT,
            Some(AddWatchMode::PersistentRecursive) => RECURSIVE,
            None => return ErrorCode::MarshallingError,
        };
        self.watches.add(slot, &path, mode);
        ErrorCode::Ok
    }

    fn check_watches(&mut self, slot: Slot, op: OpCode, body: &[u8]) -> ErrorCode {
        let Ok(WatchesRequest { path, watcher_type }) = Reader::new(body).get() else {
            return ErrorCode::MarshallingError;
        };
        let path = path.unwrap_or(NULL_PATH);
        let Some(kind) = WatcherType::from_wire(watcher_type) else {
            return ErrorCode::MarshallingError;
        };
        let modes = watch_table::modes_of(kind);
        let found = match op {
            OpCode::RemoveWatches => self.watches.remove(slot, &path, modes),
            _ => self.watches.modes(slot, &path) & modes != 0,
        };
        if found { ErrorCode::Ok } else { ErrorCode::NoWatcher }
    }

    /// Registers again what a client watched before it came here; what has changed since it last
    /// looked is told at once instead.
    fn set_watches(
        &mut self,
        slot: Slot,
        connection: &mut Connection,
        op: OpCode,
        body: &[u8],
        at: View<'_>,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(body);
        let request = if op == OpCode::SetWatches2 {
            reader.get()?
        } else {
            let old: SetWatchesRequest<'_> = reader.get()?;
            SetWatches2Request {
                relative_zxid: old.relative_zxid,
                data_watches: old.data_watches,
                exist_watches: old.exist_watches,
                child_watches: old.child_watches,
                persistent_watches: Some(Vec::new()),
                persistent_recursive_watches: Some(Vec::new()),
            }
        };
        // A null list ends it where it stands: what was before it is done, as with Apache.
        fn some<T>(list: Option<Vec<T>>) -> Result<Vec<T>, DecodeError> {
            list.ok_or(DecodeError::Null)
        }
        let since = request.relative_zxid.to_wire();
        let mut tell = |event, path: &str| {
            connection.sent_count += 1;
            self.stats.sent += 1;
            let before = connection.output().len() + LENGTH_BYTES;
            put_event(connection.output_mut(), Zxid::from_wire(-1), event, path);
            self.stats.watch_bytes += (connection.output().len() - before) as u64;
        };
        for path in some(request.data_watches)? {
            match at.tree.node(&path).map(|node| node.stat().mzxid.to_wire()) {
                None => tell(EventType::NodeDeleted, &path),
                Some(mzxid) if mzxid > since && !mutated(Mutation::SkipCatchUp) => {
                    tell(EventType::NodeDataChanged, &path)
                }
                Some(_) => self.watches.add(slot, &path, DATA),
            }
        }
        for path in some(request.exist_watches)? {
            match at.tree.node(&path) {
                Some(_) => tell(EventType::NodeCreated, &path),
                None => self.watches.add(slot, &path, DATA),
            }
        }
        for path in some(request.child_watches)? {
            match at.tree.node(&path).map(|node| node.stat().pzxid.to_wire()) {
                None => tell(EventType::NodeDeleted, &path),
                Some(pzxid) if pzxid > since => tell(EventType::NodeChildrenChanged, &path),
                Some(_) => self.watches.add(slot, &path, CHILD),
            }
        }
        for path in some(request.persistent_watches)? {
            self.watches.add(slot, &path, PERSISTENT);
        }
        for path in some(request.persistent_recursive_watches)? {
            self.watches.add(slot, &path, RECURSIVE);
        }
        Ok(())
    }
}

/// Appends a notification.
pub(super) fn put_event(output: &mut Vec<u8>, zxid: Zxid, event: EventType, path: &str) {
    let header = ReplyHeader { xid: Xid::NOTIFICATION.0, zxid, err: 0 };
    let kind = event as i32;
    frame(output, header, |out| {
        WatcherEvent { kind, state: STATE_SYNC_CONNECTED, path: path.into() }.encode(out);
    });
}
