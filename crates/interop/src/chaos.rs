//! An ensemble of ours as real processes, on machines of their own as far as one kernel goes, under
//! everything that goes wrong, judged by the simulator's checker.
//!
//! One round is one ensemble from nothing: clients of the simulator, and kazoo's, work on it while faults
//! happen; then all is put right, every client gets its answers, the servers end, and what they have on disk
//! is the committed history against which every reply and every event is held. An observer that nothing
//! happens to has all of it: what a server gets as a snapshot replaces its log.

pub mod foreign;
pub mod machines;
pub mod people;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_proto::Zxid;
use oxikeeper_sim::checker::Checker;
use oxikeeper_sim::client::Phase;
use oxikeeper_sim::rng::Rng;
use oxikeeper_sim::world::restart::same_state;
use oxikeeper_storage::{Dirs, RealDisk, RecoverOptions, recent_transactions, recover};
use oxikeeper_tree::{Restore, Tree, TreeOptions};

use self::foreign::Foreign;
use self::machines::{Machines, OUTSIDE};
use self::people::People;
use crate::client::RawClient;

/// `commitLogCount` is more than a round makes: only who has lost his data needs a snapshot, which the
/// observer does not; and who has has no vote until then.
const SETTINGS: &str = "tickTime=250\ninitLimit=40\nsyncLimit=12\nminSessionTimeout=1000\n\
    maxSessionTimeout=10000\nmaxClientCnxns=0\npreAllocSize=256\nautopurge.purgeInterval=0\n\
    extendedTypesEnabled=true\ncommitLogCount=1000000\ndb.autocreate=false\nznode.container.checkIntervalMs=700\n\
    znode.container.maxPerMinute=100000";
/// A round that does not come to its end by then has failed.
const SETTLE: Duration = Duration::from_secs(90);
/// Longest transaction that readers accept.
const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of any server.
    Kill,
    /// The same of the leader.
    KillLeader,
    /// The leader is asked to end.
    EndLeader,
    /// A server stands still.
    Pause,
    /// A server is cut off from the others, which clients are not.
    Isolate,
    /// Nothing of one server reaches another.
    OneWay,
    /// What a server sends leaves slowly.
    SlowLink,
    /// The same, and then it is cut off, in the middle of what it was sending.
    MidFrame,
    /// A disk is full.
    FullDisk,
    /// A disk takes nothing for a while.
    SlowDisk,
    /// A server loses its data, and comes back by a snapshot of the leader.
    LostDisk,
}

impl Fault {
    const ALL: [Fault; 11] = [
        Fault::Kill,
        Fault::KillLeader,
        Fault::EndLeader,
        Fault::Pause,
        Fault::Isolate,
        Fault::OneWay,
        Fault::SlowLink,
        Fault::MidFrame,
        Fault::FullDisk,
        Fault::SlowDisk,
        Fault::LostDisk,
    ];
}

/// What the rounds came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rounds.
    pub rounds: usize,
    /// Requests sent.
    pub requests: u64,
    /// Replies received.
    pub replies: u64,
    /// Transactions committed.
    pub committed: usize,
    /// Replies and events held against the committed history.
    pub compared: u64,
    /// Epochs begun.
    pub epochs: u64,
    /// Writes that clients of kazoo's were acknowledged, and sessions of theirs that were lost.
    pub foreign: (usize, usize),
    /// Faults by class.
    pub faults: BTreeMap<Fault, u32>,
    /// What must not be.
    pub violations: Vec<String>,
}

/// Something that is put right at its time.
enum Repair {
    Start(usize),
    Continue(usize),
    Isolate(usize),
    Heal,
    Room(usize),
    Thaw(usize),
}

struct Round<'o> {
    machines: Machines,
    people: People,
    foreign: Foreign,
    rng: Rng,
    repairs: Vec<(Instant, Repair)>,
    outcome: &'o mut Outcome,
}

