//! Compares a tree with the model, field by field.

use oxikeeper_proto::stat::NodeKind;
use oxikeeper_tree::{ChangeList, QuotaValues, Tree};

use super::model::{Model, ModelChange, node_digest, usage};
use super::source::SESSIONS;

/// Everything that can be asked of a tree.
pub fn assert_same(tree: &Tree, model: &Model) {
    assert_eq!(tree.last_zxid(), model.last_zxid);
    assert_eq!(tree.node_count(), model.nodes.len());
    assert_eq!(tree.sessions(), model.sessions.clone().into_iter().collect::<Vec<_>>());
    let mut ephemerals = 0;
    for session in SESSIONS {
        assert_eq!(tree.session_timeout_ms(session), model.sessions.get(&session).copied());
        let expected = model.ephemerals(session);
        ephemerals += expected.len();
        assert_eq!(tree.ephemeral_sessions().contains(&session), !expected.is_empty());
        assert_eq!(tree.ephemerals(session), expected, "{session}");
    }
    assert_eq!(tree.ephemeral_count(), ephemerals);
    assert_same_nodes(tree, model);
    assert_eq!(tree.node("").map(|root| root.path()).as_deref(), Some("/"));
    for absent in ["a", "//", "//a", "/a/", "/a//b", "/no", "/a/no", "zookeeper/quota", "/zookeepe"]
    {
        assert!(tree.node(absent).is_none(), "{absent}");
    }
    assert_eq!(tree.digest(), model.digest());
    assert_eq!(tree.data_size(), model.data_size());
    assert_reapable(tree, model);
}

/// The nodes alone, whatever their sessions are.
pub fn assert_same_nodes(tree: &Tree, model: &Model) {
    assert_eq!(tree.node_count(), model.nodes.len());
    for path in model.nodes.keys() {
        assert_same_node(tree, model, path);
    }
}

fn assert_same_node(tree: &Tree, model: &Model, path: &str) {
    let expected = &model.nodes[path];
    let node = tree.node(path).unwrap_or_else(|| panic!("{path} is missing"));
    assert_eq!(node.path(), path);
    assert_eq!(node.data(), expected.data.as_deref(), "{path}");
    assert_eq!(node.persisted(), expected.stat, "{path}");
    assert_eq!(node.stored_cversion(), expected.stat.cversion, "{path}");
    assert_eq!(node.stat(), model.stat(path), "{path}");
    assert_eq!(node.kind(), model.kind(path), "{path}");
    assert_eq!(**node.acl(), expected.acl, "{path}");
    let mut children: Vec<&str> = node.children().collect();
    children.sort_unstable();
    assert_eq!(children, model.children(path), "{path}");
    assert_eq!(node.num_children() as usize, children.len(), "{path}");
    assert_eq!(node.descendants() as usize, model.below(path).len(), "{path}");
    assert_eq!(node.digest(), node_digest(path, expected), "{path}");
    let quota = tree.quota(path);
    let text = |root: &String, name| {
        let path = format!("/zookeeper/quota{root}/{name}");
        model.nodes.get(&path).map(|node| node.data.clone().unwrap_or_default())
    };
    let expected = model.quota_root(path).and_then(|root| {
        let limits = text(&root, "zookeeper_limits")?;
        let usage = text(&root, "zookeeper_stats")?;
        Some((root, values(&limits), values(&usage)))
    });
    assert_eq!(quota.map(|quota| (quota.root, quota.limits, quota.usage)), expected, "{path}");
}

fn values(text: &[u8]) -> QuotaValues {
    let pairs = usage(text);
    let get = |key| pairs.get(key).copied().unwrap_or(-1);
    QuotaValues {
        count: get("count"),
        bytes: get("bytes"),
        count_hard: get("countHardLimit"),
        bytes_hard: get("byteHardLimit"),
    }
}

/// Containers and TTL nodes that are due, at some times and settings.
fn assert_reapable(tree: &Tree, model: &Model) {
    let last = model.nodes.values().map(|node| node.stat.mtime).max().unwrap_or(0);
    for (now_ms, never_used_ms) in
        [(0, 0), (last, 0), (last + 101, 0), (last, 50), (last + 9000, 9)]
    {
        let due = |path: &&String| {
            let stat = &model.nodes[*path].stat;
            let idle_ms = now_ms - stat.mtime;
            model.children(path).is_empty()
                && match model.kind(path) {
                    NodeKind::Container if stat.cversion > 0 => true,
                    NodeKind::Container => never_used_ms != 0 && idle_ms > never_used_ms,
                    NodeKind::Ttl(ttl_ms) => ttl_ms != 0 && idle_ms > ttl_ms,
                    _ => false,
                }
        };
        let expected: Vec<String> = model.nodes.keys().filter(due).cloned().collect();
        let mut found = tree.reapable(now_ms, never_used_ms);
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

/// What watches are told.
pub fn assert_same_changes(changes: &ChangeList, expected: &[ModelChange]) {
    assert_eq!(changes.len(), expected.len(), "{changes:?} {expected:?}");
    for ((change, path), expected) in changes.iter().zip(expected) {
        let found = ModelChange {
            kind: change.kind,
            zxid: change.zxid,
            path: path.to_owned(),
            acl: change.acl.to_vec(),
            parent_acl: change.parent_acl.to_vec(),
        };
        assert_eq!(&found, expected);
    }
}
