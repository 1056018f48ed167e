//! Random watches and writes of several clients on two Fronts, judged by a model that is written
//! as section 7.2 of the client-protocol reference is: two tables, and one trigger rule.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_node::mail::ConnId;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{PathVersionRequest, SetDataRequest, SetWatches2Request};
use oxikeeper_proto::{Acl, Id, OpCode, Zxid};
use support::*;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

type Table = BTreeMap<(String, ConnId), BTreeSet<Mode>>;
/// What a client is to be sent: kind, path, zxid.
type Event = (i32, String, i64);

#[derive(Default)]
struct Model {
    data: Table,
    child: Table,
    /// Nodes that there are, and whether anybody may read them.
    nodes: BTreeMap<String, bool>,
    due: BTreeMap<ConnId, Vec<Event>>,
}

fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".into(),
        Some(at) => path[..at].into(),
    }
}

fn covers(ancestor: &str, path: &str) -> bool {
    ancestor == "/" || path == ancestor || path.starts_with(&format!("{ancestor}/"))
}

/// Whom an event at `path` concerns in one table; uses up what is standard.
fn triggered(table: &mut Table, path: &str) -> BTreeSet<ConnId> {
    let mut concerned = BTreeSet::new();
    for ((at, conn), modes) in table.iter_mut() {
        let here = at == path;
        let recursive = modes.contains(&Mode::Recursive) && covers(at, path);
        if here || recursive {
            concerned.insert(*conn);
        }
        if here {
            modes.remove(&Mode::Standard);
        }
    }
    table.retain(|_, modes| !modes.is_empty());
    concerned
}

impl Model {
    fn tell(&mut self, conns: BTreeSet<ConnId>, kind: i32, path: &str, zxid: i64, readable: bool) {
        for conn in conns.into_iter().filter(|_| readable) {
            self.due.entry(conn).or_default().push((kind, path.to_owned(), zxid));
        }
    }

    fn children_changed(&mut self, path: &str, zxid: i64) {
        let parent = parent(path);
        let readable = self.nodes[&parent];
        let conns = triggered(&mut self.child, &parent);
        self.tell(conns, 4, &parent, zxid, readable);
    }

    fn created(&mut self, path: &str, readable: bool, zxid: i64) {
        self.nodes.insert(path.to_owned(), readable);
        let conns = triggered(&mut self.data, path);
        self.tell(conns, 1, path, zxid, readable);
        self.children_changed(path, zxid);
    }

    fn data_set(&mut self, path: &str, zxid: i64) {
        let readable = self.nodes[path];
        let conns = triggered(&mut self.data, path);
        self.tell(conns, 3, path, zxid, readable);
    }

    fn deleted(&mut self, path: &str, zxid: i64) {
        let readable = self.nodes.remove(path).expect("it was there");
        let told = triggered(&mut self.data, path);
        let more = triggered(&mut self.child, path);
        let more = more.difference(&told).copied().collect();
        self.tell(told, 2, path, zxid, readable);
        self.tell(more, 2, path, zxid, readable);
        self.children_changed(path, zxid);
    }

    fn add(&mut self, in_data: bool, path: &str, conn: ConnId, mode: Mode) {
        let table = if in_data { &mut self.data } else { &mut self.child };
        table.entry((path.to_owned(), conn)).or_default().insert(mode);
    }

    fn add_watch(&mut self, path: &str, conn: ConnId, mode: Mode) {
        self.add(true, path, conn, mode);
        if mode == Mode::Persistent {
            self.add(false, path, conn, mode);
        }
    }

    fn has(&self, in_data: bool, path: &str, conn: ConnId, mode: Mode) -> bool {
        let table = if in_data { &self.data } else { &self.child };
        table.get(&(path.to_owned(), conn)).is_some_and(|modes| modes.contains(&mode))
    }

    fn found(&self, path: &str, conn: ConnId, kind: i32) -> bool {
        match kind {
            1 => self.has(false, path, conn, Mode::Standard),
            2 => self.has(true, path, conn, Mode::Standard),
            4 => self.has(true, path, conn, Mode::Persistent),
            5 => self.has(true, path, conn, Mode::Recursive),
            _ => [&self.data, &self.child].iter().any(|t| t.contains_key(&(path.into(), conn))),
        }
    }

