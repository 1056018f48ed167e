//! A read allocates nothing once buffers have grown: the whole server, sockets included, in this
//! process. The client allocates nothing either, so all that is counted is the server's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use oxikeeper_allocations::Counting;
use oxikeeper_bench::client::{Client, connect_all, makes_sessions};
use oxikeeper_bench::template::Template;
use oxikeeper_proto::OpCode;
use oxikeeper_proto::request::WatchableRequest;
use oxikeeper_server::config::{Config, Flags};

#[global_allocator]
static COUNTING: Counting = Counting::new();

const PATH: &str = "/read-often";
const ROUNDS: usize = 2000;
/// What may happen beside the reads: every tenth of a second each Front reports whom it has heard.
const ALLOCATIONS_PER_TICK: u64 = 20;
const TICK: Duration = Duration::from_millis(100);

/// One connection, and what it sends and expects in a round.
struct Reader {
    stream: TcpStream,
    frames: Vec<u8>,
    replies: Vec<u8>,
}

impl Reader {
    fn round(&mut self) {
        self.stream.write_all(&self.frames).expect("the server takes requests");
    }

    fn finish(&mut self) {
        self.stream.read_exact(&mut self.replies).expect("the server answers");
    }
}

#[test]
fn a_read_allocates_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = serve(dir.path());
    let mut client = Client::connect(address).expect("it serves");
    client.ensure([PATH.to_owned()].into_iter(), &[b'v'; 100]).expect("a create");
    for (connections, depth) in [(1, 1), (1, 16), (10, 1), (10, 16)] {
        let mut readers = readers(address, connections, depth);
        // Buffers grow, and are given back, to their final size.
        rounds(&mut readers, ROUNDS / 4);
        let (before, began) = (COUNTING.count(), Instant::now());
        rounds(&mut readers, ROUNDS);
        let (counted, took) = (COUNTING.count() - before, began.elapsed());
        let reads = (ROUNDS * connections * depth) as u64;
        let ticks = 1 + took.as_millis() as u64 / TICK.as_millis() as u64;
        println!("{connections} x {depth}: {counted} allocations in {reads} reads");
        assert!(
            counted <= ticks * ALLOCATIONS_PER_TICK,
            "{connections} x {depth}: {counted} allocations in {reads} reads, {took:?}"
        );
    }
}

fn rounds(readers: &mut [Reader], count: usize) {
    for _ in 0..count {
        readers.iter_mut().for_each(Reader::round);
        readers.iter_mut().for_each(Reader::finish);
    }
}

fn readers(address: SocketAddr, connections: usize, depth: usize) -> Vec<Reader> {
    let body = WatchableRequest { path: Some(PATH.into()), watch: false };
    let template = Template::new(OpCode::GetData, &body);
    let mut frames = Vec::new();
    for xid in 0..depth {
        template.put(&mut frames, xid as i32, |_| 0);
    }
    // Length, header, data with its length, stat.
    let reply_bytes = 4 + 16 + 4 + 100 + 68;
    let streams = connect_all(&[address], connections, 30_000).expect("it makes sessions");
    let reader =
        |stream| Reader { stream, frames: frames.clone(), replies: vec![0; depth * reply_bytes] };
    streams.into_iter().map(reader).collect()
}

/// Starts a server in this process; it ends with it.
fn serve(dir: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let text = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=2000\n",
        dir.display(),
        address.port()
    );
    let config = Config::parse(text.as_bytes(), &Flags::default()).expect("a valid configuration");
    std::thread::spawn(move || {
        let ended = oxikeeper_server::run::run(config);
        panic!("the server ended: {ended:?}");
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !makes_sessions(address, Duration::from_secs(10)) {
        assert!(Instant::now() < deadline, "it does not serve");
        std::thread::yield_now();
    }
    address
}
