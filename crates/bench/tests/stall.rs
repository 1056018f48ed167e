//! A server that stands still for half a second: an open loop must see every request that should have
//! been sent meanwhile, a closed loop sees the ones in flight.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_bench::{Options, Report, Workload};
use oxikeeper_proto::reply::{ConnectResponse, ReplyHeader, frame};
use oxikeeper_proto::{Encode, SessionId, Zxid};

const STALL: Duration = Duration::from_millis(500);
const RATE: f64 = 1000.0;

/// Answers every request with success, once it has been slow once: `after` its start.
fn serve(after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let stall_at = Instant::now() + after;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            // A client that goes away ends its thread.
            thread::spawn(move || drop(answer(stream, stall_at)));
        }
    });
    address
}

fn answer(mut stream: TcpStream, stall_at: Instant) -> io::Result<()> {
    stream.set_nodelay(true)?;
    read_frame(&mut stream)?;
    let mut out = vec![0; 4];
    ConnectResponse {
        protocol_version: 0,
        timeout_ms: 30_000,
        session: SessionId(1),
        password: [0; 16],
        read_only: Some(false),
    }
    .encode(&mut out);
    oxikeeper_proto::reply::end_frame(&mut out, 0);
    stream.write_all(&out)?;
    let mut has_stalled = false;
    loop {
        let request = read_frame(&mut stream)?;
        if !has_stalled && Instant::now() >= stall_at {
            has_stalled = true;
            thread::sleep(STALL);
        }
        let xid = i32::from_be_bytes(*request.first_chunk().expect("a header"));
        out.clear();
        frame(&mut out, ReplyHeader { xid, zxid: Zxid::ZERO, err: 0 }, |_| ());
        stream.write_all(&out)?;
    }
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Two seconds of load with a stall in the middle.
fn load(rate: Option<f64>) -> Report {
    let mut options = Options::new(Workload::Get, serve(Duration::from_secs(1)));
    options.connections = 1;
    options.rate = rate;
    (options.warm_up, options.duration) = (Some(0.0), 2.0);
    options.no_setup = true;
    oxikeeper_bench::run(&options).expect("it answers")
}

fn slow(report: &Report) -> u64 {
    let latency = report.latency();
    latency.count_between(STALL.as_nanos() as u64 / 5, latency.high())
}

#[test]
fn an_open_loop_sees_what_should_have_been_sent_in_a_stall() {
    let report = load(Some(RATE));
    let all = report.latency().len();
    // Every millisecond of two seconds, give or take what was due at the very end.
    assert!((1990..=2001).contains(&all), "{all} requests");
    // Four fifths of 500 requests waited for at least a fifth of the stall. A busy machine adds some.
    let slow = slow(&report);
    assert!(slow >= 350, "{slow} of {all} were slow");
}

#[test]
fn a_closed_loop_sees_one() {
    let report = load(None);
    let slow = slow(&report);
    assert!((1..10).contains(&slow), "{slow} were slow");
    assert!(report.latency().max() >= STALL.as_nanos() as u64);
}
