//! The simulator's clients, over real connections and in real time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use oxikeeper_sim::client::{Client, Env, Phase};
use oxikeeper_sim::history::History;
use oxikeeper_sim::marks::Marks;
use oxikeeper_sim::net::Net;
use oxikeeper_sim::options::style;
use oxikeeper_sim::rng::Rng;

/// Bytes that may wait for a client that does not read.
const WINDOW_BYTES: usize = 4000;
const CONNECT_PATIENCE: Duration = Duration::from_millis(300);

/// A connection of a client, as the kernel knows it.
struct Socket {
    stream: Option<TcpStream>,
    unsent: Vec<u8>,
}

/// See the module's head.
pub struct People {
    clients: Vec<Client>,
    wakes_at: Vec<u64>,
    net: Net,
    sockets: Vec<Socket>,
    marks: Marks,
    rng: Rng,
    began: Instant,
    /// What they saw.
    pub history: History,
}

impl People {
    /// So many clients that connect soon.
    pub fn new(count: usize, mut rng: Rng) -> People {
        let clients: Vec<Client> = (0..count)
            .map(|number| {
                let think_us = *rng.pick(&[2_000, 5_000, 20_000]);
                Client::new(number, style(&mut rng, think_us), rng.below(500_000))
            })
            .collect();
        People {
            wakes_at: vec![0; clients.len()],
            clients,
            net: Net { links: Vec::new(), delay_us: 100, window_bytes: WINDOW_BYTES },
            sockets: Vec::new(),
            marks: Marks::default(),
            rng,
            began: Instant::now(),
            history: History::of_ensemble(),
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Whether everybody has got all answers.
    pub fn are_settled(&self) -> bool {
        self.clients.iter().all(Client::is_settled)
    }

    /// Everybody whose time has come acts, and bytes go to and fro.
    pub fn act(&mut self, phase: Phase, servers: &[SocketAddr]) {
        let fronts = vec![Some(0); servers.len()];
        for number in 0..self.clients.len() {
            let now = self.now();
            if self.wakes_at[number] > now && phase != Phase::Gone {
                continue;
            }
            let links = self.net.links.len();
            let mut env = Env {
                now,
                net: &mut self.net,
                history: &mut self.history,
                rng: &mut self.rng,
                marks: &mut self.marks,
                phase,
                fronts: &fronts,
                arrivals: &mut Vec::new(),
            };
            self.wakes_at[number] = self.clients[number].wake(&mut env);
            for link in links..self.net.links.len() {
                self.connect(link, servers[self.net.links[link].front]);
            }
        }
        for link in 0..self.sockets.len() {
            self.send(link);
            self.receive(link);
        }
    }

    fn connect(&mut self, link: usize, address: SocketAddr) {
        let stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE).ok();
        let stream = stream.filter(|stream| {
            stream.set_nodelay(true).is_ok() && stream.set_nonblocking(true).is_ok()
        });
        if stream.is_none() {
            self.over(link);
        }
        self.sockets.push(Socket { stream, unsent: Vec::new() });
    }

    /// Nothing comes on a link any more.
    fn over(&mut self, link: usize) {
        let now = self.now();
        let pipes = &mut self.net.links[link];
        pipes.down.end(now, 0);
        self.wakes_at[pipes.client] = now;
    }

    fn send(&mut self, link: usize) {
        let now = self.now();
        let socket = &mut self.sockets[link];
        let Some(stream) = &mut socket.stream else { return };
        let up = &mut self.net.links[link].up;
        socket.unsent.extend(up.read(now, 1 << 16));
        while !socket.unsent.is_empty() {
            match stream.write(&socket.unsent) {
                Ok(sent) => drop(socket.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    socket.stream = None;
                    return self.over(link);
                }
            }
        }
        if socket.unsent.is_empty() && up.is_over(now) {
            socket.stream = None;
            self.over(link);
        }
    }

    fn receive(&mut self, link: usize) {
        let now = self.now();
        let Some(stream) = &mut self.sockets[link].stream else { return };
        let pipes = &mut self.net.links[link];
        let mut bytes = [0; 4096];
        loop {
            let room = pipes.down.room(WINDOW_BYTES).min(bytes.len());
            if room == 0 {
                return;
            }
            match stream.read(&mut bytes[..room]) {
                Ok(0) => break,
                Ok(count) => {
                    pipes.down.send(now, 0, &bytes[..count]);
                    self.wakes_at[pipes.client] = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.sockets[link].stream = None;
        self.over(link);
    }
}
