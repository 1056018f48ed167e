//! A copy of a subtree that follows the servers' tree.
//!
//! **Guarantees.**
//! 1. The first load misses nothing: the watch stands before the first read.
//! 2. What it shows of a node is never older than what it has shown before, also over reconnects to other servers and new
//!    sessions.
//! 3. When changes cease and a server can be reached it comes to show exactly the tree.
//! 4. It says when it may lag: [`CacheState::Stale`] from the loss of a connection until everything has been
//!    read again.
//!
//! **Does not.** Nodes are read one by one: at an instant two of them may show different moments. Changes in quick succession are seen
//! as one. It holds the whole subtree in memory.
//!
//! **Needs** servers from 3.6 on, for the persistent recursive watch.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use oxikeeper_proto::Stat;
use tokio::sync::watch;

use super::patience::{Background, join, recovered, repeat, until};
use super::sessions::Sessions;
use crate::{Client, Error, EventKind, Reply, WatchMode, WatchStream};

/// How many reads are on their way at once.
const READS_MAX: usize = 64;

/// A node as the cache has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its data; null data are empty.
    pub data: Arc<[u8]>,
    /// Its stat, as of when the data were read. `num_children` and `pzxid` may be older than the children.
    pub stat: Stat,
}

/// How the copy stands to the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// Never loaded yet.
    Loading,
    /// It follows.
    Current,
    /// It followed once; the connection is in doubt, or everything is being read again.
    Stale,
    /// It follows no longer, for this reason.
    Ended(Error),
}

/// A copy of the subtree at a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::TreeCache;
///
/// let cache = TreeCache::start(&client, "/config");
/// cache.ready().await?;
/// let limit = cache.get("/config/limit").map(|entry| entry.data);
/// // Waits until something holds, however often it changes before.
/// cache.until(|nodes| nodes.contains_key("/config/ready").then_some(())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TreeCache {
    root: String,
    nodes: Arc<Nodes>,
    state: watch::Receiver<Published>,
    _task: Background,
}

type Nodes = RwLock<BTreeMap<String, Entry>>;

#[derive(Clone, Debug)]
struct Published {
    state: CacheState,
    /// Grows with every change of what is shown.
    revision: u64,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Node,
    Tree,
}

impl TreeCache {
    /// Loads the subtree in the background, and follows it. The root need not be there.
    pub fn start(sessions: impl Into<Sessions>, root: impl Into<String>) -> TreeCache {
        TreeCache::with_scope(sessions.into(), root.into(), Scope::Tree)
    }

    pub(super) fn with_scope(sessions: Sessions, root: String, scope: Scope) -> TreeCache {
        let nodes = Arc::<Nodes>::default();
        let (publish, state) =
            watch::channel(Published { state: CacheState::Loading, revision: 0 });
        let follower = Follower { root: root.clone(), scope, nodes: Arc::clone(&nodes), publish };
        TreeCache { root, nodes, state, _task: Background::spawn(follower.run(sessions)) }
    }

    /// The path of the subtree.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// How it stands now.
    pub fn state(&self) -> CacheState {
        self.state.borrow().state.clone()
    }

    /// Waits until it is current.
    ///
    /// # Errors
    /// If it will not be: the session is lost and not replaced, or the server refuses.
    pub async fn ready(&self) -> Result<(), Error> {
        let ready = until(self.state.clone(), |published| match &published.state {
            CacheState::Current => Some(Ok(())),
            CacheState::Ended(error) => Some(Err(error.clone())),
            CacheState::Loading | CacheState::Stale => None,
        });
        ready.await?
    }

    /// A node, if there is one at this path.
    pub fn get(&self, path: &str) -> Option<Entry> {
        self.with(|nodes| nodes.get(path).cloned())
    }

    /// The names of a node's children, in order.
    pub fn children(&self, path: &str) -> Vec<String> {
        let prefix = join(path, "");
        self.with(|nodes| {
            let below = (Bound::Excluded(prefix.as_str()), Bound::Unbounded);
            let below = nodes.range::<str, _>(below).take_while(|(at, _)| at.starts_with(&prefix));
            let names = below.map(|(at, _)| &at[prefix.len()..]);
            names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
        })
    }

