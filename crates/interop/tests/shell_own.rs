//! The commands of our shell that Apache's lacks, on our server and on Apache's: one subtree is drawn,
//! searched, measured, carried away as a file, copied and compared, and a watch tells what happens to it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxikeeper_interop::client::RawClient;
use oxikeeper_interop::exchange::{create, open};
use oxikeeper_interop::server::{Kind, Server, oxikeeper_bin};
use serde_json::{Value, json};

const SETTINGS: &str = "";

/// The outcome of one command.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(server: SocketAddr, line: &str) -> Command {
    let mut command = Command::new(oxikeeper_bin());
    command.args(["shell", "-s", &server.to_string()]).args(line.split_whitespace());
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

fn say(server: SocketAddr, line: &str) -> Said {
    let output = command(server, line).output().expect("the shell can be run");
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// What a command says that has to succeed.
fn done(server: SocketAddr, line: &str) -> String {
    let said = say(server, line);
    assert_eq!(said.code, Some(0), "{line}: {said:?}");
    said.out
}

/// The same as JSON.
fn result(server: SocketAddr, line: &str) -> Value {
    let text = done(server, &format!("--output json {line}"));
    let value: Value = serde_json::from_str(&text).expect("a line of JSON");
    assert!(value.get("error").is_none(), "{line}: {value}");
    value["result"].clone()
}

/// What a command says that has to fail, on standard error.
fn refused(server: SocketAddr, line: &str) -> String {
    let said = say(server, line);
    assert_eq!(said.code, Some(1), "{line}: {said:?}");
    said.err.trim_end().to_owned()
}

fn lines(server: SocketAddr, text: &str) {
    let mut shell = command(server, "").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let shell = shell.as_mut().expect("the shell can be run");
    let mut stdin = shell.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(shell.wait().expect("it ends").success(), "{text}");
}

fn both(test: impl Fn(SocketAddr, &Path)) {
    for kind in [Kind::Oxikeeper, Kind::APACHE] {
        println!("against {}", kind.name());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(kind, &dir.path().join("server"), SETTINGS);
        test(server.address(), dir.path());
    }
}

/// `/app` with an ephemeral node that lives as long as the client.
fn stocked(server: SocketAddr) -> RawClient {
    lines(
        server,
        "create /app root\n\
         create /app/a one\n\
         create /app/a/b two world:anyone:cdra\n\
         create /app/c \"three words\"\n\
         create /app/empty\n",
    );
    let mut client = RawClient::connect(server, 60_000).expect("it serves");
    create(&mut client, "/app/e", 1, open());
    client
}

#[test]
fn a_subtree_is_drawn_searched_and_measured() {
    both(|server, _| {
        let _client = stocked(server);
        let drawn = "/app\n├── a\n│   └── b\n├── c\n├── e\n└── empty\n";
        assert_eq!(done(server, "tree /app"), drawn);
        assert_eq!(done(server, "tree -d 1 /app/a"), "/app/a\n└── b\n");
        assert!(done(server, "tree -s -d 1 /app").contains("├── c  11 bytes\n"));
        assert_eq!(done(server, "find -name b* /app"), "/app/a/b\n");
        assert_eq!(done(server, "find -data two /app"), "/app/a/b\n");
        assert_eq!(done(server, "find -ephemeral /app"), "/app/e\n");
        assert_eq!(done(server, "find -empty -d 1 /app"), "/app/empty\n");
        let measured = result(server, "du /app");
        assert_eq!(measured[0], json!({"path": "/app", "bytes": 27, "nodes": 6}));
        assert_eq!(measured[1], json!({"path": "/app/a", "bytes": 6, "nodes": 2}));
        let text = done(server, "du /app/a");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words[..5], ["6", "bytes", "2", "nodes", "/app/a"]);
        assert!(refused(server, "tree /none").contains("/none"));
    });
}

