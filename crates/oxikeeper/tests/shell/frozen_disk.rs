//! A disk that stands still, as network storage does now and then: writes wait, everything else goes
//! on, and nobody loses a session over it.

use std::time::{Duration, Instant};

use crate::support::client::{Client, EPHEMERAL, NODE_DELETED, create_body, op, request};
use crate::support::disks::{freeze, mount_ext4};
use crate::support::namespace::{Namespace, inside};
use crate::support::process::Home;
use crate::support::wait_until;

/// Longer than any session of the test may be silent.
const STANDSTILL: Duration = Duration::from_secs(4);

/// Needs a file system that can be frozen, so root and loop devices. Without them it says so, and
/// proves nothing.
#[test]
fn while_the_disk_stands_still_reads_go_on_and_sessions_live() {
    let name = "frozen_disk::while_the_disk_stands_still_reads_go_on_and_sessions_live";
    inside(Namespace::Mounts, name, || {
        let home = Home::new("preAllocSize=1024");
        let dir = home.data_dir();
        if !mount_ext4(&dir) {
            println!("no loop devices here: that a disk stands still is not tested");
            return;
        }
        let mut server = home.start();
        let mut reader = Client::connect(server.address(), 1500);
        let mut writer = Client::connect(server.address(), 1500);
        let mut gone = Client::connect(server.address(), 1500);
        reader.create("/held", b"x", EPHEMERAL).expect("a new node");
        gone.create("/gone", b"x", EPHEMERAL).expect("a new node");
        assert!(reader.exists("/gone", true));
        drop(gone);

        freeze(&dir, "--freeze");
        let asked = writer.ask(op::CREATE, &create_body("/waiting", b"", 0)).expect("sent");
        let began = Instant::now();
        while began.elapsed() < STANDSTILL {
            let round = Instant::now();
            reader.ping().expect("answered");
            assert_eq!(reader.get("/held").as_deref(), Ok(&b"x"[..]));
            assert!(!reader.exists("/waiting", false), "nothing shows before it is durable");
            assert!(reader.exists("/gone", false), "its end waits for the disk as well");
            // The answer comes behind the write's, but it is a sign of life.
            writer.send(&request(-2, op::PING, &[])).expect("sent");
            assert!(round.elapsed() < Duration::from_secs(2), "a round took {:?}", round.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        freeze(&dir, "--unfreeze");

        let reply = writer.next().expect("a reply");
        assert_eq!((reply.xid, reply.err), (asked, 0), "it waited, and happened");
        wait_until("the session that really was silent to end", || {
            writer.send(&request(-2, op::PING, &[])).expect("sent");
            reader.ping().expect("this one lives on");
            !reader.events.is_empty()
        });
        assert_eq!(reader.wait_event(), (NODE_DELETED, "/gone".to_owned()));
        assert!(reader.exists("/held", false));
        assert!(reader.exists("/waiting", false));
        // Checks of logs search for these words.
        assert!(server.log().contains("fsync-ing the write ahead log took"), "{}", server.log());
        assert!(server.is_running());
    });
}

/// Writes that nobody can answer for now: the server takes so many, and leaves the rest in the
/// sockets. Who has none in flight is served.
#[test]
fn outstanding_requests_are_limited() {
    const LIMIT: usize = 20;
    const WRITERS: usize = 10;
    const WRITES: usize = 100;
    let name = "frozen_disk::outstanding_requests_are_limited";
    inside(Namespace::Mounts, name, || {
        let home = Home::new(&format!("preAllocSize=1024\nglobalOutstandingLimit={LIMIT}"));
        let dir = home.data_dir();
        if !mount_ext4(&dir) {
            println!("no loop devices here: outstanding requests are not tested");
            return;
        }
        let server = home.start();
        let mut reader = Client::connect(server.address(), 4000);
        reader.create("/a", b"x", 0).expect("a new node");
        let mut writers: Vec<Client> =
            (0..WRITERS).map(|_| Client::connect(server.address(), 4000)).collect();
        freeze(&dir, "--freeze");
        for (index, writer) in writers.iter_mut().enumerate() {
            for number in 0..WRITES {
                let body = create_body(&format!("/n-{index}-{number}"), b"", 0);
                writer.ask(op::CREATE, &body).expect("sent");
            }
        }
        let outstanding = || -> usize {
            let summary = server.word("srvr");
            let line = summary.lines().find_map(|line| line.strip_prefix("Outstanding: "));
            line.and_then(|number| number.parse().ok()).expect("a number")
        };
        wait_until("the limit to be reached", || outstanding() >= LIMIT);
        for _ in 0..50 {
            assert_eq!(reader.get("/a").as_deref(), Ok(&b"x"[..]));
            // A connection without any in flight may always have one.
            let taken = outstanding();
            assert!(taken <= LIMIT + WRITERS, "{taken} are taken");
        }
        freeze(&dir, "--unfreeze");
        for writer in &mut writers {
            for _ in 0..WRITES {
                assert_eq!(writer.next().expect("a reply").err, 0);
            }
        }
        assert_eq!(outstanding(), 0);
        wait_until("a word about it in the log", || {
            server.log().contains("globalOutstandingLimit")
        });
    });
}
