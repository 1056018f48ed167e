//! Group membership: who is there, with a few bytes about each.
//!
//! **Guarantees.** A member is in the list of every other as long as its process lives and reaches a server (again after an expiry,
//! see [`PersistentEphemeral`]), and out of it when its session has ended. The list has the guarantees of a
//! [`TreeCache`].
//!
//! **Does not.** Who is in the list may be dead for up to its session timeout; who has been cut off may be alive. A list is no
//! lock.
//!
//! **Layout.** `PATH/<id>`, ephemeral, with the member's data, as Curator's `GroupMember`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cache::{CacheState, Changes, TreeCache};
use super::patience::{join, name_of};
use super::persistent_ephemeral::PersistentEphemeral;
use super::sessions::Sessions;
use crate::Error;

/// A group at a path, as a member or from outside.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Group;
///
/// let group = Group::join(&client, "/workers", "worker-1", b"10.0.0.7:9000").await?;
/// let three = group.until(|members| (members.len() >= 3).then(|| members.clone())).await?;
/// group.leave().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Group {
    cache: TreeCache,
    member: Option<PersistentEphemeral>,
}

/// The members by their ids, with their data.
pub type Members = BTreeMap<String, Arc<[u8]>>;

impl Group {
    /// Becomes a member, and waits until it is one and knows the others.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn join(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        id: &str,
        data: impl Into<Vec<u8>>,
    ) -> Result<Group, Error> {
        let (sessions, path) = (sessions.into(), path.into());
        let member = PersistentEphemeral::start(&sessions, join(&path, id), data);
        member.present().await?;
        let group = Group { cache: TreeCache::start(&sessions, path), member: Some(member) };
        let ours = id.to_owned();
        group.until(|members| members.contains_key(&ours).then_some(())).await?;
        Ok(group)
    }

    /// Looks on from outside.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn observe(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
    ) -> Result<Group, Error> {
        let group = Group { cache: TreeCache::start(sessions, path), member: None };
        group.cache.ready().await?;
        Ok(group)
    }

    /// Who is there.
    pub fn members(&self) -> Members {
        self.cache.with(|nodes| members(self.cache.root(), nodes))
    }

    /// Whether the list follows, or may lag.
    pub fn state(&self) -> CacheState {
        self.cache.state()
    }

    /// Tells of changes from now on.
    pub fn changes(&self) -> Changes {
        self.cache.changes()
    }

    /// Waits until the members are as `look` wants them.
    ///
    /// # Errors
    /// If the list follows no longer.
    pub async fn until<R>(&self, look: impl Fn(&Members) -> Option<R>) -> Result<R, Error> {
        self.cache.until(|nodes| look(&members(self.cache.root(), nodes))).await
    }

    /// Changes what the others see of this member, and waits until they can.
    ///
    /// # Errors
    /// As [`join`](Self::join). An observer's call does nothing.
    pub async fn set(&self, data: impl Into<Vec<u8>>) -> Result<(), Error> {
        match &self.member {
            Some(member) => member.set(data).await,
            None => Ok(()),
        }
    }

    /// Is a member no longer, and waits until the others can see it.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn leave(self) -> Result<(), Error> {
        match self.member {
            Some(member) => member.close().await,
            None => Ok(()),
        }
    }
}

fn members(root: &str, nodes: &BTreeMap<String, super::Entry>) -> Members {
    let inside = nodes.iter().filter(|(path, _)| path.as_str() != root);
    inside.map(|(path, entry)| (name_of(path).to_owned(), Arc::clone(&entry.data))).collect()
}
