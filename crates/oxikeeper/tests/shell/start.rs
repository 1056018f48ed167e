//! From a command line to a server that serves.

use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::namespace::{Namespace, has_program, inside};
use crate::support::process::{Home, Server};
use crate::support::wait_until;

#[test]
fn a_server_as_configured_writes_and_reads() {
    let server = Server::start("");
    let mut client = Client::connect(server.address(), 3000);
    client.create("/a", b"one", 0).expect("a new node");
    client.set("/a", b"two").expect("a node that is there");
    assert_eq!(client.get("/a").expect("a node that is there"), b"two");
    let summary = server.word("srvr");
    assert!(summary.starts_with("Zookeeper version: 3.9.5-oxikeeper-"), "{summary}");
    assert!(summary.contains("\nMode: standalone\n"), "{summary}");
    assert!(summary.contains("\nConnections: 2\n"), "the client's and this one: {summary}");
    // createSession, create, setData.
    assert!(summary.contains("\nZxid: 0x3\n"), "{summary}");
    client.close();
    assert!(server.log().contains("binding to port"), "frameworks wait for it: {}", server.log());
}

/// In a network of its own, since port 2181 may be somebody's; where there is no program to set one
/// up, the port has to be free.
#[test]
fn without_arguments_it_serves_on_2181_with_its_data_in_the_working_directory() {
    let name = "start::without_arguments_it_serves_on_2181_with_its_data_in_the_working_directory";
    let body = || {
        let address = SocketAddr::from(([127, 0, 0, 1], 2181));
        let server = Home::new("").at_port(2181).start_with(&[]);
        let mut client = Client::connect(address, 10_000);
        client.create("/a", b"kept", 0).expect("a new node");
        client.close();
        assert!(server.home.path("oxikeeper-data/version-2").is_dir());
        // All words are allowed: nobody but this machine can connect.
        assert_eq!(server.word("ruok"), "imok");
        let server = server.kill().start_with(&[]);
        let mut client = Client::connect(address, 10_000);
        assert_eq!(client.get("/a").expect("what was acknowledged"), b"kept");
        drop(server);
    };
    if has_program("ip") {
        inside(Namespace::Network, name, body);
    } else {
        let free = std::net::TcpListener::bind("127.0.0.1:2181");
        assert!(free.is_ok(), "without the program ip (iproute2) this test needs port 2181");
        drop(free);
        body();
    }
}

#[test]
fn port_and_directory_may_be_given_instead_of_a_file() {
    let home = Home::new("");
    let port = home.address().port().to_string();
    let no_admin = "-Dzookeeper.admin.enableServer=false".to_owned();
    let words = ["serve".into(), no_admin, port, "elsewhere".into(), "500".into()];
    let server = home.start_with(&words);
    let client = Client::connect(server.address(), 60_000);
    assert_eq!(client.timeout_ms, 20 * 500, "twenty ticks");
    assert!(server.home.path("elsewhere/version-2").is_dir());
}

#[test]
fn flags_configure_as_they_do_with_a_jvm() {
    let server = Server::start("-Dzookeeper.4lw.commands.whitelist=ruok\n-Xmx512m");
    assert_eq!(server.word("ruok"), "imok");
    assert!(server.log().contains("-Xmx512m"), "said to be without effect: {}", server.log());
}

