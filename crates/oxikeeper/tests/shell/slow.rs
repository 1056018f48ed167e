//! Peers that are slow, or silent, or never read: they wait, nobody else does, and what the server
//! holds for them is bounded.

use std::time::{Duration, Instant};

use crate::support::client::{Client, create_body, op, request, set_body, watchable_body};
use crate::support::process::Server;
use crate::support::wait_until;
use crate::support::witness::Witness;

const MIB: u64 = 1 << 20;

/// Eight peers ask for 40 MiB each and read nothing. The server holds about 1 MiB of output for
/// each; who reads after all gets every reply.
#[test]
fn readers_that_never_drain_cost_little_and_hold_nobody_up() {
    const PEERS: usize = 8;
    const REPLIES: i32 = 200;
    let server = Server::start("");
    let mut writer = Client::connect(server.address(), 4000);
    let value = vec![b'v'; 200 << 10];
    writer.create("/big", &value, 0).expect("a new node");
    let witness = Witness::start(server.address());
    witness.wait_rounds(10);
    let before = server.rss_bytes();
    let mut requests = Vec::new();
    for xid in 1..=REPLIES {
        requests.extend(request(xid, op::GET_DATA, &watchable_body("/big", false)));
    }
    let mut peers: Vec<Client> = (0..PEERS)
        .map(|_| {
            let mut peer = Client::open_narrow(server.address(), 4096).expect("a connection");
            peer.handshake(4000).expect("a session");
            peer.send(&requests).expect("requests are small");
            peer
        })
        .collect();
    for peer in &peers {
        // Its replies come, as far as its kernel takes them.
        peer.stream().peek(&mut [0; 1]).expect("some of it");
    }
    let mut most = 0;
    for _ in 0..20 {
        witness.wait_rounds(5);
        most = most.max(server.rss_bytes());
    }
    let grown = most.saturating_sub(before) / MIB;
    assert!(grown < 40, "grown by {grown} MiB, of {} asked for", PEERS as u64 * 40);
    // Two go away in the middle of it all, one reads after all.
    peers.truncate(PEERS - 2);
    let mut reader = peers.swap_remove(0);
    for xid in 1..=REPLIES {
        let reply = reader.next().expect("a reply");
        assert_eq!((reply.xid, reply.err), (xid, 0));
        assert_eq!(&reply.body[4..4 + value.len()], &value[..]);
    }
    reader.ping().expect("it is as good as any other");
    witness.finish();
}

/// Who asks for events and never reads them is closed; its session may be taken up again.
#[test]
fn a_watcher_that_never_reads_is_closed_at_a_limit() {
    const PATH_BYTES: usize = 256 << 10;
    // Its pings are not read either once its output is long: it needs all of its timeout.
    let server = Server::start("preAllocSize=1024\nmaxSessionTimeout=120000");
    let mut writer = Client::connect(server.address(), 4000);
    let path = format!("/{}", "p".repeat(PATH_BYTES));
    writer.create(&path, b"", 0).expect("a new node");
    let mut watcher = Client::open_narrow(server.address(), 4096).expect("a connection");
    watcher.handshake(120_000).expect("a session");
    // A persistent watch: operation 106, mode 0.
    let mut body = watchable_body(&path, false);
    body.pop();
    body.extend_from_slice(&0i32.to_be_bytes());
    assert_eq!(watcher.call(106, &body).expect("a reply").err, 0);
    let before = server.rss_bytes();
    let is_open = || server.word("srvr").contains("\nConnections: 3\n");
    assert!(is_open(), "writer, watcher, and who asks");
    let mut sent = 0;
    while is_open() {
        writer.set(&path, b"").expect("written");
        sent += 1;
        assert!(sent < 1000, "{} MiB of events wait for it", (sent * PATH_BYTES) >> 20);
        let grown = server.rss_bytes().saturating_sub(before) / MIB;
        assert!(grown < 200, "grown by {grown} MiB");
    }
    assert!(sent * PATH_BYTES > 32 << 20, "closed after {sent} events");
    let again = Client::resume(server.address(), watcher.session, &watcher.password, 120_000);
    assert_eq!(again.session, watcher.session, "the session lives on");
}

