//! Drives the crate `zookeeper-client` against the server named by the first argument (host:port).
//! The server must have zookeeper.extendedTypesEnabled=true, for TTL nodes.

mod check;

use std::time::Duration;

use check::{equal, eventually, fails, finish, good, soon, that};
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, AuthUser, Client, Connector, CreateMode, CreateOptions, Error,
    EventType, LockPrefix, MultiReadResult, MultiWriteError, MultiWriteResult, Permission,
};

const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
const SEQUENTIAL: CreateOptions<'static> =
    CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
const CONTAINER: CreateOptions<'static> = CreateMode::Container.with_acls(Acls::anyone_all());

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(server) = std::env::args().nth(1) else {
        eprintln!("usage: rust-client host:port");
        std::process::exit(2);
    };
    let root = format!("/rust-client-{}", std::process::id());
    let client = good(connect(&server).await, "connect");
    good(client.create(&root, b"root", &OPEN).await, "create the root of this run");
    // From here on, a chroot stands before every path.
    let chrooted = format!("{server}{root}");
    basics(&good(connect(&chrooted).await, "connect")).await;
    kinds(&chrooted).await;
    watches(&chrooted).await;
    transactions(&good(connect(&chrooted).await, "connect")).await;
    acls(&chrooted).await;
    locks(&chrooted).await;
    sessions(&chrooted).await;
    equal(
        good(client.get_data(&root).await, "read through the plain client").0,
        b"root",
        "the root's data",
    );
    finish();
}

fn connector() -> Connector {
    Client::connector().with_session_timeout(Duration::from_secs(10))
}

async fn connect(server: &str) -> Result<Client, Error> {
    soon(connector().connect(server), "a connection").await
}

async fn basics(client: &Client) {
    let (created, _) = good(client.create("/a", b"one", &OPEN).await, "create");
    equal((created.version, created.data_length, created.ephemeral_owner), (0, 3, 0), "a new stat");
    equal((created.mzxid, created.pzxid), (created.czxid, created.czxid), "one zxid");
    equal(good(client.get_data("/a").await, "get"), (b"one".to_vec(), created), "what was created");
    equal(good(client.set_data("/a", b"two", None).await, "set").version, 1, "the next version");
    equal(
        good(client.set_data("/a", b"three", Some(1)).await, "set at a version").version,
        2,
        "the next version",
    );
    fails(client.set_data("/a", b"x", Some(1)).await, Error::BadVersion, "set at a stale version");
    fails(client.create("/a", b"", &OPEN).await, Error::NodeExists, "create again");
    fails(client.create("/none/x", b"", &OPEN).await, Error::NoNode, "create without a parent");
    fails(client.get_data("/none").await, Error::NoNode, "get of nothing");
    equal(good(client.check_stat("/none").await, "exists of nothing"), None, "nothing");
    for name in ["/a/y", "/a/x"] {
        good(client.create(name, b"", &OPEN).await, "a child");
    }
    let mut children = good(client.list_children("/a").await, "list");
    children.sort();
    equal(children, ["x", "y"], "children");
    let (children, stat) = good(client.get_children("/a").await, "list with a stat");
    equal((children.len(), stat.num_children, stat.cversion), (2, 2, 2), "counted");
    fails(client.delete("/a", None).await, Error::NotEmpty, "delete of a parent");
    fails(client.delete("/a/x", Some(4)).await, Error::BadVersion, "delete at a wrong version");
    good(client.delete("/a/x", Some(0)).await, "delete");
    fails(client.delete("/a/x", None).await, Error::NoNode, "delete again");
    equal(good(client.count_descendants_number("/").await, "count"), 2, "all below the chroot");
    good(client.sync("/a").await, "sync");
    good(client.mkdir("/deep/er/still", &OPEN).await, "mkdir");
    that(
        good(client.check_stat("/deep/er/still").await, "exists").is_some(),
        "made with its parents",
    );
    let (config, stat) = good(client.get_config().await, "get_config");
    equal((config.len(), stat.czxid), (0, 0), "a standalone server has an empty configuration");

    // Two hundred requests in flight are answered in order.
    let writes: Vec<_> =
        (0..200).map(|i: u32| client.set_data("/a", format!("{i}").as_bytes(), None)).collect();
    let mut version = 2;
    for write in writes {
        version += 1;
        if good(write.await, "a pipelined write").version != version {
            equal(version, -1, "the version of a pipelined write");
        }
    }
    equal(good(client.get_data("/a").await, "get").0, b"199", "the last write stands");
}

