//! What Apache's own client never sends, but a server has to answer.

use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::reply::ReplyHeader;
use oxikeeper_proto::request::{
    AuthPacket, ConnectRequest, CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest,
    SaslRequest, SetAclRequest, SetDataRequest, SetWatches2Request, WatchableRequest,
    WatchesRequest,
};
use oxikeeper_proto::{AclEntry, Encode, OpCode, Reader, SessionId, Zxid};

use super::proxy::Proxy;
use crate::client::{RawClient, put_frame, request};
use crate::server::Server;

/// Asks for everything; the proxy writes it down.
pub fn every_operation(proxy: &Proxy, server: &Server) {
    handshakes(proxy);
    proxy.step("a new session of our raw client");
    let client = &mut RawClient::connect(proxy.address(), 10_000).expect("a new session");
    creates(proxy, client);
    others(proxy, client);
    multis(proxy, client);
    refused(proxy);
    expiry(proxy, server);
    proxy.step("the end");
}

fn handshakes(proxy: &Proxy) {
    for (what, session) in [
        ("a client before 3.4 lacks the last byte, and so does the answer", SessionId::NONE),
        ("its session is gone", SessionId(0x1234)),
    ] {
        proxy.step(what);
        let mut client = RawClient::open(proxy.address()).expect("the proxy listens");
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 10_000,
            session,
            password: Some(&[0; 16]),
            read_only: None,
        };
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| hello.encode(out));
        client.send(&frame).expect("it is taken");
        client.frame().expect("it is answered");
    }
}

/// One request, and the error code it must be answered with.
fn ask(
    proxy: &Proxy,
    client: &mut RawClient,
    what: &str,
    op: OpCode,
    body: &impl Encode,
    err: i32,
) {
    proxy.step(what);
    let ReplyHeader { err: found, .. } = client.call(op, body).expect("an answer").header;
    assert_eq!(found, err, "{what}");
}

fn open() -> Option<Vec<AclEntry<'static>>> {
    Some(vec![AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }])
}

fn create(path: Option<&str>, flags: i32) -> CreateRequest<'_> {
    CreateRequest { path: path.map(Into::into), data: Some(b"raw"), acl: open(), flags }
}

fn node(path: &str, version: i32) -> PathVersionRequest<'_> {
    PathVersionRequest { path: Some(path.into()), version }
}

fn creates(proxy: &Proxy, client: &mut RawClient) {
    let ask = |client: &mut RawClient, what: &str, op, body: &CreateRequest<'_>, err| {
        ask(proxy, client, what, op, body, err);
    };
    ask(client, "create", OpCode::Create, &create(Some("/raw"), 0), 0);
    ask(client, "create at a null path", OpCode::Create, &create(None, 0), -5);
    ask(client, "create with flags that are none", OpCode::Create, &create(Some("/raw/x"), 9), -8);
    ask(client, "create at a bad path", OpCode::Create, &create(Some("/raw/."), 0), -8);
    let no_acl = CreateRequest { acl: Some(vec![]), ..create(Some("/raw/x"), 0) };
    ask(client, "create with an empty ACL", OpCode::Create, &no_acl, -114);
    let null_acl = CreateRequest { acl: None, ..create(Some("/raw/x"), 0) };
    ask(client, "create with a null ACL", OpCode::Create, &null_acl, -114);
    let half = AclEntry { perms: 31, scheme: None, id: Some("anyone".into()) };
    let half = CreateRequest { acl: Some(vec![half]), ..create(Some("/raw/x"), 0) };
    ask(client, "create with half an identity", OpCode::Create, &half, -114);
    ask(
        client,
        "createContainer, never used",
        OpCode::CreateContainer,
        &create(Some("/rawc"), 4),
        0,
    );
}

