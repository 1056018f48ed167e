//! Reconciliation: each member has a current and a desired state; somebody desires, the members follow, and
//! [`synchronize`](Reconciliation::synchronize) returns when they are there.
//!
//! **Guarantees.**
//! 1. A change of the desired states that returned `Ok` is durable, and reaches every member that lives or comes to life, the newest one
//!    always; those in between may be skipped.
//! 2. Desired states that are changed together ([`desire_all`](Reconciliation::desire_all)) are so in one transaction.
//! 3. [`synchronize`](Reconciliation::synchronize) returns only when each member that it counts has itself reported, for the desired state of now, that it has got there,
//!    and was alive with that report. A report for an earlier desired state does not count, nor does that of a member whose
//!    session has ended.
//!
//! **Does not.** It does not know what a state means, nor whether a report is true.
//!
//! **Limits.** A state is at most what a node takes (1 MB, in one transaction for all members); every member holds all states of the group.
//!
//! **Layout** (ours alone). `PATH/desired/<member>`, persistent, the desired state; `PATH/current/<member>`, ephemeral: the `mzxid` of the desired
//! state that was reached (eight bytes, big-endian; 0: none yet), then the current state.

use std::collections::BTreeMap;
use std::sync::Arc;

use oxikeeper_proto::Zxid;

use super::cache::{CacheState, Changes, Entry, TreeCache};
use super::once::commit_once;
use super::patience::{join, make_dirs, repeat};
use super::persistent_ephemeral::PersistentEphemeral;
use super::sessions::Sessions;
use crate::{CreateOptions, Error, ExpectedVersion};

/// How many have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Every member that has a desired state, those that are dead at the moment included.
    All,
    /// More than half of those.
    Quorum,
    /// So many.
    AtLeast(usize),
}

/// A desired state, with what a report names it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The state.
    pub state: Arc<[u8]>,
    /// When it was set: the `mzxid` of its node.
    pub version: Zxid,
}

/// How far a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is desired of it; none if nothing ever was.
    pub desired: Option<Desired>,
    /// What it has reported; none if it is not alive.
    pub current: Option<Arc<[u8]>>,
    /// Whether it has got to the desired state of now.
    pub is_there: bool,
}

/// A group's states, as a member or from outside.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::{Reconciliation, Wait};
///
/// // A member.
/// let member = Reconciliation::join(&client, "/cluster", "node-1", b"stopped").await?;
/// tokio::spawn(async move {
///     let mut reached = None;
///     loop {
///         let desired = member.next_desired(reached).await?;
///         // ... get there ...
///         member.report(&desired, desired.state.to_vec()).await?;
///         reached = Some(desired.version);
///     }
///     # #[allow(unreachable_code)]
///     Ok::<(), oxikeeper_client::Error>(())
/// });
///
/// // Who desires.
/// let control = Reconciliation::observe(&client, "/cluster").await?;
/// control.desire("node-1", b"running").await?;
/// control.synchronize(Wait::All).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reconciliation {
    sessions: Sessions,
    desired: String,
    current: String,
    path: String,
    cache: TreeCache,
    member: Option<(String, PersistentEphemeral)>,
}

