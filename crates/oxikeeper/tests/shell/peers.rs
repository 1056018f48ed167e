//! Three servers as processes, and what comes to the ports that they have for one another.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::support::process::{Home, Server};
use super::support::trio::{home, mode, ports, session, start_all, trio};
use super::support::wait_until;

fn epoch(server: &Server) -> String {
    let file = server.home.data_dir().join("version-2/currentEpoch");
    fs::read_to_string(file).expect("an epoch")
}

#[test]
fn nonsense_at_the_ports_of_the_peers_disturbs_nobody() {
    let ports = ports();
    let mut servers = trio(&ports);
    let epochs: Vec<String> = servers.iter().map(epoch).collect();
    let mut client = session(&servers[0]);
    client.create("/a", b"", 0).expect("a node");
    let protocol = (-65_536i64).to_be_bytes();
    let initial =
        |id: i64| [&protocol[..], &id.to_be_bytes(), &9i32.to_be_bytes(), b"127.0.0.1"].concat();
    let nonsense: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        i32::MAX.to_be_bytes().repeat(3),
        vec![0; 3],
        // A server that nobody knows, and one that is known, but says nonsense.
        [initial(77), b":3888".to_vec(), vec![0, 0, 0, 4, 9, 9, 9, 9]].concat(),
        [initial(2), vec![0x7f; 64]].concat(),
        // FOLLOWERINFO of a server that nobody knows; the rest of the packet never comes.
        [&11i32.to_be_bytes()[..], &0i64.to_be_bytes(), &20i32.to_be_bytes(), &9i64.to_be_bytes()]
            .concat(),
    ];
    let mut held = Vec::new();
    for round in 0..3u8 {
        for port in ports.as_flattened() {
            for bytes in &nonsense {
                // Who does not lead does not listen for learners.
                let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)) else {
                    continue;
                };
                // It may be closed before all is said.
                let _ = stream.write_all(bytes);
                held.push(stream);
            }
        }
        client.set("/a", &[round]).expect("writes go on");
    }
    // Longer than a peer has to say who it is.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        client.set("/a", b"x").expect("writes go on");
    }
    assert!(servers.iter_mut().all(Server::is_running));
    assert_eq!(servers.iter().map(epoch).collect::<Vec<_>>(), epochs, "nobody lost its leader");
}

/// A second server 3, elsewhere and empty: whatever the others hear of it, what was acknowledged stays.
#[test]
fn a_second_server_with_one_id_costs_nothing() {
    let ports = ports();
    let mut servers = trio(&ports);
    let mut client = session(&servers[0]);
    client.create("/a", b"before", 0).expect("a node");
    let mut others = super::support::trio::ports();
    (others[0], others[1]) = (ports[0], ports[1]);
    let impostor = home(3, &others, "").start_looking();
    let until = Instant::now() + Duration::from_secs(5);
    let mut count = 0u32;
    while Instant::now() < until {
        count += 1;
        client.set("/a", &count.to_be_bytes()).expect("writes go on");
        assert_ne!(mode(&impostor), "leader");
    }
    drop(impostor);
    drop(client);
    // The ensemble as it was, after all of it was started again.
    let homes: Vec<Home> = servers.drain(..).map(Server::kill).collect();
    let servers = start_all(homes);
    for server in &servers {
        let mut client = session(server);
        assert_eq!(client.get("/a"), Ok(count.to_be_bytes().to_vec()));
    }
}

