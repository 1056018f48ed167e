//! The client crate when things go wrong: servers that die, stand still or lie, sessions that end, and
//! callers that lose interest. What needs an ensemble runs on one of ours and on one of Apache's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use oxikeeper_client::{
    Client, CreateOptions, Error, EventKind, ExpectedVersion, LostReason, Outcome, RetryPolicy,
    State, StateStream, WatchMode,
};
use oxikeeper_interop::ensemble::Ensemble;
use oxikeeper_interop::port::free_port;
use oxikeeper_interop::server::{Kind, Server};

const PATIENCE: Duration = Duration::from_secs(120);
const KINDS: [Kind; 2] = [Kind::Oxikeeper, Kind::APACHE];

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("no hang") });
}

async fn until(states: &mut StateStream, wanted: State) {
    while let Some(state) = states.next().await {
        if state == wanted {
            return;
        }
        assert!(!matches!(state, State::Lost(_)), "{state:?} instead of {wanted:?}");
    }
    panic!("the states ended before {wanted:?}");
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("kill can be run").success());
}

#[test]
fn a_session_outlives_every_server_of_an_ensemble() {
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let mut ensemble = Ensemble::mixed(dir.path(), &[kind; 3], "");
        (1..=3).for_each(|id| ensemble.start(id));
        (1..=3).for_each(|id| ensemble.wait(id));
        let hosts: Vec<String> = (1..=3).map(|id| ensemble.address(id).to_string()).collect();
        run(async {
            let connect_string = format!("{}/app", hosts.join(","));
            let patient = RetryPolicy::default().patience(PATIENCE);
            let builder = Client::builder(&connect_string).retry(patient);
            let client = builder.session_timeout(Duration::from_secs(20)).connect().await.unwrap();
            let session = client.session();
            client.create("/", b"", &CreateOptions::persistent()).await.unwrap();
            client.create("/mine", b"", &CreateOptions::ephemeral()).await.unwrap();
            let (_, _, changed) = client.get_data_watch("/mine").await.unwrap();
            let mut below = client.add_watch("/", WatchMode::PersistentRecursive).await.unwrap();
            for id in 1..=3 {
                ensemble.kill(id);
                // Reads, and what may be asked twice, come through whatever happens.
                client.sync("/").await.unwrap();
                assert!(client.exists("/mine").await.unwrap().is_some());
                ensemble.start(id);
                ensemble.wait(id);
            }
            assert_eq!(client.session().id, session.id, "{}", kind.name());
            client.set_data("/mine", b"1", ExpectedVersion::Any).await.unwrap();
            assert_eq!(changed.await.unwrap().kind, EventKind::DataChanged);
            let mut kinds = Vec::new();
            while kinds.last() != Some(&EventKind::DataChanged) {
                kinds.push(below.next().await.unwrap().kind);
            }
            let gaps = kinds.iter().filter(|kind| **kind == EventKind::Session).count();
            assert!(gaps >= 2 && gaps % 2 == 0, "lost and back again: {kinds:?}");
            let lock = CreateOptions::ephemeral_sequential();
            let created = client.create_protected("/lock-", b"", &lock).await.unwrap();
            assert!(created.path.starts_with("/_c_") && created.path.ends_with("0000000001"));
            client.close().await.unwrap();
        });
    }
}

#[test]
fn a_server_that_stands_still_is_left_and_its_session_expires() {
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(kind, dir.path(), "");
        run(async {
            let address = server.address().to_string();
            let timeout = Duration::from_secs(2);
            let client =
                Client::builder(&address).session_timeout(timeout).connect().await.unwrap();
            client.create("/e", b"", &CreateOptions::ephemeral()).await.unwrap();
            let mut states = client.states();
            signal(server.pid(), "STOP");
            let write = client.set_data("/e", b"1", 0);
            let behind = client.set_data("/e", b"2", 1);
            until(&mut states, State::Suspended).await;
            let lost = |outcome| Error::ConnectionLoss { outcome };
            assert_eq!(write.await.unwrap_err(), lost(Outcome::Unknown));
            let error = behind.await.unwrap_err();
            assert!(matches!(error, Error::ConnectionLoss { .. }), "{error}");
            let late = client.set_data("/e", b"3", ExpectedVersion::Any).await.unwrap_err();
            assert_eq!(late, lost(Outcome::NotDone), "nobody is there for a whole timeout");
            assert_eq!(client.state(), State::Suspended, "nobody has said that it is over");
            signal(server.pid(), "CONT");
            client.close().await.unwrap();
        });
    }
}

