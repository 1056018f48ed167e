//! `oxikeeper ensemble`: from one command to a connect string, and to a clean end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn four_letter_word(address: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(word.as_bytes()).expect("it takes the word");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// The first of three client ports, with the ports that their servers take beside them all free.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let seed = std::process::id() as u16;
    (0..200u16)
        .map(|n| 12_000 + (seed.wrapping_mul(31).wrapping_add(n * 67)) % 18_000)
        .find(|first| [0, 1, 2, 101, 102, 103, 201, 202, 203].iter().all(|n| is_free(first + n)))
        .expect("nine free ports")
}

/// Ends in order: the servers go too, and keep their data; `--fresh` begins anew, and only over what is
/// its own.
#[test]
fn an_ensemble_comes_and_goes_with_one_command() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("e");
    let mut epochs = Vec::new();
    for arguments in [&[][..], &[][..], &["--fresh"][..]] {
        let port = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_oxikeeper"))
            .args(["ensemble", "--servers", "3", "--port", &port.to_string(), "--dir"])
            .arg(&data)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("the connect string");
        let hosts: Vec<&str> = line.trim().split(',').collect();
        assert_eq!(hosts.len(), 3, "{line}");
        let modes: Vec<String> = hosts
            .iter()
            .map(|host| {
                let text = four_letter_word(host.parse().expect("an address"), "srvr");
                let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "));
                mode.unwrap_or_default().to_owned()
            })
            .collect();
        assert_eq!(modes.iter().filter(|mode| *mode == "leader").count(), 1, "{modes:?}");
        assert_eq!(modes.iter().filter(|mode| *mode == "follower").count(), 2, "{modes:?}");
        let epoch = std::fs::read_to_string(data.join("1/version-2/currentEpoch"));
        epochs.push(epoch.expect("the epoch file").trim().parse::<u32>().expect("a number"));
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let began = Instant::now();
        assert!(child.wait().expect("it ends").success());
        assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
        for host in hosts {
            let address: SocketAddr = host.parse().expect("an address");
            assert!(TcpStream::connect(address).is_err(), "{host} still listens");
        }
    }
    assert!(epochs[1] > epochs[0], "the second run went on: {epochs:?}");
    assert_eq!(epochs[2], epochs[0], "the third began anew: {epochs:?}");
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).expect("a directory");
    let refused = Command::new(env!("CARGO_BIN_EXE_oxikeeper"))
        .args(["ensemble", "--fresh", "--dir"])
        .arg(&foreign)
        .output()
        .expect("it runs");
    assert!(!refused.status.success() && foreign.exists());
}
