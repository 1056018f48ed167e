//! What a server's log thread does, one thing after the other; and its epoch files, beside it.

use std::sync::Arc;

use oxikeeper_node::core::LogBatch;
use oxikeeper_proto::Zxid;
use oxikeeper_storage::sim_disk::{Fate, SimDisk};
use oxikeeper_storage::{
    Compression, Dirs, LogRange, RecoverOptions, SnapshotWriter, StorageError, epochs, incomplete,
    sync_limit, truncate_log,
};
use oxikeeper_tree::Tree;
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{EpochKind, Input, Role, Ticket};

use super::super::agenda::Event;
use super::super::ghost::Entry;
use super::{Agent, Around, PAYLOAD_BYTES_MAX, Server, Stop, hash};
use crate::marks::Mark;

/// Something for the log thread.
pub enum Job {
    /// Append and sync.
    Append(Vec<Proposal>),
    /// The same, as a Core wants it.
    Batch(Arc<LogBatch>),
    /// Cut the log, and recover.
    Truncate {
        /// Where.
        to: Zxid,
        /// Of the request.
        ticket: Ticket,
        /// The state, read anew.
        tree: Option<Box<Tree>>,
    },
    /// The log could not be cut there.
    TruncateRefused(Ticket),
    /// Make the received state this server's.
    Install {
        /// Of the request.
        ticket: Ticket,
        /// The state.
        tree: Box<Tree>,
        /// Where it stands.
        zxid: Zxid,
        /// The history it holds.
        log: Vec<Entry>,
    },
    /// Write a snapshot of the own state.
    Snapshot {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Where it stands.
        zxid: Zxid,
        /// The tree's digest there.
        digest: u64,
    },
    /// Read a part of the log for a learner.
    Read {
        /// From where.
        from: Zxid,
        /// How far.
        to: Zxid,
        /// Of the request.
        ticket: Ticket,
        /// What was found.
        found: Option<Vec<Proposal>>,
    },
}

/// An epoch file on its way.
pub struct EpochJob {
    pub(super) kind: EpochKind,
    pub(super) epoch: u32,
    pub(super) ticket: Ticket,
}

impl Server {
    /// A transaction goes to the log.
    pub(super) fn append(
        &mut self,
        proposal: Proposal,
        around: &mut Around<'_>,
    ) -> Result<(), Stop> {
        around.ghost.appended(self.index, proposal.zxid, hash(&proposal.payload))?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let Agent::Bare(bare) = &mut process.agent else { return Ok(()) };
        bare.unapplied.push_back(proposal.clone());
        match process.jobs.back_mut() {
            Some(Job::Append(batch)) => batch.push(proposal),
            _ => process.jobs.push_back(Job::Append(vec![proposal])),
        }
        Ok(())
    }

    /// Another state takes the place of the present one.
    fn begin_anew(&mut self, tree: Tree) {
        let Some(process) = &mut self.process else { return };
        if let Agent::Bare(bare) = &mut process.agent {
            bare.last_made = tree.last_zxid();
            bare.unapplied.clear();
        }
        process.tree = tree;
    }

