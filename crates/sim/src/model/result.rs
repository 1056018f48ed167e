//! What a write must answer, given its transaction.
//!
//! Source: client-protocol reference, 4.2 and 4.7.

use oxikeeper_proto::multi::MultiHeader;
use oxikeeper_proto::reply::{Create2Reply, ErrorReply, PathReply, StatReply};
use oxikeeper_proto::{Encode, OpCode, Txn, TxnHeader};

use super::Model;

impl Model {
    /// Code and body of the reply to a write. `self` is the state before the transaction.
    pub fn result(&self, op: OpCode, header: &TxnHeader, txn: &Txn<'_>) -> (i32, Vec<u8>) {
        let mut out = Vec::new();
        let mut after = self.clone();
        match txn {
            Txn::Error(code) => return (*code, out),
            Txn::Multi(members) => {
                let failed = txn.is_failed_multi();
                for member in members {
                    if failed {
                        let err = if let Txn::Error(code) = member { *code } else { 0 };
                        MultiHeader::error(err).encode(&mut out);
                        ErrorReply { err }.encode(&mut out);
                        continue;
                    }
                    after.apply_one(header, member, &mut Vec::new());
                    let op = match member {
                        Txn::Create(_) => OpCode::Create,
                        Txn::Delete(_) => OpCode::Delete,
                        Txn::SetData(_) => OpCode::SetData,
                        Txn::Check(_) => OpCode::Check,
                        _ => OpCode::Create2,
                    };
                    MultiHeader::result(op).encode(&mut out);
                    after.one_result(op, member, &mut out);
                }
                MultiHeader::END.encode(&mut out);
            }
            _ => {
                after.apply_one(header, txn, &mut Vec::new());
                after.one_result(op, txn, &mut out);
            }
        }
        (0, out)
    }

    /// The result of one write, just applied.
    fn one_result(&self, op: OpCode, txn: &Txn<'_>, out: &mut Vec<u8>) {
        let path = match txn {
            Txn::Create(t) | Txn::Create2(t) => &t.path,
            Txn::CreateContainer(t) => &t.path,
            Txn::CreateTtl(t) => &t.path,
            Txn::SetData(t) => &t.path,
            Txn::SetAcl(t) => &t.path,
            _ => return,
        };
        let Some(stat) = self.node(path).map(super::Node::stat) else { return };
        match op {
            OpCode::Create => PathReply { path: Some(path.clone()) }.encode(out),
            OpCode::SetData | OpCode::SetAcl => StatReply { stat }.encode(out),
            _ => Create2Reply { path: path.clone(), stat }.encode(out),
        }
    }
}
