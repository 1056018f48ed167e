//! The order of a session's requests and replies, and what it may hold in memory.

mod support;

use oxikeeper_node::front::limits::{
    OUTPUT_BYTES_MAX, OUTPUT_BYTES_PAUSE, REQUESTS_MAX, UNANSWERED_BYTES_MAX,
};
use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::OpCode;
use support::*;

/// Data of a getData reply.
fn data(reply: &Reply) -> Vec<u8> {
    let mut reader = oxikeeper_proto::Reader::new(&reply.body);
    reader.buffer().expect("a buffer").expect("not null").to_vec()
}

fn pipeline(server: &mut Server, conn: ConnId, requests: &[(i32, OpCode, Vec<u8>)]) {
    let bytes: Vec<u8> =
        requests.iter().flat_map(|(xid, op, body)| request(*xid, op.to_wire(), body)).collect();
    server.send(conn, &bytes);
}

#[test]
fn a_read_between_two_writes_sees_the_first_and_not_the_second() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.ask(conn, OpCode::Create, &create("/a", 0));
    server.log_stalls = true;
    pipeline(
        &mut server,
        conn,
        &[
            (1, OpCode::SetData, set_data("/a", b"1")),
            (2, OpCode::GetData, read("/a", false)),
            (3, OpCode::SetData, set_data("/a", b"2")),
            (4, OpCode::SetData, set_data("/a", b"3")),
            (5, OpCode::GetData, read("/a", false)),
            (6, OpCode::GetData, read("/a", false)),
        ],
    );
    server.settle();
    assert_eq!(server.replies(conn), []);
    server.log_stalls = false;
    server.settle();
    let replies = server.replies(conn);
    let seen: Vec<_> = replies.iter().map(|r| (r.xid, r.zxid, r.err)).collect();
    assert_eq!(seen, [(1, 3, 0), (2, 3, 0), (3, 4, 0), (4, 5, 0), (5, 5, 0), (6, 5, 0)]);
    assert_eq!(data(&replies[1]), b"1");
    assert_eq!(data(&replies[4]), b"3");
}

#[test]
fn writes_behind_writes_are_forwarded_at_once() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.log_stalls = true;
    for i in 0..10 {
        let body = create(&format!("/{i}"), 0);
        server.send(conn, &request(i, OpCode::Create.to_wire(), &body));
    }
    assert_eq!(server.core.outstanding_count(), 10);
    server.send(conn, &request(10, OpCode::Exists.to_wire(), &read("/", false)));
    server.send(conn, &request(11, OpCode::Create.to_wire(), &create("/x", 0)));
    assert_eq!(server.core.outstanding_count(), 10, "a write waits for the read before it");
    server.log_stalls = false;
    server.settle();
    let xids: Vec<_> = server.replies(conn).iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, (0..=11).collect::<Vec<_>>());
}

#[test]
fn another_sessions_read_does_not_wait() {
    let mut server = Server::new(1);
    let (writer, reader) = (server.client(0), server.client(0));
    server.log_stalls = true;
    server.send(writer, &request(1, OpCode::Create.to_wire(), &create("/a", 0)));
    assert_eq!(server.ask(reader, OpCode::Exists, &read("/a", false)).err, -101);
}

#[test]
fn failed_writes_take_a_zxid_and_keep_their_place() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    pipeline(
        &mut server,
        conn,
        &[
            (1, OpCode::Create, create("/a", 0)),
            (2, OpCode::Create, create("/a", 0)),
            (3, OpCode::Delete, vec![1]), // Undecodable: takes none.
            (4, OpCode::Sync, to_path("/whatever")),
            (5, OpCode::Delete, delete("/none")),
        ],
    );
    server.settle();
    let replies = server.replies(conn);
    let seen: Vec<_> = replies.iter().map(|r| (r.xid, r.zxid, r.err)).collect();
    assert_eq!(seen, [(1, 2, 0), (2, 3, -110), (3, 3, -5), (4, 3, 0), (5, 4, -101)]);
    assert_eq!(replies[3].body, to_path("/whatever"), "sync echoes its path");
}

fn to_path(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    oxikeeper_proto::Encode::encode(path, &mut out);
    out
}

