//! Reads and the handling of watches, against section 4.7 to 4.13 of the client-protocol reference.

mod support;

use std::collections::BTreeSet;

use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::multi::{MultiHeader, MultiOp, MultiRequest};
use oxikeeper_proto::reply::{
    GetAclReply, GetAllChildrenNumberReply, GetChildren2Reply, GetChildrenReply, GetDataReply,
    GetEphemeralsReply, WhoAmIReply,
};
use oxikeeper_proto::request::{
    AuthPacket, CreateRequest, SetWatches2Request, SetWatchesRequest, WatchableRequest,
};
use oxikeeper_proto::{Acl, Decode, Encode, Id, OpCode, Reader, Zxid};
use support::*;

fn decode<'a, T: Decode<'a>>(reply: &'a Reply) -> T {
    assert_eq!(reply.err, 0);
    let mut reader = Reader::new(&reply.body);
    let record = reader.get().expect("the record of the operation");
    assert_eq!(reader.remaining(), 0, "nothing behind the record");
    record
}

fn path_only(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    path.encode(&mut out);
    out
}

fn secret() -> Vec<Acl> {
    vec![Acl { perms: 31, id: Id::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=") }]
}

/// `/a` with data and two children, `/null` without data, `/secret` for `u:p` alone.
fn stocked() -> (Server, ConnId) {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.ask(conn, OpCode::Create, &create_with("/a", b"data", 0, &open_acl()));
    server.ask(conn, OpCode::Create, &create("/a/b", 0));
    server.ask(conn, OpCode::Create, &create("/a/c", 1));
    let null = CreateRequest {
        path: Some("/null".into()),
        data: None,
        acl: Some(vec![oxikeeper_proto::AclEntry {
            perms: 31,
            scheme: Some("world".into()),
            id: Some("anyone".into()),
        }]),
        flags: 0,
    };
    server.ask(conn, OpCode::Create, &to_bytes(&null));
    server.ask(conn, OpCode::Create, &create_with("/secret", b"s", 0, &secret()));
    (server, conn)
}

fn authenticate(server: &mut Server, conn: ConnId) {
    let packet =
        to_bytes(&AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"u:p") });
    assert_eq!(server.ask(conn, OpCode::Auth, &packet).err, 0);
}

