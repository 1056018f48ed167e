//! Ensembles of Apache's servers and ours: each kind leads, each is brought up to date by the other, and
//! a whole ensemble is replaced, server by server, under load, and back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_interop::client::RawClient;
use oxikeeper_interop::ensemble::{Ensemble, PATIENCE};
use oxikeeper_interop::exchange::{self, create, picture, write_everything};
use oxikeeper_interop::server::Kind;
use oxikeeper_proto::request::{CreateRequest, PathRequest, WatchableRequest};
use oxikeeper_proto::{OpCode, Reader, SessionId, Zxid};

const APACHE: Kind = Kind::APACHE;
const APACHE_380: Kind = Kind::Apache("3.8.0");
/// A write whose answer was lost had happened.
const NODE_EXISTS: i32 = -110;

/// All servers show the same.
fn compare(ensemble: &Ensemble, what: &str) {
    let ids: Vec<u8> = ensemble.members().keys().copied().collect();
    for &id in &ids {
        // What is committed reaches everybody before the answer.
        let mut client = connect(ensemble, id);
        let reply = client.call(OpCode::Sync, &PathRequest { path: Some("/".into()) });
        assert_eq!(reply.expect("an answer").header.err, 0, "{what}: server {id}");
    }
    // Every server writes the configuration by itself when it starts, and Apache's notes the time.
    let without_config = |id: u8| {
        let mut picture = picture(ensemble.address(id));
        let config = picture.remove("/zookeeper/config").expect("it is always there");
        (picture, config.0)
    };
    let (first, config) = without_config(ids[0]);
    for &id in &ids[1..] {
        let (other, other_config) = without_config(id);
        assert_eq!(other_config, config, "{what}: the configuration at server {id}");
        for (path, node) in &first {
            assert_eq!(other.get(path), Some(node), "{what}: {path} at server {id}");
        }
        assert_eq!(other.len(), first.len(), "{what}: server {id}");
    }
}

