//! An ensemble of three servers, each a process of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long they have to find a leader on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVERS: usize = 3;

/// The ensemble; its processes end with it.
pub struct Servers {
    ports: Vec<u16>,
    children: Vec<Child>,
}

impl Servers {
    /// Starts them with their files below `dir`, and waits until all serve.
    pub async fn start(dir: &Path) -> std::io::Result<Servers> {
        let binary = binary()?;
        // All are bound before any is given back, so that no two are the same.
        let bound: Vec<TcpListener> = (0..3 * SERVERS)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()?;
        let ports: Vec<u16> =
            bound.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?;
        drop(bound);
        let (client_ports, others) = ports.split_at(SERVERS);
        let lines: String = (1..)
            .zip(others.chunks(2))
            .map(|(id, ports)| format!("server.{id}=127.0.0.1:{}:{}\n", ports[0], ports[1]))
            .collect();
        let mut servers = Servers { ports: client_ports.to_vec(), children: Vec::new() };
        for (id, port) in (1..).zip(client_ports) {
            let data = dir.join(format!("server{id}"));
            std::fs::create_dir_all(&data)?;
            std::fs::write(data.join("myid"), format!("{id}\n"))?;
            let config = data.join("zoo.cfg");
            let text = format!(
                "tickTime=250\ninitLimit=40\nsyncLimit=20\ndataDir={}\nclientPort={port}\n\
                 clientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
                 4lw.commands.whitelist=srvr\n{lines}",
                data.display()
            );
            std::fs::write(&config, text)?;
            let mut command = Command::new(&binary);
            command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
            servers
                .children
                .push(command.stderr(std::fs::File::create(data.join("log"))?).spawn()?);
        }
        let deadline = Instant::now() + PATIENCE;
        while servers.ports.iter().any(|&port| mode(port).is_none()) {
            if Instant::now() > deadline {
                return Err(std::io::Error::other("the ensemble finds no leader"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(servers)
    }

    /// Where clients connect.
    pub fn connect_string(&self) -> String {
        let hosts: Vec<String> =
            self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        hosts.join(",")
    }

    /// Kills the leader, and says which server that was.
    pub fn kill_leader(&mut self) -> std::io::Result<usize> {
        let leader = self.ports.iter().position(|&port| mode(port).as_deref() == Some("leader"));
        let leader = leader.ok_or_else(|| std::io::Error::other("nobody leads"))?;
        self.children[leader].kill()?;
        self.children[leader].wait()?;
        Ok(leader + 1)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have been killed before; both ways it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The server's binary: `OXIKEEPER_BIN`, or beside this one, where it is built if it is missing.
fn binary() -> std::io::Result<PathBuf> {
    if let Some(path) = std::env::var_os("OXIKEEPER_BIN") {
        return Ok(path.into());
    }
    let path = std::env::current_exe()?.with_file_name("oxikeeper");
    if !path.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        build.args(["build", "--quiet", "-p", "oxikeeper"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        build.status()?;
    }
    Ok(path)
}

fn mode(port: u16) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}
