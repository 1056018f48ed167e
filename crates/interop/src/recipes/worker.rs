//! A process that uses every recipe at once, and says on its standard output what it does: before (`try`) and after
//! (`did`), so that the judge knows what may have happened when it is killed in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oxikeeper_client::recipe::{
    Barrier, ConfigHolder, Counter, Discovery, DoubleBarrier, Group, Hold, Latch, Lock, Messenger,
    Queue, ReadWriteLock, Reconciliation, Selector, Semaphore, ServiceInstance, Sessions,
    TreeCache,
};
use oxikeeper_client::{Client, CreateOptions, Error};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long a session may be silent.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two rounds of one recipe.
const PAUSE: Duration = Duration::from_millis(20);

/// Nobody puts more than the consumers take.
const ITEMS_MAX: usize = 50;

/// The variable that names a [`Defect`].
pub const DEFECT_VARIABLE: &str = "OXIKEEPER_RECIPE_DEFECT";

/// A recipe that does not keep its promise: the judge has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The lock lets two in.
    Lock,
    /// The double barrier opens for one less than all.
    Barrier,
    /// Items of the queue are gone before anybody has seen them.
    Queue,
}

impl Defect {
    /// By its name.
    pub fn named(name: &str) -> Option<Defect> {
        match name {
            "lock" => Some(Defect::Lock),
            "barrier" => Some(Defect::Barrier),
            "queue" => Some(Defect::Queue),
            _ => None,
        }
    }
}

/// What its tasks share.
struct Worker {
    name: String,
    /// Others are known by their names, lives of one by this.
    life: String,
    resource: u16,
    sessions: Sessions,
    members: usize,
    /// Nothing new is to be begun.
    is_finishing: AtomicBool,
    drawn: AtomicU64,
    defect: Option<Defect>,
}

/// Microseconds that all processes of the machine agree on.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

/// Runs until it is killed.
///
/// # Errors
/// If there is no such connect string.
pub async fn run(
    name: &str,
    life: &str,
    connect: &str,
    resource: u16,
    members: usize,
) -> Result<(), Error> {
    let builder = Client::builder(connect).session_timeout(SESSION_TIMEOUT);
    let sessions = Sessions::start(builder)?;
    let worker = Arc::new(Worker {
        name: name.to_owned(),
        life: format!("{name}.{life}"),
        resource,
        sessions,
        members,
        is_finishing: AtomicBool::new(false),
        drawn: AtomicU64::new(0),
        defect: std::env::var(DEFECT_VARIABLE).ok().and_then(|name| Defect::named(&name)),
    });
    /// Each recipe is a task that begins again whenever its session is lost.
    macro_rules! spawn {
        ($($task:ident)*) => {
            $({
                let worker = Arc::clone(&worker);
                tokio::spawn(async move {
                    loop {
                        match $task(&worker).await {
                            Err(error) if expected(&error) => tokio::time::sleep(PAUSE).await,
                            Err(error) => {
                                println!("violation {}: {error}", stringify!($task));
                                tokio::time::sleep(PAUSE).await;
                            }
                            Ok(()) => tokio::time::sleep(PAUSE).await,
                        }
                    }
                });
            })*
        };
    }
    spawn!(lock read_write semaphore latch selector barrier double_barrier count put put_urgent take
        take_urgent send receive group discover reconcile configure write_cache);
    // A cache outlives sessions: it is begun once.
    let watcher = Arc::clone(&worker);
    tokio::spawn(async move { read_cache(&watcher).await });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        worker.is_finishing.store(true, Ordering::SeqCst);
    }
    Ok(())
}

/// What a recipe may say when sessions and connections are lost.
fn expected(error: &Error) -> bool {
    // Its own node is gone: with a session that the client does not know yet to be lost.
    matches!(error, Error::SessionExpired | Error::ConnectionLoss { .. }) || error.is_no_node()
}

impl Worker {
    /// A number that is not easily foreseen, below `bound`.
    fn draw(&self, bound: u64) -> u64 {
        let seed = self.drawn.fetch_add(1, Ordering::Relaxed) ^ now() as u64;
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % bound
    }

    fn next(&self) -> String {
        format!("{}.{}", self.life, self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    fn is_finishing(&self) -> bool {
        self.is_finishing.load(Ordering::SeqCst)
    }

    /// Uses the guarded resource as a holder.
    async fn critical(&self, kind: &str, capacity: usize, hold: &Hold) -> std::io::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.resource)).await?;
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let (token, path) = (hold.token().value(), hold.path());
        let enter = format!("enter {kind} {capacity} {token} {path}\n");
        write.write_all(enter.as_bytes()).await?;
        if lines.next_line().await?.as_deref() != Some("ok") {
            return Ok(());
        }
        let (began, stay) = (Instant::now(), Duration::from_millis(2 + self.draw(10)));
        while began.elapsed() < stay {
            let before = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            if before.elapsed() > SESSION_TIMEOUT + Duration::from_millis(500) {
                let woken = format!("woken {path} {}\n", hold.is_valid());
                write.write_all(woken.as_bytes()).await?;
                lines.next_line().await?;
            }
        }
        write.write_all(format!("exit {kind}\n").as_bytes()).await?;
        lines.next_line().await?;
        Ok(())
    }
}