/// A session at a server, as soon as it takes one: it may have noticed only now that its leader is gone.
fn connect(ensemble: &Ensemble, id: u8) -> RawClient {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match RawClient::connect(ensemble.address(id), 60_000) {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "server {id}: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn write(ensemble: &Ensemble, through: u8, name: &str, count: usize) {
    let mut client = connect(ensemble, through);
    let mut n = 0;
    while n < count {
        let path = format!("/{name}-{n}");
        let acl = Some(exchange::open());
        let request = CreateRequest { path: Some(path.into()), data: None, acl, flags: 0 };
        match client.call(OpCode::Create, &request) {
            Ok(reply) => {
                assert!([0, NODE_EXISTS].contains(&reply.header.err), "{}", reply.header.err);
                n += 1;
            }
            Err(_) => client = connect(ensemble, through),
        }
    }
}

/// Each server is killed, misses something and comes back by DIFF; then it loses its disk and comes
/// back by SNAP. Returns the kinds that have led.
fn take_turns(kinds: &[Kind], observers: usize, dir: &std::path::Path) -> BTreeSet<String> {
    let mut ensemble = Ensemble::mixed(dir, kinds, exchange::SETTINGS).with_observers(observers);
    let ids: Vec<u8> = ensemble.members().keys().copied().collect();
    let mut led = BTreeSet::new();
    for &id in &ids {
        ensemble.start(id);
    }
    ids.iter().for_each(|&id| ensemble.wait(id));
    let names: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
    write_everything(ensemble.address(ids[0]));
    for &id in &ids {
        write(&ensemble, id, &format!("at{id}"), 5);
    }
    compare(&ensemble, &format!("{names:?} begin"));
    for round in ["diff", "snap"] {
        for &id in &ids {
            led.extend(ensemble.leader().map(|leader| ensemble.kind(leader).name()));
            ensemble.kill(id);
            if round == "snap" {
                ensemble.wipe(id);
            }
            let others: Vec<u8> = ids.iter().copied().filter(|&other| other != id).collect();
            others.iter().for_each(|&other| ensemble.wait(other));
            write(&ensemble, others[0], &format!("{round}{id}"), 30);
            ensemble.start(id);
            ensemble.wait(id);
            write(&ensemble, id, &format!("{round}{id}-back"), 5);
            compare(&ensemble, &format!("{names:?}, {round} of server {id}"));
        }
    }
    // Nobody has found a digest that differs from its own.
    for &id in &ids {
        let log = ensemble.log(id).to_lowercase();
        assert!(!log.contains("digest mismatch") && !log.contains("digests are not"), "{log}");
    }
    led
}

#[test]
fn each_kind_leads_the_other() {
    let oxikeeper = Kind::Oxikeeper;
    let mut led = BTreeSet::new();
    for kinds in [
        [APACHE, oxikeeper, oxikeeper],
        [oxikeeper, oxikeeper, APACHE],
        [oxikeeper, APACHE_380, APACHE_380],
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let leaders = take_turns(&kinds, 0, dir.path());
        println!("{:?}: led by {leaders:?}", kinds.map(Kind::name));
        led.extend(leaders);
    }
    assert_eq!(led.len(), 3, "led by {led:?} only");
}

/// Five servers of three kinds, of which the last one observes: ours once, Apache's once.
#[test]
fn five_servers_of_three_kinds() {
    let oxikeeper = Kind::Oxikeeper;
    for kinds in [
        [APACHE_380, APACHE, oxikeeper, APACHE, oxikeeper],
        [oxikeeper, APACHE_380, oxikeeper, oxikeeper, APACHE],
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let leaders = take_turns(&kinds, 1, dir.path());
        println!("{:?}, the last observes: led by {leaders:?}", kinds.map(Kind::name));
    }
}

/// A client that writes one node after the other, whatever happens, with one session.
struct Load {
    addresses: Vec<SocketAddr>,
    session: SessionId,
    password: [u8; 16],
    seen: Zxid,
    written: u32,
    longest_gap: Duration,
}

impl Load {
    fn run(mut self, ends: &AtomicBool) -> Load {
        let mut last = Instant::now();
        let mut next = 0;
        while !ends.load(Ordering::SeqCst) {
            let address = self.addresses[next % self.addresses.len()];
            next += 1;
            let Ok(mut client) = self.connect(address) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            while !ends.load(Ordering::SeqCst) {
                let path = format!("/load/{:06}", self.written);
                let request = CreateRequest {
                    path: Some(path.into()),
                    data: None,
                    acl: Some(exchange::open()),
                    flags: 0,
                };
                let Ok(reply) = client.call(OpCode::Create, &request) else { break };
                // A write whose answer was lost has happened, or it happens now.
                let happened = [0, NODE_EXISTS].contains(&reply.header.err);
                assert!(happened, "a create is answered with {}", reply.header.err);
                self.seen = self.seen.max(reply.header.zxid);
                self.written += 1;
                self.longest_gap = self.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
        }
        self
    }

    fn connect(&self, address: SocketAddr) -> std::io::Result<RawClient> {
        let mut client = RawClient::open(address)?;
        let response = client.handshake(self.session, &self.password, 30_000, self.seen)?;
        assert_eq!(response.session, self.session, "the session lives");
        Ok(client)
    }
}

/// An ensemble that serves, and a client that writes to it whatever happens, with an ephemeral.
fn under_load(
    dir: &std::path::Path,
    kinds: &[Kind],
) -> (Ensemble, Arc<AtomicBool>, thread::JoinHandle<Load>) {
    let mut ensemble = Ensemble::mixed(dir, kinds, exchange::SETTINGS);
    let ids: Vec<u8> = ensemble.members().keys().copied().collect();
    for &id in &ids {
        ensemble.start(id);
    }
    ids.iter().for_each(|&id| ensemble.wait(id));
    let mut client = connect(&ensemble, 1);
    create(&mut client, "/load", 0, exchange::open());
    create(&mut client, "/ephemeral", 1, exchange::open());
    let load = Load {
        addresses: ids.iter().map(|&id| ensemble.address(id)).collect(),
        session: client.session,
        password: client.password,
        seen: Zxid::ZERO,
        written: 0,
        longest_gap: Duration::ZERO,
    };
    client.cut();
    let ends = Arc::new(AtomicBool::new(false));
    let load = {
        let ends = Arc::clone(&ends);
        thread::spawn(move || load.run(&ends))
    };
    (ensemble, ends, load)
}

/// Every server has every acknowledged write, and the session that wrote them lives.
fn nothing_is_lost(ensemble: &Ensemble, load: &Load) {
    for &id in ensemble.members().keys() {
        let mut client = connect(ensemble, id);
        let sync = client.call(OpCode::Sync, &PathRequest { path: Some("/".into()) });
        assert_eq!(sync.expect("an answer").header.err, 0);
        let read = WatchableRequest { path: Some("/load".into()), watch: false };
        let reply = client.call(OpCode::GetChildren, &read).expect("an answer");
        let children: Vec<String> = Reader::new(&reply.body).get().expect("names");
        let there: BTreeSet<String> = children.into_iter().collect();
        for n in 0..load.written {
            assert!(there.contains(&format!("{n:06}")), "server {id} has lost write {n}");
        }
        let read = WatchableRequest { path: Some("/ephemeral".into()), watch: false };
        let reply = client.call(OpCode::Exists, &read).expect("an answer");
        assert_eq!(reply.header.err, 0, "server {id} still has the ephemeral");
    }
    assert!(load.written > 100, "there was a load");
}

/// Three servers of Apache's become ours one by one under load, and Apache's again: no acknowledged
/// write is lost, the session lives, its ephemeral too.
#[test]
fn an_ensemble_is_replaced_server_by_server_and_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut ensemble, ends, load) = under_load(dir.path(), &[APACHE; 3]);
    let ids: Vec<u8> = ensemble.members().keys().copied().collect();
    let mut is_wiped = false;
    for kind in [Kind::Oxikeeper, APACHE] {
        for &id in &ids {
            ensemble.kill(id);
            ensemble.set_kind(id, kind);
            // Once with its data, once with an empty directory.
            is_wiped = !is_wiped;
            if is_wiped {
                ensemble.wipe(id);
            }
            ensemble.start(id);
            ensemble.wait(id);
            serves_writes(&ensemble, id);
        }
    }
    ends.store(true, Ordering::SeqCst);
    let load = load.join().expect("the load bears everything");
    println!(
        "replaced forward and back: {} writes acknowledged, longest gap {} ms",
        load.written,
        load.longest_gap.as_millis()
    );
    nothing_is_lost(&ensemble, &load);
}

