//! Handshakes, frames, and the ends of connections, through a whole server.
//! Numbers in names and comments are sections of the client-protocol reference.

mod support;

use oxikeeper_node::auth::DigestAlgorithm;
use oxikeeper_node::config::NodeConfig;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::request::{AuthPacket, ConnectRequest};
use oxikeeper_proto::{Encode, OpCode, SessionId, Zxid};
use support::*;

fn handshake(read_only: Option<bool>, last_zxid_seen: Zxid, timeout_ms: i32) -> Vec<u8> {
    let session = SessionId::NONE;
    let password = Some(&[][..]);
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout_ms,
        session,
        password,
        read_only,
    };
    framed(&to_bytes(&request))
}

#[test]
fn the_answer_mirrors_the_read_only_byte() {
    let mut server = Server::new(1);
    for (read_only, length) in [(Some(false), 37), (Some(true), 37), (None, 36)] {
        let conn = server.open(0);
        server.send(conn, &handshake(read_only, Zxid::ZERO, 10_000));
        server.settle();
        let frame = server.frame(conn).expect("an answer");
        assert_eq!(frame.len(), length, "{read_only:?}");
    }
}

#[test]
fn timeouts_are_clamped() {
    let mut server = Server::new(1);
    let cases = [(10_000, 10_000), (0, 6000), (-1, 6000), (1, 6000), (i32::MAX, 60_000)];
    for (asked, granted) in cases {
        let conn = server.open(0);
        server.send(conn, &handshake(Some(false), Zxid::ZERO, asked));
        server.settle();
        assert_eq!(server.connected(conn).expect("an answer").timeout_ms, granted);
    }
}

#[test]
fn a_new_session_takes_one_zxid_and_any_password() {
    let mut server = Server::new(1);
    let conn = server.open(0);
    let mut bytes = to_bytes(&0i32);
    bytes.extend_from_slice(&to_bytes(&0i64));
    bytes.extend_from_slice(&to_bytes(&10_000i32));
    bytes.extend_from_slice(&to_bytes(&0i64));
    bytes.extend_from_slice(&to_bytes(&-1i32)); // A null password.
    bytes.push(0);
    bytes.extend_from_slice(b"ignored");
    server.send(conn, &framed(&bytes));
    server.settle();
    let response = server.connected(conn).expect("an answer");
    assert_ne!(response.session, SessionId::NONE);
    assert_eq!(server.tree.last_zxid(), Zxid::new(1));
}

#[test]
fn silent_closes_of_a_handshake() {
    let short = framed(&[0; 20]);
    let ahead = handshake(Some(false), Zxid::new(1), 10_000);
    let negative = (-1i32).to_be_bytes().to_vec();
    let oversized = 0x10_0000i32.to_be_bytes().to_vec();
    let unknown_word = b"RUOK".to_vec();
    let telnet = vec![0xff, 0xf4, 0xff, 0xfd];
    for bytes in [short, ahead, negative, oversized, unknown_word, framed(&[])] {
        let mut server = Server::new(1);
        let conn = server.open(0);
        server.send(conn, &bytes);
        server.settle();
        assert!(server.closed(conn).is_some(), "{bytes:?}");
        assert_eq!(server.wires[&conn].inbox, [], "no answer to {bytes:?}");
    }
    let mut server = Server::new(1);
    let conn = server.open(0);
    server.send(conn, &telnet);
    assert!(server.closed(conn).is_some());
}

#[test]
fn a_handshake_may_come_byte_by_byte_with_requests_behind_it() {
    let mut server = Server::new(1);
    let conn = server.open(0);
    let mut bytes = handshake(Some(false), Zxid::ZERO, 10_000);
    bytes.extend(request(5, OpCode::Exists.to_wire(), &read("/", false)));
    bytes.extend(request(6, OpCode::Create.to_wire(), &create("/a", 0)));
    bytes.extend(request(7, OpCode::Exists.to_wire(), &read("/a", false)));
    for byte in bytes {
        server.send(conn, &[byte]);
    }
    assert!(server.wires[&conn].paused, "requests wait for the session");
    server.settle();
    assert!(!server.wires[&conn].paused);
    server.connected(conn).expect("an answer");
    let replies = server.replies(conn);
    let seen: Vec<_> = replies.iter().map(|reply| (reply.xid, reply.zxid, reply.err)).collect();
    assert_eq!(seen, [(5, 1, 0), (6, 2, 0), (7, 2, 0)]);
}