#[test]
fn the_event_of_a_write_comes_before_its_reply() {
    let mut server = Server::new(2);
    let (conn, other) = (server.client(0), server.client(1));
    server.ask(conn, OpCode::Create, &create("/a", 0));
    server.ask(conn, OpCode::GetData, &read("/a", true));
    server.ask(other, OpCode::GetData, &read("/a", true));
    let replies = server.ask_all(conn, OpCode::SetData, &set_data("/a", b"1"));
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[0].event(), Some((3, "/a".into())));
    assert_eq!(replies[0].zxid, replies[1].zxid);
    assert_eq!(server.reply(other).event(), Some((3, "/a".into())));
}

/// Random pipelines of several sessions on two Fronts: every session gets its replies in order,
/// zxids never fall, and each read shows what its session's own earlier writes left, or later.
#[test]
fn random_pipelines_keep_every_promise() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut server = Server::new(2);
        let clients: Vec<ConnId> = (0..4).map(|i| server.client(i % 2)).collect();
        for (i, &conn) in clients.iter().enumerate() {
            server.ask(conn, OpCode::Create, &create(&format!("/{i}"), 0));
        }
        // Each session writes a rising number into its own node, and expects what it reads.
        let mut written = vec![0u64; clients.len()];
        let mut expected: Vec<Vec<(i32, Option<u64>)>> = vec![Vec::new(); clients.len()];
        for xid in 1..200 {
            let who = dice.below(clients.len());
            let path = format!("/{who}");
            let bytes = if dice.below(2) == 0 {
                written[who] += 1;
                expected[who].push((xid, None));
                let body = set_data(&path, &written[who].to_be_bytes());
                request(xid, OpCode::SetData.to_wire(), &body)
            } else if written[who] > 0 {
                expected[who].push((xid, Some(written[who])));
                request(xid, OpCode::GetData.to_wire(), &read(&path, false))
            } else {
                continue;
            };
            // In pieces, to cross the borders of frames.
            let cut = dice.below(bytes.len());
            server.send(clients[who], &bytes[..cut]);
            server.send(clients[who], &bytes[cut..]);
            server.log_stalls = dice.below(3) > 0;
            if dice.below(4) == 0 {
                server.settle();
            }
        }
        server.log_stalls = false;
        server.settle();
        for (who, &conn) in clients.iter().enumerate() {
            let replies = server.replies(conn);
            assert_eq!(replies.len(), expected[who].len(), "seed {seed}");
            let mut last = 0;
            for (reply, &(xid, shows)) in replies.iter().zip(&expected[who]) {
                assert_eq!((reply.xid, reply.err), (xid, 0), "seed {seed}");
                assert!(reply.zxid >= last, "seed {seed}: {} after {last}", reply.zxid);
                last = reply.zxid;
                if let Some(number) = shows {
                    assert_eq!(data(reply), number.to_be_bytes(), "seed {seed} xid {xid}");
                }
            }
        }
    }
}

#[test]
fn large_replies_behind_a_write_go_out_as_the_reader_drains() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let large = vec![7; 900_000];
    server.ask(conn, OpCode::Create, &create_with("/big", &large, 0, &open_acl()));
    server.log_stalls = true;
    let mut requests = vec![(1, OpCode::SetData, set_data("/big", &large))];
    requests.extend((2..12).map(|xid| (xid, OpCode::GetData, read("/big", false))));
    requests.push((12, OpCode::SetData, set_data("/big", b"")));
    requests.push((13, OpCode::GetData, read("/big", false)));
    pipeline(&mut server, conn, &requests);
    server.wires.get_mut(&conn).expect("open").deaf = true;
    server.log_stalls = false;
    server.settle();
    let held = server.fronts[0].output(conn).len();
    assert!(held <= OUTPUT_BYTES_PAUSE + 1_000_000, "{held} bytes held for one reader");
    server.wires.get_mut(&conn).expect("open").deaf = false;
    server.flush(conn);
    server.settle();
    let xids: Vec<_> = server.replies(conn).iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, (1..=13).collect::<Vec<_>>());
}

#[test]
fn reads_stop_while_the_reader_does_not_drain_and_go_on_when_it_does() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let large = vec![7; 500_000];
    server.ask(conn, OpCode::Create, &create_with("/big", &large, 0, &open_acl()));
    server.wires.get_mut(&conn).expect("open").deaf = true;
    let mut xid = 0;
    while !server.wires[&conn].paused {
        xid += 1;
        assert!(xid < 10, "reading is paused soon");
        server.send(conn, &request(xid, OpCode::GetData.to_wire(), &read("/big", false)));
    }
    let other = server.client(0);
    assert_eq!(server.ask(other, OpCode::Exists, &read("/", false)).err, 0, "others are served");
    server.wires.get_mut(&conn).expect("open").deaf = false;
    server.flush(conn);
    assert!(!server.wires[&conn].paused);
    let xids: Vec<_> = server.replies(conn).iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, (1..=xid).collect::<Vec<_>>());
}

