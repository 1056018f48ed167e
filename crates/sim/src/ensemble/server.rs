//! One server: a machine with a disk and a clock, and sometimes a process on it, which runs the
//! shipped Peer, tree, log, snapshots and recovery.
//!
//! In half of the runs there is a bare state machine in place of clients and Core: transactions are
//! made by whoever leads, and applied as they are committed. In the others it is whole. What a shell's
//! threads do with real sockets and files, this does with simulated ones, in the same order and with
//! the same freedom between.

mod disk_jobs;
mod outputs;
mod packets;
mod whole;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::time::{Now, WallTime};
use oxikeeper_proto::txn::{CreateTxn, SetDataTxn, decode_payload, encode_payload};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_storage::disk::DiskFile;
use oxikeeper_storage::log_reader::LogReader;
use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::{
    Dirs, Disk, LogOptions, RecoverOptions, StorageError, TxnLog, clean_up, epochs, incomplete,
    recent_transactions, recover,
};
use oxikeeper_tree::{ChangeList, Restore, Tree, TreeOptions};
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::Epochs;
use oxikeeper_zab::history::{History, Proposal};
use oxikeeper_zab::io::{Input, LinkId, Output, Role};
use oxikeeper_zab::peer::Peer;
use oxikeeper_zab::verifier::Quorums;

use self::disk_jobs::{EpochJob, Job};
use self::packets::{Received, Stream};
use self::whole::Whole;
use super::agenda::{Agenda, Event};
use super::fabric::{End, Fabric};
use super::ghost::{Entry, Ghost};
use super::knobs::Knobs;
use super::people::People;
use crate::marks::{Mark, Marks};
use crate::rng::Rng;

/// Longest payload that readers accept.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What surrounds a server.
pub struct Around<'a> {
    /// True time, microseconds.
    pub now: u64,
    /// Connections.
    pub fabric: &'a mut Fabric,
    /// What nobody can know.
    pub ghost: &'a mut Ghost,
    /// Chance.
    pub rng: &'a mut Rng,
    /// Where runs have been.
    pub marks: &'a mut Marks,
    /// What is to happen.
    pub agenda: &'a mut Agenda,
    /// What was drawn.
    pub knobs: &'a Knobs,
    /// The history that each snapshot on its way holds, by its link at the sender.
    pub in_transfer: &'a mut BTreeMap<End, Vec<Entry>>,
    /// Clients, if there are any.
    pub people: Option<&'a mut People>,
    /// Nothing goes wrong any more.
    pub is_quiet: bool,
    /// Since when.
    pub calm_since: Option<u64>,
    /// What the processes were told and wanted, if somebody wants to read it.
    pub story: Option<&'a mut Vec<String>>,
}

impl Around<'_> {
    /// The time of day as a server sees it, in milliseconds: no two agree.
    fn wall(&self, skew: i64) -> WallTime {
        WallTime(1_700_000_000_000 + (self.now / 1000) as i64 + skew * 10)
    }

    /// Something comes to a client then.
    fn wake_client(&mut self, client: usize, at: u64) {
        let Some(people) = &mut self.people else { return };
        if at < people.wakes_at[client] {
            people.wakes_at[client] = at;
            self.agenda.add(at, Event::Client(client), self.rng);
        }
    }

    fn tell(&mut self, server: usize, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>10} us  server {server}  {}", self.now, line()));
        }
    }
}

