//! What servers of Apache's ensembles say to one another: joins of all kinds, writes of all kinds,
//! sessions that move, reconfigurations, elections with one address and with two.

use std::path::Path;

use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::quorum::PacketKind;
use oxikeeper_proto::request::{
    AuthPacket, CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest, ReconfigRequest,
    SetAclRequest, SetDataRequest,
};
use oxikeeper_proto::{AclEntry, Encode, OpCode, SessionId, Zxid};

use super::packets;
use super::tap::Tap;
use crate::client::{RawClient, request};
use crate::ensemble::Ensemble;

const SETTINGS: &str = "extendedTypesEnabled=true\n-Dznode.container.checkIntervalMs=500\n\
                        DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
const TIMEOUT_MS: i32 = 300_000;

/// Records everything anew below `fixtures/quorum`.
///
/// # Panics
/// If a peer is missing or does not do what it should.
pub fn record(fixtures: &Path, only: Option<&str>) {
    let dir = std::env::temp_dir().join(format!("oxikeeper-quorum-{}", std::process::id()));
    let folder = fixtures.join("quorum");
    std::fs::create_dir_all(&folder).expect("a folder");
    type Scenario = fn(&Path) -> Tap;
    let scenarios: [(&str, &str, Scenario); 3] = [
        ("joins", "three participants and an observer, all Apache 3.9.5", joins),
        ("reconfig", "the same with reconfigEnabled=true", reconfig),
        ("two-addresses", "two participants with multiAddress.enabled=true", two_addresses),
    ];
    for (name, about, scenario) in scenarios {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let tap = scenario(&dir.join(name));
        let text = format!("# {about}; see PROVENANCE.md.\n{}", packets::text(&tap.events()));
        let path = folder.join(format!("{name}.txt"));
        std::fs::write(&path, text).expect("a fixture is written");
        println!("{}", path.display());
    }
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
}

fn joins(dir: &Path) -> Tap {
    let mut ensemble = Ensemble::new(dir, &[1, 2, 3], &[4], SETTINGS);
    let tap = Tap::start(&ensemble);
    tap.step("servers 1 and 2 start with empty disks");
    ensemble.start(1);
    ensemble.start(2);
    ensemble.wait(1);
    ensemble.wait(2);
    tap.step("server 3 joins");
    ensemble.start(3);
    ensemble.wait(3);
    tap.step("observer 4 joins");
    ensemble.start(4);
    ensemble.wait(4);
    let leader = ensemble.leader().expect("somebody leads");
    assert_eq!(leader, 2, "the larger of the first two");

    every_write(&tap, &ensemble, 1);
    through_the_observer(&tap, &ensemble);
    moving_sessions(&tap, &ensemble);
    tap.step("twenty writes through a follower");
    let mut client = RawClient::connect(ensemble.address(3), TIMEOUT_MS).expect("it serves");
    twenty_writes(&mut client, "first");
    pings(&tap, &ensemble, 4);

    tap.step("follower 1 dies, and joins by DIFF after writes that it missed");
    ensemble.kill(1);
    for n in 0..4 {
        ok(&mut client, OpCode::Create, &create(&format!("/missed-{n}"), 0));
    }
    ensemble.start(1);
    ensemble.wait(1);
    tap.step("follower 1 dies, and joins with nothing missed");
    ensemble.kill(1);
    ensemble.start(1);
    ensemble.wait(1);
    tap.step("follower 1 dies, and joins by SNAP after it has lost its disk");
    ensemble.kill(1);
    ensemble.wipe(1);
    ensemble.start(1);
    ensemble.wait(1);
    twenty_writes(&mut client, "second");
    tap.step("observer 4 dies, and joins by DIFF");
    ensemble.kill(4);
    ok(&mut client, OpCode::Create, &create("/missed-by-4", 0));
    ensemble.start(4);
    ensemble.wait(4);
    tap.step("observer 4 dies, and joins by SNAP after it has lost its disk");
    ensemble.kill(4);
    ensemble.wipe(4);
    ensemble.start(4);
    ensemble.wait(4);

    tap.step("server 3 starts with a file in which 4 is a participant: 4 answers as observer");
    ensemble.kill(3);
    let lines: Vec<String> = (1..=4)
        .map(|id| format!("server.{id}={}", ensemble.line(id).replace("observer", "participant")))
        .collect();
    let before = tap.events().len();
    ensemble.start_with(3, &lines.join("\n"));
    ensemble.wait_for("a notification of an observer", || {
        packets::notifications(&tap.events()[..], before).contains(&3)
    });
    ensemble.kill(3);
    ensemble.start(3);
    ensemble.wait(3);

    truncation(&tap, &mut ensemble);
    tap.step("the end");
    tap
}

