//! The two servers under comparison, as processes.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use oxikeeper_bench::BenchError;
use oxikeeper_bench::client::{four_letter_word, makes_sessions};
use oxikeeper_bench::process::usage;

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// Apache ZooKeeper 3.9.5 on JDK 17, G1, `-Xmx3g`.
    Apache,
    /// Ours.
    Ours,
}

impl Side {
    /// Apache first: its maximum sets the rate of the open loops.
    pub const BOTH: [Side; 2] = [Side::Apache, Side::Ours];

    /// For people and for directories.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Apache => "apache",
            Side::Ours => "oxikeeper",
        }
    }
}

/// Where programs and data are.
#[derive(Args)]
pub struct Place {
    /// Runs Apache on a configuration.
    #[arg(long, default_value = "interop/apache")]
    pub apache: PathBuf,
    /// Our binary, a release build.
    #[arg(long)]
    pub oxikeeper: PathBuf,
    /// Below here everything is written, also the ids of the processes, for whoever cleans up. On the
    /// disk that counts.
    #[arg(long)]
    pub dir: PathBuf,
    /// A program, with its arguments, that runs our binary.
    #[arg(skip)]
    pub under: Vec<String>,
}

impl Place {
    fn ours(&self) -> Command {
        let Some((program, arguments)) = self.under.split_first() else {
            return Command::new(&self.oxikeeper);
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.oxikeeper);
        command
    }
}

/// How long a start may take.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long an attempt may take.
const ATTEMPT_PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts to connect.
const ATTEMPT: Duration = Duration::from_millis(1);

/// A server that runs until it is dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
    heap: String,
    began: Instant,
    /// From the start of the process until it had made a session.
    pub start: Duration,
}

impl Server {
    /// Starts a server on the data in `name` below the place, which may be there already.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn start(
        place: &Place,
        side: Side,
        name: &str,
        settings: &str,
    ) -> Result<Server, BenchError> {
        let mut server = Server::launch(place, side, name, settings, "3g")?;
        server.wait(side)?;
        Ok(server)
    }

    /// Starts the process and does not wait for it. A Java heap may have this size.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn launch(
        place: &Place,
        side: Side,
        name: &str,
        settings: &str,
        heap: &str,
    ) -> Result<Server, BenchError> {
        let failed = BenchError::system("cannot start a server");
        let dir = place.dir.join(side.name()).join(name);
        fs::create_dir_all(&dir).map_err(&failed)?;
        let address = free_address().map_err(&failed)?;
        let config = dir.join("zoo.cfg");
        let text = format!(
            "tickTime=2000\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             maxClientCnxns=0\n4lw.commands.whitelist=*\nadmin.enableServer=false\n{settings}\n",
            dir.join("data").display(),
            address.port(),
        );
        fs::write(&config, text).map_err(&failed)?;
        let began = Instant::now();
        let child = spawn(place, side, &dir, heap).map_err(&failed)?;
        let heap = heap.to_owned();
        Ok(Server { child, address, dir, heap, began, start: Duration::ZERO })
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// If it does not.
    pub fn wait(&mut self, side: Side) -> Result<(), BenchError> {
        let failed = BenchError::system("cannot start a server");
        while !self.serves() {
            let ended = self.child.try_wait().map_err(&failed)?;
            if ended.is_some() || self.began.elapsed() > START_PATIENCE {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                return Err(failed(io::Error::other(format!("{}: {log}", side.name()))));
            }
            thread::sleep(ATTEMPT);
        }
        self.start = self.began.elapsed();
        Ok(())
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        // It may have ended by itself; both ways it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Removes what a killed server has stored.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wipe(&self) -> io::Result<()> {
        fs::remove_dir_all(self.version_dir())
    }

    /// Starts it again on its data, after a [`kill`](Self::kill), and does not wait for it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn restart(&mut self, place: &Place, side: Side) -> io::Result<()> {
        self.began = Instant::now();
        self.child = spawn(place, side, &self.dir, &self.heap)?;
        Ok(())
    }

    /// It says that it serves, and it makes a session: a handshake is a write. An attempt that comes
    /// too early is never answered by Apache, so the word comes first.
    fn serves(&self) -> bool {
        let word = four_letter_word(self.address, "srvr", ATTEMPT_PATIENCE);
        word.is_some_and(|text| text.contains("Mode:"))
            && makes_sessions(self.address, ATTEMPT_PATIENCE)
    }

    /// What it says of itself to `srvr`, if it is there.
    pub fn word(&self) -> Option<String> {
        four_letter_word(self.address, "srvr", ATTEMPT_PATIENCE)
    }

    /// What it has written to standard output and error since it was started last.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn rss(&self) -> Result<u64, BenchError> {
        Ok(usage(self.pid())?.rss)
    }

    /// Asks it to end, and waits until it has; what it wrote to standard output and error.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn end(mut self) -> Result<String, BenchError> {
        let failed = BenchError::system("cannot end a server");
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .map_err(|error| failed(error.into()))?;
        self.child.wait().map_err(&failed)?;
        fs::read_to_string(self.dir.join("log")).map_err(&failed)
    }

    /// Names and sizes of the snapshots, unfinished ones included.
    pub fn snapshots(&self) -> Vec<(String, u64)> {
        snapshots(&self.version_dir())
    }

    /// Where its files are.
    pub fn version_dir(&self) -> PathBuf {
        self.dir.join("data").join("version-2")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(place: &Place, side: Side, dir: &Path, heap: &str) -> io::Result<Child> {
    let config = dir.join("zoo.cfg");
    let log = fs::File::create(dir.join("log"))?;
    let mut command = match side {
        Side::Apache => Command::new(&place.apache),
        Side::Ours => place.ours(),
    };
    match side {
        Side::Apache => command.arg(&config).env("APACHE_HEAP", heap).env("APACHE_GC", "G1"),
        Side::Ours => command.arg("serve").arg(&config),
    };
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn()?;
    note_process(place, child.id())?;
    Ok(child)
}

/// Names and sizes of the snapshots in a directory, unfinished ones included.
pub fn snapshots(dir: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(String, u64)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size = entry.metadata().ok()?.len();
            name.contains("snapshot.").then_some((name, size))
        })
        .collect();
    found.sort();
    found
}

/// An address that was free a moment ago.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn note_process(place: &Place, pid: u32) -> io::Result<()> {
    let path = place.dir.join("pids");
    writeln!(fs::OpenOptions::new().create(true).append(true).open(path)?, "{pid}")
}