async fn kinds(server: &str) {
    let client = good(connect(server).await, "connect");
    let (stat, _) = good(client.create("/e", b"", &EPHEMERAL).await, "an ephemeral");
    equal(stat.ephemeral_owner, client.session_id().0, "owned by the session");
    fails(
        client.create("/e/x", b"", &OPEN).await,
        Error::NoChildrenForEphemerals,
        "a child of an ephemeral",
    );
    equal(
        good(client.list_ephemerals("/").await, "list_ephemerals"),
        ["/e"],
        "the session's ephemerals",
    );
    let (_, first) = good(client.create("/s-", b"", &SEQUENTIAL).await, "sequential");
    let (_, second) = good(client.create("/s-", b"", &SEQUENTIAL).await, "sequential");
    equal(second.into_i64(), first.into_i64() + 1, "numbers follow each other");
    that(
        good(client.check_stat(&format!("/s-{second}")).await, "exists").is_some(),
        "under that name",
    );
    good(client.create("/c", b"", &CONTAINER).await, "a container");
    good(client.create("/c/x", b"", &OPEN).await, "its child");
    good(client.delete("/c/x", None).await, "its child goes");
    let ttl = OPEN.with_ttl(Duration::from_millis(300));
    good(client.create("/t", b"", &ttl).await, "a node with a time to live");
    let other = good(connect(server).await, "connect");
    eventually(async || other.check_stat("/c").await == Ok(None), "an empty container goes").await;
    eventually(async || other.check_stat("/t").await == Ok(None), "an old node goes").await;
    drop(client);
    eventually(
        async || other.check_stat("/e").await == Ok(None),
        "an ephemeral goes with its session",
    )
    .await;
}

