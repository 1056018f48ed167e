//! Every recipe once, on nodes below `/recipes`:
//!
//! ```sh
//! cargo run -p oxikeeper-client --example recipes -- localhost:2181
//! ```

use std::ops::ControlFlow;
use std::time::Duration;

use oxikeeper_client::recipe::{
    AtomicValue, Barrier, ConfigHolder, Counter, Discovery, DoubleBarrier, Group, Latch, Lock,
    Messenger, PersistentEphemeral, Queue, ReadWriteLock, Reconciliation, Selector, Semaphore,
    ServiceInstance, Sessions, TreeCache, Wait,
};
use oxikeeper_client::{Client, CreateOptions, Error, ExpectedVersion, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let connect = std::env::args().nth(1).unwrap_or_else(|| "localhost:2181".to_owned());
    run(&connect).await
}

/// All of it. Two sessions stand for two processes.
pub async fn run(connect: &str) -> Result<()> {
    let (one, two) = (Client::connect(connect).await?, Client::connect(connect).await?);
    one.create("/recipes", b"", &CreateOptions::persistent()).await?;
    locks(&one, &two).await?;
    elections(&one, &two).await?;
    barriers(&one, &two).await?;
    queues(&one, &two).await?;
    values(&one, &two).await?;
    members(&one, &two).await?;
    states_and_messages(&one, &two).await?;
    // A session that is replaced when it is lost: recipes take it in place of a client.
    let sessions = Sessions::start(Client::builder(connect))?;
    assert!(sessions.living().await?.exists("/recipes").await?.is_some());
    two.close().await?;
    one.close().await
}

async fn locks(one: &Client, two: &Client) -> Result<()> {
    one.create("/recipes/account", b"0", &CreateOptions::persistent()).await?;
    let lock = Lock::new(one, "/recipes/lock");
    let guard = lock.acquire().await?;
    // Whoever else wants it waits; dropped, it withdraws.
    let wait = Duration::from_millis(50);
    let other = Lock::new(two, "/recipes/lock");
    assert!(tokio::time::timeout(wait, other.acquire()).await.is_err());
    // Under the fence nobody can write who holds it no longer.
    let written =
        guard.fence().transaction().set_data("/recipes/account", b"42", -1).commit().await;
    written?;
    let fence = guard.fence().clone();
    guard.release().await?;
    let late = fence.transaction().set_data("/recipes/account", b"0", -1).commit().await;
    assert!(late.is_err_and(|error| fence.is_refusal(&error)));

    let shared = ReadWriteLock::new(one, "/recipes/read-write");
    let (reader, another) = (shared.read().await?, shared.read().await?);
    reader.release().await?;
    another.release().await?;
    shared.write().await?.release().await?;

    let leases = Semaphore::new(one, "/recipes/semaphore", 2);
    let (first, second) = (leases.acquire().await?, leases.acquire().await?);
    first.release().await?;
    second.release().await
}

async fn elections(one: &Client, two: &Client) -> Result<()> {
    let ours = Latch::start(one, "/recipes/latch", "one");
    let leadership = ours.leadership().await?;
    assert!(leadership.is_valid());
    // Whoever comes later leads when those before him have gone.
    let theirs = Latch::start(two, "/recipes/latch", "two");
    ours.close().await?;
    assert!(theirs.leadership().await?.token() > leadership.token());
    theirs.close().await?;

    let selector = Selector::new(one, "/recipes/selector", "one");
    let outcome = selector
        .run(|leadership| async move { ControlFlow::Break(leadership.token().value()) })
        .await?;
    println!("led with token {outcome}");
    Ok(())
}

async fn barriers(one: &Client, two: &Client) -> Result<()> {
    let (ours, theirs) =
        (Barrier::new(one, "/recipes/barrier"), Barrier::new(two, "/recipes/barrier"));
    ours.set().await?;
    let (waited, lifted) = tokio::join!(theirs.wait(), ours.lift());
    waited.and(lifted)?;

    let both = [one, two].map(|client| DoubleBarrier::new(client, "/recipes/double", 2));
    let (first, second) = tokio::join!(both[0].enter(), both[1].enter());
    let (first, second) = tokio::join!(first?.leave(), second?.leave());
    first.and(second)
}

