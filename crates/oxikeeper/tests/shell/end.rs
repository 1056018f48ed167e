//! How a server ends: told to, or killed. What was acknowledged is there afterwards.

use rustix::process::Signal;

use crate::support::client::{Client, EPHEMERAL, create_body, op};
use crate::support::process::{Home, Server};
use crate::support::wait_until;

/// Ends a server under load with a signal; everything acknowledged must be there after.
fn end_under_load(signal: Signal, expected_code: i32) {
    // Whoever runs the tests may have started them with signals ignored, and the server keeps to that.
    let script = "exec env --default-signal=TERM,INT,HUP \"$@\"";
    let server = Home::new("").wrapped(script).start();
    let mut client = Client::connect(server.address(), 4000);
    client.create("/before", b"", 0).expect("a new node");
    client.create("/held", b"", EPHEMERAL).expect("a new node");
    let mut asked = Vec::new();
    for number in 0..500 {
        let path = format!("/during-{number}");
        asked.push((client.ask(op::CREATE, &create_body(&path, b"", 0)).expect("sent"), path));
    }
    // The signal comes while these are under way.
    let first = client.next().expect("an answer");
    assert_eq!((first.xid, first.err), (asked[0].0, 0));
    server.signal(signal);
    let mut acknowledged = 1;
    while let Ok(reply) = client.next() {
        assert_eq!((reply.xid, reply.err), (asked[acknowledged].0, 0));
        acknowledged += 1;
    }
    let (code, home) = server.wait_end();
    assert_eq!(code, Some(expected_code), "{}", home.log());
    assert!(home.log().contains("ending"), "{}", home.log());

    let server = home.start();
    let mut again = Client::resume(server.address(), client.session, &client.password, 4000);
    assert_eq!(again.session, client.session, "the session lives on");
    assert!(again.exists("/before", false));
    assert!(again.exists("/held", false), "the session's ephemeral");
    for (_, path) in &asked[..acknowledged] {
        assert!(again.exists(path, false), "{path} was acknowledged");
    }
    again.close();
}

#[test]
fn sigterm_ends_it_with_143() {
    end_under_load(Signal::TERM, 143);
}

#[test]
fn sigint_ends_it_with_130() {
    end_under_load(Signal::INT, 130);
}

#[test]
fn sighup_ends_it_with_129() {
    end_under_load(Signal::HUP, 129);
}

/// `nohup` and shells start processes with signals ignored, and expect that to hold.
#[test]
fn signals_that_were_ignored_at_the_start_do_not_end_it() {
    let server = Home::new("").wrapped("trap '' HUP INT && exec \"$@\"").start();
    let mut client = Client::connect(server.address(), 4000);
    server.signal(Signal::HUP);
    server.signal(Signal::INT);
    // A request for the stacks of a JVM's threads is answered with a line, and it goes on.
    server.signal(Signal::QUIT);
    wait_until("a line about it", || server.log().contains("SIGQUIT"));
    client.create("/a", b"", 0).expect("it goes on");
    server.signal(Signal::TERM);
    let (code, home) = server.wait_end();
    assert_eq!(code, Some(143), "{}", home.log());
}

#[test]
fn a_kill_loses_nothing_acknowledged() {
    let mut server = Server::start("snapCount=40");
    let mut client = Client::connect(server.address(), 4000);
    let mut written = 0;
    for round in 1..=3 {
        for _ in 0..50 {
            written += 1;
            client.create(&format!("/n-{written}"), b"x", 0).expect("a new node");
        }
        server = server.kill().start();
        client = Client::resume(server.address(), client.session, &client.password, 4000);
        assert_ne!(client.session, 0, "round {round}: the session lives on");
        for number in 1..=written {
            assert!(client.exists(&format!("/n-{number}"), false), "round {round}: {number}");
        }
    }
    client.close();
}

/// Nobody reads its log any more, as behind `| head`; it has something to say all the same.
#[test]
fn a_log_that_nobody_takes_ends_nothing() {
    let on_a_full_disk = Home::new("").wrapped("exec \"$@\" 2>/dev/full");
    let in_a_closed_pipe = Home::new("").with_nobody_to_read_its_log();
    for (home, nobody) in [(on_a_full_disk, "a full disk"), (in_a_closed_pipe, "a closed pipe")] {
        let mut server = home.start();
        let mut client = Client::connect(server.address(), 4000);
        // Each of these expires, which is worth a line.
        for number in 0..2 {
            let path = format!("/lost-{number}");
            let mut lost = Client::connect(server.address(), 400);
            lost.create(&path, b"", EPHEMERAL).expect("a new node");
            drop(lost);
            wait_until("the session to expire", || !client.exists(&path, false));
        }
        assert!(server.is_running(), "with {nobody}");
        client.close();
    }
}

/// A write of the log that fails halfway: nobody knows what is on disk, so the process ends with
/// the reason, and the next one serves all that was acknowledged.
#[test]
fn a_failing_log_ends_it_with_code_1_and_loses_nothing() {
    // No file may be longer than 400 KiB, and the system says so with an error, not a signal.
    let script = "trap '' XFSZ && ulimit -f 400 && exec \"$@\"";
    let home = Home::new("preAllocSize=0");
    let server = home.wrapped(script).start();
    let mut client = Client::connect(server.address(), 4000);
    let mut acknowledged = 0;
    loop {
        let path = format!("/n-{acknowledged}");
        match client.call(op::CREATE, &create_body(&path, &[b'x'; 20_000], 0)) {
            Ok(reply) => assert_eq!(reply.err, 0),
            Err(_) => break,
        }
        acknowledged += 1;
        assert!(acknowledged < 1000, "no file gets longer than 400 KiB");
    }
    let (code, home) = server.wait_end();
    assert_eq!(code, Some(1), "{}", home.log());
    for words in ["the transaction log failed", "log.1: File too large"] {
        assert!(home.log().contains(words), "{}", home.log());
    }
    assert!(acknowledged > 5, "{acknowledged}");
    let server = home.wrapped("").start();
    let mut again = Client::resume(server.address(), client.session, &client.password, 4000);
    for number in 0..acknowledged {
        assert!(again.exists(&format!("/n-{number}"), false), "{number} was acknowledged");
    }
}

/// Somebody removes the data directory under it: it ends with the reason when it needs a new file,
/// and does not go on as if there were one.
#[test]
fn a_data_directory_that_is_gone_ends_it_with_code_1() {
    let server = Server::start("snapCount=20\npreAllocSize=64");
    let mut client = Client::connect(server.address(), 4000);
    client.create("/a", b"", 0).expect("a new node");
    let version_2 = server.home.data_dir().join("version-2");
    std::fs::remove_dir_all(&version_2).expect("it is there");
    let mut written = 0;
    while client.call(op::CREATE, &create_body(&format!("/n-{written}"), b"", 0)).is_ok() {
        written += 1;
        assert!(written < 10_000, "it goes on without its directory");
    }
    let (code, home) = server.wait_end();
    assert_eq!(code, Some(1), "{}", home.log());
    let place = version_2.display().to_string();
    for words in ["the transaction log failed", &place, "No such file or directory"] {
        assert!(home.log().contains(words), "no {words:?} in {}", home.log());
    }
}
