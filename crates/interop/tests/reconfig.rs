//! An ensemble that an Apache server leads is reconfigured, and our servers follow: they join, change
//! roles and addresses, leave, are made leader, and find themselves again from the files they wrote.

use std::net::TcpStream;
use std::path::Path;

use oxikeeper_interop::client::RawClient;
use oxikeeper_interop::ensemble::{Ensemble, Ports};
use oxikeeper_interop::exchange::{self, create};
use oxikeeper_interop::server::Kind;
use oxikeeper_proto::reply::GetDataReply;
use oxikeeper_proto::request::{AuthPacket, PathRequest, ReconfigRequest, WatchableRequest};
use oxikeeper_proto::{OpCode, Reader};

/// The Apache server: it leads from the start, having the largest id of the first three.
const APACHE: u8 = 3;
/// What a leader of ours answers, for it cannot do it yet.
const UNIMPLEMENTED: i32 = -6;

/// The line of a server, with where its clients connect.
fn line(ensemble: &Ensemble, id: u8, role: &str) -> String {
    let Ports { quorum, election, client } = ensemble.members()[&id];
    format!("server.{id}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}")
}

fn lines(ensemble: &Ensemble, ids: &[u8]) -> String {
    let lines: Vec<String> = ids.iter().map(|&id| line(ensemble, id, "participant")).collect();
    lines.join("\n")
}

/// Asks a server for a reconfiguration: the error code.
fn ask(ensemble: &Ensemble, at: u8, joining: Option<&str>, leaving: Option<&str>) -> Option<i32> {
    let mut client = RawClient::connect(ensemble.address(at), 30_000).ok()?;
    let auth = AuthPacket { kind: 0, scheme: Some("digest".into()), auth: Some(b"super:admin") };
    client.call(OpCode::Auth, &auth).ok()?;
    let change = ReconfigRequest {
        joining_servers: joining.map(Into::into),
        leaving_servers: leaving.map(Into::into),
        new_members: None,
        current_config_id: -1,
    };
    Some(client.call(OpCode::Reconfig, &change).ok()?.header.err)
}

/// As [`ask`], until it is done: it is refused while too few are in step. The answer may be lost where
/// the server that was asked changes its place.
fn change(ensemble: &Ensemble, at: u8, joining: Option<&str>, leaving: Option<&str>) {
    let before = config(ensemble, at).expect("it serves");
    ensemble.wait_for("a reconfiguration", || {
        ask(ensemble, at, joining, leaving) == Some(0)
            || config(ensemble, at).is_some_and(|now| now != before)
    });
}

/// `/zookeeper/config` at a server.
fn config(ensemble: &Ensemble, id: u8) -> Option<String> {
    let mut client = RawClient::connect(ensemble.address(id), 30_000).ok()?;
    client.call(OpCode::Sync, &PathRequest { path: Some("/".into()) }).ok()?;
    let read = WatchableRequest { path: Some("/zookeeper/config".into()), watch: false };
    let reply = client.call(OpCode::GetData, &read).ok().filter(|reply| reply.header.err == 0)?;
    let data = Reader::new(&reply.body).get::<GetDataReply<'_>>().expect("data").data?.to_vec();
    Some(String::from_utf8(data).expect("a text"))
}

/// What a server has written down: the file that its `zoo.cfg` points to, by name and content.
fn written(ensemble: &Ensemble, id: u8) -> Option<(String, String)> {
    let static_file = std::fs::read_to_string(ensemble.server_dir(id).join("zoo.cfg")).ok()?;
    let pointer = static_file.lines().find_map(|line| line.strip_prefix("dynamicConfigFile="))?;
    assert!(!static_file.contains("server."), "{static_file}");
    let name = Path::new(pointer).file_name()?.to_str()?.to_owned();
    Some((name, std::fs::read_to_string(pointer).ok()?))
}

/// These servers show the same configuration, which satisfies `holds`, and have written it down alike;
/// nothing is proposed any more.
fn agree(ensemble: &Ensemble, ids: &[u8], what: &str, holds: impl Fn(&str) -> bool) {
    ensemble.wait_for(what, || {
        let configs: Vec<_> = ids.iter().map(|&id| config(ensemble, id)).collect();
        let files: Vec<_> = ids.iter().map(|&id| written(ensemble, id)).collect();
        let is_one = |index: usize| configs[index] == configs[0] && files[index] == files[0];
        let (Some(config), Some((name, file))) = (&configs[0], &files[0]) else { return false };
        let (members, version) = config.rsplit_once("\nversion=").expect("a version");
        let next = |id: &u8| ensemble.server_dir(*id).join("zoo.cfg.dynamic.next").exists();
        holds(config)
            && (0..ids.len()).all(is_one)
            && file == members
            && *name == format!("zoo.cfg.dynamic.{version}")
            && !ids.iter().any(next)
    });
    println!("{what}: {:?}", config(ensemble, ids[0]));
}

fn is_mode(ensemble: &Ensemble, id: u8, mode: &str) {
    ensemble.wait_for(&format!("server {id} to be {mode}"), || {
        ensemble.mode(id).as_deref() == Some(mode)
    });
}

