//! What waits to be written when the log is cut belongs to the history that goes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use oxikeeper_node::config::NodeConfig;
use oxikeeper_node::core::Core;
use oxikeeper_node::mutation::{Mutation, arm};
use oxikeeper_node::time::Now;
use oxikeeper_proto::txn::encode_payload;
use oxikeeper_proto::{SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_tree::{Tree, TreeOptions};
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{Output, Ticket};

fn proposal(zxid: Zxid) -> Proposal {
    let txn = Txn::Error(-101);
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time_ms: 1, kind: txn.kind() };
    let mut payload = Vec::new();
    encode_payload(&header, &txn, None, &mut payload);
    Proposal { zxid, payload: payload.into() }
}

/// The log writer has one transaction, the next one waits for it; then the log is to be cut before both.
fn cut_behind_a_batch() {
    let tree = Tree::new(TreeOptions::default());
    let config = Arc::new(NodeConfig { ensemble: true, ..NodeConfig::default() });
    let mut core = Core::new(config, &tree, 1, Now::default());
    for counter in 1..=2 {
        let append = Output::Append(proposal(Zxid::from_parts(1, counter)));
        assert_eq!(core.on_peer(append, &tree), None, "it is the Core's");
        if counter == 1 {
            let batch = core.take_log_batch().expect("a transaction to write");
            assert_eq!(batch.last_zxid(), Some(Zxid::from_parts(1, 1)));
        }
    }
    let truncate = Output::Truncate { to: Zxid::ZERO, ticket: Ticket(1) };
    assert!(core.on_peer(truncate, &tree).is_some(), "the cut is the driver's");
    assert!(core.take_log_batch().is_none(), "nothing may be written behind the cut");
}

#[test]
fn nothing_is_written_behind_a_cut() {
    arm(None);
    cut_behind_a_batch();
    arm(Some(Mutation::WriteBehindCut));
    let result = catch_unwind(AssertUnwindSafe(cut_behind_a_batch));
    arm(None);
    assert!(result.is_err(), "the defect is not noticed");
}