/// Why a process ends.
#[derive(Debug)]
pub enum Stop {
    /// The power of its machine went.
    PowerLost,
    /// Its disk failed it, so it ended itself.
    DiskFailed,
    /// Something that must not happen.
    Violation(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Stop {
        Stop::Violation(text)
    }
}

/// A machine.
pub struct Server {
    /// Its place in the list.
    pub index: usize,
    /// Its `myid`.
    pub id: ServerId,
    /// Its disk.
    pub disk: SimDisk,
    dirs: Dirs,
    /// How many processes it has had.
    pub life: u32,
    /// The one that runs.
    pub process: Option<Process>,
    /// Its clock is so much in a thousand too fast.
    skew: i64,
    /// It stands still until then.
    pub paused_until: u64,
    /// Syncs begun before this take until then at least.
    pub slow_until: u64,
    /// The power goes in one of the next calls to the disk, once there is one.
    pub power_in_write: bool,
    /// The next sync fails.
    pub sync_fails: bool,
    /// Bits of a log have changed since a leader last sent it the state.
    pub is_rotten: bool,
    /// A truncation to this place was interrupted, or was about to begin.
    truncating: Option<Zxid>,
    /// An installation of this history was interrupted.
    installing: Option<Vec<Entry>>,
}

/// A process.
pub struct Process {
    agent: Agent,
    /// Its state.
    pub tree: Tree,
    log: TxnLog<SimDisk>,
    jobs: VecDeque<Job>,
    running: Option<Job>,
    epoch_jobs: VecDeque<EpochJob>,
    streams: BTreeMap<End, Stream>,
    /// What it is.
    pub role: Role,
    /// Its quorum port is open.
    pub listens: bool,
    received: Option<Received>,
    /// Snapshots to be sent once the state has reached this.
    owed: Vec<(LinkId, Zxid)>,
    wakes_at: u64,
}

/// What runs in a process.
enum Agent {
    Bare(Box<Bare>),
    Whole(Box<Whole>),
}

/// The peer alone.
struct Bare {
    peer: Peer,
    /// In the log, or on the way there, and not applied.
    unapplied: VecDeque<Proposal>,
    last_made: Zxid,
    since_snapshot: u64,
}

impl Process {
    fn peer(&self) -> Option<&Peer> {
        match &self.agent {
            Agent::Bare(bare) => Some(&bare.peer),
            Agent::Whole(whole) => whole.member.peer(),
        }
    }

    /// Nothing is on its way to the log or to the state.
    fn is_idle(&self) -> bool {
        let is_applied = match &self.agent {
            Agent::Bare(bare) => bare.unapplied.is_empty(),
            Agent::Whole(_) => {
                let logged = self.peer().map(|peer| peer.history().last_logged());
                logged == Some(self.tree.last_zxid())
            }
        };
        is_applied && self.running.is_none()
    }

    /// Whether the state holds everything up to here.
    fn stands_at(&self, zxid: Zxid) -> bool {
        let next = match &self.agent {
            Agent::Bare(bare) => bare.unapplied.front(),
            Agent::Whole(_) => return self.tree.last_zxid() >= zxid,
        };
        self.tree.last_zxid() >= zxid || next.is_none_or(|next| next.zxid > zxid)
    }
}

impl Server {
    /// A machine that was never switched on.
    pub fn new(index: usize, skew: i64) -> Server {
        let disk = SimDisk::new();
        disk.keep_no_trace();
        Server {
            index,
            id: ServerId(index as i64 + 1),
            disk,
            dirs: Dirs::new(Path::new("/data"), Path::new("/data")),
            life: 0,
            process: None,
            skew,
            paused_until: 0,
            slow_until: 0,
            power_in_write: false,
            sync_fails: false,
            is_rotten: false,
            truncating: None,
            installing: None,
        }
    }

    /// What its clock says.
    fn clock(&self, now: u64) -> Now {
        let skewed = now as i128 * (1000 + i128::from(self.skew)) / 1000;
        // Clocks of different machines have nothing in common.
        Now::from_micros(skewed as u64 + 1_000_000 * (self.index as u64 + 1))
    }

    /// When its clock will say this.
    fn true_time(&self, clock: Now) -> u64 {
        let since = clock.micros().saturating_sub(1_000_000 * (self.index as u64 + 1));
        (i128::from(since) * 1000 / (1000 + i128::from(self.skew))) as u64 + 1
    }

