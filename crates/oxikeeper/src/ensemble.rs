//! `oxikeeper ensemble`: a whole ensemble on this machine, each server a process of its own, for trying
//! out and for tests.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What the command line says about it.
#[derive(Args)]
pub struct Options {
    /// How many servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    servers: u8,
    /// The first client port; the others follow. Servers talk to one another on ports 100 and 200 above.
    #[arg(long, default_value_t = 2181)]
    port: u16,
    /// Where data, configurations and logs are kept.
    #[arg(long, default_value = "./oxikeeper-ensemble")]
    dir: PathBuf,
    /// Begin anew: data of an earlier run in the directory are removed.
    #[arg(long)]
    fresh: bool,
}

/// How long the servers have to find a leader.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long they have to end.
const END_PATIENCE: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The file that says that a directory is ours, and may be removed with `--fresh`.
const MARK: &str = "oxikeeper-ensemble";

/// Runs it until Ctrl-C or SIGTERM.
pub fn run(options: &Options) -> ExitCode {
    match Ensemble::start(options).and_then(Ensemble::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "oxikeeper: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Ensemble {
    dir: PathBuf,
    port: u16,
    servers: Vec<Option<Child>>,
    is_ending: Arc<AtomicBool>,
}

impl Ensemble {
    fn start(options: &Options) -> io::Result<Ensemble> {
        let dir = &options.dir;
        let count = u16::from(options.servers);
        if options.port.checked_add(200 + count).is_none() {
            return Err(io::Error::other("the ports have to fit below 65536: give a lower --port"));
        }
        if options.fresh && dir.exists() {
            if !dir.join(MARK).exists() {
                let text = format!("{} is not of an ensemble; remove it yourself", dir.display());
                return Err(io::Error::other(text));
            }
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        File::create(dir.join(MARK))?;
        let is_ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&is_ending))?;
        }
        let mut ensemble = Ensemble {
            dir: fs::canonicalize(dir)?,
            port: options.port,
            servers: Vec::new(),
            is_ending,
        };
        for id in 1..=count {
            let child = ensemble.start_server(id, count)?;
            ensemble.servers.push(Some(child));
        }
        Ok(ensemble)
    }

    fn start_server(&self, id: u16, count: u16) -> io::Result<Child> {
        let (dir, port) = (self.dir.join(id.to_string()), self.port);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("myid"), format!("{id}\n"))?;
        let lines: String = (1..=count)
            .map(|id| format!("server.{id}=127.0.0.1:{}:{}\n", port + 100 + id, port + 200 + id))
            .collect();
        // One server makes an ensemble of one.
        let alone = if count == 1 { "standaloneEnabled=false\n" } else { "" };
        let text = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             {alone}{lines}",
            dir.display(),
            self.client_port(id)
        );
        let config = dir.join("zoo.cfg");
        fs::write(&config, text)?;
        let log = File::options().create(true).append(true).open(self.log_of(id))?;
        Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C reaches us alone, and we end them in order.
            .process_group(0)
            .spawn()
    }

    fn client_port(&self, id: u16) -> u16 {
        self.port + id - 1
    }

    fn log_of(&self, id: u16) -> PathBuf {
        self.dir.join(format!("{id}/log"))
    }

    fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        1..=u16::try_from(self.servers.len()).unwrap_or(0)
    }

    fn serve(mut self) -> io::Result<()> {
        let outcome = self.wait_for_leader();
        if outcome.is_ok() && !self.is_ending.load(Ordering::SeqCst) {
            let hosts: Vec<String> =
                self.ids().map(|id| format!("127.0.0.1:{}", self.client_port(id))).collect();
            let text = format!(
                "{}\ndata and logs in {}; Ctrl-C ends it\n",
                hosts.join(","),
                self.dir.display()
            );
            // Whoever has read the first line may not want the second.
            let _ = io::stdout().write_all(text.as_bytes());
            let _ = io::stdout().flush();
        }
        while outcome.is_ok() && !self.is_ending.load(Ordering::SeqCst) {
            self.bury()?;
            thread::sleep(LOOK_INTERVAL * 5);
        }
        outcome
    }

    /// Says so if a server has ended by itself.
    fn bury(&mut self) -> io::Result<usize> {
        for id in self.ids() {
            let place = &mut self.servers[usize::from(id) - 1];
            if let Some(child) = place
                && let Some(status) = child.try_wait()?
            {
                *place = None;
                let log = self.log_of(id);
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or_default();
                let log = log.display();
                writeln!(io::stderr(), "server {id} has ended ({status}): {last}\n  see {log}")?;
            }
        }
        Ok(self.servers.iter().flatten().count())
    }

    fn wait_for_leader(&mut self) -> io::Result<()> {
        let until = Instant::now() + START_PATIENCE;
        while !self.is_ending.load(Ordering::SeqCst) {
            let needed = self.servers.len() / 2 + 1;
            if self.bury()? < needed {
                return Err(io::Error::other("too few servers are left for a quorum"));
            }
            if self.ids().all(|id| {
                self.servers[usize::from(id) - 1].is_none() || serves(self.client_port(id))
            }) {
                return Ok(());
            }
            if Instant::now() > until {
                let dir = self.dir.display();
                return Err(io::Error::other(format!(
                    "no leader was found: see the logs in {dir}"
                )));
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Ends the servers; in the end by force.
    fn end(&mut self) {
        for child in self.servers.iter().flatten() {
            let pid = rustix::process::Pid::from_child(child);
            // Whoever is gone needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + END_PATIENCE;
        for child in self.servers.iter_mut().flatten() {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > until {
                    let _ = child.kill();
                }
                thread::sleep(LOOK_INTERVAL);
            }
        }
    }
}

/// However it ends, no server stays behind.
impl Drop for Ensemble {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the server at this port of the machine serves clients.
fn serves(port: u16) -> bool {
    let ask = || -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"srvr")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.contains("\nMode: "))
}
