//! A leader that is told to end lets go before it is gone: the others need not find out by themselves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::client::Client;
use super::support::process::Server;
use super::support::trio::{home, mode, ports, session, start_all};
use super::support::wait_until;

/// Leaders that end.
const ROUNDS: usize = 5;
/// An election lasts as long where somebody who may still vote is waited for.
const FINAL_WAIT: Duration = Duration::from_millis(200);

/// Writes to whom it can until told to stop; gives the last value that was acknowledged, and the longest time
/// without an acknowledgement.
fn write_on(servers: &[SocketAddr], from: u32, stops: &AtomicBool) -> (u32, Duration) {
    let (mut value, mut longest) = (from, Duration::ZERO);
    let mut last = Instant::now();
    for address in servers.iter().cycle() {
        let Ok(mut client) = Client::open(*address) else { continue };
        if client.handshake(10_000).is_err() {
            continue;
        }
        loop {
            value += 1;
            if !client.try_set("/a", &value.to_be_bytes()) {
                break;
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if stops.load(Ordering::Relaxed) {
                return (value, longest);
            }
        }
    }
    unreachable!("there are servers")
}

/// Tells the leader to end, in the middle of writes; gives how long none was acknowledged.
fn without_leader(servers: &mut Vec<Server>, value: &mut u32) -> Duration {
    wait_until("all of them to be in step", || servers.iter().all(|s| !mode(s).is_empty()));
    let leads = servers.iter().position(|server| mode(server) == "leader").expect("a leader");
    let leader = servers.remove(leads);
    let others: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let stops = AtomicBool::new(false);
    let (home, (acknowledged, gap)) = thread::scope(|scope| {
        let writer = scope.spawn(|| write_on(&others, *value, &stops));
        let mut witness = session(&servers[0]);
        wait_until("writes", || witness.get("/a").is_ok_and(|data| data != value.to_be_bytes()));
        drop(witness);
        leader.signal(Signal::TERM);
        let (code, home) = leader.wait_end();
        assert_eq!(code, Some(143), "{}", home.log());
        wait_until("a leader", || servers.iter().any(|server| mode(server) == "leader"));
        stops.store(true, Ordering::Relaxed);
        (home, writer.join().expect("a writer"))
    });
    servers.extend(start_all(vec![home]));
    // What was sent and not acknowledged may be there, and nothing older.
    for server in servers.iter() {
        let mut client = session(server);
        client.sync("/a");
        let found = client.get("/a").expect("the node");
        let found = u32::from_be_bytes(found.try_into().expect("four bytes"));
        assert!(found >= acknowledged, "{found} is there, {acknowledged} was acknowledged");
        *value = (*value).max(found);
    }
    gap
}

#[test]
fn a_leader_that_is_told_to_end_is_not_waited_for() {
    let ports = ports();
    let mut servers = start_all((1..=3).map(|id| home(id, &ports, "")).collect());
    let mut value = 0u32;
    session(&servers[0]).create("/a", &value.to_be_bytes(), 0).expect("a node");
    let mut gaps: Vec<Duration> =
        (0..ROUNDS).map(|_| without_leader(&mut servers, &mut value)).collect();
    gaps.sort_unstable();
    println!("without an acknowledgement for {gaps:?}");
    // One of them may have met with a busy machine.
    assert!(gaps[ROUNDS / 2] < FINAL_WAIT, "{gaps:?}");
}