/// A leader that has logged what nobody else has, and dies.
fn truncation(tap: &Tap, ensemble: &mut Ensemble) {
    tap.step("leader 2 logs a write that reaches nobody, and dies; 1 and 3 elect anew");
    let mut client = RawClient::connect(ensemble.address(2), TIMEOUT_MS).expect("it serves");
    ok(&mut client, OpCode::Create, &create("/replicated", 0));
    tap.hold();
    let write = request(client.xid(), OpCode::Create, &create("/never-replicated", 0));
    client.send(&write).expect("it is taken");
    let is_logged = || {
        let folder = ensemble.data_dir(2).join("version-2");
        let files = std::fs::read_dir(folder).expect("the leader has a log");
        let logs =
            files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with("log."));
        logs.flat_map(|file| std::fs::read(file.path()))
            .any(|bytes| bytes.windows(17).any(|window| window == b"/never-replicated"))
    };
    ensemble.wait_for("the leader's log to have it", is_logged);
    let held = tap.held();
    ensemble.kill(2);
    tap.lose();
    ensemble.wait_for("another leader", || ensemble.leader().is_some());
    for id in [1, 3, 4] {
        ensemble.wait(id);
    }
    assert!(!held.is_empty(), "the proposal was held back");
    tap.step("server 2 joins by TRUNC");
    ensemble.start(2);
    ensemble.wait(2);
    let mut client = RawClient::connect(ensemble.address(2), TIMEOUT_MS).expect("it serves");
    twenty_writes(&mut client, "third");
    pings(tap, ensemble, 2);
    ok(&mut client, OpCode::CloseSession, &Nothing);
}

fn reconfig(dir: &Path) -> Tap {
    let settings = format!("{SETTINGS}\nreconfigEnabled=true\nstandaloneEnabled=false");
    let mut ensemble = Ensemble::new(dir, &[1, 2, 3], &[4], &settings);
    let tap = Tap::start(&ensemble);
    tap.step("servers 1 and 2 start, then 3, then observer 4");
    for id in [1, 2] {
        ensemble.start(id);
    }
    ensemble.wait(1);
    ensemble.wait(2);
    for id in [3, 4] {
        ensemble.start(id);
        ensemble.wait(id);
    }
    let leader = ensemble.leader().expect("somebody leads");
    assert_eq!(leader, 2, "the larger of the first two");
    let member = |id: u8| {
        let port = ensemble.members()[&id].client;
        format!("server.{id}={};127.0.0.1:{port}", ensemble.line(id))
    };
    let (second, third) = (member(2), member(3));
    tap.step("server 3 leaves");
    change(&ensemble, 1, None, Some("3"));
    tap.step("server 3 comes back");
    change(&ensemble, 1, Some(&third), None);
    ensemble.wait(3);
    pings(&tap, &ensemble, 2);
    tap.step("the leader leaves: another is designated");
    change(&ensemble, 1, None, Some("2"));
    ensemble.wait_for("another leader", || ensemble.leader().is_some_and(|id| id != 2));
    for id in [1, 3, 4] {
        ensemble.wait(id);
    }
    tap.step("a write in the new configuration");
    let mut client = RawClient::connect(ensemble.address(1), TIMEOUT_MS).expect("it serves");
    ok(&mut client, OpCode::Create, &create("/after", 0));
    tap.step("server 2 comes back");
    change(&ensemble, 1, Some(&second), None);
    ensemble.wait(2);
    pings(&tap, &ensemble, 2);
    tap.step("the end");
    tap
}