    /// Looks at everything at once. Be short: changes wait meanwhile.
    pub fn with<R>(&self, look: impl FnOnce(&BTreeMap<String, Entry>) -> R) -> R {
        look(&self.nodes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `look` finds what it looks for; it is asked again after every change, and it is not asked before
    /// the first load.
    ///
    /// # Errors
    /// If the cache follows no longer.
    pub async fn until<R>(
        &self,
        mut look: impl FnMut(&BTreeMap<String, Entry>) -> Option<R>,
    ) -> Result<R, Error> {
        let mut changes = self.changes();
        loop {
            let state = self.state();
            if state != CacheState::Loading
                && let Some(found) = self.with(&mut look)
            {
                return Ok(found);
            }
            if let CacheState::Ended(error) = state {
                return Err(error);
            }
            changes.next().await?;
        }
    }

    /// Tells of changes from now on, of what is shown and of the state.
    pub fn changes(&self) -> Changes {
        let mut receiver = self.state.clone();
        receiver.mark_unchanged();
        Changes { receiver }
    }
}

/// Tells that a cache has changed. Changes that come before one looks are one.
#[derive(Clone, Debug)]
pub struct Changes {
    receiver: watch::Receiver<Published>,
}

impl Changes {
    /// Waits for a change.
    ///
    /// # Errors
    /// If the cache follows no longer.
    pub async fn next(&mut self) -> Result<(), Error> {
        if self.receiver.changed().await.is_ok() {
            self.receiver.mark_unchanged();
            return Ok(());
        }
        match &self.receiver.borrow().state {
            CacheState::Ended(error) => Err(error.clone()),
            _ => Err(Error::Closed),
        }
    }
}

struct Follower {
    root: String,
    scope: Scope,
    nodes: Arc<Nodes>,
    publish: watch::Sender<Published>,
}

/// What a node's read has given.
type Read = (Vec<u8>, Stat);

/// A node that is being read, its children too if they are wanted.
type Reading = (String, Reply<Read>, Option<Reply<Vec<String>>>);

impl Follower {
    async fn run(self, sessions: Sessions) {
        let error = loop {
            let client = match sessions.living().await {
                Ok(client) => client,
                Err(error) => break error,
            };
            match self.follow(&client).await {
                Error::SessionExpired => self.set_stale(),
                error => break error,
            }
        };
        self.publish.send_modify(|published| published.state = CacheState::Ended(error));
    }

    /// Follows for the length of a session.
    async fn follow(&self, client: &Client) -> Error {
        let mode = match self.scope {
            Scope::Node => WatchMode::Persistent,
            Scope::Tree => WatchMode::PersistentRecursive,
        };
        let add = repeat(client, || client.add_watch(&self.root, mode));
        let mut events = match add.await {
            Ok(events) => events,
            Err(error) => return error,
        };
        // A new session may be at a server that lags behind what an earlier one has shown.
        if let Err(error) = repeat(client, || client.sync(&self.root)).await {
            return error;
        }
        loop {
            let loaded = self.load(client).await;
            let failed = match loaded {
                Ok(nodes) => {
                    self.show(|shown| *shown = nodes);
                    self.publish.send_modify(|published| published.state = CacheState::Current);
                    self.apply(client, &mut events).await.err()
                }
                Err(error) => Some(error),
            };
            self.set_stale();
            if let Some(error) = failed
                && let Err(error) = recovered(client, error).await
            {
                return error;
            }
        }
    }

    fn show(&self, change: impl FnOnce(&mut BTreeMap<String, Entry>)) {
        change(&mut self.nodes.write().unwrap_or_else(PoisonError::into_inner));
        self.publish.send_modify(|published| published.revision += 1);
    }

    fn set_stale(&self) {
        self.publish.send_if_modified(|published| {
            let was_current = published.state == CacheState::Current;
            if was_current {
                published.state = CacheState::Stale;
            }
            was_current
        });
    }

    /// Reads everything, level by level, with many reads on their way.
    async fn load(&self, client: &Client) -> Result<BTreeMap<String, Entry>, Error> {
        let mut nodes = BTreeMap::new();
        let mut waiting = VecDeque::from([self.root.clone()]);
        let mut reading: VecDeque<Reading> = VecDeque::new();
        loop {
            while reading.len() < READS_MAX
                && let Some(path) = waiting.pop_front()
            {
                let data = client.get_data(&path);
                let children = (self.scope == Scope::Tree).then(|| client.get_children(&path));
                reading.push_back((path, data, children));
            }
            let Some((path, data, children)) = reading.pop_front() else { return Ok(nodes) };
            match data.await {
                Ok((data, stat)) => {
                    let entry = Entry { data: data.into(), stat };
                    nodes.insert(path.clone(), entry);
                }
                Err(error) if error.is_no_node() => {}
                Err(error) => return Err(error),
            }
            match children {
                None => {}
                Some(children) => match children.await {
                    Ok(names) => waiting.extend(names.iter().map(|name| join(&path, name))),
                    Err(error) if error.is_no_node() => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Reads every node that an event names, until there is a gap in the events (`Ok`) or a read fails.
    ///
    /// Deletions are read too: answers come in the order of the questions, so the last answer about a node is the
    /// latest, whatever came before it.
    async fn apply(&self, client: &Client, events: &mut WatchStream) -> Result<(), Error> {
        let mut reading: VecDeque<(String, Reply<Read>)> = VecDeque::new();
        loop {
            let has_room = reading.len() < READS_MAX;
            let next = async {
                match reading.front_mut() {
                    Some((_, read)) => read.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = next => {
                    let (path, _) = reading.pop_front().expect("it was the front one's answer");
                    match read {
                        Ok((data, stat)) => {
                            let entry = Entry { data: data.into(), stat };
                            self.show(|nodes| drop(nodes.insert(path, entry)));
                        }
                        Err(error) if error.is_no_node() => {
                            self.show(|nodes| drop(nodes.remove(&path)));
                        }
                        Err(error) => return Err(error),
                    }
                }
                event = events.next(), if has_room => {
                    let Some(event) = event else { return Err(super::patience::lost(client).await) };
                    match event.kind {
                        EventKind::Created | EventKind::Deleted | EventKind::DataChanged => {
                            let read = client.get_data(&event.path);
                            reading.push_back((event.path, read));
                        }
                        EventKind::ChildrenChanged => {}
                        // Nobody tells what happened meanwhile, or nobody told.
                        EventKind::Session | EventKind::Overflow => return Ok(()),
                    }
                }
            }
        }
    }
}