#[test]
fn a_session_is_resumed_with_its_password_only() {
    let mut server = Server::new(2);
    let first = server.open(0);
    server.send(first, &connect(SessionId::NONE, &[], 10_000));
    server.settle();
    let made = server.connected(first).expect("an answer");
    // A wrong password is told that the session expired, and still throws the owner out (2.6).
    let thief = server.open(1);
    server.send(thief, &connect(made.session, &[7; 16], 10_000));
    server.settle();
    let refused = server.connected(thief).expect("an answer");
    assert_eq!((refused.timeout_ms, refused.session), (0, SessionId::NONE));
    assert_eq!(refused.password, [0; 16]);
    assert!(server.closed(thief).is_some());
    assert!(server.closed(first).is_some());
    // The session has survived.
    let second = server.open(1);
    server.send(second, &connect(made.session, &made.password, 20_000));
    server.settle();
    let resumed = server.connected(second).expect("an answer");
    assert_eq!(resumed.session, made.session);
    assert_eq!(resumed.password, made.password);
    assert_eq!(resumed.timeout_ms, 20_000);
    // Resuming elsewhere closes it without a word.
    let third = server.open(0);
    server.send(third, &connect(made.session, &made.password, 20_000));
    server.settle();
    assert!(server.closed(second).is_some());
    assert_eq!(server.wires[&second].inbox, []);
    assert_eq!(server.connected(third).expect("an answer").session, made.session);
    assert_eq!(server.ask(third, OpCode::Exists, &read("/", false)).err, 0);
}

#[test]
fn frames_behind_the_handshake_keep_to_their_limits() {
    for (bytes, closes) in [
        ((-1i32).to_be_bytes().to_vec(), true),
        (0x10_0000i32.to_be_bytes().to_vec(), true),
        (b"ruok".to_vec(), true),
        (framed(&[]), true),
        (framed(&[0, 0, 0, 1, 0, 0, 0]), true),
        (0xf_ffffi32.to_be_bytes().to_vec(), false),
    ] {
        let mut server = Server::new(1);
        let conn = server.client(0);
        server.send(conn, &bytes);
        server.settle();
        assert_eq!(server.closed(conn).is_some(), closes, "{bytes:?}");
        assert_eq!(server.wires[&conn].inbox, []);
    }
}

#[test]
fn the_largest_frame_is_served() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let overhead = create_with("/big", b"", 0, &open_acl()).len() + 8;
    let data = vec![7; 0xf_ffff - overhead];
    let body = create_with("/big", &data, 0, &open_acl());
    let bytes = request(1, OpCode::Create.to_wire(), &body);
    assert_eq!(bytes.len(), 4 + 0xf_ffff);
    for part in bytes.chunks(60_000) {
        server.send(conn, part);
    }
    server.settle();
    assert_eq!(server.reply(conn).err, 0);
    let reply = server.ask(conn, OpCode::GetData, &read("/big", false));
    assert_eq!(reply.stat().data_length as usize, data.len());
}

#[test]
fn undecodable_bodies_keep_the_connection() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let ops = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 101, 103, 104, 105, 106];
    for op in ops {
        server.send(conn, &request(9, op, &[0x7f, 0xff, 0xff, 0xff, 1]));
        server.settle();
        let reply = server.reply(conn);
        assert_eq!((reply.xid, reply.err), (9, -5), "op {op}");
        assert_eq!(reply.body, []);
        assert_eq!(server.closed(conn), None);
    }
    // Of those only the multi takes a zxid (3.3).
    assert_eq!(server.tree.last_zxid(), Zxid::new(2));
    // auth and sasl close at once (1.4).
    for op in [100, 102] {
        let conn = server.client(0);
        server.send(conn, &request(9, op, &[1]));
        assert!(server.closed(conn).is_some(), "op {op}");
        assert_eq!(server.wires[&conn].inbox, []);
    }
}

