//! The client: a handle on a session, and every operation of a server.

use std::fmt;
use std::sync::Arc;

use crate::reply::{Extra, Reply};
use crate::session::{Answer, Request};
use crate::shared::{Shared, StateStream};
use crate::{
    Acl, Builder, ClientInfo, CreateOptions, Created, Error, ExpectedVersion, MultiReadBuilder,
    OneShotWatch, Result, SessionInfo, Stat, State, TransactionBuilder, WatchMode, WatchStream,
    WatcherType,
};

/// A client with a session. Clones are handles on the same session; when the last is dropped the
/// connection is given up and the session left to its timeout. [`close`](Self::close) ends it.
///
/// Operations are ordinary functions: the request takes its place in the order of the session when the
/// function is called, whether or not, and when, its [`Reply`] is awaited. So tasks may keep
/// many on their way, and each sees its own in order:
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::CreateOptions;
/// let create = client.create("/a", b"", &CreateOptions::persistent());
/// let set = client.set_data("/a", b"1", 0);
/// let read = client.get_data("/a");
/// create.await?;
/// set.await?;
/// assert_eq!(read.await?.0, b"1");
/// # Ok(())
/// # }
/// ```
///
/// At most [`requests_max`](crate::Limits::requests_max) requests wait for their replies; a call beyond
/// that ends at once with [`Error::QueueFull`]. At most
/// [`in_flight_max`](crate::Limits::in_flight_max) of them are on their way to the server.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Gives the session up with the last client.
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub fn new(shared: Arc<Shared>) -> Handle {
        Handle { shared }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionInfo { id, .. } = self.session();
        f.debug_struct("Client").field("session", &id).field("state", &self.state()).finish()
    }
}

macro_rules! answer {
    ($pattern:pat => $value:expr) => {
        |answer: Answer, _: Extra| match answer {
            $pattern => Some($value),
            _ => None,
        }
    };
}

/// With the watch that the request has left.
macro_rules! watched {
    ($pattern:pat, $watch:ident => $value:expr) => {
        |answer: Answer, extra: Extra| match (answer, extra) {
            ($pattern, Extra::OneShot($watch)) => Some($value),
            _ => None,
        }
    };
}

/// Making one, and its session.
impl Client {
    pub(crate) fn new(handle: Handle) -> Client {
        Client { handle: Arc::new(handle) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Connects to one of the hosts of `host[:port][,host[:port]...][/chroot]` with the defaults of
    /// [`Builder`], and waits until the session is there.
    ///
    /// # Errors
    /// [`Error::InvalidConnectString`]; [`Error::Timeout`] when no server was there within ten seconds.
    pub async fn connect(connect_string: &str) -> Result<Client> {
        Client::builder(connect_string).connect().await
    }

    /// A client to be made to measure.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), oxikeeper_client::Error> {
    /// use std::time::Duration;
    /// use oxikeeper_client::Client;
    /// let client = Client::builder("h1:2181,[::1]:2182/app")
    ///     .session_timeout(Duration::from_secs(20))
    ///     .auth("digest", "user:password")
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(connect_string: &str) -> Builder {
        Builder::new(connect_string)
    }

    /// Ends the session behind all requests called so far: its ephemeral nodes go, and every client that
    /// shares it gets [`Error::Closed`] from now on. While no server answers it is tried for as long as
    /// a request waits for a connection.
    ///
    /// # Errors
    /// [`Error::ConnectionLoss`] when no server could be told: the session ends by its timeout.
    pub async fn close(&self) -> Result<()> {
        match self.shared().call(&Request::Close, answer!(Answer::Done => ())).await {
            Err(Error::SessionExpired) => Ok(()),
            result => result,
        }
    }

    /// Who the session is: for logs, and for [`Builder::resume`].
    pub fn session(&self) -> SessionInfo {
        self.shared().info()
    }

    /// How long ago the session was proven to be alive: since the latest of the requests and pings was sent
    /// that a server has answered. Beyond the session's timeout it may have expired, also when
    /// [`state`](Self::state) does not know that yet: after this process was stopped for a while, for example.
    /// By the monotonic clock, which stands still while the machine is suspended.
    pub fn silence(&self) -> std::time::Duration {
        self.shared().silence()
    }

    /// How the client stands.
    pub fn state(&self) -> State {
        self.shared().states.get()
    }

    /// The states from now on, beginning with the present one.
    ///
    /// ```no_run
    /// # async fn example(client: oxikeeper_client::Client) {
    /// use oxikeeper_client::State;
    /// let mut states = client.states();
    /// while let Some(state) = states.next().await {
    ///     match state {
    ///         State::Connected => println!("go on"),
    ///         State::Suspended => println!("stop whatever needs the session"),
    ///         State::Lost(reason) => println!("over: {reason:?}"),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn states(&self) -> StateStream {
        StateStream::new(self.shared().clone())
    }
}

/// Writes.
impl Client {
    /// Creates a node.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let created = client.create("/queue/item-", b"1", &CreateOptions::persistent_sequential()).await?;
    /// assert_eq!(created.path, "/queue/item-0000000000");
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(&self, path: &str, data: &[u8], options: &CreateOptions) -> Reply<Created> {
        let request = Request::Create { path, data: Some(data), options };
        self.shared().call(&request, answer!(Answer::Created(created) => created))
    }