    /// Starts a process on what the last one left.
    ///
    /// # Errors
    /// What must not happen.
    pub fn start(&mut self, quorums: &Quorums, around: &mut Around<'_>) -> Result<(), Stop> {
        let refused = |error: StorageError| Stop::Violation(format!("no start: {error}"));
        self.dirs.prepare(&self.disk, true).map_err(refused)?;
        let mut has_dropped = false;
        let (last, tree, is_fresh) = loop {
            match self.load() {
                Ok(loaded) => break loaded,
                Err(error) if self.is_rotten => {
                    has_dropped = true;
                    self.drop_damage(&error)?;
                }
                Err(error) => self.cut_hole(&error, around)?,
            }
        };
        around.ghost.digest(self.index, last, tree.digest())?;
        match has_dropped {
            true => self.compare_what_is_left(last, around)?,
            false => self.compare_with_ghost(last, around)?,
        }
        let found = epochs::check(&self.disk, &self.dirs, last).map_err(refused)?;
        for (is_current, epoch) in [(false, found.accepted), (true, found.current)] {
            around.ghost.epoch_written(self.index, is_current, epoch)?;
        }
        let mut tree = tree;
        if is_fresh {
            let (bytes, zxid, digest) = disk_jobs::walk(&mut tree);
            disk_jobs::write_snapshot(&self.disk, &self.dirs, zxid, digest, &bytes)
                .map_err(refused)?;
        }
        let tail = self.tail(last, around.knobs)?;
        let log = self.new_log(last);
        let now = self.clock(around.now);
        let config = Arc::new(self.config(around.knobs, around.rng));
        let mut history = History::new(around.knobs.commit_log_count, last, tail);
        if incomplete::is_incomplete(&self.disk, &self.dirs).map_err(refused)? {
            history.give_up();
        }
        let epochs = Epochs { accepted: found.accepted, current: found.current };
        let peer = Peer::new(config, quorums.clone(), epochs, history, now);
        let agent = match &around.people {
            None => Agent::Bare(Box::new(Bare {
                peer,
                unapplied: VecDeque::new(),
                last_made: last,
                since_snapshot: 0,
            })),
            Some(people) => {
                Agent::Whole(Box::new(Whole::new(self, peer, &mut tree, people, around)))
            }
        };
        self.process = Some(Process {
            agent,
            tree,
            log,
            jobs: VecDeque::new(),
            running: None,
            epoch_jobs: VecDeque::new(),
            streams: BTreeMap::new(),
            role: Role::Looking,
            listens: false,
            received: None,
            owed: Vec::new(),
            wakes_at: u64::MAX,
        });
        self.wake_fronts(around);
        self.input(Input::Tick, around)
    }

    /// Recovers the state. Says whether there was none.
    fn load(&self) -> Result<(Zxid, Tree, bool), StorageError> {
        let mut restore = Restore::new(TreeOptions::default());
        let options = RecoverOptions::default();
        let recovered = recover(&self.disk, &self.dirs, &options, &mut restore)?;
        clean_up(&self.disk, &self.dirs, &recovered)?;
        Ok((recovered.last_zxid, restore.into_tree(), recovered.snapshot.is_none()))
    }

    /// What a server does by itself with damage of its log.
    fn drop_damage(&mut self, error: &StorageError) -> Result<(), Stop> {
        let mut restore = Restore::new(TreeOptions::default());
        let options = RecoverOptions::default();
        match incomplete::drop_damage(&self.disk, &self.dirs, &options, &mut restore) {
            Ok(Some(_)) => Ok(()),
            _ => Err(Stop::Violation(format!("server {} has no way on: {error}", self.index))),
        }
    }

    /// Bits change in a log, in front of its last record: that one could not be told from a torn one.
    pub fn rot(&mut self, rng: &mut Rng) {
        let Ok(names) = self.disk.list(self.dirs.log()) else { return };
        let logs: Vec<&String> = names.iter().filter(|name| name.starts_with("log.")).collect();
        if logs.is_empty() {
            return;
        }
        let path = self.dirs.log().join(rng.pick(&logs));
        let Ok(mut reader) = LogReader::open(&self.disk, &path, PAYLOAD_BYTES_MAX) else { return };
        let mut places = Vec::new();
        while let Ok(Some(record)) = reader.next_record() {
            places.push(record.position);
        }
        let Some((last, earlier)) = places.split_last() else { return };
        let Some(first) = earlier.first() else { return };
        let at = rng.between(*first, last - 1);
        let Ok(file) = self.disk.open_to_write(&path) else { return };
        let mut byte = [0];
        let flipped = file
            .read_at(at, &mut byte)
            .and_then(|_| file.write_at(at, &[byte[0] ^ 1 << rng.below(8)]))
            .and_then(|()| file.sync());
        self.is_rotten = flipped.is_ok();
    }

    /// A torn batch of several sectors looks like damage in what was acknowledged: an operator
    /// does what the message advises.
    fn cut_hole(&self, error: &StorageError, around: &mut Around<'_>) -> Result<(), Stop> {
        let mut restore = Restore::new(TreeOptions::default());
        let options = RecoverOptions::default();
        let is_hole = error.to_string().contains("sound transaction");
        let cut = oxikeeper_storage::check::cut(&self.disk, &self.dirs, &options, &mut restore);
        if is_hole && matches!(cut, Ok(Some(_))) {
            around.marks.hit(Mark::OperatorCut);
            return Ok(());
        }
        Err(Stop::Violation(format!("server {} does not start: {error}", self.index)))
    }

