//! A disk without room: writes are refused, everything else goes on, and so do writes once there
//! is room again. On a small file system of the test's own, in a mount namespace of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{Client, EPHEMERAL, code, create_body, op};
use crate::support::disks::{mount_ext4, mount_tmpfs};
use crate::support::namespace::{Namespace, inside};
use crate::support::process::{Home, Server};
use crate::support::{wait_for, wait_until};

/// A server whose `dataDir` is a small file system: a real one where that can be, or in memory,
/// where there are no direct writes.
fn start_on_small_disk(kind: Kind) -> Server {
    let home = Home::new("preAllocSize=1024\nsnapCount=1000000");
    let dir = home.data_dir();
    if kind == Kind::Tmpfs || !mount_ext4(&dir) {
        mount_tmpfs(&dir);
    }
    home.start()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tmpfs,
    Ext4,
}

/// Takes all the room there is.
fn fill(dir: &Path) {
    let mut filler = File::create(dir.join("filler")).expect("a new file");
    for piece in [1 << 16, 1 << 12] {
        while filler.write_all(&vec![1; piece]).is_ok() {}
    }
}

fn make_room(dir: &Path) {
    fs::remove_file(dir.join("filler")).expect("it is there");
}

/// Pipelines creates of 64 KiB until the log has no room for them; gives how many.
fn write_until_full(server: &Server, writer: &mut Client) -> usize {
    let mut asked = 0;
    wait_until("the log to be full", || {
        let path = format!("/n-{asked}");
        writer.ask(op::CREATE, &create_body(&path, &[b'x'; 64 << 10], 0)).expect("sent");
        asked += 1;
        assert!(asked < 1000, "the disk never gets full");
        server.log().contains("writes wait until there is room")
    });
    asked
}

#[test]
fn writes_are_refused_while_everything_else_goes_on() {
    inside(
        Namespace::Mounts,
        "full_disk::writes_are_refused_while_everything_else_goes_on",
        || {
            let mut server = start_on_small_disk(Kind::Ext4);
            let data_dir = server.home.data_dir();
            let mut writer = Client::connect(server.address(), 4000);
            let mut client = Client::connect(server.address(), 4000);
            let (session, password) = (client.session, client.password.clone());
            client.create("/held", b"before", EPHEMERAL).expect("there is room");
            fill(&data_dir);
            let asked = write_until_full(&server, &mut writer);

            // Refused, with the documented error, again and again; reads and pings as ever.
            for _ in 0..100 {
                let refused = client.set("/held", b"x");
                assert_eq!(refused, Err(code::OPERATION_TIMEOUT), "{}", server.log());
                assert_eq!(client.create("/new", b"", 0), Err(code::OPERATION_TIMEOUT));
                client.ping().expect("answered");
                assert!(client.exists("/held", false));
                assert!(!client.exists("/new", false));
            }
            // A session takes a write: nobody gets a new one, but who has one may come back.
            let mut newcomer = Client::open(server.address()).expect("a connection");
            newcomer.handshake(4000).expect_err("closed");
            let mut client = Client::resume(server.address(), session, &password, 4000);
            assert_eq!(client.session, session);
            assert!(client.exists("/held", false));
            assert!(server.word("srvr").contains("Mode: standalone"));
            assert!(server.is_running(), "{}", server.log());

            make_room(&data_dir);
            wait_until("writes to go on", || client.set("/held", b"after").is_ok());
            assert!(server.log().contains("there is room for the log again"), "{}", server.log());
            Client::connect(server.address(), 4000).close();
            // What waited happened, what was refused did not, now and after a crash.
            let replies: Vec<i32> =
                (0..asked).map(|_| writer.next().expect("every request is answered").err).collect();
            assert!(replies.iter().all(|&err| err == 0 || err == code::OPERATION_TIMEOUT));
            assert_eq!(replies[0], 0, "there was room for the first");
            assert_is_as_answered(&mut client, &replies);
            let server = server.kill().start();
            let mut client = Client::resume(server.address(), session, &password, 4000);
            assert_is_as_answered(&mut client, &replies);
            assert_eq!(client.get("/held"), Ok(b"after".to_vec()));
        },
    );
}