#[test]
fn expiry_is_told_to_everybody() {
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(kind, dir.path(), "");
        run(async {
            let address = server.address().to_string();
            let client = Client::connect(&address).await.unwrap();
            let (_, never) = client.exists_watch("/x").await.unwrap();
            let mut below = client.add_watch("/", WatchMode::PersistentRecursive).await.unwrap();
            let mut states = client.states();
            let session = client.session();
            // Another client takes the session over and ends it.
            let thief = Client::builder(&address).resume(session.id, session.password);
            thief.connect().await.unwrap().close().await.unwrap();
            while states.next().await != Some(State::Lost(LostReason::Expired)) {}
            assert_eq!(states.next().await, None);
            assert_eq!(never.await.unwrap_err(), Error::SessionExpired);
            while below.next().await.is_some() {}
            assert_eq!(below.end(), Some(&Error::SessionExpired));
            assert_eq!(client.exists("/x").await.unwrap_err(), Error::SessionExpired);
            client.close().await.unwrap();
            let gone = Client::builder(&address).resume(session.id, session.password);
            assert_eq!(gone.connect().await.unwrap_err(), Error::SessionExpired);
            let denied = Client::builder(&address).auth("nonsense", "x").connect().await;
            if let Ok(client) = denied {
                // The session is there a moment before the server has looked at the identity.
                let error = client.exists("/").await.unwrap_err();
                assert_eq!(error, Error::AuthFailed);
            }
        });
    }
}

#[test]
fn callers_may_lose_interest_at_any_time() {
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(kind, dir.path(), "");
        run(async {
            let address = server.address().to_string();
            let client = Client::connect(&address).await.unwrap();
            for number in 0..200 {
                let path = format!("/n{number}");
                drop(client.create(&path, b"", &CreateOptions::persistent()));
                drop(client.get_data_watch(&path));
                drop(client.add_watch(&path, WatchMode::Persistent));
                let watch = client.exists_watch(&path).await.unwrap();
                drop(watch);
            }
            // Dropping did not take them back.
            assert_eq!(client.get_children("/").await.unwrap().len(), 201);
            client.sync("/").await.unwrap();
            let watches = server.word("wchs").expect("an answer");
            println!("{watches}");
            // One-shot ones stay with the server until they fire; no persistent one is left.
            for number in 0..200 {
                client.set_data(&format!("/n{number}"), b"1", 0).await.unwrap();
            }
            let watches = server.word("wchs").expect("an answer");
            assert!(watches.contains("Total watches:0"), "{watches}");
            let other = client.clone();
            drop(client);
            assert!(other.exists("/").await.unwrap().is_some());
            let pending = other.exists("/");
            drop(other);
            assert!(matches!(pending.await, Ok(_) | Err(Error::Closed)));
        });
    }
}

/// A server that does this with its first connection, and nothing more.
fn liar(act: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client comes");
        act(stream);
    });
    address
}

#[test]
fn liars_and_the_dead_are_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Kind::Oxikeeper, dir.path(), "");
    // Accepts, and says nothing ever.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let noise = liar(|mut stream| {
        let mut handshake = [0; 49];
        // It may be gone already.
        let _ = stream.read_exact(&mut handshake);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let hanging_up = liar(drop);
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let silent_address = silent.local_addr().expect("it is bound");
    run(async {
        let hosts = [noise, hanging_up, dead, silent_address, server.address()];
        let hosts = hosts.map(|address| address.to_string()).join(",");
        for seed in 0..4 {
            let builder = Client::builder(&format!("nowhere.invalid,{hosts}")).seed(seed);
            let builder = builder.connect_timeout(Duration::from_millis(500));
            let client = builder.connect().await.unwrap();
            client.exists("/").await.unwrap();
            client.close().await.unwrap();
        }
        let nobody = Client::builder(&dead.to_string()).session_timeout(Duration::from_secs(1));
        let error = nobody.connect().await.unwrap_err();
        assert_eq!(error, Error::Timeout(Duration::from_secs(1)));
        let error = Client::connect("h:x").await.unwrap_err();
        assert!(matches!(error, Error::InvalidConnectString(_)));
    });
    drop(silent);
}