    /// The same, after damage was dropped: a part of it.
    fn compare_what_is_left(&mut self, last: Zxid, around: &mut Around<'_>) -> Result<(), Stop> {
        around.marks.hit(Mark::DamageDropped);
        self.truncating = None;
        let end = |log: &Vec<Entry>| log.last().map_or(Zxid::ZERO, |entry| entry.0);
        if let Some(installing) = self.installing.take_if(|log| end(log) == last) {
            return Ok(around.ghost.installed(self.index, installing)?);
        }
        self.installing = None;
        if around.ghost.rotted(self.index, last)? {
            around.marks.hit(Mark::CommittedLost);
        }
        Ok(())
    }

    /// What was recovered is what the ghost knows.
    fn compare_with_ghost(&mut self, last: Zxid, around: &mut Around<'_>) -> Result<(), Stop> {
        let to = self.truncating.take();
        if let Some(installing) = self.installing.take() {
            let new = installing.last().map_or(Zxid::ZERO, |entry| entry.0);
            // The old history may have been cut back to the new one's end already.
            if last == new {
                around.marks.hit(Mark::SnapInterrupted);
                return Ok(around.ghost.installed(self.index, installing)?);
            }
            return Ok(around.ghost.recovered(self.index, last, Some(new.min(last)))?);
        }
        if to.is_some() {
            around.marks.hit(Mark::TruncInterrupted);
        }
        Ok(around.ghost.recovered(self.index, last, to)?)
    }

    fn tail(&self, last: Zxid, knobs: &Knobs) -> Result<Vec<Proposal>, Stop> {
        let count = knobs.commit_log_count;
        let recent = recent_transactions(&self.disk, &self.dirs, last, count, PAYLOAD_BYTES_MAX);
        let recent = recent.map_err(|error| Stop::Violation(format!("no tail: {error}")))?;
        let proposal = |record: oxikeeper_storage::LogRecord| Proposal {
            zxid: record.zxid,
            payload: record.payload.into(),
        };
        Ok(recent.into_iter().map(proposal).collect())
    }

    fn new_log(&self, last: Zxid) -> TxnLog<SimDisk> {
        let options = LogOptions { prepare_bytes: 0, ..LogOptions::default() };
        TxnLog::new(Arc::new(self.disk.clone()), self.dirs.clone(), options, last)
    }

    fn config(&self, knobs: &Knobs, rng: &mut Rng) -> PeerConfig {
        PeerConfig {
            tick_ms: knobs.tick_ms,
            init_limit: knobs.init_limit,
            sync_limit: knobs.sync_limit,
            commit_log_count: knobs.commit_log_count,
            snapshot_size_factor: knobs.snapshot_size_factor,
            notification_max_ms: 2000,
            // Histories are short here: most of what is missed has to take several.
            diff_piece: 3,
            seed: rng.draw(),
            ..PeerConfig::new(self.id)
        }
    }