#[test]
fn many_requests_pause_the_reading_and_none_is_lost() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.log_stalls = true;
    let count = REQUESTS_MAX as i32 + 100;
    server.send(conn, &request(0, OpCode::Create.to_wire(), &create("/a", 0)));
    let all: Vec<u8> = (1..count)
        .flat_map(|xid| match xid % 3 {
            0 => request(xid, OpCode::SetData.to_wire(), &set_data("/a", b"x")),
            _ => request(xid, OpCode::Exists.to_wire(), &read("/a", false)),
        })
        .collect();
    server.send(conn, &all);
    assert!(server.wires[&conn].paused);
    assert!(server.fronts[0].outstanding_count() <= REQUESTS_MAX);
    server.log_stalls = false;
    server.settle();
    let xids: Vec<_> = server.replies(conn).iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, (0..count).collect::<Vec<_>>());
    assert!(!server.wires[&conn].paused);
}

#[test]
fn large_writes_behind_a_slow_log_are_bounded_in_bytes() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.ask(conn, OpCode::Create, &create("/a", 0));
    server.log_stalls = true;
    let before = server.forwarded_bytes;
    let large = vec![7; 900_000];
    let mut sent = 0;
    while !server.wires[&conn].paused && sent < 100 {
        sent += 1;
        server.send(conn, &request(sent, OpCode::SetData.to_wire(), &set_data("/a", &large)));
    }
    let taken = server.forwarded_bytes - before;
    assert!(taken <= UNANSWERED_BYTES_MAX + 1_000_000, "{taken} bytes taken from one connection");
    server.log_stalls = false;
    server.settle();
    let xids: Vec<_> = server.replies(conn).iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, (1..=sent).collect::<Vec<_>>());
    assert!(!server.wires[&conn].paused);
}

/// The last events come in one batch of mail: the support code refuses a second close.
#[test]
fn a_reader_of_events_that_never_drains_is_closed_once() {
    let mut server = Server::new(1);
    let deaf = server.client(0);
    let writers: Vec<_> = (0..10).map(|_| server.client(0)).collect();
    // A long name makes large events: the path is in each.
    let path = format!("/{}", "x".repeat(800_000));
    server.ask(writers[0], OpCode::Create, &create(&path, 0));
    server.ask(deaf, OpCode::AddWatch, &path_and(&path, 0));
    server.wires.get_mut(&deaf).expect("open").deaf = true;
    let fit = OUTPUT_BYTES_MAX / 800_100;
    for _ in 1..fit {
        server.ask(writers[0], OpCode::SetData, &set_data(&path, b"x"));
    }
    assert_eq!(server.closed(deaf), None, "{fit} events are few enough");
    server.log_stalls = true;
    for &writer in &writers {
        server.send(writer, &request(1, OpCode::SetData.to_wire(), &set_data(&path, b"y")));
    }
    server.log_stalls = false;
    server.settle();
    assert!(server.closed(deaf).is_some());
    assert_eq!(server.fronts[0].watch_count(), 0);
    for &writer in &writers {
        assert_eq!(server.reply(writer).err, 0, "others are served");
    }
}

#[test]
fn latency_counts_from_the_receipt() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.log_stalls = true;
    pipeline(
        &mut server,
        conn,
        &[(1, OpCode::Create, create("/a", 0)), (2, OpCode::Exists, read("/a", false))],
    );
    let before = server.fronts[0].stats();
    server.now_ms += 40;
    server.log_stalls = false;
    server.settle();
    let after = server.fronts[0].stats();
    assert_eq!(after.answered - before.answered, 2);
    assert_eq!(after.latency_us_sum - before.latency_us_sum, 80_000);
    assert_eq!(after.latency_us_max, 40_000);
}

#[test]
fn who_is_read_in_spite_of_a_pause_is_paused_again() {
    let mut server = Server::new(1);
    let conn = server.open(0);
    server.send(conn, &connect(oxikeeper_proto::SessionId::NONE, &[], 10_000));
    for _ in 0..2 {
        assert!(server.wires[&conn].paused, "the handshake is with the Core");
        server.wires.get_mut(&conn).expect("open").paused = false;
        server.send(conn, &[0]);
    }
    assert!(server.wires[&conn].paused);
}
