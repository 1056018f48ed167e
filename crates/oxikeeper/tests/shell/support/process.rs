//! The server as a process, with a directory and a port of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::port::free_port;
use super::{PATIENCE, wait_for};

/// The binary under test.
pub const OXIKEEPER: &str = env!("CARGO_BIN_EXE_oxikeeper");

/// A port that was free a moment ago may be somebody's now: then the next one is tried.
const PORTS_TRIED: u32 = 5;

/// What stays when a server ends: its directory, configuration and port.
pub struct Home {
    dir: TempDir,
    port: u16,
    settings: String,
    /// A shell command that runs the server as `"$@"`; empty for none.
    wrapper: String,
    /// Standard error is a pipe without a reader.
    log_is_lost: bool,
    /// Whether `clientPortAddress` is set.
    has_address: bool,
}

impl Home {
    /// A new directory and a free port. `settings` are lines of the zoo.cfg beyond `dataDir`,
    /// `clientPort`, `clientPortAddress` and a short `tickTime`; lines that begin with `-D` are
    /// flags.
    pub fn new(settings: &str) -> Home {
        let dir = TempDir::new().expect("a temporary directory");
        let (settings, wrapper) = (settings.to_owned(), String::new());
        Home { dir, port: free_port(), settings, wrapper, log_is_lost: false, has_address: true }
    }

    /// With other settings.
    pub fn with_settings(mut self, settings: &str) -> Home {
        settings.clone_into(&mut self.settings);
        self
    }

    /// Has a shell run the server: `script` ends with `exec "$@"`.
    pub fn wrapped(mut self, script: &str) -> Home {
        script.clone_into(&mut self.wrapper);
        self
    }

    /// Without `clientPortAddress`.
    pub fn without_address(mut self) -> Home {
        self.has_address = false;
        self
    }

    /// The server's log goes into a pipe that nobody reads.
    pub fn with_nobody_to_read_its_log(mut self) -> Home {
        self.log_is_lost = true;
        self
    }

    /// With a port that is not free by chance.
    pub fn at_port(mut self, port: u16) -> Home {
        self.port = port;
        self
    }

    /// A path below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `dataDir`, unless the settings say otherwise.
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What the last server here has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Starts the server as configured and waits until it serves.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn start(mut self) -> Server {
        for _ in 0..PORTS_TRIED {
            let config = self.write_config();
            let mut arguments = vec!["serve".to_owned(), config.display().to_string()];
            let flags = self.settings.lines().filter(|line| line.starts_with("-D"));
            arguments.extend(flags.map(str::to_owned));
            match self.launch(&arguments) {
                Ok(process) => return Server { home: self, process },
                Err(_) if self.log().contains("cannot listen") => self.port = free_port(),
                Err(status) => panic!("it ended with {status}: {}", self.log()),
            }
        }
        panic!("{PORTS_TRIED} free ports were taken before the server took them");
    }

    /// Starts the binary with these arguments, in the directory, and waits until it serves.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn start_with(self, arguments: &[String]) -> Server {
        match self.launch(arguments) {
            Ok(process) => Server { home: self, process },
            Err(status) => panic!("it ended with {status}: {}", self.log()),
        }
    }

    /// Starts the server as configured and does not wait for anything: it may lack a leader.
    pub fn start_looking(self) -> Server {
        let config = self.write_config();
        let process = self.spawn(&["serve".to_owned(), config.display().to_string()]);
        Server { home: self, process }
    }

    fn launch(&self, arguments: &[String]) -> Result<Process, ExitStatus> {
        let mut process = self.spawn(arguments);
        wait_for("the server to serve", || {
            let serves = || word(self.address(), "srvr").is_some_and(|text| text.contains("Mode:"));
            match process.ended() {
                Some(status) => Some(Err(status)),
                None => serves().then_some(Ok(())),
            }
        })?;
        Ok(process)
    }

    fn spawn(&self, arguments: &[String]) -> Process {
        let log = if self.log_is_lost {
            let (_, writer) = std::io::pipe().expect("a pipe");
            Stdio::from(writer)
        } else {
            Stdio::from(File::create(self.path("stderr")).expect("a file for its log"))
        };
        let mut command = if self.wrapper.is_empty() {
            Command::new(OXIKEEPER)
        } else {
            let mut shell = Command::new("sh");
            shell.args(["-c", &self.wrapper, "sh", OXIKEEPER]);
            shell
        };
        command.args(arguments).current_dir(self.dir.path());
        let child = clean(&mut command).stdout(Stdio::null()).stderr(log).spawn();
        Process(child.expect("the binary runs"))
    }

    /// Runs the server as configured, which is expected to end by itself.
    pub fn run_to_end(&self) -> Ended {
        run(&["serve", &self.write_config().display().to_string()], self.dir.path())
    }

    fn write_config(&self) -> PathBuf {
        let settings: Vec<&str> =
            self.settings.lines().filter(|line| !line.starts_with("-D")).collect();
        let address = if self.has_address { "clientPortAddress=127.0.0.1" } else { "" };
        // Of a key that is there twice the last one counts: the settings begin in line 5 and may
        // overrule these.
        let text = format!(
            "tickTime=200\ndataDir={}\nclientPort={}\n{address}\nadmin.enableServer=false\n{}\n",
            self.data_dir().display(),
            self.port,
            settings.join("\n")
        );
        let path = self.path("zoo.cfg");
        fs::write(&path, text).expect("a configuration file");
        path
    }
}

