//! The tree as simply as it can be said: a map of whole paths. Written from the references (stats
//! and tolerant replay: storage format 3.6; quotas: client protocol 10; digest: storage format 5).

use std::collections::BTreeMap;

use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::{Acl, Id, SessionId, Stat, Txn, TxnHeader, Zxid};
use oxikeeper_tree::{ChangeKind, Outcome};

use super::crc::crc32;

#[derive(Clone, Debug, PartialEq)]
pub struct ModelNode {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<Acl>,
    pub stat: StatPersisted,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelChange {
    pub kind: ChangeKind,
    pub zxid: Zxid,
    pub path: String,
    pub acl: Vec<Acl>,
    pub parent_acl: Vec<Acl>,
}

/// Nodes by path; the root is `/`.
#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: BTreeMap<String, ModelNode>,
    pub sessions: BTreeMap<SessionId, i32>,
    pub last_zxid: Zxid,
}

const QUOTA: &str = "/zookeeper/quota";

/// Parent and name, if the path is one that a node other than the root can have.
fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    match (parent, name) {
        (_, "") | ("/", _) => None,
        ("", name) => Some(("/", name)),
        found => Some(found),
    }
}

impl Model {
    pub fn new() -> Model {
        let node = |acl: Acl, aversion| ModelNode {
            data: Some(Vec::new()),
            acl: vec![acl],
            stat: StatPersisted { aversion, ..StatPersisted::default() },
        };
        let read = Acl { perms: 1, id: Id::anyone() };
        let nodes = [
            ("/", node(Acl::open(), 0)),
            ("/zookeeper", node(Acl::open(), 0)),
            ("/zookeeper/config", node(read, -1)),
            (QUOTA, node(Acl::open(), 0)),
        ];
        Model {
            nodes: nodes.map(|(path, node)| (path.to_owned(), node)).into(),
            sessions: BTreeMap::new(),
            last_zxid: Zxid::ZERO,
        }
    }

    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        changes: &mut Vec<ModelChange>,
    ) -> Outcome {
        self.last_zxid = self.last_zxid.max(header.zxid);
        match txn {
            Txn::Multi(members) if members.iter().any(|m| matches!(m, Txn::Error(_))) => {
                Outcome::None
            }
            Txn::Multi(members) => {
                let apply = |member| self.apply_one(header, member, changes);
                Outcome::Multi(members.iter().map(apply).collect())
            }
            single => self.apply_one(header, single, changes),
        }
    }

    fn apply_one(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        changes: &mut Vec<ModelChange>,
    ) -> Outcome {
        let persistent = NodeKind::Persistent.to_owner();
        match txn {
            Txn::CreateSession(timeout_ms) => {
                self.sessions.insert(header.session, *timeout_ms);
                Outcome::None
            }
            Txn::CloseSession(paths) => {
                self.sessions.remove(&header.session);
                for path in paths.iter().flatten() {
                    self.delete(header, path, changes);
                }
                for path in self.ephemerals(header.session) {
                    self.delete(header, &path, changes);
                }
                Outcome::SessionClosed
            }
            Txn::Error(_) => Outcome::None,
            Txn::Check(_) => Outcome::Checked,
            Txn::Create(t) | Txn::Create2(t) => {
                let owner = if t.ephemeral { header.session.0 } else { persistent };
                let parent = t.parent_cversion;
                self.create(header, &t.path, t.data, &t.acl, owner, parent, changes)
            }
            Txn::CreateContainer(t) => {
                let (owner, parent) = (i64::MIN, t.parent_cversion);
                self.create(header, &t.path, t.data, &t.acl, owner, parent, changes)
            }
            Txn::CreateTtl(t) => {
                let owner = 0xff00_0000_0000_0000_u64 as i64 | t.ttl_ms;
                let parent = t.parent_cversion;
                self.create(header, &t.path, t.data, &t.acl, owner, parent, changes)
            }
            Txn::Delete(t) | Txn::DeleteContainer(t) => self.delete(header, &t.path, changes),
            Txn::SetData(t) | Txn::Reconfig(t) => {
                let Some(node) = self.nodes.get_mut(&*t.path) else { return Outcome::Missing };
                let before = length(&node.data);
                node.data = t.data.map(<[u8]>::to_vec);
                node.stat.mtime = header.time_ms;
                node.stat.mzxid = header.zxid;
                node.stat.version = t.version;
                let difference = length(&node.data) - before;
                self.note(ChangeKind::DataChanged, header, &t.path, changes);
                let stat = self.stat(&t.path);
                self.charge(&t.path, 0, difference);
                Outcome::DataSet { stat }
            }
            Txn::SetAcl(t) => {
                let Some(node) = self.nodes.get_mut(&*t.path) else { return Outcome::Missing };
                node.acl = t.acl.clone();
                node.stat.aversion = t.version;
                Outcome::AclSet { stat: self.stat(&t.path) }
            }
            Txn::Multi(_) => panic!("multis are not nested"),
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        owner: i64,
        parent_cversion: i32,
        changes: &mut Vec<ModelChange>,
    ) -> Outcome {
        let Some((parent_path, name)) = split(path) else { return Outcome::Missing };
        let Some(parent) = self.nodes.get_mut(parent_path) else { return Outcome::Missing };
        let now = parent.stat.cversion;
        let then = if parent_cversion == -1 { now.wrapping_add(1) } else { parent_cversion };
        if then.wrapping_sub(now) > 0 {
            parent.stat.cversion = then;
            parent.stat.pzxid = header.zxid;
        }
        if let Some(node) = self.nodes.get_mut(path) {
            node.acl = acl.to_vec();
            return Outcome::Missing;
        }
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            ephemeral_owner: owner,
            pzxid: header.zxid,
            ..StatPersisted::default()
        };
        let data = data.map(<[u8]>::to_vec);
        let bytes = length(&data);
        self.nodes.insert(path.to_owned(), ModelNode { data, acl: acl.to_vec(), stat });
        self.note(ChangeKind::Created, header, path, changes);
        let stat = self.stat(path);
        if name == "zookeeper_stats"
            && let Some(root) = parent_path.strip_prefix(QUOTA)
            && !root.is_empty()
        {
            let (count, bytes) = self.totals(root);
            self.nodes.get_mut(path).expect("it was just put there").data =
                Some(format!("count={count},bytes={bytes}").into_bytes());
        }
        self.charge(path, 1, bytes);
        Outcome::Created { stat }
    }

    fn delete(
        &mut self,
        header: &TxnHeader,
        path: &str,
        changes: &mut Vec<ModelChange>,
    ) -> Outcome {
        let Some((parent_path, _)) = split(path) else { return Outcome::Missing };
        let Some(parent) = self.nodes.get_mut(parent_path) else { return Outcome::Missing };
        parent.stat.pzxid = parent.stat.pzxid.max(header.zxid);
        if !self.nodes.contains_key(path) {
            return Outcome::Missing;
        }
        self.note(ChangeKind::Deleted, header, path, changes);
        let mut gone = self.below(path);
        gone.reverse();
        gone.push(path.to_owned());
        for path in gone {
            let node = self.nodes.remove(&path).expect("it was found");
            self.charge(&path, -1, -length(&node.data));
        }
        Outcome::Deleted
    }

    fn note(
        &self,
        kind: ChangeKind,
        header: &TxnHeader,
        path: &str,
        changes: &mut Vec<ModelChange>,
    ) {
        let parent = split(path).map_or("/", |(parent, _)| parent);
        changes.push(ModelChange {
            kind,
            zxid: header.zxid,
            path: path.to_owned(),
            acl: self.nodes[path].acl.clone(),
            parent_acl: self.nodes[parent].acl.clone(),
        });
    }

    /// Paths of all nodes below a path, ancestors first.
    pub fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let is_below = |other: &&String| other.starts_with(&prefix) && other.len() > prefix.len();
        self.nodes.keys().filter(is_below).cloned().collect()
    }

    /// Names of a node's children, sorted.
    pub fn children(&self, path: &str) -> Vec<String> {
        let child = |other: &String| match split(other) {
            Some((parent, name)) if parent == path => Some(name.to_owned()),
            _ => None,
        };
        self.nodes.keys().filter_map(child).collect()
    }

    pub fn kind(&self, path: &str) -> NodeKind {
        NodeKind::from_owner(self.nodes[path].stat.ephemeral_owner, false)
    }

    /// The stat that a client sees.
    pub fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let children = self.children(path).len() as i32;
        let owner = match self.kind(path) {
            NodeKind::Ephemeral(session) => session.0,
            _ => 0,
        };
        Stat {
            czxid: node.stat.czxid,
            mzxid: node.stat.mzxid,
            ctime: node.stat.ctime,
            mtime: node.stat.mtime,
            version: node.stat.version,
            cversion: node.stat.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: node.stat.aversion,
            ephemeral_owner: owner,
            data_length: length(&node.data) as i32,
            num_children: children,
            pzxid: node.stat.pzxid,
        }
    }

    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let owned = |path: &&String| self.kind(path) == NodeKind::Ephemeral(session);
        self.nodes.keys().filter(owned).cloned().collect()
    }

    pub fn digest(&self) -> u64 {
        self.nodes.iter().map(|(path, node)| node_digest(path, node)).fold(0, u64::wrapping_add)
    }

    pub fn data_size(&self) -> u64 {
        let size = |(path, node): (&String, &ModelNode)| {
            path.chars().count() as u64 + length(&node.data) as u64
        };
        self.nodes.iter().map(size).sum()
    }

    /// Nodes and bytes at and below a path.
    pub fn totals(&self, root: &str) -> (i64, i64) {
        let inside = |path: &str| {
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let nodes = self.nodes.iter().filter(|&(path, _)| inside(path));
        nodes.fold((0, 0), |(count, bytes), (_, node)| (count + 1, bytes + length(&node.data)))
    }

    /// The deepest path at or above this one that has limits.
    pub fn quota_root(&self, path: &str) -> Option<String> {
        let mut at = path.to_owned();
        while at.len() > 1 {
            if self.nodes.contains_key(&format!("{QUOTA}{at}/zookeeper_limits")) {
                return Some(at);
            }
            at.truncate(at.rfind('/').unwrap_or(0));
        }
        None
    }

    fn charge(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(root) = self.quota_root(path) else { return };
        let Some(stats) = self.nodes.get_mut(&format!("{QUOTA}{root}/zookeeper_stats")) else {
            return;
        };
        let mut used = usage(stats.data.as_deref().unwrap_or_default());
        for (key, more) in [("count", count), ("bytes", bytes)] {
            let value = used.entry(key.to_owned()).or_insert(-1);
            *value = value.wrapping_add(more);
        }
        let (count, bytes) = (used.remove("count"), used.remove("bytes"));
        let mut text = format!("count={},bytes={}", count.unwrap(), bytes.unwrap());
        let others: Vec<String> =
            used.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if !others.is_empty() {
            text += &format!("=;{}", others.join(";"));
        }
        stats.data = Some(text.into_bytes());
    }
}

