//! Data directories handed from one server to another: the same tree, node by node, and a digest
//! that both sides agree on.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::reply::{GetAclReply, GetDataReply};
use oxikeeper_proto::request::{
    AuthPacket, CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest, SetAclRequest,
    SetDataRequest, WatchableRequest,
};
use oxikeeper_proto::{Acl, AclEntry, OpCode, Reader, SessionId, Stat};

use crate::client::RawClient;
use crate::server::{Kind, Server, oxikeeper_bin};

/// Settings with which everything can be written and read.
pub const SETTINGS: &str = "extendedTypesEnabled=true\nmaxSessionTimeout=600000\npreAllocSize=256\n\
                        snapCount=40\nznode.container.checkIntervalMs=600000\n\
                        DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

/// What a tree looks like from outside: everything a client can see of every node.
pub type Picture = BTreeMap<String, (Option<Vec<u8>>, Stat, Vec<Acl>)>;

/// Writes a directory with one server, starts another on a copy, and compares.
///
/// # Panics
/// If anything differs; what and where stands in the message.
pub fn hand_over(from: Kind, to: Kind, dir: &Path) {
    let context = format!("{} -> {}", from.name(), to.name());
    let mut writer = Server::start(from, &dir.join("writer"), SETTINGS);
    let sessions = write_everything(writer.address());
    let before = picture(writer.address());
    assert!(before.len() > 60, "{context}: the tree has all kinds of nodes");
    writer.kill();
    copy(&dir.join("writer/data/version-2"), &dir.join("reader/data/version-2"));
    let mut reader = Server::start(to, &dir.join("reader"), SETTINGS);
    let after = picture(reader.address());
    for (path, node) in &before {
        assert_eq!(after.get(path), Some(node), "{context}: {path}");
    }
    assert_eq!(after.len(), before.len(), "{context}: no nodes more");
    for (session, password) in sessions {
        let mut client = RawClient::open(reader.address()).expect("it listens");
        let response = client
            .handshake(session, &password, 600_000, oxikeeper_proto::Zxid::ZERO)
            .expect("the handshake is answered");
        assert_eq!(response.session, session, "{context}: a session is resumed");
    }
    // What the reader appends has to carry right digests as well: a third party replays it.
    let mut client = RawClient::connect(reader.address(), 600_000).expect("it serves");
    for n in 0..60 {
        create(&mut client, &format!("/more{n}"), 0, open());
    }
    let log = reader.log();
    assert!(!log.to_lowercase().contains("digest"), "{context}: digests agree: {log}");
    reader.kill();
    let check = Command::new(oxikeeper_bin())
        .arg("check")
        .arg(dir.join("reader/data"))
        .output()
        .expect("the check runs");
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{context}: {text}");
    assert!(text.contains("sound:"), "{context}: {text}");
    assert!(!text.contains("differs"), "{context}: {text}");
}

