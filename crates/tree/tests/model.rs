//! The tree against the naive model: after every transaction, whatever it is, all that can be
//! asked of one has the same answer from the other.

mod support;

use oxikeeper_tree::{ChangeList, Outcome, Tree, TreeOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use support::compare::{assert_same, assert_same_changes};
use support::model::Model;
use support::source::Source;
use support::wild;

/// A step is a few bytes, from which its transaction is chosen.
fn steps(count: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 4..24), 1..count)
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn any_transactions_do_what_the_model_says(steps in steps(80), seed in any::<u64>()) {
        let mut tree = Tree::new(TreeOptions { hash_seed: seed, ..TreeOptions::default() });
        let mut model = Model::new();
        assert_same(&tree, &model);
        let mut changes = ChangeList::default();
        for (zxid, step) in (1..).zip(&steps) {
            let mut source = Source::new(step);
            let mut header = wild::header(&mut source, zxid);
            let txn = wild::txn(&mut source, &model);
            header.kind = txn.kind();
            changes.clear();
            let mut expected = Vec::new();
            let outcome = model.apply(&header, &txn, &mut expected);
            let applied = tree.apply(&header, &txn, &mut changes);
            prop_assert_eq!(&applied.outcome, &outcome, "{:?}", txn);
            prop_assert_eq!(applied.digest, tree.digest());
            assert_same_changes(&changes, &expected);
            assert_same(&tree, &model);
            tree.check_invariants();
        }
    }
}

#[test]
fn the_empty_tree_has_the_known_digest() {
    assert_eq!(Tree::new(TreeOptions::default()).digest(), 1_371_985_504);
    assert_eq!(Model::new().digest(), 1_371_985_504);
    assert_eq!(Tree::new(TreeOptions::default()).data_size(), 44);
}

#[test]
fn without_a_digest_nothing_else_differs() {
    let options = TreeOptions { digest_enabled: false, ..TreeOptions::default() };
    let mut tree = Tree::new(options);
    let mut model = Model::new();
    for zxid in 1..200u64 {
        let bytes: Vec<u8> = (0..24).map(|at| (zxid * 31 + at * 7) as u8).collect();
        let mut source = Source::new(&bytes);
        let mut header = wild::header(&mut source, zxid);
        let txn = wild::txn(&mut source, &model);
        header.kind = txn.kind();
        let outcome = model.apply(&header, &txn, &mut Vec::new());
        let applied = tree.apply(&header, &txn, &mut ChangeList::default());
        assert_eq!(applied.outcome, outcome);
        assert_eq!(applied.digest, 0);
        assert_eq!(tree.node_count(), model.nodes.len());
        tree.check_invariants();
    }
    assert!(tree.node_count() > 10, "something was created");
}

/// A log may delete what no client can; the ensemble's configuration is written all the same.
#[test]
fn system_nodes_can_be_lost_and_come_back() {
    use oxikeeper_proto::txn::DeleteTxn;
    use oxikeeper_proto::{SessionId, Txn, TxnHeader, Zxid};
    let mut tree = Tree::new(TreeOptions::default());
    let txn = Txn::Delete(DeleteTxn { path: "/zookeeper".into() });
    let (session, zxid) = (SessionId::NONE, Zxid::new(1));
    let header = TxnHeader { session, cxid: 0, zxid, time_ms: 1, kind: txn.kind() };
    let mut changes = ChangeList::default();
    assert_eq!(tree.apply(&header, &txn, &mut changes).outcome, Outcome::Deleted);
    assert_eq!((tree.node_count(), changes.len()), (1, 1));
    tree.check_invariants();
    tree.set_config(b"server.1=a:1:2:participant", Zxid::new(0x1_0000_0000));
    let config = tree.node("/zookeeper/config").expect("it was written");
    assert_eq!(config.data(), Some(&b"server.1=a:1:2:participant"[..]));
    let stat = config.stat();
    assert_eq!((stat.version, stat.mzxid), (-1, Zxid::new(0x1_0000_0000)));
    tree.check_invariants();
}
