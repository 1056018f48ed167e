//! Keeps Apache 3.8.0 awake. Its CommitProcessor can go to sleep over a request that has just come, and
//! sleeps until another one comes (ZOOKEEPER-4537, mended in 3.8.1): with clients that take turns, as
//! tests have them, that is for ever.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use oxikeeper_proto::{SessionId, Zxid};

use crate::client::RawClient;

/// How long such a server may sleep.
const PERIOD: Duration = Duration::from_secs(1);
/// Of the sessions that are opened for nothing else.
const TIMEOUT_MS: i32 = 4_000;

/// Opens a session at each of these servers now and again, until it is dropped.
pub struct Nudge {
    _ends: Sender<()>,
}

impl Nudge {
    /// Begins.
    pub fn new(servers: Vec<SocketAddr>) -> Nudge {
        let (ends, is_over) = mpsc::channel();
        thread::spawn(move || {
            let mut connections: Vec<RawClient> = Vec::new();
            while is_over.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                connections.clear();
                // Nobody waits for an answer: this request could be the one that is slept over.
                connections.extend(servers.iter().filter_map(|&server| greet(server)));
            }
        });
        Nudge { _ends: ends }
    }
}

/// Asks for a session. A server that is down needs none.
fn greet(server: SocketAddr) -> Option<RawClient> {
    let mut client = RawClient::open(server).ok()?;
    client.greet(SessionId::NONE, &[0; 16], TIMEOUT_MS, Zxid::ZERO).ok()?;
    Some(client)
}