#[test]
fn a_subtree_is_exported_imported_copied_and_compared() {
    both(|server, dir| {
        let _client = stocked(server);
        let file = dir.join("app.json");
        let file = file.display();
        assert_eq!(
            done(server, &format!("export /app {file}")).trim_end(),
            "6 nodes written to app.json".replace("app.json", &file.to_string())
        );
        let made = "5 created, 0 overwritten, 1 ephemeral left out\n";
        assert_eq!(done(server, &format!("import {file} /imported")), made);
        assert_eq!(done(server, "cp -r /app /copy"), made);
        assert_eq!(done(server, "diff -a /imported /copy"), "");
        let differs = say(server, "diff -a /app /copy");
        assert_eq!((differs.code, differs.out.as_str()), (Some(1), "- /e\n"));
        // With their data too, and as ordinary nodes, when that is wished.
        let outcome = result(server, "cp -r -e /app /whole");
        assert_eq!(outcome, json!({"created": 6, "overwritten": 0, "ephemeralLeftOut": 0}));
        let differs = say(server, "diff -a /app /whole").out;
        assert_eq!(differs, "~ /e: ephemeral -> lasting\n");
        assert_eq!(result(server, "get /whole/e")["stat"]["ephemeralOwner"], "0x0");

        // What is there is not touched unless that is wished, and then only with the right to.
        assert!(refused(server, &format!("import {file} /copy")).contains("/copy"));
        done(server, "set /copy/c changed");
        done(server, "create /copy/extra x");
        let text = say(server, "diff /app /copy").out;
        assert_eq!(text, "~ /c: data 11 bytes -> 7 bytes\n+ /extra\n- /e\n");
        assert!(refused(server, "cp -r -f /app /copy").contains("/copy/a/b"), "it may not be set");
        done(server, "cp -r -f /app/c /copy/c");
        assert_eq!(done(server, "diff /app/c /copy/c"), "");

        let document = result(server, "export /app/c");
        assert_eq!(document["nodes"][0]["data"], "three words");
        assert_eq!(document["root"], "/app/c");
        for (name, text) in [
            ("torn", "{\"format\":\"oxikeeper-export/1\",\"root\":\"/app\",\"nodes\":["),
            ("foreign", "{\"format\":\"other\",\"root\":\"/app\",\"nodes\":[]}"),
            (
                "orphan",
                "{\"format\":\"oxikeeper-export/1\",\"root\":\"/app\",\"nodes\":[{\"path\":\"/x/y\",\"data\":\"\",\"acl\":[]}]}",
            ),
        ] {
            let bad = dir.join(name);
            std::fs::write(&bad, text).expect("a file");
            refused(server, &format!("import {} /bad", bad.display()));
            assert!(refused(server, "get /bad").contains("/bad"), "nothing was created of {name}");
        }
    });
}

/// From one ensemble to another one of the other kind, with data that is no text and thousands of nodes.
#[test]
fn a_subtree_goes_to_another_ensemble() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ours = Server::start(Kind::Oxikeeper, &dir.path().join("ours"), SETTINGS);
    let apaches = Server::start(Kind::APACHE, &dir.path().join("apaches"), SETTINGS);
    let file = dir.path().join("big.json");
    let mut nodes = vec![json!({"path": "", "data": null, "acl": [anyone()]})];
    for n in 0..3000 {
        let node = json!({"path": format!("/n{n}"), "data": "/wA=", "encoding": "base64", "acl": [anyone()]});
        nodes.push(node);
    }
    let document = json!({"format": "oxikeeper-export/1", "root": "/big", "nodes": nodes});
    std::fs::write(&file, document.to_string()).expect("a file");
    let outcome = result(ours.address(), &format!("import {}", file.display()));
    assert_eq!(outcome["created"], 3001);
    assert_eq!(result(ours.address(), "get /big/n7")["data"], "/wA=");
    let again = dir.path().join("again.json");
    done(ours.address(), &format!("export /big {}", again.display()));
    assert_eq!(result(apaches.address(), &format!("import {}", again.display()))["created"], 3001);
    let across = format!("diff -a -server {} /big /big", apaches.address());
    assert_eq!(done(ours.address(), &across), "");
    done(apaches.address(), "delete /big/n2999");
    let differs = say(ours.address(), &across);
    assert_eq!((differs.code, differs.out.as_str()), (Some(1), "- /n2999\n"));
}

fn anyone() -> Value {
    json!({"scheme": "world", "id": "anyone", "perms": "cdrwa"})
}

/// A process that is ended with the test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watch_tells_what_happens_below() {
    both(|server, dir| {
        done(server, "create /w x");
        let told = dir.join("told");
        let file = std::fs::File::create(&told).expect("a file");
        let watching = command(server, "watch -r -n 4 /w").stdout(file).spawn();
        let mut watching = Watching(watching.expect("the shell can be run"));
        // It says nothing before the first event: writes go on until it has seen one.
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut n = 0;
        while watching.0.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "four events come");
            done(server, &format!("create /w/n{n} x"));
            n += 1;
        }
        let text = std::fs::read_to_string(&told).expect("what it told");
        let seen: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(seen.len(), 4, "{text}");
        for (event, before) in seen.iter().skip(1).zip(&seen) {
            assert_eq!(event[0], "NodeCreated");
            let number = |path: &str| path["/w/n".len()..].parse::<u32>().expect("a number");
            assert_eq!(number(event[1]), number(before[1]) + 1, "none is passed over");
        }
    });
}
