//! Watches of the shell: who waits for which event, and how events are told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oxikeeper_client::{
    EventKind, OneShotWatch, State, WatchStream, WatchedEvent, WatcherType, Zxid,
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::output::Output;
use crate::text;

/// Tells events, unless `printwatches off`.
#[derive(Clone)]
pub struct Teller {
    output: Output,
    is_on: Arc<AtomicBool>,
    /// What was told last: one change that several watches of this shell have seen is one event, as in
    /// Apache's shell, whose watches all lead to one object.
    told: Arc<Mutex<VecDeque<(EventKind, String, Zxid)>>>,
}

/// How many events are remembered.
const TOLD_MAX: usize = 64;

impl Teller {
    /// One that is on.
    pub fn new(output: Output) -> Teller {
        let is_on = Arc::new(AtomicBool::new(true));
        Teller { output, is_on, told: Arc::default() }
    }

    /// Whether it tells.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Switches it.
    pub fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    /// What a watch has seen. Events of the session are told by whoever looks at its state.
    fn tell(&self, event: &WatchedEvent) {
        if !self.is_on() || event.kind == EventKind::Session || self.is_told(event) {
            return;
        }
        let name = text::event_name(event.kind);
        let lines = text::event_lines("SyncConnected", name, &event.path, event.zxid);
        self.output.event(&lines, || text::event_json(event));
    }

    fn is_told(&self, event: &WatchedEvent) -> bool {
        let Some(zxid) = event.zxid else { return false };
        let entry = (event.kind, event.path.clone(), zxid);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&entry) {
            return true;
        }
        if told.len() == TOLD_MAX {
            told.pop_front();
        }
        told.push_back(entry);
        false
    }

    /// The session has another state.
    pub fn tell_state(&self, state: State) {
        let Some(name) = text::event_state(state) else { return };
        if self.is_on() {
            let lines = text::event_lines(name, "None", "null", None);
            self.output.event(&lines, || json!({ "type": "None", "state": name }));
        }
    }

    /// A watch was removed.
    fn tell_removed(&self, watcher: WatcherType, path: &str) {
        let name = match watcher {
            WatcherType::Children => "ChildWatchRemoved",
            WatcherType::Data | WatcherType::Any => "DataWatchRemoved",
            WatcherType::Persistent | WatcherType::PersistentRecursive => "PersistentWatchRemoved",
        };
        if self.is_on() {
            let lines = text::event_lines("SyncConnected", name, path, None);
            self.output.event(&lines, || json!({ "type": name, "path": path }));
        }
    }
}

/// The watches that wait.
pub struct Watches {
    /// Tells what they see.
    pub teller: Teller,
    entries: Vec<Entry>,
}

struct Entry {
    path: String,
    watcher: WatcherType,
    task: JoinHandle<()>,
}

impl Watches {
    /// None yet.
    pub fn new(teller: Teller) -> Watches {
        Watches { teller, entries: Vec::new() }
    }

    /// Whether such a watch waits already.
    pub fn has(&mut self, path: &str, watcher: WatcherType) -> bool {
        self.entries.retain(|entry| !entry.task.is_finished());
        self.entries.iter().any(|entry| entry.path == path && entry.watcher == watcher)
    }

    /// A watch for one change.
    pub fn add_one_shot(&mut self, path: &str, watcher: WatcherType, watch: OneShotWatch) {
        let teller = self.teller.clone();
        self.add(path, watcher, async move {
            // It ends without an event when it is removed or the session is over.
            if let Ok(event) = watch.await {
                teller.tell(&event);
            }
        });
    }

    /// A watch that stays.
    pub fn add_stream(&mut self, path: &str, watcher: WatcherType, mut stream: WatchStream) {
        let teller = self.teller.clone();
        self.add(path, watcher, async move {
            while let Some(event) = stream.next().await {
                teller.tell(&event);
            }
        });
    }

    fn add(
        &mut self,
        path: &str,
        watcher: WatcherType,
        wait: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.has(path, watcher) {
            // One is enough, and dropping the other leaves what the server keeps for both.
            return;
        }
        let task = tokio::spawn(wait);
        self.entries.push(Entry { path: path.to_owned(), watcher, task });
    }

    /// Forgets watches that the session has forgotten, and tells so.
    pub fn remove(&mut self, path: &str, watcher: WatcherType) {
        let is_meant = |entry: &Entry| {
            entry.path == path && (watcher == WatcherType::Any || entry.watcher == watcher)
        };
        let (gone, kept) = self.entries.drain(..).partition(is_meant);
        self.entries = kept;
        let gone: Vec<Entry> = gone;
        for entry in gone {
            entry.task.abort();
            self.teller.tell_removed(entry.watcher, &entry.path);
        }
    }

    /// The session is over.
    pub fn clear(&mut self) {
        for entry in self.entries.drain(..) {
            entry.task.abort();
        }
    }
}
