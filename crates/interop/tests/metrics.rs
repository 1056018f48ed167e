//! The values of `mntr` beside Apache 3.9.5's: the same work on both servers, then what can be compared
//! is equal, and what depends on time, threads or batches has been counted by both.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_interop::client::{RawClient, put_frame};
use oxikeeper_interop::server::{Kind, Server};
use oxikeeper_proto::request::{
    CreateRequest, PathVersionRequest, RequestHeader, SetDataRequest, WatchableRequest,
};
use oxikeeper_proto::{AclEntry, Encode, OpCode, SessionId, Zxid};

/// Names whose values have to be equal; of summaries their count, sum, least and greatest.
const EQUAL: &[&str] = &[
    "approximate_data_size",
    "bytes_received_count",
    "connection_drop_count",
    "connection_rejected",
    "connection_request_count",
    "connection_revalidate_count",
    "ephemerals_count",
    "global_sessions",
    "outstanding_changes_queued",
    "outstanding_changes_removed",
    "packets_received",
    "stale_sessions_expired",
    "watch_bytes",
    "znode_count",
    "cnt_app_read_per_namespace",
    "sum_app_read_per_namespace",
    "min_app_read_per_namespace",
    "max_app_read_per_namespace",
    "cnt_app_write_per_namespace",
    "sum_app_write_per_namespace",
    "min_app_write_per_namespace",
    "max_app_write_per_namespace",
    "cnt_close_session_prep_time",
    "cnt_connection_token_deficit",
    "sum_connection_token_deficit",
    "cnt_propagation_latency",
    "cnt_node_changed_watch_count",
    "sum_node_changed_watch_count",
    "max_node_changed_watch_count",
    "cnt_node_children_watch_count",
    "sum_node_children_watch_count",
    "cnt_node_created_watch_count",
    "sum_node_created_watch_count",
    "cnt_node_deleted_watch_count",
    "sum_node_deleted_watch_count",
    "sum_sync_processor_batch_size",
];

/// Apache fills these and they stay 0 here, with the reason.
const NOT_HERE: &[(&str, &str)] = &[
    ("response_packet", "there is no cache of replies: they are encoded from the tree"),
    ("request_throttle_queue_time_ms", "throttled requests wait in their sockets"),
];

/// Statistics that say by their presence alone that something was counted.
fn is_count(name: &str) -> bool {
    !["avg_", "min_", "max_", "sum_", "p50_", "p95_", "p99_", "p999_"]
        .iter()
        .any(|statistic| name.starts_with(statistic))
}

fn create(client: &mut RawClient, path: &str, data: &[u8], flags: i32) {
    let acl = AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) };
    let acl = Some(vec![acl]);
    let create = CreateRequest { path: Some(path.into()), data: Some(data), acl, flags };
    client.call(OpCode::Create, &create).expect("a create");
}

fn set(client: &mut RawClient, path: &str, data: &[u8]) {
    let set = SetDataRequest { path: Some(path.into()), data: Some(data), version: -1 };
    client.call(OpCode::SetData, &set).expect("a set");
}

fn delete(client: &mut RawClient, path: &str) {
    let delete = PathVersionRequest { path: Some(path.into()), version: -1 };
    client.call(OpCode::Delete, &delete).expect("a delete");
}

fn read(client: &mut RawClient, op: OpCode, path: &str, watch: bool) {
    client.call(op, &WatchableRequest { path: Some(path.into()), watch }).expect("a read");
}