/// `key=value` pairs; values that are not numbers are -1.
pub fn usage(data: &[u8]) -> BTreeMap<String, i64> {
    let text = String::from_utf8_lossy(data).replace(';', ",");
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let number = |text: &str| text.trim_end_matches('=').parse().unwrap_or(-1);
    pairs.map(|(key, value)| (key.to_owned(), number(value))).collect()
}

fn length(data: &Option<Vec<u8>>) -> i64 {
    data.as_ref().map_or(0, |data| data.len() as i64)
}

pub fn node_digest(path: &str, node: &ModelNode) -> u64 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let path = if path == "/" { "" } else { path };
    let stat = &node.stat;
    let mut bytes = Vec::new();
    for zxid in [stat.czxid, stat.mzxid, stat.pzxid] {
        bytes.extend(zxid.raw().to_be_bytes());
    }
    for time in [stat.ctime, stat.mtime] {
        bytes.extend(time.to_be_bytes());
    }
    for version in [stat.version, stat.cversion, stat.aversion] {
        bytes.extend(version.to_be_bytes());
    }
    bytes.extend(stat.ephemeral_owner.to_be_bytes());
    let data = node.data.as_deref().unwrap_or_default();
    u64::from(crc32(&[path.as_bytes(), data, &bytes]))
}