async fn queues(one: &Client, two: &Client) -> Result<()> {
    let (ours, theirs) = (Queue::new(one, "/recipes/queue"), Queue::new(two, "/recipes/queue"));
    ours.put(b"first").await?;
    ours.put(b"second").await?;
    for data in [b"first".as_slice(), b"second"] {
        let item = theirs.take().await?;
        assert_eq!(item.data(), data);
        item.done().await?;
    }
    let jobs = Queue::new(one, "/recipes/jobs");
    jobs.put_with_priority(5, b"later").await?;
    jobs.put_with_priority(-1, b"urgent").await?;
    let item = jobs.take().await?;
    assert_eq!(item.data(), b"urgent");
    item.done().await
}

async fn values(one: &Client, two: &Client) -> Result<()> {
    assert_eq!(Counter::new(one, "/recipes/counter").add(2).await?, 2);
    assert_eq!(Counter::new(two, "/recipes/counter").add(-1).await?, 1);
    let motto = AtomicValue::new(one, "/recipes/motto");
    motto.update(|old| [old, b"go on"].concat()).await?;

    one.create("/recipes/config", b"10", &CreateOptions::persistent()).await?;
    let limit = ConfigHolder::start(two, "/recipes/config", |bytes| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.parse::<u32>().map_err(|error| error.to_string())
    });
    let now = limit.ready().await?;
    assert_eq!(*now.value, 10);
    // What cannot be parsed is told, and changes nothing.
    one.set_data("/recipes/config", b"many", ExpectedVersion::Any).await?;
    one.set_data("/recipes/config", b"20", ExpectedVersion::Any).await?;
    assert_eq!(*limit.newer_than(Some(now.version)).await?.value, 20);

    let cache = TreeCache::start(two, "/recipes/config");
    cache.ready().await?;
    one.create("/recipes/config/below", b"x", &CreateOptions::persistent()).await?;
    cache.until(|nodes| nodes.contains_key("/recipes/config/below").then_some(())).await
}

async fn members(one: &Client, two: &Client) -> Result<()> {
    let first = Group::join(one, "/recipes/group", "one", b"10.0.0.1").await?;
    let second = Group::join(two, "/recipes/group", "two", b"10.0.0.2").await?;
    let names = first
        .until(|members| (members.len() == 2).then(|| members.keys().cloned().collect::<Vec<_>>()))
        .await?;
    assert_eq!(names, ["one", "two"]);
    second.leave().await?;
    first.until(|members| (members.len() == 1).then_some(())).await?;
    first.leave().await?;

    let here = PersistentEphemeral::start(one, "/recipes/here", b"10.0.0.1");
    here.present().await?;
    here.close().await?;

    let services = Discovery::start(two, "/recipes/services").await?;
    let registry = Discovery::start(one, "/recipes/services").await?;
    let ours = registry.register(&ServiceInstance::new("billing", "10.0.0.7", 9000)).await?;
    let found = services.until("billing", |all| all.first().cloned()).await?;
    assert_eq!((found.address.as_str(), found.port), ("10.0.0.7", Some(9000)));
    ours.close().await
}

async fn states_and_messages(one: &Client, two: &Client) -> Result<()> {
    let member = Reconciliation::join(one, "/recipes/states", "node", b"stopped").await?;
    let gets_there = tokio::spawn(async move {
        let desired = member.next_desired(None).await?;
        member.report(&desired, desired.state.to_vec()).await?;
        // It stays a member until all have heard of it.
        Ok::<_, Error>(member)
    });
    let control = Reconciliation::observe(two, "/recipes/states").await?;
    control.desire("node", b"running").await?;
    control.synchronize(Wait::All).await?;
    gets_there.await.expect("it does not panic")?;

    let ours = Messenger::open(one, "/recipes/messages", "one").await?;
    let mut theirs = Messenger::open(two, "/recipes/messages", "two").await?;
    ours.send(b"to you", "two").await?;
    ours.send_all(b"to all").await?;
    for data in [b"to you".as_slice(), b"to all"] {
        let message = theirs.receive().await?;
        assert_eq!((message.sender.as_str(), &message.data[..]), ("one", data));
        message.done().await?;
    }
    Ok(())
}
