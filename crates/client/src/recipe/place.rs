//! A node that stands for somebody: ephemeral, sequential, found again by its GUID, never left behind.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use oxikeeper_proto::Zxid;

use super::patience::{join, make_containers, name_of, recovered, remove, repeat};
use crate::{Client, CreateOptions, Error};

/// 128 bits that no other process draws, in the form of a UUID.
pub(super) fn guid() -> String {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let count = DRAWN.fetch_add(1, Ordering::Relaxed);
    // The standard library keys each of these from the system's randomness.
    let state = RandomState::new();
    let (high, low) = (state.hash_one((count, 0_u8)), state.hash_one((count, 1_u8)));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// The number at the end of a sequential node's name, and what stands between a GUID, if any, and it.
///
/// The server writes an `int` as `%010d`: ten characters, the sign included, but for the very smallest.
pub(super) fn sequence(name: &str) -> Option<(&str, i64)> {
    const DIGITS: usize = 10;
    const PROTECTION: usize = "_c_00000000-0000-0000-0000-000000000000-".len();
    let body = if name.starts_with("_c_") { name.get(PROTECTION..).unwrap_or(name) } else { name };
    let at = body.len().checked_sub(DIGITS)?;
    let number: i64 = body.get(at..)?.parse().ok()?;
    let kind = &body[..at];
    if number > i64::from(i32::MAX) {
        return Some((kind.strip_suffix('-')?, -number));
    }
    Some((kind, number))
}

/// A node in a directory. Dropped, it is removed in the background.
#[derive(Debug)]
pub(super) struct Place {
    client: Client,
    dir: String,
    guid: String,
    path: String,
    czxid: Zxid,
    /// Nothing is there any more that would have to be removed.
    is_gone: bool,
}

impl Place {
    /// Creates `dir/_c_GUID-KIND0000000000`, and the directory as container nodes if it is missing.
    pub(super) async fn take(
        client: &Client,
        dir: &str,
        kind: &str,
        data: &[u8],
    ) -> Result<Place, Error> {
        let mut place = Place {
            client: client.clone(),
            dir: dir.to_owned(),
            guid: guid(),
            path: String::new(),
            czxid: Zxid::ZERO,
            is_gone: false,
        };
        let wanted = join(dir, &format!("_c_{}-{kind}", place.guid));
        loop {
            match client.create(&wanted, data, &CreateOptions::ephemeral_sequential()).await {
                Ok(created) => {
                    place.path = created.path;
                    place.czxid = created.stat.czxid;
                    return Ok(place);
                }
                Err(error) if error.is_no_node() => make_containers(client, dir).await?,
                Err(error) => {
                    let may_be_there = error.may_have_happened();
                    place.is_gone = !may_be_there;
                    recovered(client, error).await?;
                    place.is_gone = false;
                    if may_be_there && place.find().await? {
                        return Ok(place);
                    }
                }
            }
        }
    }

    /// Looks for the node of a create whose answer was lost.
    async fn find(&mut self) -> Result<bool, Error> {
        let Some(path) = find(&self.client, &self.dir, &self.guid).await? else {
            return Ok(false);
        };
        let stat = repeat(&self.client, || self.client.exists(&path)).await?;
        let Some(stat) = stat else { return Ok(false) };
        self.path = path;
        self.czxid = stat.czxid;
        Ok(true)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn dir(&self) -> &str {
        &self.dir
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        name_of(&self.path)
    }

    pub(super) fn czxid(&self) -> Zxid {
        self.czxid
    }

    /// Removes the node for certain. A lost session has removed it, or its expiry will.
    pub(super) async fn leave(mut self) -> Result<(), Error> {
        let outcome = remove(&self.client, &self.path).await;
        self.is_gone = true;
        match outcome {
            Err(Error::SessionExpired | Error::Closed) => Ok(()),
            outcome => outcome,
        }
    }
}

/// The node in `dir` with this GUID, if there is one when everything before is done.
async fn find(client: &Client, dir: &str, guid: &str) -> Result<Option<String>, Error> {
    // The server may be another one, which has not heard of the create yet.
    repeat(client, || client.sync(dir)).await?;
    match repeat(client, || client.get_children(dir)).await {
        Ok(names) => Ok(names.iter().find(|name| name.contains(guid)).map(|n| join(dir, n))),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Nobody is left to do it; the node ends with its session.
            return;
        };
        let (client, dir) = (self.client.clone(), std::mem::take(&mut self.dir));
        let (path, guid) = (std::mem::take(&mut self.path), std::mem::take(&mut self.guid));
        runtime.spawn(async move {
            if !path.is_empty() {
                return remove(&client, &path).await;
            }
            // The create may be on its way: it took its place in the session's order before we look.
            while let Some(path) = find(&client, &dir, &guid).await? {
                remove(&client, &path).await?;
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_differ_and_look_like_uuids() {
        let (a, b) = (guid(), guid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.matches('-').count(), 4);
    }

    #[test]
    fn the_sequence_stands_behind_the_kind() {
        assert_eq!(sequence("lock-0000000007"), Some(("lock-", 7)));
        let protected = format!("_c_{}-__READ__0000000012", guid());
        assert_eq!(sequence(&protected), Some(("__READ__", 12)));
        assert_eq!(sequence("lock--000000001"), Some(("lock-", -1)));
        assert_eq!(sequence("lock--2147483648"), Some(("lock-", -2_147_483_648)));
        assert_eq!(sequence("lock-2147483647"), Some(("lock-", 2_147_483_647)));
        assert_eq!(sequence("short"), None);
        assert_eq!(sequence("something-else"), None);
    }
}