/// One round of `busy` with so many servers.
///
/// # Errors
/// If there can be no round.
pub fn round(
    dir: &Path,
    servers: usize,
    busy: Duration,
    seed: u64,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut machines = Machines::new(dir, servers, SETTINGS)?;
    let people = People::new(8, Rng::new(rng.draw()));
    for index in 0..machines.len() {
        machines.start(index)?;
    }
    // The observer has to be there before the first transaction.
    let deadline = Instant::now() + SETTLE;
    while !machines.is_whole() {
        if Instant::now() > deadline {
            return Err(format!("the ensemble does not come up: {}", machines.log(0)));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let foreign = Foreign::start(&addresses(&machines), dir)?;
    let mut round = Round { machines, people, foreign, rng, repairs: Vec::new(), outcome };
    round.live(busy)?;
    let verdict =
        round.settle().and_then(|()| round.leave()).and_then(|config| round.judge(&config));
    if let Err(text) = verdict {
        let logs: Vec<String> = (0..=servers)
            .map(|index| {
                let log = round.machines.log(index);
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                format!("server {}: {}", index + 1, tail.join("\n  "))
            })
            .collect();
        round.outcome.violations.push(format!("seed {seed}: {text}\n{}", logs.join("\n")));
    }
    round.outcome.rounds += 1;
    Ok(())
}

impl Round<'_> {
    /// Clients work and faults happen.
    fn live(&mut self, busy: Duration) -> Result<(), String> {
        let addresses = addresses(&self.machines);
        let end = Instant::now() + busy;
        let mut next_fault = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            self.people.act(Phase::Busy, &addresses);
            self.repair(Instant::now())?;
            if Instant::now() >= next_fault {
                self.fault()?;
                let gap = self.rng.between(200, 3000);
                next_fault = Instant::now() + Duration::from_millis(gap);
            }
            thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }

    /// Everything is put right; everybody has to get his answers.
    fn settle(&mut self) -> Result<(), String> {
        let far = Instant::now() + Duration::from_secs(3600);
        self.repair(far)?;
        let addresses = addresses(&self.machines);
        let deadline = Instant::now() + SETTLE;
        self.foreign.settle();
        while !self.people.are_settled() || !self.machines.is_whole() || self.foreign.runs() {
            // A server may have ended itself, as it must when its disk fails it.
            for index in 0..self.machines.len() {
                if !self.machines.runs(index) {
                    self.machines.start(index)?;
                }
            }
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until {
                self.people.act(Phase::Settling, &addresses);
                thread::sleep(Duration::from_micros(300));
            }
            if Instant::now() > deadline {
                let modes: Vec<_> =
                    (0..addresses.len()).map(|index| self.machines.mode(index)).collect();
                return Err(format!("clients get no answer any more; the servers are {modes:?}"));
            }
        }
        Ok(())
    }

    /// All clients leave, and every session has to end: also those of which a client was told that they
    /// are gone by a leader that could not make it true any more. Returns what `/zookeeper/config` holds:
    /// nobody comes behind this, for whoever is killed right then need not have heard of it.
    fn leave(&mut self) -> Result<Vec<u8>, String> {
        let addresses = addresses(&self.machines);
        let config = config_of(addresses[0]).map_err(|error| error.to_string())?;
        self.people.act(Phase::Gone, &addresses);
        let deadline = Instant::now() + SETTLE;
        while (0..addresses.len()).any(|index| !self.machines.is_deserted(index)) {
            if Instant::now() > deadline {
                return Err("sessions do not end".to_owned());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(config)
    }

    fn repair(&mut self, now: Instant) -> Result<(), String> {
        let (due, later) = std::mem::take(&mut self.repairs).into_iter().partition(|r| r.0 <= now);
        self.repairs = later;
        let due: Vec<(Instant, Repair)> = due;
        for (_, repair) in due {
            match repair {
                Repair::Start(index) => self.machines.start(index)?,
                Repair::Continue(index) => self.machines.signal(index, "CONT"),
                Repair::Room(index) => self.machines.set_full(index, false)?,
                Repair::Thaw(index) => self.machines.set_frozen(index, false)?,
                Repair::Isolate(index) => self.isolate(index)?,
                Repair::Heal => {
                    for from in 0..self.machines.len() {
                        self.machines.set_slow(from, false)?;
                        for to in 0..self.machines.len() {
                            self.machines.set_cut(from, to, false)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn later(&mut self, low_ms: u64, high_ms: u64, repair: Repair) {
        let after = Duration::from_millis(self.rng.between(low_ms, high_ms));
        self.repairs.push((Instant::now() + after, repair));
    }

    fn leader(&self) -> Option<usize> {
        (0..self.machines.len()).find(|&i| self.machines.mode(i).as_deref() == Some("leader"))
    }

    fn fault(&mut self) -> Result<(), String> {
        let fault = *self.rng.pick(&Fault::ALL);
        let any = self.rng.index(self.machines.voters());
        let victim = match fault {
            Fault::KillLeader | Fault::EndLeader => self.leader().unwrap_or(any),
            _ => any,
        };
        match fault {
            Fault::Kill | Fault::KillLeader => {
                self.machines.kill(victim);
                self.later(10, 3000, Repair::Start(victim));
            }
            Fault::EndLeader => {
                self.machines.signal(victim, "TERM");
                self.later(2000, 4000, Repair::Start(victim));
            }
            Fault::Pause => {
                self.machines.signal(victim, "STOP");
                self.later(100, 6000, Repair::Continue(victim));
            }
            Fault::Isolate => {
                self.isolate(victim)?;
                self.later(300, 6000, Repair::Heal);
            }
            Fault::SlowLink => {
                self.machines.set_slow(victim, true)?;
                self.later(300, 6000, Repair::Heal);
            }
            Fault::MidFrame => {
                self.machines.set_slow(victim, true)?;
                self.later(100, 800, Repair::Isolate(victim));
                self.later(1000, 6000, Repair::Heal);
            }
            Fault::OneWay => {
                let to = self.rng.index(self.machines.voters());
                self.machines.set_cut(victim, to, true)?;
                self.later(300, 6000, Repair::Heal);
            }
            Fault::FullDisk => {
                self.machines.set_full(victim, true)?;
                self.later(300, 4000, Repair::Room(victim));
            }
            Fault::SlowDisk => {
                self.machines.set_frozen(victim, true)?;
                self.later(50, 5000, Repair::Thaw(victim));
            }
            Fault::LostDisk => {
                // Losing the data of a second one would be losing a quorum's.
                if !self.machines.is_whole() {
                    return Ok(());
                }
                self.machines.kill(victim);
                self.machines.wipe(victim)?;
                self.later(10, 3000, Repair::Start(victim));
            }
        }
        *self.outcome.faults.entry(fault).or_default() += 1;
        Ok(())
    }

    fn isolate(&mut self, victim: usize) -> Result<(), String> {
        for other in 0..self.machines.voters() {
            self.machines.set_cut(victim, other, true)?;
            self.machines.set_cut(other, victim, true)?;
        }
        Ok(())
    }

    fn judge(&mut self, config: &[u8]) -> Result<(), String> {
        let count = self.machines.len();
        for index in 0..count {
            self.machines.kill(index);
        }
        let (mut log, mut trees) = (BTreeMap::new(), Vec::new());
        // The observer first: nobody may have anything else in between.
        for index in (0..count).rev() {
            let dir = self.machines.data_dir(index);
            trees.push(
                read(&dir, &mut log).map_err(|text| format!("server {}: {text}", index + 1))?,
            );
        }
        let log: Vec<(Zxid, Vec<u8>)> = log.into_iter().collect();
        let history = &self.people.history;
        let handshakes = BTreeMap::new();
        let mut checker = Checker::new(history, &handshakes, true);
        checker.set_surroundings(OUTSIDE, config.to_vec());
        let foreign = self.foreign.report()?;
        checker.set_foreign(foreign.sessions.keys().copied().collect());
        let (mut violations, model, seen) = checker.judge(&log);
        violations.splice(0..0, history.violations.iter().cloned());
        violations.extend(foreign.judge(&log));
        for (index, tree) in (0..count).rev().zip(&mut trees) {
            // Every server writes it by itself when it starts.
            tree.set_config(config, Zxid::ZERO);
            if let Err(text) = same_state(&model, tree) {
                violations.push(format!("server {}: {text}", index + 1));
            }
        }
        let outcome = &mut *self.outcome;
        outcome.requests += history.requests;
        outcome.replies += history.replies;
        outcome.committed += log.len();
        outcome.compared += seen.compared;
        outcome.foreign.0 += foreign.writes.len();
        outcome.foreign.1 += foreign.lost.len();
        outcome.epochs += log.last().map_or(0, |(zxid, _)| u64::from(zxid.epoch()));
        violations.truncate(5);
        if violations.is_empty() { Ok(()) } else { Err(violations.join("\n  ")) }
    }
}

fn addresses(machines: &Machines) -> Vec<SocketAddr> {
    (0..machines.len()).map(|index| machines.address(index)).collect()
}

/// The data of `/zookeeper/config`, which every server writes by itself.
fn config_of(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    use oxikeeper_proto::request::WatchableRequest;
    use oxikeeper_proto::{OpCode, Reader};
    let mut client = RawClient::connect(address, 10_000)?;
    let read = WatchableRequest { path: Some("/zookeeper/config".into()), watch: false };
    let reply = client.call(OpCode::GetData, &read)?;
    let data: Option<&[u8]> = Reader::new(&reply.body).get().map_err(std::io::Error::other)?;
    Ok(data.unwrap_or_default().to_vec())
}

/// What a server has on disk: its state, and its part of the log, which must not contradict the others'.
fn read(dir: &Path, log: &mut BTreeMap<Zxid, Vec<u8>>) -> Result<Tree, String> {
    let (disk, dirs) = (Arc::new(RealDisk), Dirs::new(dir, dir));
    let mut restore = Restore::new(TreeOptions::default());
    let recovered = recover(&*disk, &dirs, &RecoverOptions::default(), &mut restore)
        .map_err(|error| error.to_string())?;
    let (last, all) = (recovered.last_zxid, usize::MAX);
    let records = recent_transactions(&*disk, &dirs, last, all, PAYLOAD_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    for record in records {
        let payload = record.payload;
        if log.entry(record.zxid).or_insert_with(|| payload.clone()) != &payload {
            return Err(format!("it has another transaction {}", record.zxid));
        }
    }
    Ok(restore.into_tree())
}
