//! Probes that mean it: with a thread that really is stuck, and with a disk that stands still. And who may
//! have snapshots.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::admin::{get, loopback, start, status};
use crate::support::client::{Client, create_body, op};
use crate::support::disks::{freeze, mount_ext4};
use crate::support::namespace::{Namespace, has_program, inside};
use crate::support::port::free_port;
use crate::support::process::Home;
use crate::support::{PATIENCE, wait_for, wait_until};

/// Holds one thread of a process in its next wait for events, until it is dropped.
struct Held(Child);

impl Held {
    /// None where nobody may trace another process.
    fn thread(pid: u32, name: &str) -> Option<Held> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a live process");
        let is_named = |task: &fs::DirEntry| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.flatten().find(is_named).expect("a thread of that name");
        let held = Command::new("strace")
            .args(["-qq", "-e", "inject=epoll_wait,epoll_pwait:delay_enter=600000000", "-p"])
            .arg(task.file_name())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut held = Held(held.expect("strace is there"));
        let status = task.path().join("status");
        wait_for("the thread to be traced", || {
            let ended = held.0.try_wait().expect("a child");
            let text = fs::read_to_string(&status).expect("a live thread");
            let is_traced = text.lines().any(|line| {
                line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0")
            });
            (is_traced || ended.is_some()).then_some(is_traced)
        })
        .then_some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // With its tracer the thread is free.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_status(to: SocketAddr, path: &str, wanted: &str) -> String {
    wait_for(&format!("{path} to say {wanted}"), || {
        let answer = get(to, path).expect("an answer");
        (status(&answer) == wanted).then_some(answer)
    })
}

/// Needs strace and the right to trace. Without them it says so, and proves nothing.
#[test]
fn livez_tells_of_a_reactor_that_is_stuck() {
    let server = start("");
    assert_eq!(status(&get(server.admin, "/livez").expect("an answer")), "200");
    let held = has_program("strace").then(|| Held::thread(server.server.pid(), "reactor-0"));
    let Some(Some(held)) = held else {
        println!("no strace here, or no right to trace: that a reactor is stuck is not tested");
        return;
    };
    for path in ["/livez", "/readyz"] {
        let answer = wait_status(server.admin, path, "503");
        assert!(answer.contains("reactor 0 has not come round"), "{answer}");
    }
    // Whoever scrapes is told as well, and not kept waiting.
    let scrape = get(server.metrics, "/metrics").expect("an answer");
    assert_eq!(status(&scrape), "503", "{scrape}");
    drop(held);
    wait_status(server.admin, "/livez", "200");
    wait_status(server.admin, "/readyz", "200");
}

/// A disk that stands still is no reason to be started anew, but one to get no clients. Needs a file system
/// that can be frozen.
#[test]
fn readyz_tells_of_a_disk_that_stands_still() {
    let name = "health::readyz_tells_of_a_disk_that_stands_still";
    inside(Namespace::Mounts, name, || {
        let port = free_port();
        let home = Home::new(&format!(
            "preAllocSize=1024\nadmin.enableServer=true\nadmin.serverAddress=127.0.0.1\n\
             admin.serverPort={port}"
        ));
        let (admin, dir) = (loopback(port), home.data_dir());
        if !mount_ext4(&dir) {
            println!("no loop devices here: that a disk stands still is not tested");
            return;
        }
        let server = home.start();
        let mut writer = Client::connect(server.address(), 30_000);
        writer.create("/a", b"", 0).expect("a new node");
        assert_eq!(status(&get(admin, "/readyz").expect("an answer")), "200");
        freeze(&dir, "--freeze");
        let asked = writer.ask(op::CREATE, &create_body("/waiting", b"", 0)).expect("sent");
        let answer = wait_status(admin, "/readyz", "503");
        assert!(answer.contains("the log's disk has been at one write for"), "{answer}");
        let answer = get(admin, "/livez").expect("an answer");
        assert_eq!(status(&answer), "200", "{answer}");
        freeze(&dir, "--unfreeze");
        let reply = writer.next().expect("a reply");
        assert_eq!((reply.xid, reply.err), (asked, 0));
        wait_status(admin, "/readyz", "200");
    });
}