fn assert_is_as_answered(client: &mut Client, replies: &[i32]) {
    for (number, &err) in replies.iter().enumerate() {
        let is_there = client.exists(&format!("/n-{number}"), false);
        assert_eq!(is_there, err == 0, "/n-{number} was answered {err}");
    }
}

/// A server that starts without room serves what it has.
#[test]
fn a_start_on_a_full_disk_serves_reads() {
    inside(Namespace::Mounts, "full_disk::a_start_on_a_full_disk_serves_reads", || {
        let server = start_on_small_disk(Kind::Tmpfs);
        let data_dir = server.home.data_dir();
        let mut client = Client::connect(server.address(), 4000);
        let (session, password) = (client.session, client.password.clone());
        client.create("/a", b"kept", 0).expect("there is room");
        let home = server.kill();
        fill(&data_dir);
        let mut server = home.start();
        let mut client = Client::resume(server.address(), session, &password, 4000);
        assert_eq!(client.session, session);
        assert_eq!(client.get("/a"), Ok(b"kept".to_vec()));
        client.ask(op::CREATE, &create_body("/b", b"", 0)).expect("sent");
        wait_until("a word about it in the log", || {
            server.log().contains("writes wait until there is room")
        });
        assert!(server.is_running(), "{}", server.log());
        make_room(&data_dir);
        // Its write waited, and happens now.
        assert_eq!(client.next().expect("a reply").err, 0);
        assert!(client.exists("/b", false));
        wait_for("new sessions", || {
            let mut client = Client::open(server.address()).expect("a connection");
            client.handshake(4000).ok()
        });
    });
}

/// Told to end while a write waits for room, it ends in time; what was acknowledged is kept.
#[test]
fn a_full_disk_does_not_keep_it_from_ending() {
    inside(Namespace::Mounts, "full_disk::a_full_disk_does_not_keep_it_from_ending", || {
        let server = start_on_small_disk(Kind::Ext4);
        let data_dir = server.home.data_dir();
        let mut client = Client::connect(server.address(), 4000);
        let (session, password) = (client.session, client.password.clone());
        client.create("/a", b"kept", 0).expect("there is room");
        fill(&data_dir);
        write_until_full(&server, &mut client);
        let began = Instant::now();
        server.signal(Signal::TERM);
        let (code, home) = server.wait_end();
        assert_eq!(code, Some(143), "{}", home.log());
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        make_room(&data_dir);
        let server = home.start();
        let mut client = Client::resume(server.address(), session, &password, 4000);
        assert_eq!(client.get("/a"), Ok(b"kept".to_vec()));
    });
}

/// The log has room and the snapshots have none: writes go on, and snapshots once they can.
#[test]
fn no_room_for_snapshots_holds_nobody_up() {
    inside(Namespace::Mounts, "full_disk::no_room_for_snapshots_holds_nobody_up", || {
        let home = Home::new("").with_settings("snapCount=50\npreAllocSize=256");
        mount_tmpfs(&home.data_dir());
        let logs = home.path("logs");
        let settings = format!("snapCount=50\npreAllocSize=256\ndataLogDir={}", logs.display());
        let mut server = home.with_settings(&settings).start();
        let snapshots = server.home.data_dir().join("version-2");
        let count = || {
            let names = fs::read_dir(&snapshots)
                .expect("files")
                .map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
            names.filter(|name| name.starts_with("snapshot.")).count()
        };
        let mut client = Client::connect(server.address(), 4000);
        fill(&server.home.data_dir());
        let before = count();
        let mut written = 0;
        let mut write = |client: &mut Client| {
            client.create(&format!("/n-{written}"), &[b'x'; 2000], 0).expect("the log has room");
            written += 1;
        };
        wait_until("a word about it in the log", || {
            write(&mut client);
            server.log().contains("No space left on device")
        });
        (0..200).for_each(|_| write(&mut client));
        assert!(server.is_running());
        assert_eq!(count(), before, "half a snapshot is none");
        make_room(&server.home.data_dir());
        wait_until("a snapshot", || {
            write(&mut client);
            count() > before
        });
        let server = server.kill().start();
        let mut client = Client::resume(server.address(), client.session, &client.password, 4000);
        for number in 0..written {
            assert!(client.exists(&format!("/n-{number}"), false), "{number} was acknowledged");
        }
    });
}