/// A reconfiguration, asked for by an administrator at this server.
fn change(ensemble: &Ensemble, at: u8, joining: Option<&str>, leaving: Option<&str>) {
    let mut client = RawClient::connect(ensemble.address(at), TIMEOUT_MS).expect("it serves");
    let auth = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"super:admin") };
    ok(&mut client, OpCode::Auth, &auth);
    let change = ReconfigRequest {
        joining_servers: joining.map(Into::into),
        leaving_servers: leaving.map(Into::into),
        new_members: None,
        current_config_id: -1,
    };
    // It is refused while too few are in step, or another one is not over.
    ensemble.wait_for("a reconfiguration", || {
        let mut client = RawClient::connect(ensemble.address(at), TIMEOUT_MS).ok();
        let reply = client.as_mut().and_then(|client| {
            client.call(OpCode::Auth, &auth).ok()?;
            client.call(OpCode::Reconfig, &change).ok()
        });
        reply.is_some_and(|reply| reply.header.err == 0)
    });
}

fn two_addresses(dir: &Path) -> Tap {
    let settings = format!(
        "{SETTINGS}\n-Dzookeeper.multiAddress.enabled=true\n-Dzookeeper.multiAddress.reachabilityCheckEnabled=false"
    );
    let mut ensemble = Ensemble::new(dir, &[1, 2], &[], &settings);
    let tap = Tap::start(&ensemble);
    tap.step("servers with two addresses elect");
    let lines: Vec<String> = [1u8, 2]
        .iter()
        .map(|&id| {
            let line = ensemble.line(id).replace(":participant", "");
            let other = line.replace(&format!("zk{id}"), &format!("zk{id}.other"));
            format!("server.{id}={line}|{other}")
        })
        .collect();
    for id in [1, 2] {
        ensemble.start_with(id, &lines.join("\n"));
    }
    ensemble.wait(1);
    ensemble.wait(2);
    tap.step("the end");
    tap
}

/// Every type of transaction that a client's request leads to, and requests that fail.
fn every_write(tap: &Tap, ensemble: &Ensemble, at: u8) {
    tap.step("every write through a follower");
    let mut client = RawClient::connect(ensemble.address(at), TIMEOUT_MS).expect("it serves");
    let client = &mut client;
    ok(client, OpCode::Create, &create("/a", 0));
    ok(client, OpCode::Create2, &create("/a/two", 0));
    ok(client, OpCode::Create, &create("/a/ephemeral", 1));
    ok(client, OpCode::Create, &create("/a/sequential-", 2));
    ok(client, OpCode::CreateContainer, &create("/container", 4));
    let ttl = CreateTtlRequest {
        path: Some("/a/ttl".into()),
        data: None,
        acl: open(),
        flags: 5,
        ttl: 900_000_000,
    };
    ok(client, OpCode::CreateTtl, &ttl);
    let data = |data| SetDataRequest { path: Some("/a".into()), data, version: -1 };
    ok(client, OpCode::SetData, &data(Some(&b"new"[..])));
    ok(client, OpCode::SetData, &data(Some(&b""[..])));
    ok(client, OpCode::SetData, &data(None));
    let acl = Some(vec![entry(31, "world", "anyone"), entry(1, "ip", "127.0.0.1")]);
    ok(client, OpCode::SetAcl, &SetAclRequest { path: Some("/a".into()), acl, version: 0 });
    ok(client, OpCode::Delete, &node("/a/two", 0));
    refused(client, OpCode::Create, &create("/a", 0), -110);
    refused(client, OpCode::Delete, &node("/a", -1), -111);
    let ops = vec![
        MultiOp::Create(OpCode::Create, create("/m", 0)),
        MultiOp::SetData(data(Some(b"multi"))),
        MultiOp::Check(node("/m", 0)),
        MultiOp::Create(OpCode::CreateContainer, create("/m/box", 4)),
        MultiOp::Delete(node("/a/ttl", -1)),
    ];
    ok(client, OpCode::Multi, &MultiRequest { ops });
    let ops = vec![
        MultiOp::Create(OpCode::Create, create("/n", 0)),
        MultiOp::Delete(node("/nowhere", -1)),
    ];
    ok(client, OpCode::Multi, &MultiRequest { ops });
    let auth = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"user:secret") };
    ok(client, OpCode::Auth, &auth);
    ok(client, OpCode::Create, &create("/with-two-identities", 0));
    ok(client, OpCode::Sync, &PathRequest { path: Some("/a".into()) });
    tap.step("a container that is empty again goes");
    ok(client, OpCode::Create, &create("/container/child", 0));
    let before = tap.events().len();
    ok(client, OpCode::Delete, &node("/container/child", 0));
    ensemble.wait_for("deleteContainer", || {
        packets::txn_types(&tap.events(), before).contains(&OpCode::DeleteContainer.to_wire())
    });
    tap.step("the session is closed, its ephemeral goes");
    ok(client, OpCode::CloseSession, &Nothing);
    tap.step("the same at the leader: no requests, proposals alone");
    let mut client = RawClient::connect(ensemble.address(2), TIMEOUT_MS).expect("it serves");
    ok(&mut client, OpCode::Create, &create("/at-the-leader", 1));
    ok(&mut client, OpCode::CloseSession, &Nothing);
}

