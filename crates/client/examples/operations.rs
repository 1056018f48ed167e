//! Every operation once, on nodes below `/example`:
//!
//! ```sh
//! cargo run -p oxikeeper-client --example operations -- localhost:2181
//! ```

use std::time::Duration;

use oxikeeper_client::{
    Acl, Client, CreateOptions, Error, EventKind, ExpectedVersion, Id, Result, State, TxnResult,
    WatchMode, WatcherType, perms,
};

#[tokio::main]
async fn main() -> Result<()> {
    let connect = std::env::args().nth(1).unwrap_or_else(|| "localhost:2181".to_owned());
    run(&connect).await
}

/// All of it.
pub async fn run(connect: &str) -> Result<()> {
    let client = Client::builder(connect)
        .session_timeout(Duration::from_secs(20))
        .auth("digest", "user:password")
        .connect()
        .await?;
    assert_eq!(client.state(), State::Connected);
    println!("session {:?}, silent for {:?}", client.session().id, client.silence());
    client.create("/example", b"", &CreateOptions::persistent()).await?;
    writes(&client).await?;
    reads(&client).await?;
    watches(&client).await?;
    rights(&client).await?;
    for child in client.get_children("/example").await? {
        client.delete(&format!("/example/{child}"), ExpectedVersion::Any).await?;
    }
    client.delete("/example", ExpectedVersion::Any).await?;
    // Its ephemeral nodes go with it.
    client.close().await
}

async fn writes(client: &Client) -> Result<()> {
    let plain = CreateOptions::persistent();
    client.create("/example/plain", b"one", &plain).await?;
    let numbered = CreateOptions::persistent_sequential();
    let created = client.create("/example/item-", b"", &numbered).await?;
    assert_eq!(created.path, "/example/item-0000000001", "it was the second child");
    client.create("/example/mine", b"", &CreateOptions::ephemeral()).await?;
    client.create("/example/box", b"", &CreateOptions::container()).await?;

    // A version makes it a compare-and-set.
    let stat = client.set_data("/example/plain", b"two", 0).await?;
    assert_eq!(stat.version, 1);
    let late = client.set_data("/example/plain", b"three", 0).await;
    assert!(late.is_err_and(|error| error.is_bad_version()));

    // All or nothing.
    let done = client
        .transaction()
        .check("/example/plain", 1)
        .create("/example/both", b"", &plain)
        .delete(&created.path, ExpectedVersion::Any)
        .commit()
        .await?;
    assert!(matches!(done[1], TxnResult::Created { .. }));
    let failed = client.transaction().check("/example/plain", 7).commit().await;
    assert!(matches!(failed, Err(Error::Transaction { index: 0, .. })));
    Ok(())
}

async fn reads(client: &Client) -> Result<()> {
    // Others may have written through other servers: what was committed before is seen behind this.
    client.sync("/example").await?;
    let (data, stat) = client.get_data("/example/plain").await?;
    assert_eq!((data.as_slice(), stat.version), (b"two".as_slice(), 1));
    assert!(client.exists("/example/none").await?.is_none());
    let (mut children, stat) = client.get_children_and_stat("/example").await?;
    children.sort();
    assert_eq!(children, ["both", "box", "mine", "plain"]);
    assert_eq!(stat.num_children, 4);
    assert_eq!(client.get_ephemerals("/example").await?, ["/example/mine"]);
    assert_eq!(client.get_all_children_number("/example").await?, 4);
    let several =
        client.multi_read().get_data("/example/plain").get_children("/example").send().await?;
    assert_eq!(several.len(), 2);

    // Asked at once, answered in order: one round trip.
    let asked: Vec<_> = (0..100).map(|_| client.get_data("/example/plain")).collect();
    for reply in asked {
        assert_eq!(reply.await?.0, b"two");
    }
    let (config, _) = client.get_config().await?;
    println!("{} bytes of configuration", config.len());
    Ok(())
}

async fn watches(client: &Client) -> Result<()> {
    let (_, _, changed) = client.get_data_watch("/example/plain").await?;
    let (_, appeared) = client.exists_watch("/example/later").await?;
    let (_, more) = client.get_children_watch("/example").await?;
    client.set_data("/example/plain", b"three", ExpectedVersion::Any).await?;
    client.create("/example/later", b"", &CreateOptions::persistent()).await?;
    assert_eq!(changed.await?.kind, EventKind::DataChanged);
    assert_eq!(appeared.await?.kind, EventKind::Created);
    assert_eq!(more.await?.kind, EventKind::ChildrenChanged);

    // One that stays, for everything below.
    let mut all = client.add_watch("/example", WatchMode::PersistentRecursive).await?;
    client.set_data("/example/plain", b"four", ExpectedVersion::Any).await?;
    client.set_data("/example/later", b"", ExpectedVersion::Any).await?;
    for path in ["/example/plain", "/example/later"] {
        assert_eq!(all.next().await.expect("it goes on").path, path);
    }
    assert!(client.has_watch("/example", WatcherType::PersistentRecursive));
    client.remove_watches("/example", WatcherType::Any, false).await
}

async fn rights(client: &Client) -> Result<()> {
    let acl = [Acl { perms: perms::READ | perms::DELETE | perms::ADMIN, id: Id::anyone() }];
    client.set_acl("/example/both", &acl, ExpectedVersion::Any).await?;
    assert_eq!(client.get_acl("/example/both").await?.0, acl);
    assert!(client.set_data("/example/both", b"", ExpectedVersion::Any).await.is_err());
    client.add_auth("digest", "another:password").await?;
    println!("known as {:?}", client.who_am_i().await?);
    Ok(())
}
