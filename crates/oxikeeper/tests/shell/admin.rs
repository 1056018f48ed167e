//! The admin ports: probes that mean it, and peers that misbehave there while clients are served.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::{Client, create_body, op};
use crate::support::port::free_port;
use crate::support::process::{Home, Server};
use crate::support::{PATIENCE, wait_for, wait_until};

/// A server with an AdminServer and metrics, and where those are.
pub struct Admin {
    pub server: Server,
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub fn start(settings: &str) -> Admin {
    let (admin, metrics) = (loopback(free_port()), loopback(free_port()));
    let settings = format!(
        "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={}\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={}\n{settings}",
        admin.port(),
        metrics.port()
    );
    Admin { server: Server::start(&settings), admin, metrics }
}

/// The whole answer to a request without a body.
pub fn get(to: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// How long the slowest of some writes and pings took.
fn slowest_write(client: &mut Client, count: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        client.set("/n", b"value").expect("a write");
        client.ping().expect("a ping");
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

/// Far beyond any scheduling of a busy machine, far below any timeout on an admin port.
const BOUND: Duration = Duration::from_secs(5);

#[test]
fn probes_and_metrics_are_served_on_their_ports() {
    let Admin { server, admin, metrics } = start("");
    let mut client = Client::connect(server.address(), 10_000);
    client.create("/n", b"", 0).expect("a new node");
    for port in [admin, metrics] {
        for path in ["/livez", "/readyz"] {
            let answer = get(port, path).expect("an answer");
            assert_eq!(status(&answer), "200", "{answer}");
            assert!(answer.ends_with("ok\n"), "{answer}");
        }
    }
    assert_eq!(status(&get(metrics, "/commands/ruok").expect("an answer")), "404");
    assert_eq!(status(&get(admin, "/metrics").expect("an answer")), "404");
    let text = get(metrics, "/metrics").expect("an answer");
    assert!(text.contains("text/plain; version=0.0.4"), "{text}");
    for line in ["\nznode_count 6.0\n", "\nnum_alive_connections 1.0\n", "\nfsynctime_count "] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let one = get(metrics, "/metrics?name[]=znode_count").expect("an answer");
    assert!(one.ends_with(
        "\r\n\r\n# HELP znode_count znode_count\n# TYPE znode_count gauge\nznode_count 6.0\n"
    ));
    assert!(server.rss_bytes() < 64 << 20, "{}", server.rss_bytes());
}

#[test]
fn a_port_in_use_ends_the_start_as_apaches() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let admin =
        format!("admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}");
    let ended = Home::new(&admin).run_to_end();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("admin.serverPort"), "{}", ended.stderr);
    let metrics = format!(
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={port}"
    );
    let ended = Home::new(&metrics).run_to_end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("metricsProvider.httpPort"), "{}", ended.stderr);
}

/// Hundreds of peers that never finish their requests: clients are served, and so is who asks for a
/// probe. Idle connections are closed in time.
#[test]
fn a_slow_loris_holds_nobody_up() {
    let Admin { server, admin, .. } = start("admin.idleTimeout=1000");
    let mut client = Client::connect(server.address(), 10_000);
    client.create("/n", b"", 0).expect("a new node");
    let before = server.rss_bytes();
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        // Some are closed already: the oldest give way.
        let _ = stream.write_all(b"GET /commands/ruok HTTP/1.1\r\nX-Slow: ");
        slow.push(stream);
    }
    assert!(slowest_write(&mut client, 50) < BOUND);
    let began = Instant::now();
    assert_eq!(status(&get(admin, "/readyz").expect("an answer")), "200");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert!(server.rss_bytes() < before + (16 << 20), "{} before {before}", server.rss_bytes());
    for mut stream in slow {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        // An answer that says so, or none; but an end.
        let ended = stream.read_to_end(&mut rest);
        let is_timeout = ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_timeout, "it is still open after {PATIENCE:?}");
    }
}

#[test]
fn heads_without_end_are_refused() {
    let Admin { server, admin, .. } = start("");
    let before = server.rss_bytes();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"GET /commands/ruok HTTP/1.1\r\n").expect("sent");
        let line = [b"X-Long: ".as_slice(), &[b'x'; 4000], b"\r\n"].concat();
        // It stops reading long before.
        for _ in 0..1000 {
            if stream.write_all(&line).is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || status(&answer) == "431", "{answer}");
    }
    assert!(server.rss_bytes() < before + (16 << 20), "{} before {before}", server.rss_bytes());
    assert_eq!(status(&get(admin, "/livez").expect("an answer")), "200");
}

#[test]
fn a_scrape_every_ten_milliseconds_disturbs_nobody() {
    let Admin { server, metrics, .. } = start("");
    let mut client = Client::connect(server.address(), 10_000);
    client.create("/n", b"", 0).expect("a new node");
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            for _ in 0..200 {
                let answer = get(metrics, "/metrics").expect("an answer");
                assert_eq!(status(&answer), "200");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        while !scraper.is_finished() {
            assert!(slowest_write(&mut client, 10) < BOUND);
        }
        scraper.join().expect("every scrape was answered");
    });
}

/// A server that refuses writes says so where it is asked whether it is ready, and lives on.
#[test]
fn readyz_tells_of_a_full_disk() {
    use crate::support::disks::mount_tmpfs;
    use crate::support::namespace::{Namespace, inside};
    inside(Namespace::Mounts, "admin::readyz_tells_of_a_full_disk", || {
        let port = free_port();
        let home = Home::new(&format!(
            "preAllocSize=1024\nsnapCount=1000000\nadmin.enableServer=true\n\
             admin.serverAddress=127.0.0.1\nadmin.serverPort={port}"
        ));
        let dir = home.data_dir();
        mount_tmpfs(&dir);
        let server = home.start();
        let admin = loopback(port);
        assert_eq!(status(&get(admin, "/readyz").expect("an answer")), "200");
        // No new session is had while the log is full.
        let mut writer = Client::connect(server.address(), 10_000);
        let mut filler = std::fs::File::create(dir.join("filler")).expect("a new file");
        for piece in [1 << 16, 1 << 12] {
            while filler.write_all(&vec![1; piece]).is_ok() {}
        }
        let body = |number: usize| create_body(&format!("/n-{number}"), &[b'x'; 64 << 10], 0);
        let mut asked = 0;
        let answer = wait_for("it to say that it is not ready", || {
            if asked < 500 {
                writer.ask(op::CREATE, &body(asked)).expect("sent");
                asked += 1;
            }
            let answer = get(admin, "/readyz").expect("an answer");
            (status(&answer) == "503").then_some(answer)
        });
        assert!(answer.contains("the log's disk is full"), "{answer}");
        assert_eq!(status(&get(admin, "/livez").expect("an answer")), "200");
        drop(filler);
        std::fs::remove_file(dir.join("filler")).expect("it is there");
        wait_until("it to be ready again", || {
            status(&get(admin, "/readyz").expect("an answer")) == "200"
        });
        let mut other = Client::connect(server.address(), 10_000);
        other.create("/after", b"", 0).expect("writes are taken again");
    });
}