#[test]
fn trailing_bytes_of_a_request_are_ignored() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let mut body = read("/", false);
    body.extend_from_slice(b"more");
    assert_eq!(server.ask(conn, OpCode::Exists, &body).err, 0);
    let mut body = create("/a", 0);
    body.extend_from_slice(b"more");
    assert_eq!(server.ask(conn, OpCode::Create, &body).err, 0);
}

#[test]
fn unknown_operations_are_answered_in_order_and_the_connection_stays() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    server.log_stalls = true;
    server.send(conn, &request(1, OpCode::Create.to_wire(), &create("/a", 0)));
    let unknown = [0, -1, 10, 13, 20, 23, 99, 108, -10, i32::MIN, i32::MAX];
    for op in unknown {
        server.send(conn, &request(2, op, &create("/b", 0)));
    }
    server.settle();
    assert_eq!(server.replies(conn), [], "they wait for the create");
    server.log_stalls = false;
    server.settle();
    let replies = server.replies(conn);
    assert_eq!((replies[0].xid, replies[0].err), (1, 0));
    assert_eq!(replies.len(), 1 + unknown.len());
    for reply in &replies[1..] {
        assert_eq!((reply.xid, reply.zxid, reply.err), (2, -1, -6));
        assert_eq!(reply.body, []);
    }
    assert_eq!(server.ask(conn, OpCode::Exists, &read("/b", false)).err, -101);
}

#[test]
fn pings_are_answered_with_their_own_xid_in_order() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let reply = server.ask(conn, OpCode::Ping, &[]);
    assert_eq!((reply.xid, reply.zxid, reply.err), (-2, 1, 0));
    server.log_stalls = true;
    server.send(conn, &request(1, OpCode::Create.to_wire(), &create("/a", 0)));
    server.send(conn, &request(-2, OpCode::Ping.to_wire(), &[]));
    server.settle();
    assert_eq!(server.replies(conn), []);
    server.log_stalls = false;
    server.settle();
    let seen: Vec<_> = server.replies(conn).iter().map(|r| (r.xid, r.zxid)).collect();
    assert_eq!(seen, [(1, 2), (-2, 2)]);
}

#[test]
fn close_session_sends_events_then_the_reply_then_closes() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let other = server.client(0);
    server.ask(conn, OpCode::Create, &create("/e", 1));
    server.ask(conn, OpCode::GetData, &read("/e", true));
    server.ask(other, OpCode::GetData, &read("/e", true));
    let mut bytes = request(8, OpCode::CloseSession.to_wire(), &[]);
    bytes.extend(request(9, OpCode::Exists.to_wire(), &read("/", false)));
    server.send(conn, &bytes);
    server.settle();
    let replies = server.replies(conn);
    assert_eq!(replies.len(), 2, "{replies:?}");
    assert_eq!(replies[0].event(), Some((2, "/e".into())));
    assert_eq!((replies[1].xid, replies[1].err), (8, 0));
    assert_eq!(replies[1].zxid, replies[0].zxid);
    assert_eq!(replies[1].body, []);
    assert!(server.closed(conn).is_some());
    assert_eq!(server.reply(other).event(), Some((2, "/e".into())));
}

#[test]
fn who_does_not_shake_hands_is_closed() {
    let mut server = Server::new(1);
    let silent = server.open(0);
    let partial = server.open(0);
    server.send(partial, &[0, 0]);
    let client = server.client(0);
    server.pass_ms(9_750);
    assert_eq!(server.closed(silent), None);
    server.send(client, &request(-2, OpCode::Ping.to_wire(), &[]));
    server.pass_ms(10_250);
    assert!(server.closed(silent).is_some());
    assert!(server.closed(partial).is_some());
    assert_eq!(server.closed(client), None);
}

#[test]
fn reads_and_pings_keep_a_session_alive_and_silence_ends_it() {
    for op in [OpCode::Ping, OpCode::GetChildren] {
        let mut server = Server::new(2);
        let conn = server.client(1);
        server.ask(conn, OpCode::Create, &create("/e", 1));
        for _ in 0..20 {
            server.pass_ms(5000);
            server.send(conn, &request(1, op.to_wire(), &read("/", false)));
        }
        assert_eq!(server.closed(conn), None);
        assert!(server.tree.node("/e").is_some());
        server.replies(conn);
        server.pass_ms(9_500);
        assert!(server.tree.node("/e").is_some(), "not before its timeout");
        server.pass_ms(4_000);
        assert!(server.tree.node("/e").is_none());
        assert!(server.closed(conn).is_some());
        assert_eq!(server.wires[&conn].inbox, [], "closed without a word");
    }
}

