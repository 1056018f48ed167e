//! A snapshot of Apache's is written while the tree changes: it holds every transaction up to its
//! name, and some part of later ones. Replaying all later ones over it must end in the tree that
//! the transactions alone make, whatever that part was.

mod support;

use oxikeeper_proto::{Acl, Txn, TxnHeader};
use oxikeeper_tree::{ChangeList, Tree};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use support::compare::assert_same;
use support::image::{Image, ImageNode};
use support::model::Model;
use support::sane;
use support::source::Source;

/// A server that serves on while it writes.
struct Server<'b> {
    model: Model,
    steps: std::slice::Iter<'b, Vec<u8>>,
    /// Everything since the snapshot began.
    log: Vec<(TxnHeader, Txn<'static>)>,
}

impl Server<'_> {
    fn serve(&mut self, count: usize) {
        for _ in 0..count {
            let Some(step) = self.steps.next() else { return };
            let (header, mut txn) = sane::next(&mut Source::new(step), &self.model);
            // A closeSession without its paths, as servers before 3.6 wrote it, does not say which
            // parents lost a child that the snapshot no longer holds: that they list the paths now
            // is the cure (ZOOKEEPER-3145).
            if let Txn::CloseSession(paths @ None) = &mut txn {
                let owned = self.model.ephemerals(header.session);
                *paths = Some(owned.into_iter().map(Into::into).collect());
            }
            self.model.apply(&header, &txn, &mut Vec::new());
            self.log.push((header, txn));
        }
    }

    /// Sessions and ACLs first; then each node with its list of children as of one moment, then
    /// those children, if they are still there. `pace` says how much is served between two nodes.
    fn write_snapshot(&mut self, pace: &mut Source<'_>) -> Image {
        let mut image = Image::default();
        image.sessions.extend(self.model.sessions.iter().map(|(&id, &ms)| (id, ms)));
        let mut lists: Vec<Vec<Acl>> = Vec::new();
        for node in self.model.nodes.values() {
            if !lists.contains(&node.acl) {
                lists.push(node.acl.clone());
            }
        }
        image.acls = (1..).zip(lists.clone()).collect();
        let mut open = vec!["/".to_owned()];
        while let Some(path) = open.pop() {
            let Some(node) = self.model.nodes.get(&path) else { continue };
            // Its number is given out when the list is first used, and only then is it known here.
            let known = lists.iter().position(|list| *list == node.acl);
            let place = known.unwrap_or_else(|| {
                lists.push(node.acl.clone());
                lists.len() - 1
            });
            let (data, stat) = (node.data.clone(), node.stat);
            let prefix = path.trim_end_matches('/').to_owned();
            for child in self.model.children(&path) {
                open.push(format!("{prefix}/{child}"));
            }
            image.nodes.push(ImageNode { path: prefix, data, acl_id: place as i64 + 1, stat });
            let count = pace.below(4);
            self.serve(count);
        }
        image
    }
}

fn replay(tree: &mut Tree, log: &[(TxnHeader, Txn<'static>)]) {
    for (header, txn) in log {
        tree.apply(header, txn, &mut ChangeList::default());
    }
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn replay_over_a_fuzzy_snapshot_ends_right(
        before in vec(vec(any::<u8>(), 4..20), 0..60),
        during in vec(vec(any::<u8>(), 4..20), 0..100),
        pace in vec(any::<u8>(), 0..60),
    ) {
        let mut server = Server { model: Model::new(), steps: before.iter(), log: Vec::new() };
        server.serve(usize::MAX);
        server.log.clear();
        server.steps = during.iter();
        let zxid = server.model.last_zxid;
        let image = server.write_snapshot(&mut Source::new(&pace));
        server.serve(usize::MAX);

        let mut tree = image.load(zxid);
        tree.check_invariants();
        replay(&mut tree, &server.log);
        tree.check_invariants();
        prop_assert_eq!(tree.unresolved_acls(), 0);
        assert_same(&tree, &server.model);
    }
}
