//! Limits that an operator sets: on requests, large ones and handshakes. Who exceeds one is held back
//! or closed, with a word in the log; the others are not concerned.

use crate::support::client::{Client, create_body, op, request};
use crate::support::process::Server;
use crate::support::witness::Witness;
use crate::support::{wait_for, wait_until};

#[test]
fn large_requests_have_a_room_of_their_own() {
    let server = Server::start("largeRequestThreshold=1000\nlargeRequestMaxBytes=50000");
    let witness = Witness::start(server.address());
    let mut client = Client::connect(server.address(), 4000);
    // One after another they all fit.
    for number in 0..10 {
        client.create(&format!("/fits-{number}"), &[b'x'; 40_000], 0).expect("it fits");
    }
    client.ask(op::CREATE, &create_body("/beyond", &[b'x'; 60_000], 0)).expect("sent");
    assert!(client.is_closed_by_peer());
    let mut client = Client::resume(server.address(), client.session, &client.password, 4000);
    assert_ne!(client.session, 0, "the session lives on");
    assert!(!client.exists("/beyond", false));
    // What it took is given back.
    client.create("/again", &[b'x'; 40_000], 0).expect("it fits");
    witness.finish();
    wait_until("a word about it in the log", || server.log().contains("largeRequestMaxBytes"));
}

#[test]
fn handshakes_are_throttled_and_let_in_again() {
    let throttle = "connection_throttle_tokens=4\nconnection_throttle_fill_time=300";
    let server = Server::start(throttle);
    let try_connect = || {
        let mut client = Client::open(server.address()).expect("the kernel connects");
        client.handshake(4000).ok().map(|()| client)
    };
    let mut held: Vec<Client> = std::iter::from_fn(try_connect).take(100).collect();
    assert!(held.len() >= 4, "the bucket is full at the start: {}", held.len());
    assert!(held.len() < 100, "and it gets empty");
    held[0].create("/a", b"", 0).expect("who is in is served");
    // Words are no handshakes.
    assert!(server.word("srvr").contains("Mode: standalone"));
    let mut late = wait_for("a token", try_connect);
    assert!(late.exists("/a", false));
    wait_until("a word about it in the log", || {
        server.log().contains("throttled: handshakes were refused")
    });
}

#[test]
fn beyond_global_outstanding_limit_requests_wait_and_none_is_lost() {
    const REQUESTS: i32 = 3000;
    let server = Server::start("globalOutstandingLimit=4");
    let witness = Witness::start(server.address());
    let mut clients: Vec<Client> =
        (0..3).map(|_| Client::connect(server.address(), 10_000)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let create = |xid| {
            let body = create_body(&format!("/c{index}-{xid}"), b"", 0);
            request(xid, op::CREATE, &body)
        };
        let requests: Vec<u8> = (1..=REQUESTS).flat_map(create).collect();
        client.send(&requests).expect("the kernel and the server take them");
    }
    for client in &mut clients {
        for xid in 1..=REQUESTS {
            let reply = client.next().expect("a reply");
            assert_eq!((reply.xid, reply.err), (xid, 0));
        }
    }
    wait_until("a word about it in the log", || server.log().contains("globalOutstandingLimit"));
    witness.finish();
    let told = server.log().matches("throttled: ").count();
    assert!(told <= 10, "{told} lines");
}