    /// As [`create`](Self::create), where a node may also have no data at all, which
    /// [`get_data_raw`](Self::get_data_raw) tells from data of no bytes.
    pub fn create_raw(
        &self,
        path: &str,
        data: Option<&[u8]>,
        options: &CreateOptions,
    ) -> Reply<Created> {
        let request = Request::Create { path, data, options };
        self.shared().call(&request, answer!(Answer::Created(created) => created))
    }

    /// Sets the data of a node that has the expected version.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (_, stat) = client.get_data("/counter").await?;
    /// match client.set_data("/counter", b"2", stat.version).await {
    ///     Err(error) if error.is_bad_version() => println!("somebody was faster"),
    ///     result => drop(result?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_data(
        &self,
        path: &str,
        data: &[u8],
        version: impl Into<ExpectedVersion>,
    ) -> Reply<Stat> {
        let version = version.into();
        let request = Request::SetData { path, data: Some(data), version };
        self.shared().call(&request, answer!(Answer::Stat(stat) => stat))
    }

    /// Deletes a node that has the expected version and no children.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// client.delete("/old", ExpectedVersion::Any).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, path: &str, version: impl Into<ExpectedVersion>) -> Reply<()> {
        let request = Request::Delete { path, version: version.into() };
        self.shared().call(&request, answer!(Answer::Done => ()))
    }

    /// Sets the ACL of a node whose ACL has the expected version (`aversion`).
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let acl = vec![Acl { perms: perms::READ, id: Id::anyone() }];
    /// client.set_acl("/public", &acl, ExpectedVersion::Any).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_acl(
        &self,
        path: &str,
        acl: &[Acl],
        version: impl Into<ExpectedVersion>,
    ) -> Reply<Stat> {
        let request = Request::SetAcl { path, acl, version: version.into() };
        self.shared().call(&request, answer!(Answer::Stat(stat) => stat))
    }

    /// Several writes, all or none.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let moved = client
    ///     .transaction()
    ///     .check("/lock", 3)
    ///     .create("/new", b"data", &CreateOptions::persistent())
    ///     .delete("/old", ExpectedVersion::Any)
    ///     .commit()
    ///     .await;
    /// if let Err(Error::Transaction { index, error, .. }) = moved {
    ///     println!("operation {index} failed: {error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction(&self) -> TransactionBuilder {
        TransactionBuilder::new(self.shared().clone())
    }
}

