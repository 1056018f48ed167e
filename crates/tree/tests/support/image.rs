//! Reads the bytes of a snapshot's first four sections, and loads them.

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::{Acl, Reader, SessionId, Zxid};
use oxikeeper_tree::{Tree, TreeLoader, TreeOptions};

use super::model::{Model, ModelNode};

/// A node as it stands in the file.
#[derive(Clone, Debug)]
pub struct ImageNode {
    pub path: String,
    pub data: Option<Vec<u8>>,
    pub acl_id: i64,
    pub stat: StatPersisted,
}

/// What the sections say, in their order.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub sessions: Vec<(SessionId, i32)>,
    pub acls: Vec<(i64, Vec<Acl>)>,
    pub nodes: Vec<ImageNode>,
}

impl Image {
    /// Takes the bytes apart. They must be these sections and nothing more.
    pub fn parse(bytes: &[u8]) -> Image {
        let (image, rest) = Image::parse_front(bytes);
        assert_eq!(rest, b"", "nothing follows the end mark");
        image
    }

    /// Takes apart the front of a whole snapshot; the other sections come back as they are.
    pub fn parse_front(bytes: &[u8]) -> (Image, &[u8]) {
        let mut reader = Reader::new(bytes);
        let mut image = Image::default();
        assert_eq!(reader.get::<i32>(), Ok(0x5A4B_534E), "ZKSN");
        assert_eq!(reader.get::<i32>(), Ok(2), "version");
        assert_eq!(reader.get::<i64>(), Ok(-1), "dbid");
        for _ in 0..reader.get::<i32>().unwrap() {
            let id = SessionId(reader.get().unwrap());
            image.sessions.push((id, reader.get().unwrap()));
        }
        for _ in 0..reader.get::<i32>().unwrap() {
            let id = reader.get().unwrap();
            image.acls.push((id, reader.get().unwrap()));
        }
        loop {
            let path: String = reader.get().expect("a path, or the end mark");
            if path == "/" {
                break;
            }
            let data = reader.buffer().unwrap().map(<[u8]>::to_vec);
            let (acl_id, stat) = (reader.get().unwrap(), reader.get().unwrap());
            image.nodes.push(ImageNode { path, data, acl_id, stat });
        }
        (image, reader.rest())
    }

    /// Nodes by path, with their ACLs instead of the numbers.
    pub fn by_path(&self) -> BTreeMap<String, ModelNode> {
        let acls: BTreeMap<i64, &Vec<Acl>> = self.acls.iter().map(|(id, acl)| (*id, acl)).collect();
        let open = vec![Acl::open()];
        let node = |node: &ImageNode| {
            let acl = if node.acl_id == -1 { &open } else { acls[&node.acl_id] };
            let path = if node.path.is_empty() { "/" } else { &node.path };
            let (data, acl) = (node.data.clone(), acl.clone());
            (path.to_owned(), ModelNode { data, acl, stat: node.stat })
        };
        self.nodes.iter().map(node).collect()
    }

    /// Compares with the model, exactly.
    pub fn assert_is(&self, model: &Model) {
        let sessions: Vec<_> = model.sessions.iter().map(|(&id, &ms)| (id, ms)).collect();
        assert_eq!(self.sessions, sessions);
        let acls: BTreeMap<i64, &Vec<Acl>> = self.acls.iter().map(|(id, acl)| (*id, acl)).collect();
        assert_eq!(acls.len(), self.acls.len(), "an ACL number stands twice");
        assert!(acls.keys().all(|&id| id > 0), "ACL numbers are positive");
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            let path = &node.path;
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            assert!(
                parent.is_none_or(|parent| seen.contains(parent)),
                "{path} comes before its parent"
            );
            assert!(seen.insert(path.as_str()), "{path} stands twice");
        }
        assert_eq!(self.by_path(), model.nodes);
    }

    /// A tree made of it.
    pub fn load(&self, zxid: Zxid) -> Tree {
        let mut loader = TreeLoader::new(TreeOptions::default());
        for &(id, timeout_ms) in &self.sessions {
            loader.session(id, timeout_ms);
        }
        for (id, acl) in &self.acls {
            loader.acl(*id, acl.clone());
        }
        for node in &self.nodes {
            let ImageNode { path, data, acl_id, stat } = node;
            loader.node(path, data.as_deref(), *acl_id, stat).expect("the image is sound");
        }
        loader.finish(zxid).expect("the image is sound")
    }
}

/// Counts the quotas of the model anew, as loading does.
pub fn recount(model: &mut Model) {
    let limits: Vec<String> =
        model.nodes.keys().filter(|path| path.ends_with("/zookeeper_limits")).cloned().collect();
    for limits in limits {
        let Some(root) = limits
            .strip_prefix("/zookeeper/quota")
            .and_then(|path| path.strip_suffix("/zookeeper_limits"))
            .filter(|root| !root.is_empty())
        else {
            continue;
        };
        let (count, bytes) = model.totals(root);
        if let Some(stats) = model.nodes.get_mut(&limits.replace("_limits", "_stats")) {
            stats.data = Some(format!("count={count},bytes={bytes}").into_bytes());
        }
    }
}
