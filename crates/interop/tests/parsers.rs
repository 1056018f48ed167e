//! What programs that watch ZooKeeper make of the words. Their readers are strict: one line of another form, and
//! they give the whole answer up. Each reader here knows what one of them is known to ask for; Apache's answer
//! has to pass as well, or the reader is wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use oxikeeper_interop::client::RawClient;
use oxikeeper_interop::server::{Kind, Server};
use oxikeeper_proto::OpCode;
use oxikeeper_proto::request::WatchableRequest;

/// A server after one session with one watch and ten reads.
fn start(kind: Kind, dir: &Path) -> (Server, RawClient) {
    let server = Server::start(kind, dir, "");
    server.word("srst").expect("an answer");
    let mut client = RawClient::connect(server.address(), 10_000).expect("it serves");
    for _ in 0..10 {
        let watch = WatchableRequest { path: Some("/".into()), watch: true };
        client.call(OpCode::GetData, &watch).expect("a get");
    }
    (server, client)
}

fn with_both(check: impl Fn(&str, &Server)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for kind in [Kind::APACHE, Kind::Oxikeeper] {
        let (server, _client) = start(kind, &dir.path().join(kind.name()));
        check(&kind.name(), &server);
    }
}

/// The answer to a word once the server counts only the session and the word's own connection: those of the words
/// before are closed, but a busy server may not know it yet. The last answer if it never does.
fn two_connections(server: &Server, word: &str) -> String {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let text = server.word(word).expect("an answer");
        if text.contains("Connections: 2\n") || Instant::now() > patience {
            return text;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    text.split_once('.').is_some_and(|(whole, rest)| is_number(whole) && is_number(rest))
}

/// The lines of `srvr` behind the first, in the order in which Go's client expects them.
fn summary<'t>(
    mut lines: impl Iterator<Item = &'t str>,
) -> Result<BTreeMap<&'t str, &'t str>, String> {
    let keys = [
        "Latency min/avg/max",
        "Received",
        "Sent",
        "Connections",
        "Outstanding",
        "Zxid",
        "Mode",
        "Node count",
    ];
    let mut values = BTreeMap::new();
    for key in keys {
        let line = lines.next().ok_or_else(|| format!("no line for {key}"))?;
        let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
        let value = value.ok_or_else(|| format!("{line:?} instead of {key}"))?;
        let is_good = match key {
            "Latency min/avg/max" => {
                let parts: Vec<&str> = value.split('/').collect();
                parts.len() == 3
                    && is_number(parts[0])
                    && is_decimal(parts[1])
                    && is_number(parts[2])
            }
            "Zxid" => value
                .strip_prefix("0x")
                .is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok()),
            "Mode" => value.bytes().all(|byte| byte.is_ascii_lowercase()),
            _ => is_number(value),
        };
        if !is_good {
            return Err(format!("{line:?}"));
        }
        values.insert(key, value);
    }
    match lines.next() {
        None => Ok(values),
        Some(line) => Err(format!("{line:?} behind the last line")),
    }
}

/// `Zookeeper version: <word>, built on <date> <time> UTC`, with a number that is compared with 3.4.
fn version(line: &str) -> Result<(), String> {
    let (word, built) = line
        .strip_prefix("Zookeeper version: ")
        .and_then(|rest| rest.split_once(", built on "))
        .ok_or_else(|| format!("{line:?}"))?;
    let is_word = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    // Digits become 0: what remains is the form.
    let form: String = built.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let numbers: Vec<&str> = word.split('-').next().unwrap_or("").split('.').collect();
    let is_good = is_word
        && form == "0000-00-00 00:00 UTC"
        && numbers.len() == 3
        && numbers.iter().all(|number| is_number(number));
    if is_good { Ok(()) } else { Err(format!("{line:?}")) }
}