/// Reads.
impl Client {
    /// A node's data; null data reads as empty.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (data, stat) = client.get_data("/config").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_data(&self, path: &str) -> Reply<(Vec<u8>, Stat)> {
        self.shared().call(
            &Request::GetData(path),
            answer!(Answer::Data(data, stat) => (data.unwrap_or_default(), stat)),
        )
    }

    /// A node's data, where null is not empty.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// assert_eq!(client.get_data_raw("/zookeeper/quota").await?.0.as_deref(), Some(b"".as_slice()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_data_raw(&self, path: &str) -> Reply<(Option<Vec<u8>>, Stat)> {
        self.shared()
            .call(&Request::GetData(path), answer!(Answer::Data(data, stat) => (data, stat)))
    }

    /// A node's statistics, if it is there.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// if client.exists("/ready").await?.is_some() {
    ///     println!("ready");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn exists(&self, path: &str) -> Reply<Option<Stat>> {
        self.shared().call(&Request::Exists(path), answer!(Answer::Exists(stat) => stat))
    }

    /// The names of a node's children, in no particular order.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let mut names = client.get_children("/members").await?;
    /// names.sort();
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_children(&self, path: &str) -> Reply<Vec<String>> {
        self.shared().call(&Request::GetChildren(path), answer!(Answer::Names(names) => names))
    }

    /// The names of a node's children, and its own statistics.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (names, stat) = client.get_children_and_stat("/members").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_children_and_stat(&self, path: &str) -> Reply<(Vec<String>, Stat)> {
        self.shared().call(
            &Request::GetChildrenAndStat(path),
            answer!(Answer::NamesAndStat(names, stat) => (names, stat)),
        )
    }

    /// A node's ACL. Whoever may not change it does not see the hashes of passwords in it.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (acl, stat) = client.get_acl("/config").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_acl(&self, path: &str) -> Reply<(Vec<Acl>, Stat)> {
        self.shared().call(&Request::GetAcl(path), answer!(Answer::Acl(acl, stat) => (acl, stat)))
    }

    /// Brings the connected server up to date: reads called behind it show every write that was
    /// acknowledged to anybody before.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let fresh = client.sync("/config");
    /// let read = client.get_data("/config");
    /// fresh.await?;
    /// let (data, _) = read.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sync(&self, path: &str) -> Reply<()> {
        self.shared().call(&Request::Sync(path), answer!(Answer::Done => ()))
    }

    /// The paths of this session's ephemeral nodes that begin with `prefix`, a valid path: compared as
    /// text. Servers from 3.6 on.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let mine = client.get_ephemerals("/").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_ephemerals(&self, prefix: &str) -> Reply<Vec<String>> {
        self.shared().call(&Request::GetEphemerals(prefix), answer!(Answer::Names(paths) => paths))
    }

    /// How many nodes stand below a node, at any depth. Servers from 3.6 on.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let count = client.get_all_children_number("/").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_all_children_number(&self, path: &str) -> Reply<i32> {
        self.shared()
            .call(&Request::GetAllChildrenNumber(path), answer!(Answer::Number(count) => count))
    }

    /// Who the server takes this connection for. Servers from 3.7 on.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// for identity in client.who_am_i().await? {
    ///     println!("{}: {}", identity.auth_scheme, identity.user);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn who_am_i(&self) -> Reply<Vec<ClientInfo>> {
        self.shared().call(&Request::WhoAmI, answer!(Answer::Identities(identities) => identities))
    }

    /// Several reads in one request. Servers from 3.6 on.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let results = client.multi_read().get_data("/a").get_children("/b").send().await?;
    /// for result in results {
    ///     match result {
    ///         Ok(ReadResult::Data(data, _)) => println!("{} bytes", data.len()),
    ///         Ok(ReadResult::Children(names)) => println!("{names:?}"),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn multi_read(&self) -> MultiReadBuilder {
        MultiReadBuilder::new(self.shared().clone())
    }
}

/// The ensemble, and identities.
impl Client {
    /// The configuration of the ensemble: one line per server, then its version. No chroot applies.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (text, stat) = client.get_config().await?;
    /// println!("{}", String::from_utf8_lossy(&text));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_config(&self) -> Reply<(Vec<u8>, Stat)> {
        self.shared().call(
            &Request::GetConfig,
            answer!(Answer::Data(data, stat) => (data.unwrap_or_default(), stat)),
        )
    }

    /// The configuration, and its next change.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (text, stat, next) = client.get_config_watch().await?;
    /// next.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_config_watch(&self) -> Reply<(Vec<u8>, Stat, OneShotWatch)> {
        self.shared().call_watching(
            &Request::GetConfig,
            watched!(Answer::Data(data, stat), watch => (data.unwrap_or_default(), stat, watch)),
        )
    }

    /// Changes the membership of the ensemble: servers to add, ids to remove, or the whole membership; if it
    /// still is the one of this version (-1: whatever it is). Gives the new one.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let joining = Some("server.4=h4:2888:3888;2181");
    /// let (text, stat) = client.reconfig(joining, None, None, -1).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        from_config: i64,
    ) -> Reply<(Vec<u8>, Stat)> {
        let request = Request::Reconfig { joining, leaving, members, from_config };
        self.shared()
            .call(&request, answer!(Answer::Data(data, stat) => (data.unwrap_or_default(), stat)))
    }

    /// Proves a further identity, on this and every later connection. If a server does not believe it the
    /// client is at its end: [`Error::AuthFailed`].
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// client.add_auth("digest", b"user:password").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_auth(&self, scheme: &str, auth: impl AsRef<[u8]>) -> Reply<()> {
        let request = Request::AddAuth { scheme, auth: auth.as_ref() };
        self.shared().call(&request, answer!(Answer::Done => ()))
    }
}

