//! Starts that have to fail: with the exit code that scripts know, and words that help.

use std::fs;
use std::net::TcpListener;

use crate::support::client::Client;
use crate::support::namespace::{Namespace, inside};
use crate::support::process::{Ended, Home, Server, run};

/// The exit code, and what standard error has to say: what is wrong, where, what to do.
fn expect(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_mistake_in_the_configuration_is_code_2_and_named() {
    for (settings, words) in [
        ("clientPort=abc", &["clientPort=abc", "line 6", "decimal number"][..]),
        ("clientPort=70000", &["clientPort=70000", "not a port"]),
        ("clientPortAddress=no.such.host.invalid", &["no.such.host.invalid", "resolved"]),
        ("dataDir=", &["dataDir is not set"]),
        ("tickTime=0", &["tickTime=0", "above 0"]),
        ("tickTime=2s", &["tickTime=2s", "line 6", "decimal number"]),
        ("maxClientCnxns=many", &["maxClientCnxns=many", "line 6"]),
        ("minSessionTimeout=9000\nmaxSessionTimeout=5000", &["minSessionTimeout", "9000", "5000"]),
        ("reconfigEnabled=yes", &["reconfigEnabled=yes", "line 6", "true or false"]),
        ("electionAlg=1", &["electionAlg=1", "3 is the only"]),
        ("peerType=spectator", &["peerType=spectator", "observer or participant"]),
        ("server.1=localhost", &["server.1", "form server_config"]),
        ("sslQuorum=true", &["sslQuorum", "Remove the setting"]),
        ("sessionRequireClientSASLAuth=true", &["sessionRequireClientSASLAuth"]),
        ("audit.enable=true", &["audit.enable", "Remove the setting"]),
        ("metricsProvider.className=org.example.Mine", &["metricsProvider", "org.example.Mine"]),
        ("x=\\uzzzz", &["line 6", "hex digits"]),
    ] {
        let home = Home::new(settings);
        let ended = home.run_to_end();
        expect(&ended, 2, words);
        expect(&ended, 2, &["zoo.cfg", "Invalid config, exiting abnormally"]);
        assert!(!home.data_dir().exists(), "{settings}: nothing is touched before");
    }
}

#[test]
fn a_command_line_that_fits_nothing_is_code_2() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    expect(&run(&["serve", "missing.cfg"], dir.path()), 2, &["cannot read missing.cfg"]);
    expect(&run(&["serve"], dir.path()), 2, &["Usage"]);
    expect(&run(&["serve", "1", "2", "3", "4", "5"], dir.path()), 2, &["usage", "DATA_DIR"]);
    expect(&run(&["serve", "port", "data"], dir.path()), 2, &["clientPort=port"]);
    expect(&run(&["surf"], dir.path()), 2, &["surf", "Usage"]);
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is made");
}

#[test]
fn a_myid_that_is_no_number_is_code_2() {
    let home = Home::new("");
    fs::create_dir(home.data_dir()).expect("a new directory");
    fs::write(home.data_dir().join("myid"), "first\n").expect("a new file");
    expect(&home.run_to_end(), 2, &["serverid first is not a number", "myid"]);
}

#[test]
fn a_data_directory_that_cannot_be_one_is_code_3() {
    // A file in the place of the directory.
    let home = Home::new("");
    fs::write(home.data_dir(), "").expect("a new file");
    let path = home.data_dir().display().to_string();
    expect(&home.run_to_end(), 3, &[&path, "dataDir", "may create files"]);

    // A place where nobody can make directories, root or not.
    let home = Home::new("dataDir=/proc/oxikeeper");
    expect(&home.run_to_end(), 3, &["/proc/oxikeeper", "dataDir", "may create files"]);

    let home = Home::new("dataLogDir=/proc/oxikeeper");
    expect(&home.run_to_end(), 3, &["/proc/oxikeeper", "dataLogDir", "may create files"]);

    let home = Home::new("datadir.autocreate=false");
    let path = home.data_dir().display().to_string();
    expect(&home.run_to_end(), 3, &[&path, "does not exist", "create it"]);
}

/// Root may write everywhere but where nobody may: a file system that is mounted read-only.
#[test]
fn a_data_directory_that_is_read_only_is_code_3() {
    let name = "refusals::a_data_directory_that_is_read_only_is_code_3";
    inside(Namespace::Mounts, name, || {
        let home = Home::new("");
        let server = home.start();
        let home = server.kill();
        let data_dir = home.data_dir().display().to_string();
        mount(&["--bind", &data_dir, &data_dir]);
        mount(&["-o", "remount,bind,ro", &data_dir]);
        expect(&home.run_to_end(), 3, &[&data_dir, "Read-only file system", "may create files"]);
        mount(&["-o", "remount,bind,rw", &data_dir]);
        home.start();
    });
}

fn mount(arguments: &[&str]) {
    let status = std::process::Command::new("mount").args(arguments).status();
    assert!(status.expect("mount runs").success(), "mount {arguments:?}");
}

#[test]
fn logs_among_snapshots_are_code_3() {
    let home = Home::new("").start().kill();
    let other = home.path("other");
    let home = home.with_settings(&format!("dataLogDir={}", other.display()));
    fs::create_dir_all(home.data_dir().join("version-2")).expect("it is there");
    fs::write(home.data_dir().join("version-2/log.1"), "").expect("a new file");
    expect(&home.run_to_end(), 3, &["log.1", "dataLogDir", "Move every transaction log"]);
}

#[test]
fn a_directory_in_use_is_code_3_and_its_server_goes_on() {
    let server = Server::start("");
    let mut client = Client::connect(server.address(), 4000);
    client.create("/a", b"1", 0).expect("a new node");
    let data_dir = server.home.data_dir().display().to_string();
    let second = Home::new(&format!("dataDir={data_dir}"));
    expect(&second.run_to_end(), 3, &[&data_dir, "in use by another", "another dataDir"]);
    client.create("/b", b"2", 0).expect("the first server is not disturbed");
    drop(client);
    // The lock goes with the process, however it ends.
    server.kill().start();
}

#[test]
fn a_port_in_use_is_code_1() {
    let home = Home::new("");
    let _other = TcpListener::bind(home.address()).expect("it was free a moment ago");
    let address = home.address().to_string();
    expect(&home.run_to_end(), 1, &[&address, "in use", "another clientPort"]);
    assert!(!home.data_dir().exists(), "nothing is touched before");

    let home = Home::new("clientPortAddress=192.0.2.1");
    expect(&home.run_to_end(), 1, &["192.0.2.1", "clientPortAddress"]);
}
