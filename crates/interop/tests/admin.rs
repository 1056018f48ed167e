//! The AdminServer beside Apache 3.9.5: the same workload on both servers, then every command on
//! both. Names and JSON types have to be equal, and the values too unless a table says why not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use oxikeeper_interop::client::RawClient;
use oxikeeper_interop::port::free_port;
use oxikeeper_interop::server::{Kind, Server};
use oxikeeper_proto::request::{CreateRequest, SetDataRequest, WatchableRequest};
use oxikeeper_proto::{AclEntry, OpCode};
use serde_json::Value;

/// Commands in an order in which none changes what a later one tells, but for the resets at the end.
const COMMANDS: &[&str] = &[
    "configuration",
    "connections",
    "dirs",
    "dump",
    "environment",
    "get_trace_mask",
    "hash",
    "initial_configuration",
    "is_read_only",
    "last_snapshot",
    "leader",
    "monitor",
    "observers",
    "ruok",
    "server_stats",
    "stats",
    "set_trace_mask",
    "set_trace_mask?traceMask=100",
    "gtmk",
    "voting_view",
    "watch_summary",
    "watches",
    "watches_by_path",
    "zabstate",
    "conf",
    "cons",
    "envi",
    "icfg",
    "isro",
    "lsnp",
    "lead",
    "mntr",
    "obsr",
    "srvr",
    "stat",
    "wchs",
    "wchc",
    "wchp",
    "no-such-command",
    "ruok/",
    "observer_connection_stat_reset",
    "connection_stat_reset",
    "stat_reset",
];

/// Values that differ, as `(part of the path, reason)`. Names and types are equal all the same.
const DIFFERENT: &[(&str, &str)] = &[
    ("port", "each has its own"),
    ("dir", "each has its own, and files of its own length"),
    ("initial_configuration", "each has its own"),
    ("session", "ids are drawn from the time"),
    ("path_to_session_ids", "ids are drawn from the time"),
    ("remote_socket_address", "each client has its own"),
    ("established", "the time"),
    ("last_response_time", "the time"),
    ("latency", "the time"),
    ("uptime", "the time"),
    ("timestamp", "the time"),
    ("expiry_time", "the time"),
    ("version", "the version"),
    ("digests", "digests cover times"),
    ("file_descriptor_count", "the process"),
    ("monitor", "times and stages; the others are compared by metrics.rs"),
    ("environment", "the process and its machine"),
];

/// Of `monitor` these are compared by value all the same.
const MONITOR_EQUAL: &[&str] = &[
    "approximate_data_size",
    "ephemerals_count",
    "global_sessions",
    "local_sessions",
    "num_alive_connections",
    "outstanding_requests",
    "packets_received",
    "packets_sent",
    "znode_count",
    "last_client_response_size",
    "max_client_response_size",
    "min_client_response_size",
    "server_state",
    "connection_rejected",
];

struct Started {
    admin: SocketAddr,
    _clients: Vec<RawClient>,
    _server: Server,
}

fn create(client: &mut RawClient, path: &str, flags: i32) {
    let acl = AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) };
    let data = Some(&b"data"[..]);
    let create = CreateRequest { path: Some(path.into()), data, acl: Some(vec![acl]), flags };
    client.call(OpCode::Create, &create).expect("a create");
}

fn start(kind: Kind, dir: &Path) -> Started {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let settings = format!(
        "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={}\n\
         maxClientCnxns=77\nminSessionTimeout=5000\nmaxSessionTimeout=120000",
        admin.port()
    );
    let server = Server::start(kind, dir, &settings);
    // How often it was asked whether it serves is chance.
    server.word("srst").expect("an answer");
    // They send nothing more, and the other server may take its time to start.
    let mut clients: Vec<RawClient> =
        (0..2).map(|_| RawClient::connect(server.address(), 120_000).expect("it serves")).collect();
    create(&mut clients[0], "/app", 0);
    create(&mut clients[0], "/app/eph", 1);
    for _ in 0..300 {
        let set = SetDataRequest { path: Some("/app".into()), data: Some(b"x"), version: -1 };
        clients[0].call(OpCode::SetData, &set).expect("a set");
    }
    let watch = |path: &'static str| WatchableRequest { path: Some(path.into()), watch: true };
    clients[1].call(OpCode::GetData, &watch("/app")).expect("a get");
    clients[1].call(OpCode::Exists, &watch("/app/later")).expect("an exists");
    // Apache forgets who asked whether it serves a little after it has closed that connection.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let list = http(admin, "GET", "/commands/connections", "").2;
        let list: Value = serde_json::from_slice(&list).expect("JSON");
        if list["connections"].as_array().is_some_and(|list| list.len() == clients.len()) {
            break;
        }
        assert!(Instant::now() < deadline, "{list}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Started { admin, _clients: clients, _server: server }
}

/// Status, headers in lower case, body.
fn http(to: SocketAddr, method: &str, path: &str, header: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(to).expect("the AdminServer listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n"
    )
    .expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, head, bytes.split_off(end))
}