/// Status of a command asked for with this `Authorization`.
fn ask(to: SocketAddr, method: &str, command: &str, authorization: &str) -> String {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(
        stream,
        "{method} /commands/{command} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         {authorization}\r\n"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    status(&String::from_utf8_lossy(&answer)).to_owned()
}

#[test]
fn snapshots_are_for_who_has_all_rights_on_the_root() {
    const SET_ACL: i32 = 7;
    let server = start("admin.rateLimiterIntervalInMS=0");
    let mut client = Client::connect(server.server.address(), 30_000);
    // All rights for `digest` `user:password`, and reading for everybody.
    let mut body = Vec::new();
    let text = |text: &str, body: &mut Vec<u8>| {
        body.extend_from_slice(&(text.len() as u32).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    };
    text("/", &mut body);
    body.extend_from_slice(&2u32.to_be_bytes());
    for (perms, scheme, id) in
        [(31u32, "digest", "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY="), (1, "world", "anyone")]
    {
        body.extend_from_slice(&perms.to_be_bytes());
        text(scheme, &mut body);
        text(id, &mut body);
    }
    body.extend_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(client.call(SET_ACL, &body).expect("a reply").err, 0);
    let (known, other) =
        ("Authorization: digest user:password\r\n", "Authorization: digest user:another\r\n");
    for (method, command) in [("GET", "snapshot"), ("POST", "restore")] {
        assert_eq!(ask(server.admin, method, command, ""), "401", "{command}");
        let nonsense = "Authorization: nonsense user:password\r\n";
        assert_eq!(ask(server.admin, method, command, nonsense), "401", "{command}");
        assert_eq!(ask(server.admin, method, command, other), "403", "{command}");
    }
    assert_eq!(ask(server.admin, "GET", "snapshot", known), "200");
    // With the rights it is told how it is done.
    assert_eq!(ask(server.admin, "POST", "restore", known), "503");
    client.ping().expect("it serves");
}

/// Peers of the admin ports have file descriptors of their own: however many there are, the log finds
/// the ones it needs, and so do clients.
#[test]
fn crowds_at_every_port_leave_the_log_its_file_descriptors() {
    let (admin, metrics) = (loopback(free_port()), loopback(free_port()));
    let home = Home::new(&format!(
        "maxClientCnxns=0\nsnapCount=20\npreAllocSize=256\nadmin.enableServer=true\n\
         admin.serverAddress=127.0.0.1\nadmin.serverPort={}\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={}",
        admin.port(),
        metrics.port()
    ));
    let mut server = home.wrapped("ulimit -n 96 && exec \"$@\"").start();
    let mut client = Client::connect(server.address(), 30_000);
    let crowd: Vec<Client> =
        (0..200).map(|_| Client::open(server.address()).expect("the kernel connects")).collect();
    let mut peers = Vec::new();
    for _ in 0..100 {
        for port in [admin, metrics] {
            let mut peer = TcpStream::connect(port).expect("the kernel connects");
            // Some are closed already: the oldest give way.
            let _ = peer.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ");
            peers.push(peer);
        }
    }
    // Every twenty writes begin a new log file and a snapshot, which take descriptors.
    for number in 0..200 {
        client.create(&format!("/n{number}"), b"", 0).expect("a new node");
    }
    assert_eq!(status(&get(admin, "/readyz").expect("an answer")), "200");
    drop((crowd, peers));
    wait_until("the crowd to be gone", || {
        let late = Client::open(server.address());
        late.and_then(|mut late| late.handshake(4000)).is_ok()
    });
    assert!(server.is_running());
    let log = server.log();
    assert!(!log.contains("Too many open files"), "{log}");
    assert!(!log.contains("cannot accept"), "{log}");
}
