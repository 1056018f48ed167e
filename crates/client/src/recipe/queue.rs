//! A queue: work for whoever is free, in order, or by priority.
//!
//! **Guarantees.** A [`put`](Queue::put) that returned `Ok` put the item in exactly once. An item is with one consumer at a time, and stays in the
//! queue until that consumer says [`done`](Item::done); if it dies before, another gets the item. So each item is
//! handled at least once, and exactly once as far as nobody dies between the work and `done`: what has to be exactly once goes into the same
//! transaction, [`Item::transaction`].
//!
//! **Order.** Items are handed out in order of their names: by priority, the lowest number first, then in the order of their
//! commits. With several consumers, or after a death, an earlier item may be *finished* after a later one.
//!
//! **Limits.** Every take reads the list of all items: hundreds that wait are fine, with thousands it becomes slow, a million is not
//! what znodes are for. 2^31 items per directory.
//!
//! **Layout.** As Curator's `DistributedQueue` and `DistributedPriorityQueue` with a `lockPath`: `PATH/queue-[PRIORITY]0000000000`, persistent
//! sequential, the data in the frame of its `ItemSerializer`; while a consumer has it, `LOCKS/<name of the item>`, ephemeral. `LOCKS` is
//! `PATH-locks` unless told. What has no such frame is given as it is.

use super::once::commit_once;
use super::patience::{join, make_containers, make_dirs, recovered, remove, repeat};
use super::place::guid;
use crate::{Client, CreateOptions, Error, ExpectedVersion, TransactionBuilder};

const KIND: &str = "queue-";
/// Curator's frame: version, then per part a mark, its length and its bytes, then the end.
const FRAME_VERSION: [u8; 4] = [0, 1, 0, 1];
const PART: u8 = 1;
const END: u8 = 2;

/// A queue at a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Queue;
///
/// let queue = Queue::new(&client, "/jobs");
/// queue.put(b"resize 17.png").await?;
///
/// let item = queue.take().await?;
/// println!("{:?}", item.data());
/// item.done().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    path: String,
    locks: String,
}

/// An item that this consumer has. Dropped, it goes back into its place.
#[derive(Debug)]
#[must_use = "an item that is dropped goes back into the queue"]
pub struct Item {
    claim: Claim,
    path: String,
    parts: Vec<Vec<u8>>,
}

