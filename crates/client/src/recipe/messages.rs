//! Messages from member to member: to one by name, or to all.
//!
//! **Guarantees.**
//! 1. A message whose sending returned `Ok` is durable, and stays in the inbox until its receiver says [`done`](Message::done): a crash of either side
//!    loses nothing.
//! 2. Each inbox is read in the order in which its messages were committed; those of one sender are so in the order in which they
//!    were sent (one after the other). Messages to all are in the same order in all inboxes.
//! 3. A message to all is in all inboxes, or in none.
//! 4. At least once: a receiver that dies between its work and `done` gets the message again, and a sender that does not know the
//!    fate of a message (its session was lost) may send it again with [`send_as`](Messenger::send_as) and the same id. A receiver does not
//!    hand out an id twice as long as it remembers it (the last 4,096); over its own crash only the
//!    application can know: by the id.
//!
//! **Limits.** An inbox is a directory: thousands of waiting messages are fine, a million is not. One receiver per name. A member that never comes
//! back keeps its inbox until [`remove_inbox`](Messenger::remove_inbox). A member whose inbox is made while a message to all is on its way may or may
//! not get it.
//!
//! **Layout** (ours alone). `PATH/inboxes/<member>/m-0000000000`, persistent sequential: a version byte (1), the id (36 characters), the length of
//! the sender's name (two bytes), the name, the data.

use std::collections::{HashSet, VecDeque};

use super::once::commit_once;
use super::patience::{join, make_dirs, recovered, remove, repeat};
use super::place::guid;
use super::sessions::Sessions;
use crate::{Client, CreateOptions, Error};

const KIND: &str = "m-";
const VERSION: u8 = 1;
const ID_BYTES: usize = 36;
/// How many ids a receiver remembers.
const REMEMBERED: usize = 4096;

/// What a message is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// An id that no other message has.
    pub fn draw() -> MessageId {
        MessageId(guid())
    }

    /// Its 36 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it is known by, for de-duplication.
    pub id: MessageId,
    /// Who sent it.
    pub sender: String,
    /// What it says.
    pub data: Vec<u8>,
    client: Client,
    path: String,
}

impl Message {
    /// Takes it out of the inbox for good.
    ///
    /// # Errors
    /// The server's refusal; the loss of the session: then it comes again.
    pub async fn done(&self) -> Result<(), Error> {
        remove(&self.client, &self.path).await
    }

    /// Its node: what its handling comes to can be written in one transaction with the deletion of it.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// A member that sends and receives.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::Messenger;
///
/// let mut ours = Messenger::open(&client, "/messages", "order1").await?;
/// ours.send(b"hello", "order2").await?;
/// ours.send_all(b"I am here").await?;
/// let message = ours.receive().await?;
/// println!("{} says {:?}", message.sender, message.data);
/// message.done().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Messenger {
    sessions: Sessions,
    path: String,
    inboxes: String,
    name: String,
    received: Received,
}

/// What was handed out already.
#[derive(Debug, Default)]
struct Received {
    /// Names of nodes that are handed out and may still be in the inbox.
    nodes: HashSet<String>,
    ids: HashSet<MessageId>,
    order: VecDeque<MessageId>,
}

