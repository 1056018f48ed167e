//! The reference model: what the tree must be, in the plainest way.
//!
//! Written from the protocol's description, with maps and clones and nothing of the code it judges
//! but the records of the wire. The logged transactions are replayed here in zxid order; each
//! request is prepared here once more, and must have become the transaction that was logged.

pub mod prepare;
pub mod read;
pub mod result;

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::{Acl, Id, NodeKind, SessionId, Stat, Txn, TxnHeader, Zxid};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its data.
    pub data: Option<Vec<u8>>,
    /// Its ACL.
    pub acl: Vec<Acl>,
    /// What it is.
    pub kind: NodeKind,
    /// Created by.
    pub czxid: Zxid,
    /// Last set by.
    pub mzxid: Zxid,
    /// Last child created or deleted by.
    pub pzxid: Zxid,
    /// When created.
    pub ctime: i64,
    /// When set.
    pub mtime: i64,
    /// Sets.
    pub version: i32,
    /// Children ever created.
    pub creates: i32,
    /// ACL sets.
    pub aversion: i32,
    /// Names of its children.
    pub children: BTreeSet<String>,
}

impl Node {
    fn system(aversion: i32, acl_perms: i32) -> Node {
        Node {
            data: Some(Vec::new()),
            acl: vec![Acl { perms: acl_perms, id: Id::anyone() }],
            kind: NodeKind::Persistent,
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            pzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            version: 0,
            creates: 0,
            aversion,
            children: BTreeSet::new(),
        }
    }

    /// As clients see it.
    pub fn stat(&self) -> Stat {
        let children = self.children.len() as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: 2 * self.creates - children,
            aversion: self.aversion,
            ephemeral_owner: match self.kind {
                NodeKind::Ephemeral(session) => session.0,
                _ => 0,
            },
            data_length: self.data.as_ref().map_or(0, |data| data.len() as i32),
            num_children: children,
            pzxid: self.pzxid,
        }
    }
}

/// What watches may tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A node came.
    Created,
    /// A node went.
    Deleted,
    /// Its data was set.
    DataSet,
}

/// One change of a transaction.
#[derive(Clone, Debug)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// Where.
    pub path: String,
    /// The node's ACL at that moment; of a deleted one, as it was.
    pub acl: Vec<Acl>,
    /// Its parent's.
    pub parent_acl: Vec<Acl>,
}

/// The tree and the sessions.
#[derive(Clone, Debug)]
pub struct Model {
    /// By full path.
    pub nodes: BTreeMap<String, Node>,
    /// Open sessions and their timeouts.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Sessions that were closed.
    pub closed: BTreeSet<SessionId>,
    /// The last transaction.
    pub zxid: Zxid,
    /// Whether TTL nodes may be created.
    pub extended_types: bool,
}

impl Model {
    /// What stands before the first transaction.
    pub fn new(extended_types: bool) -> Model {
        let mut nodes = BTreeMap::new();
        for (path, children, aversion, acl_perms) in [
            ("/", vec!["zookeeper"], 0, perms::ALL),
            ("/zookeeper", vec!["config", "quota"], 0, perms::ALL),
            ("/zookeeper/quota", vec![], 0, perms::ALL),
            ("/zookeeper/config", vec![], -1, perms::READ),
        ] {
            let mut node = Node::system(aversion, acl_perms);
            node.children = children.into_iter().map(str::to_owned).collect();
            nodes.insert(path.to_owned(), node);
        }
        Model {
            nodes,
            sessions: BTreeMap::new(),
            closed: BTreeSet::new(),
            zxid: Zxid::ZERO,
            extended_types,
        }
    }

