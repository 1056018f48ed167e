//! Records golden bytes: Apache's own client and a raw one talk to Apache's server, and everything
//! that passes between them is kept, with what the server wrote into its log.
//!
//! The fields of each record are added below its bytes by Apache's own classes (`java/Fields.java`),
//! so that what our records are compared with does not come from us.

mod packets;
mod proxy;
pub mod quorum;
mod raw;
mod tap;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::port::free_port;
use crate::server::{Kind, Server, repository};
use proxy::Proxy;

const STANDALONE: &str = "extendedTypesEnabled=true\n-Dznode.container.checkIntervalMs=300\n\
                          DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=\n\
                          preAllocSize=64";

/// Records everything anew below `fixtures`.
///
/// # Panics
/// If a peer is missing or does not do what it should.
pub fn record(fixtures: &Path) {
    let dir = std::env::temp_dir().join(format!("oxikeeper-record-{}", std::process::id()));
    let server = Server::start(Kind::APACHE, &dir.join("standalone"), STANDALONE);
    let proxy = Proxy::start(server.address());
    java_client(&proxy, &server, "standalone");
    let java = proxy.take();
    raw::every_operation(&proxy, &server);
    let raw = proxy.take();
    let log = read_log(server);

    let ensemble = dir.join("ensemble");
    let server = Server::start(Kind::APACHE, &ensemble, &ensemble_of_one(&ensemble));
    let proxy = Proxy::start(server.address());
    java_client(&proxy, &server, "ensemble");
    let reconfig = proxy.take();
    let reconfig_log = read_log(server);

    let write = |name: &str, kind: &str, about: &str, text: &str| {
        let text = fields(kind, &format!("# {about}; see PROVENANCE.md.\n{text}"));
        let path = fixtures.join(name);
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a fixture is written");
        println!("{}", path.display());
    };
    let about = "Apache's Java client and a standalone server, both 3.9.5";
    write("wire/java-client.txt", "wire", about, &java);
    let about = "What Apache's client never sends, and what a standalone 3.9.5 answers";
    write("wire/raw-client.txt", "wire", about, &raw);
    let about = "reconfig: Apache's Java client and an ensemble of one server, both 3.9.5";
    write("wire/reconfig.txt", "wire", about, &reconfig);
    let about = "Payloads of the log that a standalone 3.9.5 wrote meanwhile";
    write("txnlog/standalone.txt", "txnlog", about, &log);
    let about = "Payloads of the log that an ensemble of one 3.9.5 wrote meanwhile";
    write("txnlog/ensemble.txt", "txnlog", about, &reconfig_log);
    // What is left over is not worth a failure.
    let _ = std::fs::remove_dir_all(&dir);
}

/// Settings of an ensemble that is its own majority: reconfig works in ensembles only.
fn ensemble_of_one(dir: &Path) -> String {
    std::fs::create_dir_all(dir.join("data")).expect("a folder for the data");
    std::fs::write(dir.join("data/myid"), "1").expect("myid is written");
    format!(
        "reconfigEnabled=true\nstandaloneEnabled=false\ninitLimit=10\nsyncLimit=5\npreAllocSize=64\n\
         DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=\n\
         server.1=127.0.0.1:{}:{}:participant",
        free_port(),
        free_port()
    )
}

/// Runs Apache's client through the recording proxy, step by step.
fn java_client(proxy: &Proxy, server: &Server, mode: &str) {
    let mut command = java("EveryOperation.java");
    command.args([proxy.address().to_string(), server.address().to_string(), mode.to_owned()]);
    let mut child = command.spawn().expect("bash starts java");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut answers = child.stdin.take().expect("it is piped");
    for line in output.lines() {
        let line = line.expect("the client's steps are text");
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("step", what) => proxy.step(what),
            ("hold", _) => proxy.hold(),
            ("release", _) => proxy.release(),
            _ => panic!("the client says {line:?}"),
        }
        writeln!(answers, "go on").expect("the client listens");
    }
    succeed(child, "EveryOperation");
}

/// Adds the fields below the bytes.
fn fields(kind: &str, text: &str) -> String {
    let mut child = java("Fields.java").arg(kind).spawn().expect("bash starts java");
    let mut input = child.stdin.take().expect("it is piped");
    let bytes = text.as_bytes().to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let mut annotated = String::new();
    let mut output = child.stdout.take().expect("it is piped");
    std::io::Read::read_to_string(&mut output, &mut annotated).expect("fields are text");
    succeed(child, "Fields");
    writer.join().expect("the writer does not fail").expect("the recording is taken");
    annotated
}

/// A Java source of ours, to be run by the JDK with Apache's jars.
fn java(source: &str) -> Command {
    const RUN: &str = r#". "$0"; need_395; exec "$(real_java)" -XX:+UseSerialGC \
        -Doxikeeper.peer.log=off -cp "$(classpath_395)" "$@""#;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("java");
    let mut command = Command::new("bash");
    command.args(["-c", RUN]).arg(repository().join("interop/lib.sh")).arg(sources.join(source));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn succeed(mut child: Child, name: &str) {
    let status = child.wait().expect("java can be waited for");
    assert!(status.success(), "{name}: {status}");
}

/// The payloads of everything a server has logged, one a line.
fn read_log(mut server: Server) -> String {
    server.kill();
    let folder = server.data_dir().join("version-2");
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the server has a data directory") {
        let name = entry.expect("a name").file_name().into_string().expect("names are ASCII");
        if let Some(zxid) = name.strip_prefix("log.") {
            let zxid = u64::from_str_radix(zxid, 16).expect("log.<hex>");
            files.push((zxid, folder.join(name)));
        }
    }
    files.sort();
    let mut text = String::new();
    for (_, path) in files {
        let bytes = std::fs::read(path).expect("a log can be read");
        let mut rest = &bytes[16..];
        while let Some((head, tail)) = rest.split_first_chunk::<12>() {
            let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
            if length == 0 {
                break;
            }
            text.push_str(&hex(&tail[..length]));
            text.push('\n');
            assert_eq!(tail[length], b'B', "a record ends in B");
            rest = &tail[length + 1..];
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