/// The client of Go, `srvr`: all lines in one pattern. (The date it wants is that of Apache before 3.5,
/// `MM/DD/YYYY`; the form checked here is that of 3.9.)
#[test]
fn go_reads_srvr() {
    with_both(|name, server| {
        let text = two_connections(server, "srvr");
        let mut lines = text.lines();
        version(lines.next().expect("a first line")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let values = summary(lines).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(values["Mode"], "standalone", "{name}");
        assert_eq!(values["Connections"], "2", "{name}");
        assert_eq!(values["Node count"], "5", "{name}");
    });
}

/// Datadog, `stat`: the version, `Clients:`, a line for each connection with address and counts, an empty line,
/// then the lines of `srvr` one by one.
#[test]
fn datadog_reads_stat() {
    with_both(|name, server| {
        let text = two_connections(server, "stat");
        let mut lines = text.lines();
        version(lines.next().expect("a first line")).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(lines.next(), Some("Clients:"), "{name}");
        let clients: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert_eq!(clients.len(), 2, "{name}: {text}");
        for client in clients {
            let fields = client.strip_prefix(" /127.0.0.1:").and_then(|rest| rest.split_once("]("));
            let (port, counts) = fields.unwrap_or_else(|| panic!("{name}: {client:?}"));
            let (port, interest) = port.split_once('[').expect("the interest in brackets");
            assert!(is_number(port) && is_number(interest), "{name}: {client:?}");
            let counts = counts.strip_suffix(')').expect("a closing bracket");
            let keys: Vec<&str> = counts
                .split(',')
                .filter_map(|count| count.split_once('='))
                .filter_map(|(key, value)| is_number(value).then_some(key))
                .collect();
            assert_eq!(keys, ["queued", "recved", "sent"], "{name}: {client:?}");
        }
        summary(lines).unwrap_or_else(|e| panic!("{name}: {e}"));
    });
}

/// Datadog takes only this for a server that lives: no newline behind it.
#[test]
fn datadog_reads_ruok() {
    with_both(|name, server| assert_eq!(server.word("ruok").as_deref(), Some("imok"), "{name}"));
}

/// Telegraf, `mntr`: a name of letters, digits, `_`, `.` and `-`, blanks, a value of the same. Datadog: two fields
/// with a tab between them.
fn mntr(name: &str, server: &Server) -> BTreeMap<String, String> {
    let text = server.word("mntr").expect("an answer");
    assert!(text.ends_with('\n'), "{name}");
    let mut values = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [key, value] = fields[..] else { panic!("{name}: {line:?}") };
        let key = key.strip_prefix("zk_").unwrap_or_else(|| panic!("{name}: {line:?}"));
        let is_of = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        assert!(is_of(key, "_.-"), "{name}: {line:?}");
        // Only the version goes on behind what its pattern takes.
        let value_read =
            if key == "version" { value.split(',').next().unwrap_or("") } else { value };
        assert!(is_of(value_read, "_.-"), "{name}: {line:?}");
        let before = values.insert(key.to_owned(), value.to_owned());
        assert_eq!(before, None, "{name}: {key} comes twice");
    }
    values
}

/// Names whose value says the same on both after the same work.
const EQUAL: &[&str] = &[
    "server_state",
    "znode_count",
    "watch_count",
    "ephemerals_count",
    "approximate_data_size",
    "global_sessions",
    "local_sessions",
    "num_alive_connections",
    "outstanding_requests",
    "packets_received",
    "packets_sent",
    "connection_rejected",
    "large_requests_rejected",
    "connection_drop_probability",
    "auth_failed_count",
    "digest_mismatches_count",
    "snap_count",
    "unrecoverable_error_count",
];

#[test]
fn mntr_has_apaches_names_and_types() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (apache, _held) = start(Kind::APACHE, &dir.path().join("apache"));
    let (ours, _held_too) = start(Kind::Oxikeeper, &dir.path().join("ours"));
    let [theirs, ours] = [("apache", &apache), ("ours", &ours)].map(|(name, of)| mntr(name, of));
    assert!(theirs.keys().eq(ours.keys()), "{:?}\n{:?}", theirs.keys(), ours.keys());
    for (name, value) in &ours {
        let Some(other) = theirs.get(name) else { continue };
        assert_eq!(value.contains('.'), other.contains('.'), "{name}: {value}, Apache {other}");
        assert_eq!(
            value.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()),
            other.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()),
            "{name}: {value}, Apache {other}"
        );
    }
    for name in EQUAL {
        assert_eq!(theirs.get(*name), ours.get(*name), "{name}");
    }
}
