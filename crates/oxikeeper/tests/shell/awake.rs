//! Processors are kept awake while a few clients ask closely, by the idle class, and not otherwise.

use std::fs;

use crate::support::client::Client;
use crate::support::process::Server;
use crate::support::wait_until;

/// `SCHED_IDLE`, sched(7).
const IDLE_CLASS: &str = "5";

/// A thread of a process, by name, as `/proc` has it.
struct Thread {
    stat: String,
}

impl Thread {
    fn find(server: &Server, name: &str) -> Option<Thread> {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
        tasks.filter_map(Result::ok).find_map(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            stat.contains(&format!("({name})")).then_some(Thread { stat })
        })
    }

    /// Field of proc_pid_stat(5), from 3 on.
    fn field(&self, number: usize) -> &str {
        let (_, fields) = self.stat.rsplit_once(')').expect("a name in brackets");
        fields.split_whitespace().nth(number - 3).expect("so many fields")
    }

    /// Hundredths of a second.
    fn cpu_ticks(&self) -> u64 {
        [14, 15].iter().map(|number| self.field(*number).parse::<u64>().expect("a number")).sum()
    }
}

#[test]
fn a_lone_client_keeps_a_processor_awake_as_long_as_it_asks() {
    let server = Server::start("oxikeeper.awakeThreads=1");
    let helper = || Thread::find(&server, "awake-0").expect("there is a helper");
    let mut client = Client::connect(server.address(), 30_000);
    client.create("/a", b"x", 0).expect("a new node");
    wait_until("the helper is awake", || {
        for _ in 0..1000 {
            client.get("/a").expect("it is there");
        }
        helper().cpu_ticks() >= 2
    });
    assert_eq!(helper().field(41), IDLE_CLASS);
    wait_until("the helper sleeps", || helper().field(3) == "S");
    client.get("/a").expect("it is as good as before");
}

#[test]
fn without_helpers_there_are_none() {
    let server = Server::start("oxikeeper.awakeThreads=0");
    assert!(Thread::find(&server, "awake-0").is_none());
    assert!(Thread::find(&server, "accept").is_some(), "threads are found by name");
}