/// A running server.
pub struct Server {
    pub home: Home,
    process: Process,
}

/// A child, killed and reaped when it is dropped.
struct Process(Child);

impl Process {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be asked")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; both ways it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// A server in a new directory; see [`Home::new`].
    pub fn start(settings: &str) -> Server {
        Home::new(settings).start()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.home.address()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.home.log()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process.0);
        kill_process(pid, signal).expect("a child that is not reaped takes signals");
    }

    /// Waits for its end. An exit code of `None` says that a signal killed it.
    pub fn wait_end(mut self) -> (Option<i32>, Home) {
        let status = wait_for("the server's end", || self.process.ended());
        (status.code(), self.home)
    }

    /// Ends it as a crash would.
    pub fn kill(self) -> Home {
        drop(self.process);
        self.home
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Its memory in RAM, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("KiB");
        kib * 1024
    }

    /// The processor time it has taken, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("a running process has a stat");
        // Behind the name, which may hold blanks: the state is field 3, the times are 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields[number - 3].parse::<u64>().expect("a number");
        // A hundred ticks a second, on every Linux there is.
        Duration::from_millis(10 * (field(14) + field(15)))
    }

    /// The answer to a four-letter word.
    pub fn word(&self, word: &str) -> String {
        self::word(self.address(), word).expect("an answer to a four-letter word")
    }
}

/// How a process ended that was expected to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the binary with these arguments in a directory, until it ends.
///
/// # Panics
/// If it does not end in time.
pub fn run(arguments: &[&str], dir: &Path) -> Ended {
    let mut command = Command::new(OXIKEEPER);
    command.args(arguments).current_dir(dir);
    run_command(&mut command, PATIENCE)
}

/// Runs a command until it ends.
///
/// # Panics
/// If it does not end in time.
pub fn run_command(command: &mut Command, patience: Duration) -> Ended {
    let mut out = tempfile::tempfile().expect("a temporary file");
    let mut err = tempfile::tempfile().expect("a temporary file");
    let stdout = out.try_clone().expect("another handle");
    let stderr = err.try_clone().expect("another handle");
    let mut child = clean(command).stdout(stdout).stderr(stderr).spawn().expect("it runs");
    let deadline = std::time::Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().expect("its child can be asked") {
            break status;
        }
        if std::time::Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} does not end: {} {}", read(&mut out), read(&mut err));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ended { code: status.code(), stdout: read(&mut out), stderr: read(&mut err) }
}

fn read(file: &mut File) -> String {
    use std::io::Seek;
    let mut text = String::new();
    file.rewind().expect("files can be rewound");
    file.read_to_string(&mut text).expect("output is text");
    text
}

/// Nothing of the tester's environment configures the server.
fn clean(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null());
    for name in ["SERVER_JVMFLAGS", "JVMFLAGS", "OXIKEEPER_LOG"] {
        command.env_remove(name);
    }
    command
}

/// The answer to a four-letter word, if there is one.
pub fn word(address: SocketAddr, word: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