#[test]
fn what_reads_answer() {
    let (mut server, conn) = stocked();
    let stat = server.ask(conn, OpCode::Exists, &read("/a", false)).stat();
    assert_eq!((stat.data_length, stat.num_children, stat.cversion), (4, 2, 2));
    let reply = server.ask(conn, OpCode::GetData, &read("/a", false));
    assert_eq!(decode::<GetDataReply<'_>>(&reply), GetDataReply { data: Some(b"data"), stat });
    let reply = server.ask(conn, OpCode::GetData, &read("/null", false));
    assert_eq!(decode::<GetDataReply<'_>>(&reply).data, None, "null is not empty");
    let reply = server.ask(conn, OpCode::GetChildren, &read("/a", false));
    let names: BTreeSet<_> = decode::<GetChildrenReply<'_>>(&reply).children.into_iter().collect();
    assert_eq!(names, ["b".into(), "c".into()].into());
    let reply = server.ask(conn, OpCode::GetChildren2, &read("/a", false));
    let both: GetChildren2Reply<'_> = decode(&reply);
    assert_eq!((both.children.len(), both.stat), (2, stat));
    let reply = server.ask(conn, OpCode::GetAllChildrenNumber, &path_only("/"));
    let all: GetAllChildrenNumberReply = decode(&reply);
    assert_eq!(all.total_number, 8, "three of them are the system's");
    let reply = server.ask(conn, OpCode::GetAcl, &path_only("/a"));
    assert_eq!(decode::<GetAclReply>(&reply), GetAclReply { acl: open_acl(), stat });
}

#[test]
fn errors_of_reads() {
    let (mut server, conn) = stocked();
    let reads = [OpCode::Exists, OpCode::GetData, OpCode::GetChildren, OpCode::GetChildren2];
    let cases = [("/none", -101), ("/a/", -101), ("a", -101), ("/secret", -102), ("", 0), ("/", 0)];
    for (path, err) in cases {
        for op in reads {
            let reply = server.ask(conn, op, &read(path, false));
            assert_eq!(reply.err, err, "{op:?} {path}");
            assert_eq!(reply.body.is_empty(), err != 0, "an error has no body");
        }
        for op in [OpCode::GetAcl, OpCode::GetAllChildrenNumber] {
            assert_eq!(server.ask(conn, op, &path_only(path)).err, err, "{op:?} {path}");
        }
    }
    assert_eq!(server.ask(conn, OpCode::Exists, &read("/a\0", false)).err, -8);
    assert_eq!(server.ask(conn, OpCode::GetData, &read("/a\0", false)).err, -101);
    let null = [&[0xff; 4][..], &[0]].concat();
    for op in reads {
        assert_eq!(server.ask(conn, op, &null).err, -5);
    }
    authenticate(&mut server, conn);
    for op in reads {
        assert_eq!(server.ask(conn, op, &read("/secret", false)).err, 0);
    }
}

#[test]
fn hashes_are_shown_to_administrators_only() {
    let (mut server, conn) = stocked();
    let mut acl = secret();
    acl.push(Acl { perms: 1, id: Id::anyone() });
    acl.push(Acl { perms: 1, id: Id::new("ip", "1.2.3.4") });
    server.ask(conn, OpCode::Create, &create_with("/mixed", b"", 0, &acl));
    let reply = server.ask(conn, OpCode::GetAcl, &path_only("/mixed"));
    let mut redacted = acl.clone();
    redacted[0].id.id = "u:x".into();
    assert_eq!(decode::<GetAclReply>(&reply).acl, redacted);
    authenticate(&mut server, conn);
    let reply = server.ask(conn, OpCode::GetAcl, &path_only("/mixed"));
    assert_eq!(decode::<GetAclReply>(&reply).acl, acl);
}

#[test]
fn ephemerals_are_those_of_the_session() {
    let (mut server, conn) = stocked();
    let other = server.client(0);
    server.ask(other, OpCode::Create, &create("/ab", 1));
    server.ask(conn, OpCode::Create, &create("/e", 1));
    let cases: [(Option<&str>, &[&str]); 7] = [
        (None, &["/a/c", "/e"]),
        (Some(""), &["/a/c", "/e"]),
        (Some(" "), &["/a/c", "/e"]),
        (Some("/"), &["/a/c", "/e"]),
        (Some("/a"), &["/a/c"]),
        (Some("/a/c"), &["/a/c"]),
        (Some("/x"), &[]),
    ];
    for (prefix, expected) in cases {
        let mut body = Vec::new();
        prefix.map(str::as_bytes).encode(&mut body);
        let reply = server.ask(conn, OpCode::GetEphemerals, &body);
        let mut paths = decode::<GetEphemeralsReply<'_>>(&reply).ephemerals;
        paths.sort();
        assert_eq!(paths, expected, "{prefix:?}");
    }
    let reply = server.ask(other, OpCode::GetEphemerals, &path_only("/a"));
    assert_eq!(decode::<GetEphemeralsReply<'_>>(&reply).ephemerals, ["/ab"], "a plain prefix");
}

#[test]
fn who_am_i_lists_every_identity() {
    let (mut server, conn) = stocked();
    authenticate(&mut server, conn);
    let reply = server.ask(conn, OpCode::WhoAmI, &[]);
    let infos = decode::<WhoAmIReply>(&reply).client_info;
    let infos: BTreeSet<_> =
        infos.iter().map(|info| (info.auth_scheme.as_str(), info.user.as_str())).collect();
    assert_eq!(infos, [("ip", "10.0.0.7"), ("digest", "u")].into());
}

#[test]
fn a_multi_read_answers_each_by_itself_and_leaves_no_watch() {
    let (mut server, conn) = stocked();
    let get = |path: &str| WatchableRequest { path: Some(path.to_owned().into()), watch: true };
    let ops = vec![
        MultiOp::GetData(get("/a")),
        MultiOp::GetChildren(get("/none")),
        MultiOp::GetData(get("/secret")),
        MultiOp::GetChildren(get("/a/b")),
    ];
    let reply = server.ask(conn, OpCode::MultiRead, &to_bytes(&MultiRequest { ops }));
    assert_eq!(reply.err, 0);
    let mut reader = Reader::new(&reply.body);
    assert_eq!(reader.get(), Ok(MultiHeader { op: 4, done: false, err: 0 }));
    assert_eq!(reader.get::<GetDataReply<'_>>().expect("data").data, Some(&b"data"[..]));
    for err in [-101, -102] {
        assert_eq!(reader.get(), Ok(MultiHeader { op: -1, done: false, err }));
        assert_eq!(reader.get(), Ok(err));
    }
    assert_eq!(reader.get(), Ok(MultiHeader { op: 8, done: false, err: 0 }));
    assert_eq!(reader.get(), Ok(0i32));
    assert_eq!(reader.get(), Ok(MultiHeader::END));
    assert_eq!(reader.remaining(), 0);
    assert_eq!(server.fronts[0].watch_count(), 0);
    let none = server.ask(conn, OpCode::MultiRead, &to_bytes(&MultiHeader::END));
    assert_eq!((none.err, none.body), (0, to_bytes(&MultiHeader::END)));
    let null = MultiOp::GetData(WatchableRequest { path: None, watch: false });
    let ops = vec![MultiOp::GetData(get("/a")), null];
    let reply = server.ask(conn, OpCode::MultiRead, &to_bytes(&MultiRequest { ops }));
    assert_eq!((reply.err, reply.body.len()), (-5, 0));
    for op in [OpCode::Multi, OpCode::MultiRead] {
        let other = match op {
            OpCode::Multi => MultiOp::GetData(get("/a")),
            _ => MultiOp::Delete(oxikeeper_proto::request::PathVersionRequest {
                path: Some("/a/b".into()),
                version: -1,
            }),
        };
        let body = to_bytes(&MultiRequest { ops: vec![other] });
        assert_eq!(server.ask(conn, op, &body).err, -5, "{op:?} of the other kind");
    }
}

#[test]
fn only_reads_that_may_leave_a_watch_leave_one() {
    let (mut server, _) = stocked();
    let cases = [
        (OpCode::Exists, "/a", 1),
        (OpCode::Exists, "/none", 1),
        (OpCode::Exists, "/secret", 0),
        (OpCode::GetData, "/a", 1),
        (OpCode::GetData, "/none", 0),
        (OpCode::GetData, "/secret", 0),
        (OpCode::GetChildren, "/a", 1),
        (OpCode::GetChildren, "/none", 0),
        (OpCode::GetChildren2, "/a", 1),
        (OpCode::GetChildren2, "/secret", 0),
    ];
    for (op, path, watches) in cases {
        let other = server.client(0);
        server.ask(other, op, &read(path, false));
        assert_eq!(server.fronts[0].watch_count(), 0);
        server.ask(other, op, &read(path, true));
        assert_eq!(server.fronts[0].watch_count(), watches, "{op:?} {path}");
        server.hang_up(other);
        assert_eq!(server.fronts[0].watch_count(), 0);
    }
}

/// Rows: which kinds of watch there are. Columns: types 1 to 5 of 4.11.
#[test]
fn check_and_remove_watches_by_type() {
    const FOUND: i32 = 0;
    const NONE: i32 = -121;
    type Leave = (OpCode, fn() -> Vec<u8>);
    let rows: [(Leave, [i32; 5]); 5] = [
        ((OpCode::GetData, || read("/a", true)), [NONE, FOUND, FOUND, NONE, NONE]),
        ((OpCode::Exists, || read("/a", true)), [NONE, FOUND, FOUND, NONE, NONE]),
        ((OpCode::GetChildren, || read("/a", true)), [FOUND, NONE, FOUND, NONE, NONE]),
        ((OpCode::AddWatch, || path_and("/a", 0)), [NONE, NONE, FOUND, FOUND, NONE]),
        ((OpCode::AddWatch, || path_and("/a", 1)), [NONE, NONE, FOUND, NONE, FOUND]),
    ];
    for ((op, body), found) in rows {
        for (index, &err) in found.iter().enumerate() {
            let (mut server, conn) = stocked();
            let other = server.client(0);
            let reply = server.ask(conn, op, &body());
            if op == OpCode::AddWatch {
                assert_eq!(reply.body, [0; 4]);
            }
            let which = path_and("/a", index as i32 + 1);
            for op in [OpCode::CheckWatches, OpCode::RemoveWatches] {
                assert_eq!(server.ask(other, op, &which).err, NONE, "it is not the other's");
                let reply = server.ask(conn, op, &which);
                assert_eq!((reply.err, reply.body.len()), (err, 0), "{op:?} type {}", index + 1);
            }
            assert_eq!(server.ask(conn, OpCode::CheckWatches, &which).err, NONE, "removed");
            let left = server.ask(conn, OpCode::CheckWatches, &path_and("/a", 3)).err;
            assert_eq!(left == NONE, err == FOUND, "and nothing else is");
        }
    }
    let (mut server, conn) = stocked();
    for op in [OpCode::CheckWatches, OpCode::RemoveWatches] {
        for kind in [0, 6, -1] {
            assert_eq!(server.ask(conn, op, &path_and("/a", kind)).err, -5);
        }
    }
    assert_eq!(server.ask(conn, OpCode::AddWatch, &path_and("/a", 2)).err, -5);
}

#[test]
fn set_watches_tells_what_was_missed_and_registers_the_rest() {
    let (mut server, conn) = stocked();
    let seen = server.tree.last_zxid();
    server.ask(conn, OpCode::SetData, &set_data("/a", b"new"));
    server.ask(conn, OpCode::Create, &create("/null/child", 0));
    let other = server.client(0);
    let names = |paths: &[&'static str]| Some(paths.iter().map(|&path| path.into()).collect());
    let request = SetWatches2Request {
        relative_zxid: seen,
        data_watches: names(&["/a", "/none", "/a/b", "/secret"]),
        exist_watches: names(&["/a/b", "/later"]),
        child_watches: names(&["/null", "/gone", "/a"]),
        persistent_watches: names(&["/a"]),
        persistent_recursive_watches: names(&["/null"]),
    };
    let replies = server.ask_all(other, OpCode::SetWatches2, &to_bytes(&request));
    let events: Vec<_> = replies.iter().filter_map(Reply::event).collect();
    let expected = [(3, "/a"), (2, "/none"), (1, "/a/b"), (4, "/null"), (2, "/gone")];
    assert_eq!(events, expected.map(|(kind, path)| (kind, path.to_owned())));
    assert!(replies[..5].iter().all(|event| event.zxid == -1));
    let last = replies.last().expect("a reply");
    assert_eq!((last.xid, last.err, last.body.len()), (77, 0, 0));
    // Registered: data /a/b and /secret, exist /later, child /a, persistent /a, recursive /null.
    let check = |server: &mut Server, path: &str, kind| {
        server.ask(other, OpCode::CheckWatches, &path_and(path, kind)).err
    };
    for (path, kind, err) in [
        ("/a/b", 2, 0),
        ("/secret", 2, 0),
        ("/later", 2, 0),
        ("/a", 1, 0),
        ("/a", 2, -121),
        ("/a", 4, 0),
        ("/null", 5, 0),
        ("/null", 1, -121),
        ("/none", 3, -121),
    ] {
        assert_eq!(check(&mut server, path, kind), err, "{path} {kind}");
    }
    server.ask(conn, OpCode::Create, &create("/later", 0));
    assert_eq!(server.reply(other).event(), Some((1, "/later".into())));
}

#[test]
fn set_watches_of_old_clients_and_null_lists() {
    let (mut server, conn) = stocked();
    let old = |exist| SetWatchesRequest {
        relative_zxid: Zxid::new(100),
        data_watches: Some(vec!["/a".into()]),
        exist_watches: exist,
        child_watches: Some(vec![]),
    };
    let reply = server.ask(conn, OpCode::SetWatches, &to_bytes(&old(Some(vec![]))));
    assert_eq!(reply.err, 0);
    assert_eq!(server.fronts[0].watch_count(), 1);
    assert_eq!(server.ask(conn, OpCode::SetWatches, &to_bytes(&old(None))).err, -5);
}
