//! The sending side of a connection with another server. Whoever runs the Core sends, as far as the
//! kernel takes it: handing packets to the thread of the ports would cost a wake-up each time. What is
//! left over that thread sends, when there is room again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use mio::net::TcpStream as MioStream;
use oxikeeper_zab::io::LinkId;
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;

/// A connection with more than this waiting is of no use any more: its reader has stopped long ago.
const OUTPUT_BYTES_MAX: usize = 1 << 30;
/// An output buffer that has grown beyond this is given back once it is empty.
const OUTPUT_BYTES_KEPT: usize = 1 << 20;

/// See the module's head.
pub struct Outlet {
    /// The same connection as the thread of the ports reads from.
    socket: TcpStream,
    /// What nobody has begun to send. Held for a moment only: who runs the Core adds to it.
    waiting: Mutex<Vec<u8>>,
    /// Held by who sends.
    sending: Mutex<Sending>,
}

#[derive(Default)]
struct Sending {
    bytes: Vec<u8>,
    sent: usize,
    /// The feeder writes, or is about to: nothing else may.
    is_lent: bool,
}

/// What one attempt to send came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything is with the kernel.
    All,
    /// The rest has to wait, or another thread is at it.
    Some,
    /// The connection is over.
    Over,
}

impl Outlet {
    /// With nothing on its way.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn of(socket: &MioStream) -> io::Result<Arc<Outlet>> {
        let socket = TcpStream::from(SockRef::from(socket).try_clone()?);
        Ok(Arc::new(Outlet { socket, waiting: Mutex::default(), sending: Mutex::default() }))
    }

    /// Adds what is to be sent. True if nothing had been added since the last [`flush`](Self::flush):
    /// then another one is due.
    pub fn put(&self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.is_empty();
        encode(&mut waiting);
        was_empty
    }

    /// Sends as much as the kernel takes, unless another thread does: that one sends this as well.
    pub fn flush(&self) -> Sent {
        self.send(|| self.sending.try_lock())
    }

    /// The same for who has been told that there is room again, and is told only once: waits until
    /// nobody else sends.
    pub fn flush_rest(&self) -> Sent {
        self.send(|| Some(self.sending.lock()))
    }

    fn send<'a>(&'a self, lock: impl Fn() -> Option<MutexGuard<'a, Sending>>) -> Sent {
        loop {
            let Some(mut sending) = lock() else { return Sent::Some };
            match sending.send(&self.waiting, &self.socket) {
                Sent::All => {}
                Sent::Some => return Sent::Some,
                Sent::Over => {
                    drop(sending);
                    self.shut_down();
                    return Sent::Over;
                }
            }
            drop(sending);
            // Who has added something meanwhile found us at it, and left it to us.
            if self.waiting.lock().is_empty() {
                return Sent::All;
            }
        }
    }

    /// Ends the connection for both sides: who reads from it finds that.
    pub fn shut_down(&self) {
        // If it is over already, all the better.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Lends the connection to who sends a snapshot; what has to leave before it.
    pub fn lend(&self) -> Vec<u8> {
        let mut sending = self.sending.lock();
        sending.is_lent = true;
        sending.take_over(&self.waiting);
        let sent = std::mem::take(&mut sending.sent);
        sending.bytes.split_off(sent)
    }

    /// The snapshot is with the kernel: what came meanwhile follows.
    pub fn give_back(&self) -> Sent {
        let mut sending = self.sending.lock();
        sending.is_lent = false;
        sending.bytes.clear();
        drop(sending);
        self.flush_rest()
    }

    /// Whether it is lent.
    pub fn is_lent(&self) -> bool {
        self.sending.lock().is_lent
    }

    /// The connection itself, for who has borrowed it.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl Sending {
    fn take_over(&mut self, waiting: &Mutex<Vec<u8>>) {
        let mut waiting = waiting.lock();
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, &mut waiting);
        } else {
            self.bytes.append(&mut waiting);
        }
    }

    fn send(&mut self, waiting: &Mutex<Vec<u8>>, mut socket: &TcpStream) -> Sent {
        if self.is_lent {
            return Sent::Some;
        }
        self.take_over(waiting);
        if self.bytes.len() - self.sent > OUTPUT_BYTES_MAX {
            return Sent::Over;
        }
        while self.sent < self.bytes.len() {
            match socket.write(&self.bytes[self.sent..]) {
                Ok(0) => return Sent::Over,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Sent::Over,
            }
        }
        self.sent = 0;
        self.bytes.clear();
        if self.bytes.capacity() > OUTPUT_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        Sent::All
    }
}

/// The open connections of the quorum port by name.
pub type Outlets = Mutex<BTreeMap<LinkId, Arc<Outlet>>>;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Arc<Outlet>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        (Outlet::of(&MioStream::from_std(ours)).unwrap(), theirs)
    }

    #[test]
    fn who_adds_to_nothing_has_to_flush() {
        let (outlet, mut theirs) = pair();
        assert!(outlet.put(|out| out.extend_from_slice(b"one")));
        assert!(!outlet.put(|out| out.extend_from_slice(b"two")));
        assert_eq!(outlet.flush(), Sent::All);
        assert!(outlet.put(|out| out.extend_from_slice(b"!")));
        assert_eq!(outlet.flush(), Sent::All);
        let mut read = [0; 7];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"onetwo!");
    }

    #[test]
    fn what_a_full_connection_does_not_take_is_kept_in_order() {
        let (outlet, mut theirs) = pair();
        let bytes: Vec<u8> = (0..16u32 << 20).map(|index| (index % 251) as u8).collect();
        outlet.put(|out| out.extend_from_slice(&bytes));
        assert_eq!(outlet.flush(), Sent::Some, "no kernel takes sixteen megabytes");
        outlet.put(|out| out.push(7));
        assert_eq!(outlet.flush(), Sent::Some, "nor does it overtake");
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; bytes.len() + 1];
            theirs.read_exact(&mut read).unwrap();
            (read.pop() == Some(7), read == bytes)
        });
        while outlet.flush_rest() == Sent::Some {
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), (true, true));
    }

    #[test]
    fn nothing_overtakes_a_snapshot() {
        let (outlet, mut theirs) = pair();
        outlet.put(|out| out.extend_from_slice(b"before"));
        assert_eq!(outlet.lend(), b"before");
        outlet.put(|out| out.extend_from_slice(b"after"));
        assert_eq!(outlet.flush(), Sent::Some);
        outlet.socket().write_all(b"snapshot").unwrap();
        assert_eq!(outlet.give_back(), Sent::All);
        let mut read = [0; 13];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"snapshotafter");
    }

    #[test]
    fn a_connection_that_is_over_ends_for_who_reads_from_it_too() {
        let (outlet, theirs) = pair();
        // What was not read makes the end a reset.
        outlet.put(|out| out.push(1));
        outlet.flush();
        drop(theirs);
        while outlet.flush() != Sent::Over {
            outlet.put(|out| out.push(1));
        }
        assert_eq!((&mut outlet.socket()).read(&mut [0]).unwrap_or(0), 0);
    }
}
