//! Who acts when. Time is a number; nobody waits for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::rng::Rng;

/// Whoever runs the Core.
pub const CORE: usize = 0;
/// The log writer.
pub const LOG: usize = 1;
/// The snapshot thread.
pub const SNAPSHOT: usize = 2;
/// The first reactor; others follow.
pub const REACTOR: usize = 3;
/// Most reactors there may be.
pub const REACTORS_MAX: usize = 3;
/// What goes wrong from outside.
pub const FAULTS: usize = REACTOR + REACTORS_MAX;
/// The first client; others follow.
pub const CLIENT: usize = FAULTS + 1;

/// One next turn for each actor. Turns at the same time come in any order.
#[derive(Debug)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    due: Vec<u64>,
}

impl Schedule {
    /// Nobody is to act.
    pub fn new(actors: usize) -> Schedule {
        Schedule { heap: BinaryHeap::new(), due: vec![u64::MAX; actors] }
    }

    /// Gives an actor its next turn at this time, unless it has one sooner.
    pub fn wake(&mut self, actor: usize, at: u64, rng: &mut Rng) {
        if at < self.due[actor] {
            self.due[actor] = at;
            self.heap.push(Reverse((at, rng.draw(), actor)));
        }
    }

    /// Takes an actor's turn away.
    pub fn forget(&mut self, actor: usize) {
        self.due[actor] = u64::MAX;
    }

    /// The next turn.
    pub fn pop(&mut self) -> Option<(u64, usize)> {
        while let Some(Reverse((at, _, actor))) = self.heap.pop() {
            if self.due[actor] == at {
                self.due[actor] = u64::MAX;
                return Some((at, actor));
            }
        }
        None
    }
}
