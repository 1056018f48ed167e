//! Every recipe of the client library, on a server of ours and on Apache's: what it promises when nothing
//! goes wrong, when a session ends, and when a future is dropped. What happens when servers and processes die is
//! `crates/interop/src/recipes.rs`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oxikeeper_client::recipe::{
    AtomicValue, Barrier, CacheState, ConfigHolder, Counter, Discovery, DoubleBarrier, Group, Hold,
    Latch, Lock, Messenger, PersistentEphemeral, Queue, ReadWriteLock, Reconciliation, Selector,
    Semaphore, ServiceInstance, Sessions, Standing, TreeCache, Wait,
};
use oxikeeper_client::{Client, CreateOptions, Error};
use oxikeeper_interop::server::{Kind, Server};

type Outcome = Result<(), Error>;

/// Longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to see that something does not happen.
const WHILE: Duration = Duration::from_millis(200);

/// A server with a directory per check.
struct Place {
    address: String,
    dir: String,
}

impl Place {
    fn builder(&self) -> oxikeeper_client::Builder {
        let connect = format!("{}{}", self.address, self.dir);
        Client::builder(&connect).session_timeout(Duration::from_secs(8))
    }

    async fn client(&self) -> Result<Client, Error> {
        self.builder().connect().await
    }

    /// Ends a session as its expiry would: another client takes it over and closes it.
    async fn expire(&self, client: &Client) -> Outcome {
        let session = client.session();
        self.builder().resume(session.id, session.password).connect().await?.close().await
    }
}

async fn does_not_end<T>(future: impl Future<Output = T>) {
    assert!(tokio::time::timeout(WHILE, future).await.is_err(), "it came to an end");
}

/// Waits until a directory has so many children.
async fn count(client: &Client, path: &str, count: usize) -> Outcome {
    loop {
        let (names, watch) = client.get_children_watch(path).await?;
        if names.len() == count {
            return Ok(());
        }
        watch.await?;
    }
}

fn run(kind: Kind) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(kind, dir.path(), "maxSessionTimeout=60000");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    macro_rules! checks {
        ($($check:ident)*) => {
            $(runtime.block_on(async {
                let address = server.address().to_string();
                let dir = concat!("/", stringify!($check)).to_owned();
                let root = Client::connect(&address).await.expect("a session");
                root.create(&dir, b"", &CreateOptions::persistent()).await.expect("a directory");
                let place = Place { address, dir };
                let outcome = tokio::time::timeout(PATIENCE, $check(&place)).await;
                outcome.unwrap_or_else(|_| panic!("{} hangs", stringify!($check)))
                    .unwrap_or_else(|error| panic!("{}: {error}", stringify!($check)));
            });)*
        };
    }
    checks!(
        a_lock_has_one_holder_in_order
        a_reentrant_lock_is_let_go_by_its_last_guard
        a_waiter_that_is_dropped_leaves_no_node
        a_lost_session_is_seen_and_fenced_off
        a_removed_lock_node_is_seen
        readers_share_and_writers_do_not_starve
        a_semaphore_counts
        a_latch_leads_until_it_closes
        a_latch_comes_back_after_an_expiry
        a_selector_leads_by_turns
        a_barrier_opens
        a_double_barrier_opens_and_closes
        a_queue_gives_each_item_once_in_order
        an_item_of_a_dead_consumer_goes_to_another
        priorities_go_first
        counters_add_up
        values_are_compared
        a_persistent_ephemeral_outlives_its_session
        a_group_knows_its_members
        services_are_found
        a_cache_follows
        a_cache_outlives_its_session
        a_configuration_keeps_the_last_good_value
        states_are_reconciled
        messages_survive_their_receiver
        messages_to_all_are_in_one_order
    );
}

#[test]
fn on_ours() {
    run(Kind::Oxikeeper);
}

#[test]
fn on_apaches() {
    run(Kind::APACHE);
}

async fn a_lock_has_one_holder_in_order(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let first = Lock::new(&one, "/lock").acquire().await?;
    assert!(first.is_valid());
    let lock = Lock::new(&two, "/lock");
    assert!(lock.try_acquire().await?.is_none());
    count(&one, "/lock", 1).await?;
    let mut second = Box::pin(lock.acquire());
    does_not_end(&mut second).await;
    let token = first.token();
    first.release().await?;
    let second = second.await?;
    assert!(second.token() > token);
    assert!(second.path().starts_with("/lock/_c_") && second.path().contains("-lock-00"));
    drop(second);
    count(&one, "/lock", 0).await?;
    Ok(())
}

