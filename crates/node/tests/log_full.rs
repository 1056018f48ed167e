//! While the log's disk is full, writes are refused and nobody loses a session.

mod support;

use oxikeeper_node::core::Input;
use oxikeeper_proto::OpCode;
use support::{Server, connect, create, read, request};

fn set_full(server: &mut Server, full: bool) {
    server.core.step(Input::LogFull(full), &server.tree);
    server.settle();
}

#[test]
fn a_session_that_comes_back_before_there_is_room_lives_on() {
    let mut server = Server::new(1);
    let first = server.open(0);
    server.send(first, &connect(oxikeeper_proto::SessionId::NONE, &[], 10_000));
    server.settle();
    let made = server.connected(first).expect("a session");
    set_full(&mut server, true);
    server.pass_ms(60_000);
    assert_eq!(server.core.session_count(), 1, "nobody expires for now");
    let second = server.open(0);
    server.send(second, &connect(made.session, &made.password, 10_000));
    server.settle();
    assert_eq!(server.connected(second).expect("an answer").session, made.session);
    set_full(&mut server, false);
    server.pass_ms(1000);
    assert_eq!(server.closed(second), None);
    assert_eq!(server.ask(second, OpCode::Create, &create("/a", 1)).err, 0);
}

#[test]
fn a_session_that_does_not_come_back_ends_when_there_is_room() {
    let mut server = Server::new(1);
    let client = server.client(0);
    server.hang_up(client);
    set_full(&mut server, true);
    server.pass_ms(120_000);
    assert_eq!(server.core.session_count(), 1);
    set_full(&mut server, false);
    server.pass_ms(1000);
    assert_eq!(server.core.session_count(), 0);
}

#[test]
fn writes_are_refused_and_reads_go_on() {
    let mut server = Server::new(1);
    let client = server.client(0);
    set_full(&mut server, true);
    assert_eq!(server.ask(client, OpCode::Create, &create("/a", 0)).err, -7);
    assert_eq!(server.ask(client, OpCode::Exists, &read("/", false)).err, 0);
    set_full(&mut server, false);
    assert_eq!(server.ask(client, OpCode::Create, &create("/a", 0)).err, 0);
}

/// What the log has no room for waits, and with it what its own connections ask. Nobody else does.
#[test]
fn refusals_do_not_wait_behind_what_the_log_has_no_room_for() {
    let mut server = Server::new(2);
    let (stuck, other) = (server.client(0), server.client(1));
    server.log_stalls = true;
    server.send(stuck, &request(1, OpCode::Create.to_wire(), &create("/a", 0)));
    set_full(&mut server, true);
    assert_eq!(server.ask(other, OpCode::Create, &create("/b", 0)).err, -7);
    assert_eq!(server.ask(other, OpCode::Exists, &read("/a", false)).err, -101);
    assert_eq!(server.ask(other, OpCode::Sync, &path("/")).err, 0);
    server.send(stuck, &request(2, OpCode::Create.to_wire(), &create("/c", 0)));
    server.send(stuck, &request(3, OpCode::Sync.to_wire(), &path("/")));
    server.settle();
    assert!(server.replies(stuck).is_empty(), "its first request is not answered yet");
    server.log_stalls = false;
    set_full(&mut server, false);
    let replies: Vec<(i32, i32)> =
        server.replies(stuck).iter().map(|reply| (reply.xid, reply.err)).collect();
    assert_eq!(replies, [(1, 0), (2, -7), (3, 0)]);
    assert_eq!(server.ask(other, OpCode::Create, &create("/b", 0)).err, 0);
    assert_eq!(server.ask(stuck, OpCode::Create, &create("/c", 0)).err, 0);
}

/// The body of a sync.
fn path(path: &str) -> Vec<u8> {
    let mut body = read(path, false);
    body.pop();
    body
}
