//! Apache's shell and ours carry out one script of all commands, good and bad, on the same server, one
//! after the other. What they say is compared line by line, with what differs from run to run masked;
//! where they differ on purpose stands in one table, and an entry of it that is not needed fails too.

use std::process::Command;

use oxikeeper_interop::server::{Kind, Server, oxikeeper_bin, repository};
use oxikeeper_interop::shells::{Said, Shell, Whose};

/// All commands, in the state that those before have left.
const SCRIPT: &str = r#"
create /s root
create /s again
create
create /s/a data
create /s/a/b/c x
create noslash x
create /s/ x
create //s x
create /s/../x
create -e /s/e x
create /s/e/c x
create -s /s/q y
create -s -e /s/qe y
create -c /s/c
create -c -s /s/c2
create -t 60000 /s/t ttl
create -t abc /s/t2 ttl
create -t 0 /s/t2
create -t 1000 -e /s/t3
create -t 1000 -c /s/t3
create -s -t 60000 /s/tt ttl
create -x /s/u
create /s/nodata
create /s/empty ""
create /s/acl1 d world:anyone:r
create /s/acl2 d world:anyone
create /s/acl5 d digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=:cdrwa
create /s/acl6 d auth::cdrwa
create /s/quoted "two words"
create /s/quoted2 'it is "x"'
create /s/q3 "a"b
create /s/q5 "unclosed
create /s/more a world:anyone:cdrwa extra
get /s/q3
get /s/q5
get /s/quoted2
get /s/nodata
get /s/empty
get /s
get
get -s /s/e
get -b /s
get -x /s
get -sb /s
get /none
get -z /s
get noslash
ls /s
ls
ls -s /s
ls -R /s
ls -R /s/a
ls /none
ls -R /none
ls /s/
set /s d1
set /s d2 -v 0
set -v 1 /s d3
set -s /s d4
set -v 99 /s d4
set /s
set
set /none x
set /s d5 99
set -b /s aGVsbG8=
get /s
set -b /s abc
stat /s
stat
stat /none
sync /s
sync
sync /none
sync noslash
getAcl /s
getAcl -s /s
getAcl
getAcl /none
getAcl /s/acl5
get /s/acl5
ls /s/acl5
set /s/acl5 x
stat /s/acl5
setAcl /s world:anyone:cdrwa
setAcl -v 99 /s world:anyone:cdrwa
setAcl -s /s world:anyone:cdrwa
setAcl /s
setAcl /s bad
setAcl /s nonsense:x:r
setAcl -R /s/a ip:127.0.0.1:cdrwa,world:anyone:cdrwa
getAcl /s/a
setAcl /none world:anyone:r
setAcl -R /none world:anyone:r
addauth
addauth digest bob:pw
get /s/acl5
whoami
getEphemerals
getEphemerals /s
getEphemerals /none
getEphemerals noslash
getAllChildrenNumber /s
getAllChildrenNumber
getAllChildrenNumber /none
get -w /s
set /s w1
set /s w2
ls -w /s
create /s/w
stat -w /s/w
delete /s/w
ls /s watch
get /s watch
stat /s watch
create /s/w
set /s w3
delete /s/w
addWatch -m PERSISTENT /s/a
set /s/a p1
set /s/a p2
create /s/a/w
delete /s/a/w
removewatches /s/a
set /s/a p3
addWatch -m PERSISTENT_RECURSIVE /s/t
create /s/t/x
set /s/t/x 1
delete /s/t/x
removewatches /s/t -r
create /s/t/x
addWatch -m WRONG /s
addWatch
removewatches /s
removewatches /none
removewatches
removewatches /s -c
removewatches /s -q
listquota /s
listquota
listquota /none
setquota
setquota -n 5 /s
setquota -n 10 -b 20 /s
setquota -N 50 /s
setquota -B 5 /s
setquota -b abc /s
setquota -n -3 /s
setquota -n 0 /s
setquota -b -1 /s
setquota -n 3 /none
setquota -n 3 /s/a
setquota -n 3 /zookeeper/quota
setquota -n
setquota /s
listquota /s
delquota -n /s
delquota -n -b /s
delquota -x /s
listquota /s
delquota /s
listquota /s
delquota /s
delquota /none
delquota
delquota -n /s
setquota -n 100 /s/a/w2
create /s/a/w2
setquota -n 100 /s/a/w2
setquota -n 100 /s
delquota /s/a/w2
config
config -c
config -s
config -z
reconfig
reconfig -add server.2=127.0.0.1:1:2;3
reconfig -members a -add b
reconfig -file /none -members x
reconfig -members x
reconfig -s
reconfig -remove
version
version extra
printwatches
printwatches off
set /s quiet
printwatches on
redo 9999
delete
delete /s
delete -v 9 /s/a
delete /s/nodata 0
delete /s/none
delete noslash
delete -v 0
delete -q /s
deleteall
deleteall /none
deleteall -b x /s/more
deleteall -b 2 /s/more
help
LS /
   ls   /s/t
