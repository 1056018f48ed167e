//! Somebody who is served all the time, whatever the others do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::Client;
use super::wait_until;

/// No request of a witness may take longer. A write waits for the disk, and the machine may have
/// neighbours.
const LATENCY_MAX: Duration = Duration::from_secs(5);
/// Between two rounds, so that the witness does not take the machine for itself.
const PAUSE: Duration = Duration::from_millis(2);

/// A client in a thread of its own that reads, writes and pings, round after round.
pub struct Witness {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<Duration>>,
}

impl Witness {
    /// Connects from 127.0.0.2, so that limits on the test's own address do not concern it.
    pub fn start(address: SocketAddr) -> Witness {
        let from = Ipv4Addr::new(127, 0, 0, 2);
        let mut client = Client::open_from(from, address).expect("the server takes connections");
        client.set_patience(LATENCY_MAX);
        client.handshake(4000).expect("the server grants a session");
        client.create("/witness", b"0", 1).expect("a new node");
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            while !stopped.load(Ordering::SeqCst) {
                let round = counted.load(Ordering::SeqCst).to_string();
                let mut timed = |what: &str, step: &mut dyn FnMut()| {
                    let began = Instant::now();
                    step();
                    let took = began.elapsed();
                    assert!(took < LATENCY_MAX, "the witness's {what} took {took:?}");
                    worst = worst.max(took);
                };
                timed("write", &mut || client.set("/witness", round.as_bytes()).expect("written"));
                timed("read", &mut || {
                    assert_eq!(client.get("/witness").expect("read"), round.as_bytes());
                });
                timed("ping", &mut || client.ping().expect("answered"));
                counted.fetch_add(1, Ordering::SeqCst);
                thread::sleep(PAUSE);
            }
            client.close();
            worst
        });
        Witness { stop, rounds, thread: Some(thread) }
    }

    /// Waits until it has been through so many more rounds.
    pub fn wait_rounds(&self, count: u64) {
        let until = self.rounds.load(Ordering::SeqCst) + count;
        wait_until("the witness to be served", || {
            let is_over = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!is_over, "the witness failed, see above");
            self.rounds.load(Ordering::SeqCst) >= until
        });
    }

    /// Ends it. Gives the longest that any of its requests took.
    ///
    /// # Panics
    /// If it was not served to the end.
    pub fn finish(mut self) -> Duration {
        self.wait_rounds(3);
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("not finished before");
        thread.join().expect("the witness was served to the end")
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // A test that failed leaves it behind: it ends with its next round.
        self.stop.store(true, Ordering::SeqCst);
    }
}
