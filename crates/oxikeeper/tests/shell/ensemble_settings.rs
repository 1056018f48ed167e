//! What settings of ensembles change, seen from outside.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::support::client::Client;
use super::support::namespace::{Namespace, inside, succeeds};
use super::support::process::{Home, Server};
use super::support::trio::{home, home_among, mode, ports, session, start_all};
use super::support::wait_until;

/// A port that nobody answers at: who connects hears nothing, not even that it is refused.
struct Silence {
    _listener: Socket,
    _queued: Vec<TcpStream>,
    port: u16,
}

impl Silence {
    fn new() -> Silence {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        listener.listen(0).expect("it listens");
        let address = listener.local_addr().ok().and_then(|found| found.as_socket());
        let address = address.expect("it is bound");
        // Nobody accepts: what comes behind these is not answered.
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
        }
        Silence { _listener: listener, _queued: queued, port: address.port() }
    }
}

fn is_open(host: Ipv4Addr, port: u16) -> bool {
    TcpStream::connect((host, port)).is_ok()
}

/// `leaderServes=no`: who leads has no clients, and whoever begins to lead sends his away.
#[test]
fn a_leader_that_does_not_serve_has_no_clients() {
    let ports = ports();
    let homes = (1..=3).map(|id| home(id, &ports, "leaderServes=no"));
    let mut servers: Vec<Server> = homes.map(Home::start_looking).collect();
    for value in 0..2u8 {
        wait_until("two to follow", || {
            servers.iter().filter(|server| mode(server) == "follower").count() == 2
        });
        let leads = servers.iter().position(|server| mode(server).is_empty()).expect("a third");
        let follower = (leads + 1) % 3;
        let mut client = session(&servers[follower]);
        let made = if value == 0 { client.create("/a", b"", 0) } else { Ok(()) };
        made.and_then(|()| client.set("/a", &[value])).expect("it leads nevertheless");
        let leader = servers.remove(leads);
        assert!(leader.word("srvr").contains("not currently serving requests"));
        let mut refused = Client::open(leader.address()).expect("the port is open");
        assert!(refused.handshake(10_000).is_err(), "a session at a leader that has no clients");
        // The next one is chosen among those that have clients now.
        let home = leader.kill();
        assert!(client.is_closed_by_peer(), "its server lost its leader");
        servers.insert(leads, home.start_looking());
    }
}

/// `quorumListenOnAllIPs`: both ports, of a leader, on another address of this machine.
#[test]
fn server_ports_are_on_all_addresses_where_that_is_asked_for() {
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    for on_all in [false, true] {
        let ports = ports();
        let setting = format!("quorumListenOnAllIPs={on_all}");
        let servers = start_all((1..=3).map(|id| home(id, &ports, &setting)).collect());
        let leads = servers.iter().position(|server| mode(server) == "leader").expect("a leader");
        for port in ports[leads] {
            assert!(is_open(Ipv4Addr::LOCALHOST, port));
            assert_eq!(is_open(ELSEWHERE, port), on_all, "{setting}");
        }
    }
}

/// `cnxTimeout`: of two servers that hear nothing of a third one's election port, that with the shorter time
/// gives the attempt up while the other still waits.
#[test]
fn an_election_port_that_does_not_answer_is_waited_for_as_long_as_is_set() {
    let silence = Silence::new();
    let looking = |timeout_ms: u32| {
        let mut ports = ports();
        ports[1][1] = silence.port;
        let home = home(1, &ports, &format!("cnxTimeout={timeout_ms}"));
        home.wrapped("OXIKEEPER_LOG=debug exec \"$@\"").start_looking()
    };
    let gave_up = |server: &Server| {
        let log = server.log();
        log.lines().any(|line| line.contains("cannot connect") && line.contains("timed out"))
    };
    let (patient, hasty) = (looking(60_000), looking(200));
    wait_until("the attempt to end", || gave_up(&hasty));
    assert!(!gave_up(&patient), "{}", patient.log());
}

/// `connectToLearnerMasterLimit`: of two servers that elect a third one whose quorum port does not answer, that
/// with the shorter time looks for another leader while the other still waits.
#[test]
fn a_leader_that_does_not_answer_is_waited_for_as_long_as_is_set() {
    let silence = Silence::new();
    let follows = |limit: u32| {
        let ports = ports();
        let mut misled = ports;
        misled[2][0] = silence.port;
        let settings = format!("initLimit=400\nconnectToLearnerMasterLimit={limit}");
        let leader = home(3, &ports, "initLimit=400").start_looking();
        (leader, home(1, &misled, &settings).start_looking())
    };
    let gave_up = |server: &Server| server.log().contains("could not connect in time");
    let ((_one, patient), (_other, hasty)) = (follows(300), follows(5));
    wait_until("it to look again", || gave_up(&hasty));
    assert!(!gave_up(&patient), "{}", patient.log());
}

/// A server moves to another address under its name: who followed it finds it there.
#[test]
fn names_are_resolved_anew_on_each_attempt() {
    let name = "ensemble_settings::names_are_resolved_anew_on_each_attempt";
    inside(Namespace::Mounts, name, || {
        const NAME: &str = "third.oxikeeper.test";
        let hosts = tempfile::NamedTempFile::new().expect("a file");
        let moves_to = |address: &str| {
            fs::write(hosts.path(), format!("127.0.0.1 localhost\n{address} {NAME}\n"))
                .expect("hosts");
        };
        moves_to("127.0.0.3");
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(hosts.path()).arg("/etc/hosts");
        assert!(succeeds(&mut mount), "mount --bind over /etc/hosts");
        let [one, two, three] = ports();
        let places = [("127.0.0.1", one), ("127.0.0.1", two), (NAME, three)];
        // The second never comes: without the third there is no quorum. Its id makes the third lead.
        let homes = vec![home_among(1, &places, ""), home_among(3, &places, "")];
        let mut servers = start_all(homes);
        session(&servers[0]).create("/a", b"", 0).expect("a node");
        assert_eq!(mode(&servers[1]), "leader");
        let third = servers.pop().expect("two of them").kill();
        moves_to("127.0.0.4");
        servers.push(third.start());
        assert_eq!(mode(&servers[1]), "leader");
        assert!(is_open(Ipv4Addr::new(127, 0, 0, 4), three[0]), "that is where it leads now");
        session(&servers[0]).set("/a", b"x").expect("the first has found it");
    });
}