async fn lock(worker: &Worker) -> Result<(), Error> {
    let client = worker.sessions.living().await?;
    let guard = match worker.defect {
        Some(Defect::Lock) => Semaphore::new(&client, "/lock", 2).acquire().await?,
        _ => Lock::new(&client, "/lock").acquire().await?,
    };
    // The resource ends only with the run.
    let _ = worker.critical("lock", 1, &guard).await;
    guard.release().await
}

async fn read_write(worker: &Worker) -> Result<(), Error> {
    let lock = ReadWriteLock::new(&worker.sessions.living().await?, "/read-write");
    let (guard, capacity) = match worker.draw(3) {
        0 => (lock.write().await?, 1),
        _ => (lock.read().await?, 0),
    };
    // A late reader's token says nothing: the nodes decide.
    let _ = worker.critical("read-write", capacity, &guard).await;
    guard.release().await
}

async fn semaphore(worker: &Worker) -> Result<(), Error> {
    let semaphore = Semaphore::new(&worker.sessions.living().await?, "/semaphore", 2);
    let guard = semaphore.acquire().await?;
    let _ = worker.critical("semaphore", 2, &guard).await;
    guard.release().await
}

async fn latch(worker: &Worker) -> Result<(), Error> {
    let latch = Latch::start(&worker.sessions, "/latch", worker.life.as_str());
    let leadership = latch.leadership().await?;
    let _ = worker.critical("latch", 1, &leadership).await;
    latch.close().await
}

async fn selector(worker: &Worker) -> Result<(), Error> {
    let selector = Selector::new(&worker.sessions, "/selector", worker.life.as_str());
    selector
        .run(|leadership| async move {
            let _ = worker.critical("selector", 1, &leadership).await;
            std::ops::ControlFlow::Break(())
        })
        .await
}

async fn barrier(worker: &Worker) -> Result<(), Error> {
    Barrier::new(&worker.sessions.living().await?, "/gate").wait().await?;
    println!("did pass");
    Ok(())
}