/// `db.autocreate=false`: two of three servers that have lost their disks elect nobody, however often
/// they are started, until an operator says that one may begin empty.
#[test]
fn emptied_voters_have_no_say() {
    let ports = ports();
    let settings = "db.autocreate=false";
    let homes: Vec<Home> = (1..=3).map(|id| home(id, &ports, settings)).collect();
    for home in &homes {
        fs::write(home.data_dir().join("initialize"), "").expect("a mark");
    }
    let servers = start_all(homes);
    assert!(
        !servers[0].home.data_dir().join("initialize").exists(),
        "the mark holds for one start"
    );
    let mut client = session(&servers[0]);
    client.create("/a", b"kept", 0).expect("a node");
    drop(client);
    let mut homes: Vec<Home> = servers.into_iter().map(Server::kill).collect();
    for home in &homes[..2] {
        fs::remove_dir_all(home.data_dir().join("version-2")).expect("its data");
    }
    let sound = homes.pop().expect("the third");
    for _ in 0..2 {
        let emptied: Vec<Server> = homes.drain(..).map(Home::start_looking).collect();
        wait_until("both to say that they have no vote", || {
            emptied.iter().all(|server| server.log().contains("no vote"))
        });
        thread::sleep(Duration::from_secs(3));
        for server in &emptied {
            assert_eq!(mode(server), "", "{}", server.log());
        }
        homes = emptied.into_iter().map(Server::kill).collect();
    }
    fs::write(homes[0].data_dir().join("initialize"), "").expect("a mark");
    homes.push(sound);
    let servers = start_all(homes);
    for server in &servers {
        let mut client = session(server);
        assert_eq!(client.get("/a"), Ok(b"kept".to_vec()));
    }
}

/// Bits of a log change while its server is down: it sets aside what is behind them, has no vote until the
/// leader has sent it the state, also over restarts, and then is as good as before. With it and one other
/// alone nobody leads, though they are two of three.
#[test]
fn a_damaged_log_takes_the_vote_until_a_leader_has_sent_the_state() {
    let ports = ports();
    let servers = trio(&ports);
    let mut client = session(&servers[0]);
    client.create("/a", b"", 0).expect("a node");
    for n in 0..40u8 {
        client.set("/a", &[n]).expect("a write");
    }
    drop(client);
    let mut homes: Vec<Home> = servers.into_iter().map(Server::kill).collect();
    let files = homes[0].data_dir().join("version-2");
    let names = || {
        let entries = fs::read_dir(&files).expect("its data");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("a name")
        };
        entries.map(name).collect::<Vec<String>>()
    };
    let log = names().into_iter().find(|name| name.starts_with("log.")).expect("a log");
    let mut bytes = fs::read(files.join(&log)).expect("a log");
    // Somewhere among the records: the file's rest is zeros.
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records");
    bytes[end / 2] ^= 0x10;
    fs::write(files.join(&log), &bytes).expect("damage");

    let (third, second) = (homes.pop().expect("three"), homes.pop().expect("two"));
    let mut first = homes.pop().expect("one");
    let other = second.start_looking();
    for _ in 0..2 {
        let damaged = first.start_looking();
        wait_until("it to say that it has no vote", || damaged.log().contains("no vote"));
        thread::sleep(Duration::from_secs(2));
        assert_eq!((mode(&damaged), mode(&other)), (String::new(), String::new()));
        first = damaged.kill();
    }
    assert!(names().iter().any(|name| name == &format!("damaged.{log}")), "{:?}", names());
    let second = other.kill();
    let servers = start_all(vec![first, second, third]);
    for server in &servers {
        assert_eq!(session(server).get("/a"), Ok(vec![39]));
    }
    wait_until("it to be whole", || !names().iter().any(|name| name == "oxikeeper.incomplete"));
    // Now it counts again: the second is not needed.
    let mut homes: Vec<Home> = servers.into_iter().map(Server::kill).collect();
    homes.remove(1);
    for server in &start_all(homes) {
        assert_eq!(session(server).get("/a"), Ok(vec![39]));
    }
}

#[test]
fn epochs_that_contradict_each_other_end_the_start_with_a_way_out() {
    let home = home(1, &ports(), "");
    let files = home.data_dir().join("version-2");
    fs::create_dir_all(&files).expect("a directory");
    fs::write(files.join("acceptedEpoch"), "3").expect("a file");
    fs::write(files.join("currentEpoch"), "5").expect("a file");
    let ended = home.run_to_end();
    assert_ne!(ended.code, Some(0));
    for part in ["acceptedEpoch", "currentEpoch", "3", "5"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}
