//! Servers that are machines to one another: each in a network namespace of its own, on one bridge, with
//! a small disk of its own: a file system in a file. Needs root and loop devices.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::server::{four_letter_word, oxikeeper_bin};

/// The network of the bridge; server N is the host N.
const NET: &str = "10.77.0";
/// Whoever looks from outside.
pub const OUTSIDE: &str = "10.77.0.254";
const CLIENT_PORT: u16 = 2181;
/// Bytes of a server's disk.
const DISK_MIB: u32 = 96;
/// A slow link: with a burst of a few segments a stream of frames arrives in pieces.
const SLOW: &str = "tbf rate 128kbit burst 4kb latency 4000ms";

/// Runs a command that must succeed.
///
/// # Errors
/// What it says.
fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// One machine.
struct Machine {
    dir: PathBuf,
    child: Option<Child>,
    is_stopped: bool,
    /// Its disk takes nothing.
    is_frozen: bool,
    /// What it sends leaves slowly.
    is_slow: bool,
    /// Which others nothing of it reaches.
    cut: Vec<bool>,
}

/// All of them. The process itself must run in the namespace of the bridge, see [`enter`].
pub struct Machines {
    name: String,
    machines: Vec<Machine>,
    /// The first so many vote, the others observe.
    voters: usize,
    settings: String,
}

/// Runs this program again where the bridge is, unless it is there already. Returns how that ended.
///
/// # Errors
/// If there can be no namespaces.
pub fn enter() -> Result<Option<bool>, String> {
    const MARK: &str = "OXIKEEPER_CHAOS_NET";
    if std::env::var_os(MARK).is_some() {
        return Ok(None);
    }
    let hub = format!("oxi{}", std::process::id());
    run("ip", &format!("netns add {hub}"))?;
    let status = Command::new("ip")
        .args(["netns", "exec", &hub])
        .arg(std::env::current_exe().map_err(|error| error.to_string())?)
        .args(std::env::args_os().skip(1))
        .env(MARK, &hub)
        .status();
    run("ip", &format!("netns del {hub}"))?;
    Ok(Some(status.map_err(|error| error.to_string())?.success()))
}

impl Machines {
    /// So many voters and one observer, without a process.
    ///
    /// # Errors
    /// What the network or the disks refuse.
    pub fn new(dir: &Path, voters: usize, settings: &str) -> Result<Machines, String> {
        let count = voters + 1;
        let name = format!("oxi{}", std::process::id());
        let mut machines =
            Machines { name, machines: Vec::new(), voters, settings: settings.to_owned() };
        run("ip", "link set lo up")?;
        // Left over of an earlier round, if there was one.
        let _ = run("ip", "link del hub");
        run("ip", "link add hub type bridge")?;
        run("ip", &format!("addr add {OUTSIDE}/24 dev hub"))?;
        run("ip", "link set hub up")?;
        for index in 0..count {
            let (space, dir) = (machines.space(index), dir.join((index + 1).to_string()));
            // Only the data are on the disk: a server may say what it likes while it stands still.
            let (data, image) = (dir.join("data"), dir.join("disk"));
            fs::create_dir_all(&data).map_err(|error| error.to_string())?;
            run("truncate", &format!("-s {DISK_MIB}M {}", image.display()))?;
            run("mkfs.ext4", &format!("-q -F -m 0 -E lazy_itable_init=0 {}", image.display()))?;
            run("mount", &format!("-o loop {} {}", image.display(), data.display()))?;
            // An empty directory is one by intent only this once.
            fs::write(data.join("initialize"), "").map_err(|error| error.to_string())?;
            machines.machines.push(Machine {
                dir,
                child: None,
                is_stopped: false,
                is_frozen: false,
                is_slow: false,
                cut: vec![false; count],
            });
            run("ip", &format!("netns add {space}"))?;
            let cable = format!("v{index}");
            run("ip", &format!("link add {cable} type veth peer name eth0 netns {space}"))?;
            run("ip", &format!("link set {cable} master hub up"))?;
            let inside = |what: &str| run("ip", &format!("-n {space} {what}"));
            inside("link set lo up")?;
            inside(&format!("addr add {}/24 dev eth0", machines.host(index)))?;
            inside("link set eth0 up")?;
        }
        Ok(machines)
    }

    fn space(&self, index: usize) -> String {
        format!("{}-{}", self.name, index + 1)
    }

    fn host(&self, index: usize) -> String {
        format!("{NET}.{}", index + 1)
    }

    /// How many vote. The one behind them observes.
    pub fn voters(&self) -> usize {
        self.voters
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// Where clients connect.
    pub fn address(&self, index: usize) -> SocketAddr {
        let host = self.host(index).parse().expect("an address in digits");
        SocketAddr::new(host, CLIENT_PORT)
    }

    /// Where its files are.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.machines[index].dir.join("data")
    }

    /// What it has logged in all its lives.
    pub fn log(&self, index: usize) -> String {
        fs::read_to_string(self.machines[index].dir.join("log")).unwrap_or_default()
    }

