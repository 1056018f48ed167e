//! The client crate against one server: every operation, as against Apache 3.9.5 so against ours.

use std::time::Duration;

use oxikeeper_client::{
    Acl, Client, CreateOptions, Error, ErrorCode, EventKind, ExpectedVersion, Id, LostReason,
    ReadResult, State, TxnResult, WatchMode, WatcherType, perms,
};
use oxikeeper_interop::server::{Kind, Server};

const SETTINGS: &str = "-Dzookeeper.extendedTypesEnabled=true";
const PATIENCE: Duration = Duration::from_secs(60);

fn both(test: impl AsyncFn(&Server)) {
    for kind in [Kind::Oxikeeper, Kind::APACHE] {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(kind, dir.path(), SETTINGS);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        println!("against {}", kind.name());
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, test(&server)).await.expect("no hang");
        });
    }
}

async fn connect(server: &Server) -> Client {
    Client::connect(&server.address().to_string()).await.expect("a session")
}

#[test]
fn every_operation() {
    both(async |server| {
        let client = connect(server).await;
        let persistent = CreateOptions::persistent();
        let created = client.create("/a", b"1", &persistent).await.unwrap();
        assert_eq!((created.path.as_str(), created.stat.data_length), ("/a", 1));
        let error = client.create("/a", b"", &persistent).await.unwrap_err();
        assert!(error.is_node_exists() && !error.may_have_happened());
        let (data, stat) = client.get_data("/a").await.unwrap();
        assert_eq!((data.as_slice(), stat), (b"1".as_slice(), created.stat));
        assert_eq!(client.set_data("/a", b"22", 0).await.unwrap().version, 1);
        assert!(client.set_data("/a", b"", 0).await.unwrap_err().is_bad_version());
        assert_eq!(client.exists("/a").await.unwrap().map(|stat| stat.data_length), Some(2));
        assert_eq!(client.exists("/b").await.unwrap(), None);
        let sequential = CreateOptions::ephemeral_sequential();
        let first = client.create("/a/s-", b"", &CreateOptions::persistent_sequential());
        let second = client.create("/a/", b"", &sequential);
        assert_eq!(first.await.unwrap().path, "/a/s-0000000000");
        assert_eq!(second.await.unwrap().path, "/a/0000000001");
        let mut names = client.get_children("/a").await.unwrap();
        names.sort();
        assert_eq!(names, ["0000000001", "s-0000000000"]);
        let (_, stat) = client.get_children_and_stat("/a").await.unwrap();
        assert_eq!(stat.num_children, 2);
        assert_eq!(client.get_ephemerals("/").await.unwrap(), ["/a/0000000001"]);
        assert_eq!(client.get_all_children_number("/a").await.unwrap(), 2);
        assert!(client.delete("/a", ExpectedVersion::Any).await.unwrap_err().is_not_empty());
        client.delete("/a/s-0000000000", 0).await.unwrap();
        client.create("/c", b"", &CreateOptions::container()).await.unwrap();
        let ttl = CreateOptions::ttl(Duration::from_secs(60));
        client.create("/t", b"", &ttl).await.unwrap();
        let acl = vec![Acl { perms: perms::READ | perms::ADMIN, id: Id::anyone() }];
        assert_eq!(client.set_acl("/t", &acl, 0).await.unwrap().aversion, 1);
        assert_eq!(client.get_acl("/t").await.unwrap().0, acl);
        let error = client.set_data("/t", b"", ExpectedVersion::Any).await.unwrap_err();
        assert_eq!(error, Error::Refused(ErrorCode::NoAuth));
        client.sync("/a").await.unwrap();
        client.add_auth("digest", "user:password").await.unwrap();
        let who = client.who_am_i().await.unwrap();
        assert!(who.iter().any(|id| id.auth_scheme == "digest" && id.user == "user"));
        client.get_config().await.unwrap();
        let error = client.reconfig(None, Some("9"), None, -1).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        client.close().await.unwrap();
        assert_eq!(client.state(), State::Lost(LostReason::Closed));
        assert_eq!(client.exists("/a").await.unwrap_err(), Error::Closed);
    });
}