/// Servers of ours are killed with -9, the leader among them, and come back with their data or without.
#[test]
fn an_ensemble_of_ours_bears_kills() {
    let rounds = std::env::var("OXIKEEPER_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u32 = rounds.unwrap_or(12);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut ensemble, ends, load) = under_load(dir.path(), &[Kind::Oxikeeper; 3]);
    let ids: Vec<u8> = ensemble.members().keys().copied().collect();
    for round in 0..rounds {
        let victim = match round % 2 {
            0 => ensemble.leader().unwrap_or(ids[0]),
            _ => ids[round as usize / 2 % ids.len()],
        };
        ensemble.kill(victim);
        if round % 5 == 4 {
            ensemble.wipe(victim);
        }
        ensemble.start(victim);
        ids.iter().for_each(|&id| ensemble.wait(id));
        serves_writes(&ensemble, victim);
    }
    ends.store(true, Ordering::SeqCst);
    let load = load.join().expect("the load bears everything");
    println!(
        "{rounds} kills: {} writes acknowledged, longest gap {} ms",
        load.written,
        load.longest_gap.as_millis()
    );
    nothing_is_lost(&ensemble, &load);
}

/// A server that has just come back takes part.
fn serves_writes(ensemble: &Ensemble, id: u8) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sync = PathRequest { path: Some("/".into()) };
        match connect(ensemble, id).call(OpCode::Sync, &sync) {
            Ok(reply) => return assert_eq!(reply.header.err, 0, "server {id}"),
            Err(error) => assert!(Instant::now() < deadline, "server {id}: {error}"),
        }
    }
}
