//! Defects that tests of tests inject into agreement: each has cost somebody data once, and the
//! scenarios and the simulator have to notice each. Without the feature `mutations` nothing of this
//! is compiled in.

/// A defect, by what it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A proposal is acknowledged before the log has it (ZOOKEEPER-4646).
    EarlyAck,
    /// `currentEpoch` goes to disk before the history that belongs to it (ZOOKEEPER-4643).
    EpochBeforeHistory,
    /// NEWLEADER is acknowledged before the history is durable (ZOOKEEPER-3023, 3911).
    AckNewLeaderBeforeSync,
    /// NEWLEADER overtakes what the learner has yet to receive (ZOOKEEPER-3104).
    NewLeaderTooEarly,
    /// Observers count in quorums (ZOOKEEPER-2959).
    CountObservers,
    /// The counter of an epoch wraps around (ZOOKEEPER-1277).
    CounterWraps,
    /// Messages of an election connection that was replaced are taken.
    StaleConnection,
    /// ACKEPOCH promises the same epoch twice.
    DoubleEpochAnswer,
    /// A server whose disk was emptied votes.
    EmptyDiskVotes,
    /// A learner's history beyond the leader's is kept.
    SkipTrunc,
}

impl Mutation {
    /// All of them.
    pub const ALL: &'static [Mutation] = &[
        Mutation::EarlyAck,
        Mutation::EpochBeforeHistory,
        Mutation::AckNewLeaderBeforeSync,
        Mutation::NewLeaderTooEarly,
        Mutation::CountObservers,
        Mutation::CounterWraps,
        Mutation::StaleConnection,
        Mutation::DoubleEpochAnswer,
        Mutation::EmptyDiskVotes,
        Mutation::SkipTrunc,
    ];
}

#[cfg(feature = "mutations")]
mod armed {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ARMED: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Injects this defect into all machines of this thread, or none.
    pub fn arm(mutation: Option<Mutation>) {
        ARMED.set(mutation);
    }

    /// Whether this defect is injected.
    pub(crate) fn mutated(mutation: Mutation) -> bool {
        ARMED.get() == Some(mutation)
    }
}

#[cfg(feature = "mutations")]
pub use armed::arm;
#[cfg(feature = "mutations")]
#[allow(unused_imports, reason = "used by the machines that can be given a defect")]
pub(crate) use armed::mutated;

/// Nothing can be injected into this build.
///
/// # Panics
/// If something is to be.
#[cfg(not(feature = "mutations"))]
pub fn arm(mutation: Option<Mutation>) {
    assert_eq!(mutation, None, "built without the feature mutations");
}

/// Never.
#[cfg(not(feature = "mutations"))]
#[allow(dead_code, reason = "used by the machines that can be given a defect")]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}
