//! A walk over a subtree with many requests on their way: parents before children, siblings in order.

use std::collections::VecDeque;

use oxikeeper_client::{Acl, Client, Error, Reply, Stat};

use crate::fault::Fault;

/// Requests on their way at a time.
pub const WINDOW: usize = 512;
/// Bytes of data that may be on their way at a time, as far as statistics tell beforehand.
const WINDOW_BYTES: usize = 16 << 20;

/// What is wanted of each node besides its place and statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its data.
    pub data: bool,
    /// Its ACL.
    pub acl: bool,
    /// Nodes deeper than this are left out; the root of the walk has depth 0.
    pub depth: Option<usize>,
    /// Whether `/zookeeper`, the server's own, is left out of a walk from the root.
    pub without_system: bool,
}

/// A node that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its whole path.
    pub path: String,
    /// How deep below the root of the walk.
    pub depth: usize,
    /// Its statistics.
    pub stat: Stat,
    /// The names of its children, sorted.
    pub children: Vec<String>,
    /// Its data, if wanted: `None` also for a node without.
    pub data: Option<Vec<u8>>,
    /// Its ACL, if wanted.
    pub acl: Vec<Acl>,
}

/// A walk. Nodes that go while it is under way are passed over, but for the root of the walk.
///
/// Memory: the paths that were listed and not yet asked about, and the replies of a window.
pub struct Walk {
    client: Client,
    wanted: Wanted,
    /// Known, and not asked about yet.
    listed: VecDeque<(String, usize)>,
    /// Asked for children and statistics.
    asked: VecDeque<Asked>,
    /// Known but for their details, in order.
    met: VecDeque<Result<(Met, Details), Fault>>,
    /// Bytes of data that the nodes in `met` have.
    bytes: usize,
}

struct Asked {
    path: String,
    depth: usize,
    reply: Reply<(Vec<String>, Stat)>,
}

/// Requests for what is wanted besides.
struct Details {
    data: Option<Reply<(Option<Vec<u8>>, Stat)>>,
    acl: Option<Reply<(Vec<Acl>, Stat)>>,
}

