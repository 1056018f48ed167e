//! Proxies between the servers of an ensemble that keep every byte they pass on, in an order that was.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::ensemble::Ensemble;

/// Which of a server's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Where it leads.
    Quorum,
    /// Where it elects.
    Election,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum Event {
    /// What follows is about this.
    Step(String),
    /// Server `from` has opened a connection to server `to`.
    Opened {
        /// Its number.
        connection: usize,
        /// To which port.
        port: Port,
        /// Who opened it.
        from: u8,
        /// Who listens there.
        to: u8,
    },
    /// Bytes have passed.
    Bytes {
        /// On which connection.
        connection: usize,
        /// Sent by who opened it.
        forth: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// One side has ended its direction, which ends both.
    Closed {
        /// Which.
        connection: usize,
    },
}

/// The proxies of an ensemble. They stand until the process ends.
pub struct Tap {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    connections: usize,
    /// What leaders say is not passed on.
    held: bool,
    /// What was not.
    held_bytes: Vec<u8>,
}

/// A leader opens its port a moment after it was elected. Learners try again when they are refused, but
/// not when a connection is closed at once.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);

impl Tap {
    /// Stands between all servers of the ensemble.
    ///
    /// # Panics
    /// If an address is taken.
    pub fn start(ensemble: &Ensemble) -> Tap {
        let shared = Arc::new(Shared::default());
        for (&to, ports) in ensemble.members() {
            for &from in ensemble.members().keys().filter(|&&from| from != to) {
                let [first, second] = Ensemble::hosts(from, to);
                for (port, host, number) in [
                    (Port::Quorum, first, ports.quorum),
                    (Port::Quorum, second, ports.quorum),
                    (Port::Election, first, ports.election),
                    (Port::Election, second, ports.election),
                ] {
                    let listener = TcpListener::bind((host, number))
                        .expect("a port that was free on another address");
                    let real = SocketAddr::from((Ensemble::hosts(to, to)[0], number));
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        for client in listener.incoming().flatten() {
                            let shared = Arc::clone(&shared);
                            thread::spawn(move || {
                                // Who is not there is no news.
                                let _ = accept(client, real, port, from, to, &shared);
                            });
                        }
                    });
                }
            }
        }
        Tap { shared }
    }

    /// What the bytes from here on are about.
    pub fn step(&self, what: &str) {
        println!("== {what}");
        self.shared.lock().events.push(Event::Step(what.to_owned()));
    }

    /// Stops passing on what leaders say on quorum ports.
    pub fn hold(&self) {
        self.shared.lock().held = true;
    }

    /// What leaders have said since then, all of them together.
    pub fn held(&self) -> Vec<u8> {
        self.shared.lock().held_bytes.clone()
    }

    /// Passes on again. What was held is lost, and so are the connections that had something held.
    pub fn lose(&self) {
        let mut state = self.shared.lock();
        state.held = false;
        state.held_bytes.clear();
        self.shared.released.notify_all();
    }

    /// The recording so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().events.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread fails while it holds the recording")
    }
}

fn accept(
    client: TcpStream,
    real: SocketAddr,
    port: Port,
    from: u8,
    to: u8,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let deadline = Instant::now() + LEADER_PATIENCE;
    let upstream = loop {
        match TcpStream::connect(real) {
            Err(_) if port == Port::Quorum && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            upstream => break upstream?,
        }
    };
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let connection = {
        let mut state = shared.lock();
        state.connections += 1;
        let connection = state.connections;
        state.events.push(Event::Opened { connection, port, from, to });
        connection
    };
    for (from, to, forth) in
        [(client.try_clone()?, upstream.try_clone()?, true), (upstream, client, false)]
    {
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let may_be_held = port == Port::Quorum && !forth;
            // Ends with the connection, whichever way that ends.
            let _ = pass_on(&from, &to, &shared, connection, forth, may_be_held);
            let _ = from.shutdown(Shutdown::Both);
            if to.shutdown(Shutdown::Both).is_ok() {
                shared.lock().events.push(Event::Closed { connection });
            }
        });
    }
    Ok(())
}

/// Written down before it goes on: so the order of the recording is one that was.
fn pass_on(
    mut from: &TcpStream,
    mut to: &TcpStream,
    shared: &Shared,
    connection: usize,
    forth: bool,
    may_be_held: bool,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        let bytes = piece[..count].to_vec();
        let mut state = shared.lock();
        if may_be_held && state.held {
            state.held_bytes.extend_from_slice(&bytes);
            while state.held {
                state = shared.released.wait(state).expect("as above");
            }
            return Ok(());
        }
        state.events.push(Event::Bytes { connection, forth, bytes });
        drop(state);
        to.write_all(&piece[..count])?;
    }
}
