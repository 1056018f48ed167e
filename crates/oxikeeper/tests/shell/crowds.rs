//! More connections than there may be.

use std::net::Ipv4Addr;

use crate::support::client::{Client, EPHEMERAL, NODE_DELETED, handshake};
use crate::support::process::{Home, Server};
use crate::support::witness::Witness;
use crate::support::{wait_for, wait_until};

const MIB: u64 = 1 << 20;

fn from(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// A session, if the server lets this address have one.
fn try_connect(server: &Server, local: Ipv4Addr) -> Option<Client> {
    let mut client = Client::open_from(local, server.address()).expect("the kernel connects");
    client.handshake(4000).ok().map(|()| client)
}

#[test]
fn connections_of_one_address_are_limited_and_given_back() {
    let server = Server::start("maxClientCnxns=3");
    let mut held: Vec<Client> =
        (0..3).map(|_| try_connect(&server, from(1)).expect("within the limit")).collect();
    let mut fourth = Client::open(server.address()).expect("the kernel connects");
    assert!(fourth.is_closed_by_peer(), "closed without a word");
    try_connect(&server, from(2)).expect("the limit is for each address");
    let log = server.log();
    assert!(log.contains("Too many connections from /127.0.0.1 - max is 3"), "{log}");
    // Three ways to go, and each makes room for one.
    held.pop().expect("one of three").close();
    held.push(wait_for("room after a clean end", || try_connect(&server, from(1))));
    drop(held.remove(0));
    held.push(wait_for("room after a cut", || try_connect(&server, from(1))));
    held[0].send(&(-1i32).to_be_bytes()).expect("sent");
    assert!(held[0].is_closed_by_peer());
    held.push(wait_for("room after a close", || try_connect(&server, from(1))));
    for client in &mut held[1..] {
        client.ping().expect("the others were served all the time");
    }
    assert!(try_connect(&server, from(1)).is_none(), "and the limit still holds");
}

#[test]
fn connections_in_all_are_limited_and_given_back() {
    let server = Server::start("maxCnxns=3");
    let mut held: Vec<Client> = (1..=3)
        .map(|last| {
            wait_for("the test's own question to be gone", || try_connect(&server, from(last)))
        })
        .collect();
    assert!(try_connect(&server, from(4)).is_none());
    assert!(server.log().contains("max is 3"), "{}", server.log());
    held.pop();
    wait_for("room", || try_connect(&server, from(4)));
}

/// Ten thousand attempts beyond the limit: refused one by one, in a few lines of the log.
#[test]
fn ten_thousand_attempts_past_the_limit_disturb_nobody() {
    const ATTEMPTS: usize = 10_000;
    let server = Server::start("maxClientCnxns=10");
    let witness = Witness::start(server.address());
    let held: Vec<Client> =
        (0..10).map(|_| try_connect(&server, from(1)).expect("within the limit")).collect();
    witness.wait_rounds(5);
    let before = server.rss_bytes();
    for attempt in 0..ATTEMPTS {
        // The kernel's queue may be full for a moment: then connecting waits.
        let mut client = Client::open(server.address()).expect("the kernel connects");
        assert!(client.is_closed_by_peer(), "attempt {attempt}");
    }
    let grown = server.rss_bytes().saturating_sub(before) / MIB;
    assert!(grown < 8, "grown by {grown} MiB");
    for mut client in held {
        client.ping().expect("who was there first is served");
    }
    witness.finish();
    let lines = server.log().lines().count();
    assert!(lines < 100, "{lines} lines in the log");
}

/// Clients that reset their connection right behind the handshake, or before its answer comes.
#[test]
fn connections_that_are_reset_leave_nothing_behind() {
    let server = Server::start("maxClientCnxns=20");
    let witness = Witness::start(server.address());
    for round in 0..500 {
        let mut client = wait_for("room for the next", || {
            let mut client = Client::open(server.address()).expect("the kernel connects");
            client.send(&handshake(0, &[0; 16], 400)).ok().map(|()| client)
        });
        if round % 2 == 0 {
            // Room may have been short for a moment; then there is no answer.
            let _ = client.frame();
        }
        client.reset();
    }
    wait_until("all of them to be gone", || server.word("srvr").contains("\nConnections: 2\n"));
    let all: Vec<Client> = (0..20)
        .map(|_| wait_for("all the room there is", || try_connect(&server, from(1))))
        .collect();
    assert!(try_connect(&server, from(1)).is_none(), "and no more than that");
    drop(all);
    witness.finish();
}

/// Hundreds of sessions end at once, each with an ephemeral node.
#[test]
fn a_crowd_that_dies_at_once_is_cleaned_up_beside_everything_else() {
    const CROWD: usize = 300;
    let server = Server::start("maxClientCnxns=0");
    let witness = Witness::start(server.address());
    let mut watcher = Client::connect(server.address(), 4000);
    watcher.create("/crowd", b"", 0).expect("a new node");
    let crowd: Vec<Client> = (0..CROWD)
        .map(|number| {
            let mut client = Client::connect(server.address(), 1500);
            let path = format!("/crowd/{number}");
            client.create(&path, b"", EPHEMERAL).expect("a new node");
            assert!(watcher.exists(&path, true));
            client
        })
        .collect();
    drop(crowd);
    let mut gone = std::collections::BTreeSet::new();
    while gone.len() < CROWD {
        let (kind, path) = watcher.wait_event();
        assert_eq!(kind, NODE_DELETED, "{path}");
        assert!(gone.insert(path), "one event for each");
    }
    assert!(!watcher.exists("/crowd/0", false));
    witness.finish();
}

/// Probes that ask without end, and do not even wait for the answers.
#[test]
fn a_flood_of_probes_disturbs_nobody() {
    const WORDS: [&str; 11] =
        ["stat", "srvr", "mntr", "cons", "dump", "wchs", "wchc", "wchp", "conf", "dirs", "envi"];
    let server = Server::start("maxClientCnxns=0\n4lw.commands.whitelist=*");
    let witness = Witness::start(server.address());
    let mut abandoned = Vec::new();
    for round in 0..1000 {
        let word = WORDS[round % WORDS.len()];
        let mut probe = Client::open(server.address()).expect("the kernel connects");
        probe.send(word.as_bytes()).expect("sent");
        abandoned.push(probe);
        if abandoned.len() == 50 {
            abandoned.clear();
            assert!(server.word("srvr").contains("Mode: standalone"));
        }
    }
    drop(abandoned);
    wait_until("all of them to be gone", || server.word("srvr").contains("\nConnections: 2\n"));
    witness.finish();
}

/// The process has few file descriptors, and connections want them all. Those who are served stay
/// served, the log finds the files it needs, and when the crowd goes others get their turn.
#[test]
fn a_crowd_that_wants_every_file_descriptor_gets_none_of_the_logs() {
    let home = Home::new("maxClientCnxns=0\nsnapCount=20\npreAllocSize=256");
    let mut server = home.wrapped("ulimit -n 96 && exec \"$@\"").start();
    let mut client = Client::connect(server.address(), 4000);
    let witness = Witness::start(server.address());
    witness.wait_rounds(3);
    let crowd: Vec<Client> =
        (0..300).map(|_| Client::open(server.address()).expect("the kernel connects")).collect();
    wait_for("a word about it in the log", || server.log().contains("ulimit -n").then_some(()));
    // Every twenty writes begin a new log file and a snapshot, which take descriptors.
    witness.wait_rounds(100);
    client.create("/a", b"", 0).expect("a new node");
    let logs = std::fs::read_dir(server.home.data_dir().join("version-2")).expect("its files");
    let logs = logs.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("log."))
    });
    assert!(logs.count() >= 3, "it went on to new files");
    drop(crowd);
    let mut late = wait_for("the crowd to be gone", || {
        let mut client = Client::open(server.address()).expect("the kernel connects");
        client.handshake(4000).ok().map(|()| client)
    });
    assert!(late.exists("/a", false));
    witness.finish();
    assert!(server.is_running());
    let log = server.log();
    assert!(!log.contains("Too many open files"), "{log}");
    assert!(log.lines().count() < 200, "{log}");
}
