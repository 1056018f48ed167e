//! Applying transactions. Never fails: what a transaction needs is there, because prep saw to it;
//! or a log is being replayed over a snapshot that already holds later changes, and then the
//! tolerant rules of the storage-format reference, 3.6, say what to do.

use std::borrow::Cow;

use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::txn::{DeleteTxn, SetAclTxn, SetDataTxn};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid, path};

use crate::change::{Applied, ChangeKind, ChangeList, Outcome};
use crate::digest::Content;
use crate::node::{Node, visible_stat};
use crate::nodes::{Family, NodeId, ROOT};
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
        let origin = Origin { session: header.session, zxid: header.zxid, time_ms: header.time_ms };
        let outcome = if txn.is_failed_multi() {
            Outcome::None
        } else {
            self.apply_one(origin, txn, changes)
        };
        self.last_zxid = self.last_zxid.max(header.zxid);
        Applied { outcome, digest: self.digest }
    }

    fn apply_one(&mut self, origin: Origin, txn: &Txn<'_>, changes: &mut ChangeList) -> Outcome {
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

    fn create(&mut self, origin: Origin, create: Create<'_>, changes: &mut ChangeList) -> Outcome {
        let Create { path, data, acl, kind, parent_cversion } = create;
        let Some((parent_path, name)) = split(path) else { return Outcome::Missing };
        let Some(parent) = self.nodes.find(parent_path) else { return Outcome::Missing };
        let hash = self.nodes.hash(path);
        let existing = self.nodes.find_hashed(path, hash);
        let outcome = match existing {
            // Its ACL may have been missing from the snapshot (ZOOKEEPER-4846).
            Some(id) => {
                self.replace_acl(id, acl, |record| record.aversion);
                Outcome::Missing
            }
            None => {
                let czxid = origin.zxid.raw();
                let stat = StatPersisted {
                    czxid: origin.zxid,
                    mzxid: origin.zxid,
                    ctime: origin.time_ms,
                    mtime: origin.time_ms,
                    ephemeral_owner: kind.to_owner(),
                    pzxid: origin.zxid,
                    ..StatPersisted::default()
                };
                let acl = self.acls.acquire(acl);
                let record = Record {
                    name: name.as_bytes(),
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
                let id = self.nodes.insert(parent, hash, &record);
                self.after_insert(id);
                self.index_kind(id, record.owner);
                self.add(self.share(path, id, data, &stat));
                self.note(ChangeKind::Created, origin.zxid, path, (acl, parent), changes);
                let data_len = data.map_or(0, <[u8]>::len);
                let kind = self.kind(record.owner);
                Outcome::Created { stat: visible_stat(&stat, kind, data_len, 0) }
            }
        };
        self.change_family(parent_path, parent, |family| {
            let cversion = match parent_cversion {
                -1 => family.cversion.wrapping_add(1),
                given => given,
            };
            // Monotone, so that replaying an older create changes nothing; in the sense that wraps.
            if cversion.wrapping_sub(family.cversion) > 0 {
                family.cversion = cversion;
                family.pzxid = origin.zxid;
            }
        });
        // Last: it may rewrite the data of this very node, and the reply's stat is from before.
        if existing.is_none() {
            self.quota_created(path, data.map_or(0, <[u8]>::len));
        }
        outcome
    }

    /// Changes what a parent knows of its children, and the digest with it.
    fn change_family(&mut self, path: &str, id: NodeId, change: impl FnOnce(&mut Family)) {
        self.before_change(id);
        let record = self.nodes.record(id);
        let before = self.nodes.persisted_of(id, &record);
        let content = self.options.digest_enabled.then(|| Content::of(path, record.data));
        let family = self.nodes.family_mut(id, before.czxid);
        change(family);
        let after = StatPersisted { cversion: family.cversion, pzxid: family.pzxid, ..before };
        if let Some(content) = content
            && after != before
        {
            let digest = self.digest.wrapping_sub(content.digest(&before));
            self.digest = digest.wrapping_add(content.digest(&after));
        }
    }

    /// Tells of a change of a node, with the number of its ACL, under a parent.
    fn note(
        &self,
        kind: ChangeKind,
        zxid: Zxid,
        path: &str,
        (acl, parent): (u32, NodeId),
        changes: &mut ChangeList,
    ) {
        if changes.is_deaf() {
            return;
        }
        let acl = self.acls.get(acl);
        let parent_acl = self.acls.get(self.nodes.record(parent).acl);
        changes.push(kind, zxid, path, acl, parent_acl);
    }

    fn delete(&mut self, origin: Origin, path: &str, changes: &mut ChangeList) -> Outcome {
        let Some((parent_path, _)) = split(path) else { return Outcome::Missing };
        let Some(parent) = self.nodes.find(parent_path) else { return Outcome::Missing };
        let node = self.nodes.find(path);
        if let Some(id) = node {
            self.delete_below(origin.zxid, id);
            let acl = self.nodes.record(id).acl;
            self.note(ChangeKind::Deleted, origin.zxid, path, (acl, parent), changes);
            self.remove(origin.zxid, path, id);
        }
        self.change_family(parent_path, parent, |family| {
            family.pzxid = family.pzxid.max(origin.zxid);
        });
        if node.is_some() { Outcome::Deleted } else { Outcome::Missing }
    }

    /// Takes a childless node out of everything. Its parent's stat stays as it is.
    fn remove(&mut self, zxid: Zxid, path: &str, id: NodeId) {
        self.before_change(id);
        self.take_out(path, id);
        let Record { owner, acl, czxid, data, .. } = self.nodes.record(id);
        let bytes = data.map_or(0, <[u8]>::len);
        self.unindex_kind(id, owner);
        self.nodes.remove(id);
        self.forget_acl(id, acl, Zxid::new(czxid), zxid);
        self.quota_deleted(path, bytes);
    }

    /// Removes what is below a node that is to be deleted. Only a replayed log can ask for that:
    /// the children in the snapshot belong to a later node of the same path, whose creation and
    /// theirs the log is yet to bring.
    fn delete_below(&mut self, zxid: Zxid, id: NodeId) {
        let mut below: Vec<NodeId> = Vec::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            below.extend(self.nodes.children(id));
            open.extend(self.nodes.children(id));
        }
        // Children stand behind their parents.
        for id in below.into_iter().rev() {
            let path = self.nodes.path(id);
            self.remove(zxid, &path, id);
        }
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
        let record = self.nodes.record(id);
        let (acl, kind) = (record.acl, self.kind(record.owner));
        let bytes_before = record.data.map_or(0, <[u8]>::len);
        let before = self.nodes.persisted_of(id, &record);
        let children = self.nodes.family(id, &record).child_count;
        let share = self.share(path, id, record.data, &before);
        self.subtract(share);
        let (version, mzxid, mtime) = (body.version, origin.zxid, origin.time_ms);
        self.nodes.replace_with(id, body.data, |record| {
            record.version = version;
            record.mzxid = mzxid.raw();
            record.mtime = mtime;
        });
        let after = StatPersisted { version, mzxid, mtime, ..before };
        self.add(self.share(path, id, body.data, &after));
        let parent = if id == ROOT { id } else { self.nodes.parent(id) };
        self.note(ChangeKind::DataChanged, origin.zxid, path, (acl, parent), changes);
        let bytes = body.data.map_or(0, <[u8]>::len);
        let stat = visible_stat(&after, kind, bytes, children);
        self.quota_set(path, bytes_before, bytes);
        Outcome::DataSet { stat }
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
    fn replace_acl(&mut self, id: NodeId, acl: &[Acl], aversion: impl FnOnce(&Record<'_>) -> i32) {
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

/// Parent and name of a path that a node other than the root can have. Prep lets no other one
/// through, but a file is what its writer made it.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    path::split(path).filter(|&(parent, name)| !name.is_empty() && parent != path::ROOT)
}