fn through_the_observer(tap: &Tap, ensemble: &Ensemble) {
    tap.step("writes through the observer");
    let mut client = RawClient::connect(ensemble.address(4), TIMEOUT_MS).expect("it serves");
    ok(&mut client, OpCode::Create, &create("/observed", 1));
    refused(&mut client, OpCode::Delete, &node("/nowhere", -1), -101);
    ok(&mut client, OpCode::Sync, &PathRequest { path: Some("/".into()) });
    ok(&mut client, OpCode::CloseSession, &Nothing);
}

fn moving_sessions(tap: &Tap, ensemble: &Ensemble) {
    tap.step("a session moves from follower 1 to follower 3, then to observer 4");
    let first = RawClient::connect(ensemble.address(1), TIMEOUT_MS).expect("it serves");
    let (session, password) = (first.session, first.password);
    first.cut();
    let resume = |at: u8, session: SessionId| {
        let mut client = RawClient::open(ensemble.address(at)).expect("it listens");
        let answer =
            client.handshake(session, &password, TIMEOUT_MS, Zxid::ZERO).expect("an answer");
        (answer.session, client)
    };
    let (found, mut client) = resume(3, session);
    assert_eq!(found, session);
    ok(&mut client, OpCode::Create, &create("/moved", 1));
    client.cut();
    let (found, mut client) = resume(4, session);
    assert_eq!(found, session);
    ok(
        &mut client,
        OpCode::SetData,
        &SetDataRequest { path: Some("/moved".into()), data: Some(b"twice"), version: -1 },
    );
    ok(&mut client, OpCode::CloseSession, &Nothing);
    tap.step("a session that is closed is asked for");
    let (found, _) = resume(3, session);
    assert_eq!(found, SessionId::NONE, "it is gone");
}

fn twenty_writes(client: &mut RawClient, name: &str) {
    ok(client, OpCode::Create, &create(&format!("/{name}"), 0));
    for n in 0..20 {
        ok(client, OpCode::Create, &create(&format!("/{name}/{n}"), 0));
    }
}

/// Waits for so many more answered pings, of clients that say nothing.
fn pings(tap: &Tap, ensemble: &Ensemble, count: usize) {
    let before = tap.events().len();
    ensemble
        .wait_for("pings", || packets::count(&tap.events(), before, PacketKind::Ping) >= 2 * count);
}

fn create(path: &str, flags: i32) -> CreateRequest<'_> {
    CreateRequest { path: Some(path.into()), data: Some(path.as_bytes()), acl: open(), flags }
}

fn node(path: &str, version: i32) -> PathVersionRequest<'_> {
    PathVersionRequest { path: Some(path.into()), version }
}

fn open() -> Option<Vec<AclEntry<'static>>> {
    Some(vec![entry(31, "world", "anyone")])
}

fn entry<'a>(perms: i32, scheme: &'a str, id: &'a str) -> AclEntry<'a> {
    AclEntry { perms, scheme: Some(scheme.into()), id: Some(id.into()) }
}

fn ok(client: &mut RawClient, op: OpCode, body: &impl Encode) {
    refused(client, op, body, 0);
}

fn refused(client: &mut RawClient, op: OpCode, body: &impl Encode, err: i32) {
    let reply = client.call(op, body).expect("an answer");
    assert_eq!(reply.header.err, err, "{op:?}");
}

/// No body.
struct Nothing;

impl Encode for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}
}
