//! Which events a connection must be sent.
//!
//! Source: client-protocol reference, section 7 and 4.11 to 4.13.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::reply::ErrorReply;
use oxikeeper_proto::request::{
    AddWatchRequest, SetWatches2Request, SetWatchesRequest, WatchesRequest,
};
use oxikeeper_proto::{Acl, Encode, Id, OpCode, Reader, Zxid};

use crate::model::{Change, ChangeKind, Model, permits, split};

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of its header.
    pub zxid: i64,
    /// Its type.
    pub kind: i32,
    /// Its path.
    pub path: String,
}

/// Event types.
const CREATED: i32 = 1;
const DELETED: i32 = 2;
const DATA_CHANGED: i32 = 3;
const CHILDREN_CHANGED: i32 = 4;

/// How a path is watched in one of the two tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes {
    once: bool,
    persistent: bool,
    recursive: bool,
}

/// The watches of one connection.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    data: BTreeMap<String, Modes>,
    child: BTreeMap<String, Modes>,
}

impl Watches {
    /// A read left a watch.
    pub fn leave(&mut self, path: &str, of_children: bool) {
        let table = if of_children { &mut self.child } else { &mut self.data };
        table.entry(path.to_owned()).or_default().once = true;
    }

    /// Adds to `events` what a change must send here.
    pub fn trigger(
        &mut self,
        change: &Change,
        zxid: Zxid,
        ids: &[Id],
        events: &mut VecDeque<Event>,
    ) {
        let mut tell = |kind: i32, path: &str, acl: &[Acl]| {
            if permits(acl, perms::READ, ids) {
                events.push_back(Event { zxid: zxid.to_wire(), kind, path: path.to_owned() });
            }
        };
        let kind = match change.kind {
            ChangeKind::Created => CREATED,
            ChangeKind::Deleted => DELETED,
            ChangeKind::DataSet => DATA_CHANGED,
        };
        let of_node = self.take_data(&change.path);
        if of_node {
            tell(kind, &change.path, &change.acl);
        }
        if change.kind == ChangeKind::DataSet {
            return;
        }
        let of_its_children =
            change.kind == ChangeKind::Deleted && take(&mut self.child, &change.path);
        if of_its_children && !of_node {
            tell(DELETED, &change.path, &change.acl);
        }
        let parent = split(&change.path).0;
        if take(&mut self.child, parent) {
            tell(CHILDREN_CHANGED, parent, &change.parent_acl);
        }
    }

    /// Whether anything here watches a node itself; the one-shot watch is spent.
    fn take_data(&mut self, path: &str) -> bool {
        let watched = take(&mut self.data, path);
        let recursive = |above: &str| self.data.get(above).is_some_and(|modes| modes.recursive);
        let mut above = path;
        loop {
            if recursive(above) {
                return true;
            }
            if above == "/" {
                return watched;
            }
            above = split(above).0;
        }
    }

    /// addWatch, checkWatches, removeWatches: the reply they must get.
    pub fn manage(&mut self, op: OpCode, body: &[u8]) -> Result<(i32, Vec<u8>), String> {
        let mut reader = Reader::new(body);
        if op == OpCode::AddWatch {
            let request: AddWatchRequest<'_> = reader.get().map_err(|e| e.to_string())?;
            let path = request.path.unwrap_or_default();
            match request.mode {
                0 => self.add_persistent(&path),
                1 => self.data.entry(path.into_owned()).or_default().recursive = true,
                _ => return Ok((-5, Vec::new())),
            }
            let mut out = Vec::new();
            ErrorReply { err: 0 }.encode(&mut out);
            return Ok((0, out));
        }
        let request: WatchesRequest<'_> = reader.get().map_err(|e| e.to_string())?;
        let path = request.path.unwrap_or_default().into_owned();
        let mut data = self.data.get(&path).copied().unwrap_or_default();
        let mut child = self.child.get(&path).copied().unwrap_or_default();
        let before = (data, child);
        match request.watcher_type {
            1 => child.once = false,
            2 => data.once = false,
            3 => (data, child) = Default::default(),
            4 => (data.persistent, child.persistent) = (false, false),
            5 => data.recursive = false,
            _ => return Ok((-5, Vec::new())),
        }
        if (data, child) == before {
            return Ok((-121, Vec::new()));
        }
        if op == OpCode::RemoveWatches {
            self.data.insert(path.clone(), data);
            self.child.insert(path, child);
        }
        Ok((0, Vec::new()))
    }

    /// setWatches: registers again; returns what must be told at once instead.
    pub fn set_watches(
        &mut self,
        model: &Model,
        op: OpCode,
        body: &[u8],
    ) -> Result<Vec<Event>, String> {
        let mut reader = Reader::new(body);
        let (since, [data, exist, child, persistent, recursive]) = if op == OpCode::SetWatches2 {
            let r: SetWatches2Request<'_> = reader.get().map_err(|e| e.to_string())?;
            let lists = [r.data_watches, r.exist_watches, r.child_watches];
            let [data, exist, child] = lists.map(Option::unwrap_or_default);
            let persistent = r.persistent_watches.unwrap_or_default();
            let recursive = r.persistent_recursive_watches.unwrap_or_default();
            (r.relative_zxid.to_wire(), [data, exist, child, persistent, recursive])
        } else {
            let r: SetWatchesRequest<'_> = reader.get().map_err(|e| e.to_string())?;
            let lists = [r.data_watches, r.exist_watches, r.child_watches];
            let [data, exist, child] = lists.map(Option::unwrap_or_default);
            (r.relative_zxid.to_wire(), [data, exist, child, Vec::new(), Vec::new()])
        };
        let mut told = Vec::new();
        let mut tell = |kind, path: &Cow<'_, str>| {
            told.push(Event { zxid: -1, kind, path: path.to_string() });
        };
        for path in &data {
            match model.node(path) {
                None => tell(DELETED, path),
                Some(node) if node.mzxid.to_wire() > since => tell(DATA_CHANGED, path),
                Some(_) => self.leave(path, false),
            }
        }
        for path in &exist {
            match model.node(path) {
                Some(_) => tell(CREATED, path),
                None => self.leave(path, false),
            }
        }
        for path in &child {
            match model.node(path) {
                None => tell(DELETED, path),
                Some(node) if node.pzxid.to_wire() > since => tell(CHILDREN_CHANGED, path),
                Some(_) => self.leave(path, true),
            }
        }
        persistent.iter().for_each(|path| self.add_persistent(path));
        for path in recursive {
            self.data.entry(path.into_owned()).or_default().recursive = true;
        }
        Ok(told)
    }

    fn add_persistent(&mut self, path: &str) {
        self.data.entry(path.to_owned()).or_default().persistent = true;
        self.child.entry(path.to_owned()).or_default().persistent = true;
    }
}

/// Whether a path is watched in this table by name; the one-shot watch is spent.
fn take(table: &mut BTreeMap<String, Modes>, path: &str) -> bool {
    let Some(modes) = table.get_mut(path) else { return false };
    let watched = *modes != Modes::default();
    modes.once = false;
    watched
}
