//! Sessions over real connections: how long they live, what ends them, what does not.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{Client, EPHEMERAL, NODE_DELETED, code};
use crate::support::process::Server;
use crate::support::wait_until;

#[test]
fn the_timeout_asked_for_is_clamped() {
    let ticks_of_200_ms = Server::start("");
    for (asked, granted) in [
        (1000, 1000),
        (400, 400),
        (399, 400),
        (0, 400),
        (-1, 400),
        (i32::MIN, 400),
        (4000, 4000),
        (4001, 4000),
        (i32::MAX, 4000),
    ] {
        let client = Client::connect(ticks_of_200_ms.address(), asked);
        assert_eq!(client.timeout_ms, granted, "asked for {asked}");
        client.close();
    }
    let own_limits = Server::start("minSessionTimeout=1500\nmaxSessionTimeout=1600");
    for (asked, granted) in [(0, 1500), (1550, 1550), (60_000, 1600)] {
        let client = Client::connect(own_limits.address(), asked);
        assert_eq!(client.timeout_ms, granted, "asked for {asked}");
    }
}

#[test]
fn a_silent_session_expires_and_a_resumed_one_does_not() {
    let server = Server::start("");
    let mut watcher = Client::connect(server.address(), 4000);
    let mut silent = Client::connect(server.address(), 400);
    let mut moving = Client::connect(server.address(), 400);
    silent.create("/silent", b"", EPHEMERAL).expect("a new node");
    moving.create("/moving", b"", EPHEMERAL).expect("a new node");
    assert!(watcher.exists("/silent", true));
    assert!(watcher.exists("/moving", true));
    // One after another, each connection of this session is its last sign of life.
    let (session, password) = (moving.session, moving.password.clone());
    let began = Instant::now();
    while watcher.events.is_empty() {
        let next = Client::resume(server.address(), session, &password, 400);
        assert_eq!(next.session, session, "heard in time");
        drop(std::mem::replace(&mut moving, next));
        watcher.ping().expect("an answer");
        assert!(began.elapsed() < crate::support::PATIENCE, "the silent session never expires");
    }
    assert_eq!(watcher.wait_event(), (NODE_DELETED, "/silent".to_owned()));
    assert!(began.elapsed() >= Duration::from_millis(300), "too soon: {:?}", began.elapsed());
    assert!(watcher.exists("/moving", false));
    assert!(silent.is_closed_by_peer(), "its connection goes with it");
    let gone = Client::resume(server.address(), silent.session, &silent.password, 400);
    assert_eq!(gone.session, 0, "it cannot be taken up again");
}

#[test]
fn a_wrong_password_gets_nobody_a_session_and_does_not_end_it() {
    let server = Server::start("");
    let mut client = Client::connect(server.address(), 4000);
    client.create("/mine", b"", EPHEMERAL).expect("a new node");
    let mut thief = Client::resume(server.address(), client.session, &[7; 16], 4000);
    assert_eq!(thief.session, 0);
    assert!(thief.is_closed_by_peer());
    // Apache closes the connection that holds the session, too; its owner comes back.
    let mut again = Client::resume(server.address(), client.session, &client.password, 4000);
    assert_eq!(again.session, client.session);
    assert!(again.exists("/mine", false));
}

#[test]
fn a_session_has_one_connection_the_latest() {
    let server = Server::start("");
    let mut first = Client::connect(server.address(), 4000);
    let mut second = Client::resume(server.address(), first.session, &first.password, 4000);
    assert!(first.is_closed_by_peer());
    second.create("/a", b"", 0).expect("a new node");
}

#[test]
fn sessions_and_their_ephemerals_outlive_a_kill() {
    let server = Server::start("");
    let mut back = Client::connect(server.address(), 2000);
    let mut gone = Client::connect(server.address(), 400);
    back.create("/back", b"", EPHEMERAL).expect("a new node");
    gone.create("/gone", b"", EPHEMERAL).expect("a new node");
    let server = server.kill().start();
    let mut back = Client::resume(server.address(), back.session, &back.password, 2000);
    assert_ne!(back.session, 0, "it lives on");
    assert!(back.exists("/back", true));
    if back.exists("/gone", true) {
        // It got its whole timeout again, and nobody came.
        assert_eq!(back.wait_event(), (NODE_DELETED, "/gone".to_owned()));
    }
    assert!(back.exists("/back", false));
    assert_eq!(back.create("/back", b"", 0), Err(code::NODE_EXISTS));
    let gone = Client::resume(server.address(), gone.session, &gone.password, 400);
    assert_eq!(gone.session, 0, "it expired");
    back.close();
    let mut other = Client::connect(server.address(), 400);
    assert!(!other.exists("/back", false), "it goes with its session");
}

/// The whole process stands still, as in a paused virtual machine, for longer than any session may
/// be silent. The silence was not the clients': nobody who is there afterwards expires.
#[test]
fn a_stall_of_the_server_is_no_silence_of_its_clients() {
    let server = Server::start("");
    let mut watcher = Client::connect(server.address(), 1500);
    let mut live = Client::connect(server.address(), 800);
    let mut gone = Client::connect(server.address(), 800);
    live.create("/live", b"", EPHEMERAL).expect("a new node");
    gone.create("/gone", b"", EPHEMERAL).expect("a new node");
    assert!(watcher.exists("/live", true));
    assert!(watcher.exists("/gone", true));
    drop(gone);
    server.signal(Signal::STOP);
    // Time itself is what is tested here.
    std::thread::sleep(Duration::from_millis(3500));
    server.signal(Signal::CONT);
    live.ping().expect("not expired");
    watcher.ping().expect("not expired");
    wait_until("the session whose client is gone to expire", || {
        live.ping().expect("not expired");
        watcher.ping().expect("not expired");
        !watcher.events.is_empty()
    });
    assert_eq!(watcher.wait_event(), (NODE_DELETED, "/gone".to_owned()));
    assert!(live.exists("/live", false));
}