/// Watches.
impl Client {
    /// A node's data, and its next change.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// loop {
    ///     let (data, _, changed) = client.get_data_watch("/config").await?;
    ///     println!("{} bytes", data.len());
    ///     changed.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_data_watch(&self, path: &str) -> Reply<(Vec<u8>, Stat, OneShotWatch)> {
        self.shared().call_watching(
            &Request::GetData(path),
            watched!(Answer::Data(data, stat), watch => (data.unwrap_or_default(), stat, watch)),
        )
    }

    /// Whether a node is there, and its creation, change or deletion, whatever comes next.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (stat, next) = client.exists_watch("/ready").await?;
    /// if stat.is_none() {
    ///     assert_eq!(next.await?.kind, EventKind::Created);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn exists_watch(&self, path: &str) -> Reply<(Option<Stat>, OneShotWatch)> {
        self.shared().call_watching(
            &Request::Exists(path),
            watched!(Answer::Exists(stat), watch => (stat, watch)),
        )
    }

    /// The names of a node's children, and the next change of that list.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (names, changed) = client.get_children_watch("/members").await?;
    /// changed.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_children_watch(&self, path: &str) -> Reply<(Vec<String>, OneShotWatch)> {
        self.shared().call_watching(
            &Request::GetChildren(path),
            watched!(Answer::Names(names), watch => (names, watch)),
        )
    }

    /// As [`get_children_watch`](Self::get_children_watch), with the node's statistics.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let (names, stat, changed) = client.get_children_and_stat_watch("/members").await?;
    /// changed.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_children_and_stat_watch(
        &self,
        path: &str,
    ) -> Reply<(Vec<String>, Stat, OneShotWatch)> {
        self.shared().call_watching(
            &Request::GetChildrenAndStat(path),
            watched!(Answer::NamesAndStat(names, stat), watch => (names, stat, watch)),
        )
    }

    /// All changes of a node, or of everything below it, from now on. The node need not be there. Servers from
    /// 3.6 on; before 3.9 Apache's keep one kind of watch per session and path, so this one takes the place of
    /// one-shot watches at the same path, which then never fire.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// let mut changes = client.add_watch("/app", WatchMode::PersistentRecursive).await?;
    /// while let Some(event) = changes.next().await {
    ///     println!("{:?} {}", event.kind, event.path);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_watch(&self, path: &str, mode: WatchMode) -> Reply<WatchStream> {
        self.shared().call_watching(&Request::AddWatch { path, mode }, |answer, extra| {
            match (answer, extra) {
                (Answer::Done, Extra::Stream(stream)) => Some(stream),
                _ => None,
            }
        })
    }

    /// Removes every watch of this type that this client has at a path: their futures and streams end with
    /// [`Error::WatchRemoved`]. With `local`, they do even when the server cannot be told. Servers before
    /// 3.9 remove persistent watches by [`WatcherType::Any`] alone.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// client.remove_watches("/config", WatcherType::Any, false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_watches(&self, path: &str, kind: WatcherType, local: bool) -> Reply<()> {
        self.shared()
            .call(&Request::RemoveWatches { path, kind, local }, answer!(Answer::Done => ()))
    }

    /// Whether this client has a watch of this type at a path.
    ///
    /// ```no_run
    /// # use oxikeeper_client::*;
    /// # async fn example(client: Client) -> Result<()> {
    /// assert!(!client.has_watch("/config", WatcherType::Any));
    /// # Ok(())
    /// # }
    /// ```
    pub fn has_watch(&self, path: &str, kind: WatcherType) -> bool {
        self.shared().lock().session.has_watch(path, kind)
    }
}
