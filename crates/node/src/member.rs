//! One server of an ensemble, or a standalone one: the Core, and the peer that agrees with the others
//! on what the Core may apply.
//!
//! ```text
//!   Front --> Core ---Propose, ToLeader, ...--> Peer --> Send, WriteEpoch, ... --> driver
//!   Front <-- Core <--Append, Commit, Role, ... Peer <-- Packet, EpochWritten, ... driver
//! ```
//!
//! What one says to the other is passed on at once and in order, within the step that made it say so:
//! a Core never proposes to a peer that does not lead any more. Decision 0003.

use oxikeeper_tree::Tree;
use oxikeeper_zab::io::{Input as PeerInput, Output as PeerOutput};
use oxikeeper_zab::peer::Peer;

use crate::core::{Core, Input};
use crate::time::Now;

/// See the module's head.
pub struct Member {
    core: Core,
    peer: Option<Peer>,
    now: Now,
    said: Vec<PeerOutput>,
}

impl Member {
    /// A server that nobody has to agree with.
    pub fn standalone(core: Core) -> Member {
        Member { core, peer: None, now: Now::default(), said: Vec::new() }
    }

    /// A server of an ensemble: both were made over the same history.
    pub fn new(core: Core, peer: Peer) -> Member {
        Member { core, peer: Some(peer), now: Now::default(), said: Vec::new() }
    }

    /// The half that orders and applies.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// As [`core`](Self::core), for what does not concern the peer.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// The half that agrees.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Takes one input of the Core. What the driver has to do for the peer is added to `out`.
    pub fn step(&mut self, input: Input, tree: &Tree, out: &mut Vec<PeerOutput>) {
        let of_peer = match &input {
            Input::Tick { now, .. } => {
                self.now = self.now.max(*now);
                Some(PeerInput::Tick)
            }
            Input::Durable(zxid) => Some(PeerInput::LogDurable(*zxid)),
            _ => None,
        };
        self.core.step(input, tree);
        // First what the Core has made of it: with the same tick the peer may cease to lead, and what is
        // in the log by then has to be in its history.
        self.pass_on(tree, out);
        if let (Some(peer), Some(input)) = (&mut self.peer, of_peer) {
            peer.step(self.now, input, &mut self.said);
            self.pass_on(tree, out);
        }
    }

    /// Takes one input of the peer. After [`PeerInput::Truncated`] and
    /// [`PeerInput::SnapshotInstalled`] `tree` is the new one already.
    pub fn step_peer(&mut self, input: PeerInput, tree: &Tree, out: &mut Vec<PeerOutput>) {
        let Some(peer) = &mut self.peer else { return };
        if matches!(input, PeerInput::Truncated { .. } | PeerInput::SnapshotInstalled { .. }) {
            self.core.restored(tree);
        }
        peer.step(self.now, input, &mut self.said);
        self.pass_on(tree, out);
    }

    /// When the next tick is needed at the latest.
    pub fn next_deadline(&mut self) -> Option<Now> {
        let of_peer = self.peer.as_mut().and_then(Peer::next_deadline);
        of_peer.into_iter().chain(self.core.next_deadline()).min()
    }

    /// What holds between any two steps.
    pub fn check_invariants(&self, tree: &Tree) {
        self.core.check_invariants(tree);
        if let Some(peer) = &self.peer {
            peer.check_invariants();
            let history = peer.history();
            assert_eq!(history.last_logged(), self.core.last_zxid(), "one log, two views of it");
        }
    }

    /// Lets each take what the other said, until both are silent.
    fn pass_on(&mut self, tree: &Tree, out: &mut Vec<PeerOutput>) {
        let Some(peer) = &mut self.peer else { return };
        loop {
            for output in self.said.drain(..) {
                out.extend(self.core.on_peer(output, tree));
            }
            let words = self.core.take_words_to_peer();
            if words.is_empty() {
                return;
            }
            for word in words {
                peer.step(self.now, word, &mut self.said);
            }
        }
    }
}
