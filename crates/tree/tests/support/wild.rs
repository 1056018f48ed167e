//! Transactions that no prep would make: the tree must take whatever a log may bring.

use oxikeeper_proto::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn,
};
use oxikeeper_proto::{Txn, TxnHeader, Zxid};

use super::model::Model;
use super::source::Source;

const NAMES: [&str; 8] =
    ["a", "b", "c", "h\u{e9}", "\u{4e2d}\u{6587}", "aa", "a b", "zookeeper_stats"];

/// Paths that a lookup may be asked for, but that no node has.
const ODD: [&str; 6] = ["/", "a", "//", "//a", "/a/", "/a//b"];

const QUOTAS: [&str; 9] = [
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/b",
    "/zookeeper/quota/a/b/zookeeper_limits",
    "/zookeeper/quota/a/b/zookeeper_stats",
    "/zookeeper/quota/zookeeper_limits",
    "/zookeeper/quota/zookeeper_stats",
    "/zookeeper/config",
];

const LIMITS: [Option<&[u8]>; 4] = [
    Some(b"count=3,bytes=40=;byteHardLimit=-1;countHardLimit=9"),
    Some(b"count=9223372036854775807,bytes=-9223372036854775808,x=7"),
    Some(b"nonsense"),
    None,
];

/// A header for the next transaction; the kind is filled in by [`txn`].
pub fn header(source: &mut Source<'_>, zxid: u64) -> TxnHeader {
    // Now and then a new epoch, so that zxids are far apart.
    let epoch = (zxid / 97) as u32;
    TxnHeader {
        session: source.session(),
        cxid: 1,
        zxid: Zxid::from_parts(epoch, zxid as u32),
        time_ms: 1_700_000_000_000 + zxid as i64 * 3,
        kind: 0,
    }
}

/// Any transaction at all.
pub fn txn(source: &mut Source<'_>, model: &Model) -> Txn<'static> {
    match source.below(20) {
        18 => Txn::CreateSession(10_000 + source.below(5) as i32),
        19 => close(source, model),
        16 | 17 => {
            let len = source.below(6);
            let mut members: Vec<_> = (0..len).map(|_| single(source, model)).collect();
            if source.one_in(10) {
                members.push(Txn::Error(-103));
            }
            Txn::Multi(members)
        }
        _ => single(source, model),
    }
}

/// One that may stand in a multi, or setACL, which may not in Apache's but does no harm here.
fn single(source: &mut Source<'_>, model: &Model) -> Txn<'static> {
    match source.below(16) {
        0..=3 => {
            let (path, parent_cversion) = place(source, model);
            let ephemeral = source.one_in(3);
            let body = CreateTxn {
                path: path.into(),
                data: source.data(),
                acl: source.acl(),
                ephemeral,
                parent_cversion,
            };
            if source.one_in(2) { Txn::Create2(body) } else { Txn::Create(body) }
        }
        4 => {
            let (path, parent_cversion) = place(source, model);
            let (data, acl) = (source.data(), source.acl());
            Txn::CreateContainer(CreateContainerTxn {
                path: path.into(),
                data,
                acl,
                parent_cversion,
            })
        }
        5 => {
            let (path, parent_cversion) = place(source, model);
            let (data, acl, ttl_ms) = (source.data(), source.acl(), *source.pick(&[1, 100, 5_000]));
            Txn::CreateTtl(CreateTtlTxn { path: path.into(), data, acl, parent_cversion, ttl_ms })
        }
        6 | 7 => Txn::Delete(DeleteTxn { path: existing(source, model).into() }),
        8 => Txn::DeleteContainer(DeleteTxn { path: existing(source, model).into() }),
        9..=11 => {
            let path = existing(source, model).into();
            let (data, version) = (source.data(), source.below(7) as i32 - 2);
            Txn::SetData(SetDataTxn { path, data, version })
        }
        12 | 13 => {
            let path = existing(source, model).into();
            let (acl, version) = (source.acl(), source.below(7) as i32 - 2);
            Txn::SetAcl(SetAclTxn { path, acl, version })
        }
        14 => Txn::Check(CheckTxn { path: existing(source, model).into(), version: 3 }),
        _ => Txn::Create(CreateTxn {
            path: (*source.pick(&QUOTAS)).into(),
            data: *source.pick(&LIMITS),
            acl: source.acl(),
            ephemeral: false,
            parent_cversion: -1,
        }),
    }
}

fn close(source: &mut Source<'_>, model: &Model) -> Txn<'static> {
    match source.below(3) {
        0 => Txn::CloseSession(None),
        count => {
            let paths = (0..count).map(|_| existing(source, model).into()).collect();
            Txn::CloseSession(Some(paths))
        }
    }
}

/// Where to create something, and the count of the parent that goes with it.
fn place(source: &mut Source<'_>, model: &Model) -> (String, i32) {
    if source.one_in(30) {
        return ((*source.pick(&ODD)).to_owned(), -1);
    }
    let mut parent = existing(source, model);
    if parent.matches('/').count() > 4 {
        parent = "/".to_owned();
    }
    let now = model.nodes.get(&parent).map_or(0, |node| node.stat.cversion);
    let given = match source.below(12) {
        0..=4 => now.wrapping_add(1),
        5..=8 => -1,
        9 => now,
        10 => source.below(20) as i32,
        _ => *source.pick(&[i32::MAX, i32::MIN, i32::MAX - 1, -2, 0]),
    };
    let name = source.pick(&NAMES);
    (format!("{}/{name}", parent.trim_end_matches('/')), given)
}

/// Mostly the path of a node; no system node with something below it, whose deletion has a test
/// of its own.
fn existing(source: &mut Source<'_>, model: &Model) -> String {
    if source.one_in(30) {
        return (*source.pick(&ODD)).to_owned();
    }
    let plain = |path: &&String| {
        !path.starts_with("/zookeeper") || (path.len() > 20 && model.children(path).is_empty())
    };
    let paths: Vec<&String> = model.nodes.keys().filter(plain).collect();
    source.pick(&paths).to_string()
}