#[test]
fn our_servers_follow_apaches_reconfigurations() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = format!("{}\nreconfigEnabled=true", exchange::SETTINGS);
    let kinds = [Kind::Oxikeeper, Kind::Oxikeeper, Kind::APACHE];
    let mut ensemble = Ensemble::mixed(dir.path(), &kinds, &settings);
    let first = lines(&ensemble, &[1, 2, APACHE]);
    for id in [APACHE, 1] {
        ensemble.start_with(id, &first);
    }
    is_mode(&ensemble, APACHE, "leader");
    ensemble.wait(1);
    ensemble.start_with(2, &first);
    ensemble.wait(2);
    agree(&ensemble, &[1, 2, APACHE], "the first configuration", |text| {
        text.ends_with("version=100000000")
    });
    for id in [1, 2] {
        let kept = std::fs::read_to_string(ensemble.server_dir(id).join("zoo.cfg.bak"));
        assert!(kept.expect("a copy").contains("server.1="), "the file as it was");
    }

    ensemble.put(4, Kind::Oxikeeper, Ports::free());
    let joining = lines(&ensemble, &[1, 2, APACHE, 4]);
    ensemble.start_with(4, &joining);
    ensemble.wait(4);
    is_mode(&ensemble, 4, "follower");
    assert!(!config(&ensemble, 4).expect("it serves").contains("server.4"), "it has no vote yet");
    let fourth = line(&ensemble, 4, "participant");
    change(&ensemble, 1, Some(&fourth), None);
    agree(&ensemble, &[1, 2, APACHE, 4], "a server of ours joins", |text| text.contains(&fourth));

    let observing = line(&ensemble, 4, "observer");
    change(&ensemble, 2, Some(&observing), None);
    is_mode(&ensemble, 4, "observer");
    agree(&ensemble, &[1, 2, APACHE, 4], "a voter of ours observes", |t| t.contains(&observing));
    change(&ensemble, 1, Some(&fourth), None);
    is_mode(&ensemble, 4, "follower");
    agree(&ensemble, &[1, 2, APACHE, 4], "an observer of ours votes", |t| t.contains(&fourth));

    // Clients that are there stay, new ones come to the new place alone.
    let mut stays = RawClient::connect(ensemble.address(1), 30_000).expect("it serves");
    let old = ensemble.address(1);
    let ports = Ports { client: Ports::free().client, ..ensemble.members()[&1] };
    ensemble.put(1, Kind::Oxikeeper, ports);
    let moved = line(&ensemble, 1, "participant");
    change(&ensemble, 2, Some(&moved), None);
    ensemble.wait(1);
    agree(&ensemble, &[1, 2, APACHE, 4], "a client port moves", |text| text.contains(&moved));
    assert!(TcpStream::connect(old).is_err(), "nobody listens at the old place");
    create(&mut stays, "/stays", 0, exchange::open());
    let file = std::fs::read_to_string(ensemble.server_dir(1).join("zoo.cfg")).expect("a file");
    assert!(!file.contains("clientPort="), "the line carries it: {file}");

    // Quorum and election port of a server of ours.
    let ports = Ports { client: ensemble.members()[&2].client, ..Ports::free() };
    ensemble.put(2, Kind::Oxikeeper, ports);
    let moved = line(&ensemble, 2, "participant");
    change(&ensemble, 1, Some(&moved), None);
    agree(&ensemble, &[1, 2, APACHE, 4], "a server of ours moves", |text| text.contains(&moved));
    ensemble.wait_for("its election port", || {
        TcpStream::connect(("127.0.0.1", ports.election)).is_ok()
    });

    change(&ensemble, 1, None, Some("4"));
    agree(&ensemble, &[1, 2, APACHE, 4], "a server of ours leaves", |t| !t.contains("server.4"));
    is_mode(&ensemble, 4, "follower");
    change(&ensemble, 2, Some(&fourth), None);
    agree(&ensemble, &[1, 2, APACHE, 4], "it comes back", |text| text.contains(&fourth));

    // From the files alone.
    for id in [1, 2, 4] {
        let before = config(&ensemble, id);
        ensemble.kill(id);
        ensemble.start_with(id, "");
        ensemble.wait(id);
        ensemble.wait_for("the same configuration", || config(&ensemble, id) == before);
    }

    // The leader leaves: one of ours leads on, and Apache's follows it without a vote.
    assert_eq!(ensemble.leader(), Some(APACHE));
    change(&ensemble, 1, None, Some("3"));
    ensemble.wait_for("a leader of ours", || ensemble.leader().is_some_and(|id| id != APACHE));
    let leader = ensemble.leader().expect("it leads");
    for id in [1, 2, 4] {
        ensemble.wait(id);
    }
    is_mode(&ensemble, APACHE, "follower");
    assert!(ensemble.log(leader).contains("designated"), "without an election");
    agree(&ensemble, &[1, 2, 4, APACHE], "the leader leaves", |text| !text.contains("server.3"));
    create(&mut connected(&ensemble, 2), "/led-by-ours", 0, exchange::open());
    let third = line(&ensemble, APACHE, "participant");
    assert_eq!(ask(&ensemble, 1, Some(&third), None), Some(UNIMPLEMENTED));
    // As it was written in the configuration's own lines before: everybody comes back by the files.
    for id in [1, 2, 4] {
        ensemble.kill(id);
    }
    for id in [1, 2, 4] {
        ensemble.start_with(id, "");
    }
    for id in [1, 2, 4] {
        ensemble.wait(id);
    }
    agree(&ensemble, &[1, 2, 4], "all start anew", |text| !text.contains("server.3"));
    create(&mut connected(&ensemble, 4), "/anew", 0, exchange::open());
}

fn connected(ensemble: &Ensemble, id: u8) -> RawClient {
    RawClient::connect(ensemble.address(id), 30_000).expect("it serves")
}
