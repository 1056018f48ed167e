//! Frames bent at random, for five seconds: no panic, no more memory than the limits say, and
//! everybody else is served meanwhile.

mod support;

use std::time::{Duration, Instant};

use oxikeeper_node::front::limits::OUTPUT_BYTES_MAX;
use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    AuthPacket, CreateTtlRequest, PathVersionRequest, SetAclRequest, SetWatches2Request,
    WatchableRequest,
};
use oxikeeper_proto::{AclEntry, OpCode, SessionId, Zxid};
use support::*;

const TIME: Duration = Duration::from_secs(5);

/// One good request of every kind, as frames.
fn good_frames() -> Vec<Vec<u8>> {
    let path = || Some("/a".into());
    let acl =
        || vec![AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }];
    let reads = MultiRequest {
        ops: vec![
            MultiOp::GetData(WatchableRequest { path: path(), watch: true }),
            MultiOp::GetChildren(WatchableRequest { path: path(), watch: false }),
        ],
    };
    let writes = MultiRequest {
        ops: vec![
            MultiOp::Delete(PathVersionRequest { path: Some("/a/b".into()), version: -1 }),
            MultiOp::Check(PathVersionRequest { path: path(), version: 0 }),
        ],
    };
    let ttl = CreateTtlRequest { path: path(), data: None, acl: Some(acl()), flags: 5, ttl: 9 };
    let set_watches = SetWatches2Request {
        relative_zxid: Zxid::new(1),
        data_watches: Some(vec!["/a".into(), "/b".into()]),
        exist_watches: Some(vec!["/c".into()]),
        child_watches: Some(vec!["/".into()]),
        persistent_watches: Some(vec!["/a".into()]),
        persistent_recursive_watches: Some(vec!["/".into()]),
    };
    let auth = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"u:p") };
    let set_acl = SetAclRequest { path: path(), acl: Some(acl()), version: -1 };
    let bodies = [
        (OpCode::Create, create("/a", 0)),
        (OpCode::Create, create("/a/b", 1)),
        (OpCode::Create2, create("/a/s-", 2)),
        (OpCode::CreateContainer, create("/k", 4)),
        (OpCode::CreateTtl, to_bytes(&ttl)),
        (OpCode::Delete, delete("/a/b")),
        (OpCode::SetData, set_data("/a", b"some data")),
        (OpCode::SetAcl, to_bytes(&set_acl)),
        (OpCode::Exists, read("/none", true)),
        (OpCode::GetData, read("/a", true)),
        (OpCode::GetAcl, read("/a", false)),
        (OpCode::GetChildren, read("/", true)),
        (OpCode::GetChildren2, read("/a", true)),
        (OpCode::GetAllChildrenNumber, read("/", false)),
        (OpCode::GetEphemerals, read("/", false)),
        (OpCode::Sync, read("/a", false)),
        (OpCode::Ping, vec![]),
        (OpCode::WhoAmI, vec![]),
        (OpCode::Multi, to_bytes(&writes)),
        (OpCode::MultiRead, to_bytes(&reads)),
        (OpCode::AddWatch, path_and("/a", 0)),
        (OpCode::AddWatch, path_and("/", 1)),
        (OpCode::CheckWatches, path_and("/a", 3)),
        (OpCode::RemoveWatches, path_and("/a", 3)),
        (OpCode::SetWatches, to_bytes(&set_watches)),
        (OpCode::SetWatches2, to_bytes(&set_watches)),
        (OpCode::Auth, to_bytes(&auth)),
        (OpCode::Sasl, vec![0, 0, 0, 0]),
        (OpCode::Reconfig, [[0xff; 12].as_slice(), &[0xff; 8]].concat()),
        (OpCode::CloseSession, vec![]),
    ];
    bodies.iter().map(|(op, body)| request(1, op.to_wire(), body)).collect()
}

/// Bends a frame, or several; the length prefix follows the new length more often than not.
fn bend(dice: &mut Dice, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = dice.of(frames).clone();
    for _ in 0..dice.below(4) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(8) {
            0 if at < bytes.len() => bytes[at] = dice.next() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), dice.next() as u8),
            4 if at + 4 <= bytes.len() => {
                let odd = [0, -1, -2, i32::MIN, i32::MAX, 0x10_0000, 1, 0x7f, 0xffff];
                bytes[at..at + 4].copy_from_slice(&dice.of(&odd).to_be_bytes());
            }
            5 => {
                let other = dice.of(frames).clone();
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len())..]);
            }
            6 => bytes.extend_from_slice(&vec![dice.next() as u8; dice.below(5000)]),
            _ => {}
        }
    }
    if dice.below(4) > 0 && bytes.len() >= 4 {
        let length = bytes.len() as i32 - 4;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

/// One server's life: bent frames from a few connections, judged by one that behaves.
fn life(seed: u64, frames: &[Vec<u8>]) -> usize {
    let mut dice = Dice(seed);
    let mut server = Server::new(2);
    let good = server.client(0);
    let mut conns: Vec<ConnId> = Vec::new();
    let mut sent = 0;
    for _ in 0..200 {
        if conns.len() < 3 || dice.below(10) == 0 {
            server.log_stalls = false;
            let front = dice.below(2);
            let conn = if dice.below(4) > 0 { server.client(front) } else { server.open(front) };
            conns.push(conn);
        }
        let conn = *dice.of(&conns);
        let mut bytes = bend(&mut dice, frames);
        if dice.below(20) == 0 {
            bytes = connect(SessionId(dice.next() as i64), &[0; 16], dice.next() as i32);
        }
        server.log_stalls = dice.below(3) == 0;
        server.wires.get_mut(&conn).expect("a connection").deaf = dice.below(10) == 0;
        let piece = dice.below(bytes.len() + 1) + 1;
        for part in bytes.chunks(piece) {
            if !server.wires[&conn].paused {
                server.send(conn, part);
                sent += 1;
            }
        }
        if dice.below(3) == 0 {
            server.settle();
        }
        if dice.below(40) == 0 {
            server.answer_commands();
            server.pass_ms(2_000);
            server.send(good, &request(-2, OpCode::Ping.to_wire(), &[]));
        }
        assert!(server.fronts[server.wires[&conn].front].output(conn).len() < OUTPUT_BYTES_MAX);
    }
    server.log_stalls = false;
    server.settle();
    server.replies(good);
    let reply = server.ask(good, OpCode::Exists, &read("/", false));
    assert_eq!(reply.err, 0, "seed {seed}: others are served");
    for conn in conns {
        if server.closed(conn).is_none() {
            server.hang_up(conn);
        }
    }
    server.hang_up(good);
    for front in &server.fronts {
        assert_eq!(front.connection_count(), 0, "seed {seed}");
        assert_eq!(front.watch_count(), 0, "seed {seed}");
        assert_eq!(front.outstanding_count(), 0, "seed {seed}");
    }
    sent
}

#[test]
fn bent_frames_harm_nobody_else() {
    let frames = good_frames();
    let start = Instant::now();
    let (mut seed, mut sent) = (0, 0);
    while start.elapsed() < TIME {
        sent += life(seed, &frames);
        seed += 1;
    }
    println!("{seed} lives, {sent} deliveries");
    assert!(seed > 10, "the time was enough for something: {seed}");
}
