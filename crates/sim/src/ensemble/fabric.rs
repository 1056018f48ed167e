//! Connections between servers: byte streams that are delayed, cut into pieces, blocked, reset and
//! left half open, but never reordered inside one.

use oxikeeper_zab::arbiter::ElectionConn;
use oxikeeper_zab::io::LinkId;

use crate::net::Pipe;
use crate::rng::Rng;

/// Which port of a server a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Always open while the process lives.
    Election,
    /// Open while the server leads.
    Quorum,
}

/// One end of a connection. Sides are 0, who opened it, and 1, who accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Which connection.
    pub wire: usize,
    /// Which of its ends.
    pub side: usize,
}

impl End {
    /// The name that the process at this end knows it by.
    fn name(self) -> u64 {
        (self.wire * 2 + self.side) as u64
    }

    fn named(name: u64) -> End {
        End { wire: name as usize / 2, side: name as usize % 2 }
    }

    /// Its name on the quorum port.
    pub fn link(self) -> LinkId {
        LinkId(self.name())
    }

    /// Its name on the election port.
    pub fn conn(self) -> ElectionConn {
        ElectionConn(self.name())
    }

    /// The other one.
    pub fn other(self) -> End {
        End { wire: self.wire, side: 1 - self.side }
    }
}

impl From<LinkId> for End {
    fn from(link: LinkId) -> End {
        End::named(link.0)
    }
}

impl From<ElectionConn> for End {
    fn from(conn: ElectionConn) -> End {
        End::named(conn.0)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    /// Where it leads.
    pub port: Port,
    /// The servers at its ends.
    pub servers: [usize; 2],
    /// Which life of each process it belongs to.
    pub lives: [u32; 2],
    /// What each end sends.
    pipes: [Pipe; 2],
    /// The process at this end has let go of it.
    pub closed: [bool; 2],
}

/// All connections there ever were.
#[derive(Debug)]
pub struct Fabric {
    /// By number.
    pub wires: Vec<Wire>,
    /// Nothing gets from the first to the second server.
    blocked: Vec<Vec<bool>>,
    /// Additional delay of what a server sends or gets, microseconds.
    slow: Vec<u64>,
    /// Connections of which one end sends into the void.
    silenced: Vec<usize>,
    /// Mean delay, microseconds.
    pub delay_us: u64,
}

impl Fabric {
    /// Between so many servers.
    pub fn new(servers: usize, delay_us: u64) -> Fabric {
        let blocked = vec![vec![false; servers]; servers];
        Fabric {
            wires: Vec::new(),
            blocked,
            slow: vec![0; servers],
            silenced: Vec::new(),
            delay_us,
        }
    }

    /// Whether something can get from one server to another.
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.blocked[from][to]
    }

    /// Blocks or opens one direction.
    pub fn set_blocked(&mut self, from: usize, to: usize, blocked: bool) {
        self.blocked[from][to] = blocked;
    }

    /// Everything passes again, at its usual pace.
    pub fn heal(&mut self) {
        for row in &mut self.blocked {
            row.fill(false);
        }
        self.slow.fill(0);
    }

    /// Whether anything is blocked.
    pub fn is_whole(&self) -> bool {
        self.blocked.iter().flatten().all(|blocked| !blocked)
    }

    /// Makes a server's links slower by this much.
    pub fn set_slow(&mut self, server: usize, delay_us: u64) {
        self.slow[server] = delay_us;
    }

    /// A new connection.
    pub fn connect(&mut self, port: Port, servers: [usize; 2], lives: [u32; 2]) -> usize {
        let pipes = [Pipe::default(), Pipe::default()];
        self.wires.push(Wire { port, servers, lives, pipes, closed: [false; 2] });
        self.wires.len() - 1
    }

    /// How long something takes from one server to another.
    pub fn delay(&self, from: usize, to: usize, rng: &mut Rng) -> u64 {
        rng.around(self.delay_us) + self.slow[from] + self.slow[to]
    }

    /// Sends bytes from this end, in one or two pieces. Returns when something arrives.
    pub fn send(&mut self, now: u64, from: End, bytes: &[u8], rng: &mut Rng) -> [Option<u64>; 2] {
        let [a, b] = [from.side, 1 - from.side].map(|side| self.wires[from.wire].servers[side]);
        let cut = if rng.chance(60) { rng.index(bytes.len().max(1)) } else { bytes.len() };
        let (first, second) = bytes.split_at(cut);
        let delays = [self.delay(a, b, rng), self.delay(a, b, rng)];
        let pipe = &mut self.wires[from.wire].pipes[from.side];
        [pipe.send(now, delays[0], first), pipe.send(now, delays[1], second)]
    }

