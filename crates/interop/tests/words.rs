//! The four-letter words beside Apache 3.9.5: the same workload on both servers, then every word on
//! both. What differs between two runs of one server is masked; the rest has to be equal.

use std::path::Path;

use oxikeeper_interop::client::RawClient;
use oxikeeper_interop::server::{Kind, Server};
use oxikeeper_proto::request::{CreateRequest, SetDataRequest, WatchableRequest};
use oxikeeper_proto::{AclEntry, OpCode};

const SETTINGS: &str = "4lw.commands.whitelist=*\nmaxClientCnxns=77\nminSessionTimeout=5000\nmaxSessionTimeout=120000\n";

/// What two servers may say differently, as `(word, beginning of the line, reason)`: the rest of such
/// a line is not compared.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("conf", "clientPort=", "each has its own"),
    ("conf", "dataDir", "each has its own, and files of its own length"),
    ("conf", "dataLog", "each has its own, and files of its own length"),
    ("dirs", "datadir_size: ", "our log files are prepared as a whole, Apache's sparsely"),
    ("dirs", "logdir_size: ", "our log files are prepared as a whole, Apache's sparsely"),
    ("srvr", "Zookeeper version: ", "the version"),
    ("stat", "Zookeeper version: ", "the version"),
    ("srvr", "Latency min/avg/max: ", "times"),
    ("stat", "Latency min/avg/max: ", "times"),
    ("envi", "", "the process and its machine; the keys are compared by their own test"),
];

fn create(client: &mut RawClient, path: &str, flags: i32) {
    let acl = AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) };
    let data = Some(&b"data"[..]);
    let create = CreateRequest { path: Some(path.into()), data, acl: Some(vec![acl]), flags };
    client.call(OpCode::Create, &create).expect("a create");
}

/// A server with two sessions, an ephemeral, watches of all kinds, and a few hundred transactions.
fn start(kind: Kind, dir: &Path) -> (Server, Vec<RawClient>) {
    let server = Server::start(kind, dir, SETTINGS);
    // How often it was asked whether it serves is chance.
    server.word("srst").expect("an answer");
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
    clients[0].call(OpCode::Exists, &watch("/app")).expect("an exists");
    clients[0].call(OpCode::GetChildren2, &watch("/app/eph")).expect("a list");
    (server, clients)
}

/// The text with everything masked that differs between two runs.
fn masked(word: &str, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Which bucket of time somebody falls into is chance, and Apache prints empty ones too.
    for line in text.split('\n').filter(|line| !line.contains(" expire at ")) {
        let different =
            DIFFERENT.iter().find(|(of, begin, _)| *of == word && line.starts_with(begin));
        lines.push(match different {
            Some((_, begin, _)) => format!("{begin}..."),
            None => mask_line(line),
        });
    }
    // Apache keeps sessions, watches and connections in hash maps.
    lines.sort();
    lines
}

/// Masks ports, session ids, dates, digests and the times of a connection.
fn mask_line(line: &str) -> String {
    if let Some((what, members)) = line
        .split_once(" Sets (")
        .and_then(|(what, counts)| Some((what, counts.split_once("/(")?.1)))
    {
        return format!("{what} Sets of ({members}");
    }
    let mut masked = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let times = ["est=", "lresp=", "llat=", "avglat=", "maxlat=", "minlat="];
        if let Some(key) = times.iter().find(|key| rest.starts_with(*key)) {
            masked.push_str(key);
            rest = rest[key.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(behind) = rest.strip_prefix("127.0.0.1:") {
            masked.push_str("127.0.0.1:port");
            rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(behind) = rest.strip_prefix("0x") {
            let digits = behind.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(behind.len());
            // A session's id is long, a zxid or cxid of this test is not.
            masked.push_str(if digits > 8 { "0xsession" } else { &rest[..digits + 2] });
            rest = &behind[digits..];
        } else {
            let next = rest.chars().next().expect("not empty");
            masked.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    // The digest behind a zxid of `hash` depends on the times of the transactions.
    match masked.split_once(": ") {
        Some((zxid, digest))
            if digest.trim_start_matches('-').parse::<u64>().is_ok()
                && u64::from_str_radix(zxid, 16).is_ok() =>
        {
            format!("{zxid}: digest")
        }
        _ => masked,
    }
}

#[test]
fn every_word_is_answered_as_apache_answers_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (apache, _held) = start(Kind::APACHE, &dir.path().join("apache"));
    let (ours, _held_too) = start(Kind::Oxikeeper, &dir.path().join("ours"));
    let words = [
        "ruok", "isro", "conf", "cons", "dirs", "dump", "gtmk", "srvr", "stat", "wchs", "wchc",
        "wchp", "hash", "crst", "cons", "srst", "srvr", "stmk", "RUOK",
    ];
    for word in words {
        let [theirs, ours] = [&apache, &ours].map(|server| server.word(word).unwrap_or_default());
        assert_eq!(
            masked(word, &theirs),
            masked(word, &ours),
            "{word}\n--- Apache\n{theirs}\n--- ours\n{ours}"
        );
    }
    let hash = ours.word("hash").expect("an answer");
    assert!(hash.starts_with("80: "), "{hash}");
}
