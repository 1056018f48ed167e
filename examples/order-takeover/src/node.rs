//! An application process: takes orders over TCP, does them, and takes over those of a member that dies.
//!
//! It keeps nothing that matters in its memory. Every write is a transaction under the fence of the lock that stands for
//! the orders of its owner, so that a process whose session has expired, be it dead or only stopped,
//! can change nothing any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use oxikeeper_client::recipe::{Fence, Group, Lock, Messenger, Sessions, connected};
use oxikeeper_client::{Client, CreateOptions, Error, TransactionBuilder};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::narrate;
use crate::order::{Order, Step};
use crate::paths::{LEDGER, MEMBERS, MESSAGES, ORDERS, OWNERS};

/// How long an order takes to be done once it is taken.
const WORK: Duration = Duration::from_millis(150);
/// How long `think` takes between the decision and the write.
const THOUGHT: Duration = Duration::from_millis(400);

/// What its tasks share.
struct Node {
    name: String,
    sessions: Sessions,
    messenger: Messenger,
    /// Under which the own orders are written; none while another session has to be begun.
    fence: watch::Receiver<Option<Fence>>,
}

/// Runs one until it is killed.
pub async fn run(name: &str, connect: &str, session_timeout: Duration) -> Result<(), Error> {
    let builder = Client::builder(connect).session_timeout(session_timeout);
    let sessions = Sessions::start(builder)?;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback");
    let port = listener.local_addr().expect("it is bound").port();
    let messenger = Messenger::open(&sessions, MESSAGES, name).await?;
    let inbox = Messenger::open(&sessions, MESSAGES, name).await?;
    let (publish, fence) = watch::channel(None);
    let node =
        Arc::new(Node { name: name.to_owned(), sessions: sessions.clone(), messenger, fence });
    // Its own name's lock first: who is listed as a member can take orders.
    tokio::spawn(own(Arc::clone(&node), publish));
    node.fence.clone().wait_for(Option::is_some).await.map_err(|_| Error::Closed)?;
    let group = Group::join(&sessions, MEMBERS, name, port.to_string()).await?;
    narrate!("{name} listens on port {port}");
    tokio::spawn(serve(Arc::clone(&node), listener));
    tokio::spawn(work(Arc::clone(&node)));
    tokio::spawn(read_messages(name.to_owned(), inbox));
    watch_members(&node, &group).await
}

/// Holds the lock of its own name, again after an expiry.
async fn own(node: Arc<Node>, publish: watch::Sender<Option<Fence>>) -> Result<(), Error> {
    loop {
        let client = node.sessions.living().await?;
        let lock = Lock::new(&client, format!("{OWNERS}/{}", node.name)).label(node.name.as_str());
        let guard = match lock.acquire().await {
            Ok(guard) => guard,
            Err(Error::SessionExpired) => continue,
            Err(error) => return Err(error),
        };
        narrate!("{} owns its orders, token {}", node.name, guard.token());
        publish.send_replace(Some(guard.fence().clone()));
        guard.over().await;
        narrate!("{} has learnt that its session had expired", node.name);
        publish.send_replace(None);
    }
}

/// Takes over from members that go, and from those that were gone before it came.
async fn watch_members(node: &Node, group: &Group) -> Result<(), Error> {
    let mut changes = group.changes();
    loop {
        // What fails is tried again at the next change, or after a while.
        let outcome = look_after(node, group).await;
        let pause = if outcome.is_ok() { Duration::MAX } else { WORK };
        if let Ok(changed) = tokio::time::timeout(pause, changes.next()).await {
            changed?;
        }
    }
}

async fn look_after(node: &Node, group: &Group) -> Result<(), Error> {
    let members = group.members();
    for (id, (order, _)) in orders(&node.sessions.living().await?).await? {
        let owner = &order.owner;
        let is_ours = *owner == node.name || members.contains_key(owner);
        if order.step == Step::Created && !is_ours {
            narrate!("{} sees that {owner} is gone, with {id} undone", node.name);
            return take_over(node, owner).await;
        }
    }
    Ok(())
}

/// Under the lock of the dead one's name: from then on its own token is an old one.
async fn take_over(node: &Node, from: &str) -> Result<(), Error> {
    let client = node.sessions.living().await?;
    let guard = Lock::new(&client, format!("{OWNERS}/{from}")).acquire().await?;
    narrate!("{} owns the orders of {from}, token {}", node.name, guard.token());
    let mut taken = Vec::new();
    for (id, (order, version)) in orders(&client).await? {
        if order.owner != from || order.step == Step::Done {
            continue;
        }
        let ours = Order { owner: node.name.clone(), step: Step::Created, ..order };
        let record = commit(&client, guard.fence(), |transaction| {
            transaction.set_data(path(&id), ours.to_string(), version)
        });
        match record.await {
            // Nobody else writes it while we hold the lock: our own try, whose answer was lost.
            Err(error) if error.is_bad_version() => {}
            outcome => outcome?,
        }
        narrate!("{} records {id}: {ours}", node.name);
        taken.push(id);
    }
    let text = format!("{} has taken over {} from {from}", node.name, taken.join(" "));
    node.messenger.send_all(text.as_bytes()).await?;
    narrate!("TAKEN {} orders from {from}", taken.len());
    guard.release().await
}

/// Commits under a fence, and again when the answer was lost: whoever calls finds out by versions and ids what is
/// there already.
async fn commit(
    client: &Client,
    fence: &Fence,
    fill: impl Fn(TransactionBuilder) -> TransactionBuilder,
) -> Result<(), Error> {
    loop {
        match fill(fence.through(client).transaction()).commit().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() => connected(client).await?,
            Err(error) => return Err(error),
        }
    }
}