/// Connections without a handshake are closed after a time, however they pass it.
#[test]
fn half_open_connections_are_closed_in_time() {
    let server = Server::start("maxClientCnxns=0\nnio.sessionlessCnxnTimeout=3000");
    let witness = Witness::start(server.address());
    let began = Instant::now();
    let open = || Client::open(server.address()).expect("a connection");
    witness.wait_rounds(3);
    let before = server.rss_bytes();
    let silent: Vec<Client> = (0..50).map(|_| open()).collect();
    let mut half: Vec<Client> = (0..400).map(|_| open()).collect();
    for client in &mut half {
        // The longest frame there may be, and then next to nothing of it.
        client.send(&[0, 0x0f, 0xff, 0xff, 0, 0]).expect("sent");
    }
    let mut drip = open();
    let mut to_send = [0, 0, 0, 45].into_iter().chain(std::iter::repeat_n(0, 40));
    wait_until("the half-open connections to be closed", || {
        if let Some(byte) = to_send.next() {
            // Once it is closed, this fails.
            let _ = drip.send(&[byte]);
        }
        // What a frame promises takes no memory.
        let grown = server.rss_bytes().saturating_sub(before) / MIB;
        assert!(grown < 16, "grown by {grown} MiB");
        server.word("srvr").contains("\nConnections: 2\n")
    });
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "closed after {took:?}: some clients take their time");
    for mut client in silent.into_iter().chain(half).chain([drip]) {
        assert!(client.is_closed_by_peer());
    }
    witness.finish();
}

/// A writer that pipelines more than the server takes at once, and does not read: its requests wait
/// in the socket. All are answered in the end, in order.
#[test]
fn a_writer_that_does_not_read_is_held_back() {
    let server = Server::start("preAllocSize=1024");
    let witness = Witness::start(server.address());
    witness.wait_rounds(5);
    let before = server.rss_bytes();
    let mut client = Client::open_narrow(server.address(), 4096).expect("a connection");
    client.handshake(4000).expect("a session");
    client.create("/a", b"", 0).expect("a new node");
    let value = vec![b'v'; 100 << 10];
    client.send(&request(1000, op::CREATE, &create_body("/b", b"", 0))).expect("sent");
    // Fill the way there until it takes no more: neither the kernel nor the server do.
    client.set_patience(Duration::from_millis(500));
    client.stream().set_nonblocking(false).expect("a blocking socket");
    let mut asked = 0;
    let read = request(2000, op::GET_DATA, &watchable_body("/a", false));
    client.send(&request(1001, op::SET_DATA, &set_body("/a", &value))).expect("sent");
    while client.send(&read).is_ok() {
        asked += 1;
        assert!(asked < 5_000_000, "the server takes requests without end");
    }
    witness.wait_rounds(5);
    let grown = server.rss_bytes().saturating_sub(before) / MIB;
    assert!(grown < 40, "grown by {grown} MiB");
    client.set_patience(crate::support::PATIENCE);
    assert_eq!(client.next().expect("a reply").xid, 1000);
    assert_eq!(client.next().expect("a reply").xid, 1001);
    for _ in 0..asked.min(100) {
        let reply = client.next().expect("a reply");
        assert_eq!((reply.xid, reply.err), (2000, 0));
    }
    witness.finish();
}

