//! From a command line to a server that serves.

use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::namespace::{Namespace, inside};
use crate::support::process::{Home, Server};

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

/// In a network of its own, since port 2181 may be somebody's.
#[test]
fn without_arguments_it_serves_on_2181_with_its_data_in_the_working_directory() {
    let name = "start::without_arguments_it_serves_on_2181_with_its_data_in_the_working_directory";
    inside(Namespace::Network, name, || {
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
    });
}

#[test]
fn port_and_directory_may_be_given_instead_of_a_file() {
    let home = Home::new("");
    let port = home.address().port().to_string();
    let server = home.start_with(&["serve".into(), port, "elsewhere".into(), "500".into()]);
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