/// All orders, with the versions of their nodes.
async fn orders(client: &Client) -> Result<BTreeMap<String, (Order, i32)>, Error> {
    let mut found = BTreeMap::new();
    for id in client.get_children(ORDERS).await? {
        let (data, stat) = client.get_data(&path(&id)).await?;
        if let Some(order) = Order::parse(&data) {
            found.insert(id, (order, stat.version));
        }
    }
    Ok(found)
}

fn path(id: &str) -> String {
    format!("{ORDERS}/{id}")
}

/// Does its orders one by one: the state and the entry in the ledger change in one transaction, or not at all.
async fn work(node: Arc<Node>) -> Result<(), Error> {
    loop {
        tokio::time::sleep(WORK / 4).await;
        let Some(fence) = node.fence.borrow().clone() else { continue };
        let client = node.sessions.living().await?;
        let Ok(orders) = orders(&client).await else { continue };
        for (id, (order, version)) in orders {
            if order.owner != node.name || order.step == Step::Done {
                continue;
            }
            tokio::time::sleep(WORK / 4).await;
            let done = Order { step: Step::Done, ..order };
            let entry = format!("{id} {}", node.name);
            // Its fate is known by the order's state: the next round looks again.
            let _ = fence
                .through(&client)
                .transaction()
                .set_data(path(&id), done.to_string(), version)
                .create(format!("{LEDGER}/entry-"), entry, &CreateOptions::persistent_sequential())
                .commit()
                .await;
        }
    }
}

async fn read_messages(name: String, mut inbox: Messenger) -> Result<(), Error> {
    loop {
        let message = inbox.receive().await?;
        narrate!("{name} reads: \"{}\"", String::from_utf8_lossy(&message.data));
        message.done().await?;
    }
}

async fn serve(node: Arc<Node>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let node = Arc::clone(&node);
        tokio::spawn(async move { converse(&node, stream).await });
    }
}

/// One request a line, one answer a line.
async fn converse(node: &Node, stream: TcpStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match answer(node, &words).await {
            Ok(text) => format!("ok {text}\n"),
            Err(error) => format!("error {error}\n"),
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn answer(node: &Node, words: &[&str]) -> Result<String, Error> {
    let fence = node.fence.borrow().clone().ok_or(Error::SessionExpired)?;
    let client = node.sessions.living().await?;
    match *words {
        ["place", id, quantity] => {
            let quantity = quantity.parse().unwrap_or(1);
            let order = Order { owner: node.name.clone(), step: Step::Created, quantity };
            let text = order.to_string();
            let created = commit(&client, &fence, |transaction| {
                transaction.create(path(id), text.as_str(), &CreateOptions::persistent())
            });
            match created.await {
                Ok(()) => Ok(text),
                // Placed before, through somebody who could not answer any more.
                Err(error) if error.is_node_exists() => {
                    let (data, _) = client.get_data(&path(id)).await?;
                    Ok(String::from_utf8_lossy(&data).into_owned())
                }
                Err(error) => Err(error),
            }
        }
        ["update", id, quantity] => update(&client, &fence, id, quantity).await,
        ["think", id, quantity] => think(node, &client, &fence, id, quantity).await,
        _ => Err(Error::InvalidArgument("no such request")),
    }
}

async fn changed(client: &Client, id: &str, quantity: &str) -> Result<(Order, Order, i32), Error> {
    let (data, stat) = client.get_data(&path(id)).await?;
    let order = Order::parse(&data).ok_or(Error::BadReply("no order"))?;
    let quantity = quantity.parse().unwrap_or(order.quantity);
    Ok((order.clone(), Order { quantity, ..order }, stat.version))
}

async fn update(client: &Client, fence: &Fence, id: &str, quantity: &str) -> Result<String, Error> {
    loop {
        let (now, wanted, version) = changed(client, id, quantity).await?;
        if now == wanted {
            return Ok(wanted.to_string());
        }
        let set = commit(client, fence, |transaction| {
            transaction.set_data(path(id), wanted.to_string(), version)
        });
        match set.await {
            Ok(()) => return Ok(wanted.to_string()),
            // It was done meanwhile, or this is our own try, whose answer was lost: look again.
            Err(error) if error.is_bad_version() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Decides, thinks, and writes without another look, whatever the version is by then: as a process does that
/// is stopped in between. Only the fence stands between it and the order.
async fn think(
    node: &Node,
    client: &Client,
    fence: &Fence,
    id: &str,
    quantity: &str,
) -> Result<String, Error> {
    let (_, wanted, _) = changed(client, id, quantity).await?;
    narrate!("{} has decided to write {id}: {wanted}", node.name);
    tokio::time::sleep(THOUGHT).await;
    let set =
        |transaction: TransactionBuilder| transaction.set_data(path(id), wanted.to_string(), -1);
    let mut outcome = commit(client, fence, set).await;
    while let Err(Error::SessionExpired) = outcome {
        tokio::task::yield_now().await;
        // Even with a new session: the node that the fence checks is gone.
        outcome = commit(&node.sessions.living().await?, fence, set).await;
    }
    if let Err(error) = &outcome {
        let refused = if fence.is_refusal(error) { "REFUSED" } else { "failed" };
        narrate!("{refused}: {} writes {id} with token {}: {error}", node.name, fence.token());
    }
    outcome.map(|()| wanted.to_string())
}
