//! What happens when. Time is a number of microseconds; nobody waits for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fabric::End;
use crate::rng::Rng;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A process starts.
    Start(usize),
    /// A process looks at its clock.
    Wake(usize),
    /// Something can be read at this end.
    Arrive(End),
    /// An attempt to connect comes to its target, or is given up after so many tries.
    Dial {
        /// The connection that is to be.
        wire: usize,
        /// When it began.
        began: u64,
    },
    /// What a process gave to this end of an election connection is with its kernel.
    Drained(End),
    /// The last of a snapshot for the learner at the other side of this end, which stands at this zxid,
    /// is with the kernel.
    SnapshotSent(End, u64),
    /// The log thread of this life of a process has done its work.
    Logged {
        /// Whose.
        server: usize,
        /// Its life.
        life: u32,
    },
    /// An epoch file of this life of a process is written.
    EpochWritten {
        /// Whose.
        server: usize,
        /// Its life.
        life: u32,
    },
    /// A process goes on after a pause.
    Resume(usize),
    /// Something goes wrong, or is put right.
    Fault,
    /// A client wants something.
    Work,
    /// This client's turn.
    Client(usize),
    /// A turn of this Front of this life of a process.
    Front {
        /// Whose.
        server: usize,
        /// Its life.
        life: u32,
        /// Which.
        front: usize,
    },
    /// A turn of the Core of this life of a process.
    Core {
        /// Whose.
        server: usize,
        /// Its life.
        life: u32,
    },
}

/// Events in the order of their times; at the same time in any order.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
}

impl Agenda {
    /// Adds an event.
    pub fn add(&mut self, at: u64, event: Event, rng: &mut Rng) {
        // The count makes equal draws differ, so that the order never hangs on the events' own.
        self.count += 1;
        self.heap.push(Reverse((at, rng.draw() ^ self.count, event)));
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