#[test]
fn a_hang_up_keeps_the_session_and_its_ephemerals() {
    let mut server = Server::new(1);
    let conn = server.open(0);
    server.send(conn, &connect(SessionId::NONE, &[], 10_000));
    server.settle();
    let made = server.connected(conn).expect("an answer");
    server.ask(conn, OpCode::Create, &create("/e", 1));
    server.hang_up(conn);
    server.pass_ms(8_000);
    let again = server.open(0);
    server.send(again, &connect(made.session, &made.password, 10_000));
    server.settle();
    assert_eq!(server.connected(again).expect("an answer").session, made.session);
    server.pass_ms(8_000);
    assert!(server.tree.node("/e").is_some());
    server.pass_ms(6_000);
    assert!(server.tree.node("/e").is_none());
}

#[test]
fn four_letter_words_are_the_first_bytes_only() {
    let words = vec!["ruok".to_owned()];
    let mut server =
        Server::with(NodeConfig { four_letter_words: words, ..NodeConfig::default() }, 1);
    let asked = server.open(0);
    server.send(asked, b"ru");
    server.send(asked, b"ok\n and whatever else");
    server.answer_commands();
    assert_eq!(server.wires[&asked].inbox, b"RUOK");
    assert!(server.closed(asked).is_some());
    let refused = server.open(0);
    server.send(refused, b"mntr");
    assert!(server.commands.is_empty());
    let text = "mntr is not executed because it is not in the whitelist.\n";
    assert_eq!(server.wires[&refused].inbox, text.as_bytes());
    assert!(server.closed(refused).is_some());
}

#[test]
fn auth_packets_overtake_and_count_from_the_next_request() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let id = DigestAlgorithm::Sha1.identity("u:p");
    let mine = oxikeeper_proto::Acl { perms: 31, id: oxikeeper_proto::Id::new("digest", id) };
    server.ask(conn, OpCode::Create, &create_with("/mine", b"", 0, &[mine]));
    assert_eq!(server.ask(conn, OpCode::GetData, &read("/mine", false)).err, -102);
    server.log_stalls = true;
    server.send(conn, &request(1, OpCode::SetData.to_wire(), &set_data("/mine", b"x")));
    let scheme = Some("digest".into());
    let packet = to_bytes(&AuthPacket { kind: 0, scheme, auth: Some(b"u:p") });
    server.send(conn, &request(-4, OpCode::Auth.to_wire(), &packet));
    let reply = server.reply(conn);
    assert_eq!((reply.xid, reply.zxid, reply.err), (-4, 0, 0));
    server.send(conn, &request(2, OpCode::SetData.to_wire(), &set_data("/mine", b"y")));
    server.log_stalls = false;
    server.settle();
    let seen: Vec<_> = server.replies(conn).iter().map(|r| (r.xid, r.err)).collect();
    assert_eq!(seen, [(1, -102), (2, 0)], "a request has the identities of its arrival");
    assert_eq!(server.ask(conn, OpCode::GetData, &read("/mine", false)).err, 0);
}

#[test]
fn a_failed_auth_is_told_and_closes() {
    let packets = [
        (Some("digest"), None),
        (Some("nope"), Some(&b"x"[..])),
        (Some("x509"), Some(b"")),
        (Some("sasl"), Some(b"")),
        (None, Some(b"")),
    ];
    for (scheme, auth) in packets {
        let mut server = Server::new(1);
        let conn = server.client(0);
        let packet = to_bytes(&AuthPacket { kind: 0, scheme: scheme.map(Into::into), auth });
        server.send(conn, &request(-4, OpCode::Auth.to_wire(), &packet));
        let reply = server.reply(conn);
        assert_eq!((reply.xid, reply.zxid, reply.err), (-4, 0, -115), "{scheme:?}");
        assert!(server.closed(conn).is_some());
    }
}