    /// The process at this end lets go: what was sent still arrives. Returns when the other end can
    /// see it.
    pub fn close(&mut self, now: u64, end: End, rng: &mut Rng) -> Option<u64> {
        let [a, b] = [end.side, 1 - end.side].map(|side| self.wires[end.wire].servers[side]);
        let delay = self.delay(a, b, rng);
        let wire = &mut self.wires[end.wire];
        if std::mem::replace(&mut wire.closed[end.side], true) {
            return None;
        }
        wire.pipes[end.side].end(now, delay)
    }

    /// Both directions end, at any byte of what is on its way. Returns when the ends can see it.
    pub fn reset(&mut self, now: u64, wire: usize, rng: &mut Rng) -> [Option<u64>; 2] {
        let [ahead, back] = &mut self.wires[wire].pipes;
        ahead.revive();
        back.revive();
        // What side 0 sent is seen to end by side 1.
        [back.reset(now, rng), ahead.reset(now, rng)]
    }

    /// Nothing that this end sends arrives any more, and nobody is told.
    pub fn silence(&mut self, end: End) {
        self.wires[end.wire].pipes[end.side].die();
        self.silenced.push(end.wire);
    }

    /// Connections that were silenced: the kernels find out in the end.
    pub fn take_silenced(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.silenced)
    }

    /// Whether bytes have come to this end.
    pub fn has_bytes(&self, now: u64, at: End) -> bool {
        let wire = &self.wires[at.wire];
        let is_blocked = self.blocked[wire.servers[1 - at.side]][wire.servers[at.side]];
        !is_blocked && wire.pipes[1 - at.side].has_bytes(now)
    }

    /// Reads what has arrived at this end.
    pub fn read(&mut self, now: u64, at: End, max: usize) -> Vec<u8> {
        let wire = &mut self.wires[at.wire];
        if self.blocked[wire.servers[1 - at.side]][wire.servers[at.side]] {
            return Vec::new();
        }
        wire.pipes[1 - at.side].read(now, max)
    }

    /// Whether this end can see that nothing more comes.
    pub fn is_over(&self, now: u64, at: End) -> bool {
        let wire = &self.wires[at.wire];
        let is_blocked = self.blocked[wire.servers[1 - at.side]][wire.servers[at.side]];
        !is_blocked && wire.pipes[1 - at.side].is_over(now)
    }

    /// Both ends of each connection that some process may still hold, with the servers there.
    pub fn open_ends(&self) -> Vec<(End, usize)> {
        let mut ends = Vec::new();
        for (number, wire) in self.wires.iter().enumerate() {
            for side in 0..2 {
                if !wire.closed[side] {
                    ends.push((End { wire: number, side }, wire.servers[side]));
                }
            }
        }
        ends
    }

    /// Connections of which no end was let go.
    pub fn open_wires(&self) -> Vec<usize> {
        let is_open = |wire: &Wire| wire.closed == [false; 2];
        (0..self.wires.len()).filter(|&number| is_open(&self.wires[number])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_blocked_arrives_when_the_way_is_open_again() {
        let (mut fabric, mut rng) = (Fabric::new(2, 100), Rng::new(1));
        let wire = fabric.connect(Port::Quorum, [0, 1], [0, 0]);
        let (from, to) = (End { wire, side: 0 }, End { wire, side: 1 });
        fabric.set_blocked(0, 1, true);
        fabric.send(0, from, b"abc", &mut rng);
        fabric.send(0, to, b"back", &mut rng);
        fabric.close(0, from, &mut rng);
        assert_eq!(fabric.read(1_000_000, to, 10), b"");
        assert!(!fabric.is_over(1_000_000, to));
        assert_eq!(fabric.read(1_000_000, from, 10), b"back", "one direction alone is blocked");
        fabric.heal();
        assert_eq!(fabric.read(1_000_000, to, 10), b"abc");
        assert!(fabric.is_over(1_000_000, to));
    }

    #[test]
    fn names_of_ends_are_never_used_again() {
        let mut fabric = Fabric::new(2, 100);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let wire = fabric.connect(Port::Election, [0, 1], [0, 0]);
            for side in 0..2 {
                let end = End { wire, side };
                assert_eq!(End::from(end.link()), end);
                assert!(seen.insert(end.link()));
            }
        }
    }
}