impl Messenger {
    /// Makes the inbox of this name, unless it is there from an earlier life.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn open(
        sessions: impl Into<Sessions>,
        path: impl Into<String>,
        name: &str,
    ) -> Result<Messenger, Error> {
        let (sessions, path) = (sessions.into(), path.into());
        let inboxes = join(&path, "inboxes");
        make_dirs(&sessions.living().await?, &join(&inboxes, name)).await?;
        let received = Received::default();
        Ok(Messenger { sessions, path, inboxes, name: name.to_owned(), received })
    }

    /// Who has an inbox.
    ///
    /// # Errors
    /// The server's refusal; the loss of the session.
    pub async fn members(&self) -> Result<Vec<String>, Error> {
        let client = self.sessions.living().await?;
        repeat(&client, || client.get_children(&self.inboxes)).await
    }

    /// Sends to one member, be it alive or not.
    ///
    /// # Errors
    /// `NoNode` if nobody of that name ever had an inbox; the loss of the session: then it may be sent, and
    /// only with [`send_as`](Self::send_as) it can be sent again safely.
    pub async fn send(&self, data: &[u8], target: &str) -> Result<MessageId, Error> {
        let id = MessageId::draw();
        self.send_as(&id, data, target).await?;
        Ok(id)
    }

    /// Sends to one member under an id of the caller's, who may do so again.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_as(&self, id: &MessageId, data: &[u8], target: &str) -> Result<(), Error> {
        self.post(id, data, &[target.to_owned()]).await
    }

    /// Sends to all other members that have an inbox, be they alive or not.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_all(&self, data: &[u8]) -> Result<MessageId, Error> {
        let id = MessageId::draw();
        self.send_all_as(&id, data).await?;
        Ok(id)
    }

    /// Sends to all others under an id of the caller's, who may do so again.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_all_as(&self, id: &MessageId, data: &[u8]) -> Result<(), Error> {
        loop {
            let mut others = self.members().await?;
            others.retain(|name| *name != self.name);
            match self.post(id, data, &others).await {
                // One of them has just been removed.
                Err(error) if error.is_no_node() => {}
                outcome => return outcome,
            }
        }
    }

    async fn post(&self, id: &MessageId, data: &[u8], targets: &[String]) -> Result<(), Error> {
        if targets.is_empty() {
            return Ok(());
        }
        let client = self.sessions.living().await?;
        let letter = encode(id, &self.name, data)?;
        let inbox = |target: &String| join(&join(&self.inboxes, target), KIND);
        commit_once(&client, &join(&self.path, "sending"), |transaction| {
            targets.iter().fold(transaction, |all, target| {
                all.create(
                    inbox(target),
                    letter.as_slice(),
                    &CreateOptions::persistent_sequential(),
                )
            })
        })
        .await
    }

    /// Waits for the next message that was not handed out yet.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn receive(&mut self) -> Result<Message, Error> {
        loop {
            let client = self.sessions.living().await?;
            match self.receive_from(&client).await {
                Err(Error::SessionExpired) => {}
                outcome => return outcome,
            }
        }
    }

    async fn receive_from(&mut self, client: &Client) -> Result<Message, Error> {
        let inbox = join(&self.inboxes, &self.name);
        loop {
            let (mut names, watch) = match client.get_children_watch(&inbox).await {
                Ok(found) => found,
                Err(error) => {
                    recovered(client, error).await?;
                    continue;
                }
            };
            self.received.nodes.retain(|name| names.contains(name));
            names.retain(|name| name.starts_with(KIND) && !self.received.nodes.contains(name));
            names.sort_unstable();
            for name in names {
                let path = join(&inbox, &name);
                let read = repeat(client, || client.get_data(&path)).await;
                let data = match read {
                    Ok((data, _)) => data,
                    Err(error) if error.is_no_node() => continue,
                    Err(error) => return Err(error),
                };
                self.received.nodes.insert(name);
                let Some((id, sender, data)) = decode(&data) else {
                    // No message of ours; nobody could ever say that it is done.
                    remove(client, &path).await?;
                    continue;
                };
                if !self.received.remember(&id) {
                    remove(client, &path).await?;
                    continue;
                }
                return Ok(Message { id, sender, data, client: client.clone(), path });
            }
            watch.await?;
        }
    }

    /// Removes a member's inbox with everything in it.
    ///
    /// # Errors
    /// `NotEmpty` if messages come in meanwhile; the server's refusal; the loss of the session.
    pub async fn remove_inbox(&self, name: &str) -> Result<(), Error> {
        let client = self.sessions.living().await?;
        let inbox = join(&self.inboxes, name);
        let names = match repeat(&client, || client.get_children(&inbox)).await {
            Err(error) if error.is_no_node() => return Ok(()),
            names => names?,
        };
        for name in names {
            remove(&client, &join(&inbox, &name)).await?;
        }
        remove(&client, &inbox).await
    }
}

impl Received {
    /// `false` if it was handed out before.
    fn remember(&mut self, id: &MessageId) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

fn encode(id: &MessageId, sender: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u16::try_from(sender.len())
        .map_err(|_| Error::InvalidArgument("a sender's name has at most 65,535 bytes"))?;
    let head = [&[VERSION], id.0.as_bytes(), &length.to_be_bytes()].concat();
    Ok([&head, sender.as_bytes(), data].concat())
}

fn decode(letter: &[u8]) -> Option<(MessageId, String, Vec<u8>)> {
    let rest = letter.strip_prefix(&[VERSION])?;
    let (id, rest) = rest.split_at_checked(ID_BYTES)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (sender, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some((MessageId(text(id)?), text(sender)?, data.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let id = MessageId::draw();
        let letter = encode(&id, "order1", b"data").expect("a short name");
        assert_eq!(decode(&letter), Some((id, "order1".to_owned(), b"data".to_vec())));
        for cut in 0..letter.len() - b"data".len() {
            assert_eq!(decode(&letter[..cut]), None, "{cut} bytes");
        }
    }

    #[test]
    fn an_id_is_handed_out_once() {
        let mut received = Received::default();
        let id = MessageId::draw();
        assert!(received.remember(&id));
        assert!(!received.remember(&id));
        for _ in 0..REMEMBERED {
            assert!(received.remember(&MessageId::draw()));
        }
        assert_eq!(received.ids.len(), REMEMBERED);
    }
}
