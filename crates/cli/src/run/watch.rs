//! Watches that stay, and `watch`, which does nothing but wait for events.

use oxikeeper_client::{Client, EventKind, WatchMode, WatchedEvent, WatcherType};

use crate::fault::Fault;
use crate::output::Output;
use crate::shell::Shell;
use crate::text;

pub async fn add(
    shell: &mut Shell,
    client: &Client,
    path: &str,
    mode: WatchMode,
) -> Result<(), Fault> {
    let watcher = match mode {
        WatchMode::Persistent => WatcherType::Persistent,
        WatchMode::PersistentRecursive => WatcherType::PersistentRecursive,
    };
    if !shell.watches.has(path, watcher) {
        let stream = client.add_watch(path, mode).await;
        let stream = stream.map_err(|error| Fault::client(error, path))?;
        shell.watches.add_stream(path, watcher, stream);
    }
    Ok(())
}

pub async fn remove(
    shell: &mut Shell,
    client: &Client,
    path: &str,
    watcher: WatcherType,
    local: bool,
) -> Result<(), Fault> {
    let removed = client.remove_watches(path, watcher, local).await;
    removed.map_err(|error| Fault::client(error, path))?;
    shell.watches.remove(path, watcher);
    Ok(())
}

/// Prints events until there were enough, or the session is over.
pub async fn follow(
    output: &Output,
    client: &Client,
    path: &str,
    mode: WatchMode,
    count: Option<u64>,
) -> Result<(), Fault> {
    let stream = client.add_watch(path, mode).await;
    let mut stream = stream.map_err(|error| Fault::client(error, path))?;
    let mut left = count;
    while left != Some(0) {
        let Some(event) = stream.next().await else {
            let error = stream.end().cloned().unwrap_or(oxikeeper_client::Error::Closed);
            return Err(Fault::client(error, path));
        };
        let is_of_node = !matches!(event.kind, EventKind::Session | EventKind::Overflow);
        output.event(&line(&event), || text::event_json(&event));
        output.check()?;
        left = left.map(|left| left - u64::from(is_of_node));
    }
    Ok(())
}

/// `NodeDataChanged /a 0x5`; a session's state in the place of a path and a transaction.
fn line(event: &WatchedEvent) -> String {
    let name = text::event_name(event.kind);
    match (event.kind, event.zxid) {
        (EventKind::Session, _) => {
            format!("Session {}", text::event_state(event.state).unwrap_or("Connecting"))
        }
        (_, Some(zxid)) => format!("{name} {} {zxid}", event.path),
        (_, None) => format!("{name} {}", event.path),
    }
}