/// Every value of an answer by its path. Keys that are numbers are ids or times and shown as `#`.
fn flat(path: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
    match value {
        // Which sessions expire with the same tick depends on when they began.
        Value::Object(ticks) if path.ends_with("/expiry_time_to_session_ids") => {
            out.insert(format!("{path}{{}}"), Value::Null);
            let ids = |tick: &Value| tick.as_array().cloned().expect("a list of ids");
            flat(&format!("{path}/#"), &ticks.values().flat_map(ids).collect(), out);
        }
        Value::Object(fields) => {
            out.insert(format!("{path}{{}}"), Value::Null);
            for (key, value) in fields {
                let key = if key.parse::<i64>().is_ok() { "#" } else { key };
                flat(&format!("{path}/{key}"), value, out);
            }
        }
        Value::Array(values) => {
            out.insert(format!("{path}[]"), Value::Null);
            // Apache keeps connections in a hash map.
            let mut values = values.clone();
            values.sort_by_key(|value| value["packets_received"].as_i64());
            for (index, value) in values.iter().enumerate() {
                flat(&format!("{path}/{index}"), value, out);
            }
        }
        value => drop(out.insert(path.to_owned(), value.clone())),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "text",
        Value::Array(_) | Value::Object(_) => "nested",
    }
}

fn may_differ(path: &str) -> bool {
    if let Some(name) = path.strip_prefix("monitor/").or_else(|| path.strip_prefix("mntr/"))
        && MONITOR_EQUAL.contains(&name)
    {
        return false;
    }
    let path = path.replace("mntr/", "monitor/").replace("envi/", "environment/");
    let path = path.replace("icfg/", "initial_configuration/");
    DIFFERENT.iter().any(|(part, _)| path.contains(part))
}

/// What differs between the two answers to a command.
fn differences(command: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    let (mut mine, mut other) = (BTreeMap::new(), BTreeMap::new());
    flat(command, ours, &mut mine);
    flat(command, theirs, &mut other);
    let mut found = Vec::new();
    for path in mine.keys().chain(other.keys().filter(|path| !mine.contains_key(*path))) {
        match (mine.get(path), other.get(path)) {
            (Some(a), Some(b)) if kind_of(a) != kind_of(b) => {
                found.push(format!("{path}: {a} here, {b} there"));
            }
            (Some(a), Some(b)) if a != b && !may_differ(path) => {
                found.push(format!("{path}: {a} here, {b} there"));
            }
            (Some(_), Some(_)) => {}
            (here, _) => {
                let side = if here.is_some() { "here" } else { "there" };
                found.push(format!("{path}: only {side}"));
            }
        }
    }
    found
}

#[test]
fn every_command_answers_as_apaches() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ours = start(Kind::Oxikeeper, &dir.path().join("ours"));
    let apache = start(Kind::APACHE, &dir.path().join("apache"));
    let mut found = Vec::new();
    for command in COMMANDS {
        let path = format!("/commands/{command}");
        let [mine, theirs] = [&ours, &apache].map(|server| http(server.admin, "GET", &path, ""));
        assert_eq!(mine.0, theirs.0, "the status of {command}");
        let [a, b] = [&mine, &theirs].map(|answer| {
            assert!(answer.1.contains("content-type: application/json"), "{}", answer.1);
            serde_json::from_slice::<Value>(&answer.2).expect("JSON")
        });
        found.extend(differences(command, &a, &b));
    }
    // Words that scripts look for stand in lines of their own, in this order at the end.
    let ruok = http(ours.admin, "GET", "/commands/ruok", "").2;
    assert_eq!(ruok, http(apache.admin, "GET", "/commands/ruok", "").2);
    for list in ["/commands", "/commands/"] {
        let bodies = [&ours, &apache].map(|server| http(server.admin, "GET", list, "").2);
        assert!(
            bodies[0] == bodies[1],
            "the list of commands: {}",
            String::from_utf8_lossy(&bodies[0])
        );
    }
    // Methods and authentication; `last` is the part of the body's JSON that has to be equal.
    let digest = "Authorization: digest user:password\r\n";
    for (method, path, header) in [
        ("GET", "/", ""),
        ("GET", "/commandsx", ""),
        ("HEAD", "/commands/ruok", ""),
        ("PUT", "/commands/ruok", ""),
        ("DELETE", "/commands/ruok", ""),
        ("TRACE", "/commands/ruok", ""),
        ("OPTIONS", "/commands/ruok", ""),
        ("GET", "/commands/snapshot", ""),
        ("GET", "/commands/snap", ""),
        ("POST", "/commands/restore", ""),
        ("GET", "/commands/snapshot", "Authorization: digest\r\n"),
        ("GET", "/commands/snapshot", "Authorization: digest  user:password\r\n"),
        ("GET", "/commands/snapshot", "Authorization: nonsense user:password\r\n"),
        ("GET", "/commands/snapshot?streaming=false", digest),
    ] {
        let [mine, theirs] =
            [&ours, &apache].map(|server| http(server.admin, method, path, header));
        let what = format!("{method} {path} {header}");
        assert_eq!(mine.0, theirs.0, "the status of {what}");
        if path.starts_with("/commands/s") || path.starts_with("/commands/r") {
            assert_eq!(
                String::from_utf8_lossy(&mine.2),
                String::from_utf8_lossy(&theirs.2),
                "the body of {what}"
            );
        }
        let zxid = |head: &str| head.contains("last_zxid: 0x");
        assert_eq!(zxid(&mine.1), zxid(&theirs.1), "{what}: {}", mine.1);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
