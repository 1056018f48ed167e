//! Ensembles as processes: of Apache's servers, each reaching the others through names of its own; and
//! mixed ones, of Apache's and ours, all on the loopback address.
//!
//! Every server has the same configuration, in which server N is the host `zkN`. What the name means
//! is up to the JVM: to server N itself it is `127.1.N.N`, where it listens; to server M it is
//! `127.1.M.N`, where a recording proxy may stand. So the texts that servers exchange are the same
//! everywhere, whoever listens in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::nudge::Nudge;
use crate::port::free_port;
use crate::server::{Kind, four_letter_word, oxikeeper_bin, repository};

/// JVMs on a busy machine are slow, elections among them too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Where it leads.
    pub quorum: u16,
    /// Where it elects.
    pub election: u16,
    /// Where it serves.
    pub client: u16,
}

/// An ensemble of up to nine servers.
pub struct Ensemble {
    dir: PathBuf,
    settings: String,
    members: BTreeMap<u8, Ports>,
    observers: Vec<u8>,
    /// Whose each server is, in a mixed ensemble; empty: all are Apache's, with names.
    kinds: BTreeMap<u8, Kind>,
    running: BTreeMap<u8, Child>,
    /// For servers that fall asleep.
    nudge: Option<Nudge>,
}

impl Ports {
    /// Ports that nobody uses.
    pub fn free() -> Ports {
        Ports { quorum: free_port(), election: free_port(), client: free_port() }
    }
}

impl Ensemble {
    /// Chooses ports; starts nothing. Lines of `settings` that begin with `-D` are flags.
    pub fn new(dir: &Path, participants: &[u8], observers: &[u8], settings: &str) -> Ensemble {
        let members = participants.iter().chain(observers).map(|&id| (id, Ports::free())).collect();
        Ensemble {
            dir: dir.to_owned(),
            settings: settings.to_owned(),
            members,
            observers: observers.to_vec(),
            kinds: BTreeMap::new(),
            running: BTreeMap::new(),
            nudge: None,
        }
    }

    /// An ensemble of servers 1 and up, of these kinds.
    pub fn mixed(dir: &Path, kinds: &[Kind], settings: &str) -> Ensemble {
        let kinds: BTreeMap<u8, Kind> = (1..).zip(kinds.iter().copied()).collect();
        let ids: Vec<u8> = kinds.keys().copied().collect();
        let mut ensemble = Ensemble::new(dir, &ids, &[], settings);
        let sleepy = kinds.iter().filter(|(_, kind)| **kind == Kind::Apache("3.8.0"));
        let sleepy: Vec<SocketAddr> = sleepy.map(|(&id, _)| ensemble.address(id)).collect();
        ensemble.nudge = (!sleepy.is_empty()).then(|| Nudge::new(sleepy));
        ensemble.kinds = kinds;
        ensemble
    }

    /// The same, where the last `count` servers only observe.
    pub fn with_observers(mut self, count: usize) -> Ensemble {
        self.observers = self.kinds.keys().rev().take(count).copied().collect();
        self
    }

    /// Whose a server is.
    pub fn kind(&self, id: u8) -> Kind {
        self.kinds.get(&id).copied().unwrap_or(Kind::APACHE)
    }

    /// From its next start on, a server is of another kind: its files stay.
    pub fn set_kind(&mut self, id: u8, kind: Kind) {
        self.kinds.insert(id, kind);
    }

    /// Its servers and their ports.
    pub fn members(&self) -> &BTreeMap<u8, Ports> {
        &self.members
    }

    /// What server `from` reaches server `to` by, as `zkN` and as `zkN.other`; what it listens on itself
    /// if they are the same.
    pub fn hosts(from: u8, to: u8) -> [Ipv4Addr; 2] {
        [1, 2].map(|net| Ipv4Addr::new(127, net, from, to))
    }

    /// The line of a server, behind `server.N=`.
    pub fn line(&self, id: u8) -> String {
        let Ports { quorum, election, .. } = self.members[&id];
        let role = if self.observers.contains(&id) { "observer" } else { "participant" };
        if self.kinds.is_empty() {
            return format!("zk{id}:{quorum}:{election}:{role}");
        }
        format!("127.0.0.1:{quorum}:{election}:{role}")
    }

    /// A server that joins later, or is moved to other ports by a reconfiguration.
    pub fn put(&mut self, id: u8, kind: Kind, ports: Ports) {
        self.kinds.insert(id, kind);
        self.members.insert(id, ports);
    }

