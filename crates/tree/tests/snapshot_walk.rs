//! A snapshot written piece by piece, while the tree goes on changing, is the tree as it stood
//! when the walk began: not a node more or less, and parents first.

mod support;

use oxikeeper_proto::txn::CreateTxn;
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_tree::{ChangeList, SnapshotWalk, Tree, TreeOptions, WALK_BYTES};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use support::compare::assert_same;
use support::image::{Image, recount};
use support::model::Model;
use support::source::Source;
use support::{sane, wild};

/// A walk under way, what it has written, and the tree that it should write.
struct Walking {
    walk: SnapshotWalk,
    bytes: Vec<u8>,
    begin: Model,
}

struct Pair {
    tree: Tree,
    model: Model,
    walking: Option<Walking>,
    snapshots: usize,
}

impl Pair {
    fn new() -> Pair {
        let tree = Tree::new(TreeOptions::default());
        Pair { tree, model: Model::new(), walking: None, snapshots: 0 }
    }

    fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        self.tree.apply(header, txn, &mut ChangeList::default());
        self.model.apply(header, txn, &mut Vec::new());
    }

    fn begin(&mut self) {
        let walk = self.tree.begin_snapshot();
        assert_eq!(walk.zxid(), self.model.last_zxid);
        self.walking = Some(Walking { walk, bytes: Vec::new(), begin: self.model.clone() });
    }

    /// Writes a piece; a finished snapshot is compared.
    fn walk(&mut self, max_nodes: usize) {
        let Some(mut walking) = self.walking.take() else { return self.begin() };
        if !self.tree.walk_snapshot(&mut walking.walk, &mut walking.bytes, max_nodes) {
            self.walking = Some(walking);
            return;
        }
        let Walking { walk, bytes, mut begin } = walking;
        let (zxid, digest) = (walk.zxid(), walk.digest());
        self.tree.end_snapshot(walk);
        let image = Image::parse(&bytes);
        image.assert_is(&begin);
        assert_eq!(digest, begin.digest());
        let loaded = image.load(zxid);
        loaded.check_invariants();
        assert_eq!((loaded.digest(), loaded.unresolved_acls()), (digest, 0));
        recount(&mut begin);
        assert_same(&loaded, &begin);
        self.snapshots += 1;
    }

    fn abandon(&mut self) {
        if let Some(walking) = self.walking.take() {
            self.tree.end_snapshot(walking.walk);
        }
    }
}

/// Steps of a few bytes, from which their actions are chosen.
fn steps(count: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 4..24), 1..count)
}

proptest! {
    #![proptest_config(Config { cases: 500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_walk_writes_the_tree_as_it_was(steps in steps(250), any_txns in any::<bool>()) {
        let mut pair = Pair::new();
        for step in &steps {
            let mut source = Source::new(step);
            match source.below(8) {
                0 => {
                    let max_nodes = 1 + source.below(9);
                    pair.walk(max_nodes);
                }
                1 if source.one_in(20) => pair.abandon(),
                _ if any_txns => {
                    let next = pair.model.last_zxid.raw() % (1 << 32) + 1;
                    let mut header = wild::header(&mut source, next);
                    let txn = wild::txn(&mut source, &pair.model);
                    header.kind = txn.kind();
                    pair.apply(&header, &txn);
                }
                _ => {
                    let (header, txn) = sane::next(&mut source, &pair.model);
                    pair.apply(&header, &txn);
                }
            }
        }
        // One from the last state at least, and whatever was under way.
        while pair.walking.is_some() {
            pair.walk(7);
        }
        pair.begin();
        while pair.walking.is_some() {
            pair.walk(1);
        }
        prop_assert!(pair.snapshots > 0);
        pair.tree.check_invariants();
        assert_same(&pair.tree, &pair.model);
    }
}

fn create(pair: &mut Pair, path: &str, data: &[u8]) {
    let body = CreateTxn {
        path: path.into(),
        data: Some(data),
        acl: vec![Acl::open()],
        ephemeral: false,
        parent_cversion: -1,
    };
    let txn = Txn::Create(body);
    let zxid = Zxid::new(pair.model.last_zxid.raw() + 1);
    let session = SessionId(1);
    pair.apply(&TxnHeader { session, cxid: 0, zxid, time_ms: 5, kind: txn.kind() }, &txn);
}

/// Whoever walks holds the tree's lock: large nodes make the pieces fewer nodes, not longer.
#[test]
fn a_piece_is_bounded_in_bytes() {
    let mut pair = Pair::new();
    let data = vec![5; 100_000];
    for number in 0..40 {
        create(&mut pair, &format!("/n{number}"), &data);
    }
    pair.begin();
    let mut pieces = 0;
    while let Some(walking) = &pair.walking {
        let before = walking.bytes.len();
        pair.walk(usize::MAX);
        pieces += 1;
        if let Some(walking) = &pair.walking {
            let piece = walking.bytes.len() - before;
            assert!(piece < WALK_BYTES + 2 * data.len(), "a piece of {piece} bytes");
        }
    }
    assert!(pieces >= 4, "{pieces} pieces");
}

/// A deep branch whose nodes have numbers in the wrong order: ancestors still go first.
#[test]
fn numbers_used_again_do_not_disturb_the_order() {
    let mut pair = Pair::new();
    let names: Vec<String> = (0..50).map(|number| format!("/n{number}")).collect();
    for name in &names {
        create(&mut pair, name, b"");
    }
    // The last freed number is the first used again, so the deepest node gets the lowest.
    for name in &names {
        let txn = Txn::Delete(oxikeeper_proto::txn::DeleteTxn { path: name.as_str().into() });
        let zxid = Zxid::new(pair.model.last_zxid.raw() + 1);
        let session = SessionId(1);
        let header = TxnHeader { session, cxid: 0, zxid, time_ms: 5, kind: txn.kind() };
        pair.apply(&header, &txn);
    }
    let mut path = String::new();
    for name in &names {
        path += name;
        create(&mut pair, &path, b"deep");
    }
    pair.begin();
    while pair.walking.is_some() {
        pair.walk(3);
    }
    assert_eq!(pair.snapshots, 1);
}
