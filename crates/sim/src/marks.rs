//! Rare ways that a large set of runs has to have gone. A set that never went there has not tested
//! what it claims to test.

use std::collections::BTreeMap;

/// A place that a run may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The power went while the log writer was between its first write and the end of its sync.
    CrashInsideLogWrite,
    /// The power went while a snapshot was being written.
    CrashInsideSnapshot,
    /// The power went while a server was starting.
    CrashInsideStart,
    /// Transactions that nobody had been told of were lost.
    UnacknowledgedLost,
    /// A server started from a snapshot and a log behind it.
    SnapshotAndLogReplayed,
    /// A torn tail was dropped.
    TornTail,
    /// A torn batch of several sectors had to be cut by the operator.
    OperatorCut,
    /// A session expired while one of its writes was on its way to the disk.
    ExpiryBehindPendingWrite,
    /// A session with ephemerals expired.
    EphemeralsExpired,
    /// A container was reaped.
    ContainerReaped,
    /// A TTL node was reaped.
    TtlReaped,
    /// A session was resumed on another Front.
    ResumedOnOtherFront,
    /// A session was resumed after the server had restarted.
    ResumedAfterRestart,
    /// A session was resumed while its earlier connection was open.
    ResumedElsewhere,
    /// A request came from a connection whose session had moved.
    SessionMoved,
    /// A handshake with a wrong password was refused.
    WrongPassword,
    /// A client that had seen more than the server was not let in.
    ClientFromFuture,
    /// Requests followed a handshake without waiting for its answer.
    PipelinedHandshake,
    /// A transaction was applied while a snapshot was being walked.
    ApplyDuringWalk,
    /// A multi was applied while a snapshot was being walked.
    MultiDuringWalk,
    /// A snapshot was finished.
    SnapshotFinished,
    /// Old files were purged.
    Purged,
    /// A new log file was begun.
    LogRolled,
    /// The process stood still for so long that every session was granted the time.
    StallGranted,
    /// A write was refused because the disk was full.
    RefusedWhileFull,
    /// A write or a sync failed, and the process stopped.
    DiskFailed,
    /// A Front stopped reading from a connection.
    ReadingPaused,
    /// A client did not drain its socket.
    WindowFull,
    /// setWatches told of something missed.
    CaughtUp,
    /// A multi failed.
    MultiFailed,
    /// A request was never answered, and yet carried out.
    AmbiguousDone,
    /// A request was never answered nor carried out.
    AmbiguousLost,
    /// The wall clock jumped back.
    WallClockBack,
    /// A leader was established.
    LeaderEstablished,
    /// A leader gave up its epoch because the counter was full.
    EpochRollover,
    /// An observer was in step.
    ObserverInStep,
    /// A learner got the transactions that it missed.
    DiffSent,
    /// A learner got them from the leader's log on disk.
    DiffFromDisk,
    /// A learner was to get them in pieces.
    DiffInPieces,
    /// A learner was told to cut its log.
    TruncSent,
    /// A learner had cut its log.
    Truncated,
    /// It did so while proposals of before were on their way to the disk or not applied.
    TruncWithProposalsInFlight,
    /// The oldest snapshot of a learner went beyond its leader's history.
    TruncRefused,
    /// A crash interrupted it.
    TruncInterrupted,
    /// A learner got a snapshot.
    SnapSent,
    /// A learner made it its own.
    SnapInstalled,
    /// A crash interrupted that, or the connection broke.
    SnapInterrupted,
    /// Something was committed while a snapshot was on its way.
    CommittedDuringSnap,
    /// A server has dropped what stood behind damage of its log.
    DamageDropped,
    /// It had acknowledged what is committed, and has lost it.
    CommittedLost,
    /// A transaction that a leader had logged was given up by a later one.
    ProposalAbandoned,
    /// A transaction that was not committed when its leader fell was committed by the next one.
    ProposalAdopted,
}

impl Mark {
    /// Those of ensembles of bare peers.
    pub const OF_PEERS: &'static [Mark] = &[
        Mark::CrashInsideLogWrite,
        Mark::DiskFailed,
        Mark::SnapshotFinished,
        Mark::LeaderEstablished,
        Mark::EpochRollover,
        Mark::ObserverInStep,
        Mark::DiffSent,
        Mark::DiffFromDisk,
        Mark::DiffInPieces,
        Mark::TruncSent,
        Mark::Truncated,
        Mark::TruncRefused,
        Mark::TruncWithProposalsInFlight,
        Mark::TruncInterrupted,
        Mark::SnapSent,
        Mark::SnapInstalled,
        Mark::SnapInterrupted,
        Mark::CommittedDuringSnap,
        Mark::DamageDropped,
        Mark::CommittedLost,
        Mark::ProposalAbandoned,
        Mark::ProposalAdopted,
    ];

    /// Those of whole servers with clients, besides.
    pub const OF_CLIENTS: &'static [Mark] = &[
        Mark::EphemeralsExpired,
        Mark::ContainerReaped,
        Mark::TtlReaped,
        Mark::MultiFailed,
        Mark::ResumedAfterRestart,
        Mark::ResumedOnOtherFront,
        Mark::ResumedElsewhere,
        Mark::SessionMoved,
        Mark::CaughtUp,
        Mark::ClientFromFuture,
        Mark::WrongPassword,
        Mark::PipelinedHandshake,
        Mark::LogRolled,
    ];

    /// Those of a server alone with its clients.
    pub const ALL: &'static [Mark] = &[
        Mark::CrashInsideLogWrite,
        Mark::CrashInsideSnapshot,
        Mark::CrashInsideStart,
        Mark::UnacknowledgedLost,
        Mark::SnapshotAndLogReplayed,
        Mark::TornTail,
        Mark::OperatorCut,
        Mark::ExpiryBehindPendingWrite,
        Mark::EphemeralsExpired,
        Mark::ContainerReaped,
        Mark::TtlReaped,
        Mark::ResumedOnOtherFront,
        Mark::ResumedAfterRestart,
        Mark::ResumedElsewhere,
        Mark::SessionMoved,
        Mark::WrongPassword,
        Mark::ClientFromFuture,
        Mark::PipelinedHandshake,
        Mark::ApplyDuringWalk,
        Mark::MultiDuringWalk,
        Mark::SnapshotFinished,
        Mark::Purged,
        Mark::LogRolled,
        Mark::StallGranted,
        Mark::RefusedWhileFull,
        Mark::DiskFailed,
        Mark::ReadingPaused,
        Mark::WindowFull,
        Mark::CaughtUp,
        Mark::MultiFailed,
        Mark::AmbiguousDone,
        Mark::AmbiguousLost,
        Mark::WallClockBack,
    ];
}

/// How often each was reached.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    /// Reached.
    pub fn hit(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// How often.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Marks) {
        for (mark, count) in &other.0 {
            *self.0.entry(*mark).or_default() += count;
        }
    }

    /// Those of a list that were never reached.
    pub fn missing(&self, wanted: &[Mark]) -> Vec<Mark> {
        wanted.iter().copied().filter(|mark| self.count(*mark) == 0).collect()
    }
}