#[expect(
    deprecated,
    reason = "remove() tells whether the server took the watch away; a drop does not"
)]
async fn watches(server: &str) {
    let client = good(connect(server).await, "connect");
    let other = good(connect(server).await, "connect");
    let (stat, watcher) = good(client.check_and_watch_stat("/w").await, "watch what is not there");
    equal(stat, None, "not there");
    let (stat, _) = good(other.create("/w", b"", &OPEN).await, "create");
    let event = soon(watcher.changed(), "the creation").await;
    equal((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/w"), "created");
    equal(event.zxid, stat.czxid, "the event names the zxid");
    let (_, _, data) = good(client.get_and_watch_data("/w").await, "watch data");
    let (_, _, children) = good(client.get_and_watch_children("/w").await, "watch children");
    let (_, removed) = good(client.list_and_watch_children("/w").await, "watch children again");
    good(removed.remove().await, "remove one of two watchers");
    let stat = good(other.set_data("/w", b"1", None).await, "set");
    let event = soon(data.changed(), "the change").await;
    equal((event.event_type, event.zxid), (EventType::NodeDataChanged, stat.mzxid), "changed");
    good(other.create("/w/x", b"", &OPEN).await, "a child");
    equal(
        soon(children.changed(), "the child").await.event_type,
        EventType::NodeChildrenChanged,
        "children changed",
    );

    let mut flat = good(client.watch("/w", AddWatchMode::Persistent).await, "persistent");
    let mut deep = good(client.watch("/w", AddWatchMode::PersistentRecursive).await, "recursive");
    good(other.set_data("/w", b"2", None).await, "set");
    good(other.set_data("/w/x", b"2", None).await, "set of the child");
    good(other.delete("/w/x", None).await, "delete of the child");
    good(other.delete("/w", None).await, "delete");
    for (kind, path) in [
        (EventType::NodeDataChanged, "/w"),
        (EventType::NodeChildrenChanged, "/w"),
        (EventType::NodeDeleted, "/w"),
    ] {
        let event = soon(flat.changed(), "an event of the persistent watch").await;
        equal((event.event_type, event.path.as_str()), (kind, path), "the persistent watch");
    }
    for (kind, path) in [
        (EventType::NodeDataChanged, "/w"),
        (EventType::NodeDataChanged, "/w/x"),
        (EventType::NodeDeleted, "/w/x"),
        (EventType::NodeDeleted, "/w"),
    ] {
        let event = soon(deep.changed(), "an event of the recursive watch").await;
        equal((event.event_type, event.path.as_str()), (kind, path), "the recursive watch");
    }
    good(flat.remove().await, "remove the persistent watch");
    good(deep.remove().await, "remove the recursive watch");
}

async fn transactions(client: &Client) {
    let mut writer = client.new_multi_writer();
    good(writer.add_create("/m", b"1", &OPEN), "add");
    good(writer.add_check_version("/m", 0), "add");
    good(writer.add_set_data("/m", b"2", Some(0)), "add");
    good(writer.add_create("/m/x", b"", &EPHEMERAL), "add");
    good(writer.add_delete("/m/x", None), "add");
    let results = good(writer.commit().await, "commit");
    equal(results.len(), 5, "a result for each operation");
    match (&results[0], &results[2]) {
        (MultiWriteResult::Create { path, stat: created }, MultiWriteResult::SetData { stat }) => {
            equal(path.as_str(), "/m", "the created path");
            equal((stat.version, stat.mzxid), (1, created.czxid), "set in the same transaction");
        }
        other => equal(format!("{other:?}"), "create and set", "kinds of the results"),
    }
    let mut writer = client.new_multi_writer();
    good(writer.add_set_data("/m", b"3", None), "add");
    good(writer.add_create("/m", b"", &OPEN), "add");
    fails(
        writer.commit().await,
        MultiWriteError::OperationFailed { index: 1, source: Error::NodeExists },
        "a transaction that fails names the operation",
    );
    equal(good(client.get_data("/m").await, "get").0, b"2", "and changes nothing");

    let mut reader = client.new_multi_reader();
    good(reader.add_get_data("/m"), "add");
    good(reader.add_get_children("/"), "add");
    good(reader.add_get_data("/none"), "add");
    let results = good(reader.commit().await, "multiRead");
    that(matches!(&results[0], MultiReadResult::Data { data, .. } if data == b"2"), "data");
    that(
        matches!(&results[1], MultiReadResult::Children { children } if children.contains(&"m".to_string())),
        "children",
    );
    that(
        matches!(&results[2], MultiReadResult::Error { err: Error::NoNode }),
        "an error for itself",
    );
}

async fn acls(server: &str) {
    let owner = good(
        soon(connector().with_auth("digest", b"rust:secret").connect(server), "connect").await,
        "connect",
    );
    let stranger = good(connect(server).await, "connect");
    let private = CreateMode::Persistent.with_acls(Acls::creator_all());
    good(owner.create("/private", b"s", &private).await, "create for the creator alone");
    equal(good(owner.get_data("/private").await, "the owner reads").0, b"s", "its data");
    fails(stranger.get_data("/private").await, Error::NoAuth, "a stranger reads");
    fails(stranger.set_data("/private", b"x", None).await, Error::NoAuth, "a stranger writes");
    fails(stranger.create("/private/x", b"", &OPEN).await, Error::NoAuth, "a stranger creates");
    let (list, stat) = good(owner.get_acl("/private").await, "get_acl");
    equal(
        (list.len(), list[0].scheme(), list[0].permission(), stat.aversion),
        (1, "digest", Permission::ALL, 0),
        "its ACL",
    );
    let mut wider = list.clone();
    wider.push(Acl::new(Permission::READ, AuthId::anyone()));
    equal(
        good(owner.set_acl("/private", &wider, Some(0)).await, "set_acl").aversion,
        1,
        "the next ACL version",
    );
    fails(
        owner.set_acl("/private", &wider, Some(0)).await,
        Error::BadVersion,
        "set_acl at a stale version",
    );
    equal(good(stranger.get_data("/private").await, "the stranger reads now").0, b"s", "its data");
    fails(stranger.set_data("/private", b"x", None).await, Error::NoAuth, "but does not write");
    let nonsense = [Acl::new(Permission::ALL, AuthId::new("nonsense", "x"))];
    fails(
        owner.create("/x", b"", &CreateMode::Persistent.with_acls(Acls::new(&nonsense))).await,
        Error::InvalidAcl,
        "a bad ACL",
    );
    let users = good(owner.list_auth_users().await, "list_auth_users");
    that(users.contains(&AuthUser::new("digest", "rust")), "the user is known by name");
    good(stranger.auth("digest", b"rust:secret").await, "authenticate later");
    good(stranger.set_data("/private", b"x", None).await, "and then write");
}

async fn locks(server: &str) {
    let one = good(connect(server).await, "connect");
    let two = good(connect(server).await, "connect");
    let options = || Acls::anyone_all();
    good(one.mkdir("/locks", &OPEN).await, "mkdir");
    let prefix = || good(LockPrefix::new_curator("/locks", "lock-"), "a lock's prefix");
    let held = good(soon(one.lock(prefix(), b"", options()), "the lock").await, "lock");
    let path = held.lock_path().to_string();
    that(good(two.check_stat(&path).await, "exists").is_some(), "the lock is a znode");
    let waiting = two.lock(prefix(), b"", options());
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    that(early.is_err(), "the second one waits");
    drop(held);
    let second = good(soon(waiting, "the lock passes on").await, "lock");
    that(second.lock_path() != path, "to a znode of its own");
    good(second.create("/guarded", b"", &OPEN).await, "a write under the lock");
    drop(second);
    eventually(
        async || one.list_children("/locks").await.is_ok_and(|left| left.is_empty()),
        "no lock is left",
    )
    .await;
}

async fn sessions(server: &str) {
    let first = good(soon(connector().with_detached().connect(server), "connect").await, "connect");
    good(first.create("/kept", b"", &EPHEMERAL).await, "an ephemeral");
    let id = first.session_id();
    let session = first.into_session();
    let observer = good(connect(server).await, "connect");
    that(
        good(observer.check_stat("/kept").await, "exists").is_some(),
        "it outlives its connection",
    );
    let second = good(
        soon(connector().with_session(session.clone()).connect(server), "connect").await,
        "re-attach",
    );
    equal(second.session_id(), id, "with the same id");
    let stat = good(second.check_stat("/kept").await, "exists");
    equal(stat.map(|stat| stat.ephemeral_owner), Some(id.0), "and the ephemeral is its own");
    drop(second);
    eventually(async || observer.check_stat("/kept").await == Ok(None), "closing ends the session")
        .await;
    let late = soon(connector().with_session(session).connect(server), "an answer").await;
    fails(
        late.map(|client| client.session_id()),
        Error::SessionExpired,
        "re-attach to a session that is over",
    );
}
