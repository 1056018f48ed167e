//! Limits on the load of a whole server: who is made to wait, who is refused, and that nobody is
//! forgotten over it.

mod support;

use oxikeeper_node::config::{ConnectionThrottle, Limits, NodeConfig};
use oxikeeper_node::front::throttle::Load;
use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::{OpCode, SessionId};
use support::*;

fn server(limits: Limits) -> Server {
    Server::with(NodeConfig { limits, ..NodeConfig::default() }, 2)
}

fn creates(names: std::ops::Range<usize>) -> Vec<u8> {
    let request = |i| request(i as i32, OpCode::Create.to_wire(), &create(&format!("/n{i}"), 0));
    names.flat_map(request).collect()
}

fn waiting(server: &Server) -> usize {
    server.fronts.iter().map(|front| front.load().requests).sum()
}

fn xids(server: &mut Server, conn: ConnId) -> Vec<i32> {
    server.replies(conn).iter().map(|reply| reply.xid).collect()
}

#[test]
fn beyond_global_outstanding_limit_nobody_is_read_who_waits_for_an_answer() {
    let mut server = server(Limits { outstanding_max: 3, ..Limits::default() });
    let (busy, other) = (server.client(0), server.client(0));
    server.log_stalls = true;
    server.send(busy, &creates(0..10));
    server.settle();
    assert!(server.wires[&busy].paused);
    assert_eq!(waiting(&server), 4, "the one that goes beyond is the last");
    assert_eq!(server.fronts[0].stats().throttled.outstanding, 1);
    // Who waits for nothing is heard: a read is answered, a first write is taken, a second is not.
    let read = request(90, OpCode::Exists.to_wire(), &read("/", false));
    server.send(other, &read);
    assert_eq!(server.reply(other).xid, 90);
    server.send(other, &creates(20..22));
    server.settle();
    assert!(server.wires[&other].paused);
    assert_eq!(waiting(&server), 5);
    assert_eq!(server.fronts[0].stats().throttled.outstanding, 2);
    // With the answers all goes on, in order, and nothing is lost.
    server.log_stalls = false;
    server.settle();
    assert_eq!(xids(&mut server, busy), (0..10).collect::<Vec<_>>());
    assert_eq!(xids(&mut server, other), [20, 21]);
    assert!(!server.wires[&busy].paused && !server.wires[&other].paused);
    assert_eq!(waiting(&server), 0);
}

#[test]
fn the_load_of_other_fronts_counts() {
    let mut server = server(Limits { outstanding_max: 3, ..Limits::default() });
    let conn = server.client(1);
    server.log_stalls = true;
    server.fronts[1].set_load_of_others(Load { requests: 3, large_bytes: 0 });
    server.send(conn, &creates(0..4));
    assert_eq!(waiting(&server), 1);
    assert!(server.wires[&conn].paused);
    server.log_stalls = false;
    server.settle();
    assert_eq!(xids(&mut server, conn), [0, 1, 2, 3]);
}

#[test]
fn who_is_throttled_behind_a_slow_disk_keeps_its_session() {
    let mut server = server(Limits { outstanding_max: 3, ..Limits::default() });
    let (throttled, silent) = (server.client(0), server.client(1));
    server.log_stalls = true;
    server.send(throttled, &creates(0..10));
    // Its pings lie in the socket, which nobody reads; the other one sends none.
    server.pass_ms(60_000);
    server.log_stalls = false;
    server.pass_ms(500);
    assert_eq!(server.closed(throttled), None);
    assert_eq!(xids(&mut server, throttled), (0..10).collect::<Vec<_>>());
    assert!(server.closed(silent).is_some(), "sessions do expire meanwhile");
    // Once it is heard again, its silence counts like anybody's.
    server.pass_ms(60_000);
    assert!(server.closed(throttled).is_some());
}

#[test]
fn what_goes_with_its_connection_is_not_counted_any_more() {
    let mut server = server(Limits { outstanding_max: 3, ..Limits::default() });
    let conn = server.client(0);
    server.log_stalls = true;
    server.send(conn, &creates(0..10));
    server.hang_up(conn);
    assert_eq!(server.fronts[0].load(), Load::default());
}

#[test]
fn large_requests_beyond_their_bytes_close_their_connection() {
    let limits = Limits {
        large_request_threshold: Some(1000),
        large_request_bytes_max: 5000,
        ..Limits::default()
    };
    let mut server = server(limits);
    let (first, second, small) = (server.client(0), server.client(0), server.client(0));
    let large = |xid, path: &str| {
        let body = create_with(path, &[7; 2000], 0, &open_acl());
        request(xid, OpCode::Create.to_wire(), &body)
    };
    server.log_stalls = true;
    server.send(first, &large(1, "/a"));
    server.send(first, &large(2, "/b"));
    let held = server.fronts[0].load().large_bytes;
    assert!((4000..5000).contains(&held), "{held}");
    // Its length alone is enough.
    server.send(second, &large(1, "/c")[..4]);
    assert!(server.closed(second).is_some());
    assert_eq!(server.fronts[0].stats().throttled.large_requests, 1);
    server.send(small, &creates(0..1));
    server.log_stalls = false;
    server.settle();
    assert_eq!((xids(&mut server, first), xids(&mut server, small)), (vec![1, 2], vec![0]));
    assert_eq!(server.fronts[0].load(), Load::default());
    let again = server.client(0);
    server.send(again, &large(1, "/c"));
    server.settle();
    assert_eq!(server.reply(again).err, 0);
}

#[test]
fn handshakes_take_tokens() {
    let throttle = ConnectionThrottle {
        tokens_max: 2,
        fill_time_ms: 1000,
        fill_count: 1,
        freeze_time_ms: None,
        drop_increase: 0.02,
        drop_decrease: 0.002,
        decrease_ratio: 0.0,
        new_session_weight: 1,
        renewed_session_weight: 1,
    };
    let mut server = server(Limits { connection_throttle: Some(throttle), ..Limits::default() });
    let (first, _second) = (server.client(0), server.client(1));
    let third = server.open(0);
    server.send(third, &connect(SessionId::NONE, &[0; 16], 10_000));
    server.settle();
    assert_eq!(server.closed(third), Some("more handshakes than connection_throttle_tokens"));
    assert_eq!(server.wires[&third].inbox, [], "it is told nothing, as by Apache");
    assert_eq!(server.core.stats().throttle.rejected, 1);
    assert_eq!(server.ask(first, OpCode::Exists, &read("/", false)).err, 0);
    server.pass_ms(1000);
    server.client(0);
}

#[test]
fn a_connection_without_a_handshake_has_its_time() {
    let mut server = server(Limits { handshake_ms_max: 2000, ..Limits::default() });
    let conn = server.open(0);
    server.pass_ms(1750);
    assert_eq!(server.closed(conn), None);
    server.pass_ms(500);
    assert!(server.closed(conn).is_some());
    assert_eq!(server.fronts[0].stats().throttled.no_handshake, 1);
}

#[test]
fn frames_of_impossible_length_are_counted() {
    let mut server = server(Limits::default());
    let conn = server.client(0);
    server.send(conn, &(-1i32).to_be_bytes());
    assert!(server.closed(conn).is_some());
    assert_eq!(server.fronts[0].stats().throttled.frame_length, 1);
}
