//! Peers that do not speak the protocol: an error or a close for them, nothing for anybody else.

use std::io::ErrorKind;

use crate::support::client::{Client, code, create_body, frame, op, request, watchable_body};
use crate::support::process::Server;
use crate::support::witness::Witness;

/// `jute.maxbuffer`, unless it is set.
const FRAME_BYTES_MAX: i32 = 0xf_ffff;

/// A handshake's body, with a password of this length in its prefix.
fn handshake_body(password_length: i32) -> Vec<u8> {
    let mut body = vec![0; 12];
    body.extend_from_slice(&4000i32.to_be_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&password_length.to_be_bytes());
    body.extend_from_slice(&[0; 17]);
    body
}

#[test]
fn a_handshake_that_is_none_is_closed_without_a_word() {
    let server = Server::start("");
    let witness = Witness::start(server.address());
    for (what, bytes) in [
        ("no length at all", b"\r\n\r\n".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("length -1", (-1i32).to_be_bytes().to_vec()),
        ("the smallest length", i32::MIN.to_be_bytes().to_vec()),
        ("the largest length", i32::MAX.to_be_bytes().to_vec()),
        ("one byte too long", (FRAME_BYTES_MAX + 1).to_be_bytes().to_vec()),
        ("length 0", 0i32.to_be_bytes().to_vec()),
        ("too short", frame(&[0; 10])),
        ("a password of absurd length", frame(&handshake_body(i32::MAX))),
        ("a password longer than the frame", frame(&handshake_body(18))),
        ("a password of negative length", frame(&handshake_body(i32::MIN))),
        ("ones", vec![0xff; 100]),
    ] {
        let mut client = Client::open(server.address()).expect("a connection");
        client.send(&bytes).expect("sent");
        assert!(client.is_closed_by_peer(), "{what}");
    }
    witness.finish();
}

#[test]
fn a_frame_of_impossible_length_ends_the_connection_and_not_the_session() {
    let server = Server::start("");
    let witness = Witness::start(server.address());
    let mut client = Client::connect(server.address(), 4000);
    for (what, bytes) in [
        ("length -1", (-1i32).to_be_bytes().to_vec()),
        ("the smallest length", i32::MIN.to_be_bytes().to_vec()),
        ("the largest length", i32::MAX.to_be_bytes().to_vec()),
        ("one byte too long", (FRAME_BYTES_MAX + 1).to_be_bytes().to_vec()),
        ("length 0", 0i32.to_be_bytes().to_vec()),
        ("half a header", frame(&[0; 7])),
        ("a four-letter word", b"srvr".to_vec()),
    ] {
        client.send(&bytes).expect("sent");
        assert!(client.is_closed_by_peer(), "{what}");
        let (session, password) = (client.session, client.password.clone());
        client = Client::resume(server.address(), session, &password, 4000);
        assert_eq!(client.session, session, "{what}: the session lives on");
        client.ping().expect("and is served");
    }
    // The longest frame there may be is served.
    let overhead = 8 + create_body("/long", b"", 0).len();
    let data = vec![b'x'; FRAME_BYTES_MAX as usize - overhead];
    client.create("/long", &data, 0).expect("a new node");
    assert_eq!(client.get("/long").expect("its data"), data);
    witness.finish();
}

#[test]
fn a_smaller_limit_on_frames_holds() {
    let server = Server::start("-Djute.maxbuffer=4096");
    let mut client = Client::connect(server.address(), 4000);
    let overhead = 8 + create_body("/a", b"", 0).len();
    client.create("/a", &vec![b'x'; 4096 - overhead], 0).expect("just fits");
    client.ask(op::CREATE, &create_body("/b", &vec![b'x'; 4097 - overhead], 0)).expect("sent");
    assert!(client.is_closed_by_peer());
    let mut client = Client::connect(server.address(), 4000);
    assert!(!client.exists("/b", false));
}

#[test]
fn a_request_that_cannot_be_read_is_an_error_in_its_place() {
    let server = Server::start("");
    let witness = Witness::start(server.address());
    let mut client = Client::connect(server.address(), 4000);
    let mut absurd_path = i32::MAX.to_be_bytes().to_vec();
    absurd_path.extend_from_slice(b"/a");
    let create = create_body("/a", b"data", 0);
    for (what, op, body, error) in [
        ("an operation nobody knows", 4711, &[][..], code::UNIMPLEMENTED),
        ("a negative operation", i32::MIN, &[], code::UNIMPLEMENTED),
        ("createSession", -10, &[0; 4], code::UNIMPLEMENTED),
        ("no body", op::CREATE, &[], code::MARSHALLING),
        ("a create cut short", op::CREATE, &create[..create.len() - 3], code::MARSHALLING),
        ("an absurd path in a write", op::CREATE, &absurd_path, code::MARSHALLING),
        ("an absurd path in a read", op::GET_DATA, &absurd_path, code::MARSHALLING),
        ("a read cut short", op::GET_DATA, &watchable_body("/a", false)[..5], code::MARSHALLING),
        ("a path that is no UTF-8", op::EXISTS, b"\0\0\0\x02/\xff\0", code::NO_NODE),
    ] {
        let reply = client.call(op, body).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(reply.err, error, "{what}");
        assert!(reply.body.is_empty(), "{what}: an error has no body");
        client.ping().unwrap_or_else(|error| panic!("{what}, then a ping: {error}"));
    }
    assert!(!client.exists("/a", false));
    witness.finish();
}

/// A peer that ends its side may still read: what it asked before is answered, then it is closed.
#[test]
fn a_half_closed_connection_still_gets_its_replies() {
    let server = Server::start("");
    let mut client = Client::connect(server.address(), 4000);
    client.create("/a", b"one", 0).expect("a new node");
    let mut bytes = Vec::new();
    for xid in 100..200 {
        bytes.extend(request(xid, op::GET_DATA, &watchable_body("/a", false)));
    }
    client.send(&bytes).expect("sent");
    client.end_writing().expect("half-closed");
    for xid in 100..200 {
        let reply = client.next().expect("reads are answered");
        assert_eq!((reply.xid, reply.err), (xid, 0));
    }
    assert!(client.is_closed_by_peer());

    // A write that is under way when the end comes may stay unanswered, as with Apache: the
    // connection is closed, the session is not, and the write happens or does not.
    let mut client = Client::resume(server.address(), client.session, &client.password, 4000);
    client.send(&request(300, op::CREATE, &create_body("/b", b"", 0))).expect("sent");
    client.end_writing().expect("half-closed");
    let answered = match client.next() {
        Ok(reply) => {
            assert_eq!((reply.xid, reply.err), (300, 0));
            assert!(client.is_closed_by_peer());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            false
        }
    };
    let mut client = Client::resume(server.address(), client.session, &client.password, 4000);
    assert_ne!(client.session, 0, "the session lives on");
    let is_there = client.exists("/b", false);
    assert!(is_there || !answered, "what was acknowledged is there");
}

/// `echo srvr | nc` ends its side at once, and wants the answer all the same.
#[test]
fn a_four_letter_word_is_answered_over_a_half_closed_connection() {
    let server = Server::start("");
    for word in ["srvr", "srvr\n", "srvr and what follows"] {
        let client = Client::open(server.address()).expect("a connection");
        let mut stream = client.stream();
        std::io::Write::write_all(&mut stream, word.as_bytes()).expect("sent");
        client.end_writing().expect("half-closed");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).expect("an answer and an end");
        assert!(text.ends_with("Node count: 5\n"), "{text}");
    }
}