    /// A node by its path as a client may write it: empty is the root.
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(if path.is_empty() { "/" } else { path })
    }

    /// The session's ephemerals, sorted.
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let owned = |node: &Node| node.kind == NodeKind::Ephemeral(session);
        self.nodes.iter().filter(|(_, n)| owned(n)).map(|(path, _)| path.clone()).collect()
    }

    /// Applies a logged transaction. Returns its changes in order, or what is wrong with it.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        match txn {
            Txn::CreateSession(timeout_ms) => {
                if self.closed.contains(&header.session) {
                    return Err(format!("session {} is made again", header.session));
                }
                if self.sessions.insert(header.session, *timeout_ms).is_some() {
                    return Err(format!("session {} is made twice", header.session));
                }
            }
            Txn::CloseSession(listed) => {
                // The checker has compared the list with what the session owns; its order is free.
                for path in listed.iter().flatten() {
                    self.delete(path, header.zxid, &mut changes);
                }
                for path in self.ephemerals(header.session) {
                    self.delete(&path, header.zxid, &mut changes);
                }
                self.sessions.remove(&header.session);
                self.closed.insert(header.session);
            }
            Txn::Multi(members) if !txn.is_failed_multi() => {
                for member in members {
                    self.apply_one(header, member, &mut changes);
                }
            }
            _ => self.apply_one(header, txn, &mut changes),
        }
        self.zxid = header.zxid;
        Ok(changes)
    }

    /// One member of a multi, or a transaction of its own.
    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>, changes: &mut Vec<Change>) {
        match txn {
            Txn::Create(t) | Txn::Create2(t) => {
                let kind = match t.ephemeral {
                    true => NodeKind::Ephemeral(header.session),
                    false => NodeKind::Persistent,
                };
                self.create(header, &t.path, t.data, &t.acl, kind, changes);
            }
            Txn::CreateContainer(t) => {
                self.create(header, &t.path, t.data, &t.acl, NodeKind::Container, changes);
            }
            Txn::CreateTtl(t) => {
                let kind = NodeKind::Ttl(t.ttl_ms);
                self.create(header, &t.path, t.data, &t.acl, kind, changes);
            }
            Txn::Delete(t) | Txn::DeleteContainer(t) => self.delete(&t.path, header.zxid, changes),
            Txn::SetData(t) => {
                let parent_acl = self.parent_acl(&t.path);
                if let Some(node) = self.nodes.get_mut(&*t.path) {
                    node.data = t.data.map(<[u8]>::to_vec);
                    node.version = node.version.wrapping_add(1);
                    node.mzxid = header.zxid;
                    node.mtime = header.time_ms;
                    let (kind, path) = (ChangeKind::DataSet, t.path.to_string());
                    changes.push(Change { kind, path, acl: node.acl.clone(), parent_acl });
                }
            }
            Txn::SetAcl(t) => {
                if let Some(node) = self.nodes.get_mut(&*t.path) {
                    node.acl.clone_from(&t.acl);
                    node.aversion = node.aversion.wrapping_add(1);
                }
            }
            _ => {}
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        kind: NodeKind,
        changes: &mut Vec<Change>,
    ) {
        let (parent, name) = split(path);
        let Some(parent) = self.nodes.get_mut(parent) else { return };
        parent.children.insert(name.to_owned());
        parent.creates = parent.creates.wrapping_add(1);
        parent.pzxid = header.zxid;
        let parent_acl = parent.acl.clone();
        let node = Node {
            data: data.map(<[u8]>::to_vec),
            acl: acl.to_vec(),
            kind,
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            version: 0,
            creates: 0,
            aversion: 0,
            children: BTreeSet::new(),
        };
        self.nodes.insert(path.to_owned(), node);
        let (kind, path) = (ChangeKind::Created, path.to_owned());
        changes.push(Change { kind, path, acl: acl.to_vec(), parent_acl });
    }

    fn delete(&mut self, path: &str, zxid: Zxid, changes: &mut Vec<Change>) {
        let Some(node) = self.nodes.remove(path) else { return };
        let (parent, name) = split(path);
        let mut parent_acl = Vec::new();
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.remove(name);
            parent.pzxid = zxid;
            parent_acl.clone_from(&parent.acl);
        }
        let (kind, path) = (ChangeKind::Deleted, path.to_owned());
        changes.push(Change { kind, path, acl: node.acl, parent_acl });
    }

    fn parent_acl(&self, path: &str) -> Vec<Acl> {
        self.nodes.get(split(path).0).map(|parent| parent.acl.clone()).unwrap_or_default()
    }
}

/// The parent's path and the name.
pub fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("", path),
    }
}

/// Whether an ACL grants any of these permissions to these identities.
pub fn permits(acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
    acl.is_empty()
        || acl.iter().any(|entry| {
            let anyone = entry.id.scheme == "world" && entry.id.id == "anyone";
            entry.perms & wanted != 0 && (anyone || ids.contains(&entry.id))
        })
}

/// The identities of a connection from this address.
pub fn identities(remote: &str, authed: bool) -> Vec<Id> {
    let mut ids = vec![Id::new("ip", remote)];
    if authed {
        ids.push(Id::new("digest", DIGEST_ID));
    }
    ids
}

/// What `u:p` proves with the digest scheme: a vector of the protocol's description.
pub const DIGEST_ID: &str = "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=";
