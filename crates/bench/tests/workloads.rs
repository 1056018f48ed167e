//! Every workload, briefly, on a server in this process.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use oxikeeper_bench::client::{Client, makes_sessions};
use oxikeeper_bench::{Options, Report, Workload};
use oxikeeper_server::config::{Config, Flags};

/// One server for all tests; it ends with the process.
fn server() -> SocketAddr {
    static SERVER: OnceLock<(SocketAddr, tempfile::TempDir)> = OnceLock::new();
    let (address, _) = SERVER.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        (serve(dir.path()), dir)
    });
    *address
}

fn serve(dir: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let text = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=2000\n\
         maxClientCnxns=0\n4lw.commands.whitelist=*\nadmin.enableServer=false\n",
        dir.display(),
        address.port()
    );
    let config = Config::parse(text.as_bytes(), &Flags::default()).expect("a valid configuration");
    std::thread::spawn(move || {
        let ended = oxikeeper_server::run::run(config);
        panic!("the server ended: {:?}", ended.map_err(|error| error.to_string()));
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !makes_sessions(address, Duration::from_secs(10)) {
        assert!(Instant::now() < deadline, "it does not serve");
        std::thread::yield_now();
    }
    address
}

/// A load of so many requests below a node of its own.
fn options(workload: Workload, root: &str, count: u64) -> Options {
    let mut options = Options::new(workload, server().to_string());
    (options.connections, options.pipeline) = (5, 3);
    options.keys = 20;
    options.count = Some(count);
    options.root = root.to_owned();
    options.pid = Some(std::process::id());
    options.settle = Some(0.0);
    options
}

fn run(options: &Options) -> Report {
    let report = oxikeeper_bench::run(options).expect("it runs");
    assert_eq!(report.errors(), 0, "{report}");
    assert!(report.server_cpu_us().is_some());
    assert_eq!(report.json()["ops"], report.recorder.items());
    report
}

fn children(path: &str) -> usize {
    let mut client = Client::connect(server()).expect("it serves");
    client.children(path).expect("it answers").len()
}

#[test]
fn loads_on_keys_make_as_many_requests_as_asked() {
    for workload in [Workload::Get, Workload::Set, Workload::Mixed, Workload::GetChildren] {
        for threads in [1, 2] {
            let mut options = options(workload, "/some/where/keys", 1001);
            options.threads = threads;
            let report = run(&options);
            assert_eq!(report.recorder.requests(), 1001, "{workload:?} with {threads} threads");
            assert_eq!(report.latency().len(), 1001);
        }
    }
    assert_eq!(children("/some/where/keys"), 21, "twenty keys and the list");
}

#[test]
fn a_multi_counts_its_operations() {
    let mut options = options(Workload::Multi, "/multi", 100);
    options.batch = Some(7);
    let report = run(&options);
    assert_eq!((report.recorder.requests(), report.recorder.items()), (100, 700));
}

#[test]
fn a_fill_fills_and_cleans_up() {
    let mut options = options(Workload::Fill, "/fill", 2500);
    let report = run(&options);
    assert_eq!(report.recorder.items(), 2503, "with three parents");
    assert_eq!(children("/fill"), 3);
    assert_eq!(children("/fill/p000000002"), 500);
    options.batch = Some(100);
    options.root = "/fill-by-multis".to_owned();
    options.clean = true;
    assert_eq!(run(&options).recorder.items(), 2503);
    assert!(!exists("/fill-by-multis"), "all was removed");
}

fn exists(path: &str) -> bool {
    let mut client = Client::connect(server()).expect("it serves");
    let names = client.children("/").expect("it answers");
    names.iter().any(|name| format!("/{name}") == path)
}

#[test]
fn what_is_deleted_is_gone() {
    let report = run(&options(Workload::Delete, "/delete", 1500));
    assert_eq!(report.recorder.requests(), 1500);
    assert_eq!(children("/delete/p000000000"), 0);
    assert_eq!(children("/delete/p000000001"), 0);
}

#[test]
fn creates_go_on_for_as_long_as_wanted() {
    let mut options = options(Workload::Create, "/create", 0);
    options.count = None;
    (options.warm_up, options.duration) = (Some(0.1), 0.3);
    let report = run(&options);
    assert!(report.recorder.requests() > 0);
    assert_eq!(report.recorder.elapsed_s(), 0.3);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let mut options = options(Workload::Get, "/open", 0);
    options.count = None;
    options.rate = Some(2000.0);
    (options.warm_up, options.duration) = (Some(0.0), 1.0);
    let requests = run(&options).latency().len();
    assert!((1990..=2001).contains(&requests), "{requests} in a second");
}

#[test]
fn idle_sessions_ping() {
    let mut options = options(Workload::Idle, "/idle", 0);
    options.count = None;
    (options.connections, options.duration) = (40, 0.5);
    let report = run(&options);
    let pings: Vec<u64> = report.recorder.kinds().map(|(_, _, latency)| latency.len()).collect();
    assert_eq!(pings, [40]);
}

#[test]
fn watches_are_left_on_nodes_that_exist() {
    let mut options = options(Workload::Watches, "/watches", 300);
    assert_eq!(run(&options).recorder.requests(), 1500);
    assert_eq!(children("/watches"), 2, "1,500 nodes");
    (options.shared, options.root) = (true, "/shared".to_owned());
    assert_eq!(run(&options).recorder.requests(), 1500);
    assert_eq!(children("/shared/p000000000"), 300);
}

#[test]
fn nonsense_is_refused() {
    let mut options = options(Workload::Get, "/nonsense", 1);
    options.threads = 6;
    assert!(oxikeeper_bench::run(&options).is_err());
    options.threads = 1;
    options.root = "nowhere".to_owned();
    assert!(oxikeeper_bench::run(&options).is_err());
}
