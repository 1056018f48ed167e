//! Three servers of one ensemble.

use std::fs;
use std::thread;

use super::client::Client;
use super::port::free_port;
use super::process::{Home, Server, word};
use super::wait_for;

/// Quorum and election port of each server.
pub type Ports = [[u16; 2]; 3];

/// Free ones.
pub fn ports() -> Ports {
    [(); 3].map(|()| [free_port(), free_port()])
}

/// A directory for server `id`, with these settings beside the server lines.
pub fn home(id: usize, ports: &Ports, settings: &str) -> Home {
    home_among(id, &ports.map(|ports| ("127.0.0.1", ports)), settings)
}

/// The same where servers are reached at other hosts.
pub fn home_among(id: usize, places: &[(&str, [u16; 2]); 3], settings: &str) -> Home {
    // Of a key that is there twice the last one counts.
    let mut text = format!("initLimit=25\nsyncLimit=15\n{settings}");
    for (server, (host, [quorum, election])) in (1..).zip(places) {
        text += &format!("\nserver.{server}={host}:{quorum}:{election}");
    }
    let home = Home::new(&text);
    fs::create_dir_all(home.data_dir()).expect("a new directory");
    fs::write(home.data_dir().join("myid"), format!("{id}\n")).expect("a new file");
    home
}

/// Starts them together, and waits until all serve.
pub fn start_all(homes: Vec<Home>) -> Vec<Server> {
    thread::scope(|scope| {
        let starting: Vec<_> =
            homes.into_iter().map(|home| scope.spawn(move || home.start())).collect();
        starting.into_iter().map(|thread| thread.join().expect("it starts")).collect()
    })
}

/// Three new servers.
pub fn trio(ports: &Ports) -> Vec<Server> {
    start_all((1..=3).map(|id| home(id, ports, "")).collect())
}

/// A session, as soon as the server grants one: it may have come in step this very moment.
pub fn session(server: &Server) -> Client {
    wait_for("a session", || {
        let mut client = Client::open(server.address()).ok()?;
        client.handshake(10_000).ok().map(|()| client)
    })
}

/// `leader`, `follower`; empty while it does not serve.
pub fn mode(server: &Server) -> String {
    let text = word(server.address(), "srvr").unwrap_or_default();
    let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "));
    mode.unwrap_or_default().to_owned()
}
