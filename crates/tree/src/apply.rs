//! Applying transactions. Never fails: what a transaction needs is there, because prep saw to it;
//! or a log is being replayed over a snapshot that already holds later changes, and then the
//! tolerant rules of the storage-format reference, 3.6, say what to do.

use std::borrow::Cow;
use std::sync::Arc;

use oxikeeper_proto::stat::NodeKind;
use oxikeeper_proto::txn::{DeleteTxn, SetAclTxn, SetDataTxn};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid, path};

use crate::change::{Applied, ChangeKind, ChangeList, Outcome};
use crate::node::Node;
use crate::nodes::NodeId;
use crate::record::Record;
use crate::tree::Tree;

/// Who asked for a change, and when.
#[derive(Clone, Copy)]
struct Origin {
    session: SessionId,
    zxid: Zxid,
    time_ms: i64,
}

/// The fields that all creates share.
struct Create<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: &'a [Acl],
    kind: NodeKind,
    parent_cversion: i32,
}

impl Tree {
    /// Applies one transaction and appends what it changed to `changes`.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        changes: &mut ChangeList,
    ) -> Applied {
        let origin =
            Origin { session: header.session, zxid: header.zxid, time_ms: header.time_ms };
        let outcome = if txn.is_failed_multi() {
            Outcome::None
        } else {
            self.apply_one(origin, txn, changes)
        };
        self.last_zxid = self.last_zxid.max(header.zxid);
        Applied { outcome, digest: self.digest }
    }

    fn apply_one(
        &mut self,
        origin: Origin,
        txn: &Txn<'_>,
        changes: &mut ChangeList,
    ) -> Outcome {
        match txn {
            Txn::CreateSession(timeout_ms) => {
                self.sessions.insert(origin.session, *timeout_ms);
                Outcome::None
            }
            Txn::CloseSession(paths) => self.close_session(origin, paths.as_deref(), changes),
            Txn::Error(_) => Outcome::None,
            Txn::Create(body) | Txn::Create2(body) => {
                let kind = if body.ephemeral {
                    NodeKind::Ephemeral(origin.session)
                } else {
                    NodeKind::Persistent
                };
                let (path, data, acl) = (&*body.path, body.data, &*body.acl);
                let parent_cversion = body.parent_cversion;
                self.create(origin, Create { path, data, acl, kind, parent_cversion }, changes)
            }
            Txn::CreateContainer(body) => {
                let (path, data, acl) = (&*body.path, body.data, &*body.acl);
                let (kind, parent_cversion) = (NodeKind::Container, body.parent_cversion);
                self.create(origin, Create { path, data, acl, kind, parent_cversion }, changes)
            }
            Txn::CreateTtl(body) => {
                let (path, data, acl) = (&*body.path, body.data, &*body.acl);
                let (kind, parent_cversion) = (NodeKind::Ttl(body.ttl_ms), body.parent_cversion);
                self.create(origin, Create { path, data, acl, kind, parent_cversion }, changes)
            }
            Txn::Delete(DeleteTxn { path }) | Txn::DeleteContainer(DeleteTxn { path }) => {
                self.delete(origin, path, changes)
            }
            Txn::SetData(body) | Txn::Reconfig(body) => self.set_data(origin, body, changes),
            Txn::SetAcl(body) => self.set_acl(body),
            Txn::Check(_) => Outcome::Checked,
            Txn::Multi(members) => {
                let apply = |member| self.apply_one(origin, member, changes);
                Outcome::Multi(members.iter().map(apply).collect())
            }
        }
    }

    fn create(
        &mut self,
        origin: Origin,
        create: Create<'_>,
        changes: &mut ChangeList,
    ) -> Outcome {
        let Create { path, data, acl, kind, parent_cversion } = create;
        let Some((parent_path, name)) = path::split(path) else { return Outcome::Missing };
        let Some(parent) = self.nodes.find(parent_path) else { return Outcome::Missing };
        let existing = self.nodes.find(path);
        self.before_change(parent);
        self.take_out(parent_or_root(parent_path), parent);
        let acl_number = match existing {
            Some(_) => None,
            None => Some(self.acls.acquire(acl)),
        };
        if let Some(acl) = acl_number {
            let czxid = origin.zxid.raw();
            let record = Record {
                name,
                data,
                acl,
                owner: kind.to_owner(),
                czxid,
                mzxid: czxid,
                ctime: origin.time_ms,
                mtime: origin.time_ms,
                version: 0,
                aversion: 0,
            };
            let id = self.nodes.insert(parent, path, &record);
            self.after_insert(id);
            self.index_kind(id, record.owner);
        }
        let parent_czxid = Zxid::new(self.nodes.record(parent).czxid);
        let family = self.nodes.family_mut(parent, parent_czxid);
        let cversion = match parent_cversion {
            -1 => family.cversion.wrapping_add(1),
            given => given,
        };
        // Monotone, so that replaying an older create changes nothing; in the sense that wraps.
        if cversion.wrapping_sub(family.cversion) > 0 {
            family.cversion = cversion;
            family.pzxid = origin.zxid;
        }
        self.count_in(parent_or_root(parent_path), parent);
        match existing {
            Some(id) => {
                // Its ACL may have been missing from the snapshot (ZOOKEEPER-4846).
                self.replace_acl(id, acl, |record| record.aversion);
                Outcome::Missing
            }
            None => {
                let id = self.nodes.find(path).expect("it was just inserted");
                self.count_in(path, id);
                let parent_acl = self.acls.get(self.nodes.record(parent).acl);
                let acl = self.acls.get(self.nodes.record(id).acl);
                changes.push(ChangeKind::Created, origin.zxid, path, acl, parent_acl);
                self.quota_created(path, data.map_or(0, <[u8]>::len));
                Outcome::Created { stat: Node::new(self, id).stat() }
            }
        }
    }

    fn delete(&mut self, origin: Origin, path: &str, changes: &mut ChangeList) -> Outcome {
        let Some((parent_path, _)) = path::split(path) else { return Outcome::Missing };
        let Some(parent) = self.nodes.find(parent_path) else { return Outcome::Missing };
        let node = self.nodes.find(path).filter(|&id| id != parent);
        if let Some(id) = node {
            self.delete_below(id, path);
            self.before_change(id);
        }
        self.before_change(parent);
        self.take_out(parent_or_root(parent_path), parent);
        let parent_czxid = Zxid::new(self.nodes.record(parent).czxid);
        let family = self.nodes.family_mut(parent, parent_czxid);
        family.pzxid = family.pzxid.max(origin.zxid);
        if let Some(id) = node {
            self.take_out(path, id);
            let record = self.nodes.record(id);
            let (owner, acl_number) = (record.owner, record.acl);
            let bytes = record.data.map_or(0, <[u8]>::len);
            let acl = Arc::clone(self.acls.get(acl_number));
            self.unindex_kind(id, owner);
            self.nodes.remove(id);
            self.forget_acl(id, acl_number);
            let parent_acl = self.acls.get(self.nodes.record(parent).acl);
            changes.push(ChangeKind::Deleted, origin.zxid, path, &acl, parent_acl);
            self.quota_deleted(path, bytes);
        }
        let parent = self.nodes.find(parent_path).expect("a parent outlives its child");
        self.count_in(parent_or_root(parent_path), parent);
        if node.is_some() { Outcome::Deleted } else { Outcome::Missing }
    }

    /// Removes what is below a node that is to be deleted. Only a replayed log can ask for that:
    /// the children in the snapshot belong to a later node of the same path, whose creation and
    /// theirs the log is yet to bring.
    fn delete_below(&mut self, id: NodeId, path: &str) {
        let mut below: Vec<NodeId> = Vec::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for child in self.nodes.children(id) {
                below.push(child);
                open.push(child);
            }
        }
        if below.is_empty() {
            return;
        }
        self.before_change(id);
        self.take_out(path, id);
        for id in below.into_iter().rev() {
            let path = self.nodes.path(id);
            self.before_change(id);
            let parent = self.nodes.parent(id);
            self.before_change(parent);
            self.take_out(&path, id);
            let record = self.nodes.record(id);
            let (owner, acl_number) = (record.owner, record.acl);
            self.unindex_kind(id, owner);
            self.nodes.remove(id);
            self.forget_acl(id, acl_number);
        }
        self.count_in(path, id);
    }

    fn set_data(
        &mut self,
        origin: Origin,
        body: &SetDataTxn<'_>,
        changes: &mut ChangeList,
    ) -> Outcome {
        let path = body.path.as_ref();
        let Some(id) = self.nodes.find(path) else { return Outcome::Missing };
        self.before_change(id);
        self.take_out(path, id);
        let bytes_before = self.nodes.record(id).data.map_or(0, <[u8]>::len);
        self.nodes.replace_with(id, body.data, |record| {
            record.version = body.version;
            record.mzxid = origin.zxid.raw();
            record.mtime = origin.time_ms;
        });
        self.count_in(path, id);
        let acl = self.acls.get(self.nodes.record(id).acl);
        let parent = self.nodes.find(path::parent(path)).unwrap_or(id);
        let parent_acl = self.acls.get(self.nodes.record(parent).acl);
        changes.push(ChangeKind::DataChanged, origin.zxid, path, acl, parent_acl);
        self.quota_set(path, bytes_before, body.data.map_or(0, <[u8]>::len));
        Outcome::DataSet { stat: Node::new(self, id).stat() }
    }

    fn set_acl(&mut self, body: &SetAclTxn<'_>) -> Outcome {
        let Some(id) = self.nodes.find(&body.path) else { return Outcome::Missing };
        self.before_change(id);
        self.take_out(&body.path, id);
        self.replace_acl(id, &body.acl, |_| body.version);
        self.count_in(&body.path, id);
        Outcome::AclSet { stat: Node::new(self, id).stat() }
    }

    /// Gives a node another ACL. The caller accounts for the digest if the stat changes.
    fn replace_acl(
        &mut self,
        id: NodeId,
        acl: &[Acl],
        aversion: impl FnOnce(&Record<'_>) -> i32,
    ) {
        self.before_change(id);
        let new = self.acls.acquire(acl);
        let old = self.nodes.record(id).acl;
        self.nodes.replace(id, |record| {
            record.aversion = aversion(record);
            record.acl = new;
        });
        self.acls.release(old);
        self.unresolved_acls.remove(&id);
    }

    fn close_session(
        &mut self,
        origin: Origin,
        paths: Option<&[Cow<'_, str>]>,
        changes: &mut ChangeList,
    ) -> Outcome {
        self.sessions.remove(&origin.session);
        for path in paths.unwrap_or_default() {
            self.delete(origin, path, changes);
        }
        // What the list lacks: it is absent in old files, and short in those of a fuzzy snapshot.
        for path in self.ephemerals(origin.session) {
            self.delete(origin, &path, changes);
        }
        Outcome::SessionClosed
    }

    /// Removes ephemerals whose session is not known, as Apache does after loading its files.
    /// No transaction stands for it: their own zxid is that of the last one applied.
    /// Returns how many there were.
    pub fn remove_dead_ephemerals(&mut self, changes: &mut ChangeList) -> usize {
        let dead: Vec<SessionId> = self
            .ephemerals
            .keys()
            .copied()
            .filter(|session| !self.sessions.contains_key(session))
            .collect();
        let mut count = 0;
        for session in dead {
            let origin = Origin { session, zxid: self.last_zxid, time_ms: 0 };
            for path in self.ephemerals(session) {
                self.delete(origin, &path, changes);
                count += 1;
            }
        }
        count
    }
}

fn parent_or_root(parent: &str) -> &str {
    if parent.is_empty() { path::ROOT } else { parent }
}