close
ls /
connect
ls /s
addauth digest bob:pw
deleteall /s
ls /s
"#;

/// Commands that differ on purpose, and why: the rows of `docs/COMPATIBILITY.md`.
const DIFFERENT: &[(&str, &str)] = &[
    ("create -x /s/u", "the name of a Java class is left out"),
    ("create /s/acl2 d world:anyone", "two lines, not three: the code is in the last one"),
    ("create /s/acl6 d auth::cdrwa", "the code stands in the second line"),
    ("create /s/q3 \"a\"b", "two lines, not three: the code is in the last one"),
    ("get -z /s", "the name of a Java class is left out"),
    ("setquota", "the name of a Java class is left out"),
    ("setquota -n 10 -b 20 /s", "the name of a Java class is left out"),
    ("setquota -n", "the name of a Java class is left out"),
    ("setquota /s", "the name of a Java class is left out"),
    ("delquota -n -b /s", "the name of a Java class is left out"),
    ("delquota -x /s", "the name of a Java class is left out"),
    ("removewatches /s -q", "the name of a Java class is left out"),
    ("config -z", "the name of a Java class is left out"),
    ("reconfig -remove", "the name of a Java class is left out"),
    ("delete -q /s", "the name of a Java class is left out"),
    ("help", "there is one"),
    ("LS /", "the usage lists our commands too"),
];

/// Single commands as arguments.
const SINGLE: &[&[&str]] = &[
    &["ls", "/"],
    &["get", "/none"],
    &["nosuch"],
    &["create"],
    &["create", "/one", "two words"],
    &["get", "/one"],
    &["delete", "/one"],
    &["-waitforconnection", "-timeout", "20000", "stat", "/none"],
    &["-unknown", "getAllChildrenNumber", "/"],
    &["quit"],
    &["set", "-v", "abc", "/", "x"],
    &["setquota", "-n", "-3", "/one"],
    &["create", "/unreadable", "d", "world:anyone:x"],
    &["delete", "/unreadable"],
    &["create", "/two"],
    &["delete", "/two", "7"],
];

/// As [`DIFFERENT`].
const SINGLE_DIFFERENT: &[(&str, &str)] = &[
    ("nosuch", "the usage lists our commands too"),
    ("set -v abc / x", "a line, not a stack trace"),
    ("setquota -n -3 /one", "what was not done ends with 1"),
    ("delete /unreadable", "it was not created here"),
    ("delete /two 7", "the old form's version is taken: Apache's passes over it"),
    ("create /unreadable d world:anyone:x", "refused: Apache's makes a node that nobody can read"),
];

/// What differs from run to run.
fn masked(line: &str) -> String {
    let names = ["cZxid", "mZxid", "pZxid", "ctime", "mtime"];
    if let Some((name, value)) = line.split_once(" = ")
        && (names.contains(&name) || name == "ephemeralOwner" && value != "0x0")
    {
        return format!("{name} = ...");
    }
    if line.starts_with("ZooKeeper CLI version: 3.9.5-") {
        return "ZooKeeper CLI version: 3.9.5-...".to_owned();
    }
    match line.split_once(" zxid: ") {
        Some((event, zxid)) => {
            format!("{event} zxid: {}", if zxid == "-1" { "-1" } else { "..." })
        }
        None => line.to_owned(),
    }
}

/// Lines as they are compared. "Not connected" comes on another stream here, and Apache's says it behind
/// commands that need no connection too.
fn lines(command: &str, text: &str) -> Vec<String> {
    let kept = text.lines().filter(|line| {
        *line != "Not connected"
            && !line.starts_with("Connecting to ")
            && *line != "Welcome to ZooKeeper!"
            && *line != "JLine support is disabled"
    });
    let mut lines: Vec<String> = kept.map(masked).collect();
    if command == "whoami" {
        lines.sort();
    }
    if command.starts_with("getEphemerals") {
        for line in &mut lines {
            let mut paths: Vec<&str> = line.trim_matches(['[', ']']).split(", ").collect();
            paths.sort_unstable();
            *line = format!("[{}]", paths.join(", "));
        }
    }
    lines
}

