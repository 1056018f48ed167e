//! Servers as processes: Apache's and ours, on free ports, in directories of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::port::free_port;

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Oxikeeper,
    /// Apache's, of this version.
    Apache(&'static str),
}

impl Kind {
    /// The version that decides.
    pub const APACHE: Kind = Kind::Apache("3.9.5");

    /// Its name for people.
    pub fn name(self) -> String {
        match self {
            Kind::Oxikeeper => "oxikeeper".to_owned(),
            Kind::Apache(version) => format!("apache {version}"),
        }
    }
}

/// A server that runs until it is dropped or killed.
pub struct Server {
    kind: Kind,
    dir: PathBuf,
    port: u16,
    settings: String,
    child: Option<Child>,
}

/// How long a server may take to serve; JVMs on a busy machine are slow.
const START_PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    /// Starts a server with its data below `dir`, which may hold data already.
    ///
    /// # Panics
    /// If it does not serve in time: tests need it.
    pub fn start(kind: Kind, dir: &Path, settings: &str) -> Server {
        let mut server = Server {
            kind,
            dir: dir.to_owned(),
            port: free_port(),
            settings: settings.to_owned(),
            child: None,
        };
        server.run();
        server
    }

    /// Starts the process again after [`kill`](Self::kill).
    pub fn run(&mut self) {
        std::fs::create_dir_all(&self.dir).expect("a directory for the server");
        let config = self.dir.join("zoo.cfg");
        // Lines that begin with -D are flags, the others are settings.
        let is_flag = |line: &&str| line.starts_with("-D");
        let settings: Vec<&str> = self.settings.lines().filter(|line| !is_flag(line)).collect();
        let text = format!(
            "tickTime=500\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             maxClientCnxns=0\n4lw.commands.whitelist=*\nadmin.enableServer=false\n{}\n",
            self.dir.join("data").display(),
            self.port,
            settings.join("\n")
        );
        std::fs::write(&config, text).expect("a configuration file");
        let log = std::fs::File::create(self.dir.join("log")).expect("a log file");
        let mut command = match self.kind {
            Kind::Oxikeeper => {
                let mut command = Command::new(oxikeeper_bin());
                command.arg("serve").arg(&config);
                command
            }
            Kind::Apache(version) => {
                let script = repository().join("interop/apache");
                let mut command = Command::new(script);
                command.arg(&config).env("APACHE_VERSION", version);
                if self.settings.contains("admin.enableServer=true") {
                    command.env("APACHE_ADMIN", "1");
                }
                command
            }
        };
        command.args(self.settings.lines().filter(is_flag));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(log));
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.kind.name())));
        let deadline = Instant::now() + START_PATIENCE;
        while !self.serves() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{} does not serve ({ended:?}): {}",
                self.kind.name(),
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn serves(&self) -> bool {
        self.word("srvr").is_some_and(|text| text.contains("Mode:"))
    }

    /// The answer to a four-letter word.
    pub fn word(&self, word: &str) -> Option<String> {
        four_letter_word(self.address(), word)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `dataDir`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; both ways it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server's answer to a four-letter word.
pub fn four_letter_word(address: SocketAddr, word: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The server under test: `OXIKEEPER_BIN`, or beside the running test.
pub fn oxikeeper_bin() -> PathBuf {
    if let Some(path) = std::env::var_os("OXIKEEPER_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a running test has a path");
    let beside = exe.ancestors().skip(1).map(|dir| dir.join("oxikeeper"));
    let found = beside.into_iter().take(3).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no server beside {}: cargo build -p oxikeeper", exe.display()))
}
