//! Apache's shell and ours change the members of one ensemble, one after the other, and say the same.

use oxikeeper_interop::ensemble::{Ensemble, Ports};
use oxikeeper_interop::exchange;
use oxikeeper_interop::server::Kind;
use oxikeeper_interop::shells::{Said, Shell, Whose};

/// Where the shells connect: neither the leader, which has the largest id, nor the server that goes.
const ASKED: u8 = 2;

/// What a command said on either stream, without versions of configurations: each change has another one.
/// Where clients connect Apache's lists in any order. A word about Java's line editor is none of a command's.
fn masked(said: &Said) -> (Vec<String>, Vec<String>) {
    let lines = |text: &str| {
        let mask = |line: &str| match (line.split_once("version="), line.split_once(" 127.")) {
            (Some((before, _)), _) => format!("{before}version=..."),
            (None, Some((version, hosts))) if u64::from_str_radix(version, 16).is_ok() => {
                let mut hosts: Vec<&str> =
                    hosts.split(',').map(|host| host.trim_start_matches("127.")).collect();
                hosts.sort_unstable();
                hosts.join(",")
            }
            _ => line.to_owned(),
        };
        text.lines().filter(|line| !line.starts_with("JLine")).map(mask).collect()
    };
    (lines(&said.stdout), lines(&said.stderr))
}

#[test]
fn both_shells_change_the_members_of_an_ensemble() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = format!("{}\nreconfigEnabled=true", exchange::SETTINGS);
    let mut ensemble = Ensemble::mixed(dir.path(), &[Kind::APACHE; 3], &settings);
    let line = |ensemble: &Ensemble, id: u8| {
        let Ports { quorum, election, client } = ensemble.members()[&id];
        format!("server.{id}=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}")
    };
    let lines = [1, 2, 3].map(|id| line(&ensemble, id));
    for id in 1..=3 {
        ensemble.start_with(id, &lines.join("\n"));
    }
    (1..=3).for_each(|id| ensemble.wait(id));
    assert_eq!(ensemble.mode(ASKED).as_deref(), Some("follower"));

    let members = dir.path().join("members");
    std::fs::write(&members, lines.join("\n")).expect("a file of members");
    let [first, second, third] = &lines;
    let script = [
        "addauth digest super:admin".to_owned(),
        "config".to_owned(),
        "config -c".to_owned(),
        "reconfig -remove 1".to_owned(),
        "config".to_owned(),
        "config -c".to_owned(),
        format!("reconfig -add {first}"),
        "config -c".to_owned(),
        "reconfig -v 1 -remove 1".to_owned(),
        "reconfig -add server.9=nonsense".to_owned(),
        "reconfig -remove x".to_owned(),
        format!("reconfig -members {second},{third}"),
        "config".to_owned(),
        format!("reconfig -file {}", members.display()),
        "config".to_owned(),
        format!("reconfig -members {first} -add {second}"),
    ];
    let server = ensemble.address(ASKED).to_string();
    let answers = [Whose::Apache, Whose::Ours].map(|whose| {
        let mut shell = Shell::start(whose, &server);
        let answers: Vec<_> = script.iter().map(|line| masked(&shell.ask(line))).collect();
        (answers, shell.end().code)
    });
    let [(apaches, apaches_end), (ours, our_end)] = answers;
    let mut different = Vec::new();
    for ((line, apaches), ours) in script.iter().zip(&apaches).zip(&ours) {
        println!("> {line}\n  {apaches:?}");
        if ours != apaches {
            different.push(format!("> {line}\n  Apache's {apaches:?}\n  ours     {ours:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(our_end, apaches_end);
    let committed = apaches.iter().filter(|(out, _)| out[..].join("\n").contains("Committed new"));
    assert_eq!(committed.count(), 4, "each change was made");
}
