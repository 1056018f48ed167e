//! The clients of a simulated ensemble, and what is known of them.

use std::collections::BTreeMap;

use oxikeeper_proto::{SessionId, Zxid};

use crate::client::{Client, Env, Style};
use crate::core_client::CoreClient;
use crate::ghost::Ghost;
use crate::history::History;
use crate::net::Net;
use crate::options;
use crate::rng::Rng;

/// What is drawn for a run with clients.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Fronts of each server.
    pub fronts: usize,
    /// The clients.
    pub styles: Vec<Style>,
    /// Mean delay between clients and servers, microseconds.
    pub net_delay_us: u64,
    /// Bytes that wait for a reader that does not read.
    pub window_bytes: usize,
    /// Whether TTL nodes may be created.
    pub extended_types: bool,
    /// How long nothing goes wrong at the end, so that sessions have time to be lost, microseconds.
    pub calm_us: u64,
    /// Seed of the machines under test.
    pub node_seed: u64,
}

impl Crowd {
    /// Draws them.
    pub fn draw(rng: &mut Rng) -> Crowd {
        let think_us = *rng.pick(&[3_000, 10_000, 30_000, 80_000]);
        let clients = rng.between(3, 7) as usize;
        Crowd {
            fronts: rng.between(1, 2) as usize,
            styles: (0..clients).map(|_| options::style(rng, think_us)).collect(),
            net_delay_us: *rng.pick(&[50, 500, 5_000]),
            window_bytes: *rng.pick(&[400, 4000, 4000]),
            extended_types: rng.chance(800),
            calm_us: if rng.chance(300) { 15_000_000 } else { 0 },
            node_seed: rng.draw(),
        }
    }
}

/// A client.
pub enum Person {
    /// Speaks the protocol by itself, and misbehaves now and then.
    Model(Box<Client>),
    /// Has the session core of the client library.
    Core(Box<CoreClient>),
}

impl Person {
    /// Its turn. Returns when it wants the next one.
    pub fn wake(&mut self, env: &mut Env<'_>) -> u64 {
        match self {
            Person::Model(client) => client.wake(env),
            Person::Core(client) => client.wake(env),
        }
    }

    /// Whether it has got all its answers.
    pub fn is_settled(&self) -> bool {
        match self {
            Person::Model(client) => client.is_settled(),
            Person::Core(client) => client.is_settled(),
        }
    }
}

/// See the module's head.
pub struct People {
    /// What was drawn.
    pub crowd: Crowd,
    /// Their connections. Fronts are numbered through all servers.
    pub net: Net,
    /// Them.
    pub clients: Vec<Person>,
    /// When each wants to act.
    pub wakes_at: Vec<u64>,
    /// What they saw.
    pub history: History,
    /// Whom each server heard.
    pub heard: Vec<Ghost>,
    /// Every transaction that was ever proposed.
    pub payloads: BTreeMap<Zxid, Vec<u8>>,
    /// The timeout of each session, milliseconds.
    timeouts: BTreeMap<SessionId, i32>,
    /// Sessions that leaders have ended.
    pub expired: u64,
}

/// Clocks may be a fifth too fast, and what a client says takes its time to reach the Core: a session
/// that was heard within this part of its timeout, in a hundred, must live.
const SURELY_ALIVE: u64 = 60;

impl People {
    /// Clients that will connect, to so many servers.
    pub fn new(crowd: Crowd, servers: usize, rng: &mut Rng) -> People {
        let hosts = crowd.fronts * servers;
        let clients: Vec<Person> = crowd
            .styles
            .iter()
            .enumerate()
            .map(|(number, style)| {
                let connect_at = rng.below(2_000_000);
                // The first and every third one are as applications are.
                if number % 3 == 0 {
                    let seed = crowd.node_seed ^ number as u64;
                    Person::Core(Box::new(CoreClient::new(number, *style, connect_at, hosts, seed)))
                } else {
                    Person::Model(Box::new(Client::new(number, *style, connect_at)))
                }
            })
            .collect();
        People {
            net: Net {
                links: Vec::new(),
                delay_us: crowd.net_delay_us,
                window_bytes: crowd.window_bytes,
            },
            wakes_at: vec![u64::MAX; clients.len()],
            clients,
            history: History::of_ensemble(),
            heard: (0..servers).map(|_| Ghost::default()).collect(),
            payloads: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            expired: 0,
            crowd,
        }
    }

    /// A session is made.
    pub fn begins(&mut self, session: SessionId, timeout_ms: i32) {
        self.timeouts.insert(session, timeout_ms);
    }

    /// A leader ends a session because it was silent. It leads since `since`; since `calm` nothing is
    /// wrong with any server or connection.
    ///
    /// # Errors
    /// Too early.
    pub fn expires(
        &mut self,
        session: SessionId,
        leader: usize,
        now: u64,
        since: u64,
        calm: Option<u64>,
    ) -> Result<(), String> {
        self.expired += 1;
        let timeout_us = self.timeouts.get(&session).map_or(0, |ms| *ms as u64 * 1000);
        let alive_us = timeout_us * SURELY_ALIVE / 100;
        if now - since < alive_us {
            return Err(format!(
                "session {session} expires at {now} us; its timeout is {timeout_us}, and server \
                 {leader} leads only since {since}"
            ));
        }
        // What another server hears has a way to go, and may not get through.
        let way_us = 1_500_000;
        let was_calm = calm.is_some_and(|calm| now - calm > 2 * timeout_us + 2 * way_us);
        for (server, heard) in self.heard.iter().enumerate() {
            let Some(silence) = heard.silence(session, now) else { continue };
            let limit_us = match server == leader {
                true => alive_us,
                false if was_calm => alive_us.saturating_sub(way_us),
                false => 0,
            };
            if silence < limit_us {
                return Err(format!(
                    "session {session} expires at {now} us by server {leader}; its timeout is \
                     {timeout_us}, and for server {server} it was silent for {silence}"
                ));
            }
        }
        Ok(())
    }
}
