//! No session collects more ephemerals than the record of its end can name: Apache's server accepts them,
//! and cannot read its log afterwards (ZOOKEEPER-4306).

mod support;

use oxikeeper_node::config::NodeConfig;
use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::{ErrorCode, OpCode};
use support::*;

/// What a reader of the log accepts here.
const TXN_BYTES_MAX: usize = 16 << 10;

fn name(n: usize) -> String {
    format!("/{n:0200}")
}

/// Creates ephemerals, sixteen on their way at a time, until one is refused. Returns how many there are.
fn fill(server: &mut Server, conn: ConnId) -> usize {
    let (mut there, mut next) = (0, 0);
    loop {
        let bytes: Vec<u8> = (next..next + 16)
            .flat_map(|n| request(n as i32 + 1, OpCode::Create.to_wire(), &create(&name(n), 1)))
            .collect();
        next += 16;
        assert!(next < 1000, "nothing is refused");
        server.send(conn, &bytes);
        server.settle();
        let errors: Vec<i32> = server.replies(conn).iter().map(|reply| reply.err).collect();
        assert_eq!(errors.len(), 16, "every create is answered");
        there += errors.iter().filter(|&&err| err == 0).count();
        if errors.iter().any(|&err| err != 0) {
            let full = ErrorCode::QuotaExceeded.to_wire();
            assert!(errors.iter().all(|err| [0, full].contains(err)), "{errors:?}");
            return there;
        }
    }
}

#[test]
fn no_session_has_more_ephemerals_than_its_end_can_name() {
    let config = NodeConfig { txn_bytes_max: TXN_BYTES_MAX, ..NodeConfig::default() };
    let mut server = Server::with(config, 1);
    let conn = server.client(0);
    let count = fill(&mut server, conn);
    assert!(count > TXN_BYTES_MAX / 2 / name(0).len(), "only {count} had room");
    // Other nodes, and other sessions, are not concerned; what is deleted makes room.
    assert_eq!(server.ask(conn, OpCode::Create, &create("/persistent", 0)).err, 0);
    let other = server.client(0);
    assert_eq!(server.ask(other, OpCode::Create, &create("/others", 1)).err, 0);
    assert_eq!(server.ask(conn, OpCode::Delete, &delete(&name(0))).err, 0);
    assert_eq!(server.ask(conn, OpCode::Create, &create(&name(0), 1)).err, 0);
    let full = server.ask(conn, OpCode::Create, &create(&name(9999), 1)).err;
    assert_eq!(full, ErrorCode::QuotaExceeded.to_wire());

    server.log_stalls = true;
    server.send(conn, &request(1, OpCode::CloseSession.to_wire(), &[]));
    server.settle();
    let batch = server.core.take_log_batch().expect("the end of the session is written");
    let bytes = batch.payload(0).len();
    assert!((TXN_BYTES_MAX / 2..=TXN_BYTES_MAX).contains(&bytes), "{bytes} bytes");
}
