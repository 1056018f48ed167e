//! `first-figures [--seconds 5] [--rounds 3] [--nodes 1000000]`: reads and writes per second of
//! Apache 3.9.5 and of ours, alternately in one run, and the memory of a filled tree. For the
//! record; a measuring tool worth the name comes later.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_interop::client::{RawClient, request};
use oxikeeper_interop::server::{Kind, Server};
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{CreateRequest, SetDataRequest, WatchableRequest};
use oxikeeper_proto::{AclEntry, OpCode};

const CONNECTIONS: usize = 50;
const IN_FLIGHT: usize = 16;
const KEYS: usize = 1000;
/// Creates in one multi while filling.
const BATCH: usize = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        let text = at.and_then(|at| arguments.get(at + 1));
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let seconds = Duration::from_secs(number("--seconds", 5));
    let (rounds, nodes) = (number("--rounds", 3), number("--nodes", 1_000_000) as usize);
    let dir = std::env::temp_dir().join(format!("oxikeeper-figures-{}", std::process::id()));
    let kinds = [Kind::APACHE, Kind::Oxikeeper];
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 0..rounds {
        for (side, kind) in kinds.into_iter().enumerate() {
            let server = Server::start(kind, &dir.join(format!("rate{round}{side}")), "");
            prepare(server.address());
            load(server.address(), seconds, false);
            rates[side][0].push(load(server.address(), seconds, false));
            rates[side][1].push(load(server.address(), seconds, true));
        }
    }
    for (what, index) in [("reads", 0), ("writes", 1)] {
        let [apache, ours] = [0, 1].map(|side: usize| median(&mut rates[side][index]));
        println!(
            "{what} {CONNECTIONS}x{IN_FLIGHT}, 100 bytes, median of {rounds}: apache {apache:.0}/s, \
             oxikeeper {ours:.0}/s, {:.1}x",
            ours / apache
        );
    }
    for kind in kinds {
        memory(kind, &dir.join(format!("fill-{}", kind.name())), nodes);
    }
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn open() -> Option<Vec<AclEntry<'static>>> {
    Some(vec![AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }])
}

fn create(path: String) -> CreateRequest<'static> {
    CreateRequest { path: Some(path.into()), data: Some(&[b'v'; 100]), acl: open(), flags: 0 }
}

fn prepare(address: SocketAddr) {
    let mut client = RawClient::connect(address, 30_000).expect("it serves");
    for key in 0..KEYS {
        client.call(OpCode::Create, &create(format!("/k{key}"))).expect("a create");
    }
}

/// Requests per second over all connections.
fn load(address: SocketAddr, time: Duration, writes: bool) -> f64 {
    let began = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|worker| thread::spawn(move || drive(address, worker, began + time, writes)))
        .collect();
    let total: u64 = workers.into_iter().map(|worker| worker.join().expect("a worker")).sum();
    total as f64 / began.elapsed().as_secs_f64()
}

fn drive(address: SocketAddr, worker: usize, end: Instant, writes: bool) -> u64 {
    let mut client = RawClient::connect(address, 30_000).expect("it serves");
    let data = [b'w'; 100];
    let frame = |n: usize| {
        let path = Some(format!("/k{}", (worker * 37 + n) % KEYS).into());
        if writes {
            let body = SetDataRequest { path, data: Some(&data), version: -1 };
            request(n as i32, OpCode::SetData, &body)
        } else {
            request(n as i32, OpCode::GetData, &WatchableRequest { path, watch: false })
        }
    };
    let (mut sent, mut answered) = (0, 0);
    while Instant::now() < end {
        let burst: Vec<u8> = (0..IN_FLIGHT).flat_map(|n| frame(sent + n)).collect();
        client.send(&burst).expect("it takes requests");
        sent += IN_FLIGHT;
        while answered < sent {
            let reply = client.reply().expect("it answers");
            assert_eq!(reply.header.err, 0);
            answered += 1;
        }
    }
    answered as u64
}

/// Fills a tree, 1,000 children a parent, names of 10 characters, and says what it takes.
fn memory(kind: Kind, dir: &Path, nodes: usize) {
    let server = Server::start(kind, dir, "snapCount=100000");
    let empty = resident(server.pid());
    let mut client = RawClient::connect(server.address(), 30_000).expect("it serves");
    let began = Instant::now();
    for parent in 0..nodes.div_ceil(1000) {
        client.call(OpCode::Create, &create(format!("/p{parent:09}"))).expect("a create");
        for batch in 0..1000 / BATCH {
            let path = |n: usize| format!("/p{parent:09}/n{:09}", batch * BATCH + n);
            let ops = (0..BATCH).map(|n| MultiOp::Create(OpCode::Create, create(path(n))));
            let reply = client.call(OpCode::Multi, &MultiRequest { ops: ops.collect() });
            assert_eq!(reply.expect("a multi").header.err, 0);
        }
    }
    let full = resident(server.pid());
    println!(
        "{}: {nodes} znodes in {:.1} s; resident {:.1} MB empty, {:.0} MB full, {:.0} bytes each",
        kind.name(),
        began.elapsed().as_secs_f64(),
        empty as f64 / 1e6,
        full as f64 / 1e6,
        (full - empty) as f64 / nodes as f64
    );
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
