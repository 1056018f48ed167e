//! The guarded resource: whoever holds something enters and leaves it, under its token. It refuses a token that is smaller
//! than one it has seen, and where two are inside who must not be, it asks the ensemble whether the nodes of
//! both are there: then both held at the same time, and that is a violation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oxikeeper_client::Client;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One who is inside.
#[derive(Clone, Debug)]
struct Inside {
    connection: u64,
    token: u64,
    path: String,
    is_alone: bool,
}

/// What one kind of thing has seen.
#[derive(Debug, Default)]
struct Kind {
    inside: Vec<Inside>,
    largest: u64,
    entered: u64,
}

/// What all have seen.
#[derive(Debug, Default)]
pub struct Seen {
    kinds: BTreeMap<String, Kind>,
    /// Times that two were inside, one of whom was none any more.
    pub overlaps: u64,
    /// Tokens that were refused.
    pub stale: u64,
    /// Holders that were stopped for longer than their session may be silent.
    pub woken: u64,
    /// What must not be.
    pub violations: Vec<String>,
}

impl Seen {
    /// How often each kind was entered.
    pub fn entered(&self) -> BTreeMap<&str, u64> {
        self.kinds.iter().map(|(kind, seen)| (kind.as_str(), seen.entered)).collect()
    }
}

/// The resource, with its own client of the ensemble.
#[derive(Clone)]
pub struct Resource {
    seen: Arc<Mutex<Seen>>,
    client: Client,
}

impl Resource {
    /// Listens on a free port of the loopback, and says which.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(client: Client) -> std::io::Result<(Resource, u16)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let resource = Resource { seen: Arc::default(), client };
        let door = resource.clone();
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let door = door.clone();
                tokio::spawn(async move {
                    // However it ends, whoever was inside is not any more.
                    let _ = door.converse(connection, stream).await;
                    for kind in door.seen().kinds.values_mut() {
                        kind.inside.retain(|inside| inside.connection != connection);
                    }
                });
            }
        });
        Ok((resource, port))
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn converse(&self, connection: u64, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = match *words {
                ["enter", kind, capacity, token, path] => {
                    let token = token.parse().unwrap_or(0);
                    let capacity = capacity.parse().unwrap_or(1);
                    self.enter(connection, kind, capacity, token, path).await
                }
                ["exit", kind] => self.exit(connection, kind).await,
                ["woken", path, is_valid] => {
                    self.seen().woken += 1;
                    if is_valid == "true" && !self.is_there(path).await {
                        self.seen().violations.push(format!("{path} is gone, its guard is valid"));
                    }
                    "ok"
                }
                _ => "what?",
            };
            write.write_all(format!("{answer}\n").as_bytes()).await?;
        }
        Ok(())
    }

    /// Capacity 0: with others who say 0; else so many at once.
    async fn enter(
        &self,
        connection: u64,
        kind: &str,
        capacity: usize,
        token: u64,
        path: &str,
    ) -> &'static str {
        let ours = Inside { connection, token, path: path.to_owned(), is_alone: capacity == 1 };
        let Some(others) = self.admit(kind, capacity, ours) else {
            if self.is_there(path).await {
                self.seen().violations.push(format!("{kind}: {path} holds with an old token"));
            }
            return "stale";
        };
        if others.is_empty() || others.len() < capacity {
            return "ok";
        }
        self.seen().overlaps += 1;
        let mut there = usize::from(self.is_there(path).await);
        for other in &others {
            there += usize::from(self.is_there(&other.path).await);
        }
        if there > capacity.max(1) {
            let text = format!("{kind}: {path} ({token}) holds beside {others:?}");
            self.seen().violations.push(text);
        }
        "ok"
    }

    /// The last thing that a holder does under its token: refused too if somebody else has held since.
    async fn exit(&self, connection: u64, kind: &str) -> &'static str {
        let left = {
            let mut seen = self.seen();
            let known = seen.kinds.entry(kind.to_owned()).or_default();
            let largest = known.largest;
            let at = known.inside.iter().position(|inside| inside.connection == connection);
            let left = at.map(|at| known.inside.swap_remove(at));
            let left = left.filter(|left| left.is_alone && left.token < largest);
            seen.stale += u64::from(left.is_some());
            left
        };
        let Some(left) = left else { return "ok" };
        if self.is_there(&left.path).await {
            let text = format!("{kind}: {} holds beside a later one", left.path);
            self.seen().violations.push(text);
        }
        "stale"
    }

    /// Lets somebody in, and says who is inside that should not be. `None`: the token is an old one.
    fn admit(&self, kind: &str, capacity: usize, ours: Inside) -> Option<Vec<Inside>> {
        let mut seen = self.seen();
        let known = seen.kinds.entry(kind.to_owned()).or_default();
        if ours.is_alone && ours.token < known.largest {
            seen.stale += 1;
            return None;
        }
        if ours.is_alone {
            known.largest = ours.token;
        }
        known.entered += 1;
        let conflicts = |other: &&Inside| capacity > 1 || ours.is_alone || other.is_alone;
        let others = known.inside.iter().filter(conflicts).cloned().collect();
        known.inside.push(ours);
        Some(others)
    }

    /// Whether a node is there, by a server that is up to date.
    async fn is_there(&self, path: &str) -> bool {
        loop {
            let synced = self.client.sync(path).await;
            match self.client.exists(path).await {
                Ok(stat) if synced.is_ok() => return stat.is_some(),
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }
}