/// Told to end, it does not wait for peers who never read.
#[test]
fn slow_readers_do_not_keep_it_from_ending() {
    let server = Server::start("");
    let mut writer = Client::connect(server.address(), 4000);
    writer.create("/big", &vec![b'v'; 500 << 10], 0).expect("a new node");
    let peers: Vec<Client> = (0..20)
        .map(|_| {
            let mut peer = Client::open_narrow(server.address(), 4096).expect("a connection");
            peer.handshake(4000).expect("a session");
            for xid in 1..50 {
                peer.send(&request(xid, op::GET_DATA, &watchable_body("/big", false)))
                    .expect("sent");
            }
            peer.stream().peek(&mut [0; 1]).expect("some of the first reply");
            peer
        })
        .collect();
    let began = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    let (code, home) = server.wait_end();
    assert_eq!(code, Some(143), "{}", home.log());
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    drop(peers);
}

/// Whoever waits costs no time: connections that are full, half-closed, reset or half-open, and the
/// reactors sleep.
#[test]
fn connections_that_wait_cost_no_time() {
    let server = Server::start("maxClientCnxns=0");
    let mut writer = Client::connect(server.address(), 4000);
    writer.create("/big", &vec![b'v'; 500 << 10], 0).expect("a new node");
    let mut requests = Vec::new();
    for xid in 1..=20 {
        requests.extend(request(xid, op::GET_DATA, &watchable_body("/big", false)));
    }
    let deaf = || {
        let mut peer = Client::open_narrow(server.address(), 4096).expect("a connection");
        peer.handshake(4000).expect("a session");
        peer.send(&requests).expect("requests are small");
        peer.stream().peek(&mut [0; 1]).expect("some of the first reply");
        peer
    };
    let full: Vec<Client> = (0..10).map(|_| deaf()).collect();
    let half_closed: Vec<Client> = (0..10).map(|_| deaf()).collect();
    half_closed.iter().for_each(|peer| peer.end_writing().expect("half-closed"));
    (0..10).for_each(|_| deaf().reset());
    let mut half_open: Vec<Client> =
        (0..10).map(|_| Client::open(server.address()).expect("a connection")).collect();
    half_open.iter_mut().take(5).for_each(|peer| peer.send(&[0, 0, 0, 45]).expect("sent"));
    half_open.iter().skip(3).for_each(|peer| peer.end_writing().expect("half-closed"));
    wait_until("all that there is to be sent", || {
        let before = server.cpu_time();
        writer.ping().expect("answered");
        server.cpu_time() == before
    });
    // Two seconds: longer than any single thing that is still to do.
    let (began, before) = (Instant::now(), server.cpu_time());
    while began.elapsed() < Duration::from_secs(2) {
        writer.ping().expect("answered");
        std::thread::sleep(Duration::from_millis(100));
    }
    let spent = server.cpu_time() - before;
    assert!(spent < Duration::from_millis(500), "{spent:?} of two seconds for nothing");
    drop((full, half_closed, half_open));
}

/// Clients that ask for all they can get, and take it: the others get their turn.
#[test]
fn greedy_clients_do_not_starve_the_others() {
    let server = Server::start("preAllocSize=1024");
    let mut writer = Client::connect(server.address(), 4000);
    writer.create("/big", &vec![b'v'; 200 << 10], 0).expect("a new node");
    writer.create("/small", b"", 0).expect("a new node");
    let witness = Witness::start(server.address());
    witness.wait_rounds(5);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let address = server.address();
        for greedy in 0..6 {
            let stop = &stop;
            scope.spawn(move || {
                let mut client = Client::connect(address, 4000);
                let one = match greedy % 3 {
                    0 => request(1, op::GET_DATA, &watchable_body("/big", false)),
                    1 => request(1, op::GET_DATA, &watchable_body("/small", false)),
                    _ => request(1, op::SET_DATA, &set_body("/small", &[b'x'; 100])),
                };
                let many = one.repeat(200);
                client.send(&many).expect("sent");
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    for _ in 0..200 {
                        assert_eq!(client.next().expect("a reply").err, 0);
                    }
                    client.send(&many).expect("sent");
                }
            });
        }
        witness.wait_rounds(100);
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    witness.finish();
}
