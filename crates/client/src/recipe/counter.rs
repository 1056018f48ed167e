//! A shared counter and a shared value, changed by comparison of versions.
//!
//! **Guarantees.** Changes are atomic and in one order. A change that returned `Ok` happened exactly once, also when connections broke
//! meanwhile; one that returned an error did not happen, unless the error says
//! [`may_have_happened`](crate::Error::may_have_happened), which is so only when the session was lost.
//!
//! **Does not.** A read may be older than another client's last write; [`Counter::get`] asks the server to catch up first. Changes under
//! contention are tried again until they succeed: tens of writers at one node are fine, thousands are not.
//!
//! **Layout.** [`Counter`]: eight bytes, big-endian, as Curator's `DistributedAtomicLong`. [`AtomicValue`]: the bytes themselves, as `SharedValue`
//! and `DistributedAtomicValue`. While a change is under way a child `_w_GUID`, ephemeral, stands below the node.

use super::once::commit_once;
use super::patience::{make_dirs, repeat};
use crate::{Client, Error, ExpectedVersion};

/// A value at a path, with its version.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::AtomicValue;
///
/// let value = AtomicValue::new(&client, "/shared/motto");
/// let now = value.update(|old| [old, b"!"].concat()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AtomicValue {
    client: Client,
    path: String,
}

impl AtomicValue {
    /// The value at `path`; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>) -> AtomicValue {
        AtomicValue { client: client.clone(), path: path.into() }
    }

    /// The value and its version, not older than any change that was done before the call; empty if nobody has set it.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn get(&self) -> Result<(Vec<u8>, i32), Error> {
        repeat(&self.client, || self.client.sync(&self.path)).await?;
        self.read().await
    }

    async fn read(&self) -> Result<(Vec<u8>, i32), Error> {
        loop {
            match repeat(&self.client, || self.client.get_data(&self.path)).await {
                Ok((data, stat)) => return Ok((data, stat.version)),
                Err(error) if error.is_no_node() => make_dirs(&self.client, &self.path).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sets the value if its version is this one. `false` if it is not: somebody else was first.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn compare_and_set(&self, version: i32, data: &[u8]) -> Result<bool, Error> {
        let outcome = commit_once(&self.client, &self.path, |transaction| {
            transaction.set_data(&self.path, data, ExpectedVersion::Exactly(version))
        });
        match outcome.await {
            Ok(()) => Ok(true),
            Err(error) if error.is_bad_version() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the value to what `change` makes of it, as often as it takes; returns what was set.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn update(&self, change: impl Fn(&[u8]) -> Vec<u8>) -> Result<Vec<u8>, Error> {
        loop {
            let (old, version) = self.read().await?;
            let new = change(&old);
            if self.compare_and_set(version, &new).await? {
                return Ok(new);
            }
        }
    }
}

/// A counter at a path: an `i64` that wraps around.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Counter;
///
/// let served = Counter::new(&client, "/served");
/// let now: i64 = served.add(1).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Counter {
    value: AtomicValue,
}

impl Counter {
    /// The counter at `path`, 0 if nobody has counted; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Counter {
        Counter { value: AtomicValue::new(client, path) }
    }

    /// Its value, not older than any change that was done before the call.
    ///
    /// # Errors
    /// `BadReply` if the node holds no counter; the server's refusal; the loss of the session.
    pub async fn get(&self) -> Result<i64, Error> {
        let (data, _) = self.value.get().await?;
        decode(&data)
    }

    /// Adds to it, and returns what it has become.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn add(&self, delta: i64) -> Result<i64, Error> {
        loop {
            let (data, version) = self.value.read().await?;
            let sum = decode(&data)?.wrapping_add(delta);
            if self.value.compare_and_set(version, &sum.to_be_bytes()).await? {
                return Ok(sum);
            }
        }
    }
}

fn decode(data: &[u8]) -> Result<i64, Error> {
    match data {
        [] => Ok(0),
        data => data
            .try_into()
            .map(i64::from_be_bytes)
            .map_err(|_| Error::BadReply("the node holds no counter of eight bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_eight_bytes_or_none() {
        assert_eq!(decode(b""), Ok(0));
        assert_eq!(decode(&[0, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert!(decode(b"1").is_err());
    }
}
