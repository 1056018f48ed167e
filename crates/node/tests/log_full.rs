//! While the log's disk is full, writes are refused and nobody loses a session.

mod support;

use oxikeeper_node::core::Input;
use oxikeeper_proto::OpCode;
use support::{Server, connect, create, read};

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