impl Queue {
    /// The queue at `path`; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Queue {
        let path = path.into();
        Queue { client: client.clone(), locks: format!("{path}-locks"), path }
    }

    /// The same queue with its claims elsewhere: Curator's `lockPath`.
    pub fn locks(mut self, path: impl Into<String>) -> Queue {
        self.locks = path.into();
        self
    }

    /// Puts an item at the end.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session; with the latter it may be in.
    pub async fn put(&self, data: &[u8]) -> Result<(), Error> {
        self.put_as(KIND, data).await
    }

    /// Puts an item behind all of the same priority and before all of a higher number. A queue has
    /// items with priorities alone, or without alone.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_with_priority(&self, priority: i32, data: &[u8]) -> Result<(), Error> {
        self.put_as(&format!("{KIND}{}", priority_text(priority)), data).await
    }

    async fn put_as(&self, name: &str, data: &[u8]) -> Result<(), Error> {
        let (path, data) = (join(&self.path, name), encode(data));
        loop {
            let put = commit_once(&self.client, &self.locks, |transaction| {
                transaction.create(
                    path.as_str(),
                    data.as_slice(),
                    &CreateOptions::persistent_sequential(),
                )
            });
            match put.await {
                Err(error) if error.is_no_node() => make_dirs(&self.client, &self.path).await?,
                outcome => return outcome,
            }
        }
    }

    /// Waits for an item, and has it until it is done or dropped.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn take(&self) -> Result<Item, Error> {
        loop {
            match self.look().await {
                Ok(Look::Found(item)) => return Ok(item),
                Ok(Look::Nothing(items, claims)) => {
                    // Something comes, or a consumer dies and its claim with it.
                    tokio::select! {
                        event = items => event?,
                        event = claims => event?,
                    };
                }
                Err(error) if error.is_no_node() => {
                    make_dirs(&self.client, &self.path).await?;
                    make_containers(&self.client, &self.locks).await?;
                }
                Err(error) => recovered(&self.client, error).await?,
            }
        }
    }

    /// The next item, if there is one that nobody has.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn try_take(&self) -> Result<Option<Item>, Error> {
        loop {
            match self.look().await {
                Ok(Look::Found(item)) => return Ok(Some(item)),
                Ok(Look::Nothing(..)) => return Ok(None),
                Err(error) if error.is_no_node() => {
                    make_dirs(&self.client, &self.path).await?;
                    make_containers(&self.client, &self.locks).await?;
                }
                Err(error) => recovered(&self.client, error).await?,
            }
        }
    }

    /// How many items are in it, those included that a consumer has.
    ///
    /// # Errors
    /// The server's refusal or the loss of the session.
    pub async fn count(&self) -> Result<usize, Error> {
        match repeat(&self.client, || self.client.get_children(&self.path)).await {
            Ok(names) => Ok(names.iter().filter(|name| name.starts_with(KIND)).count()),
            Err(error) if error.is_no_node() => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn look(&self) -> Result<Look, Error> {
        let claims = self.client.get_children_watch(&self.locks);
        let items = self.client.get_children_watch(&self.path);
        let (claimed, claims) = claims.await?;
        let (mut names, items) = items.await?;
        names.retain(|name| name.starts_with(KIND) && !claimed.contains(name));
        names.sort_unstable();
        for name in names {
            let Some(claim) = self.claim(&name).await? else { continue };
            let path = join(&self.path, &name);
            match repeat(&self.client, || self.client.get_data(&path)).await {
                Ok((data, _)) => {
                    return Ok(Look::Found(Item { claim, path, parts: decode(data) }));
                }
                // Done by the one whose claim we did not see any more.
                Err(error) if error.is_no_node() => claim.give_back().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(Look::Nothing(items, claims))
    }

    /// Claims an item, unless somebody else has.
    async fn claim(&self, name: &str) -> Result<Option<Claim>, Error> {
        let path = join(&self.locks, name);
        let mut claim = Claim { client: self.client.clone(), path, tag: guid(), is_gone: false };
        let mut may_be_ours = false;
        loop {
            let created =
                self.client.create(&claim.path, claim.tag.as_bytes(), &CreateOptions::ephemeral());
            match created.await {
                Ok(_) => return Ok(Some(claim)),
                Err(error) if error.is_node_exists() => {
                    if may_be_ours && claim.is_ours().await? {
                        return Ok(Some(claim));
                    }
                    claim.is_gone = true;
                    return Ok(None);
                }
                Err(error) => {
                    may_be_ours |= error.may_have_happened();
                    claim.is_gone = !may_be_ours;
                    recovered(&self.client, error).await?;
                    claim.is_gone = false;
                }
            }
        }
    }
}

enum Look {
    Found(Item),
    /// Everything is claimed: what fires when there is more, and when a claim goes.
    Nothing(crate::OneShotWatch, crate::OneShotWatch),
}

impl Item {
    /// What was put in. Curator can put several parts into one item: then the first of them.
    pub fn data(&self) -> &[u8] {
        self.parts.first().map_or(&[], Vec::as_slice)
    }

    /// All parts.
    pub fn parts(&self) -> &[Vec<u8>] {
        &self.parts
    }

    /// A transaction that takes the item out of the queue, to add to it what the work comes to: all of it
    /// happens, or nothing. Commit it, then drop the item. Its first two operations are ours.
    pub fn transaction(&self) -> TransactionBuilder {
        let transaction = self.claim.client.transaction();
        let transaction = transaction.delete(&self.claim.path, ExpectedVersion::Any);
        transaction.delete(&self.path, ExpectedVersion::Any)
    }

    /// Takes the item out of the queue for good.
    ///
    /// # Errors
    /// The server's refusal; the loss of the session: then somebody else may get the item.
    pub async fn done(mut self) -> Result<(), Error> {
        let client = self.claim.client.clone();
        let outcome = repeat(&client, || self.transaction().commit()).await;
        match outcome {
            Ok(_) => {}
            Err(error) if error.is_no_node() => {
                // Done by a try whose answer was lost, or the claim was removed by somebody.
                remove(&client, &self.path).await?;
            }
            Err(error) => return Err(error),
        }
        self.claim.is_gone = true;
        Ok(())
    }
}

/// The node that says who has an item. Dropped, it is removed in the background.
#[derive(Debug)]
struct Claim {
    client: Client,
    path: String,
    tag: String,
    is_gone: bool,
}

impl Claim {
    async fn is_ours(&self) -> Result<bool, Error> {
        is_tagged(&self.client, &self.path, &self.tag).await
    }

    async fn give_back(mut self) -> Result<(), Error> {
        remove(&self.client, &self.path).await?;
        self.is_gone = true;
        Ok(())
    }
}

async fn is_tagged(client: &Client, path: &str, tag: &str) -> Result<bool, Error> {
    repeat(client, || client.sync(path)).await?;
    match repeat(client, || client.get_data(path)).await {
        Ok((data, _)) => Ok(data == tag.as_bytes()),
        Err(error) if error.is_no_node() => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        // Without a runtime nobody is left to do it: the node ends with its session.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, path) = (self.client.clone(), std::mem::take(&mut self.path));
            let tag = std::mem::take(&mut self.tag);
            runtime.spawn(async move {
                if is_tagged(&client, &path, &tag).await? {
                    remove(&client, &path).await?;
                }
                Ok::<(), Error>(())
            });
        }
    }
}

/// Text that sorts as the numbers do.
fn priority_text(priority: i32) -> String {
    format!("{}{:08X}", u8::from(priority >= 0), priority)
}

fn encode(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&FRAME_VERSION[..], &[PART], &length, data, &[END]].concat()
}

fn decode(data: Vec<u8>) -> Vec<Vec<u8>> {
    parts(&data).unwrap_or_else(|| vec![data])
}

fn parts(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = data.strip_prefix(&FRAME_VERSION)?;
    let mut parts = Vec::new();
    loop {
        match rest.split_first()? {
            (&PART, behind) => {
                let (length, behind) = behind.split_first_chunk::<4>()?;
                let (part, behind) =
                    behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                parts.push(part.to_vec());
                rest = behind;
            }
            (&END, []) => return Some(parts),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_framed_as_curator_frames_them() {
        let framed = encode(b"ab");
        assert_eq!(framed, [0, 1, 0, 1, 1, 0, 0, 0, 2, b'a', b'b', 2]);
        assert_eq!(decode(framed), [b"ab".to_vec()]);
        assert_eq!(decode(b"plain".to_vec()), [b"plain".to_vec()]);
        // A length beyond the end is no frame.
        assert_eq!(parts(&[0, 1, 0, 1, 1, 0, 0, 0, 9, b'a', 2]), None);
    }

    #[test]
    fn priorities_sort_as_text() {
        let sorted = [i32::MIN, -7, -1, 0, 1, 300, i32::MAX].map(priority_text);
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert_eq!(sorted[4], "100000001");
        assert_eq!(sorted[2], "0FFFFFFFF");
    }
}
