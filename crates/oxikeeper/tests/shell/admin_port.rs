//! The admin port under peers that misbehave: it is beside the data path, and stays there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::port::free_port;
use crate::support::process::{Home, Server};
use crate::support::witness::Witness;

const MIB: u64 = 1 << 20;

/// A server with its AdminServer on a free port of the loopback.
fn start() -> (Server, SocketAddr) {
    let port = free_port();
    (Home::new(&settings(port)).start(), SocketAddr::from(([127, 0, 0, 1], port)))
}

fn settings(port: u16) -> String {
    format!("admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}")
}

/// The whole answer to a GET.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the admin port takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer and an end");
    text
}

#[test]
fn scrapes_without_a_pause_disturb_nobody() {
    let (server, admin) = start();
    let witness = Witness::start(server.address());
    let (began, mut asked) = (Instant::now(), 0);
    // A scrape every ten milliseconds at the most.
    while began.elapsed() < Duration::from_secs(2) {
        let path = if asked % 2 == 0 { "/commands/monitor" } else { "/commands/srvr" };
        let answer = get(admin, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        asked += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(asked > 10, "{asked}");
    witness.finish();
}

#[test]
fn a_slow_loris_on_the_admin_port_disturbs_nobody() {
    let (server, admin) = start();
    let witness = Witness::start(server.address());
    witness.wait_rounds(5);
    let before = server.rss_bytes();
    let mut slow: Vec<TcpStream> = (0..500)
        .filter_map(|number| {
            let mut stream = TcpStream::connect(admin).ok()?;
            let start: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET /commands/ruok HTTP/1.1\r\nHost: x\r\nX: ",
                2 => b"POST /commands/restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
                _ => b"\x16\x03\x01",
            };
            stream.write_all(start).ok().map(|()| stream)
        })
        .collect();
    for _ in 0..10 {
        // A byte from time to time; some are closed already.
        slow.retain_mut(|stream| stream.write_all(b"a").is_ok());
        witness.wait_rounds(5);
        let grown = server.rss_bytes().saturating_sub(before) / MIB;
        assert!(grown < 64, "grown by {grown} MiB");
    }
    drop(slow);
    let answer = get(admin, "/commands/ruok");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    witness.finish();
}

/// Apache's exit code for it, standalone.
#[test]
fn an_admin_port_in_use_is_code_4() {
    let other = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = other.local_addr().expect("an address");
    let home = Home::new(&settings(address.port()));
    let ended = home.run_to_end();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    for words in [&address.port().to_string(), "admin.serverPort"] {
        assert!(ended.stderr.contains(words), "no {words:?} in {}", ended.stderr);
    }
}