fn shown(said: &Said) -> String {
    let stream = |mark: &str, text: &str| -> String {
        text.lines().map(|line| format!("    {mark} {line}\n")).collect()
    };
    let code = said.code.map_or_else(String::new, |code| format!("    code {code}\n"));
    stream("out", &said.stdout) + &stream("err", &said.stderr) + &code
}

/// Compares, and tells what was not expected.
struct Comparison {
    table: &'static [(&'static str, &'static str)],
    used: Vec<&'static str>,
    faults: String,
    compared: usize,
}

impl Comparison {
    fn new(table: &'static [(&'static str, &'static str)]) -> Comparison {
        Comparison { table, used: Vec::new(), faults: String::new(), compared: 0 }
    }

    fn compare(&mut self, command: &str, apache: &Said, ours: &Said) {
        self.compared += 1;
        let face =
            |said: &Said| (lines(command, &said.stdout), lines(command, &said.stderr), said.code);
        let entry = self.table.iter().find(|(listed, _)| *listed == command);
        let is_same = face(apache) == face(ours);
        if let Some((listed, reason)) = entry {
            self.used.push(listed);
            println!(
                "> {command}\n  {reason}\n  Apache's\n{}  ours\n{}",
                shown(apache),
                shown(ours)
            );
        }
        if is_same != entry.is_none() {
            let what = if is_same { "are the same, and listed" } else { "differ" };
            self.faults += &format!(
                "> {command}: they {what}\n  Apache's\n{}  ours\n{}",
                shown(apache),
                shown(ours)
            );
        }
    }

    #[track_caller]
    fn end(self) {
        for (listed, _) in self.table {
            assert!(self.used.contains(listed), "{listed} is listed and was not asked");
        }
        assert!(self.faults.is_empty(), "{}", self.faults);
        println!("{} answers compared, {} differ on purpose", self.compared, self.table.len());
    }
}

/// The answers of a whole script, and how the shell ended.
fn carry_out(whose: Whose, server: &str) -> (Vec<Said>, Said) {
    let mut shell = Shell::start(whose, server);
    let script = SCRIPT.lines().filter(|line| !line.is_empty());
    let answers = script.map(|line| shell.ask(line)).collect();
    (answers, shell.end())
}

/// Events of nodes, in their order.
fn events(answers: &[Said]) -> Vec<String> {
    let all = answers.iter().flat_map(|said| &said.events);
    all.filter(|event| !event.contains("type:None")).map(|event| masked(event)).collect()
}

fn compare_on(kind: Kind) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(kind, dir.path(), "-Dzookeeper.extendedTypesEnabled=true\n");
    let address = server.address().to_string();
    let (apaches, apaches_end) = carry_out(Whose::Apache, &address);
    let (ours, our_end) = carry_out(Whose::Ours, &address);
    let mut comparison = Comparison::new(DIFFERENT);
    let script = SCRIPT.lines().filter(|line| !line.is_empty());
    for ((command, apaches), ours) in script.zip(&apaches).zip(&ours) {
        comparison.compare(command, apaches, ours);
    }
    comparison.end();
    assert_eq!(events(&apaches), events(&ours));
    assert_eq!(apaches_end.code, our_end.code);
    let mut comparison = Comparison::new(SINGLE_DIFFERENT);
    let carry_out = |whose: Whose| -> Vec<Said> {
        SINGLE.iter().map(|words| whose.single(&address, words)).collect()
    };
    let (apaches, ours) = (carry_out(Whose::Apache), carry_out(Whose::Ours));
    for ((words, apaches), ours) in SINGLE.iter().zip(&apaches).zip(&ours) {
        let options = words.iter().take_while(|word| word.starts_with('-') || **word == "20000");
        comparison.compare(&words[options.count()..].join(" "), apaches, ours);
    }
    comparison.end();
}

#[test]
fn both_shells_say_the_same_to_our_server() {
    compare_on(Kind::Oxikeeper);
}

#[test]
fn both_shells_say_the_same_to_apaches_server() {
    compare_on(Kind::APACHE);
}

/// Prompt, completion, history, Ctrl-C, events while a line is typed, Ctrl-D: in a terminal of its own.
#[test]
fn a_person_at_a_terminal() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(Kind::Oxikeeper, dir.path(), "");
    let address = server.address().to_string();
    let mut script = Command::new("python3");
    script.arg(repository().join("interop/zkcli/interactive.py")).arg(&address);
    script.arg(oxikeeper_bin()).args(["shell", "-s", &address]);
    let ended = script.output().expect("python3 runs");
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
}
