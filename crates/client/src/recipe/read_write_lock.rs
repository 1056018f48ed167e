//! A read-write lock: any number of readers, or one writer, in the order of asking.
//!
//! **Guarantees.** Those of [`Lock`](super::Lock), where readers do not exclude one another. A reader does not overtake a writer that
//! asked before it, so writers do not starve.
//!
//! **Does not.** No way from one to the other while holding: a reader that asks to write beside its read guard waits for itself.
//!
//! **Layout.** `PATH/_c_GUID-__READ__0000000000` and `PATH/_c_GUID-__WRIT__0000000000`, as Curator's `InterProcessReadWriteLock`.

use super::guard::Guard;
use super::line::{self, Contender};
use super::place::Place;
use crate::{Client, Error};

const READ: &str = "__READ__";
const WRITE: &str = "__WRIT__";

/// A read-write lock at a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::ReadWriteLock;
///
/// let lock = ReadWriteLock::new(&client, "/locks/catalogue");
/// let (one, two) = (lock.read().await?, lock.read().await?);
/// one.release().await?;
/// two.release().await?;
/// let writer = lock.write().await?;
/// writer.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadWriteLock {
    client: Client,
    path: String,
}

impl ReadWriteLock {
    /// The lock at `path`; nothing is sent yet.
    pub fn new(client: &Client, path: impl Into<String>) -> ReadWriteLock {
        ReadWriteLock { client: client.clone(), path: path.into() }
    }

    /// Waits until no writer stands before, and holds the lock together with other readers.
    ///
    /// # Errors
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn read(&self) -> Result<Guard, Error> {
        self.take(READ, last_writer_before).await
    }

    /// Waits until nobody stands before, and holds the lock alone.
    ///
    /// # Errors
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn write(&self) -> Result<Guard, Error> {
        self.take(WRITE, line::predecessor).await
    }

    async fn take(&self, kind: &str, blocker: line::Blocker) -> Result<Guard, Error> {
        let place = Place::take(&self.client, &self.path, kind, b"").await?;
        line::turn(&place, &[READ, WRITE], blocker).await?;
        Ok(Guard::new(place))
    }
}

fn last_writer_before(line: &[Contender]) -> Option<&Contender> {
    let (_, before) = line.split_last()?;
    before.iter().rev().find(|contender| contender.kind == WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kinds: &[&str]) -> Vec<Contender> {
        let contender = |(sequence, kind): (i64, &&str)| Contender {
            sequence,
            kind: (*kind).to_owned(),
            name: format!("{kind}{sequence:010}"),
        };
        (0..).zip(kinds).map(contender).collect()
    }

    #[test]
    fn readers_wait_for_the_last_writer_before_them() {
        let before = |kinds: &[&str]| last_writer_before(&line(kinds)).map(|c| c.sequence);
        assert_eq!(before(&[READ, READ]), None);
        assert_eq!(before(&[WRITE, READ, WRITE, READ, READ]), Some(2));
        assert_eq!(before(&[READ]), None);
    }
}