fn others(proxy: &Proxy, client: &mut RawClient) {
    let path = |path: &'static str| PathRequest { path: Some(path.into()) };
    ask(proxy, client, "deleteContainer", OpCode::DeleteContainer, &path("/rawc"), 0);
    ask(proxy, client, "deleteContainer, missing", OpCode::DeleteContainer, &path("/rawc"), -101);
    let data = SetDataRequest { path: Some("/raw".into()), data: Some(b""), version: -1 };
    ask(proxy, client, "setData to nothing", OpCode::SetData, &data, 0);
    let acl = SetAclRequest { path: Some("/raw".into()), acl: open(), version: -1 };
    ask(proxy, client, "setACL", OpCode::SetAcl, &acl, 0);
    let bad = SetAclRequest { path: Some("/raw".into()), acl: None, version: -1 };
    ask(proxy, client, "setACL to null", OpCode::SetAcl, &bad, -114);
    let read = |path: &'static str, watch| WatchableRequest { path: Some(path.into()), watch };
    ask(proxy, client, "exists, missing", OpCode::Exists, &read("/rawx", false), -101);
    ask(proxy, client, "getData of the empty path", OpCode::GetData, &read("", false), 0);
    ask(proxy, client, "sync of a null path", OpCode::Sync, &PathRequest { path: None }, 0);
    let watches = WatchesRequest { path: Some("/raw".into()), watcher_type: 3 };
    ask(proxy, client, "checkWatches, none", OpCode::CheckWatches, &watches, -121);
    ask(proxy, client, "removeWatches, none", OpCode::RemoveWatches, &watches, -121);
    let sasl = SaslRequest { token: Some(b"") };
    ask(proxy, client, "sasl where it is not set up", OpCode::Sasl, &sasl, 0);
    let none = Some(vec![]);
    let set = SetWatches2Request {
        relative_zxid: Zxid::ZERO,
        data_watches: Some(vec!["/raw".into(), "/rawx".into()]),
        exist_watches: Some(vec!["/raw".into()]),
        child_watches: Some(vec!["/raw".into(), "/rawx".into()]),
        persistent_watches: none.clone(),
        persistent_recursive_watches: none,
    };
    ask(proxy, client, "setWatches2 that all fire", OpCode::SetWatches2, &set, 0);
    let null = SetWatches2Request { data_watches: None, ..set };
    ask(proxy, client, "setWatches2 with a null list", OpCode::SetWatches2, &null, -5);
    ask(proxy, client, "getData cut short", OpCode::GetData, &9i32, -5);
    proxy.step("ping, whatever its xid");
    client.send(&request(77, OpCode::Ping, &Nothing)).expect("it is taken");
    let answer = client.reply().expect("an answer").header;
    assert_eq!((answer.xid, answer.err), (-2, 0));
}

fn multis(proxy: &Proxy, client: &mut RawClient) {
    let ttl = CreateTtlRequest {
        path: Some("/raw/ttl".into()),
        data: None,
        acl: open(),
        flags: 5,
        ttl: 86_400_000,
    };
    let ops = vec![
        MultiOp::Create(OpCode::Create2, create(Some("/raw/two"), 0)),
        MultiOp::Create(OpCode::CreateContainer, create(Some("/raw/box"), 4)),
        MultiOp::CreateTtl(ttl),
        MultiOp::Check(node("/raw/two", 0)),
    ];
    ask(proxy, client, "multi with create2", OpCode::Multi, &MultiRequest { ops }, 0);
    let ops = vec![
        MultiOp::Create(OpCode::Create2, create(Some("/raw/three"), 0)),
        MultiOp::Create(OpCode::Create, create(Some("/raw/two"), 0)),
        MultiOp::Delete(node("/raw", -1)),
    ];
    ask(proxy, client, "multi that fails in its middle", OpCode::Multi, &MultiRequest { ops }, 0);
    let write = vec![MultiOp::Delete(node("/raw/two", -1))];
    let write = MultiRequest { ops: write };
    ask(proxy, client, "multiRead with a write", OpCode::MultiRead, &write, -5);
    let read = WatchableRequest { path: Some("/raw".into()), watch: true };
    let read =
        MultiRequest { ops: vec![MultiOp::GetData(read.clone()), MultiOp::GetChildren(read)] };
    ask(proxy, client, "multiRead; its watches are ignored", OpCode::MultiRead, &read, 0);
    ask(proxy, client, "multi of reads", OpCode::Multi, &read, -5);
}

/// Answered and closed, each on a connection of its own.
fn refused(proxy: &Proxy) {
    let fresh = |what: &str, op: OpCode, body: &[u8], err| {
        let client = &mut RawClient::connect(proxy.address(), 10_000).expect("a new session");
        ask(proxy, client, what, op, &Raw(body), err);
        client.frame().expect_err("the server closes");
    };
    let mut check = Vec::new();
    node("/raw", -1).encode(&mut check);
    fresh("check outside a multi", OpCode::Check, &check, -6);
    let mut auth = Vec::new();
    AuthPacket { kind: 0, scheme: Some("nosuch".into()), auth: Some(b"x") }.encode(&mut auth);
    fresh("auth of an unknown scheme", OpCode::Auth, &auth, -115);
    fresh("closeSession", OpCode::CloseSession, &[], 0);
}

/// A session that falls silent is closed by the server, its ephemerals with it.
fn expiry(proxy: &Proxy, server: &Server) {
    let silent = &mut RawClient::connect(proxy.address(), 1000).expect("a new session");
    let mortal = create(Some("/raw/mortal"), 1);
    ask(proxy, silent, "an ephemeral of a session that falls silent", OpCode::Create, &mortal, 0);
    let mut watcher = RawClient::connect(server.address(), 10_000).expect("a new session");
    let watch = WatchableRequest { path: Some("/raw/mortal".into()), watch: true };
    watcher.call(OpCode::Exists, &watch).expect("an answer");
    let event = watcher.reply().expect("the event of its end");
    assert_eq!(event.header.xid, -1);
    let event = Reader::new(&event.body).get::<oxikeeper_proto::watch::WatcherEvent<'_>>();
    assert_eq!(event.expect("an event").kind, 2, "it is deleted");
}

/// No body.
struct Nothing;

impl Encode for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}
}

/// A body as it is.
struct Raw<'a>(&'a [u8]);

impl Encode for Raw<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}
