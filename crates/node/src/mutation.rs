//! Defects that tests of tests inject: whoever judges runs of these machines has to notice each.
//! Without the feature `mutations` nothing of this is compiled in.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Transactions are applied and answered before the log writer has reported them durable.
    ApplyBeyondDurable,
    /// The reply to a write stands before the watch events of its transaction.
    ReplyBeforeEvent,
    /// What Fronts report of sessions they heard from is lost.
    LoseTouches,
    /// A closing session's last ephemeral is forgotten.
    KeepEphemeral,
    /// A read runs although an earlier write of its session is not finished.
    ReadAheadOfWrite,
    /// A read that had to wait for a write loses its connection's watches.
    LoseWaitingWatch,
    /// Any password opens a session.
    AcceptAnyPassword,
    /// Time in which this process stood still counts as silence of the clients.
    GrantNoStall,
    /// Sequence numbers come from the version that clients see.
    SequenceFromSeenVersion,
    /// What a failed multi would have changed is not taken back.
    KeepFailedMulti,
    /// Sessions of before a restart are not known after it.
    ForgetSessions,
    /// setWatches tells nothing of what was missed.
    SkipCatchUp,
    /// Requests of a connection that has lost its session are carried out.
    ServeMovedSession,
    /// Persistent watches fire once.
    SpendPersistentWatch,
    /// Requests of a session whose closeSession is under way are carried out.
    ServeClosingSession,
    /// A client that has seen more than this server is let in.
    AcceptFromFuture,
    /// What waited to be written when the log was cut is written behind the cut.
    WriteBehindCut,
    /// For a new leader sessions were silent as long as there was no leader.
    CountOutage,
    /// What learners say of sessions they heard from is lost.
    LoseLearnersTouches,
}

impl Mutation {
    /// Those that concern one server.
    pub const ALL: &'static [Mutation] = &[
        Mutation::ApplyBeyondDurable,
        Mutation::ReplyBeforeEvent,
        Mutation::LoseTouches,
        Mutation::KeepEphemeral,
        Mutation::ReadAheadOfWrite,
        Mutation::LoseWaitingWatch,
        Mutation::AcceptAnyPassword,
        Mutation::GrantNoStall,
        Mutation::SequenceFromSeenVersion,
        Mutation::KeepFailedMulti,
        Mutation::ForgetSessions,
        Mutation::SkipCatchUp,
        Mutation::ServeMovedSession,
        Mutation::SpendPersistentWatch,
        Mutation::ServeClosingSession,
        Mutation::AcceptFromFuture,
    ];

    /// Those that concern several servers only.
    pub const OF_ENSEMBLES: &'static [Mutation] =
        &[Mutation::WriteBehindCut, Mutation::CountOutage, Mutation::LoseLearnersTouches];
}

#[cfg(feature = "mutations")]
mod armed {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Mutation;

    static ARMED_EVERYWHERE: OnceLock<Mutation> = OnceLock::new();

    thread_local! {
        static ARMED: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Injects this defect into all machines of this thread, or none.
    pub fn arm(mutation: Option<Mutation>) {
        ARMED.set(mutation);
    }

    /// Injects this defect into all machines of this process, for good.
    pub fn arm_everywhere(mutation: Mutation) {
        ARMED_EVERYWHERE.get_or_init(|| mutation);
    }

    /// Whether this defect is injected.
    pub(crate) fn mutated(mutation: Mutation) -> bool {
        ARMED.get() == Some(mutation) || ARMED_EVERYWHERE.get() == Some(&mutation)
    }
}

#[cfg(feature = "mutations")]
pub(crate) use armed::mutated;
#[cfg(feature = "mutations")]
pub use armed::{arm, arm_everywhere};

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
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}