    fn remove(&mut self, path: &str, conn: ConnId, kind: i32) {
        let key = (path.to_owned(), conn);
        let mut drop_mode = |in_data: bool, mode: Mode| {
            let table = if in_data { &mut self.data } else { &mut self.child };
            if let Some(modes) = table.get_mut(&key) {
                modes.remove(&mode);
                if modes.is_empty() {
                    table.remove(&key);
                }
            }
        };
        match kind {
            1 => drop_mode(false, Mode::Standard),
            2 => drop_mode(true, Mode::Standard),
            4 => {
                drop_mode(true, Mode::Persistent);
                drop_mode(false, Mode::Persistent);
            }
            5 => drop_mode(true, Mode::Recursive),
            _ => {
                self.data.remove(&key);
                self.child.remove(&key);
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        self.data.retain(|(_, at), _| *at != conn);
        self.child.retain(|(_, at), _| *at != conn);
        self.due.remove(&conn);
    }

    /// Paths times connections that have any watch.
    fn count(&self) -> usize {
        let keys: BTreeSet<_> = self.data.keys().chain(self.child.keys()).collect();
        keys.len()
    }
}

const PATHS: [&str; 9] =
    ["/a", "/b", "/ab", "/a/x", "/a/y", "/a/x/1", "/a/x/2", "/b/x", "/a/x/1/deep"];

struct Run {
    server: Server,
    model: Model,
    clients: Vec<ConnId>,
    dice: Dice,
    /// Events that came to each client in this step.
    came: BTreeMap<ConnId, Vec<Event>>,
    events: usize,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut server = Server::new(2);
        let clients = (0..4).map(|i| server.client(i % 2)).collect();
        let mut model = Model::default();
        model.nodes.insert("/".into(), true);
        let trace = vec![format!("seed {seed}")];
        Run { server, model, clients, dice: Dice(seed), came: BTreeMap::new(), events: 0, trace }
    }

    fn ask(&mut self, conn: ConnId, op: OpCode, body: &[u8], about: &str) -> Reply {
        let mut replies = self.server.ask_all(conn, op, body);
        let reply = replies.pop().expect("a reply");
        assert_ne!(reply.xid, -1, "the reply comes last");
        self.came.entry(conn).or_default().extend(replies.iter().map(event_of));
        self.trace.push(format!("{conn:?} {op:?} {about} -> {} at {}", reply.err, reply.zxid));
        reply
    }

    fn step(&mut self) {
        let conn = *self.dice.of(&self.clients);
        let path = *self.dice.of(&PATHS);
        match self.dice.below(20) {
            0..=3 => self.create(conn, path),
            4..=5 => self.delete(conn, path),
            6..=7 => self.set_data(conn, path),
            8 => self.multi(conn),
            9..=13 => self.read(conn, path),
            14..=15 => self.add_watch(conn, path),
            16 => self.remove_watches(conn, path),
            17 => self.set_watches(conn),
            18 => self.hang_up(conn),
            _ => {
                let reply = self.ask(conn, OpCode::Ping, &[], "");
                assert_eq!(reply.err, 0);
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        for &conn in &self.clients {
            let rest = self.server.replies(conn);
            self.came.entry(conn).or_default().extend(rest.iter().map(event_of));
            let came = self.came.remove(&conn).unwrap_or_default();
            self.events += came.len();
            let due = self.model.due.remove(&conn).unwrap_or_default();
            assert_eq!(came, due, "{conn:?} after:\n{}", self.trace.join("\n"));
        }
        let watches: usize = self.server.fronts.iter().map(|front| front.watch_count()).sum();
        assert_eq!(watches, self.model.count(), "after:\n{}", self.trace.join("\n"));
    }

    fn create(&mut self, conn: ConnId, path: &str) {
        let readable = self.dice.below(4) > 0;
        // Everything but READ.
        let acl = vec![Acl { perms: if readable { 31 } else { 30 }, id: Id::anyone() }];
        let body = create_with(path, b"", 0, &acl);
        let reply = self.ask(conn, OpCode::Create, &body, path);
        if reply.err == 0 {
            self.model.created(path, readable, reply.zxid);
        }
    }

    fn delete(&mut self, conn: ConnId, path: &str) {
        let reply = self.ask(conn, OpCode::Delete, &delete(path), path);
        if reply.err == 0 {
            self.model.deleted(path, reply.zxid);
        }
    }

    fn set_data(&mut self, conn: ConnId, path: &str) {
        let reply = self.ask(conn, OpCode::SetData, &set_data(path, b"x"), path);
        if reply.err == 0 {
            self.model.data_set(path, reply.zxid);
        }
    }

    /// A set and a delete at one zxid, or nothing at all.
    fn multi(&mut self, conn: ConnId) {
        let (set, gone) = (*self.dice.of(&PATHS), *self.dice.of(&PATHS));
        let ops = vec![
            MultiOp::SetData(SetDataRequest { path: Some(set.into()), data: None, version: -1 }),
            MultiOp::Delete(PathVersionRequest { path: Some(gone.into()), version: -1 }),
        ];
        let there = self.model.nodes.contains_key(set) && self.model.nodes.contains_key(gone);
        let below = format!("{gone}/");
        let childless = !self.model.nodes.keys().any(|node| node.starts_with(&below));
        let body = to_bytes(&MultiRequest { ops });
        let reply = self.ask(conn, OpCode::Multi, &body, &format!("set {set}, delete {gone}"));
        if there && childless {
            self.model.data_set(set, reply.zxid);
            self.model.deleted(gone, reply.zxid);
        }
    }

    fn read(&mut self, conn: ConnId, path: &str) {
        let op = *self.dice.of(&[OpCode::Exists, OpCode::GetData, OpCode::GetChildren]);
        let watch = self.dice.below(4) > 0;
        let reply = self.ask(conn, op, &read(path, watch), path);
        let expected = match self.model.nodes.get(path) {
            None => -101,
            Some(false) => -102,
            Some(true) => 0,
        };
        assert_eq!(reply.err, expected, "after:\n{}", self.trace.join("\n"));
        if watch && (reply.err == 0 || (op == OpCode::Exists && reply.err == -101)) {
            self.model.add(op != OpCode::GetChildren, path, conn, Mode::Standard);
        }
    }

    fn add_watch(&mut self, conn: ConnId, path: &str) {
        let path = if self.dice.below(8) == 0 { "/" } else { path };
        let recursive = self.dice.below(2);
        let about = format!("{path} mode {recursive}");
        let reply = self.ask(conn, OpCode::AddWatch, &path_and(path, recursive as i32), &about);
        assert_eq!(reply.err, 0);
        self.model.add_watch(path, conn, [Mode::Persistent, Mode::Recursive][recursive]);
    }

    fn remove_watches(&mut self, conn: ConnId, path: &str) {
        let kind = self.dice.below(5) as i32 + 1;
        let op = *self.dice.of(&[OpCode::CheckWatches, OpCode::RemoveWatches]);
        let about = format!("{path} type {kind}");
        let reply = self.ask(conn, op, &path_and(path, kind), &about);
        let found = self.model.found(path, conn, kind);
        assert_eq!(reply.err == 0, found, "after:\n{}", self.trace.join("\n"));
        if op == OpCode::RemoveWatches {
            self.model.remove(path, conn, kind);
        }
    }

    fn set_watches(&mut self, conn: ConnId) {
        let since = Zxid::new(self.dice.next() % (self.server.tree.last_zxid().raw() + 1));
        let mut lists: [Vec<&str>; 5] = Default::default();
        for list in &mut lists {
            for _ in 0..self.dice.below(3) {
                list.push(*self.dice.of(&PATHS));
            }
        }
        let names = |list: &[&'static str]| Some(list.iter().map(|&path| path.into()).collect());
        let request = SetWatches2Request {
            relative_zxid: since,
            data_watches: names(&lists[0]),
            exist_watches: names(&lists[1]),
            child_watches: names(&lists[2]),
            persistent_watches: names(&lists[3]),
            persistent_recursive_watches: names(&lists[4]),
        };
        let about = format!("since {since} {lists:?}");
        let reply = self.ask(conn, OpCode::SetWatches2, &to_bytes(&request), &about);
        assert_eq!(reply.err, 0);
        for (list, paths) in lists.iter().enumerate() {
            for path in paths {
                let node = self.server.tree.node(path).map(|node| node.stat());
                let event = match (list, node) {
                    (0 | 2, None) => Some(2),
                    (0, Some(stat)) => (stat.mzxid > since).then_some(3),
                    (1, Some(_)) => Some(1),
                    (2, Some(stat)) => (stat.pzxid > since).then_some(4),
                    _ => None,
                };
                match (event, list) {
                    (Some(kind), _) => {
                        let event = (kind, (*path).to_owned(), -1);
                        self.model.due.entry(conn).or_default().push(event);
                    }
                    (None, 0 | 1) => self.model.add(true, path, conn, Mode::Standard),
                    (None, 2) => self.model.add(false, path, conn, Mode::Standard),
                    (None, 3) => self.model.add_watch(path, conn, Mode::Persistent),
                    (None, _) => self.model.add_watch(path, conn, Mode::Recursive),
                }
            }
        }
    }

    /// The connection's watches go; a new connection takes its place, on the other Front at times.
    fn hang_up(&mut self, conn: ConnId) {
        self.trace.push(format!("{conn:?} hangs up"));
        self.server.hang_up(conn);
        self.model.forget(conn);
        let fresh = self.server.client(self.dice.below(2));
        let place = self.clients.iter().position(|&client| client == conn);
        self.clients[place.expect("a client")] = fresh;
    }
}

fn event_of(reply: &Reply) -> Event {
    let (kind, path) = reply.event().expect("only events come unasked");
    (kind, path, reply.zxid)
}

#[test]
fn events_are_those_of_the_model() {
    let mut events = 0;
    for seed in 0..150 {
        let mut run = Run::new(seed);
        for _ in 0..300 {
            run.step();
        }
        events += run.events;
    }
    assert!(events > 10_000, "the runs are full of events: {events}");
}