    /// The log thread takes its next work, if it has none.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn run_jobs(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.running.is_some() {
            return Ok(());
        }
        let Some(job) = process.jobs.pop_front() else { return Ok(()) };
        let job = self.on_disk(around, |server, around| server.run(job, around))?;
        let (index, life) = (self.index, self.life);
        if let Some(process) = &mut self.process {
            process.running = Some(job);
        }
        let at = self.disk_time(around);
        around.agenda.add(at, Event::Logged { server: index, life }, around.rng);
        Ok(())
    }

    fn disk_time(&self, around: &mut Around<'_>) -> u64 {
        let took = around.rng.around(around.knobs.disk_delay_us);
        (around.now + took).max(self.slow_until)
    }

    /// Does something to the disk, during which the power may go, or a sync fail.
    fn on_disk<T>(
        &mut self,
        around: &mut Around<'_>,
        work: impl FnOnce(&mut Server, &mut Around<'_>) -> Result<T, Failure>,
    ) -> Result<T, Stop> {
        if std::mem::take(&mut self.power_in_write) && !around.is_quiet {
            let call = self.disk.calls() + 1 + around.rng.below(14);
            self.disk.plan(call, Fate::Crash);
        } else if std::mem::take(&mut self.sync_fails) && !around.is_quiet {
            let call = self.disk.calls() + 1 + around.rng.below(6);
            self.disk.plan(call, Fate::FailFrom(std::io::ErrorKind::Other));
        }
        let done = work(self, around);
        if self.disk.has_crashed() {
            around.marks.hit(Mark::CrashInsideLogWrite);
            return Err(Stop::PowerLost);
        }
        match done {
            Ok(done) => Ok(done),
            Err(Failure::Refused(text)) => Err(Stop::Violation(text)),
            Err(Failure::Disk(error)) => {
                around.tell(self.index, || format!("ends: {error}"));
                around.marks.hit(Mark::DiskFailed);
                Err(Stop::DiskFailed)
            }
        }
    }

    fn run(&mut self, job: Job, around: &mut Around<'_>) -> Result<Job, Failure> {
        let Some(process) = &mut self.process else { return Ok(job) };
        match job {
            Job::Append(batch) => {
                for proposal in &batch {
                    process.log.append(proposal.zxid, &proposal.payload)?;
                }
                process.log.sync()?;
                Ok(Job::Append(batch))
            }
            Job::Batch(batch) => {
                for (index, (zxid, _)) in batch.records.iter().enumerate() {
                    process.log.append(*zxid, batch.payload(index))?;
                }
                process.log.sync()?;
                if batch.roll_after {
                    around.marks.hit(Mark::LogRolled);
                    process.log.roll()?;
                }
                Ok(Job::Batch(batch))
            }
            Job::Truncate { to, ticket, .. } => {
                self.truncating = Some(to);
                let options = RecoverOptions::default();
                let cut = match truncate_log(&self.disk, &self.dirs, &options, to) {
                    Err(StorageError::Refused { .. }) => {
                        self.truncating = None;
                        around.marks.hit(Mark::TruncRefused);
                        return Ok(Job::TruncateRefused(ticket));
                    }
                    other => other?,
                };
                let (last, tree, _) = self.load()?;
                if last != cut.last {
                    return Err(Failure::Refused(format!("cut at {}, now {last}", cut.last)));
                }
                let log = self.new_log(last);
                if let Some(process) = &mut self.process {
                    process.log = log;
                }
                around.marks.hit(Mark::Truncated);
                Ok(Job::Truncate { to, ticket, tree: Some(Box::new(tree)) })
            }
            done @ Job::TruncateRefused(_) => Ok(done),
            Job::Install { ticket, mut tree, zxid, log } => {
                self.installing = Some(log.clone());
                let (bytes, _, digest) = walk(&mut tree);
                let mut writer =
                    SnapshotWriter::begin(&self.disk, &self.dirs, zxid, Compression::None)?;
                writer.write(&bytes)?;
                writer.install(Some(digest), &RecoverOptions::default())?;
                incomplete::is_whole_again(&self.disk, &self.dirs)?;
                self.is_rotten = false;
                around.marks.hit(Mark::SnapInstalled);
                Ok(Job::Install { ticket, tree, zxid, log })
            }
            Job::Snapshot { bytes, zxid, digest } => {
                process.log.roll()?;
                write_snapshot(&self.disk, &self.dirs, zxid, digest, &bytes)?;
                if around.rng.chance(300) {
                    oxikeeper_storage::purge(&self.disk, &self.dirs, 3)?;
                }
                around.marks.hit(Mark::SnapshotFinished);
                Ok(Job::Snapshot { bytes: Vec::new(), zxid, digest })
            }
            Job::Read { from, to, ticket, .. } => {
                let found = self.read_log(from, to, around.knobs.snapshot_size_factor)?;
                if found.is_some() {
                    around.marks.hit(Mark::DiffFromDisk);
                }
                Ok(Job::Read { from, to, ticket, found })
            }
        }
    }

    fn read_log(
        &self,
        from: Zxid,
        to: Zxid,
        factor: f64,
    ) -> Result<Option<Vec<Proposal>>, StorageError> {
        let Some(limit) = sync_limit(&self.disk, &self.dirs, factor)? else { return Ok(None) };
        let disk = Arc::new(self.disk.clone());
        let range = LogRange::open(&disk, &self.dirs, from, to, limit, PAYLOAD_BYTES_MAX)?;
        let Some(mut range) = range else { return Ok(None) };
        let mut found = Vec::new();
        loop {
            let piece = range.read(1000)?;
            if range.is_too_long() {
                return Ok(None);
            }
            if piece.is_empty() {
                return Ok(Some(found));
            }
            let proposals = piece
                .into_iter()
                .map(|record| Proposal { zxid: record.zxid, payload: record.payload.into() });
            found.extend(proposals);
        }
    }

    /// The log thread has come to the end of its work.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn logged(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some(job) = self.process.as_mut().and_then(|process| process.running.take()) else {
            return Ok(());
        };
        match job {
            Job::Append(batch) => {
                let last = batch.last().map_or(Zxid::ZERO, |proposal| proposal.zxid);
                around.ghost.durable(self.index, last);
                self.input(Input::LogDurable(last), around)
            }
            Job::Batch(batch) => {
                let last = batch.last_zxid().unwrap_or_default();
                around.ghost.durable(self.index, last);
                self.batch_written();
                self.input(Input::LogDurable(last), around)
            }
            Job::Truncate { ticket, tree, .. } => {
                self.truncating = None;
                let tree = tree.ok_or_else(|| "a cut without a state".to_owned())?;
                let last = tree.last_zxid();
                self.begin_anew(*tree);
                if around.ghost.servers[self.index].last() > last {
                    around.marks.hit(Mark::ProposalAbandoned);
                }
                around.ghost.truncated(self.index, last)?;
                let tail = self.tail(last, around.knobs)?;
                self.input(Input::Truncated { ticket, last, tail }, around)
            }
            Job::Install { ticket, tree, zxid, log } => {
                self.installing = None;
                let had = &around.ghost.servers[self.index].log;
                if had.iter().any(|entry| log.binary_search(entry).is_err()) {
                    around.marks.hit(Mark::ProposalAbandoned);
                }
                around.ghost.installed(self.index, log)?;
                around.ghost.digest(self.index, zxid, tree.digest())?;
                let new_log = self.new_log(zxid);
                if let Some(process) = &mut self.process {
                    process.log = new_log;
                }
                self.begin_anew(*tree);
                self.input(Input::SnapshotInstalled { ticket, zxid }, around)
            }
            Job::TruncateRefused(ticket) => self.input(Input::TruncateRefused { ticket }, around),
            Job::Snapshot { .. } => self.snapshot_written(around),
            Job::Read { ticket, found, .. } => {
                self.input(Input::LogRead { ticket, records: found }, around)
            }
        }
    }

    /// An epoch file goes to the disk, beside whatever the log thread does.
    pub(super) fn write_epoch(
        &mut self,
        job: EpochJob,
        around: &mut Around<'_>,
    ) -> Result<(), Stop> {
        let name = match job.kind {
            EpochKind::Accepted => epochs::ACCEPTED,
            EpochKind::Current => epochs::CURRENT,
        };
        let epoch = job.epoch;
        self.on_disk(around, |server, _| {
            Ok(epochs::write(&server.disk, &server.dirs, name, epoch)?)
        })?;
        let (index, life) = (self.index, self.life);
        if let Some(process) = &mut self.process {
            process.epoch_jobs.push_back(job);
        }
        let at = self.disk_time(around);
        around.agenda.add(at, Event::EpochWritten { server: index, life }, around.rng);
        Ok(())
    }

    /// An epoch file is on the disk.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn epoch_written(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let job = self.process.as_mut().and_then(|process| process.epoch_jobs.pop_front());
        let Some(EpochJob { kind, epoch, ticket }) = job else { return Ok(()) };
        around.ghost.epoch_written(self.index, kind == EpochKind::Current, epoch)?;
        self.input(Input::EpochWritten(ticket), around)
    }

    /// Servers in step write a snapshot now and then.
    pub(super) fn snapshot_if_due(&mut self, around: &mut Around<'_>) {
        let Some(process) = &mut self.process else { return };
        let Agent::Bare(bare) = &mut process.agent else { return };
        let due = around.knobs.snap_count;
        if process.role == Role::Looking || bare.since_snapshot < due {
            return;
        }
        bare.since_snapshot = 0;
        let (bytes, zxid, digest) = walk(&mut process.tree);
        process.jobs.push_back(Job::Snapshot { bytes, zxid, digest });
    }
}

/// Why something on the disk was not done.
enum Failure {
    Disk(StorageError),
    Refused(String),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        match error {
            StorageError::Refused { .. } | StorageError::OutOfOrder { .. } => {
                Failure::Refused(error.to_string())
            }
            error => Failure::Disk(error),
        }
    }
}

/// A snapshot's bytes, its zxid and its digest.
pub fn walk(tree: &mut Tree) -> (Vec<u8>, Zxid, u64) {
    let mut walk = tree.begin_snapshot();
    let mut bytes = Vec::new();
    while !tree.walk_snapshot(&mut walk, &mut bytes, 1000) {}
    let (zxid, digest) = (walk.zxid(), walk.digest());
    tree.end_snapshot(walk);
    (bytes, zxid, digest)
}

/// Writes a snapshot of the own state.
pub fn write_snapshot(
    disk: &SimDisk,
    dirs: &Dirs,
    zxid: Zxid,
    digest: u64,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let mut writer = SnapshotWriter::begin(disk, dirs, zxid, Compression::None)?;
    writer.write(bytes)?;
    writer.finish(Some(digest)).map(|_| ())
}