    /// Tells the peer what happened, and does what it wants.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn input(&mut self, input: Input, around: &mut Around<'_>) -> Result<(), Stop> {
        let now = self.clock(around.now);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(process) = &mut self.process else { return Ok(()) };
            if !matches!(input, Input::Tick) {
                around.tell(self.index, || format!("< {input:?}"));
            }
            let mut out = Vec::new();
            match &mut process.agent {
                Agent::Bare(bare) => {
                    bare.peer.step(now, input, &mut out);
                    bare.peer.check_invariants();
                }
                Agent::Whole(whole) => {
                    whole.take(input, &process.tree, (now, around.wall(self.skew)), &mut out);
                    self.observe(around)?;
                }
            }
            self.carry_out_all(out, &mut inputs, around)?;
        }
        self.plan_wake(around);
        self.pump(around)?;
        self.run_jobs(around)
    }

    fn carry_out_all(
        &mut self,
        outputs: Vec<Output>,
        inputs: &mut VecDeque<Input>,
        around: &mut Around<'_>,
    ) -> Result<(), Stop> {
        for output in outputs {
            around.tell(self.index, || format!("> {output:?}"));
            self.carry_out(output, inputs, around)?;
        }
        Ok(())
    }

    /// The process wants to look at its clock no later than its peer asks for.
    fn plan_wake(&mut self, around: &mut Around<'_>) {
        let deadline = self.process.as_mut().and_then(|process| match &mut process.agent {
            Agent::Bare(bare) => bare.peer.next_deadline(),
            Agent::Whole(whole) => whole.member.next_deadline(),
        });
        let Some(deadline) = deadline else { return };
        let at = self.true_time(deadline).max(around.now + 1) + around.rng.below(200);
        let index = self.index;
        if let Some(process) = &mut self.process
            && (at < process.wakes_at || process.wakes_at <= around.now)
        {
            process.wakes_at = at;
            around.agenda.add(at, Event::Wake(index), around.rng);
        }
    }

    /// It looks at its clock.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn wake(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        if let Some(process) = &mut self.process
            && process.wakes_at <= around.now
        {
            process.wakes_at = u64::MAX;
            return self.input(Input::Tick, around);
        }
        Ok(())
    }

    /// Whether it may make transactions.
    pub fn leads(&self) -> Option<u32> {
        match self.process.as_ref()?.role {
            Role::Leading { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// The epoch and the leader that it is in step with.
    pub fn in_step(&self) -> Option<(u32, ServerId)> {
        match self.process.as_ref()?.role {
            Role::Leading { epoch } => Some((epoch, self.id)),
            Role::Following { epoch, leader } | Role::Observing { epoch, leader } => {
                Some((epoch, leader))
            }
            Role::Looking => None,
        }
    }

    /// A leader takes a request: it makes a transaction of it, logs it and proposes it.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn propose(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        let (Some(epoch), Some(process)) = (self.leads(), &mut self.process) else { return Ok(()) };
        let Agent::Bare(process) = &mut process.agent else { return Ok(()) };
        let last = process.last_made;
        let counter = if last.epoch() == epoch { last.counter() + 1 } else { 1 };
        let zxid = Zxid::from_parts(epoch, counter);
        process.last_made = zxid;
        let payload = make(zxid, self.index, around.rng);
        let proposal = Proposal { zxid, payload: payload.into() };
        around.ghost.proposed(self.index, zxid, hash(&proposal.payload))?;
        self.append(proposal.clone(), around)?;
        self.input(Input::Propose(proposal), around)
    }

    /// The counter of the leader's epoch is full.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn epoch_is_full(&mut self, around: &mut Around<'_>) -> Result<(), Stop> {
        if self.leads().is_some() {
            around.marks.hit(Mark::EpochRollover);
            return self.input(Input::EpochIsFull, around);
        }
        Ok(())
    }

    /// What was committed becomes state.
    fn apply(&mut self, until: Zxid, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Agent::Bare(bare) = &mut process.agent else { return Ok(()) };
        while let Some(next) = bare.unapplied.pop_front_if(|next| next.zxid <= until) {
            apply(&mut process.tree, &next)?;
            around.ghost.digest(self.index, next.zxid, process.tree.digest())?;
            bare.since_snapshot += 1;
        }
        Ok(())
    }
}

/// Applies a transaction.
fn apply(tree: &mut Tree, proposal: &Proposal) -> Result<(), String> {
    let (header, txn, _) = decode_payload(&proposal.payload).map_err(|error| error.to_string())?;
    if header.zxid <= tree.last_zxid() {
        return Err(format!("{} is applied to a state at {}", header.zxid, tree.last_zxid()));
    }
    tree.apply(&header, &txn, &mut ChangeList::default());
    Ok(())
}

/// A transaction that nobody has asked for, and that always can be applied.
fn make(zxid: Zxid, server: usize, rng: &mut Rng) -> Vec<u8> {
    let len = if rng.chance(50) { 3000 } else { rng.index(40) };
    let data = vec![rng.draw() as u8; len];
    let path = format!("/t{:x}", zxid.raw());
    let txn = if rng.chance(300) {
        let acl = vec![Acl::open()];
        let (data, ephemeral, parent_cversion) = (Some(&data[..]), false, -1);
        Txn::Create(CreateTxn { path: path.into(), data, acl, ephemeral, parent_cversion })
    } else {
        let version = zxid.counter() as i32;
        Txn::SetData(SetDataTxn { path: "/".into(), data: Some(&data), version })
    };
    let session = SessionId(server as i64 + 1);
    let header = TxnHeader { session, cxid: 0, zxid, time_ms: 1, kind: txn.kind() };
    let mut payload = Vec::new();
    encode_payload(&header, &txn, None, &mut payload);
    payload
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