/// The rounds are numbered by a node; a member that comes late, after a death, goes on with the others.
async fn double_barrier(worker: &Worker) -> Result<(), Error> {
    let client = worker.sessions.living().await?;
    let (data, stat, changed) = client.get_data_watch("/round").await?;
    let round: u64 = String::from_utf8_lossy(&data).parse().unwrap_or(0);
    let members = worker.members - usize::from(worker.defect == Some(Defect::Barrier));
    let barrier = DoubleBarrier::new(&client, format!("/double/{round}"), members);
    println!("did come {round} {} {}", now(), worker.name);
    let inside = tokio::select! {
        inside = barrier.enter() => inside?,
        _ = changed => return Ok(()),
    };
    println!("did enter {round} {}", now());
    inside.leave().await?;
    let next = (round + 1).to_string();
    match client.set_data("/round", next.as_bytes(), stat.version).await {
        Err(error) if error.is_bad_version() => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn count(worker: &Worker) -> Result<(), Error> {
    if worker.is_finishing() {
        return Ok(());
    }
    let client = worker.sessions.living().await?;
    println!("try count");
    let outcome = Counter::new(&client, "/counter").add(1).await;
    match &outcome {
        Ok(_) => println!("did count"),
        Err(error) if !error.may_have_happened() => println!("not count"),
        Err(_) => {}
    }
    outcome.map(drop)
}

async fn put(worker: &Worker) -> Result<(), Error> {
    put_into(worker, "/queue", None).await
}

async fn put_urgent(worker: &Worker) -> Result<(), Error> {
    put_into(worker, "/priority-queue", Some(worker.draw(5) as i32 - 2)).await
}

async fn put_into(worker: &Worker, path: &str, priority: Option<i32>) -> Result<(), Error> {
    if worker.is_finishing() {
        return Ok(());
    }
    let (client, id) = (worker.sessions.living().await?, worker.next());
    let queue = Queue::new(&client, path);
    // A queue that only grows says nothing about what is lost.
    if queue.count().await? > ITEMS_MAX {
        return Ok(());
    }
    println!("try put {id}");
    match priority {
        Some(priority) => queue.put_with_priority(priority, id.as_bytes()).await?,
        None => queue.put(id.as_bytes()).await?,
    }
    println!("did put {id}");
    Ok(())
}

async fn take(worker: &Worker) -> Result<(), Error> {
    take_from(worker, "/queue").await
}

async fn take_urgent(worker: &Worker) -> Result<(), Error> {
    take_from(worker, "/priority-queue").await
}

async fn take_from(worker: &Worker, path: &str) -> Result<(), Error> {
    let queue = Queue::new(&worker.sessions.living().await?, path);
    loop {
        let item = queue.take().await?;
        if worker.defect != Some(Defect::Queue) || worker.draw(50) > 0 {
            println!("did take {}", String::from_utf8_lossy(item.data()));
        }
        item.done().await?;
    }
}

async fn send(worker: &Worker) -> Result<(), Error> {
    let messenger = Messenger::open(&worker.sessions, "/messages", &worker.name).await?;
    let mut others = messenger.members().await?;
    others.retain(|other| *other != worker.name);
    while !worker.is_finishing() {
        let id = worker.next();
        // One in five goes to all of those who were there from the start.
        if worker.draw(5) == 0 || others.is_empty() {
            println!("try send all {} {id}", worker.name);
            messenger.send_all(id.as_bytes()).await?;
            println!("did send all {} {id}", worker.name);
        } else {
            let target = &others[worker.draw(others.len() as u64) as usize];
            println!("try send {target} {} {id}", worker.name);
            messenger.send(id.as_bytes(), target).await?;
            println!("did send {target} {} {id}", worker.name);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn receive(worker: &Worker) -> Result<(), Error> {
    let mut inbox = Messenger::open(&worker.sessions, "/messages", &worker.name).await?;
    loop {
        let message = inbox.receive().await?;
        println!("did get {} {}", worker.name, String::from_utf8_lossy(&message.data));
        message.done().await?;
    }
}

async fn group(worker: &Worker) -> Result<(), Error> {
    let group = Group::join(&worker.sessions, "/group", &worker.name, worker.life.as_str()).await?;
    group.until(|_| None).await
}

async fn discover(worker: &Worker) -> Result<(), Error> {
    let services = Discovery::start(&worker.sessions, "/services").await?;
    let instance = ServiceInstance::new("worker", "127.0.0.1", worker.resource);
    let instance = ServiceInstance { id: worker.life.clone(), ..instance };
    let _registration = services.register(&instance).await?;
    services.until("worker", |_| None).await
}

/// Everybody sets the value to the version that it gets, so it always is its version; and nobody sees an older
/// one behind a newer one.
async fn configure(worker: &Worker) -> Result<(), Error> {
    let parse = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.parse::<i32>().map_err(|error| error.to_string())
    };
    let holder = ConfigHolder::start(&worker.sessions, "/config", parse);
    let mut seen = None;
    loop {
        let now = holder.newer_than(seen).await?;
        if *now.value != now.version || seen.is_some_and(|seen| now.version <= seen) {
            println!("violation configuration: {} at {} behind {seen:?}", now.value, now.version);
        }
        seen = Some(now.version);
        println!("did configure");
        tokio::time::sleep(PAUSE).await;
        if !worker.is_finishing() {
            let next = (now.version + 1).to_string();
            holder.set(seen, next.as_bytes()).await?;
        }
    }
}

async fn reconcile(worker: &Worker) -> Result<(), Error> {
    let member = Reconciliation::join(&worker.sessions, "/states", &worker.name, "").await?;
    let mut reached = None;
    loop {
        let desired = member.next_desired(reached).await?;
        println!("did reach {} {}", String::from_utf8_lossy(&desired.state), worker.name);
        member.report(&desired, &desired.state).await?;
        reached = Some(desired.version);
    }
}

async fn write_cache(worker: &Worker) -> Result<(), Error> {
    let client = worker.sessions.living().await?;
    let path = format!("/cache/{}", worker.name);
    match client.get_data(&path).await {
        Ok((data, stat)) => {
            let number: u64 = String::from_utf8_lossy(&data).parse().unwrap_or(0);
            let next = (number + 1).to_string();
            match client.set_data(&path, next.as_bytes(), stat.version).await {
                Err(error) if error.is_bad_version() => Ok(()),
                outcome => outcome.map(drop),
            }
        }
        Err(error) if error.is_no_node() => {
            client.create(&path, b"1", &CreateOptions::persistent()).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// No node of the cache ever goes back.
async fn read_cache(worker: &Worker) {
    let cache = TreeCache::start(&worker.sessions, "/cache");
    let mut changes = cache.changes();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    while changes.next().await.is_ok() {
        cache.with(|nodes| {
            for (path, entry) in nodes {
                let number: u64 = String::from_utf8_lossy(&entry.data).parse().unwrap_or(0);
                let before = seen.insert(path.clone(), number).unwrap_or(0);
                if number < before {
                    println!("violation cache: {path} went from {before} back to {number}");
                }
            }
        });
        println!("did look");
    }
    println!("violation cache: it has ended: {:?}", cache.state());
}
