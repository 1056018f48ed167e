//! Recipes of the client library under chaos: worker processes use all of them at once against an ensemble of three real
//! servers, while servers and workers are killed and stopped, and connections cut.

pub mod judge;
pub mod proxy;
pub mod resource;
pub mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oxikeeper_client::recipe::{
    Barrier, Counter, Discovery, Group, Messenger, Reconciliation, Wait,
};
use oxikeeper_client::{Client, CreateOptions, Error};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use self::judge::Heard;
use self::proxy::Proxy;
use self::resource::Resource;
use crate::ensemble::Ensemble;
use crate::random::Random;
use crate::server::Kind;

const SETTINGS: &str = "tickTime=250\nminSessionTimeout=1000\ninitLimit=40\nsyncLimit=12";
const WORKERS: usize = 3;
/// By then everything has to have come to its end, once nothing goes wrong any more.
const SETTLE: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u32>,
    /// Rounds of reconciliation, each with a synchronize that returned.
    pub reconciled: u64,
    /// Lines for people.
    pub lines: Vec<String>,
    /// What must not be.
    pub violations: Vec<String>,
}

struct Worker {
    name: String,
    life: u32,
    child: Child,
    is_stopped: bool,
}

/// Something that is put right at its time.
enum Repair {
    StartServer(u8),
    ContinueServer(u8),
    ContinueWorker(usize),
    Unstick(usize),
}

struct Run {
    ensemble: Ensemble,
    proxies: Vec<Proxy>,
    workers: Vec<Worker>,
    names: Vec<String>,
    resource: u16,
    heard: Arc<Mutex<Heard>>,
    random: Random,
    repairs: Vec<(Instant, Repair)>,
    faults: BTreeMap<&'static str, u32>,
}