    /// The directory of a server: `zoo.cfg` and what stands beside it.
    pub fn server_dir(&self, id: u8) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Where clients connect to a server.
    pub fn address(&self, id: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.members[&id].client))
    }

    /// `dataDir` of a server.
    pub fn data_dir(&self, id: u8) -> PathBuf {
        self.dir.join(format!("{id}/data"))
    }

    /// What a server has logged since it was started last.
    pub fn log(&self, id: u8) -> String {
        std::fs::read_to_string(self.dir.join(format!("{id}/log"))).unwrap_or_default()
    }

    /// Starts the process of a server, which need not be able to serve.
    pub fn start(&mut self, id: u8) {
        let lines: Vec<String> =
            self.members.keys().map(|&id| format!("server.{id}={}", self.line(id))).collect();
        self.start_with(id, &lines.join("\n"));
    }

    /// Starts a server with these server lines instead of its ensemble's.
    ///
    /// # Panics
    /// If its files cannot be written or the process not be started.
    pub fn start_with(&mut self, id: u8, server_lines: &str) {
        let dir = self.dir.join(id.to_string());
        let data = self.data_dir(id);
        std::fs::create_dir_all(&data).expect("a directory for the server");
        std::fs::write(data.join("myid"), id.to_string()).expect("myid is written");
        let hosts: Vec<String> = self.members.keys().map(|&to| hosts(id, to)).collect();
        std::fs::write(dir.join("hosts"), hosts.concat()).expect("a file of hosts");
        let is_flag = |line: &&str| line.starts_with("-D");
        let settings: Vec<&str> = self.settings.lines().filter(|line| !is_flag(line)).collect();
        let observer = if self.observers.contains(&id) { "peerType=observer\n" } else { "" };
        let text = format!(
            "tickTime=1000\ninitLimit=30\nsyncLimit=15\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nmaxClientCnxns=0\nmaxSessionTimeout=600000\n\
             4lw.commands.whitelist=*\nadmin.enableServer=false\npreAllocSize=64\n\
             {observer}{}\n{server_lines}\n",
            data.display(),
            self.members[&id].client,
            settings.join("\n")
        );
        let config = dir.join("zoo.cfg");
        // A server with reconfigEnabled edits its file, and goes on with what it made of it.
        if !config.exists() || !self.settings.contains("reconfigEnabled=true") {
            std::fs::write(&config, text).expect("a configuration file");
        }
        let log = std::fs::File::create(dir.join("log")).expect("a log file");
        let mut command = match self.kinds.get(&id) {
            Some(Kind::Oxikeeper) => {
                let mut command = Command::new(oxikeeper_bin());
                command.arg("serve").arg(&config);
                command
            }
            other => {
                let mut command = Command::new(repository().join("interop/apache"));
                command.arg(&config).env("APACHE_HEAP", "128m");
                if let Some(Kind::Apache(version)) = other {
                    command.env("APACHE_VERSION", version);
                } else {
                    let hosts = dir.join("hosts");
                    command.arg(format!("-Djdk.net.hosts.file={}", hosts.display()));
                }
                command
            }
        };
        let stdout = log.try_clone().expect("the log file, once more");
        command
            .args(self.settings.lines().filter(is_flag))
            .stdin(Stdio::null())
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(log));
        let child = command.spawn().expect("a server can be run");
        self.running.insert(id, child);
    }

    /// Waits until a server serves.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait(&self, id: u8) {
        self.wait_for(&format!("server {id} to serve"), || self.mode(id).is_some());
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// If it does not in time; the logs of all servers stand in the message.
    pub fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() > deadline {
                let logs: Vec<String> =
                    self.members.keys().map(|&id| format!("{id}: {}", self.log(id))).collect();
                panic!("waited in vain for {what}:\n{}", logs.join("\n"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `leader`, `follower` or `observer`; none if it does not serve.
    pub fn mode(&self, id: u8) -> Option<String> {
        let text = four_letter_word(self.address(id), "srvr")?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Who leads, as far as anybody serves as leader.
    pub fn leader(&self) -> Option<u8> {
        self.running.keys().copied().find(|&id| self.mode(id).as_deref() == Some("leader"))
    }

    /// The process of a server, while it runs.
    pub fn pid(&self, id: u8) -> Option<u32> {
        self.running.get(&id).map(Child::id)
    }

    /// Ends a server as a crash would.
    pub fn kill(&mut self, id: u8) {
        if let Some(mut child) = self.running.remove(&id) {
            // It may have ended by itself; both ways it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Removes everything a dead server has stored, but for its id.
    ///
    /// # Panics
    /// If it cannot be removed.
    pub fn wipe(&self, id: u8) {
        std::fs::remove_dir_all(self.data_dir(id).join("version-2")).expect("it was there");
    }
}

/// What server `from` knows of server `to`.
fn hosts(from: u8, to: u8) -> String {
    let [first, second] = Ensemble::hosts(from, to);
    format!("{first} zk{to}\n{second} zk{to}.other\n")
}

/// The end of a text: its last lines.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

impl Ensemble {
    /// For a test that has failed: what every server has said and says, and what the threads of Apache's do.
    fn tell(&self) {
        for &id in self.running.keys() {
            for word in ["srvr", "cons"] {
                let text = four_letter_word(self.address(id), word).unwrap_or_default();
                eprintln!("---- server {id}, {word}:\n{text}");
            }
        }
        let apaches = self.running.iter().filter(|(id, _)| self.kind(**id) != Kind::Oxikeeper);
        for (_, child) in apaches {
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
        }
        // A JVM gives no sign that its threads are all told of.
        thread::sleep(Duration::from_secs(1));
        for id in self.members.keys() {
            let state = if self.running.contains_key(id) { "runs" } else { "is down" };
            let log = last_lines(&self.log(*id), 400);
            eprintln!("---- server {id} ({}) {state}:\n{log}", self.kind(*id).name());
        }
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell();
        }
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.kill(id);
        }
    }
}