impl Reconciliation {
    /// Becomes a member with this current state, and waits until the others can see it.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn join(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        id: &str,
        state: impl AsRef<[u8]>,
    ) -> Result<Reconciliation, Error> {
        let mut group = Reconciliation::observe(sessions, path).await?;
        let node = join(&group.current, id);
        let data = report_bytes(Zxid::ZERO, state.as_ref());
        let member = PersistentEphemeral::start(&group.sessions, node, data);
        member.present().await?;
        group.member = Some((id.to_owned(), member));
        Ok(group)
    }

    /// Looks on from outside, and may desire.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn observe(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
    ) -> Result<Reconciliation, Error> {
        let (sessions, path) = (sessions.into(), path.into());
        let cache = TreeCache::start(&sessions, path.clone());
        cache.ready().await?;
        let (desired, current) = (join(&path, "desired"), join(&path, "current"));
        Ok(Reconciliation { sessions, desired, current, path, cache, member: None })
    }

    /// Desires a state of a member, which need not have come yet.
    ///
    /// # Errors
    /// The server's refusal; the loss of the session.
    pub async fn desire(&self, member: &str, state: &[u8]) -> Result<(), Error> {
        self.desire_all(&BTreeMap::from([(member, state)])).await
    }

    /// Desires states of several members at once: all of it happens, or nothing.
    ///
    /// # Errors
    /// As [`desire`](Self::desire).
    pub async fn desire_all(&self, states: &BTreeMap<&str, &[u8]>) -> Result<(), Error> {
        let client = self.sessions.living().await?;
        let witnesses = join(&self.path, "changes");
        let paths: Vec<(String, &[u8])> =
            states.iter().map(|(id, state)| (join(&self.desired, id), *state)).collect();
        loop {
            let mut is_there = Vec::new();
            for (path, _) in &paths {
                is_there.push(repeat(&client, || client.exists(path)).await?.is_some());
            }
            let commit = commit_once(&client, &witnesses, |transaction| {
                paths.iter().zip(&is_there).fold(transaction, |all, ((path, state), there)| {
                    if *there {
                        all.set_data(path, *state, ExpectedVersion::Any)
                    } else {
                        all.create(path, *state, &CreateOptions::persistent())
                    }
                })
            });
            match commit.await {
                Err(error) if error.is_no_node() => make_dirs(&client, &self.desired).await?,
                // Somebody else desired it first.
                Err(error) if error.is_node_exists() => {}
                outcome => return outcome,
            }
        }
    }

    /// What is desired of a member now, as far as this one has heard.
    pub fn desired(&self, member: &str) -> Option<Desired> {
        self.cache.get(&join(&self.desired, member)).map(|entry| desired_of(&entry))
    }

    /// Waits for a desired state of this member that is newer than `reached`.
    ///
    /// # Errors
    /// If it follows no longer; `InvalidArgument` if this is no member.
    pub async fn next_desired(&self, reached: Option<Zxid>) -> Result<Desired, Error> {
        let (id, _) = self.member()?;
        let path = join(&self.desired, id);
        self.cache
            .until(|nodes| {
                let desired = nodes.get(&path).map(desired_of)?;
                (Some(desired.version) > reached).then_some(desired)
            })
            .await
    }

    /// Reports that this member has got to a desired state, with its current one, and waits until the others can see it.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced; `InvalidArgument` if this is no member.
    pub async fn report(&self, reached: &Desired, current: impl AsRef<[u8]>) -> Result<(), Error> {
        self.member()?.1.set(report_bytes(reached.version, current.as_ref())).await
    }

    fn member(&self) -> Result<&(String, PersistentEphemeral), Error> {
        self.member.as_ref().ok_or(Error::InvalidArgument("it is no member of the group"))
    }

    /// How far every member is.
    pub fn progress(&self) -> BTreeMap<String, Progress> {
        self.cache.with(|nodes| progress(&self.desired, &self.current, nodes))
    }

    /// Waits until so many members are where they are desired to be now.
    ///
    /// It asks the server to catch up first: what was desired before the call, by anybody, is what is waited for.
    ///
    /// # Errors
    /// If it follows no longer; the loss of the session.
    pub async fn synchronize(&self, wait: Wait) -> Result<(), Error> {
        // The cache follows the tree of a server; that has to know of the change that is waited for.
        let client = self.sessions.living().await?;
        let newest = self.newest_desired(&client).await?;
        self.cache
            .until(|nodes| {
                let members = progress(&self.desired, &self.current, nodes);
                let desired = members.values().filter_map(|member| member.desired.as_ref());
                let seen = desired.clone().map(|desired| desired.version).max();
                let there = members.values().filter(|member| member.is_there).count();
                let all = desired.count();
                let needed = match wait {
                    Wait::All => all,
                    Wait::Quorum => all / 2 + 1,
                    Wait::AtLeast(count) => count,
                };
                (seen >= newest && there >= needed).then_some(())
            })
            .await
    }

    /// The newest change of a desired state that was done before the call.
    async fn newest_desired(&self, client: &crate::Client) -> Result<Option<Zxid>, Error> {
        repeat(client, || client.sync(&self.path)).await?;
        let names = match repeat(client, || client.get_children(&self.desired)).await {
            Err(error) if error.is_no_node() => return Ok(None),
            names => names?,
        };
        let mut newest = None;
        for name in names {
            let path = join(&self.desired, &name);
            let stat = repeat(client, || client.exists(&path)).await?;
            newest = newest.max(stat.map(|stat| stat.mzxid));
        }
        Ok(newest)
    }

    /// Forgets a member that will not come back, so that nobody waits for it.
    ///
    /// # Errors
    /// The server's refusal; the loss of the session.
    pub async fn forget(&self, member: &str) -> Result<(), Error> {
        let client = self.sessions.living().await?;
        super::patience::remove(&client, &join(&self.desired, member)).await
    }

    /// Tells of changes from now on, of desires and of reports.
    pub fn changes(&self) -> Changes {
        self.cache.changes()
    }

    /// Whether what is shown follows, or may lag.
    pub fn state(&self) -> CacheState {
        self.cache.state()
    }

    /// Is a member no longer, and waits until the others can see it. What is desired of it stays.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn leave(self) -> Result<(), Error> {
        match self.member {
            Some((_, member)) => member.close().await,
            None => Ok(()),
        }
    }
}

fn desired_of(entry: &Entry) -> Desired {
    Desired { state: Arc::clone(&entry.data), version: entry.stat.mzxid }
}

fn report_bytes(reached: Zxid, state: &[u8]) -> Vec<u8> {
    [&reached.raw().to_be_bytes(), state].concat()
}

fn progress(
    desired_dir: &str,
    current_dir: &str,
    nodes: &BTreeMap<String, Entry>,
) -> BTreeMap<String, Progress> {
    let mut members: BTreeMap<String, Progress> = BTreeMap::new();
    let nobody = || Progress { desired: None, current: None, is_there: false };
    for (path, entry) in nodes {
        let Some((dir, id)) = path.rsplit_once('/') else { continue };
        if dir == desired_dir {
            let member = members.entry(id.to_owned()).or_insert_with(nobody);
            member.desired = Some(desired_of(entry));
        }
    }
    for (path, entry) in nodes {
        let Some((dir, id)) = path.rsplit_once('/') else { continue };
        if dir == current_dir
            && let Some((reached, state)) = entry.data.split_first_chunk::<8>()
        {
            let member = members.entry(id.to_owned()).or_insert_with(nobody);
            let reached = Zxid::new(u64::from_be_bytes(*reached));
            member.current = Some(state.into());
            member.is_there =
                member.desired.as_ref().is_some_and(|desired| desired.version == reached);
        }
    }
    members
}