#[test]
fn sasl_without_a_configuration_proves_nothing() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let mut token = Vec::new();
    Some(&b""[..]).encode(&mut token);
    let reply = server.ask(conn, OpCode::Sasl, &token);
    assert_eq!((reply.xid, reply.zxid, reply.err), (77, 0, 0));
    assert_eq!(reply.body, [0xff; 4]);
    assert_eq!(server.closed(conn), None);
    let conn = server.client(0);
    server.send(conn, &request(1, OpCode::Sasl.to_wire(), &[0xff; 4]));
    assert!(server.closed(conn).is_some(), "a null token");
}

#[test]
fn sasl_that_is_configured_fails_and_closes() {
    let mut config = NodeConfig::default();
    config.auth.refuses_sasl = true;
    let mut server = Server::with(config, 1);
    let conn = server.client(0);
    let mut token = Vec::new();
    Some(&b"token"[..]).encode(&mut token);
    let reply = server.ask(conn, OpCode::Sasl, &token);
    assert_eq!((reply.xid, reply.zxid, reply.err), (77, 0, -115));
    assert_eq!(reply.body, [0xff; 4]);
    assert!(server.closed(conn).is_some(), "nobody goes on as somebody else");
}

#[test]
fn who_does_not_read_the_last_reply_is_closed_all_the_same() {
    let mut server = Server::new(1);
    let conn = server.client(0);
    let writer = server.client(0);
    server.ask(conn, OpCode::AddWatch, &path_and("/", 1));
    server.wires.get_mut(&conn).expect("open").deaf = true;
    let packet = to_bytes(&AuthPacket { kind: 0, scheme: Some("nope".into()), auth: None });
    server.pass_ms(1_000);
    server.send(conn, &request(-4, OpCode::Auth.to_wire(), &packet));
    let held = server.fronts[0].output(conn).len();
    server.send(conn, &request(1, OpCode::Exists.to_wire(), &read("/", false)));
    assert_eq!(server.ask(writer, OpCode::Create, &create("/a", 0)).err, 0);
    server.pass_ms(9_500);
    assert_eq!(server.closed(conn), None, "its output has not been sent");
    assert_eq!(server.fronts[0].output(conn).len(), held, "nothing follows");
    server.pass_ms(1_000);
    assert!(server.closed(conn).is_some());
    assert_eq!(server.fronts[0].watch_count(), 0);
}

#[test]
fn every_ephemeral_that_goes_with_its_session_is_told() {
    let mut server = Server::new(2);
    let (conn, other) = (server.client(0), server.client(1));
    for i in 0..20 {
        server.ask(conn, OpCode::Create, &create(&format!("/e{i:02}"), 1));
    }
    server.ask(other, OpCode::AddWatch, &path_and("/", 1));
    server.ask(other, OpCode::GetChildren, &read("/", true));
    let reply = server.ask(conn, OpCode::CloseSession, &[]);
    let events = server.replies(other);
    assert!(events.iter().all(|event| event.zxid == reply.zxid));
    let mut told: Vec<_> = events.iter().filter_map(Reply::event).collect();
    told.sort();
    let mut expected: Vec<_> = (0..20).map(|i| (2, format!("/e{i:02}"))).collect();
    expected.push((4, "/".into()));
    assert_eq!(told, expected);
}

#[test]
fn requests_on_a_session_that_moved_are_dropped_and_close_once() {
    let mut server = Server::new(2);
    let old = server.open(0);
    server.send(old, &connect(SessionId::NONE, &[], 10_000));
    server.settle();
    let made = server.connected(old).expect("an answer");
    let new = server.open(1);
    server.send(new, &connect(made.session, &made.password, 10_000));
    // Still on their way when the session moves: the Core wants the connection closed for each.
    for xid in 1..4 {
        server.send(old, &request(xid, OpCode::Create.to_wire(), &create("/late", 0)));
    }
    server.settle();
    assert!(server.closed(old).is_some());
    assert_eq!(server.wires[&old].inbox, [], "closed without a word");
    assert_eq!(server.connected(new).expect("an answer").session, made.session);
    assert_eq!(server.ask(new, OpCode::Exists, &read("/late", false)).err, -101);
}