/// Runs for so long, then puts everything right and judges. Workers have the [`worker::Defect`] that the
/// environment names.
///
/// # Errors
/// If there can be no run.
pub async fn run(
    dir: &Path,
    busy: Duration,
    seed: u64,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let mut ensemble = Ensemble::mixed(dir, &[Kind::Oxikeeper; 3], SETTINGS);
    for id in 1..=3 {
        ensemble.start(id);
    }
    for id in 1..=3 {
        ensemble.wait(id);
    }
    let direct: Vec<String> = (1..=3).map(|id| ensemble.address(id).to_string()).collect();
    let client = Client::builder(&direct.join(","))
        .session_timeout(Duration::from_secs(20))
        .connect()
        .await?;
    let names: Vec<String> = (1..=WORKERS).map(|number| format!("worker{number}")).collect();
    client.create("/round", b"0", &CreateOptions::persistent()).await?;
    client.create("/cache", b"", &CreateOptions::persistent()).await?;
    client.create("/config", b"0", &CreateOptions::persistent()).await?;
    for name in &names {
        Messenger::open(&client, "/messages", name).await?;
    }
    let (resource, port) = Resource::start(client.clone()).await?;
    let mut proxies = Vec::new();
    for id in 1..=3 {
        proxies.push(Proxy::start(ensemble.address(id)).await?);
    }
    let mut run = Run {
        ensemble,
        proxies,
        workers: Vec::new(),
        names,
        resource: port,
        heard: Arc::default(),
        random: Random::new(seed),
        repairs: Vec::new(),
        faults: BTreeMap::new(),
    };
    for index in 0..WORKERS {
        let worker = run.start_worker(index, 1)?;
        run.workers.push(worker);
    }
    let gate = tokio::spawn(gate(client.clone()));
    let reconciled = Arc::new(Mutex::new(0));
    let control = tokio::spawn(reconcile(
        client.clone(),
        run.names.clone(),
        Arc::clone(&run.heard),
        Arc::clone(&reconciled),
    ));
    let end = Instant::now() + busy;
    let mut next_fault = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        run.repair(Instant::now())?;
        if Instant::now() >= next_fault {
            run.fault()?;
            next_fault =
                Instant::now() + Duration::from_millis(200 + run.random.below(1500) as u64);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run.repair(end + Duration::from_secs(3600))?;
    let outcome = run.settle(&client).await;
    gate.abort();
    control.abort();
    if let Err(text) = outcome {
        run.heard().violations.push(text);
    }
    let counter = Counter::new(&client, "/counter").get().await?;
    let mut heard = run.heard();
    heard.judge(counter, WORKERS);
    let seen = resource.seen();
    let lines = vec![
        heard.summary(),
        format!("holders by kind: {:?}", seen.entered()),
        format!(
            "{} old tokens refused, {} overlaps with holders of the past, {} holders woke after their time",
            seen.stale, seen.overlaps, seen.woken
        ),
    ];
    let violations = heard.violations.iter().chain(&seen.violations).cloned().collect();
    let reconciled = *reconciled.lock().unwrap_or_else(PoisonError::into_inner);
    let faults = run.faults.clone();
    Ok(Outcome { faults, reconciled, lines, violations })
}

/// The gate is up for a while, then open for a while.
async fn gate(client: Client) -> Result<(), Error> {
    let barrier = Barrier::new(&client, "/gate");
    loop {
        barrier.set().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        barrier.lift().await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Desires one state after another; when `synchronize` returns every worker has to have said that it is there.
async fn reconcile(
    client: Client,
    names: Vec<String>,
    heard: Arc<Mutex<Heard>>,
    rounds: Arc<Mutex<u64>>,
) -> Result<(), Error> {
    let control = Reconciliation::observe(&client, "/states").await?;
    for round in 1_u64.. {
        let state = round.to_string();
        let desires = names.iter().map(|name| (name.as_str(), state.as_bytes())).collect();
        control.desire_all(&desires).await?;
        control.synchronize(Wait::All).await?;
        // What they have said is on its way through a pipe.
        let deadline = Instant::now() + Duration::from_secs(5);
        let has_reached =
            || heard.lock().unwrap_or_else(PoisonError::into_inner).has_reached(&state, &names);
        while !has_reached() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !has_reached() {
            let text = format!("state {state} was synchronized before all had reached it");
            heard.lock().unwrap_or_else(PoisonError::into_inner).violations.push(text);
        }
        *rounds.lock().unwrap_or_else(PoisonError::into_inner) = round;
    }
    Ok(())
}

impl Run {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_worker(&self, index: usize, life: u32) -> std::io::Result<Worker> {
        let connect: Vec<String> = self.proxies.iter().map(|p| p.address().to_string()).collect();
        let name = self.names[index].clone();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["worker", &name, &life.to_string(), &connect.join(",")])
            .args([self.resource.to_string(), WORKERS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        let (heard, names) = (Arc::clone(&self.heard), self.names.clone());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().unwrap_or_else(PoisonError::into_inner).hear(&line, &names);
            }
        });
        Ok(Worker { name, life, child, is_stopped: false })
    }

    fn fault(&mut self) -> std::io::Result<()> {
        let later = Instant::now() + Duration::from_millis(100 + self.random.below(4000) as u64);
        let server = 1 + self.random.below(3) as u8;
        let worker = self.random.below(WORKERS);
        // One server at a time: two of three have to be there, or nothing goes on at all.
        let server_is_free = !self
            .repairs
            .iter()
            .any(|(_, r)| matches!(r, Repair::StartServer(_) | Repair::ContinueServer(_)));
        let name = match self.random.below(6) {
            0 if server_is_free => {
                self.ensemble.kill(server);
                self.repairs.push((later, Repair::StartServer(server)));
                "server killed"
            }
            1 if server_is_free => {
                signal(self.ensemble.pid(server), "STOP")?;
                self.repairs.push((later, Repair::ContinueServer(server)));
                "server stopped"
            }
            2 => {
                let (pid, life) = (self.workers[worker].child.id(), self.workers[worker].life);
                signal(pid, "KILL")?;
                self.workers[worker] = self.start_worker(worker, life + 1)?;
                "worker killed"
            }
            3 if !self.workers[worker].is_stopped => {
                signal(self.workers[worker].child.id(), "STOP")?;
                self.workers[worker].is_stopped = true;
                self.repairs.push((later, Repair::ContinueWorker(worker)));
                "worker stopped"
            }
            4 => {
                self.proxies[worker].set_stuck(true);
                self.repairs.push((later, Repair::Unstick(worker)));
                "connections stuck"
            }
            _ => {
                self.proxies[worker].cut();
                "connections cut"
            }
        };
        *self.faults.entry(name).or_default() += 1;
        Ok(())
    }

    fn repair(&mut self, now: Instant) -> std::io::Result<()> {
        let repairs = std::mem::take(&mut self.repairs);
        for (at, repair) in repairs {
            if at > now {
                self.repairs.push((at, repair));
                continue;
            }
            match repair {
                Repair::StartServer(id) => self.ensemble.start(id),
                Repair::ContinueServer(id) => signal(self.ensemble.pid(id), "CONT")?,
                Repair::ContinueWorker(index) => {
                    signal(self.workers[index].child.id(), "CONT")?;
                    self.workers[index].is_stopped = false;
                }
                Repair::Unstick(index) => {
                    self.proxies[index].set_stuck(false);
                    self.proxies[index].cut();
                }
            }
        }
        Ok(())
    }

    /// Everything has to go on, and what is on its way to arrive.
    async fn settle(&mut self, client: &Client) -> Result<(), String> {
        let rounds = |data: Result<(Vec<u8>, _), Error>| {
            data.map(|(data, _)| String::from_utf8_lossy(&data).parse::<u64>().unwrap_or(0))
        };
        let text = |error: Error| error.to_string();
        let (round, passes) =
            (rounds(client.get_data("/round").await).map_err(text)?, self.heard().passes);
        let services = Discovery::start(client, "/services").await.map_err(text)?;
        let deadline = Instant::now() + SETTLE;
        let mut is_told = false;
        loop {
            let now = rounds(client.get_data("/round").await).map_err(text)?;
            let goes_on = now > round + 3 && self.heard().passes > passes + 3;
            if goes_on && !is_told {
                is_told = true;
                for worker in &mut self.workers {
                    if let Some(stdin) = &mut worker.child.stdin {
                        stdin.write_all(b"finish\n").await.map_err(|error| error.to_string())?;
                    }
                }
            }
            let outstanding = self.heard().outstanding();
            let group = Group::observe(client, "/group").await.map_err(text)?;
            let members: Vec<String> = group.members().into_keys().collect();
            let listed: Vec<String> =
                services.instances("worker").into_iter().map(|instance| instance.id).collect();
            let lives: Vec<String> =
                self.workers.iter().map(|w| format!("{}.{}", w.name, w.life)).collect();
            let everybody_is_there = members == self.names && listed == lives;
            if is_told && outstanding == (0, 0) && everybody_is_there {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "it does not settle: rounds {round} to {now}, outstanding {outstanding:?}, \
                     members {members:?}, listed {listed:?} of {lives:?}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A process that is gone needs none.
fn signal(pid: Option<u32>, name: &str) -> std::io::Result<()> {
    let Some(pid) = pid else { return Ok(()) };
    std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
    Ok(())
}
