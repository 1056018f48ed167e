//! Bytes from clients to a whole server: Fronts, Core and tree.

use oxikeeper_node::front::limits::OUTPUT_BYTES_MAX;
use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::OpCode;

use crate::support::{Server, read, request};
use crate::{Target, Verdict};

/// See [`run`].
pub const TARGET: Target = Target {
    name: "client_frame",
    run,
    pieces: &[
        b"srvr",
        b"\0\0\0\x02/a",
        b"\0\0\0\x05world\0\0\0\x06anyone",
        b"\xff\xff\xff\xfe",
        b"\0\x10\0\0",
        &[0xff; 4],
        &[0; 8],
        // The prefix of a step of connection 1, mended and settled.
        &[0x0d, 0, 20],
    ],
};

/// What the first byte of a step says; behind it stand a length of two bytes and the bytes to send.
mod step {
    /// Which connection: 0 and 1 have a session, 2 and 3 begin with bare bytes.
    pub const CONNECTION: u8 = 3;
    /// The frame's length prefix is put right first.
    pub const MENDED: u8 = 4;
    /// The server comes to rest behind it.
    pub const SETTLED: u8 = 8;
    /// The bytes come in pieces as long as the first of them says.
    pub const IN_PIECES: u8 = 16;
    /// The client stops reading, or reads again.
    pub const DEAF: u8 = 32;
    /// The log stalls, or goes on.
    pub const LOG_STALLS: u8 = 64;
    /// Two seconds pass.
    pub const TIME_PASSES: u8 = 128;
}

/// More steps show nothing that these do not.
const STEPS_MAX: usize = 400;
/// Input and replies of four connections, at their limits.
const UNANSWERED_MAX: usize = 4 * oxikeeper_node::front::limits::REQUESTS_MAX;

/// Why a connection is closed whose session was asked for by another, whatever the password.
const THROWN_OUT: &str = "its session was resumed on another connection";

/// Bytes as steps of four connections, while a fifth behaves: it is served; every request is
/// answered or its connection closed; memory stays within its limits; nothing is left behind.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut server = Server::new(2);
    let good = server.client(0);
    let mut conns: [Option<ConnId>; 4] = [None; 4];
    let mut rest = bytes;
    let mut is_sound = true;
    for _ in 0..STEPS_MAX {
        let [control, high, low, behind @ ..] = rest else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (frame, next) = behind.split_at(length);
        rest = next;
        take_step(&mut server, &mut conns, good, *control, frame);
        for front in &server.fronts {
            assert!(front.outstanding_count() <= UNANSWERED_MAX, "requests pile up");
        }
        for conn in conns.into_iter().flatten() {
            let output = server.fronts[server.wires[&conn].front].output(conn).len();
            assert!(output <= OUTPUT_BYTES_MAX, "{output} bytes wait for one connection");
            is_sound &= server.closed(conn).is_none();
        }
    }
    end(server, &conns, good);
    if is_sound { Verdict::Accepted } else { Verdict::Refused }
}

fn take_step(
    server: &mut Server,
    conns: &mut [Option<ConnId>; 4],
    good: ConnId,
    control: u8,
    frame: &[u8],
) {
    let number = usize::from(control & step::CONNECTION);
    let live = conns[number].filter(|&conn| server.closed(conn).is_none());
    let conn = live.unwrap_or_else(|| {
        server.log_stalls = false;
        if number < 2 { server.client(number) } else { server.open(number - 2) }
    });
    conns[number] = Some(conn);
    let mut bytes = frame.to_vec();
    if control & step::MENDED != 0
        && let Some(length) = bytes.len().checked_sub(4)
    {
        bytes[..4].copy_from_slice(&(length as i32).to_be_bytes());
    }
    let wire = server.wires.get_mut(&conn).expect("a connection");
    wire.deaf ^= control & step::DEAF != 0;
    server.log_stalls ^= control & step::LOG_STALLS != 0;
    let piece = match frame.first() {
        Some(&first) if control & step::IN_PIECES != 0 => usize::from(first) % 16 + 1,
        _ => bytes.len().max(1),
    };
    for part in bytes.chunks(piece) {
        // A shell does not read from a connection that is paused.
        if !server.wires[&conn].paused {
            server.send(conn, part);
        }
    }
    if control & step::SETTLED != 0 {
        server.settle();
    }
    if control & step::TIME_PASSES != 0 {
        server.answer_commands();
        server.send(good, &request(-2, OpCode::Ping.to_wire(), &[]));
        server.pass_ms(2_000);
    }
}

/// Everybody reads again, the log goes on: nothing may be left unanswered.
fn end(mut server: Server, conns: &[Option<ConnId>; 4], good: ConnId) {
    server.log_stalls = false;
    server.settle();
    let conns: Vec<ConnId> = conns.iter().copied().flatten().collect();
    // What is sent makes room for what waited: as often as there is anything to send.
    for &conn in &conns {
        server.wires.get_mut(&conn).expect("a connection").deaf = false;
    }
    while conns
        .iter()
        .any(|&conn| !server.fronts[server.wires[&conn].front].output(conn).is_empty())
    {
        conns.iter().for_each(|&conn| server.flush(conn));
        server.settle();
    }
    // Whoever guesses a session's id throws its connection out, as at Apache's; it may come again.
    let good = match server.closed(good) {
        Some(THROWN_OUT) => server.client(0),
        Some(why) => panic!("one that behaves was closed: {why}"),
        None => good,
    };
    server.replies(good);
    let reply = server.ask(good, OpCode::Exists, &read("/", false));
    assert_eq!(reply.err, 0, "others are served");
    for front in &server.fronts {
        assert_eq!(front.outstanding_count(), 0, "a request without a reply");
    }
    for conn in conns {
        if server.closed(conn).is_none() {
            server.hang_up(conn);
        }
    }
    server.hang_up(good);
    for front in &server.fronts {
        assert_eq!(front.connection_count(), 0, "a connection was left behind");
        assert_eq!(front.watch_count(), 0, "watches were left behind");
    }
    server.tree.check_invariants();
}