#[test]
fn several_in_one_request() {
    both(async |server| {
        let client = connect(server).await;
        let persistent = CreateOptions::persistent();
        let results = client
            .transaction()
            .create("/a", "1", &persistent)
            .check("/a", 0)
            .set_data("/a", "2", 0)
            .create("/b", "", &CreateOptions::ephemeral())
            .delete("/b", ExpectedVersion::Any)
            .commit()
            .await
            .unwrap();
        assert!(matches!(&results[0], TxnResult::Created { path, .. } if path == "/a"));
        assert!(matches!(results[2], TxnResult::Set(stat) if stat.version == 1));
        assert_eq!((&results[1], &results[4]), (&TxnResult::Checked, &TxnResult::Deleted));
        let failed = client.transaction().create("/c", "", &persistent).check("/a", 7).commit();
        let Err(Error::Transaction { index, error, results }) = failed.await else {
            panic!("the version is another")
        };
        assert!(index == 1 && error.is_bad_version());
        assert_eq!(results, [ErrorCode::Ok, ErrorCode::BadVersion]);
        assert_eq!(client.exists("/c").await.unwrap(), None);
        let reads = client.multi_read().get_data("/a").get_children("/").get_data("/x");
        let reads = reads.send().await.unwrap();
        assert!(matches!(&reads[0], Ok(ReadResult::Data(data, _)) if data == b"2"));
        assert!(matches!(&reads[1], Ok(ReadResult::Children(names)) if names.len() == 2));
        assert!(reads[2].as_ref().is_err_and(Error::is_no_node));
    });
}

#[test]
fn watches_see_changes() {
    both(async |server| {
        let client = connect(server).await;
        let persistent = CreateOptions::persistent();
        let mut below = client.add_watch("/", WatchMode::PersistentRecursive).await.unwrap();
        let mut at = client.add_watch("/w", WatchMode::Persistent).await.unwrap();
        let (stat, appears) = client.exists_watch("/w").await.unwrap();
        assert!(stat.is_none());
        client.create("/w", b"", &persistent).await.unwrap();
        assert_eq!(appears.await.unwrap().kind, EventKind::Created);
        let (_, _, changes) = client.get_data_watch("/w").await.unwrap();
        let (_, grows) = client.get_children_watch("/w").await.unwrap();
        client.set_data("/w", b"1", 0).await.unwrap();
        client.create("/w/c", b"", &persistent).await.unwrap();
        assert_eq!(changes.await.unwrap().kind, EventKind::DataChanged);
        assert_eq!(grows.await.unwrap().kind, EventKind::ChildrenChanged);
        for (kind, path) in [
            (EventKind::Created, "/w"),
            (EventKind::DataChanged, "/w"),
            (EventKind::Created, "/w/c"),
        ] {
            let event = below.next().await.unwrap();
            assert_eq!((event.kind, event.path.as_str()), (kind, path));
            assert!(event.zxid.is_some());
        }
        for kind in [EventKind::Created, EventKind::DataChanged, EventKind::ChildrenChanged] {
            assert_eq!(at.next().await.unwrap().kind, kind);
        }
        assert!(client.has_watch("/w", WatcherType::Persistent));
        client.remove_watches("/w", WatcherType::Any, false).await.unwrap();
        assert_eq!(at.next().await, None);
        assert_eq!(at.end(), Some(&Error::WatchRemoved));
        let error = client.remove_watches("/w", WatcherType::Any, false).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NoWatcher));
        drop(below);
        client.sync("/").await.unwrap();
        let error = client.remove_watches("/", WatcherType::Any, false).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NoWatcher), "dropping took it back");
    });
}

#[test]
fn a_chroot_is_put_before_everything() {
    both(async |server| {
        let outside = connect(server).await;
        let persistent = CreateOptions::persistent();
        let inside = Client::connect(&format!("{}/app", server.address())).await.unwrap();
        let error = inside.create("/a", b"", &persistent).await.unwrap_err();
        assert!(error.is_no_node(), "nobody makes the chroot: {error}");
        inside.create("/", b"", &persistent).await.unwrap();
        let mut below = inside.add_watch("/", WatchMode::PersistentRecursive).await.unwrap();
        let created = inside.create("/a", b"", &CreateOptions::ephemeral()).await.unwrap();
        assert_eq!(created.path, "/a");
        assert_eq!(below.next().await.unwrap().path, "/a");
        assert!(outside.exists("/app/a").await.unwrap().is_some());
        outside.set_data("/app", b"x", 0).await.unwrap();
        assert_eq!(below.next().await.unwrap().path, "/");
        let results = inside.transaction().create("/b", "", &persistent).commit().await.unwrap();
        assert!(matches!(&results[0], TxnResult::Created { path, .. } if path == "/b"));
        assert_eq!(inside.get_ephemerals("/").await.unwrap(), ["/a"]);
        inside.get_config().await.unwrap();
    });
}