async fn a_reentrant_lock_is_let_go_by_its_last_guard(place: &Place) -> Outcome {
    let client = place.client().await?;
    let lock = Lock::new(&client, "/lock").reentrant();
    let (outer, inner) = (lock.acquire().await?, lock.acquire().await?);
    assert_eq!(outer.token(), inner.token());
    inner.release().await?;
    assert!(outer.is_valid());
    assert!(Lock::new(&client, "/lock").try_acquire().await?.is_none());
    outer.release().await?;
    count(&client, "/lock", 0).await?;
    let again = lock.acquire().await?;
    again.release().await
}

async fn a_waiter_that_is_dropped_leaves_no_node(place: &Place) -> Outcome {
    let client = place.client().await?;
    let guard = Lock::new(&client, "/lock").acquire().await?;
    let lock = Lock::new(&client, "/lock");
    {
        let mut waiting = Box::pin(lock.acquire());
        does_not_end(&mut waiting).await;
        count(&client, "/lock", 2).await?;
    }
    count(&client, "/lock", 1).await?;
    // Dropped after the first poll: the create is on its way.
    {
        let mut begun = Box::pin(lock.acquire());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(begun.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
    }
    guard.release().await?;
    // Whoever comes now gets it, once the ghost is gone.
    Lock::new(&client, "/lock").acquire().await?.release().await?;
    count(&client, "/lock", 0).await
}

async fn a_lost_session_is_seen_and_fenced_off(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let first = Lock::new(&one, "/lock").acquire().await?;
    two.create("/data", b"", &CreateOptions::persistent()).await?;
    first.fence().transaction().set_data("/data", b"first", -1).commit().await?;
    let lock = Lock::new(&two, "/lock");
    let second = lock.acquire();
    place.expire(&one).await?;
    first.over().await;
    assert_eq!(first.standing(), Standing::Lost);
    assert!(!first.is_valid());
    let second = second.await?;
    assert!(second.token() > first.token());
    let late = first.fence().transaction().set_data("/data", b"late", -1).commit().await;
    assert!(first.fence().is_refusal(&late.expect_err("its session is gone")));
    // Through a living session the server itself refuses.
    let late = first.fence().through(&two).transaction().set_data("/data", b"late", -1);
    let error = late.commit().await.expect_err("its node is gone");
    assert!(matches!(error, Error::Transaction { index: 0, .. }), "{error}");
    assert!(first.fence().is_refusal(&error));
    assert_eq!(two.get_data("/data").await?.0, b"first");
    second.release().await
}

async fn a_removed_lock_node_is_seen(place: &Place) -> Outcome {
    let client = place.client().await?;
    let guard = Lock::new(&client, "/lock").acquire().await?;
    client.delete(guard.path(), -1).await?;
    assert_eq!(guard.lost().await, Standing::Lost);
    guard.release().await
}

async fn readers_share_and_writers_do_not_starve(place: &Place) -> Outcome {
    let client = place.client().await?;
    let lock = ReadWriteLock::new(&client, "/lock");
    let (one, two) = (lock.read().await?, lock.read().await?);
    let mut writer = Box::pin(lock.write());
    does_not_end(&mut writer).await;
    let mut late = Box::pin(lock.read());
    does_not_end(&mut late).await;
    one.release().await?;
    does_not_end(&mut writer).await;
    two.release().await?;
    let writer = writer.await?;
    does_not_end(&mut late).await;
    writer.release().await?;
    late.await?.release().await
}

async fn a_semaphore_counts(place: &Place) -> Outcome {
    let client = place.client().await?;
    let semaphore = Semaphore::new(&client, "/semaphore", 2);
    let (one, two) = (semaphore.acquire().await?, semaphore.acquire().await?);
    let mut third = Box::pin(semaphore.acquire());
    does_not_end(&mut third).await;
    one.release().await?;
    let third = third.await?;
    assert!(two.is_valid() && third.token() > two.token());
    count(&client, "/semaphore/leases", 2).await
}

async fn a_latch_leads_until_it_closes(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let first = Latch::start(&one, "/latch", "one");
    let leadership = first.leadership().await?;
    let second = Latch::start(&two, "/latch", "two");
    does_not_end(second.leadership()).await;
    assert!(first.is_leader() && !second.is_leader());
    assert_eq!(first.participants().await?, [b"one".to_vec(), b"two".to_vec()]);
    first.close().await?;
    assert!(!leadership.is_valid());
    assert!(second.leadership().await?.token() > leadership.token());
    assert_eq!(second.participants().await?, [b"two".to_vec()]);
    second.close().await?;
    // Nobody of the recipe is there any more.
    count(&one, "/latch", 0).await
}

async fn a_latch_comes_back_after_an_expiry(place: &Place) -> Outcome {
    let sessions = Sessions::start(place.builder())?;
    let latch = Latch::start(&sessions, "/latch", "one");
    let before = latch.leadership().await?;
    place.expire(&sessions.client()).await?;
    before.over().await;
    let after = latch.leadership().await?;
    assert!(after.token() > before.token() && after.session() != before.session());
    latch.close().await?;
    // One session alone: it ends with it.
    let client = place.client().await?;
    let latch = Latch::start(&client, "/latch", "two");
    latch.leadership().await?;
    place.expire(&client).await?;
    while latch.leadership().await.is_ok() {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn a_selector_leads_by_turns(place: &Place) -> Outcome {
    let clients = [place.client().await?, place.client().await?];
    let leading = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for client in &clients {
        let (client, leading) = (client.clone(), Arc::clone(&leading));
        tasks.push(tokio::spawn(async move {
            let mut turns = 0;
            let selector = Selector::new(&client, "/selector", "id");
            let lead = |leadership: Hold| {
                turns += 1;
                let (turn, leading) = (turns, Arc::clone(&leading));
                async move {
                    assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead");
                    assert!(leadership.is_valid());
                    tokio::task::yield_now().await;
                    leading.fetch_sub(1, Ordering::SeqCst);
                    if turn == 5 { ControlFlow::Break(turn) } else { ControlFlow::Continue(()) }
                }
            };
            selector.run(lead).await
        }));
    }
    for task in tasks {
        assert_eq!(task.await.expect("no panic")?, 5);
    }
    Ok(())
}

async fn a_barrier_opens(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let barrier = Barrier::new(&one, "/barriers/one");
    barrier.wait().await?;
    barrier.set().await?;
    barrier.set().await?;
    let other = Barrier::new(&two, "/barriers/one");
    let mut waiting = Box::pin(other.wait());
    does_not_end(&mut waiting).await;
    barrier.lift().await?;
    waiting.await?;
    barrier.lift().await
}

async fn a_double_barrier_opens_and_closes(place: &Place) -> Outcome {
    let client = place.client().await?;
    let barrier = DoubleBarrier::new(&client, "/double", 3);
    for _ in 0..3 {
        let (one, two) = (barrier.enter(), barrier.enter());
        let mut both = Box::pin(async { tokio::join!(one, two) });
        does_not_end(&mut both).await;
        let (three, (one, two)) = tokio::join!(barrier.enter(), both);
        let (one, two) = (one?, two?);
        let mut leaving = Box::pin(async { tokio::join!(one.leave(), two.leave()) });
        does_not_end(&mut leaving).await;
        drop(three?);
        let (one, two): (Outcome, Outcome) = leaving.await;
        one.and(two)?;
        count(&client, "/double", 0).await?;
    }
    Ok(())
}

async fn a_queue_gives_each_item_once_in_order(place: &Place) -> Outcome {
    let client = place.client().await?;
    let queue = Queue::new(&client, "/queue");
    assert!(queue.try_take().await?.is_none());
    let mut waiting = Box::pin(queue.take());
    does_not_end(&mut waiting).await;
    queue.put(b"0").await?;
    waiting.await?.done().await?;
    for number in 1..5 {
        queue.put(&[number]).await?;
    }
    let (first, second) = (queue.take().await?, queue.take().await?);
    assert_eq!((first.data(), second.data()), (&[1][..], &[2][..]));
    // Given back, it comes first again.
    drop(first);
    count(&client, "/queue-locks", 1).await?;
    let first = queue.take().await?;
    assert_eq!(first.data(), [1]);
    first.transaction().create("/result", b"1", &CreateOptions::persistent()).commit().await?;
    second.done().await?;
    assert_eq!(queue.count().await?, 2);
    assert_eq!(queue.take().await?.data(), [3]);
    Ok(())
}

async fn an_item_of_a_dead_consumer_goes_to_another(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let queue = Queue::new(&one, "/queue");
    queue.put(b"work").await?;
    let item = queue.take().await?;
    let other = Queue::new(&two, "/queue");
    let mut waiting = Box::pin(other.take());
    does_not_end(&mut waiting).await;
    place.expire(&one).await?;
    assert_eq!(waiting.await?.data(), b"work");
    assert!(item.done().await.is_err());
    Ok(())
}

async fn priorities_go_first(place: &Place) -> Outcome {
    let client = place.client().await?;
    let queue = Queue::new(&client, "/queue");
    for priority in [5, -1, 0, 5, -300] {
        queue.put_with_priority(priority, priority.to_string().as_bytes()).await?;
    }
    for expected in ["-300", "-1", "0", "5", "5"] {
        let item = queue.take().await?;
        assert_eq!(item.data(), expected.as_bytes());
        item.done().await?;
    }
    Ok(())
}

async fn counters_add_up(place: &Place) -> Outcome {
    let clients = [place.client().await?, place.client().await?];
    let adders = clients.clone().map(|client| {
        tokio::spawn(async move {
            for _ in 0..20 {
                Counter::new(&client, "/counter").add(3).await?;
            }
            Outcome::Ok(())
        })
    });
    for adder in adders {
        adder.await.expect("no panic")?;
    }
    let counter = Counter::new(&clients[0], "/counter");
    assert_eq!(counter.get().await?, 120);
    assert_eq!(counter.add(-121).await?, -1);
    // No witness stays behind.
    count(&clients[0], "/counter", 0).await
}

async fn values_are_compared(place: &Place) -> Outcome {
    let client = place.client().await?;
    let value = AtomicValue::new(&client, "/value");
    let (data, version) = value.get().await?;
    assert_eq!(data, b"");
    assert!(value.compare_and_set(version, b"a").await?);
    assert!(!value.compare_and_set(version, b"b").await?);
    assert_eq!(value.update(|old| [old, b"c"].concat()).await?, b"ac");
    assert_eq!(value.get().await?.0, b"ac");
    Ok(())
}

async fn a_persistent_ephemeral_outlives_its_session(place: &Place) -> Outcome {
    let sessions = Sessions::start(place.builder())?;
    let watcher = place.client().await?;
    let node = PersistentEphemeral::start(&sessions, "/dir/node", "a");
    node.present().await?;
    place.expire(&sessions.client()).await?;
    // Again there, by another session.
    node.set("b").await?;
    let (data, stat) = watcher.get_data("/dir/node").await?;
    assert_eq!(
        (data.as_slice(), stat.ephemeral_owner),
        (&b"b"[..], sessions.client().session().id.0)
    );
    watcher.delete("/dir/node", -1).await?;
    while watcher.exists("/dir/node").await?.is_none() {
        let (stat, watch) = watcher.exists_watch("/dir/node").await?;
        if stat.is_none() {
            watch.await?;
        }
    }
    node.close().await?;
    assert!(watcher.exists("/dir/node").await?.is_none());
    let dropped = PersistentEphemeral::start(&sessions, "/dir/other", "");
    dropped.present().await?;
    drop(dropped);
    count(&watcher, "/dir", 0).await
}

async fn a_group_knows_its_members(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let first = Group::join(&one, "/group", "one", "1").await?;
    let second = Group::join(&two, "/group", "two", "2").await?;
    first.until(|members| (members.len() == 2).then_some(())).await?;
    second.set("3").await?;
    first.until(|members| (members["two"][..] == *b"3").then_some(())).await?;
    place.expire(&two).await?;
    first.until(|members| (members.len() == 1).then_some(())).await?;
    let outside = Group::observe(&one, "/group").await?;
    assert_eq!(outside.members().keys().collect::<Vec<_>>(), ["one"]);
    first.leave().await?;
    outside.until(|members| members.is_empty().then_some(())).await
}

async fn services_are_found(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let server = Discovery::start(&one, "/services").await?;
    let caller = Discovery::start(&two, "/services").await?;
    assert!(caller.instances("billing").is_empty());
    let mut instance = ServiceInstance::new("billing", "10.0.0.7", 9000);
    let registration = server.register(&instance).await?;
    let found = caller.until("billing", |all| all.first().cloned()).await?;
    assert_eq!(found, instance);
    assert_eq!(caller.names(), ["billing"]);
    instance.port = Some(9001);
    registration.update(&instance).await?;
    caller.until("billing", |all| (all[0].port == Some(9001)).then_some(())).await?;
    registration.close().await?;
    caller.until("billing", |all| all.is_empty().then_some(())).await
}

async fn a_cache_follows(place: &Place) -> Outcome {
    let client = place.client().await?;
    let persistent = CreateOptions::persistent();
    client.create("/tree", b"root", &persistent).await?;
    for number in 0..100 {
        client.create(&format!("/tree/{number}"), b"", &persistent).await?;
    }
    let cache = TreeCache::start(&client, "/tree");
    cache.ready().await?;
    assert_eq!(cache.with(BTreeMap::len), 101);
    assert_eq!(&cache.get("/tree").expect("the root").data[..], b"root");
    client.create("/tree/7/deep", b"x", &persistent).await?;
    client.set_data("/tree/8", b"y", -1).await?;
    client.delete("/tree/9", -1).await?;
    cache
        .until(|nodes| {
            let deep = nodes.get("/tree/7/deep").is_some_and(|entry| entry.data[..] == *b"x");
            let set = nodes["/tree/8"].data[..] == *b"y";
            (deep && set && !nodes.contains_key("/tree/9")).then_some(())
        })
        .await?;
    assert_eq!(cache.children("/tree/7"), ["deep"]);
    assert_eq!(cache.children("/tree").len(), 99);
    assert!(cache.get("/treehouse").is_none());
    place.expire(&client).await?;
    let ended = cache.until(|_| None::<()>).await;
    assert_eq!(ended, Err(Error::SessionExpired));
    assert_eq!(cache.state(), CacheState::Ended(Error::SessionExpired));
    Ok(())
}

async fn a_cache_outlives_its_session(place: &Place) -> Outcome {
    let sessions = Sessions::start(place.builder())?;
    let client = place.client().await?;
    let cache = TreeCache::start(&sessions, "/tree");
    cache.ready().await?;
    assert_eq!(cache.with(BTreeMap::len), 0);
    for round in 0..3_u8 {
        place.expire(&sessions.client()).await?;
        match client.set_data("/tree", &[round], -1).await {
            Err(error) if error.is_no_node() => {
                client.create("/tree", &[round], &CreateOptions::persistent()).await?;
            }
            outcome => drop(outcome?),
        }
        cache
            .until(|nodes| nodes.get("/tree").filter(|e| e.data[..] == [round]).map(|_| ()))
            .await?;
    }
    Ok(())
}

async fn a_configuration_keeps_the_last_good_value(place: &Place) -> Outcome {
    let client = place.client().await?;
    let parse = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.parse::<u32>().map_err(|error| error.to_string())
    };
    let limit = ConfigHolder::start(&client, "/limit", parse);
    does_not_end(limit.ready()).await;
    assert!(limit.set(None, b"10").await?);
    let now = limit.ready().await?;
    assert_eq!(*now.value, 10);
    assert!(limit.set(Some(now.version), b"11").await?);
    assert!(!limit.set(Some(now.version), b"12").await?);
    let now = limit.newer_than(Some(now.version)).await?;
    assert_eq!(*now.value, 11);
    client.set_data("/limit", b"many", -1).await?;
    let mut fault = limit.fault();
    while fault.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        fault = limit.fault();
    }
    assert_eq!(limit.current().map(|now| *now.value), Some(11));
    client.set_data("/limit", b"12", -1).await?;
    assert_eq!(*limit.newer_than(Some(now.version)).await?.value, 12);
    assert_eq!(limit.fault(), None);
    Ok(())
}

async fn states_are_reconciled(place: &Place) -> Outcome {
    let control = Reconciliation::observe(&place.client().await?, "/states").await?;
    control.synchronize(Wait::All).await?;
    let mut members = BTreeMap::new();
    for id in ["one", "two", "three"] {
        let client = place.client().await?;
        let member = Reconciliation::join(&client, "/states", id, "new").await?;
        members.insert(id, Arc::new(member));
    }
    let desires = members.keys().map(|id| (*id, &b"running"[..])).collect();
    control.desire_all(&desires).await?;
    let mut all = Box::pin(control.synchronize(Wait::All));
    does_not_end(&mut all).await;
    let follow = |id: &str| {
        let member = Arc::clone(&members[id]);
        async move {
            let desired = member.next_desired(None).await?;
            assert_eq!(desired.state[..], *b"running");
            member.report(&desired, "running").await
        }
    };
    follow("one").await?;
    does_not_end(control.synchronize(Wait::Quorum)).await;
    follow("two").await?;
    control.synchronize(Wait::Quorum).await?;
    does_not_end(&mut all).await;
    follow("three").await?;
    all.await?;
    // A newer desire, and nobody is there yet; the old reports do not count.
    control.desire("two", b"stopped").await?;
    does_not_end(control.synchronize(Wait::All)).await;
    control.synchronize(Wait::AtLeast(2)).await?;
    let progress = &control.progress()["two"];
    assert_eq!(progress.current.as_deref(), Some(&b"running"[..]));
    assert!(!progress.is_there);
    let desired = members["two"].desired("two").map(|desired| desired.state);
    control.forget("two").await?;
    control.synchronize(Wait::All).await?;
    assert!(desired.is_some());
    Ok(())
}

async fn messages_survive_their_receiver(place: &Place) -> Outcome {
    let (one, two) = (place.client().await?, place.client().await?);
    let first = Messenger::open(&one, "/messages", "one").await?;
    let nobody = first.send(b"x", "two").await;
    assert!(nobody.expect_err("two has no inbox").is_no_node());
    let mut second = Messenger::open(&two, "/messages", "two").await?;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(first.send(text.as_bytes(), "two").await?);
    }
    // Again, as after a lost session: the receiver knows the id.
    first.send_as(&ids[0], b"a", "two").await?;
    let message = second.receive().await?;
    assert_eq!((&message.data[..], &*message.sender, &message.id), (&b"a"[..], "one", &ids[0]));
    message.done().await?;
    assert_eq!(second.receive().await?.data, b"b");
    // It dies before it has said that b is done.
    drop(second);
    place.expire(&two).await?;
    let mut second = Messenger::open(&place.client().await?, "/messages", "two").await?;
    for (text, id) in ["b", "c", "a"].iter().zip([&ids[1], &ids[2], &ids[0]]) {
        let message = second.receive().await?;
        assert_eq!((&message.data[..], &message.id), (text.as_bytes(), id));
        message.done().await?;
    }
    does_not_end(second.receive()).await;
    second.remove_inbox("two").await?;
    assert_eq!(first.members().await?, ["one"]);
    Ok(())
}

async fn messages_to_all_are_in_one_order(place: &Place) -> Outcome {
    let mut members = Vec::new();
    for name in ["one", "two", "three", "four"] {
        members.push(Messenger::open(&place.client().await?, "/messages", name).await?);
    }
    let mut receivers = members.split_off(2);
    let send = |messenger: Messenger| async move {
        for number in 0..10_u8 {
            messenger.send_all(&[number]).await?;
        }
        Outcome::Ok(())
    };
    let (two, one) = (members.pop().expect("two"), members.pop().expect("one"));
    let (one, two) = tokio::join!(send(one), send(two));
    one.and(two)?;
    let mut seen = Vec::new();
    for receiver in &mut receivers {
        let mut all = Vec::new();
        for _ in 0..20 {
            let message = receiver.receive().await?;
            message.done().await?;
            all.push((message.sender, message.data, message.id));
        }
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
    let of_one: Vec<u8> =
        seen[0].iter().filter(|(sender, ..)| sender == "one").map(|(_, data, _)| data[0]).collect();
    assert!(of_one.is_sorted() && of_one.len() == 10);
    Ok(())
}