/// Every kind of node and of transaction. Returns sessions that live on.
///
/// # Panics
/// If the server does not take it.
pub fn write_everything(server: SocketAddr) -> Vec<(SessionId, [u8; 16])> {
    let mut client = RawClient::connect(server, 600_000).expect("it serves");
    let mut other = RawClient::connect(server, 600_000).expect("it serves");
    let c = &mut client;
    create(c, "/p", 0, open());
    for n in 0..30 {
        create(c, &format!("/p/n{n}"), 0, open());
        create(c, "/p/s-", 2, open());
    }
    create(c, "/p/e", 1, open());
    create(&mut other, "/p/f-", 3, open());
    create(c, "/p/\u{e9}t\u{e9}", 0, open());
    let auth = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"u:p") };
    ok(c, OpCode::Auth, &auth);
    create(c, "/acl", 0, vec![entry(31, "auth", ""), entry(1, "world", "anyone")]);
    let acl = Some(vec![entry(31, "world", "anyone"), entry(1, "ip", "127.0.0.0/8")]);
    ok(c, OpCode::SetAcl, &SetAclRequest { path: Some("/p/n1".into()), acl, version: 0 });
    let container =
        CreateRequest { path: Some("/c".into()), data: None, acl: Some(open()), flags: 4 };
    ok(c, OpCode::CreateContainer, &container);
    create(c, "/c/child", 0, open());
    let ttl = CreateTtlRequest {
        path: Some("/t".into()),
        data: Some(b"ttl"),
        acl: Some(open()),
        flags: 5,
        ttl: 900_000_000,
    };
    ok(c, OpCode::CreateTtl, &ttl);
    for n in 0..5 {
        let data = vec![b'x'; 1 + n * 9000];
        let path = Some(format!("/p/n{n}").into());
        ok(c, OpCode::SetData, &SetDataRequest { path, data: Some(&data), version: -1 });
    }
    let null = SetDataRequest { path: Some("/p/n7".into()), data: None, version: -1 };
    ok(c, OpCode::SetData, &null);
    let delete = |n: u32| PathVersionRequest { path: Some(format!("/p/n{n}").into()), version: -1 };
    ok(c, OpCode::Delete, &delete(20));
    let ops = vec![
        MultiOp::Delete(delete(21)),
        MultiOp::Check(delete(1)),
        MultiOp::Create(
            OpCode::Create,
            CreateRequest { path: Some("/multi".into()), data: None, acl: Some(open()), flags: 0 },
        ),
    ];
    ok(c, OpCode::Multi, &MultiRequest { ops });
    // One that fails, alone and in a multi, takes a zxid too.
    let reply = c.call(OpCode::Delete, &delete(99)).expect("an answer");
    assert_ne!(reply.header.err, 0);
    let ops = vec![MultiOp::Delete(delete(22)), MultiOp::Delete(delete(98))];
    ok(c, OpCode::Multi, &MultiRequest { ops });
    // A session that ends takes its ephemerals along.
    let mut third = RawClient::connect(server, 600_000).expect("it serves");
    create(&mut third, "/p/gone", 1, open());
    ok(&mut third, OpCode::CloseSession, &PathRequest { path: None });
    vec![(client.session, client.password), (other.session, other.password)]
}

/// Creates a node that holds its path.
///
/// # Panics
/// If the server refuses.
pub fn create(client: &mut RawClient, path: &str, flags: i32, acl: Vec<AclEntry<'_>>) {
    let data = Some(path.as_bytes());
    let request = CreateRequest { path: Some(path.into()), data, acl: Some(acl), flags };
    ok(client, OpCode::Create, &request);
}

fn ok(client: &mut RawClient, op: OpCode, body: &impl oxikeeper_proto::Encode) {
    let reply = client.call(op, body).expect("an answer");
    assert_eq!(reply.header.err, 0, "{op:?}");
}

/// Everybody may do everything.
pub fn open() -> Vec<AclEntry<'static>> {
    vec![entry(31, "world", "anyone")]
}

fn entry<'a>(perms: i32, scheme: &'a str, id: &'a str) -> AclEntry<'a> {
    AclEntry { perms, scheme: Some(scheme.into()), id: Some(id.into()) }
}

/// Walks the tree with an administrator's rights.
///
/// # Panics
/// If the server does not answer.
pub fn picture(server: SocketAddr) -> Picture {
    let mut client = RawClient::connect(server, 600_000).expect("it serves");
    let auth = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"super:admin") };
    ok(&mut client, OpCode::Auth, &auth);
    let mut picture = Picture::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        let read = WatchableRequest { path: Some(path.as_str().into()), watch: false };
        let data = client.call(OpCode::GetData, &read);
        let data = data.unwrap_or_else(|error| panic!("getData {path} of {server}: {error}")).body;
        let data: GetDataReply<'_> = Reader::new(&data).get().expect("a getData reply");
        let acl = PathRequest { path: Some(path.as_str().into()) };
        let acl = client.call(OpCode::GetAcl, &acl).expect("an answer").body;
        let acl: GetAclReply = Reader::new(&acl).get().expect("a getACL reply");
        let node = (data.data.map(<[u8]>::to_vec), data.stat, acl.acl);
        let children = client.call(OpCode::GetChildren, &read).expect("an answer").body;
        let children: Vec<String> = Reader::new(&children).get().expect("names");
        let parent = if path == "/" { "" } else { &path };
        paths.extend(children.iter().map(|child| format!("{parent}/{child}")));
        picture.insert(path, node);
    }
    picture
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory for the copy");
    for entry in fs::read_dir(from).expect("the writer's files") {
        let entry = entry.expect("a name");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
