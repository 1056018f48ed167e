//! A proxy that keeps every frame it passes on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use super::hex;

/// Stands between clients and a server until the process ends.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    text: String,
    connections: usize,
    open: Vec<TcpStream>,
    held: bool,
}

impl Proxy {
    /// Listens on a free port for clients of `server`.
    pub fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let proxy = Proxy { address, state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that goes away at once has nothing worth recording.
                let _ = accept(client, server, &state);
            }
        });
        proxy
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the frames from here on are about.
    pub fn step(&self, what: &str) {
        lock(&self.state).text.push_str(&format!("== {what}\n"));
    }

    /// Cuts every connection and refuses new ones.
    pub fn hold(&self) {
        let mut state = lock(&self.state);
        state.held = true;
        for stream in state.open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn release(&self) {
        lock(&self.state).held = false;
    }

    /// The recording so far; a new one begins.
    pub fn take(&self) -> String {
        std::mem::take(&mut lock(&self.state).text)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread fails while it holds the recording")
}

fn accept(client: TcpStream, server: SocketAddr, state: &Arc<Mutex<State>>) -> io::Result<()> {
    let upstream = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let number = {
        let mut state = lock(state);
        if state.held {
            return Ok(());
        }
        state.connections += 1;
        state.open.extend([client.try_clone()?, upstream.try_clone()?]);
        state.connections
    };
    for (from, to, arrow) in
        [(client.try_clone()?, upstream.try_clone()?, '>'), (upstream, client, '<')]
    {
        let state = Arc::clone(state);
        thread::spawn(move || {
            // Ends with the connection, whichever way that ends.
            let _ = pass_on(&from, &to, &state, &format!("{number} {arrow}"));
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// Frame by frame, written down before it goes on: so the order of the recording is one that was.
fn pass_on(
    mut from: &TcpStream,
    mut to: &TcpStream,
    state: &Mutex<State>,
    prefix: &str,
) -> io::Result<()> {
    loop {
        let mut frame = vec![0; 4];
        from.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(4 + length, 0);
        from.read_exact(&mut frame[4..])?;
        lock(state).text.push_str(&format!("{prefix} {}\n", hex(&frame)));
        to.write_all(&frame)?;
    }
}