/// Writes, errors, reads, watches that fire, sessions that come back, end and expire.
fn work(server: &Server) -> Vec<RawClient> {
    let connect = || RawClient::connect(server.address(), 30_000).expect("it serves");
    let (mut a, mut b, mut herd) = (connect(), connect(), connect());
    create(&mut a, "/app", b"data", 0);
    create(&mut a, "/app/eph", b"e", 1);
    for number in 0..100 {
        set(&mut a, "/app", format!("{number}").as_bytes());
    }
    create(&mut a, "/app", b"", 0);
    set(&mut a, "/none", b"");
    delete(&mut a, "/none");
    for op in [OpCode::GetData, OpCode::Exists, OpCode::GetChildren, OpCode::GetChildren2] {
        (0..20).for_each(|_| read(&mut b, op, "/app", false));
        read(&mut b, op, "/none", false);
    }
    for client in [&mut b, &mut herd] {
        read(client, OpCode::GetData, "/app", true);
        read(client, OpCode::GetChildren, "/app", true);
        read(client, OpCode::Exists, "/app/later", true);
    }
    create(&mut a, "/app/later", b"later", 0);
    set(&mut a, "/app", b"changed");
    read(&mut b, OpCode::Exists, "/app/later", true);
    delete(&mut a, "/app/later");
    // A cut without an end of the session, and back; another that ends with an ephemeral.
    let (session, password) = (b.session, b.password);
    b.cut();
    let mut b = RawClient::open(server.address()).expect("it listens");
    b.handshake(session, &password, 30_000, Zxid::ZERO).expect("it is resumed");
    read(&mut b, OpCode::GetData, "/app", false);
    let mut ending = connect();
    create(&mut ending, "/app/with-it", b"", 1);
    let mut end = Vec::new();
    let header = RequestHeader { xid: 99, op: OpCode::CloseSession.to_wire() };
    put_frame(&mut end, |out| header.encode(out));
    ending.send(&end).expect("sent");
    ending.reply().expect("an answer");
    // One that expires.
    RawClient::connect(server.address(), 1000).expect("it serves").cut();
    // A session that nobody has.
    let mut stranger = RawClient::open(server.address()).expect("it listens");
    let refused = stranger.handshake(SessionId(77), &[1; 16], 30_000, Zxid::ZERO);
    assert_eq!(refused.expect("an answer").session, SessionId::NONE);
    vec![a, b, herd]
}

type Values = BTreeMap<String, f64>;

/// A server, and how often it was asked since it counts anew: a word is a packet of four bytes.
struct Asked {
    server: Server,
    words: u32,
}

impl Asked {
    /// The numbers of `mntr` by their names, without the packets that asked for them.
    fn values(&mut self) -> Values {
        self.words += 1;
        let text = self.server.word("mntr").expect("an answer");
        let value = |line: &str| {
            let (name, value) = line.split_once('\t')?;
            Some((name.strip_prefix("zk_")?.to_owned(), value.parse().ok()?))
        };
        let mut values: Values = text.lines().filter_map(value).collect();
        for (name, each) in [("packets_received", 1.0), ("bytes_received_count", 4.0)] {
            *values.get_mut(name).expect("one of the names") -= each * f64::from(self.words);
        }
        values
    }

    /// The values once the server has noticed how many connections and sessions are left.
    fn settled(&mut self, count: usize) -> Values {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.values();
            // The one that asks has no session.
            let (connections, sessions) = (seen["num_alive_connections"], seen["global_sessions"]);
            if connections == count as f64 + 1.0 && sessions == count as f64 {
                return seen;
            }
            assert!(Instant::now() < deadline, "{connections} connections, {sessions} sessions");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn reset(&mut self) {
        self.server.word("srst").expect("an answer");
        self.words = 0;
    }
}

/// What a server counts of the work, and what it counts when it has begun anew.
fn counted(kind: Kind, dir: &Path) -> [Values; 2] {
    let mut asked = Asked { server: Server::start(kind, dir, ""), words: 0 };
    // Whoever asked whether it serves has to be gone.
    asked.settled(0);
    asked.reset();
    let clients = work(&asked.server);
    let seen = asked.settled(clients.len());
    asked.reset();
    [seen, asked.settled(clients.len())]
}

#[test]
fn after_the_same_work_values_agree_with_apaches() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [ours, ours_anew] = counted(Kind::Oxikeeper, &dir.path().join("ours"));
    let [theirs, theirs_anew] = counted(Kind::APACHE, &dir.path().join("apache"));
    let mut wrong = Vec::new();
    for name in EQUAL {
        if ours.get(*name) != theirs.get(*name) {
            wrong.push(format!(
                "{name}: {:?} here, {:?} there",
                ours.get(*name),
                theirs.get(*name)
            ));
        }
    }
    for (name, there) in theirs.iter().filter(|(name, there)| is_count(name) && **there != 0.0) {
        let is_known = NOT_HERE.iter().any(|(part, _)| name.contains(part));
        match ours.get(name) {
            None => wrong.push(format!("{name}: {there} there, missing here")),
            Some(here) if (*here == 0.0) != is_known => {
                wrong.push(format!("{name}: {here} here, {there} there"));
            }
            Some(_) => {}
        }
    }
    // What begins anew with `srst` there does so here.
    for (name, there) in theirs_anew.iter().filter(|(name, _)| is_count(name)) {
        let is_reset = *there == 0.0 && theirs.get(name).is_some_and(|before| *before != 0.0);
        if is_reset && ours_anew.get(name).is_some_and(|here| *here != 0.0) {
            wrong.push(format!("{name}: srst leaves {:?}", ours_anew.get(name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
