//! Creates that are safe to repeat: a name that nobody else can have chosen tells whether an earlier
//! try was carried out.

use crate::builder::random;
use crate::{Client, CreateOptions, Created, Error, Result};

/// How often a create is tried before its error is passed on.
const TRIES: u32 = 10;

/// What stands before a name that is protected, as Apache's Curator writes it.
const PREFIX: &str = "_c_";

impl Client {
    /// Creates a node whose name begins with an id of its own, `_c_<id>-`, so that it is found again
    /// when the connection broke before the answer came: after a connection loss the new server is
    /// brought up to date (`sync`), the node looked for among its siblings, and created anew only if it is
    /// not there. With ephemeral sequential nodes no ghost is left behind that nobody knows of.
    ///
    /// A server of an ensemble takes no more requests of a session once that has moved on, so a create
    /// that the `sync` does not show will never be carried out.
    ///
    /// ```no_run
    /// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
    /// use oxikeeper_client::CreateOptions;
    /// let options = CreateOptions::ephemeral_sequential();
    /// let created = client.create_protected("/locks/lock-", b"", &options).await?;
    /// assert!(created.path.starts_with("/locks/_c_"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::ConnectionLoss`] after ten tries.
    pub async fn create_protected(
        &self,
        path: &str,
        data: &[u8],
        options: &CreateOptions,
    ) -> Result<Created> {
        let (parent, name) = path.rsplit_once('/').ok_or_else(|| Error::InvalidPath {
            path: path.to_owned(),
            reason: oxikeeper_proto::path::PathError::NotAbsolute,
        })?;
        let marker = format!("{PREFIX}{:016x}{:016x}-", random(), random());
        let path = format!("{parent}/{marker}{name}");
        let parent = if parent.is_empty() { "/" } else { parent };
        let mut is_doubtful = false;
        let mut last = Error::Closed;
        for _ in 0..TRIES {
            if is_doubtful {
                match self.find_protected(parent, &marker).await {
                    Ok(Some(created)) => return Ok(created),
                    Ok(None) => is_doubtful = false,
                    Err(error @ Error::ConnectionLoss { .. }) => {
                        last = error;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            match self.create(&path, data, options).await {
                Err(error @ Error::ConnectionLoss { .. }) => {
                    is_doubtful |= error.may_have_happened();
                    last = error;
                }
                result => return result,
            }
        }
        Err(last)
    }

    async fn find_protected(&self, parent: &str, marker: &str) -> Result<Option<Created>> {
        self.sync(parent).await?;
        let children = match self.get_children(parent).await {
            Err(error) if error.is_no_node() => return Ok(None),
            children => children?,
        };
        let Some(name) = children.into_iter().find(|name| name.starts_with(marker)) else {
            return Ok(None);
        };
        let separator = if parent == "/" { "" } else { "/" };
        let path = format!("{parent}{separator}{name}");
        let stat = self.exists(&path).await?;
        Ok(stat.map(|stat| Created { path, stat }))
    }
}