    /// Starts its process, if there is none.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(&mut self, index: usize) -> Result<(), String> {
        if self.machines[index].child.is_some() {
            return Ok(());
        }
        self.set_frozen(index, false)?;
        let failed = |error: std::io::Error| error.to_string();
        let data = self.data_dir(index);
        fs::create_dir_all(&data).map_err(failed)?;
        fs::write(data.join("myid"), (index + 1).to_string()).map_err(failed)?;
        let servers: Vec<String> = (0..self.len())
            .map(|other| {
                let role = if other < self.voters { "participant" } else { "observer" };
                format!("server.{}={}:2888:3888:{role}", other + 1, self.host(other))
            })
            .collect();
        let own = if index < self.voters { "" } else { "peerType=observer\n" };
        let text = format!(
            "dataDir={}\nclientPort={CLIENT_PORT}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\n{own}{}\n{}\n",
            data.display(),
            self.settings,
            servers.join("\n")
        );
        let config = self.machines[index].dir.join("zoo.cfg");
        fs::write(&config, text).map_err(failed)?;
        let log = self.machines[index].dir.join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.space(index)])
            .arg(oxikeeper_bin())
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        self.machines[index].child = Some(child);
        Ok(())
    }

    /// Whether its process runs; notes if it has ended by itself.
    pub fn runs(&mut self, index: usize) -> bool {
        let machine = &mut self.machines[index];
        let has_ended = machine
            .child
            .as_mut()
            .is_some_and(|child| child.try_wait().map_or(true, |status| status.is_some()));
        if has_ended {
            machine.child = None;
        }
        machine.child.is_some()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self, index: usize) {
        // Who waits for a disk does not die.
        let _ = self.set_frozen(index, false);
        let machine = &mut self.machines[index];
        machine.is_stopped = false;
        if let Some(mut child) = machine.child.take() {
            // It may have ended by itself; both ways it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal by name.
    pub fn signal(&mut self, index: usize, name: &str) {
        let machine = &mut self.machines[index];
        if let Some(child) = &machine.child {
            machine.is_stopped = name == "STOP";
            // It may have ended a moment ago.
            let _ = run("kill", &format!("-{name} {}", child.id()));
        }
    }

    /// Whether it was told to stand still.
    pub fn is_stopped(&self, index: usize) -> bool {
        self.machines[index].is_stopped
    }

    /// Nothing that one sends reaches the other, or it does again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) -> Result<(), String> {
        if from == to || self.machines[from].cut[to] == cut {
            return Ok(());
        }
        self.machines[from].cut[to] = cut;
        let verb = if cut { "add" } else { "del" };
        let (space, host) = (self.space(from), self.host(to));
        run("ip", &format!("-n {space} route {verb} blackhole {host}/32"))
    }

    /// What it sends leaves slowly, to others and to clients, or at once again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_slow(&mut self, index: usize, slow: bool) -> Result<(), String> {
        if std::mem::replace(&mut self.machines[index].is_slow, slow) == slow {
            return Ok(());
        }
        let what =
            if slow { format!("add dev eth0 root {SLOW}") } else { "del dev eth0 root".into() };
        run("tc", &format!("-n {} qdisc {what}", self.space(index)))
    }

    /// Its disk takes nothing, and whoever writes waits, or it does again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_frozen(&mut self, index: usize, frozen: bool) -> Result<(), String> {
        if std::mem::replace(&mut self.machines[index].is_frozen, frozen) == frozen {
            return Ok(());
        }
        let flag = if frozen { "-f" } else { "-u" };
        run("fsfreeze", &format!("{flag} {}", self.data_dir(index).display()))
    }

    /// Removes everything that a dead server has stored.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wipe(&self, index: usize) -> Result<(), String> {
        let stored = self.data_dir(index).join("version-2");
        if !stored.exists() {
            return Ok(());
        }
        fs::remove_dir_all(stored).map_err(|error| error.to_string())
    }

    /// Fills its disk, or makes room again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_full(&mut self, index: usize, full: bool) -> Result<(), String> {
        self.set_frozen(index, false)?;
        let ballast = self.data_dir(index).join("ballast");
        if !full {
            // There may be none.
            let _ = fs::remove_file(ballast);
            return Ok(());
        }
        let mut file = fs::File::create(ballast).map_err(|error| error.to_string())?;
        let zeros = vec![0; 1 << 16];
        while file.write_all(&zeros).is_ok() {}
        Ok(())
    }

    /// `leader`, `follower`; nothing if it does not serve.
    pub fn mode(&self, index: usize) -> Option<String> {
        if self.is_stopped(index) {
            return None;
        }
        let text = four_letter_word(self.address(index), "srvr")?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Whether a server knows of no session any more.
    pub fn is_deserted(&self, index: usize) -> bool {
        let text = four_letter_word(self.address(index), "dump");
        text.is_some_and(|text| text.contains("Session Sets (0)/(0)"))
    }

    /// Whether all of them serve, under one leader.
    pub fn is_whole(&self) -> bool {
        let modes: Vec<_> = (0..self.len()).filter_map(|index| self.mode(index)).collect();
        modes.len() == self.len() && modes.iter().filter(|mode| *mode == "leader").count() == 1
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for index in 0..self.machines.len() {
            self.kill(index);
            // What is left over goes with the namespace of the bridge.
            let _ = run("ip", &format!("netns del {}", self.space(index)));
            let _ = run("umount", &self.data_dir(index).display().to_string());
        }
        let _ = run("ip", "link del hub");
    }
}
