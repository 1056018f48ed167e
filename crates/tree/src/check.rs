//! What always holds of a tree. Costly: for tests and the simulator.

use std::collections::BTreeMap;

use oxikeeper_proto::SessionId;
use oxikeeper_proto::stat::NodeKind;

use crate::acl_table;
use crate::node::Node;
use crate::nodes::{NodeId, ROOT};
use crate::tree::{Tree, path_letters};

impl Tree {
    /// Checks the whole structure against itself.
    ///
    /// # Panics
    /// If anything does not agree, with what it is.
    pub fn check_invariants(&self) {
        let mut seen = 0;
        let mut digest = 0u64;
        let mut size = 0u64;
        let mut ephemerals: BTreeMap<SessionId, Vec<NodeId>> = BTreeMap::new();
        let mut reapables = Vec::new();
        let mut acl_counts: BTreeMap<u32, u32> = BTreeMap::new();
        let mut open = vec![ROOT];
        while let Some(id) = open.pop() {
            let path = self.nodes.path(id);
            assert_eq!(self.nodes.find(&path), Some(id), "the index finds {path}");
            seen += 1;
            digest = digest.wrapping_add(self.share_of(&path, id).digest);
            let record = self.nodes.record(id);
            size += (record.data.map_or(0, <[u8]>::len) + path_letters(&path, id)) as u64;
            *acl_counts.entry(record.acl).or_default() += 1;
            let node = Node::new(self, id);
            match node.kind() {
                NodeKind::Ephemeral(session) => ephemerals.entry(session).or_default().push(id),
                NodeKind::Container | NodeKind::Ttl(_) => reapables.push(id),
                NodeKind::Persistent => {}
            }
            let children: Vec<NodeId> = self.nodes.children(id).collect();
            assert_eq!(children.len(), node.num_children() as usize, "children of {path}");
            for &child in &children {
                assert_eq!(self.nodes.parent(child), id, "parent of a child of {path}");
            }
            open.extend(children);
        }
        self.nodes.check();
        assert_eq!(seen, self.node_count(), "every node hangs in the tree");
        assert_eq!(digest, self.digest, "the digest is the sum of the nodes'");
        assert_eq!(size, self.data_size, "the size is the sum of the nodes'");
        let indexed: usize = self.ephemerals.values().map(|ids| ids.len()).sum();
        assert_eq!(indexed, self.ephemeral_count, "ephemerals are counted");
        let owners = ephemerals.keys().copied().collect::<Vec<_>>();
        assert_eq!(owners, self.ephemeral_sessions(), "owners of ephemerals");
        for (session, mut ids) in ephemerals {
            ids.sort_unstable();
            assert!(self.ephemerals[&session].iter().eq(&ids), "ephemerals of {session}");
        }
        reapables.sort_unstable();
        assert!(self.reapables.iter().eq(&reapables), "containers and TTL nodes are indexed");
        for (number, count) in self.acls.counts() {
            let nodes = acl_counts.get(&number).copied().unwrap_or(0);
            let extra = u32::from(number == acl_table::OPEN);
            assert_eq!(count, nodes + extra, "nodes with ACL {number}");
        }
    }
}
