//! A transaction that is carried out exactly once, or whose fate is said to be unknown.
//!
//! With the writes of the recipe goes the creation of a *witness*, an ephemeral node whose name is drawn for this one transaction. When
//! the answer is lost the witness says whether it happened: the session is the same, so the server has taken
//! everything that this session sent before, or never will. Only when the session itself is lost does the
//! question stay open.

use super::patience::{join, make_containers, recovered, remove, repeat};
use super::place::guid;
use crate::{Client, CreateOptions, Error, TransactionBuilder};

/// Carries out what `fill` puts into a transaction, once. `dir` is where the witness stands meanwhile.
///
/// # Errors
/// The server's refusal: then nothing was done. `SessionExpired` and its like: then the fate is unknown. A `Transaction`
/// error counts the operations of `fill` from 0.
pub(super) async fn commit_once(
    client: &Client,
    dir: &str,
    fill: impl Fn(TransactionBuilder) -> TransactionBuilder,
) -> Result<(), Error> {
    let mut witness = Witness { client: client.clone(), path: String::new() };
    let path = join(dir, &format!("_w_{}", guid()));
    loop {
        let transaction = fill(client.transaction());
        let transaction = transaction.create(path.as_str(), b"", &CreateOptions::ephemeral());
        let commit = transaction.commit();
        // From here on it may be there.
        witness.path.clone_from(&path);
        let error = match commit.await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if error.may_have_happened() {
            recovered(client, error).await?;
            if happened(client, dir, &path).await? {
                return Ok(());
            }
            continue;
        }
        witness.path.clear();
        // The directory lacks, or a node of the caller's does: then the next try says so.
        if error.is_no_node() && repeat(client, || client.exists(dir)).await?.is_none() {
            make_containers(client, dir).await?;
            continue;
        }
        recovered(client, error).await?;
    }
}

async fn happened(client: &Client, dir: &str, witness: &str) -> Result<bool, Error> {
    // The server may be another one, which has not heard of it yet.
    repeat(client, || client.sync(dir)).await?;
    Ok(repeat(client, || client.exists(witness)).await?.is_some())
}

/// Removes the witness for certain, in the background, when it has been heard or nobody will hear it.
struct Witness {
    client: Client,
    /// Empty: there is none.
    path: String,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if self.path.is_empty() {
            return;
        }
        // Without a runtime nobody is left to do it: the node ends with its session.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, path) = (self.client.clone(), std::mem::take(&mut self.path));
            runtime.spawn(async move { remove(&client, &path).await });
        }
    }
}