impl Walk {
    /// Begins at a node.
    pub fn new(client: &Client, root: &str, wanted: Wanted) -> Walk {
        Walk {
            client: client.clone(),
            wanted,
            listed: VecDeque::from([(root.to_owned(), 0)]),
            asked: VecDeque::new(),
            met: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The next node; `None` at the end. After an error the walk may go on: that node is left out, with
    /// what is below it.
    pub async fn next(&mut self) -> Option<Result<Met, Fault>> {
        loop {
            self.ask();
            if self.is_front_due() {
                let (met, details) = match self.met.pop_front()? {
                    Ok(known) => known,
                    Err(fault) => return Some(Err(fault)),
                };
                self.bytes -= data_bytes(&met);
                match complete(met, details).await {
                    Ok(None) => continue,
                    Ok(Some(met)) => return Some(Ok(met)),
                    Err(fault) => return Some(Err(fault)),
                }
            }
            let Asked { path, depth, reply } = self.asked.pop_front()?;
            match reply.await {
                Ok((children, stat)) => self.meet(path, depth, children, stat),
                Err(error) if error.is_no_node() && depth > 0 => {}
                Err(error) => self.met.push_back(Err(Fault::client(error, &path))),
            }
        }
    }

    /// Fills the window of requests.
    fn ask(&mut self) {
        while self.asked.len() + self.met.len() < WINDOW {
            let Some((path, depth)) = self.listed.pop_front() else { return };
            let reply = self.client.get_children_and_stat(&path);
            self.asked.push_back(Asked { path, depth, reply });
        }
    }

    /// Whether the front of `met` is to be given out now: there is nothing to wait for, or no room for
    /// more, or nothing more to come.
    fn is_front_due(&self) -> bool {
        let is_ready = match self.met.front() {
            Some(Ok((_, details))) => details.data.is_none() && details.acl.is_none(),
            Some(Err(_)) => true,
            None => false,
        };
        is_ready
            || self.asked.is_empty()
            || self.met.len() >= WINDOW / 2
            || self.bytes >= WINDOW_BYTES
    }

    fn meet(&mut self, path: String, depth: usize, mut children: Vec<String>, stat: Stat) {
        children.sort_unstable();
        if path == "/" && self.wanted.without_system {
            children.retain(|name| name != "zookeeper");
        }
        if self.wanted.depth.is_none_or(|max| depth < max) {
            let below = children.iter().map(|name| (join(&path, name), depth + 1));
            self.listed.extend(below);
        }
        let Wanted { data, acl, .. } = self.wanted;
        let details = Details {
            data: data.then(|| self.client.get_data_raw(&path)),
            acl: acl.then(|| self.client.get_acl(&path)),
        };
        let met = Met { path, depth, stat, children, data: None, acl: Vec::new() };
        self.bytes += data_bytes(&met);
        self.met.push_back(Ok((met, details)));
    }
}

fn data_bytes(met: &Met) -> usize {
    usize::try_from(met.stat.data_length).unwrap_or(0)
}

/// Waits for the details. `None` if the node has gone in between.
async fn complete(mut met: Met, details: Details) -> Result<Option<Met>, Fault> {
    let gone = |error: &Error, depth: usize| error.is_no_node() && depth > 0;
    if let Some(reply) = details.data {
        match reply.await {
            Ok((data, stat)) => (met.data, met.stat) = (data, stat),
            Err(error) if gone(&error, met.depth) => return Ok(None),
            Err(error) => return Err(Fault::client(error, &met.path)),
        }
    }
    if let Some(reply) = details.acl {
        match reply.await {
            Ok((acl, _)) => met.acl = acl,
            Err(error) if gone(&error, met.depth) => return Ok(None),
            Err(error) => return Err(Fault::client(error, &met.path)),
        }
    }
    Ok(Some(met))
}

/// The path of a child.
pub fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// A path as seen from `root`: empty for the root itself, else it begins with a slash.
pub fn relative<'a>(root: &str, path: &'a str) -> &'a str {
    if root == "/" {
        if path == "/" { "" } else { path }
    } else {
        path.strip_prefix(root).unwrap_or(path)
    }
}

/// The other way round.
pub fn absolute(root: &str, relative: &str) -> String {
    match (root, relative) {
        (_, "") => root.to_owned(),
        ("/", _) => relative.to_owned(),
        _ => format!("{root}{relative}"),
    }
}

/// Orders paths as a drawn tree has them: a node, then all below it, siblings by name.
pub fn tree_order(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

/// Writes with many on their way, in the order in which they were given.
pub struct Pipeline<T> {
    waiting: VecDeque<(String, Reply<T>)>,
    window: usize,
}

impl<T> Pipeline<T> {
    /// With at most so many on their way.
    pub fn new(window: usize) -> Pipeline<T> {
        Pipeline { waiting: VecDeque::new(), window }
    }

    /// Adds one that is on its way, and waits for the oldest when there are too many.
    pub async fn push(
        &mut self,
        path: String,
        reply: Reply<T>,
    ) -> Option<(String, Result<T, Error>)> {
        self.waiting.push_back((path, reply));
        if self.waiting.len() < self.window { None } else { self.next().await }
    }

    /// Waits for the oldest; `None` when none is on its way.
    pub async fn next(&mut self) -> Option<(String, Result<T, Error>)> {
        let (path, reply) = self.waiting.pop_front()?;
        Some((path, reply.await))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_seen_from_a_root() {
        for (root, path, seen) in
            [("/", "/", ""), ("/", "/a/b", "/a/b"), ("/a", "/a", ""), ("/a", "/a/b", "/b")]
        {
            assert_eq!(relative(root, path), seen);
            assert_eq!(absolute(root, seen), path);
        }
        assert_eq!((join("/", "a"), join("/a", "b")), ("/a".to_owned(), "/a/b".to_owned()));
    }

    #[test]
    fn children_stand_below_their_parents() {
        let mut paths = ["/a-b", "/a/z", "/a", "/", "/a/b/c", "/a/b"];
        paths.sort_by(|left, right| tree_order(left).cmp(&tree_order(right)));
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a/z", "/a-b"]);
    }
}
