//! A configuration holder: one node's value, parsed, always at hand.
//!
//! **Guarantees.** Those of a [`TreeCache`](super::TreeCache) for one node. A value that cannot be parsed does not displace the last good one; the error is
//! to be seen. Updates are by comparison of versions: none is lost under another.
//!
//! **Layout.** The node at `PATH`, whatever is in it.

use std::sync::Arc;

use tokio::sync::watch;

use super::cache::{CacheState, Scope, TreeCache};
use super::counter::AtomicValue;
use super::patience::{Background, until};
use super::sessions::Sessions;
use crate::Error;

/// A value and the version of the node that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The node's data version.
    pub version: i32,
}

/// A node's value, kept current.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use oxikeeper_client::recipe::ConfigHolder;
///
/// let limit = ConfigHolder::start(&client, "/config/limit", |bytes| {
///     std::str::from_utf8(bytes).map_err(|e| e.to_string())?.parse::<u32>().map_err(|e| e.to_string())
/// });
/// println!("limit: {}", limit.ready().await?.value);
/// limit.set(limit.current().map(|now| now.version), b"20").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConfigHolder<T> {
    sessions: Sessions,
    path: String,
    state: watch::Receiver<Held<T>>,
    _task: Background,
}

#[derive(Debug)]
struct Held<T> {
    good: Option<Versioned<Arc<T>>>,
    /// Why the newest value is not the good one.
    fault: Option<String>,
    state: CacheState,
}

impl<T: Send + Sync + 'static> ConfigHolder<T> {
    /// Follows the node at `path`, and parses what is in it.
    pub fn start(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        parse: impl Fn(&[u8]) -> Result<T, String> + Send + 'static,
    ) -> ConfigHolder<T> {
        let (sessions, path) = (sessions.into(), path.into());
        let cache = TreeCache::with_scope(sessions.clone(), path.clone(), Scope::Node);
        let (publish, state) =
            watch::channel(Held { good: None, fault: None, state: CacheState::Loading });
        let task = Background::spawn(hold(cache, parse, publish));
        ConfigHolder { sessions, path, state, _task: task }
    }

    /// The last good value; none if there has been none yet.
    pub fn current(&self) -> Option<Versioned<Arc<T>>> {
        self.state.borrow().good.clone()
    }

    /// Why the newest value is not the current one, if it is not.
    pub fn fault(&self) -> Option<String> {
        self.state.borrow().fault.clone()
    }

    /// Whether it follows, or may lag.
    pub fn state(&self) -> CacheState {
        self.state.borrow().state.clone()
    }

    /// Waits until there is a good value.
    ///
    /// # Errors
    /// If there will be none: the session is lost and not replaced, or the server refuses.
    pub async fn ready(&self) -> Result<Versioned<Arc<T>>, Error> {
        self.newer_than(None).await
    }

    /// Waits for a good value of another version than this one.
    ///
    /// # Errors
    /// As [`ready`](Self::ready).
    pub async fn newer_than(&self, version: Option<i32>) -> Result<Versioned<Arc<T>>, Error> {
        let newer = until(self.state.clone(), |held| {
            match held.good.as_ref().filter(|good| Some(good.version) != version) {
                Some(good) => Some(Ok(good.clone())),
                None => match &held.state {
                    CacheState::Ended(error) => Some(Err(error.clone())),
                    _ => None,
                },
            }
        });
        newer.await?
    }

    /// Sets the node's data if their version is this one (`None`: whatever it is). `false`: somebody else was
    /// first. It is current here when the event has come.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn set(&self, version: Option<i32>, data: &[u8]) -> Result<bool, Error> {
        let node = AtomicValue::new(&self.sessions.living().await?, self.path.clone());
        match version {
            Some(version) => node.compare_and_set(version, data).await,
            None => node.update(|_| data.to_vec()).await.map(|_| true),
        }
    }
}

async fn hold<T>(
    cache: TreeCache,
    parse: impl Fn(&[u8]) -> Result<T, String>,
    publish: watch::Sender<Held<T>>,
) {
    let mut changes = cache.changes();
    let mut seen = None;
    loop {
        let state = cache.state();
        let entry = cache.get(cache.root());
        let version = entry.as_ref().map(|entry| (entry.stat.czxid, entry.stat.version));
        let is_new = version != seen;
        seen = version;
        let parsed = entry.filter(|_| is_new).map(|entry| {
            parse(&entry.data)
                .map(|value| Versioned { value: Arc::new(value), version: entry.stat.version })
        });
        publish.send_modify(|held| {
            held.state = state;
            match parsed {
                Some(Ok(good)) => (held.good, held.fault) = (Some(good), None),
                Some(Err(fault)) => held.fault = Some(fault),
                None => {}
            }
        });
        if let Err(error) = changes.next().await {
            publish.send_modify(|held| held.state = CacheState::Ended(error));
            return;
        }
    }
}