/// Without an address it listens on all there are, of both families; one machine counts as one.
#[test]
fn all_addresses_are_served_unless_one_is_given() {
    let server = Home::new("maxClientCnxns=1").without_address().start();
    let port = server.address().port();
    let ipv4 = Client::connect(server.address(), 4000);
    let mut twice = Client::open(server.address()).expect("a connection");
    assert!(twice.is_closed_by_peer(), "127.0.0.1 has its one connection");
    drop(ipv4);
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let mut ipv6 =
            Client::connect(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)), 4000);
        ipv6.create("/six", b"", 0).expect("a new node");
    }

    let server = Server::start("");
    let other = SocketAddr::from(([127, 0, 0, 2], server.address().port()));
    let refused = Client::open(other).err().expect("nobody listens there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// Old snapshots and logs go at the start and then by the clock, but never the last three.
#[test]
fn autopurge_begins_with_the_start() {
    let mut server = Server::start("snapCount=20");
    let snapshots = |server: &Server| {
        let files = std::fs::read_dir(server.home.data_dir().join("version-2")).expect("files");
        let names =
            files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.starts_with("snapshot.")).count()
    };
    let mut client = Client::connect(server.address(), 4000);
    let mut written = 0;
    wait_until("six snapshots", || {
        client.create(&format!("/n-{written}"), b"", 0).expect("a new node");
        written += 1;
        snapshots(&server) >= 6
    });
    server = server.kill().with_settings("autopurge.purgeInterval=1").start();
    // Checks of logs look for these words.
    wait_until("the purge", || server.log().contains("Purge task completed."));
    assert!(server.log().contains("Purge task started."), "{}", server.log());
    assert!((3..=4).contains(&snapshots(&server)), "{}", snapshots(&server));
    let mut client = Client::resume(server.address(), client.session, &client.password, 4000);
    for number in 0..written {
        assert!(client.exists(&format!("/n-{number}"), false));
    }
    // What is kept is enough for another start.
    let server = server.kill().start();
    assert!(Client::connect(server.address(), 4000).exists("/n-0", false));
}

/// Values that make no sense and are no errors either, as with Apache: it serves, and nothing in it
/// overflows.
#[test]
fn absurd_values_are_served_with() {
    for settings in [
        "tickTime=2147483647",
        "tickTime=1",
        "maxClientCnxns=2147483647\nmaxCnxns=9223372036854775807",
        "maxClientCnxns=-1\nmaxCnxns=-1",
        "minSessionTimeout=-2",
        "minSessionTimeout=2147483647\nmaxSessionTimeout=2147483647",
        "snapCount=0\nsnapSizeLimitInKb=1\ntxnLogSizeLimitInKb=1\npreAllocSize=1",
        "snapCount=-5\nsnapSizeLimitInKb=-1\ntxnLogSizeLimitInKb=-1\npreAllocSize=-1",
        "snapSizeLimitInKb=9223372036854775807\ntxnLogSizeLimitInKb=9223372036854775807",
        "preAllocSize=9223372036854775807",
        "preAllocSize=0",
        "-Djute.maxbuffer=9223372036854775807\n-Dzookeeper.jute.maxbuffer.extrasize=-1",
        "-Djute.maxbuffer=2147483647",
        "clientPortListenBacklog=-5",
        "clientPortListenBacklog=2147483647",
        "autopurge.purgeInterval=2147483647\nautopurge.snapRetainCount=2147483647",
        "autopurge.purgeInterval=-1\nautopurge.snapRetainCount=-1",
        "-Dznode.container.checkIntervalMs=0\n-Dznode.container.maxPerMinute=0",
        "-Dznode.container.checkIntervalMs=-1\n-Dznode.container.maxNeverUsedIntervalMs=-1",
        "fsync.warningthresholdms=-1",
        "globalOutstandingLimit=-1",
    ] {
        let server = Server::start(settings);
        let mut client = Client::connect(server.address(), i32::MAX);
        for number in 0..5 {
            let made = client.create(&format!("/n-{number}"), &[b'x'; 5000], 0);
            assert_eq!(made, Ok(()), "{settings}");
        }
        // Right after a kill, and again with all that there is.
        let server = server.kill().start();
        let mut again = Client::resume(server.address(), client.session, &client.password, -1);
        assert_eq!(again.session, client.session, "{settings}");
        assert_eq!(again.get("/n-4").as_deref(), Ok(&[b'x'; 5000][..]), "{settings}");
        again.close();
        assert!(!server.log().contains("panicked"), "{settings}: {}", server.log());
    }
}
