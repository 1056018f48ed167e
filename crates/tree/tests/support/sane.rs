//! Transactions as a prep makes them: each fits the state that all earlier ones leave, and a
//! request that does not is logged as an error.

use oxikeeper_proto::stat::NodeKind;
use oxikeeper_proto::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn,
};
use oxikeeper_proto::{Acl, Txn, TxnHeader, Zxid};

use super::model::Model;
use super::source::Source;

const NAMES: [&str; 5] = ["a", "b", "c", "h\u{e9}", "q-"];

/// The transaction of the next request.
pub fn next(source: &mut Source<'_>, model: &Model) -> (TxnHeader, Txn<'static>) {
    let zxid = Zxid::new(model.last_zxid.raw() + 1);
    let time_ms = 1_700_000_000_000 + zxid.raw() as i64 * 7;
    let mut header = TxnHeader { session: source.session(), cxid: 1, zxid, time_ms, kind: 0 };
    let txn = match source.below(16) {
        0 | 1 => Txn::CreateSession(10_000),
        2 => {
            // Servers before 3.6 list no paths.
            let paths = model.ephemerals(header.session).into_iter().map(Into::into).collect();
            Txn::CloseSession((!source.one_in(4)).then_some(paths))
        }
        3..=5 => multi(source, model, &header),
        6 => quota(source, model, &header),
        _ => single(source, model, &header),
    };
    header.kind = txn.kind();
    (header, txn)
}

fn multi(source: &mut Source<'_>, model: &Model, header: &TxnHeader) -> Txn<'static> {
    let mut future = model.clone();
    let mut members = Vec::new();
    for _ in 0..source.below(6) {
        let member = single(source, &future, header);
        if matches!(member, Txn::SetAcl(_)) {
            continue;
        }
        future.apply(header, &member, &mut Vec::new());
        members.push(member);
    }
    Txn::Multi(members)
}

fn single(source: &mut Source<'_>, model: &Model, header: &TxnHeader) -> Txn<'static> {
    match source.below(12) {
        0..=4 => create(source, model, header),
        5 | 6 => {
            let path = user_node(source, model);
            if path == "/" || !model.children(&path).is_empty() {
                return Txn::Error(-111);
            }
            Txn::Delete(DeleteTxn { path: path.into() })
        }
        7 | 8 => {
            let path = user_node(source, model);
            let version = model.nodes[&path].stat.version.wrapping_add(1);
            Txn::SetData(SetDataTxn { path: path.into(), data: source.data(), version })
        }
        9 | 10 => {
            let path = user_node(source, model);
            let version = model.nodes[&path].stat.aversion.wrapping_add(1);
            Txn::SetAcl(SetAclTxn { path: path.into(), acl: source.acl(), version })
        }
        _ => Txn::Check(CheckTxn { path: user_node(source, model).into(), version: 1 }),
    }
}

fn create(source: &mut Source<'_>, model: &Model, header: &TxnHeader) -> Txn<'static> {
    let parent = user_node(source, model);
    let stat = &model.nodes[&parent].stat;
    if matches!(model.kind(&parent), NodeKind::Ephemeral(_)) || parent.matches('/').count() > 3 {
        return Txn::Error(-108);
    }
    let name = *source.pick(&NAMES);
    let mut path = format!("{}/{name}", parent.trim_end_matches('/'));
    if name == "q-" {
        path += &format!("{:010}", stat.cversion);
    }
    if model.nodes.contains_key(&path) {
        return Txn::Error(-110);
    }
    let (path, data, acl) = (path.into(), source.data(), source.acl());
    let parent_cversion = stat.cversion.wrapping_add(1);
    let kind = source.below(8);
    match kind {
        0 => Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion }),
        1 => Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl_ms: 50 }),
        _ => {
            let ephemeral = kind < 4 && model.sessions.contains_key(&header.session);
            let body = CreateTxn { path, data, acl, ephemeral, parent_cversion };
            if kind == 7 { Txn::Create(body) } else { Txn::Create2(body) }
        }
    }
}

/// Sets a quota as the shell does, or removes it: one quota, on a node at the top.
fn quota(source: &mut Source<'_>, model: &Model, header: &TxnHeader) -> Txn<'static> {
    let top = format!("/zookeeper/quota/{}", source.pick(&NAMES));
    let names = ["", "/zookeeper_limits", "/zookeeper_stats"];
    let mut future = model.clone();
    let mut members = Vec::new();
    let remove = model.nodes.contains_key(&top);
    let order = if remove { [2, 1, 0] } else { [0, 1, 2] };
    for path in order.map(|at| format!("{top}{}", names[at])) {
        let member = if remove {
            Txn::Delete(DeleteTxn { path: path.into() })
        } else {
            let parent = &path[..path.rfind('/').unwrap()];
            let parent_cversion = future.nodes[parent].stat.cversion + 1;
            let data = Some(&b"count=5,bytes=1000"[..]);
            let (path, acl, ephemeral) = (path.into(), vec![Acl::open()], false);
            Txn::Create(CreateTxn { path, data, acl, ephemeral, parent_cversion })
        };
        future.apply(header, &member, &mut Vec::new());
        members.push(member);
    }
    Txn::Multi(members)
}

/// The path of a node outside the system subtree.
fn user_node(source: &mut Source<'_>, model: &Model) -> String {
    let user = |path: &&String| !path.starts_with("/zookeeper");
    let paths: Vec<&String> = model.nodes.keys().filter(user).collect();
    source.pick(&paths).to_string()
}
